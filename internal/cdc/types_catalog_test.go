package cdc_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type pgType struct {
	OID, Array, Elem uint32
	Name, Delim      string
	Class            string // of value, by typtype and typcategory: "array" or ""
}

// TestBuiltinTypesMatchTheCatalog compares the table with pg_type: every type with a fixed OID that a column can have is known, with its name,
// its array type and the right delimiter, and nothing is known that the catalog tells otherwise.
func TestBuiltinTypesMatchTheCatalog(t *testing.T) {
	t.Parallel()
	kinds := map[string]cdc.Kind{
		"bool": cdc.KindBool, "int2": cdc.KindInt, "int4": cdc.KindInt, "int8": cdc.KindInt, "oid": cdc.KindInt, "float4": cdc.KindFloat,
		"float8": cdc.KindFloat, "numeric": cdc.KindNumeric, "json": cdc.KindJSON, "jsonb": cdc.KindJSON, "timestamp": cdc.KindTimestamp,
		"timestamptz": cdc.KindTimestampTZ, "date": cdc.KindDate, "interval": cdc.KindInterval,
	}
	rows, err := pgtest.Shared(t).Database(t).Conn(t).Query(t.Context(), `
		select t.oid, t.typarray, t.typelem, t.typname::text, coalesce(e.typdelim, ',')::text,
			case when t.typcategory = 'A' and e.typarray = t.oid then 'array' else '' end
		from pg_type t left join pg_type e on e.oid = t.typelem
		where t.oid < 10000 and t.typtype in ('b', 'c', 'r', 'm')
		and not exists (select from pg_class c where c.oid = t.typrelid and c.relisshared)
		and coalesce(e.typtype, 'b') <> 'p'`)
	require.NoError(t, err)
	types, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pgType])
	require.NoError(t, err)
	require.Greater(t, len(types), 140)
	names := map[uint32]string{}
	for _, p := range types {
		names[p.OID] = p.Name
	}
	for _, p := range types {
		got, ok := cdc.BuiltinType(p.OID)
		require.True(t, ok, "%s (%d) is missing", p.Name, p.OID)
		require.Equal(t, p.Name, got.Name)
		if p.Class == "array" {
			require.Equal(t, cdc.KindArray, got.Kind, p.Name)
			require.Equal(t, p.Delim, string(got.Delim), p.Name)
			require.Equal(t, names[p.Elem], got.Elem.Name)
			require.Equal(t, kinds[names[p.Elem]], got.Elem.Kind, p.Name)
			continue
		}
		require.Equal(t, kinds[p.Name], got.Kind, p.Name)
	}
}
