package catalog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
)

func TestSchemasAndTheirTables(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create schema "Odd Name"; create table "Odd Name"."a.b" (id int); create view "Odd Name".v as select 1; create schema empty;
		create table plain (id int primary key); create temp table temporary (id int);
		create table parted (id int) partition by range (id); create table parted_1 partition of parted for values from (0) to (9)`)
	conn := db.Conn(t)
	schemas, err := catalog.Schemas(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, []string{"Odd Name", "empty", "public"}, schemas)
	for schema, want := range map[string][]string{"Odd Name": {"a.b"}, "empty": {}, "public": {"parted", "plain"}, "nowhere": {}, "pg_catalog": {}} {
		tables, err := catalog.TableNames(t.Context(), conn, schema)
		require.NoError(t, err)
		require.ElementsMatch(t, want, tables, schema)
	}
}
