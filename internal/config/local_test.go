package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

const (
	pemRoots = "-----BEGIN CERTIFICATE-----\nroots\n-----END CERTIFICATE-----\n"
	pemCert  = "-----BEGIN CERTIFICATE-----\nclient\n-----END CERTIFICATE-----\n"
	pemKey   = "-----BEGIN PRIVATE KEY-----\nthe-key-itself\n-----END PRIVATE KEY-----\n"
)

// localDatabase reads its password and its certificates from files of the server's machine, as its operator has declared.
func localDatabase() resource.Database {
	d := resource.NewDatabase()
	d.ID, d.Name, d.Hostname, d.Database = "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", "prod", "db.internal", "app"
	d.Slot.Name, d.Publication.Name = "s", "p"
	d.PasswordFile, d.SSLMode, d.SSLRootCert, d.SSLCert, d.SSLKey = "/run/secrets/pg", resource.SSLVerifyFull, "/etc/roots.pem", "/etc/c.pem", "/etc/c.key"
	return d
}

// Which files of the server's machine are read, which programs are run there, and who is shown what comes of it, is not for its clients to choose:
// neither in a request nor in a document.
func TestOnlyTheOperatorNamesFilesAndPrograms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		refused    []string // paths
	}{
		{"nothing of that", `{"pool_size": 3}`, nil},
		{"as it is", `{"password_file": "/run/secrets/pg", "sslrootcert": "/etc/roots.pem", "sslcert": "/etc/c.pem", "sslkey": "/etc/c.key", "hostname": "db.internal", "port": 5432}`, nil},
		{"another password file", `{"password_file": "/etc/shadow"}`, []string{"password_file"}},
		{"a program", `{"password_file": null, "password_command": ["/bin/sh", "-c", "id"]}`, []string{"password_command"}},
		{"other roots", `{"password_file": null, "password": "own", "sslrootcert": "/etc/passwd"}`, []string{"sslrootcert"}},
		{"a relative path", `{"password_file": null, "password": "own", "sslrootcert": "roots.pem"}`, []string{"sslrootcert"}},
		{"a device", `{"sslcert": "/dev/zero", "sslkey": "/dev/zero"}`, []string{"sslcert", "sslkey"}},
		{"the system's roots, and a password of its own", `{"password_file": null, "password": "own", "sslrootcert": "system"}`, nil},
		{"system is no certificate", `{"sslcert": "system", "sslkey": "system"}`, []string{"sslcert", "sslkey"}},
		{"PEM text", encode(map[string]any{"sslcert": pemCert, "sslkey": pemKey}), nil},
		{"PEM roots, and a password of its own", encode(map[string]any{"password_file": nil, "password": "own", "sslrootcert": pemRoots}), nil},
		{"files taken away", `{"password_file": null, "password": "own", "sslrootcert": null, "sslcert": null, "sslkey": null}`, nil},
		{"the password is shown to another server", `{"hostname": "evil.example.com"}`, []string{"hostname"}},
		{"on another port", `{"port": 6432}`, []string{"port"}},
		{"in a URL", `{"url": "postgres://u:p@evil.example.com:5432/app"}`, []string{"hostname"}},
		{"in a URL's parameters", `{"url": "postgres://u:p@db.internal:5432/app?sslrootcert=/etc/passwd&sslkey=/etc/shadow"}`, []string{"sslrootcert", "sslkey"}},
		{"without a look at the server's certificate", `{"sslmode": "require"}`, []string{"sslmode"}},
		{"to whoever has a certificate of others", encode(map[string]any{"sslrootcert": pemRoots}), []string{"sslrootcert"}},
		{"another server with a password of its own", `{"hostname": "db2.internal", "password_file": null, "password": "own"}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := localDatabase()
			_, err := config.UpdateDatabase(&db, []byte(tt.body), config.BodyOptions{})
			requireLocalOnly(t, err, "", tt.refused)
			if tt.refused != nil {
				require.Equal(t, localDatabase(), db)
			}
			base := &resource.Set{Databases: []resource.Database{localDatabase()}}
			doc := `{"databases": [{"name": "prod", ` + tt.body[1:] + `]}`
			_, _, err = config.ParseDocument("d.yaml", []byte(doc), config.DocumentOptions{Base: base})
			if !strings.Contains(tt.body, `"url"`) { // in a document it says where the password is
				requireLocalOnly(t, err, "databases[0].", tt.refused)
			}

			for range 2 { // the operator may, and what the operator has set may be sent back by anybody
				_, err = config.UpdateDatabase(&db, []byte(tt.body), config.BodyOptions{Local: true})
				require.NoError(t, err)
			}
			form := config.FormDatabase(&db, config.FormOptions{API: true})
			was := db
			_, err = config.UpdateDatabase(&db, form, config.BodyOptions{IgnoreUnknown: true})
			require.NoError(t, err)
			require.Equal(t, was, db)
		})
	}
}

func requireLocalOnly(t *testing.T, err error, prefix string, paths []string) {
	t.Helper()
	if paths == nil {
		require.NoError(t, err)
		return
	}
	var invalid *resource.InvalidError
	require.ErrorAs(t, err, &invalid)
	var refused []string
	for i := range invalid.Mistakes {
		require.Equal(t, resource.CodeLocal, invalid.Mistakes[i].Code)
		require.NotEmpty(t, invalid.Mistakes[i].Hint)
		refused = append(refused, strings.TrimPrefix(invalid.Mistakes[i].Path, prefix))
	}
	require.ElementsMatch(t, paths, refused)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // what tests make can be encoded
	}
	return string(text)
}

// What is new has nobody's word for it.
func TestNewDatabaseFromOutsideNamesNoFiles(t *testing.T) {
	t.Parallel()
	body := `{"name": "new", "hostname": "h", "database": "d", "username": "u", "password": "p", "slot": {"name": "s"}, "publication": {"name": "p"},
		"sslcert": "/c", "sslkey": "/k", "sslrootcert": "/r", "password_file": "/p"}`
	var db resource.Database
	_, err := config.UpdateDatabase(&db, []byte(body), config.BodyOptions{Create: true})
	requireLocalOnly(t, err, "", []string{"password_file", "sslrootcert", "sslcert", "sslkey"})
	_, err = config.UpdateDatabase(&db, []byte(body), config.BodyOptions{Create: true, Local: true})
	require.NoError(t, err)
}

// The client's key itself is shown like any secret; its mask leaves it as it is, and another key with the same mask replaces it.
func TestClientKeyIsASecret(t *testing.T) {
	t.Parallel()
	db := localDatabase()
	set := func(key string) {
		_, err := config.UpdateDatabase(&db, []byte(encode(map[string]any{"sslcert": pemCert, "sslkey": key})), config.BodyOptions{})
		require.NoError(t, err)
	}
	set(pemKey)
	for _, o := range []config.FormOptions{{API: true}, {}} {
		require.NotContains(t, string(config.FormDatabase(&db, o)), "the-key-itself")
		o.Clear = true
		require.Contains(t, string(config.FormDatabase(&db, o)), "the-key-itself")
	}
	set(resource.Mask(pemKey))
	require.Equal(t, pemKey, db.SSLKey)
	other := strings.Replace(pemKey, "itself", "of others", 1)
	require.Equal(t, resource.Mask(pemKey), resource.Mask(other))
	set(other)
	require.Equal(t, other, db.SSLKey)
}
