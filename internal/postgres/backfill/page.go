package backfill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Cursor is where to read on. The zero value is the beginning.
type Cursor struct {
	After []*string `json:"after,omitempty"` // the last row's values of what is read along
	Nulls bool      `json:"nulls,omitempty"` // among the rows whose sort column is null
	Leaf  uint32    `json:"leaf,omitempty"`  // by blocks: the table
	Block int64     `json:"block,omitempty"`
	Key   int       `json:"key,omitempty"` // by a list of keys: the next of them
}

// String is the cursor as people read it.
func (c Cursor) String() string {
	switch {
	case len(c.After) > 0:
		parts := make([]string, len(c.After))
		for i, v := range c.After {
			parts[i] = "null"
			if v != nil {
				parts[i] = *v
			}
		}
		return strings.Join(parts, ":")
	case c.Leaf != 0:
		return fmt.Sprintf("block %d", c.Block)
	case c.Key > 0:
		return fmt.Sprintf("key %d of the list", c.Key)
	}
	return ""
}

// Page is a run of rows and the snapshot that they were read in.
type Page struct {
	Snapshot Snapshot
	Relation *cdc.Relation
	Rows     []cdc.Tuple
	Bytes    int
	Next     Cursor
	Done     bool // there is nothing behind it
	Took     time.Duration
}

// Page reads at most so many rows behind a cursor, in one transaction. It stops early when they are more than PageBytes. When the table was altered
// meanwhile it is read once more, as it is then.
func (r *Reader) Page(ctx context.Context, after Cursor, limit int) (*Page, error) {
	p, err := r.page(ctx, after, limit)
	if altered := problem.Code(err) == "backfill_table_changed" || errors.Is(err, errAltered); altered {
		r.described = time.Time{}
		p, err = r.page(ctx, after, limit)
	}
	return p, err
}

var errAltered = errors.New("the table was altered while it was read")

func (r *Reader) page(ctx context.Context, after Cursor, limit int) (*Page, error) {
	began := time.Now()
	if err := r.reach(ctx); err != nil {
		return nil, err
	}
	if err := r.renew(ctx); err != nil {
		return nil, err
	}
	if len(r.spec.Keys) > 0 {
		limit = min(limit, maxKeys)
	}
	at := leaf{}
	if r.order == nil {
		if after = r.enter(after); after.Leaf == 0 {
			return &Page{Relation: r.relation, Next: after, Done: true}, nil
		}
		var err error
		if at, err = r.leafOf(after.Leaf); err != nil {
			return nil, err
		}
		if limit, err = r.blocksFor(ctx, at, limit); err != nil {
			return nil, err
		}
	}
	p, columns := &Page{Relation: r.relation}, r.print
	seen, err := r.take(ctx, p, after, limit, at)
	if err != nil {
		return nil, r.explain(err)
	}
	if r.print != columns {
		return nil, fmt.Errorf("read table %s: %w", r.name(), errAltered)
	}
	p.Took = time.Since(began)
	r.advance(ctx, p, after, limit, seen)
	return p, nil
}

// take fills a page, and reports whether all rows were taken.
func (r *Reader) take(ctx context.Context, p *Page, after Cursor, limit int, at leaf) (whole bool, err error) {
	sql, args := r.query(after, limit, at)
	return r.rows(ctx, sql, args, func(values [][]byte) (bool, error) {
		row := tuple(values[:len(r.relation.Columns)])
		p.Rows = append(p.Rows, row)
		p.Bytes += len(row)
		return p.Bytes < PageBytes || r.order == nil || len(r.spec.Keys) > 0, nil
	}, &p.Snapshot)
}

// maxKeys of a list go into one statement: the values of a statement are at most 65,535.
const maxKeys = 500

// advance finds where the next page begins. seen is false when reading stopped early.
func (r *Reader) advance(ctx context.Context, p *Page, after Cursor, limit int, seen bool) {
	switch {
	case r.order == nil:
		p.Next, p.Done = r.nextBlocks(ctx, after, limit)
	case len(r.spec.Keys) > 0:
		p.Next = Cursor{Key: min(after.Key+limit, len(r.spec.Keys))}
		p.Done = p.Next.Key == len(r.spec.Keys)
	case len(p.Rows) > 0 && (!seen || len(p.Rows) >= limit):
		p.Next = Cursor{Nulls: after.Nulls}
		last := p.Rows[len(p.Rows)-1]
		for i, c := range r.order {
			if after.Nulls && i == 0 {
				continue
			}
			d, _ := last.Column(c.index)
			text := string(d.Text)
			p.Next.After = append(p.Next.After, &text)
		}
	case r.nullable && !after.Nulls:
		p.Next = Cursor{Nulls: true}
	default:
		p.Next, p.Done = after, true
	}
}

