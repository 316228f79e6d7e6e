package resource

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

var slotPattern = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// MinRetentionSize is the least that a change log may be kept to.
const MinRetentionSize = 64 << 20

const (
	minChangeBytes = 64 << 10
	maxChangeBytes = 1 << 30 // a Postgres field has no more
)

func (c *checker) database(at string, d *Database) {
	c.name(at+".name", d.Name)
	c.connection(at, d)
	c.slot(at, d)
	c.between(at+".pool_size", d.PoolSize, 1, 1000)
	c.annotations(at+".annotations", d.Annotations)
	c.millis(at+".await_database.timeout_ms", d.AwaitDatabase.Timeout, 0, time.Hour)
	c.millis(at+".await_database.interval_ms", d.AwaitDatabase.Interval, 10*time.Millisecond, 10*time.Minute)
	c.logLimits(at, d)
}

func (c *checker) connection(at string, d *Database) {
	switch {
	case d.Hostname == "":
		c.add(at+".hostname", CodeMissing, "is required").Hint = "give hostname, port, database, username and password, or url"
	case strings.ContainsAny(d.Hostname, " \t\r\n@?#") || strings.Contains(d.Hostname, "://"):
		c.add(at+".hostname", CodeInvalid, "is not a host name").Hint = "a connection string goes in url"
	case strings.HasPrefix(d.Hostname, "/") && path.Clean(d.Hostname) == "/":
		c.add(at+".hostname", CodeInvalid, "is not the directory of a unix socket")
	case strings.Contains(d.Hostname, "pooler.supabase"):
		c.add(at+".hostname", CodeInvalid, "is a connection pooler, and logical replication does not pass through one").Hint = "use the database's direct host, db.<project>.supabase.co"
	}
	c.between(at+".port", d.Port, 1, 65535)
	for _, part := range []struct{ key, value string }{
		{"database", d.Database},
		{"username", d.Username},
	} {
		if part.value == "" {
			c.add(at+"."+part.key, CodeMissing, "is required")
		} else if !isText(part.value) {
			c.add(at+"."+part.key, CodeInvalid, notText)
		}
	}
	if !isText(d.Password.Reveal()) {
		c.add(at+".password", CodeInvalid, notText)
	}
	c.passwordCommand(at, d)
	oneOf(c, at+".sslmode", d.SSLMode, SSLModes())
	if (d.SSLCert == "") != (d.SSLKey == "") {
		missing := ".sslkey"
		if d.SSLCert == "" {
			missing = ".sslcert"
		}
		c.add(at+missing, CodeMissing, "is required: a client certificate needs both sslcert and sslkey")
	}
}

const notText = "has a zero byte or is not valid UTF-8"

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func (c *checker) passwordCommand(at string, d *Database) {
	if d.PasswordCommand == nil {
		return
	}
	if d.PasswordFile != "" {
		c.add(at+".password_command", CodeConflict, "and password_file both say where the password is; give one of them")
	}
	if len(d.PasswordCommand) == 0 || d.PasswordCommand[0] == "" {
		c.add(at+".password_command", CodeInvalid, "names no program").Hint = `for example password_command: [/usr/local/bin/pg-password, prod]`
	}
	for i, word := range d.PasswordCommand {
		if !isText(word) {
			c.add(fmt.Sprintf("%s.password_command[%d]", at, i), CodeInvalid, notText)
		}
	}
}

func (c *checker) slot(at string, d *Database) {
	switch {
	case d.Slot.Name == "":
		c.add(at+".slot.name", CodeMissing, "is required").Hint = "for example slot: {name: sequin_slot, create_if_not_exists: true}"
	case !slotPattern.MatchString(d.Slot.Name):
		c.add(at+".slot.name", CodeInvalid, "is %q; Postgres allows up to 63 lower-case letters, digits and underscores", d.Slot.Name)
	}
	p := &d.Publication
	switch {
	case p.Name == "":
		c.add(at+".publication.name", CodeMissing, "is required").Hint = "for example publication: {name: sequin_pub, create_if_not_exists: true}"
	case len(p.Name) > 63 || strings.ContainsRune(p.Name, 0):
		c.add(at+".publication.name", CodeInvalid, "is longer than the 63 bytes of a Postgres name")
	}
	if p.InitSQL == "" {
		return
	}
	if !createsPublication(p.InitSQL, p.Name) {
		c.add(at+".publication.init_sql", CodeInvalid, "must start with: create publication %s", p.Name)
	}
	if !p.CreateIfNotExists {
		c.add(at+".publication.init_sql", CodeConflict, "has no effect without create_if_not_exists: true")
	}
}

// createsPublication reports whether sql begins with CREATE PUBLICATION name, the name quoted or not.
func createsPublication(sql, name string) bool {
	rest, ok := cutWord(sql, "create")
	if ok {
		rest, ok = cutWord(rest, "publication")
	}
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, " \t\r\n")
	if quoted, ok := strings.CutPrefix(rest, `"`+strings.ReplaceAll(name, `"`, `""`)+`"`); ok {
		return quoted == "" || strings.ContainsRune(" \t\r\n;", rune(quoted[0]))
	}
	_, ok = cutWord(rest, name)
	return ok
}

// cutWord removes a leading word, compared without case, that a space, a semicolon or the end follows.
func cutWord(text, word string) (string, bool) {
	text = strings.TrimLeft(text, " \t\r\n")
	if len(text) < len(word) || !strings.EqualFold(text[:len(word)], word) {
		return text, false
	}
	rest := text[len(word):]
	return rest, rest == "" || strings.ContainsRune(" \t\r\n;", rune(rest[0]))
}

func (c *checker) logLimits(at string, d *Database) {
	if d.Retention.MaxAge < 0 {
		c.add(at+".retention.max_age", CodeInvalid, "must not be negative")
	}
	if d.Retention.MaxSize < MinRetentionSize {
		c.add(at+".retention.max_size", CodeInvalid, "is %d bytes; it must be at least 64MiB", d.Retention.MaxSize)
	}
	switch {
	case d.MaxDisk != 0 && d.MaxDisk < MinRetentionSize:
		c.add(at+".max_disk", CodeInvalid, "is %d bytes; it must be at least 64MiB", d.MaxDisk)
	case d.MaxDisk != 0 && d.MaxDisk < d.Retention.MaxSize:
		c.add(at+".max_disk", CodeConflict, "is smaller than retention.max_size: the log would stop before it may trim")
	}
	if d.WALBudget < 0 {
		c.add(at+".wal_budget", CodeInvalid, "must not be negative")
	}
	oneOf(c, at+".on_wal_budget", d.OnWALBudget, OnWALBudgets())
	if d.MaxChangeBytes < minChangeBytes || d.MaxChangeBytes > maxChangeBytes {
		c.add(at+".max_change_bytes", CodeInvalid, "is %d; it must be between 64KiB and 256MiB", d.MaxChangeBytes)
	}
	if h := d.HeartbeatInterval; h != 0 && (h < time.Second || h > time.Hour) {
		c.add(at+".heartbeat_interval", CodeInvalid, "is %s; it must be between 1s and 1h, or 0s for no heartbeats", h)
	}
}
