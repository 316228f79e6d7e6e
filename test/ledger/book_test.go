package ledger_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// change is one entry of the ledger in its place among all.
type change struct {
	n           int // place in commit order
	lsn         uint64
	idx         uint32
	table       table
	op          string
	groups      []string // keys within the table: the new one, and the old one of a change of key; none for a truncate
	new, old    map[string]any
	annotations string
	id          string // idempotency key
}

func (c *change) String() string {
	return fmt.Sprintf("%s of %s %v (%X:%d, %s)", c.op, c.table.name, c.groups, c.lsn, c.idx, c.id)
}

// row is what the message's record shows.
func (c *change) row() map[string]any {
	if c.op == "delete" {
		return c.old
	}
	return c.new
}

// book is the ledger in commit order.
type book struct {
	changes []*change
	byID    map[string]*change
}

// entry is a row of the ledger.
type entry struct {
	ID       int64
	XID      int64
	At       time.Time
	Tab, Op  string
	New, Old []byte
}

// readBook reads the ledger. Commit order and LSNs come from a slot of the test's own that decodes the ledger itself.
func readBook(t *testing.T, db *pgtest.DB, oracle string) *book {
	t.Helper()
	conn := db.Conn(t)
	rows, err := conn.Query(t.Context(), `select id, xid, at, tab, op, new::text::bytea, old::text::bytea from book.ledger order by id`)
	require.NoError(t, err)
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
	require.NoError(t, err)
	byXID := map[uint32][]entry{}
	for _, e := range entries {
		byXID[uint32(e.XID)] = append(byXID[uint32(e.XID)], e) //nolint:gosec // the low half is what the WAL has
	}

	rows, err = conn.Query(t.Context(), `select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'oracle')
		where get_byte(data, 0) = 66`, oracle)
	require.NoError(t, err)
	begins, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(t, err)
	oids := map[string]uint32{}
	for _, table := range tables() {
		oids[table.name] = pgtest.Value[uint32](t, db, "select $1::regclass::oid", table.name)
	}
	b := &book{byID: map[string]*change{}}
	for _, begin := range begins {
		xid := binary.BigEndian.Uint32(begin[17:])
		b.transaction(t, byXID[xid], binary.BigEndian.Uint64(begin[1:]), oids)
		delete(byXID, xid)
	}
	require.Empty(t, byXID, "transactions in the ledger that the oracle did not see commit")
	return b
}

// transaction numbers what one transaction did as the slot does: each change, truncate and logical message takes the next index.
func (b *book) transaction(t *testing.T, entries []entry, lsn uint64, oids map[string]uint32) {
	t.Helper()
	idx, annotations := uint32(0), "null"
	for i := 0; i < len(entries); i++ {
		e := entries[i]
		switch e.Op {
		case "message":
		case "annotate":
			annotations = string(e.New)
		case "truncate":
			last := i
			for last+1 < len(entries) && entries[last+1].Op == "truncate" && entries[last+1].At.Equal(e.At) {
				last++
			}
			for j := i; j <= last; j++ {
				suffix := ""
				if last > i {
					suffix = ":t" + strconv.FormatUint(uint64(oids[entries[j].Tab]), 10)
				}
				b.add(t, entries[j], lsn, idx, annotations, suffix)
			}
			i = last
		default:
			b.add(t, e, lsn, idx, annotations, "")
		}
		idx++
	}
}

func (b *book) add(t *testing.T, e entry, lsn uint64, idx uint32, annotations, suffix string) {
	t.Helper()
	table, ok := tableNamed(e.Tab)
	require.True(t, ok, e.Tab)
	c := &change{n: len(b.changes), lsn: lsn, idx: idx, table: table, op: e.Op, annotations: annotations}
	var err error
	c.new, err = object(e.New)
	require.NoError(t, err)
	c.old, err = object(e.Old)
	require.NoError(t, err)
	if c.op != "truncate" {
		c.groups = []string{table.keyOf(c.row())}
		if c.op == "update" && table.keyOf(c.old) != c.groups[0] {
			c.groups = append(c.groups, table.keyOf(c.old))
		}
	}
	c.id = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:%d%s", lsn, idx, suffix))
	b.changes = append(b.changes, c)
	b.byID[c.id] = c
}