// tuple puts a row in the form in which the walsender sends one.
func tuple(values [][]byte) cdc.Tuple {
	n := 2
	for _, v := range values {
		n += 5 + len(v)
	}
	t := make(cdc.Tuple, 0, n)
	t = binary.BigEndian.AppendUint16(t, uint16(len(values))) //nolint:gosec // a table has at most 1,600 columns
	for _, v := range values {
		if v == nil {
			t = append(t, 'n')
			continue
		}
		t = binary.BigEndian.AppendUint32(append(t, 't'), uint32(len(v))) //nolint:gosec // a value has at most 1 GB
		t = append(t, v...)
	}
	return t
}

// query builds the statement of a page.
func (r *Reader) query(after Cursor, limit int, at leaf) (string, [][]byte) {
	var b strings.Builder
	var args [][]byte
	arg := func(text, typ string) string {
		args = append(args, []byte(text))
		return "$" + strconv.Itoa(len(args)) + "::text::" + typ
	}
	b.WriteString("select ")
	for i := range r.relation.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pgx.Identifier{r.relation.Columns[i].Name}.Sanitize())
	}
	if len(r.relation.Columns) == 0 {
		b.WriteString("null")
	}
	switch {
	case at.oid != 0:
		b.WriteString(" from only " + at.name)
	case r.table.Kind == "r":
		b.WriteString(" from only " + r.name())
	default:
		b.WriteString(" from " + r.name())
	}
	conditions := r.selected(after, limit, arg)
	if at.oid != 0 {
		conditions = append(conditions, r.inBlocks(after.Block, after.Block+int64(limit)))
	}
	if r.order != nil && len(r.spec.Keys) == 0 {
		conditions = append(conditions, r.behind(after, arg)...)
	}
	if len(conditions) > 0 {
		b.WriteString(" where " + strings.Join(conditions, " and "))
	}
	if r.order != nil && len(r.spec.Keys) == 0 {
		b.WriteString(" order by ")
		for i, c := range r.order {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(pgx.Identifier{c.name}.Sanitize())
		}
		b.WriteString(" limit " + strconv.Itoa(limit))
	}
	return b.String(), args
}

// selected are the conditions of the spec and of the publication. Each stands on lines of its own, so that a comment ends with it.
func (r *Reader) selected(after Cursor, limit int, arg func(text, typ string) string) []string {
	var all []string
	if r.table.RowFilter != "" {
		all = append(all, "("+r.table.RowFilter+")")
	}
	if r.spec.Where != "" {
		all = append(all, "(\n"+r.spec.Where+"\n)")
	}
	if r.order == nil {
		return all
	}
	first := r.order[0]
	if r.spec.From != "" {
		all = append(all, pgx.Identifier{first.name}.Sanitize()+" >= "+arg(r.spec.From, first.typ))
	}
	if r.spec.To != "" {
		all = append(all, pgx.Identifier{first.name}.Sanitize()+" < "+arg(r.spec.To, first.typ))
	}
	if r.spec.KeyQuery != "" {
		all = append(all, r.keyList()+" in (select * from (\n"+r.spec.KeyQuery+"\n) keys)")
	}
	if len(r.spec.Keys) > 0 {
		keys := r.spec.Keys[min(after.Key, len(r.spec.Keys)):min(after.Key+limit, len(r.spec.Keys))]
		rows := make([]string, len(keys))
		for i, key := range keys {
			values := make([]string, len(key))
			for j, v := range key {
				typ := "text"
				if j < len(r.keys()) {
					typ = r.keys()[j].typ
				}
				values[j] = arg(v, typ)
			}
			rows[i] = "(" + strings.Join(values, ", ") + ")"
		}
		if len(rows) == 0 {
			return append(all, "false")
		}
		all = append(all, r.keyList()+" in ("+strings.Join(rows, ", ")+")")
	}
	return all
}

// keys are the columns of the key, in their order.
func (r *Reader) keys() []column {
	if r.spec.SortColumn == "" {
		return r.order
	}
	return r.order[1:] // a sort column that is part of the key is not repeated, and then a list of keys is refused by the server
}

func (r *Reader) keyList() string {
	names := make([]string, 0, len(r.keys()))
	for _, c := range r.keys() {
		names = append(names, pgx.Identifier{c.name}.Sanitize())
	}
	return "(" + strings.Join(names, ", ") + ")"
}

