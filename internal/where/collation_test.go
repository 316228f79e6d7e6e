package where_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/where"
)

// TestCaseOfLetters compares the case of every letter with that of each library that the server has: what is answered here is what all of
// them say.
func TestCaseOfLetters(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	conn := db.Conn(t)
	collations, err := collect[string](t, conn, `
		select collname::text from pg_collation where collname in ('C', 'C.utf8', 'C.UTF-8', 'en_US.utf8', 'de_DE.utf8', 'en-x-icu', 'de-x-icu', 'fr-x-icu', 'pg_c_utf8', 'pg_unicode_fast')
		and collencoding in (-1, 6)`)
	require.NoError(t, err)
	require.Contains(t, collations, "C")
	t.Log(collations)
	for _, name := range collations {
		t.Run(name, func(t *testing.T) {
			conn := db.Conn(t)
			checkCase(t, conn, name)
		})
	}
}

func collect[T any](t *testing.T, conn *pgx.Conn, sql string) ([]T, error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

func checkCase(t *testing.T, conn *pgx.Conn, name string) {
	t.Helper()
	table := "letters_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToLower(name))
	_, err := conn.Exec(t.Context(), `create table `+table+` (letter text collate "`+name+`")`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `insert into `+table+` select 'x' || chr(n) || 'Y' from generate_series(1, 70000) n where n not between 55296 and 57343`)
	require.NoError(t, err)
	var oid uint32
	require.NoError(t, conn.QueryRow(t.Context(), `select '`+table+`'::regclass::oid`).Scan(&oid))
	found, err := catalog.WhereTable(t.Context(), conn, oid)
	require.NoError(t, err)
	options, err := catalog.WhereOptions(t.Context(), conn)
	require.NoError(t, err)
	lower, err := where.CompileExpression("lower(letter)", &found, options)
	require.NoError(t, err)
	upper, err := where.CompileExpression("upper(letter)", &found, options)
	require.NoError(t, err)
	type row struct{ Letter, Lower, Upper string }
	rows, err := conn.Query(t.Context(), `select letter, lower(letter), upper(letter) from `+table)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	relation := &cdc.Relation{Columns: []cdc.Column{{Name: "letter", TypeOID: 25}}}
	answered := 0
	for _, r := range all {
		change := &cdc.Change{Op: cdc.OpInsert, Relation: relation, New: tuple([][]byte{[]byte(r.Letter)})}
		if text, _, err := lower.Text(change); err == nil {
			answered++
			require.Equal(t, r.Lower, text, "%q", r.Letter)
		}
		if text, _, err := upper.Text(change); err == nil {
			require.Equal(t, r.Upper, text, "%q", r.Letter)
		}
	}
	require.Greater(t, answered, 30000)
	_, _, err = where.Compile("letter < 'x'", found, options)
	bytewise := name == "C" || name == "pg_c_utf8" || name == "pg_unicode_fast"
	require.Equal(t, bytewise, err == nil, "the order is known for bytewise collations alone")
}
