package harness

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// Config writes a sequin.yaml for one database "db" whose slot and publication Sequin creates. Everything is a literal, so that tests show what
// they declare.
type Config struct {
	DB          *pgtest.DB
	Slot        string
	Publication string
	Database    string // more keys of the database, indented by four spaces
	Endpoints   map[string]string
	Sinks       string // YAML list items, "  - {name: …}"
}

// YAML renders the file.
func (c Config) YAML(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(c.DB.URL)
	require.NoError(t, err)
	password, _ := u.User.Password()
	if password == "" {
		password = "unused"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "account: {name: test}\napi_tokens: [{name: test, token: %s}]\ndatabases:\n  - name: db\n", Token)
	fmt.Fprintf(&b, "    hostname: %q\n    port: %s\n    database: %q\n    username: %q\n    password: %q\n",
		u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/"), u.User.Username(), password)
	fmt.Fprintf(&b, "    slot: {name: %s, create_if_not_exists: true}\n    publication: {name: %s, create_if_not_exists: true}\n", c.Slot, c.Publication)
	if c.Database != "" {
		b.WriteString(strings.TrimRight(c.Database, "\n") + "\n")
	}
	if len(c.Endpoints) > 0 {
		b.WriteString("http_endpoints:\n")
		for name, target := range c.Endpoints {
			fmt.Fprintf(&b, "  - {name: %s, url: %q}\n", name, target)
		}
	}
	if c.Sinks != "" {
		fmt.Fprintf(&b, "sinks:\n%s\n", strings.TrimRight(c.Sinks, "\n"))
	}
	return b.String()
}
