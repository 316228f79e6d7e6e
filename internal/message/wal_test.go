package message_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// wal reads what happened in a database through a slot, in SQL, and joins it with the catalog the way capture does.
type wal struct {
	db                *pgtest.DB
	conn              *pgx.Conn
	slot, publication string
	relations         map[uint32]*cdc.Relation
}

// session pins every setting that changes the text of values.
const session = `
	set datestyle = iso; set intervalstyle = postgres; set timezone = 'UTC'; set bytea_output = hex; set extra_float_digits = 3;
	set lc_monetary = 'C'`

func newWAL(t *testing.T) *wal {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	w := &wal{db: db, conn: db.Conn(t), slot: db.Slot(t), publication: db.Publication(t), relations: map[uint32]*cdc.Relation{}}
	w.exec(t, session)
	w.exec(t, fmt.Sprintf("create publication %s for all tables", w.publication))
	w.exec(t, fmt.Sprintf("select pg_create_logical_replication_slot('%s', 'pgoutput')", w.slot))
	return w
}

func (w *wal) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := w.conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, "%s", sql)
}

// read returns the changes since the last call.
func (w *wal) read(t *testing.T) []*cdc.Change {
	t.Helper()
	options := fmt.Sprintf(`'proto_version', '1', 'publication_names', '%s'`, w.publication)
	if w.db.Server.Version(t) >= 140000 {
		options += `, 'messages', 'true'`
	}
	sql := fmt.Sprintf(`select data from pg_logical_slot_get_binary_changes('%s', null, null, %s)`, w.slot, options)
	rows, err := w.conn.Query(t.Context(), sql, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	require.NoError(t, err)
	packets, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(t, err)
	var changes []*cdc.Change
	tx := cdc.Change{}
	for _, b := range packets {
		changes = append(changes, w.decode(t, b, &tx)...)
	}
	return changes
}

// decode turns one message into changes. tx keeps what they have in common with the others of the transaction.
func (w *wal) decode(t *testing.T, b []byte, tx *cdc.Change) []*cdc.Change {
	t.Helper()
	next := func(op cdc.Op, relation uint32) *cdc.Change {
		c := &cdc.Change{Op: op, Position: tx.Position, CommitTime: tx.CommitTime, XID: tx.XID, Relation: w.relations[relation]}
		tx.Position.Index++
		return c
	}
	switch pgoutput.Kind(b) {
	case pgoutput.KindBegin:
		m, err := pgoutput.ParseBegin(b)
		require.NoError(t, err)
		tx.Position, tx.CommitTime, tx.XID = cdc.Position{LSN: m.FinalLSN}, m.CommitTime, m.XID
	case pgoutput.KindRelation:
		m, err := pgoutput.ParseRelation(b)
		require.NoError(t, err)
		w.relations[m.OID] = w.relation(t, m)
	case pgoutput.KindInsert:
		m, err := pgoutput.ParseInsert(b)
		require.NoError(t, err)
		c := next(cdc.OpInsert, m.RelationID)
		c.New = m.New
		return []*cdc.Change{c}
	case pgoutput.KindUpdate:
		m, err := pgoutput.ParseUpdate(b)
		require.NoError(t, err)
		c := next(cdc.OpUpdate, m.RelationID)
		c.OldKind, c.Old, c.New = m.OldKind, m.Old, m.New
		return []*cdc.Change{c}
	case pgoutput.KindDelete:
		m, err := pgoutput.ParseDelete(b)
		require.NoError(t, err)
		c := next(cdc.OpDelete, m.RelationID)
		c.OldKind, c.Old = m.OldKind, m.Old
		return []*cdc.Change{c}
	case pgoutput.KindTruncate:
		m, err := pgoutput.ParseTruncate(b)
		require.NoError(t, err)
		var changes []*cdc.Change
		for _, oid := range m.AppendRelationIDs(nil) {
			c := next(cdc.OpTruncate, oid)
			c.TruncateN = m.Len()
			changes = append(changes, c)
		}
		return changes
	case pgoutput.KindMessage:
		m, err := pgoutput.ParseMessage(b)
		require.NoError(t, err)
		c := next(cdc.OpMessage, 0)
		c.Prefix, c.Content = m.Prefix, m.Content
		return []*cdc.Change{c}
	case pgoutput.KindCommit:
		_, err := pgoutput.ParseCommit(b)
		require.NoError(t, err)
	case pgoutput.KindType:
		_, err := pgoutput.ParseType(b)
		require.NoError(t, err)
	default:
		t.Fatalf("unexpected message %q", b[0])
	}
	return nil
}

// relation joins a Relation message with the catalog.
func (w *wal) relation(t *testing.T, m pgoutput.Relation) *cdc.Relation {
	t.Helper()
	r := &cdc.Relation{OID: m.OID, SourceID: m.OID, Schema: m.Schema, Name: m.Name, Identity: m.Identity}
	for i, c := range m.Columns {
		typ := cdc.TypeFor(c.TypeOID, func(oid uint32) (cdc.CatalogType, bool) { return w.catalogType(t, oid) })
		r.Columns = append(r.Columns, cdc.Column{Name: c.Name, TypeOID: c.TypeOID, TypeMod: c.TypeMod, Type: typ})
		if c.Key {
			r.IdentityKey = append(r.IdentityKey, i)
		}
	}
	rows, err := w.conn.Query(t.Context(), `
		select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
		where i.indrelid = $1 and i.indisprimary order by a.attnum`, m.OID)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, name := range names {
		r.PrimaryKey = append(r.PrimaryKey, r.ColumnIndex(name))
	}
	return r
}

func (w *wal) catalogType(t *testing.T, oid uint32) (cdc.CatalogType, bool) {
	t.Helper()
	var c cdc.CatalogType
	var kind, category, delim string
	err := w.conn.QueryRow(t.Context(), `
		select typname::text, typtype::text, typcategory::text, typbasetype, typelem, typdelim::text from pg_type where oid = $1`, oid).
		Scan(&c.Name, &kind, &category, &c.Base, &c.Elem, &delim)
	require.NoError(t, err)
	c.Type, c.Category, c.Delim = kind[0], category[0], delim[0]
	return c, true
}

// selected is the text of each row's column v, as a client that reads the table gets it.
func (w *wal) selected(t *testing.T, table string) []*string {
	t.Helper()
	results, err := w.conn.PgConn().Exec(t.Context(), "select v from "+table+" order by id").ReadAll()
	require.NoError(t, err)
	require.Len(t, results, 1)
	var texts []*string
	for _, row := range results[0].Rows {
		if row[0] == nil {
			texts = append(texts, nil)
			continue
		}
		text := string(row[0])
		texts = append(texts, &text)
	}
	return texts
}

// decoded is a message's JSON, taken apart.
type decoded struct {
	Record   map[string]json.RawMessage
	Changes  map[string]json.RawMessage
	Action   string
	Metadata struct {
		CommitIdx        int      `json:"commit_idx"`
		RecordPKs        []string `json:"record_pks"`
		UnchangedColumns []string `json:"unchanged_columns"`
	}
}

func decodeMessage(t *testing.T, c *cdc.Change, f message.Format) decoded {
	t.Helper()
	b, err := message.Append(nil, c, f, tail, message.Flags{})
	require.NoError(t, err)
	var m decoded
	require.NoError(t, json.Unmarshal(b, &m), "%s", b)
	return m
}
