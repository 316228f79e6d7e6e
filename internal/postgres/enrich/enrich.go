// Package enrich finds what belongs to rows by a query of the user's: one query for a whole batch, given the primary keys of its rows, each column
// of the key as an array, in the order of the columns' names. The answer is matched to the rows by the key columns that it returns; its values read
// like those of messages. Queries see the database as it is when they run, which is later than the change: see the reference of functions.
//
// Connections are read-only and few; they are opened when needed and closed when idle. A Query is safe for concurrent use.
package enrich

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
)

// Options of a Query.
type Options struct {
	Name    string // of the function, for errors
	SQL     string
	Connect func(ctx context.Context) (*pgx.Conn, error)
	Logger  *slog.Logger

	Format      message.Format
	Timeout     time.Duration // of one query; 0 for DefaultTimeout
	MaxRows     int           // of one query; 0 for DefaultMaxRows
	Connections int           // at most; 0 for DefaultConnections
	CacheFor    time.Duration // how old an answer may be; 0 for none
}

// The defaults of Options.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultMaxRows     = 10_000
	DefaultConnections = 4
)

// Found is what belongs to one row: a JSON object, nil for nothing, or an error.
type Found struct {
	Object []byte
	Err    error
}

// Query is a query that runs.
type Query struct {
	o     Options
	pool  *pool
	cache *cache
}

// New makes a query. It connects to nothing yet.
func New(o Options) *Query {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxRows <= 0 {
		o.MaxRows = DefaultMaxRows
	}
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Query{o: o, pool: newPool(o.Connections, o.Connect, o.Logger), cache: newCache(o.CacheFor)}
}

// Close closes the connections. Nothing may be under way.
func (q *Query) Close() { q.pool.close() }

// key is the primary key of a relation, its columns by name.
type key struct {
	columns []int
	names   []string
	types   []uint32
}

func keyOf(rel *cdc.Relation) key {
	k := key{columns: slices.Clone(rel.PrimaryKey)}
	slices.SortFunc(k.columns, func(a, b int) int { return strings.Compare(rel.Columns[a].Name, rel.Columns[b].Name) })
	for _, c := range k.columns {
		k.names, k.types = append(k.names, rel.Columns[c].Name), append(k.types, rel.Columns[c].TypeOID)
	}
	return k
}

// values are the key's values in a row, as one text; false when the server did not send them.
func (k *key) values(c *cdc.Change) (values [][]byte, joined string, ok bool) {
	row := c.New
	if c.Op == cdc.OpDelete {
		row = c.Old
	}
	var text []byte
	for _, col := range k.columns {
		d, there := row.Column(col)
		if !there || d.Null() || d.Unchanged() {
			return nil, "", false
		}
		values = append(values, d.Text)
		text = appendPart(text, d.Text)
	}
	return values, string(text), true
}

// appendPart appends a value so that no two lists of values read the same.
func appendPart(dst, value []byte) []byte {
	dst = fmt.Appendf(dst, "%d:", len(value))
	return append(dst, value...)
}

// ask is what is asked for in one query.
type ask struct {
	key    key
	params [][][]byte // by column of the key, then by row
	of     map[string][]int
	keys   []string
}

