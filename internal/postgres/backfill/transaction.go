package backfill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
)

// transaction is that of one page: it reads only, sees one snapshot, and keeps the table as it is.
type transaction struct {
	r        *Reader
	snapshot Snapshot
	file     uint32 // where the table's rows lay when the snapshot was taken
	blocks   int64  // how many it had
	perBlock float64
	ended    bool
	broken   bool // the page was full, and what was on its way to it too much
}

// grace is how much longer than the server we wait for a statement: its own limit comes first.
const grace = 10 * time.Second

// settings of the transaction. A row that policies would hide is an error rather than missing. Blocks have to be read in their order; compiling
// a plan for a page costs more than it brings.
const settings = `set local statement_timeout = %d; set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0;
	set local row_security = off; set local jit = off; set local max_parallel_workers_per_gather = 0;
	set local standard_conforming_strings = on`

const blockSettings = `; set local enable_seqscan = off; set local enable_indexscan = off; set local enable_indexonlyscan = off; set local enable_bitmapscan = off`

// begin begins a transaction and takes its snapshot. The lock comes before the snapshot: a table that is written anew in between would look
// empty to it. Without the privilege for the lock the file tells, at the end.
func (r *Reader) begin(ctx context.Context) (_ *transaction, err error) {
	sql := "begin isolation level repeatable read read only; " + fmt.Sprintf(settings, r.spec.Timeout.Milliseconds())
	if r.at.order == nil {
		sql += blockSettings
	}
	if r.at.lockable {
		sql += "; lock table " + r.locked() + " in access share mode"
	}
	look, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	sql += "; " + look
	t := &transaction{r: r}
	defer func() {
		if err != nil {
			t.leave(ctx)
		}
	}()
	values, err := r.simple(ctx, sql)
	if isUndefined(err) && r.at.lockable {
		return nil, errStale
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "26000" {
		r.pooled = true
		return nil, errStale
	}
	if err != nil {
		return nil, err
	}
	if len(values) != 5 {
		return nil, fmt.Errorf("begin a page's transaction: an answer of %d values", len(values))
	}
	if t.snapshot, err = ParseSnapshot(string(values[0])); err != nil {
		return nil, err
	}
	if string(values[1]) != r.at.shape {
		return nil, errStale
	}
	if _, err := fmt.Sscan(string(bytes.Join(values[2:], []byte(" "))), &t.file, &t.blocks, &t.perBlock); err != nil {
		return nil, fmt.Errorf("begin a page's transaction: %w", err)
	}
	return t, nil
}

// look is the query for the snapshot and what the table is like in it. It is planned once: planning takes longer than anything else that a page of a
// few rows needs. Where a pooler gives each transaction another server process there is no such plan, and the query goes along each time.
func (r *Reader) look(ctx context.Context) (string, error) {
	current := "pg_current_snapshot()"
	if r.version < 130000 {
		current = "txid_current_snapshot()"
	}
	sql := fmt.Sprintf(`select %s::text, %s, coalesce(c.relfilenode, 0), coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int8,
		case when c.relpages > 0 and c.reltuples > 0 then c.reltuples / c.relpages else 50 end
		from (select) one left join pg_class c on c.oid = %d`, current, r.shapeQuery(r.at), r.at.oid)
	if r.pooled {
		return sql, nil
	}
	if r.planned != r.at {
		prepare := "prepare sequin_look as " + sql
		if r.planned != nil {
			prepare = "deallocate sequin_look; " + prepare
		}
		r.planned = nil
		if _, err := r.simple(ctx, prepare); err != nil {
			return "", fmt.Errorf("plan a look at table %s: %w", r.label(), err)
		}
		r.planned = r.at
	}
	return "execute sequin_look", nil
}

// locked is the table that rows are read from, for LOCK.
func (r *Reader) locked() string {
	if r.at.leaf.oid != 0 {
		return "only " + r.at.leaf.name
	}
	return "only " + r.name()
}

// end ends the transaction. A table that lies elsewhere now was written anew after the snapshot, and what was read is nothing.
func (t *transaction) end(ctx context.Context) error {
	commit := "; commit"
	if t.broken {
		if commit = ""; t.r.at.lockable {
			t.ended = true
			return nil // nobody could write it anew
		}
		if err := t.r.reach(ctx); err != nil {
			return err
		}
	}
	values, err := t.r.simple(ctx, fmt.Sprintf("select coalesce(pg_relation_filenode(%d::oid::regclass), 0)%s", t.r.at.oid, commit))
	if err != nil {
		return fmt.Errorf("end the page's transaction: %w", err)
	}
	t.ended = true
	if len(values) != 1 || string(values[0]) != strconv.FormatUint(uint64(t.file), 10) {
		return errStale
	}
	return nil
}

// leave breaks a transaction off.
func (t *transaction) leave(ctx context.Context) {
	if t.ended || t.r.conn.IsClosed() {
		return
	}
	t.ended = true
	if _, err := t.r.simple(ctx, "rollback"); err != nil {
		t.r.Close(ctx)
	}
}

// simple runs statements without parameters and returns the only row that they have.
func (r *Reader) simple(ctx context.Context, sql string) (values [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.spec.Timeout+grace)
	defer cancel()
	results, err := r.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, result := range results {
		if len(result.Rows) > 0 {
			values = result.Rows[0]
		}
	}
	return values, nil
}

// ask runs a query in a transaction of its own and returns the first column of its rows.
func (r *Reader) ask(ctx context.Context, sql string, args [][]byte) ([]string, error) {
	t := &transaction{r: r}
	defer t.leave(ctx)
	if _, err := r.simple(ctx, "begin isolation level repeatable read read only; "+fmt.Sprintf(settings, r.spec.Timeout.Milliseconds())); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.spec.Timeout+grace)
	defer cancel()
	result := r.conn.PgConn().ExecParams(ctx, sql, args, nil, nil, nil)
	var first []string
	for result.NextRow() {
		first = append(first, string(result.Values()[0]))
	}
	_, err := result.Close()
	return first, err
}

