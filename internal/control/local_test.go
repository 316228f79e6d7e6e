package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// Who may restore may not bring back, by that, files of the machine that the operator has had read once.
func TestRestoreNamesNoFilesOfTheMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const password = "password: pw-of-the-database"
	first := r.boot(strings.Replace(yaml, password, "password_file: /run/secrets/pg", 1))
	r.boot(strings.Replace(yaml, "hostname: localhost", "hostname: other", 1))
	require.Empty(t, r.current().Databases[0].PasswordFile)
	_, err := r.Restore(t.Context(), r.acme().ID, first.Revision, someone)
	var invalid *resource.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, resource.CodeLocal, invalid.Mistakes[0].Code)
	require.Equal(t, "databases[0].password_file", invalid.Mistakes[0].Path)
	_, err = r.Restore(t.Context(), r.acme().ID, first.Revision, control.Actor{Kind: control.ByLocal})
	require.NoError(t, err)
	require.Equal(t, "/run/secrets/pg", r.current().Databases[0].PasswordFile)
}

// An enrichment may ask a standby with the password of a database. Where that comes from the machine, only the operator says which standby.
func TestStandbyIsShownNoPasswordOfTheMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const function = `functions:
  - {name: customer, type: enrichment, code: "select id from orders where id = any($1)", replica: {hostname: %s}}
`
	inFile := strings.Replace(yaml, "password: pw-of-the-database", "password_file: /run/secrets/pg", 1)
	inFile = strings.Replace(inFile, "{name: orders, database: shop", "{name: orders, database: shop, source: {include_tables: [public.orders]}, enrichment: customer", 1)
	r.boot(inFile + fmt.Sprintf(function, "standby"))
	apply := func(text string) error {
		_, err := r.ApplyDocument(t.Context(), r.acme().ID, someone, control.Document{Name: "d.yaml", Data: []byte(text)})
		return err
	}
	var invalid *resource.InvalidError
	require.ErrorAs(t, apply(fmt.Sprintf(function, "evil.example.com")), &invalid)
	require.Equal(t, "functions[0].replica.hostname", invalid.Mistakes[0].Path)
	require.Equal(t, resource.CodeLocal, invalid.Mistakes[0].Code)
	require.NoError(t, apply(fmt.Sprintf(function, "standby")), "as it is")

	// Not by way of a function that nobody uses yet, either.
	other := strings.Replace(fmt.Sprintf(function, "evil.example.com"), "name: customer", "name: evil", 1)
	require.NoError(t, apply(other), "it asks nobody")
	use := "sinks: [{name: orders, database: shop, enrichment: evil}]\n"
	require.ErrorAs(t, apply(use), &invalid)
	require.Equal(t, resource.CodeLocal, invalid.Mistakes[0].Code)
	require.ErrorAs(t, apply(strings.Replace(other, "select id from orders where id = any($1)\",", "select id from orders where id = any($1)\", database: shop,", 1)), &invalid)
	_, err := r.Plan(t.Context(), r.acme().ID, control.Document{Name: "d.yaml", Data: []byte(use)})
	require.ErrorAs(t, err, &invalid)
	_, err = r.Plan(t.Context(), r.acme().ID, control.Document{Name: "d.yaml", Data: []byte(use), Local: true})
	require.NoError(t, err)
}
