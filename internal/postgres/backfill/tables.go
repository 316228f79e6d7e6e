package backfill

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/eventtable"
)

// TableName names a table.
type TableName struct{ Schema, Name string }

// Tables lists the tables that a publication has, partitioned ones in place of their partitions, but for Sequin's own.
func Tables(ctx context.Context, conn *pgx.Conn, publication string) ([]TableName, error) {
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_publication where pubname = $1::text)", publication).Scan(&there); err != nil {
		return nil, fmt.Errorf("look up publication %q: %w", publication, err)
	}
	if !there {
		return nil, fmt.Errorf("there is no publication %q yet", publication)
	}
	rows, err := conn.Query(ctx, `
		select distinct rn.nspname::text, r.relname::text from pg_publication_tables p
		join pg_namespace n on n.nspname = p.schemaname join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
		join pg_class r on r.oid = case when c.relispartition then coalesce(pg_partition_root(c.oid)::oid, c.oid) else c.oid end
		join pg_namespace rn on rn.oid = r.relnamespace
		where p.pubname = $1::text and not (rn.nspname = 'public' and r.relname = 'sequin_logical_messages') and r.relname <> $2::text order by 1, 2`,
		publication, eventtable.PositionTable)
	if err != nil {
		return nil, fmt.Errorf("list the tables of publication %q: %w", publication, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (TableName, error) {
		var t TableName
		err := row.Scan(&t.Schema, &t.Name)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of publication %q: %w", publication, err)
	}
	return all, nil
}
