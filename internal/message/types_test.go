package message_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/message"
)

// TestEveryType inserts edge values of every type, and wants the WAL to say what a SELECT says, and the message to say it in the right JSON.
func TestEveryType(t *testing.T) {
	t.Parallel()
	w := newWAL(t)
	w.exec(t, cdctest.OwnTypes)
	version := w.db.Server.Version(t)
	want := map[string][]string{}
	for i, tc := range cdctest.EveryType {
		if version < tc.Since {
			continue
		}
		table := fmt.Sprintf("t%d", i)
		w.exec(t, fmt.Sprintf(`create table %s (id int generated always as identity primary key, v %s)`, table, tc.Type))
		for j := 0; j < len(tc.Values); j += 2 {
			w.exec(t, fmt.Sprintf(`insert into %s (v) values (%s)`, table, tc.Values[j]))
			want[table] = append(want[table], tc.Values[j+1])
		}
	}
	got := map[string][]*cdc.Change{}
	for _, c := range w.read(t) {
		got[c.Relation.Name] = append(got[c.Relation.Name], c)
	}
	require.Len(t, got, len(want))
	for i, tc := range cdctest.EveryType {
		table := fmt.Sprintf("t%d", i)
		if want[table] == nil {
			continue
		}
		require.Len(t, got[table], len(want[table]), tc.Type)
		for j, text := range w.selected(t, table) {
			c := got[table][j]
			d, ok := c.New.Column(1)
			require.True(t, ok)
			require.Equal(t, text == nil, d.Null(), "%s %s", tc.Type, tc.Values[2*j])
			if text != nil {
				require.Equal(t, *text, string(d.Text), "%s %s: the WAL and a SELECT differ", tc.Type, tc.Values[2*j])
			}
			record := decodeMessage(t, c, message.Format{}).Record
			require.Equal(t, want[table][j], string(record["v"]), "%s %s", tc.Type, tc.Values[2*j])
		}
	}
}
