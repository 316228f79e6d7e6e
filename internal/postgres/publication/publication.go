// Package publication looks at and creates publications, the server's lists of what a slot may decode.
//
// A publication makes UPDATE and DELETE fail on the tables in it that have no usable replica identity. So the ones that we create name their
// tables and leave those out, and say which, why and what repairs it; a publication that others made is only inspected. Works on Postgres 12 to
// 18. Functions use the connection they are given and nothing else, so they are as safe for concurrent use as it is.
package publication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Errors that callers decide on.
var (
	// ErrNotFound reports a publication that is not there.
	ErrNotFound = errors.New("publication not found")
	// ErrExists reports a publication that is there already.
	ErrExists = errors.New("publication exists")
	// ErrNoPrivilege reports that the role may not do this to the publication.
	ErrNoPrivilege = errors.New("privilege missing")
)

// Conn is a connection, a transaction or a pool.
type Conn interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Name is the name of a table.
type Name struct {
	Schema string
	Table  string
}

// String is the name as SQL.
func (n Name) String() string { return pgx.Identifier{n.Schema, n.Table}.Sanitize() }

// Publication is a publication as the server shows it.
type Publication struct {
	Name             string
	AllTables        bool
	Schemas          []string // FOR TABLES IN SCHEMA, 15 and later
	Insert           bool
	Update           bool
	Delete           bool
	Truncate         bool
	ViaPartitionRoot bool // 13 and later
	GeneratedStored  bool // 18 and later
	Comment          string
	// Tables are what is published now. With ViaPartitionRoot a partitioned table stands for its partitions.
	Tables []Published
	// Breaks are the tables whose UPDATE or DELETE fails, because the publication covers them and they have no usable replica identity.
	Breaks []LeftOut
}

// Published is a table in a publication.
type Published struct {
	Name
	OID       uint32
	Kind      string   // r table, p partitioned table
	Identity  string   // replica identity: d, n, f or i
	Columns   []string // the published columns, 15 and later; nil means all
	RowFilter string   // 15 and later
}

// header mirrors pg_publication. Read as JSON, one query serves every major version: columns that it lacks stay empty.
type header struct {
	AllTables  bool   `json:"puballtables"`
	Insert     bool   `json:"pubinsert"`
	Update     bool   `json:"pubupdate"`
	Delete     bool   `json:"pubdelete"`
	Truncate   bool   `json:"pubtruncate"`
	ViaRoot    bool   `json:"pubviaroot"`
	GenColumns string `json:"pubgencols"`
}

// Inspect returns the publication, or ErrNotFound.
func Inspect(ctx context.Context, conn Conn, name string) (Publication, error) {
	p, err := inspect(ctx, conn, name)
	if err != nil {
		return Publication{}, fmt.Errorf("inspect publication %q: %w", name, err)
	}
	return p, nil
}

func inspect(ctx context.Context, conn Conn, name string) (Publication, error) {
	p := Publication{Name: name}
	var raw []byte
	err := conn.QueryRow(ctx, `select to_jsonb(p), coalesce(obj_description(p.oid, 'pg_publication'), '') from pg_publication p where pubname = $1`, name).
		Scan(&raw, &p.Comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return Publication{}, ErrNotFound
	}
	if err != nil {
		return Publication{}, err
	}
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return Publication{}, err
	}
	p.AllTables, p.Insert, p.Update, p.Delete, p.Truncate = h.AllTables, h.Insert, h.Update, h.Delete, h.Truncate
	p.ViaPartitionRoot, p.GeneratedStored = h.ViaRoot, h.GenColumns == "s"
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return Publication{}, err
	}
	if version >= 150000 {
		if p.Schemas, err = schemas(ctx, conn, name); err != nil {
			return Publication{}, err
		}
	}
	if p.Tables, err = published(ctx, conn, name, version); err != nil {
		return Publication{}, err
	}
	if p.Update || p.Delete {
		p.Breaks, err = breaks(ctx, conn, name, version)
	}
	return p, err
}

func serverVersion(ctx context.Context, conn Conn) (int, error) {
	var version int
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int4`).Scan(&version)
	return version, err
}

func schemas(ctx context.Context, conn Conn, name string) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select n.nspname::text from pg_publication_namespace pn
		join pg_publication p on p.oid = pn.pnpubid
		join pg_namespace n on n.oid = pn.pnnspid
		where p.pubname = $1 order by 1`, name)
	if err != nil {
		return nil, err
	}
	return pgx.AppendRows([]string(nil), rows, pgx.RowTo[string])
}

// Column lists and row filters came with 15.
const publishedQuery = `
select c.oid, t.schemaname::text, t.tablename::text, c.relkind::text, c.relreplident::text, %s
from pg_publication_tables t
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
where t.pubname = $1
order by 2, 3`

const columnsAndFilter = `
  case when exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
    where p.pubname = t.pubname and r.prrelid = c.oid and r.prattrs is not null) then t.attnames::text[] end,
  coalesce(t.rowfilter, '')`

func published(ctx context.Context, conn Conn, name string, version int) ([]Published, error) {
	extra := `null::text[], ''`
	if version >= 150000 {
		extra = columnsAndFilter
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(publishedQuery, extra), name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (Published, error) {
		var t Published
		err := r.Scan(&t.OID, &t.Schema, &t.Table, &t.Kind, &t.Identity, &t.Columns, &t.RowFilter)
		return t, err
	})
}

// Drop removes a publication. It is for those that we made for a moment; no other is ever dropped unasked.
func Drop(ctx context.Context, conn Conn, name string) error {
	if _, err := conn.Exec(ctx, "drop publication "+quoteIdent(name)); err != nil {
		return fmt.Errorf("drop publication %q: %w", name, classify(err))
	}
	return nil
}

// classify wraps a server's error with the sentinel that it stands for.
func classify(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "42501":
		return fmt.Errorf("%w: %w", ErrNoPrivilege, err)
	case "42704":
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case "42710", "23505": // the second one when another transaction creates it at the same time
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
