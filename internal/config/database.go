package config

import (
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/resource"
)

func (d *decoder) database(path string, n *node, stored *resource.Database) resource.Database {
	def := resource.NewDatabase()
	db := def
	f := d.fields(path, n)
	switch {
	case stored != nil:
		db, f.updating = *stored, true
	case d.body: // a file may lean on the usual names, the API must be told
		db.Username, db.Password = "", ""
	}
	f.name("name", &db.Name)
	mode := f.connection(&db, &def)
	f.passwordSource(&db)
	f.tls(&db, stored, mode)
	f.boolean("ipv6", &db.IPv6, def.IPv6)
	f.integer("pool_size", &db.PoolSize, def.PoolSize)
	f.slotAndPublication(&db, stored)
	f.annotations(&db.Annotations)
	if a, ok := f.section("await_database"); ok {
		a.millis("timeout_ms", &db.AwaitDatabase.Timeout, def.AwaitDatabase.Timeout)
		a.millis("interval_ms", &db.AwaitDatabase.Interval, def.AwaitDatabase.Interval)
		a.close()
	} else if f.cleared("await_database") {
		db.AwaitDatabase = def.AwaitDatabase
	}
	f.limits(&db, &def)
	f.later("capture from a read replica", "primary")
	f.localDatabase()
	f.retired("there is no queue in front of the connection pool", "queue_interval", "queue_target")
	f.retired("tables are read from the database itself", "tables")
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	f.localOnly(&db, stored)
	return db
}

func (f *fields) localDatabase() {
	local := false
	if f.boolean("use_local_tunnel", &local, false) && local {
		n, _ := f.find("use_local_tunnel")
		f.mistake("use_local_tunnel", n, resource.CodeRetired, "is true: the tunnel needed the closed cloud").
			Hint = "give the database's own address in hostname and port"
	}
}

func (f *fields) limits(db, def *resource.Database) {
	chosen := false
	if r, ok := f.section("retention"); ok {
		r.duration("max_age", &db.Retention.MaxAge, def.Retention.MaxAge)
		r.size("max_size", &db.Retention.MaxSize, def.Retention.MaxSize)
		_, chosen = r.find("max_size")
		r.close()
	} else if f.cleared("retention") {
		db.Retention = def.Retention
	}
	f.size("max_disk", &db.MaxDisk, def.MaxDisk)
	if !chosen && db.MaxDisk >= resource.MinRetentionSize { // a small budget alone contradicts nothing that was said
		db.Retention.MaxSize = min(db.Retention.MaxSize, db.MaxDisk)
	}
	f.size("wal_budget", &db.WALBudget, def.WALBudget)
	choice(f, "on_wal_budget", &db.OnWALBudget, def.OnWALBudget, resource.OnWALBudgets())
	f.size("max_change_bytes", &db.MaxChangeBytes, def.MaxChangeBytes)
	f.duration("heartbeat_interval", &db.HeartbeatInterval, def.HeartbeatInterval)
}

// tls joins the original's ssl switch and libpq's sslmode. known tells that the URL has said the mode.
func (f *fields) tls(db, stored *resource.Database, known bool) {
	def := resource.NewDatabase().SSLMode
	ssl := false
	given := f.boolean("ssl", &ssl, false)
	mode := choice(f, "sslmode", &db.SSLMode, def, resource.SSLModes()) || known
	f.text("sslrootcert", &db.SSLRootCert, "")
	f.text("sslcert", &db.SSLCert, "")
	f.clientKey(db)
	switch {
	case !given:
	case mode:
		if ssl && db.SSLMode == resource.SSLDisable || !ssl && db.SSLMode.Required() {
			n, _ := f.find("ssl")
			f.mistake("ssl", n, resource.CodeConflict, "contradicts sslmode: %s; sslmode alone is enough", db.SSLMode)
		}
	case ssl:
		if !db.SSLMode.Required() {
			db.SSLMode = resource.SSLRequire
		}
	case f.d.body && stored != nil && !stored.SSLMode.Required(): // sent back as it was shown
	default:
		db.SSLMode = resource.SSLDisable
	}
}

// clientKey reads the path of the client's key, or the key itself, which is a secret.
func (f *fields) clientKey(db *resource.Database) {
	key := db.SSLKey
	f.text("sslkey", &key, "")
	if f.updating && resource.IsPEM(db.SSLKey) && masks(resource.Secret(key), resource.Secret(db.SSLKey)) {
		return
	}
	db.SSLKey = key
}