// window is what the limit-th row behind the cursor has in the columns that are read along; nil when there are fewer rows.
func (t *transaction) window(ctx context.Context, after Cursor, limit int) ([]string, error) {
	q := t.r.windowQuery(after, limit)
	ctx, cancel := context.WithTimeout(ctx, t.r.spec.Timeout+grace)
	defer cancel()
	result := t.r.conn.PgConn().ExecParams(ctx, q.sql, q.args, nil, nil, nil)
	var window []string
	for result.NextRow() {
		for _, v := range result.Values() {
			window = append(window, string(v))
		}
	}
	_, err := result.Close()
	return window, err
}

// hardBytes of rows end a page although more are on their way: the rows before them told too little of their size.
const hardBytes = 2 * PageBytes

// read reads the rows of a query into the page. stopped says that it is full and there may be more behind it; last is where its last row lies, when
// blocks are read.
func (t *transaction) read(ctx context.Context, p *Page, q *query) (stopped bool, last string, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.r.spec.Timeout+grace)
	defer cancel()
	conn := t.r.conn.PgConn()
	var a arena
	result := conn.ExecParams(ctx, q.sql, q.args, nil, nil, nil)
	p.Rows = make([]cdc.Tuple, 0, min(q.limit, 1<<16))
	for result.NextRow() {
		last = t.take(p, &a, result.Values())
		if p.Bytes > hardBytes && len(p.Rows) < q.limit {
			t.broken = true
			cancel() // closes the connection, and has the server cancel what runs
			break
		}
	}
	_, err = result.Close()
	if len(p.Rows) > 0 {
		t.r.at.rowBytes = max(p.Bytes/len(p.Rows), 1)
	}
	if t.broken {
		if conn.IsClosed() {
			<-conn.CleanupDone()
		}
		return true, last, nil
	}
	return len(p.Rows) >= q.limit, last, err
}

// take puts a row into the page, and returns where it lies when blocks are read.
func (t *transaction) take(p *Page, a *arena, values [][]byte) (at string) {
	columns := len(p.Relation.Columns)
	if t.r.at.order == nil {
		at = string(values[columns])
	}
	row := a.tuple(values[:columns])
	p.Rows = append(p.Rows, row)
	p.Bytes += len(row)
	return at
}
