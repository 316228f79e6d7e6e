package consumer_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/consumer"
)

// Of a table of events, what happened to one row keeps its order, whatever the primary key of the events is.
func TestEventsAreGroupedByTheRowThatTheyAreAbout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rel := &cdc.Relation{OID: 1, SourceID: 1, Schema: "public", Name: "events", Identity: 'd', PrimaryKey: []int{0}, IdentityKey: []int{0}}
		for _, name := range cdc.EventColumns() {
			rel.Columns = append(rel.Columns, cdc.Column{Name: name})
		}
		event := func(id, table, pk string) *cdc.Change {
			return &cdc.Change{Op: cdc.OpInsert, Relation: rel, New: cdctest.Tuple(id, "9", "db", table, "public", "t", pk, "{}", nil, "insert", "now", "now")}
		}
		gone := &cdc.Change{Op: cdc.OpDelete, OldKind: 'K', Relation: rel, Old: cdctest.Tuple("1", nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)}
		log := newLog()
		log.add(event("1", "7", "a"), event("2", "7", "b"), event("3", "7", "a"), event("4", "8", "a"), gone)
		c := start(t, log, newState(), pushConfig())
		synctest.Wait()
		ds := c.take(10)
		require.Equal(t, []uint64{1, 2, 4}, seqs(ds))
		require.Equal(t, "db:7:a", ds[0].Group)
		c.settle(consumer.Done, ds...)
		ds = c.take(10)
		require.Equal(t, []uint64{3}, seqs(ds), "a delete of events does not tell their rows, and waits for what is before it")
		c.settle(consumer.Done, ds...)
		require.Equal(t, []uint64{5}, seqs(c.take(10)))
	})
}