// localOnly refuses from outside what only the operator of this machine may decide.
func (f *fields) localOnly(db, stored *resource.Database) {
	if f.d.local {
		return
	}
	found := db.LocalOnly(stored)
	for i := range found {
		found[i].Path = f.at(found[i].Path)
	}
	f.d.add(found)
}

// passwordSource reads where else a password may come from at each connect.
func (f *fields) passwordSource(db *resource.Database) {
	f.text("password_file", &db.PasswordFile, "")
	f.texts("password_command", &db.PasswordCommand, nil)
	if len(db.PasswordCommand) == 0 {
		db.PasswordCommand = nil
	}
	n := f.n.entry("password")
	inline := n != nil && n.kind != null || f.n.entry("url") != nil
	if !f.d.body && inline && f.n.entry("password_file") == nil && f.n.entry("password_command") == nil {
		db.PasswordFile, db.PasswordCommand = "", nil // the document says where the password is now
	}
	if f.updating && n != nil && n.kind == scalar && db.Password != "" && (db.PasswordFile != "" || db.PasswordCommand != nil) {
		f.d.warn(f.at("password"), n.at, "is not used as long as password_file or password_command says where the password is")
	}
}

var connectionKeys = []string{"hostname", "port", "database", "username", "password"}

// connection reads where the database is; it tells whether that included the TLS mode.
func (f *fields) connection(db, def *resource.Database) (mode bool) {
	f.ask("url", &shape{kind: shapeSecret})
	if n, ok := f.find("url"); ok {
		mode = f.connectionURL(n, db)
		for _, key := range connectionKeys {
			if other, ok := f.find(key); ok {
				f.mistake(key, other, resource.CodeConflict, "contradicts url, which says it already; give one of them")
			}
		}
		return mode
	}
	f.text("hostname", &db.Hostname, "")
	f.integer("port", &db.Port, def.Port)
	f.text("database", &db.Database, "")
	f.text("username", &db.Username, def.Username)
	none := db.Password
	if f.updating {
		none = ""
	}
	f.secret("password", &db.Password, none)
	return false
}

// connectionURL reads scheme://user:password@host:port/database. It never shows the text, which holds the password.
func (f *fields) connectionURL(n *node, db *resource.Database) (mode bool) {
	for _, key := range connectionKeys[:4] {
		f.alias("url", key)
	}
	text, ok := f.d.secret(f.at("url"), n)
	if !ok {
		f.silence(connectionKeys)
		return false
	}
	u, err := url.Parse(text.Reveal())
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Opaque != "" || u.Fragment != "" {
		f.mistake("url", n, resource.CodeInvalid, "is not a Postgres URL; expected postgres://user:password@host:5432/database").
			Hint = "write special characters of the user and the password as %XX, for example # as %23 and @ as %40"
		f.silence(connectionKeys)
		return false
	}
	db.Hostname, db.Port, db.Password = u.Hostname(), resource.DefaultPort, ""
	if len(u.Path) > 1 {
		db.Database = u.Path[1:]
	}
	if u.User != nil && u.User.Username() != "" {
		db.Username = u.User.Username()
	}
	if password, ok := u.User.Password(); ok {
		db.Password = resource.Secret(password)
	}
	if p := u.Port(); p != "" {
		port, err := strconv.Atoi(p)
		if err != nil {
			port = -1
		}
		db.Port = port
	}
	return f.urlQuery(n, u, db)
}

// silence keeps what cannot be known from being called missing.
func (f *fields) silence(keys []string) {
	for _, key := range keys {
		f.d.silent[f.at(key)] = true
	}
}

func (f *fields) urlQuery(n *node, u *url.URL, db *resource.Database) (mode bool) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		f.mistake("url", n, resource.CodeInvalid, "has parameters after ? that cannot be read")
		return false
	}
	for key, values := range query {
		value := values[len(values)-1]
		if !utf8.ValidString(value) {
			f.mistake("url", n, resource.CodeInvalid, "has parameters after ? that are not valid UTF-8")
			return false
		}
		switch key {
		case "sslmode":
			db.SSLMode, mode = resource.SSLMode(value), true
			f.alias("url", "sslmode")
		case "sslrootcert":
			db.SSLRootCert = value
			f.alias("url", "sslrootcert")
		case "sslcert":
			db.SSLCert = value
			f.alias("url", "sslcert")
		case "sslkey":
			db.SSLKey = value
			f.alias("url", "sslkey")
		case "host":
			db.Hostname = value
		default:
			f.mistake("url", n, resource.CodeUnknownKey, "has the parameter %q; known: host, sslmode, sslrootcert, sslcert, sslkey", key)
		}
	}
	return mode
}