// Enrich asks for what belongs to the rows of changes. The error besides says that nothing could be found out.
func (q *Query) Enrich(ctx context.Context, changes []*cdc.Change) ([]Found, error) {
	found := make([]Found, len(changes))
	asks := map[*cdc.Relation]*ask{}
	now := time.Now()
	for i, c := range changes {
		a := asks[c.Relation]
		if a == nil {
			a = &ask{key: keyOf(c.Relation), of: map[string][]int{}}
			a.params = make([][][]byte, len(a.key.columns))
			asks[c.Relation] = a
		}
		if len(a.key.columns) == 0 {
			found[i].Err = q.problem("table %s.%s has no primary key, by which rows could be found", c.Relation.Schema, c.Relation.Name)
			continue
		}
		values, joined, ok := a.key.values(c)
		if !ok {
			found[i].Err = q.problem("the change does not tell its row's primary key")
			continue
		}
		if object, ok := q.cache.get(joined, now); ok {
			found[i].Object = object
			continue
		}
		if _, again := a.of[joined]; !again {
			a.keys = append(a.keys, joined)
			for n, v := range values {
				a.params[n] = append(a.params[n], v)
			}
		}
		a.of[joined] = append(a.of[joined], i)
	}
	for _, a := range asks {
		if len(a.keys) == 0 {
			continue
		}
		if err := q.run(ctx, a, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Check has the database read the query, for the rows of a relation, without running it.
func (q *Query) Check(ctx context.Context, rel *cdc.Relation) error {
	ctx, cancel := context.WithTimeout(ctx, q.o.Timeout)
	defer cancel()
	k := keyOf(rel)
	if len(k.columns) == 0 {
		return q.problem("table %s.%s has no primary key, by which rows could be found", rel.Schema, rel.Name)
	}
	conn, _, err := q.pool.take(ctx)
	if err != nil {
		return q.unreachable(err)
	}
	defer q.pool.put(ctx, conn)
	p, err := q.prepare(ctx, conn, &k)
	if err != nil {
		return q.explain(ctx, err)
	}
	_, err = q.keyColumns(p, &k)
	return err
}

func (q *Query) problem(format string, args ...any) *problem.Error {
	return problem.New("enrichment_failed", "enrichment %q: %s", q.o.Name, fmt.Sprintf(format, args...))
}

// run asks one question. A connection that turns out to be dead before it was asked anything is replaced once.
func (q *Query) run(ctx context.Context, a *ask, found []Found) error {
	ctx, cancel := context.WithTimeout(ctx, q.o.Timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		conn, used, err := q.pool.take(ctx)
		if err != nil {
			return q.unreachable(err)
		}
		rows, err := q.query(ctx, conn, a)
		stale := err != nil && used && attempt == 1 && ctx.Err() == nil && (conn.conn.IsClosed() || outdated(err))
		if stale {
			q.pool.drop(ctx, conn)
			continue
		}
		q.pool.put(ctx, conn)
		if err != nil {
			return q.explain(ctx, err)
		}
		q.match(a, rows, found)
		return nil
	}
}

// outdated reports whether what a connection had prepared is of no use any more: a table has other columns now, or the statement is gone.
func outdated(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "0A000" || pg.Code == "26000")
}

func (q *Query) unreachable(err error) error {
	if p, ok := problem.As(err); ok {
		return problem.New(p.Code, "enrichment %q: %s", q.o.Name, p.Message).WithDetail("%s", p.Detail).WithHint("%s", p.Hint).Because(err)
	}
	return q.problem("its database cannot be reached: %s", err.Error()).WithHint("it is tried again")
}

func (q *Query) explain(ctx context.Context, err error) error {
	if p, ok := problem.As(err); ok {
		return p
	}
	if ctx.Err() != nil {
		return q.problem("the query did not answer within %s", q.o.Timeout).WithHint("make it faster, raise timeout_ms of the function, or lower batch_size").Because(err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		message, value := pg.Message, ""
		if strings.HasPrefix(pg.Code, "22") { // of the data: the value stands at the end
			message, value = problem.CutValue(message)
		}
		p := q.problem("%s (SQLSTATE %s)", message, pg.Code).WithPrivate(value).Because(err)
		if pg.Position > 0 {
			p = p.WithDetail("at character %d of the query", pg.Position)
		}
		if pg.Hint != "" {
			p = p.WithHint("%s", pg.Hint)
		}
		return p
	}
	return q.problem("%s", err.Error()).Because(err)
}

// match gives each row of the answer to the messages that it belongs to.
func (q *Query) match(a *ask, rows []row, found []Found) {
	answers := make(map[string][]byte, len(rows))
	twice := map[string]bool{}
	for _, r := range rows {
		if _, there := answers[r.key]; there {
			twice[r.key] = true
		}
		answers[r.key] = r.object
	}
	now := time.Now()
	for _, key := range a.keys {
		for _, i := range a.of[key] {
			if twice[key] {
				found[i].Err = q.problem("the query returns more than one row for a key").WithHint("aggregate them, or add a condition, so that each key has one row")
				continue
			}
			found[i].Object = answers[key]
		}
		if !twice[key] {
			q.cache.put(key, answers[key], now)
		}
	}
}
