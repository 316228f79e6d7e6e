// Package backfill reads the rows of a table in pages, each in a transaction of its own together with the snapshot that it saw, so that whoever
// reads a change log beside it can tell which changes a row has in it. Values come in the text that the walsender sends for them, and the relation
// is the one that the table's changes have.
//
// A table is read along its key, or another column and then the key. Rows that are there from the first page to the last and keep their key are
// read exactly once. Without a key, and where a table is shared by several readers, it is read along its blocks: a row that an update moves
// meanwhile may be read twice, or not at all; the update is among the changes.
//
// The package delivers nothing and keeps nothing: a cursor says where to go on. A Reader is used by one goroutine.
package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/problem"
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

// Blocks is a range of a table's blocks. To 0 stands for the end of the table.
type Blocks struct{ From, To int64 }

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

	table     tableFacts
	print     string    // of the table's columns, as they were last seen
	described time.Time // when the catalog was asked
	relation  *cdc.Relation
	order     []column // what the rows are read along; nil for blocks
	nullable  bool     // order[0] may be null: those rows come last
	leaves    []leaf   // read along blocks
}

// column is a column that rows are ordered or selected by.
type column struct {
	name, typ string
	index     int // in the relation
	notNull   bool
}

// tableFacts are what the catalog says of the table.
type tableFacts struct {
	OID       uint32
	Kind      string // r or p
	Identity  byte
	RowFilter string
	shape     string // what must not change between two pages
}

// leaf is a table that holds rows.
type leaf struct {
	oid  uint32
	name string // quoted
}

