package config

import (
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/sequinstream/sequin/internal/resource"
)

func (d *decoder) database(path string, n *node) resource.Database {
	db := resource.NewDatabase()
	f := d.fields(path, n)
	f.text("name", &db.Name)
	f.connection(&db)
	f.tls(&db)
	f.boolean("ipv6", &db.IPv6)
	f.integer("pool_size", &db.PoolSize)
	f.slot(&db.Slot)
	f.publication(&db.Publication)
	f.annotations(&db.Annotations)
	if a, ok := f.section("await_database"); ok {
		a.millis("timeout_ms", &db.AwaitDatabase.Timeout)
		a.millis("interval_ms", &db.AwaitDatabase.Interval)
		a.close()
	}
	f.limits(&db)
	f.later("capture from a read replica", "primary")
	f.localDatabase()
	f.retired("there is no queue in front of the connection pool", "queue_interval", "queue_target")
	f.retired("tables are read from the database itself", "tables")
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	return db
}

func (f *fields) localDatabase() {
	var local bool
	if f.boolean("use_local_tunnel", &local) && local {
		n, _ := f.find("use_local_tunnel")
		f.mistake("use_local_tunnel", n, resource.CodeRetired, "is true: the tunnel needed the closed cloud").
			Hint = "give the database's own address in hostname and port"
	}
}

func (f *fields) limits(db *resource.Database) {
	chosen := false
	if r, ok := f.section("retention"); ok {
		r.duration("max_age", &db.Retention.MaxAge)
		r.size("max_size", &db.Retention.MaxSize)
		_, chosen = r.find("max_size")
		r.close()
	}
	f.size("max_disk", &db.MaxDisk)
	if !chosen && db.MaxDisk >= resource.MinRetentionSize { // a small budget alone contradicts nothing that was said
		db.Retention.MaxSize = min(db.Retention.MaxSize, db.MaxDisk)
	}
	f.size("wal_budget", &db.WALBudget)
	choice(f, "on_wal_budget", &db.OnWALBudget)
	f.size("max_change_bytes", &db.MaxChangeBytes)
	f.duration("heartbeat_interval", &db.HeartbeatInterval)
}

func (f *fields) annotations(dst *json.RawMessage) {
	n, ok := f.find("annotations")
	if !ok {
		return
	}
	const limit = 64 << 10 // beyond the validation's own limit, which names the size
	*dst = f.json("annotations", n, nil, limit)
	if n.kind != mapping {
		f.mistake("annotations", n, resource.CodeInvalid, "is %s; expected a mapping", n.describe())
	}
}

func (f *fields) slot(s *resource.Slot) {
	sub, nested := f.section("slot")
	if nested {
		sub.text("name", &s.Name)
		sub.boolean("create_if_not_exists", &s.CreateIfNotExists)
		sub.ignore("id", "status")
		sub.close()
	}
	f.flat("slot_name", "slot", nested, &s.Name)
}

func (f *fields) publication(p *resource.Publication) {
	sub, nested := f.section("publication")
	if nested {
		sub.text("name", &p.Name)
		sub.boolean("create_if_not_exists", &p.CreateIfNotExists)
		sub.text("init_sql", &p.InitSQL)
		sub.ignore("id")
		sub.close()
	}
	f.flat("publication_name", "publication", nested, &p.Name)
}

// flat reads the old form of a nested name; both together contradict each other.
func (f *fields) flat(key, section string, nested bool, dst *string) {
	n, ok := f.find(key)
	if !ok {
		return
	}
	if nested {
		f.mistake(key, n, resource.CodeConflict, "is the old form of %s.name; give one of them", section)
		return
	}
	f.text(key, dst)
	f.alias(key, section+".name")
}

// tls joins the original's ssl switch and libpq's sslmode.
func (f *fields) tls(db *resource.Database) {
	var ssl bool
	given := f.boolean("ssl", &ssl)
	mode := choice(f, "sslmode", &db.SSLMode) || db.SSLMode != resource.SSLPrefer // the url may have said it
	f.text("sslrootcert", &db.SSLRootCert)
	f.text("sslcert", &db.SSLCert)
	f.text("sslkey", &db.SSLKey)
	switch {
	case !given:
	case mode && ssl != (db.SSLMode != resource.SSLDisable):
		n, _ := f.find("ssl")
		f.mistake("ssl", n, resource.CodeConflict, "contradicts sslmode: %s; sslmode alone is enough", db.SSLMode)
	case mode:
	case ssl:
		if db.SSLMode == resource.SSLPrefer || db.SSLMode == resource.SSLDisable {
			db.SSLMode = resource.SSLRequire
		}
	default:
		db.SSLMode = resource.SSLDisable
	}
}

var connectionKeys = []string{"hostname", "port", "database", "username", "password"}

func (f *fields) connection(db *resource.Database) {
	f.text("password_file", &db.PasswordFile)
	if n, ok := f.find("url"); ok {
		f.connectionURL(n, db)
		for _, key := range connectionKeys {
			if other, ok := f.find(key); ok {
				f.mistake(key, other, resource.CodeConflict, "contradicts url, which says it already; give one of them")
			}
		}
		return
	}
	f.text("hostname", &db.Hostname)
	f.integer("port", &db.Port)
	f.text("database", &db.Database)
	f.text("username", &db.Username)
	f.secret("password", &db.Password)
}

// connectionURL reads scheme://user:password@host:port/database. It never shows the text, which holds the password.
func (f *fields) connectionURL(n *node, db *resource.Database) {
	for _, key := range connectionKeys[:4] {
		f.alias("url", key)
	}
	if n.kind != scalar {
		f.mistake("url", n, resource.CodeInvalid, "is not a text")
		return
	}
	u, err := url.Parse(n.text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Opaque != "" || u.Fragment != "" {
		f.mistake("url", n, resource.CodeInvalid, "is not a Postgres URL; expected postgres://user:password@host:5432/database").
			Hint = "write special characters of the user and the password as %XX, for example # as %23 and @ as %40"
		for _, key := range connectionKeys {
			f.d.silent[f.at(key)] = true
		}
		return
	}
	db.Hostname, db.Password = u.Hostname(), ""
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
	f.urlQuery(n, u, db)
}

func (f *fields) urlQuery(n *node, u *url.URL, db *resource.Database) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		f.mistake("url", n, resource.CodeInvalid, "has parameters after ? that cannot be read")
		return
	}
	for key, values := range query {
		value := values[len(values)-1]
		switch key {
		case "sslmode":
			db.SSLMode = resource.SSLMode(value)
			f.alias("url", "sslmode")
		case "sslrootcert":
			db.SSLRootCert = value
		case "sslcert":
			db.SSLCert = value
		case "sslkey":
			db.SSLKey = value
		case "host":
			db.Hostname = value
		default:
			f.mistake("url", n, resource.CodeUnknownKey, "has the parameter %q; known: host, sslmode, sslrootcert, sslcert, sslkey", key)
		}
	}
}