// message is what consumers are sent, with the parts that a ledger can tell.
type message struct {
	Record   map[string]any `json:"record"`
	Changes  map[string]any `json:"changes"`
	Action   string         `json:"action"`
	Metadata struct {
		Schema      string   `json:"table_schema"`
		Table       string   `json:"table_name"`
		LSN         uint64   `json:"commit_lsn"`
		Idx         uint32   `json:"commit_idx"`
		Key         string   `json:"idempotency_key"`
		PKs         []string `json:"record_pks"`
		Annotations any      `json:"transaction_annotations"`
		Unchanged   []string `json:"unchanged_columns"`
	} `json:"metadata"`
}

// differs tells how a message differs from what the ledger says, "" if it does not. byRoot tells how partitions' truncates are named.
func (c *change) differs(m *message) string {
	switch {
	case m.Action != c.op:
		return fmt.Sprintf("action %q", m.Action)
	case m.Metadata.Schema != "public" || m.Metadata.Table != c.table.name:
		return fmt.Sprintf("table %s.%s", m.Metadata.Schema, m.Metadata.Table)
	case m.Metadata.LSN != c.lsn || m.Metadata.Idx != c.idx:
		return fmt.Sprintf("position %X:%d", m.Metadata.LSN, m.Metadata.Idx)
	case fmt.Sprint(m.Metadata.Annotations) != annotationText(c.annotations):
		return fmt.Sprintf("annotations %v, want %s", m.Metadata.Annotations, annotationText(c.annotations))
	case c.op == "truncate":
		return ""
	case !reflect.DeepEqual(m.Metadata.PKs, c.table.pks(c.row())):
		return fmt.Sprintf("record_pks %v", m.Metadata.PKs)
	}
	want, have := c.wantRecord(m.Metadata.Unchanged), m.Record
	if !reflect.DeepEqual(have, want) {
		return fmt.Sprintf("record %v, want %v", clip(have), clip(want))
	}
	if want := c.wantChanges(); !reflect.DeepEqual(m.Changes, want) {
		return fmt.Sprintf("changes %v, want %v", clip(m.Changes), clip(want))
	}
	for _, column := range m.Metadata.Unchanged {
		if text, _ := c.new[column].(string); c.op != "update" || c.table.full || c.new[column] != c.old[column] || len(text) < 1000 {
			return fmt.Sprintf("column %s is said to be unknown", column)
		}
	}
	return ""
}

func annotationText(text string) string {
	m, err := object([]byte(text))
	if err != nil || m == nil {
		return "<nil>"
	}
	return fmt.Sprint(any(m))
}

// wantRecord is the row; of a delete without the old row only the key is known.
func (c *change) wantRecord(unknown []string) map[string]any {
	want := map[string]any{}
	for column, value := range c.row() {
		want[column] = value
		if c.op == "delete" && !c.table.full {
			want[column] = nil
		}
	}
	for _, column := range c.table.key {
		want[column] = c.row()[column]
	}
	for _, column := range unknown {
		delete(want, column)
	}
	return want
}

// wantChanges are the old values of what an update changed: of all columns with replica identity full, of the key otherwise.
func (c *change) wantChanges() map[string]any {
	if c.op != "update" {
		return nil
	}
	want := map[string]any{}
	for column, value := range c.old {
		if c.table.full && c.new[column] != value {
			want[column] = value
		}
	}
	for _, column := range c.table.key {
		if c.new[column] != c.old[column] {
			want[column] = c.old[column]
		}
	}
	return want
}

// clip shortens long values for people.
func clip(m map[string]any) map[string]any {
	out := map[string]any{}
	for column, value := range m {
		if text, ok := value.(string); ok && len(text) > 40 {
			value = text[:40] + "…"
		}
		out[column] = value
	}
	return out
}
