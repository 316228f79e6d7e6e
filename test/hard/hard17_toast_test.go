package hard_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The same statements under every replica identity: an unchanged TOAST value is known only from a full old row, and where it is not known it is
// never replaced by a lookalike; old keys, deletes and messages without a key are as each identity allows.
func TestHard17UnchangedTOASTUnderEveryIdentity(t *testing.T) {
	t.Parallel()
	tables := []string{"by_default", "by_index", "by_full", "by_nothing", "keyless"}
	var ddl strings.Builder
	for _, table := range tables {
		key := " primary key"
		if table == "keyless" {
			key = ""
		}
		ddl.WriteString("create table " + table + " (id int" + key + ", n int, big text, u int not null);" +
			"alter table " + table + " alter big set storage external; create unique index " + table + "_u on " + table + " (u);")
	}
	ddl.WriteString(`alter table by_index replica identity using index by_index_u; alter table by_full replica identity full;
		alter table by_nothing replica identity nothing; alter table keyless replica identity full`)
	r := begin(t, setup{ddl: ddl.String(), sinks: pull + `
  - {name: marked, database: db, destination: {type: sequin_stream}, compatibility: {unchanged_toast: marker}}`})
	long := strings.Repeat("0123456789", 1000)
	for _, table := range tables {
		r.exec("insert into "+table+" values (1, 1, $1, 10)", long)
		if table == "by_nothing" {
			continue // Postgres itself refuses the rest
		}
		r.exec("update " + table + " set n = 2")
		r.exec("update " + table + " set id = 2, u = 11")
		r.exec("delete from " + table)
	}
	want := map[string][]string{
		"by_default": {
			`update by_default {"id":1,"n":2,"u":10} was {} unchanged big`, `update by_default {"id":2,"n":2,"u":11} was {"id":1} unchanged big`,
			`delete by_default {"id":2,"n":null,"big":null,"u":null}`,
		},
		"by_index": {
			`update by_index {"id":1,"n":2,"u":10} was {} unchanged big`, `update by_index {"id":2,"n":2,"u":11} was {"u":10} unchanged big`,
			`delete by_index {"id":null,"n":null,"big":null,"u":11}`,
		},
		"by_full": {
			`update by_full {"id":1,"n":2,"big":"LONG","u":10} was {"n":1}`, `update by_full {"id":2,"n":2,"big":"LONG","u":11} was {"id":1,"u":10}`,
			`delete by_full {"id":2,"n":2,"big":"LONG","u":11}`,
		},
		"by_nothing": nil,
		"keyless": {
			`update keyless {"id":1,"n":2,"big":"LONG","u":10} was {"n":1}`, `update keyless {"id":2,"n":2,"big":"LONG","u":11} was {"id":1,"u":10}`,
			`delete keyless {"id":2,"n":2,"big":"LONG","u":11}`,
		},
	}
	pks := map[string][]string{"by_default": {"1", "1", "2", "2"}, "by_index": {"1", "1", "2", ""}, "by_full": {"1", "1", "2", "2"}, "by_nothing": {"1"}}
	var lines, marked []string
	for _, table := range tables {
		lines = append(append(lines, `insert `+table+` {"id":1,"n":1,"big":"LONG","u":10}`), want[table]...)
	}
	for _, line := range lines {
		if head, _, ok := strings.Cut(line, " unchanged big"); ok {
			line = strings.Replace(head, `"n":2,`, `"n":2,"big":"unchanged_toast",`, 1)
		}
		marked = append(marked, line)
	}
	short := func(text []string) []string {
		for i := range text {
			text[i] = strings.ReplaceAll(text[i], long, "LONG")
		}
		return text
	}
	got := inOrder(r.drain("pull"))
	require.Equal(t, lines, short(saidAll(got)))
	seen := map[string]int{}
	for _, m := range got {
		table := m.Data.Metadata.TableName
		if table == "keyless" {
			require.Equal(t, []string{}, m.Data.Metadata.RecordPKs, "a table without a key: a list all the same")
			continue
		}
		require.Equal(t, pks[table][seen[table]], m.Data.Metadata.RecordPKs[0], said(m.Data)[:30])
		seen[table]++
	}
	require.Equal(t, marked, short(r.drained("marked")))
}