// behind is the condition that rows are behind the cursor.
func (r *Reader) behind(after Cursor, arg func(text, typ string) string) []string {
	var all []string
	order := r.order
	if r.nullable {
		sort := pgx.Identifier{order[0].name}.Sanitize()
		if after.Nulls {
			all, order = append(all, sort+" is null"), order[1:]
		} else {
			all = append(all, sort+" is not null")
		}
	}
	if len(after.After) != len(order) || len(order) == 0 {
		return all
	}
	names, values := make([]string, len(order)), make([]string, len(order))
	for i, c := range order {
		names[i] = pgx.Identifier{c.name}.Sanitize()
		values[i] = arg(*after.After[i], c.typ)
	}
	return append(all, "("+strings.Join(names, ", ")+") > ("+strings.Join(values, ", ")+")")
}

// rows runs a query in a transaction of its own that reads only, and hands each row to take until that says stop. whole says that it did not.
func (r *Reader) rows(ctx context.Context, sql string, args [][]byte, take func(values [][]byte) (bool, error), snapshot *Snapshot) (whole bool, err error) {
	conn := r.conn.PgConn()
	ctx, cancel := context.WithTimeout(ctx, r.spec.Timeout+10*time.Second) // the server's own limit comes first
	defer cancel()
	defer func() {
		if err != nil && !conn.IsClosed() {
			if _, end := conn.Exec(ctx, "rollback").ReadAll(); end != nil {
				r.Close(ctx)
			}
		}
	}()
	if err := r.begin(ctx, conn, snapshot); err != nil {
		return false, err
	}
	result := conn.ExecParams(ctx, sql, args, nil, nil, nil)
	whole = true
	for result.NextRow() {
		if !whole {
			continue // what is on its way is let pass
		}
		more, err := take(result.Values())
		if err != nil {
			_, _ = result.Close()
			return false, err
		}
		whole = more
	}
	if _, err := result.Close(); err != nil {
		return false, err
	}
	ended, err := conn.Exec(ctx, printSQL(r.table.OID)+"; commit").ReadAll()
	if err != nil {
		return false, fmt.Errorf("end the page's transaction: %w", err)
	}
	if len(ended) > 0 && len(ended[0].Rows) == 1 {
		r.print = string(ended[0].Rows[0][0])
	}
	return whole, nil
}

// printSQL tells columns of a table by one text. In a transaction that has read from the table nobody alters it.
func printSQL(oid uint32) string {
	return fmt.Sprintf(`select coalesce(string_agg(concat_ws(' ', a.attnum, quote_ident(a.attname), a.atttypid, a.atttypmod, a.attgenerated), ',' order by a.attnum), '') ||
		coalesce((select concat(c.relreplident, c.relnamespace, quote_ident(c.relname)) from pg_class c where c.oid = %[1]d), '')
		from pg_attribute a where a.attrelid = %[1]d and a.attnum > 0 and not a.attisdropped`, oid)
}

// describeInterval is how often the catalog is asked for all there is to know.
const describeInterval = time.Second

// renew asks the catalog again from time to time, and when the last page found the table altered.
func (r *Reader) renew(ctx context.Context) error {
	if time.Since(r.described) < describeInterval {
		return nil
	}
	before := r.relation
	if err := r.conn.QueryRow(ctx, printSQL(r.table.OID)).Scan(&r.print); err != nil {
		return fmt.Errorf("look at table %s: %w", r.name(), err)
	}
	if err := r.describe(ctx); err != nil {
		return err
	}
	r.described = time.Now()
	if r.relation != before {
		return r.choose(ctx)
	}
	return nil
}

// begin begins the transaction of a page and takes its snapshot.
func (r *Reader) begin(ctx context.Context, conn *pgconn.PgConn, snapshot *Snapshot) error {
	current := "pg_current_snapshot()"
	if r.version < 130000 {
		current = "txid_current_snapshot()"
	}
	results, err := conn.Exec(ctx, fmt.Sprintf(`begin isolation level repeatable read read only;
		set local statement_timeout = %d; set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0; set local row_security = off;
		select %s::text`, r.spec.Timeout.Milliseconds(), current)).ReadAll()
	if err != nil {
		return fmt.Errorf("begin the page's transaction: %w", err)
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 || snapshot == nil {
		return nil
	}
	*snapshot, err = ParseSnapshot(string(last.Rows[0][0]))
	return err
}
