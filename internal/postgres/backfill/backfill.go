// Package backfill reads the rows of a table in pages, each in a transaction of its own together with the snapshot that it saw, so that whoever
// reads a change log beside it can tell which changes a row has in it. Values come in the text that the walsender sends for them, and the relation
// is the one that the table's changes have.
//
// A table is read along its key, or another column and then the key; a partitioned one leaf by leaf, in the order of their OIDs. Rows that are there
// from the first page to the last and keep what they are read along are read exactly once. Without a key a table is read along its blocks, up to
// where it ended when the reading began. Then a row that an update moves meanwhile may be read twice, or not at all; that update is among the
// changes, unless the publication leaves updates out, and since it needs replica identity full it has the whole row. A table that is written anew (VACUUM FULL, CLUSTER, some forms of ALTER
// TABLE) moves all its rows without a change: it is noticed, and its blocks are read from the first again.
//
// The package delivers nothing and keeps nothing: a cursor says where to go on. A Reader is used by one goroutine, and starts none.
package backfill

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Spec tells what is to be read.
type Spec struct {
	Schema, Table string
	Publication   string // whose columns and rows count
	SortColumn    string // "" for the key alone
	Where         string // SQL; "" for all rows
	From, To      string // bounds of the sort column, or of a key of one column, as text; "" for none. From is included, To is not.
	Keys          [][]string
	KeyQuery      string // SQL that returns keys
	Blocks        *Blocks
	Timeout       time.Duration // of a page's statement; 0 for DefaultTimeout
}

// Blocks is a share of a table, as Split makes them: blocks From up to, not including, To, where To 0 stands for the end of the table; or with a Column
// the rows whose value in that is at least Lower and less than Upper.
type Blocks struct {
	From, To     int64
	Column       string `json:",omitempty"`
	Lower, Upper string `json:",omitempty"`
}

// DefaultTimeout of a page's statement.
const DefaultTimeout = 5 * time.Second

// partial tells whether not the whole table is wanted.
func (s *Spec) partial() bool {
	return s.Where != "" || s.From != "" || s.To != "" || len(s.Keys) > 0 || s.KeyQuery != ""
}

// Reader reads one table, over a connection of its own.
type Reader struct {
	spec    Spec
	connect func(ctx context.Context) (*pgx.Conn, error)
	conn    *pgx.Conn
	version int

	table    table
	leaves   []leaf  // of a partitioned table, by OID
	at       *source // what is being read
	planned  *source // whose look the server has planned
	pooled   bool    // it forgets plans
	windowed bool    // conditions let so few rows pass that a page would take too long: it ends after so many rows were looked at
}

// New connects and checks everything that can be known before the first page.
func New(ctx context.Context, connect func(ctx context.Context) (*pgx.Conn, error), spec Spec) (*Reader, error) {
	if spec.Timeout <= 0 {
		spec.Timeout = DefaultTimeout
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	if b := spec.Blocks; b != nil && b.Column != "" {
		spec.Blocks, spec.SortColumn, spec.From, spec.To = nil, b.Column, b.Lower, b.Upper
	}
	r := &Reader{spec: spec, connect: connect}
	if err := r.prepare(ctx); err != nil {
		r.Close(ctx)
		return nil, err
	}
	return r, nil
}

// Close ends the connection.
func (r *Reader) Close(ctx context.Context) {
	if r.conn != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = r.conn.Close(ctx) // a farewell
	}
}

// Relation is the table as its changes have it; of a partitioned table, the part that is being read. Each page names its own.
func (r *Reader) Relation() *cdc.Relation { return r.at.relation }

// ByBlocks tells whether the table is read along its blocks, for want of a key or because the spec says so.
func (r *Reader) ByBlocks() bool { return r.at.order == nil }

// prepare reads the catalog and checks the query.
func (r *Reader) prepare(ctx context.Context) error {
	if err := r.reach(ctx); err != nil {
		return err
	}
	if err := r.describe(ctx); err != nil {
		return err
	}
	first := leaf{}
	if len(r.leaves) > 0 {
		first = r.leaves[0]
	}
	if err := r.enter(ctx, first); err != nil {
		return err
	}
	return r.try(ctx)
}

// reach connects if there is no connection.
func (r *Reader) reach(ctx context.Context) error {
	if r.conn != nil && !r.conn.IsClosed() {
		return nil
	}
	conn, err := r.connect(ctx)
	if err != nil {
		return err
	}
	r.conn, r.planned = conn, nil
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int4").Scan(&r.version); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	return nil
}

// label is the table's name for people, name the one for SQL.
func (r *Reader) label() string { return r.spec.Schema + "." + r.spec.Table }
func (r *Reader) name() string  { return pgx.Identifier{r.spec.Schema, r.spec.Table}.Sanitize() }

// try has the server read the query, and explains what it finds.
func (r *Reader) try(ctx context.Context) error {
	q := r.query(Cursor{}, 1, nil)
	_, err := r.ask(ctx, "explain "+q.sql, q.args)
	return r.explain(err)
}