// New connects and checks everything that can be known before the first page.
func New(ctx context.Context, connect func(ctx context.Context) (*pgx.Conn, error), spec Spec) (*Reader, error) {
	if spec.Timeout <= 0 {
		spec.Timeout = DefaultTimeout
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

// Relation is the table as its changes have it.
func (r *Reader) Relation() *cdc.Relation { return r.relation }

// ByBlocks tells whether the table is read along its blocks, for want of a key or because the spec says so.
func (r *Reader) ByBlocks() bool { return r.order == nil }

// prepare reads the catalog and checks the query.
func (r *Reader) prepare(ctx context.Context) error {
	if err := r.reach(ctx); err != nil {
		return err
	}
	if err := r.describe(ctx); err != nil {
		return err
	}
	if err := r.choose(ctx); err != nil {
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
	r.conn = conn
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int4").Scan(&r.version); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	return nil
}

func (r *Reader) name() string { return pgx.Identifier{r.spec.Schema, r.spec.Table}.Sanitize() }

const tableQuery = `
select c.oid::int8, c.relkind::text, c.relreplident::text, c.relpersistence = 'p', c.relispartition
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1::text and c.relname = $2::text`

// describe finds the table, its published columns, and the relation that its changes have.
func (r *Reader) describe(ctx context.Context) error {
	var (
		oid                  int64
		kind, identity       string
		permanent, ofAnother bool
		known                = r.table.OID
		label                = r.spec.Schema + "." + r.spec.Table
	)
	err := r.conn.QueryRow(ctx, tableQuery, r.spec.Schema, r.spec.Table).Scan(&oid, &kind, &identity, &permanent, &ofAnother)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New("backfill_table_missing", "there is no table %s", label).WithHint("see what there is: select schemaname, tablename from pg_tables")
	}
	if err != nil {
		return fmt.Errorf("look up table %s: %w", label, err)
	}
	switch {
	case kind != "r" && kind != "p":
		return problem.New("backfill_not_a_table", "%s is no table", label).WithDetail("only tables and partitioned tables have changes that can be captured").
			WithHint("backfill the tables that it is made of")
	case !permanent:
		return problem.New("backfill_not_a_table", "table %s is unlogged or temporary", label).WithDetail("its changes are not in the WAL").
			WithHint("alter table %s set logged", r.name())
	case ofAnother:
		return problem.New("backfill_not_a_table", "table %s is a partition", label).WithDetail("its changes are reported as those of its partitioned table").
			WithHint("backfill the partitioned table")
	case known != 0 && known != uint32(oid): //nolint:gosec // an oid
		return problem.New("backfill_table_changed", "table %s was dropped and created anew", label).WithHint("start another backfill")
	}
	r.table.OID, r.table.Kind, r.table.Identity = uint32(oid), kind, identity[0] //nolint:gosec // an oid
	published, err := r.published(ctx)
	if err != nil {
		return err
	}
	sent := cdc.Relation{SourceID: r.table.OID, Schema: r.spec.Schema, Name: r.spec.Table, Identity: r.table.Identity}
	var names []string
	if sent.Columns, names, err = r.columns(ctx, published); err != nil {
		return err
	}
	sent.IdentityKey = r.identityKey(&sent, names)
	rel, err := catalog.Relation(ctx, r.conn, sent)
	if err != nil {
		return err
	}
	if shape := shapeOf(rel); r.relation == nil || shape != r.table.shape {
		r.relation, r.table.shape = rel, shape
	}
	return nil
}

// shapeOf is what makes relations of one table the same.
func shapeOf(rel *cdc.Relation) string {
	var b strings.Builder
	for i := range rel.Columns {
		fmt.Fprintf(&b, "%q %d %d,", rel.Columns[i].Name, rel.Columns[i].TypeOID, rel.Columns[i].TypeMod)
	}
	fmt.Fprintf(&b, "%v %v %c", rel.PrimaryKey, rel.IdentityKey, rel.Identity)
	return b.String()
}

// published are the names of the columns that the publication has of the table, or of its partitions; nil for all. It keeps the rows' filter.
func (r *Reader) published(ctx context.Context) ([]string, error) {
	if r.spec.Publication == "" {
		return nil, nil
	}
	columns, filter := "null::text[]", "null::text"
	if r.version >= 150000 {
		columns, filter = "p.attnames::text[]", "p.rowfilter"
	}
	sql := fmt.Sprintf(`
		select %s, %s from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname
		join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
		where p.pubname = $1::text and (c.oid = $2::oid or c.relispartition and pg_partition_root(c.oid)::oid = $2::oid)
		order by c.oid = $2::oid desc limit 1`, columns, filter)
	var names []string
	var rows *string
	err := r.conn.QueryRow(ctx, sql, r.spec.Publication, r.table.OID).Scan(&names, &rows)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.New("backfill_table_not_published", "publication %q does not have table %s.%s", r.spec.Publication, r.spec.Schema, r.spec.Table).
			WithDetail("what changes while it is read would not be noticed").
			WithHint("alter publication %s add table %s", pgx.Identifier{r.spec.Publication}.Sanitize(), r.name())
	}
	if err != nil {
		return nil, fmt.Errorf("look up publication %q: %w", r.spec.Publication, err)
	}
	r.table.RowFilter = ""
	if rows != nil {
		r.table.RowFilter = *rows
	}
	return names, nil
}

// columns are the table's columns that are sent, in their order, and those of the replica identity by name.
func (r *Reader) columns(ctx context.Context, published []string) (columns []cdc.Column, identity []string, err error) {
	rows, err := r.conn.Query(ctx, `
		select a.attname::text, a.attnum, a.atttypid, a.atttypmod, a.attgenerated::text <> '',
			exists (select from pg_index i where i.indrelid = a.attrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
				and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
		from pg_attribute a join pg_class c on c.oid = a.attrelid
		where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped order by a.attnum`, r.table.OID)
	if err != nil {
		return nil, nil, fmt.Errorf("columns of table %s: %w", r.name(), err)
	}
	defer rows.Close()
	for rows.Next() {
		var c cdc.Column
		var generated, key bool
		if err := rows.Scan(&c.Name, &c.AttNum, &c.TypeOID, &c.TypeMod, &generated, &key); err != nil {
			return nil, nil, fmt.Errorf("columns of table %s: %w", r.name(), err)
		}
		if published != nil && !slices.Contains(published, c.Name) || generated && (r.version < 180000 || published == nil) {
			continue
		}
		columns = append(columns, c)
		if key {
			identity = append(identity, c.Name)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("columns of table %s: %w", r.name(), err)
	}
	return columns, identity, nil
}

// identityKey are the columns that the walsender would flag.
func (r *Reader) identityKey(rel *cdc.Relation, names []string) []int {
	var key []int
	for i := range rel.Columns {
		if r.table.Identity == 'f' || slices.Contains(names, rel.Columns[i].Name) {
			key = append(key, i)
		}
	}
	return key
}

// choose finds what to read along.
func (r *Reader) choose(ctx context.Context) error {
	r.order, r.leaves, r.nullable = nil, nil, false
	key, err := r.keyColumns(ctx)
	if err != nil {
		return err
	}
	switch {
	case r.spec.SortColumn != "":
		sort, err := r.columnNamed(ctx, r.spec.SortColumn)
		if err != nil {
			return err
		}
		r.order, r.nullable = []column{sort}, !sort.notNull && r.spec.From == "" && r.spec.To == ""
		for _, c := range key {
			if c.name != sort.name {
				r.order = append(r.order, c)
			}
		}
		if len(key) == 0 {
			return r.keyless("be read along another column: rows that are alike in it could be missed")
		}
	case r.spec.Blocks != nil || len(key) == 0:
		if len(r.spec.Keys) > 0 || r.spec.KeyQuery != "" || r.spec.From != "" || r.spec.To != "" {
			return r.keyless("be read by keys")
		}
		return r.findLeaves(ctx)
	default:
		r.order = key
	}
	if (r.spec.From != "" || r.spec.To != "") && r.spec.SortColumn == "" && len(key) != 1 {
		return problem.New("backfill_bounds", "the bounds need a sort column").WithDetail("the key of table %s has %d columns", r.name(), len(key)).
			WithHint("set sort_column to the column that they are meant for")
	}
	return nil
}

func (r *Reader) keyless(what string) error {
	return problem.New("backfill_no_key", "table %s.%s has no key", r.spec.Schema, r.spec.Table).WithDetail("it cannot %s", what).
		WithHint("add a primary key, or backfill the whole table, or a part of it by where")
}

// keyColumns are the columns of the primary key, of the replica identity's index, or of another that no two rows share and that is never null.
func (r *Reader) keyColumns(ctx context.Context) ([]column, error) {
	rows, err := r.conn.Query(ctx, `
		select a.attname::text, format_type(a.atttypid, -1), a.attnotnull from pg_index i
		join lateral unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality k(num, at) on true
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
		where i.indexrelid = (select x.indexrelid from pg_index x
			where x.indrelid = $1::oid and x.indisunique and x.indisvalid and x.indimmediate and x.indpred is null and x.indexprs is null
			and not exists (select from unnest((x.indkey::int2[])[0:x.indnkeyatts - 1]) u(num)
				left join pg_attribute b on b.attrelid = x.indrelid and b.attnum = u.num where not coalesce(b.attnotnull, false))
			order by x.indisprimary desc, x.indisreplident desc, x.indnkeyatts, x.indexrelid limit 1)
		order by k.at`, r.table.OID)
	if err != nil {
		return nil, fmt.Errorf("key of table %s: %w", r.name(), err)
	}
	return r.collect(rows)
}

func (r *Reader) collect(rows pgx.Rows) ([]column, error) {
	key, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (column, error) {
		var c column
		err := row.Scan(&c.name, &c.typ, &c.notNull)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("key of table %s: %w", r.name(), err)
	}
	for i := range key {
		if key[i].index = r.relation.ColumnIndex(key[i].name); key[i].index < 0 {
			return nil, nil // not published: as if there were none
		}
	}
	return key, nil
}

func (r *Reader) columnNamed(ctx context.Context, name string) (column, error) {
	rows, err := r.conn.Query(ctx, `
		select attname::text, format_type(atttypid, -1), attnotnull from pg_attribute
		where attrelid = $1::oid and attname = $2::text and attnum > 0 and not attisdropped`, r.table.OID, name)
	if err != nil {
		return column{}, fmt.Errorf("column %q of table %s: %w", name, r.name(), err)
	}
	found, err := r.collect(rows)
	if err != nil {
		return column{}, err
	}
	if len(found) == 0 {
		return column{}, problem.New("backfill_column_missing", "table %s.%s has no published column %q", r.spec.Schema, r.spec.Table, name).
			WithHint("set sort_column to one of its columns: %s", strings.Join(r.columnNames(), ", "))
	}
	return found[0], nil
}

func (r *Reader) columnNames() []string {
	names := make([]string, len(r.relation.Columns))
	for i := range r.relation.Columns {
		names[i] = r.relation.Columns[i].Name
	}
	return names
}

// try has the server read the query, and explains what it finds.
func (r *Reader) try(ctx context.Context) error {
	sql, args := r.query(Cursor{}, 1, r.firstLeaf())
	_, err := r.rows(ctx, "explain "+sql, args, func([][]byte) (bool, error) { return true, nil }, nil)
	return r.explain(err)
}

// explain makes an error of the server one for people.
func (r *Reader) explain(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch class := pgErr.Code[:2]; {
	case pgErr.Code == "42501" && strings.Contains(pgErr.Message, "row-level security"):
		return problem.New("backfill_row_security", "row level security hides rows of table %s", r.name()).Because(err).
			WithHint("let Sequin's role pass it: alter role … bypassrls")
	case pgErr.Code == "42501":
		return problem.New("backfill_no_privilege", "table %s cannot be read", r.name()).WithDetail("%s", pgErr.Message).Because(err).
			WithHint("grant select on %s to Sequin's role", r.name())
	case pgErr.Code == "57014":
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case pgErr.Code == "42P01" || pgErr.Code == "42703" && r.spec.Where == "" && r.spec.KeyQuery == "":
		return problem.New("backfill_table_changed", "table %s is not what it was", r.name()).WithDetail("%s", pgErr.Message).Because(err).
			WithHint("start another backfill")
	case (class == "42" || class == "22" || class == "0A" || class == "25" || class == "21") && (r.spec.partial() || r.spec.SortColumn != ""):
		return problem.New("backfill_query", "the server does not take the query of the backfill").WithDetail("%s", pgErr.Message).Because(err).
			WithHint("mend where, key_query, the keys, the sort column or the bounds, and start another backfill")
	}
	return err
}

// ErrTimeout reports a page that took longer than it may: a smaller one may do.
var ErrTimeout = errors.New("the page took too long")
