package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Schemas lists the schemas of users by name, those without tables too.
func Schemas(ctx context.Context, conn Querier) ([]string, error) {
	names, err := texts(ctx, conn, `select nspname::text from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1`)
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	return names, nil
}

// TableNames lists the tables of a schema by name. A partitioned table stands for its partitions. A schema that is not there has none.
func TableNames(ctx context.Context, conn Querier, schema string) ([]string, error) {
	names, err := texts(ctx, conn, `
		select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't' and c.oid >= 16384
		order by 1`, schema)
	if err != nil {
		return nil, fmt.Errorf("list the tables of schema %q: %w", schema, err)
	}
	return names, nil
}

func texts(ctx context.Context, conn Querier, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
