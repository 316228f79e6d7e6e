package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Table is a table as the catalog shows it, for resolving names and choosing columns.
type Table struct {
	OID      uint32   `json:"oid"`
	Schema   string   `json:"schema"`
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`     // r table, p partitioned table, f foreign table
	Identity string   `json:"identity"` // replica identity: d, n, f or i
	Columns  []Column `json:"columns"`
	// PrimaryKey and IdentityIndex hold the names of the columns in attnum order. IdentityIndex is empty unless Identity is i.
	PrimaryKey    []string `json:"primary_key"`
	IdentityIndex []string `json:"identity_index,omitempty"`
	// KeyUsable is false for a primary key that is deferrable or invalid: it identifies no rows for UPDATE and DELETE.
	KeyUsable bool `json:"key_usable"`
	// Root is the topmost partitioned table of a partition, 0 for other tables.
	Root uint32 `json:"root,omitempty"`
	// Unlogged and temporary tables are never published.
	Permanent bool `json:"permanent"`
	// Rows is the planner's estimate, -1 when there is none yet.
	Rows int64 `json:"rows"`
}

// Column is a column of a table.
type Column struct {
	Name      string `json:"name"`
	AttNum    int16  `json:"attnum"`
	TypeOID   uint32 `json:"type_oid"`
	Type      string `json:"type"` // as people write it, with modifiers: numeric(10,2)
	NotNull   bool   `json:"not_null"`
	Generated bool   `json:"generated"` // stored or virtual generated columns, which pgoutput leaves out unless told otherwise
}

// Column returns the named column.
func (t *Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

const keyColumns = `coalesce((select jsonb_agg(a.attname order by a.attnum) from pg_index i
    join pg_attribute a on a.attrelid = c.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    where i.indrelid = c.oid and %s), '[]')`

const tablesQuery = `
select jsonb_build_object(
  'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'identity', c.relreplident,
  'permanent', c.relpersistence = 'p',
  'rows', case when c.reltuples < 0 or (c.reltuples = 0 and c.relpages = 0) then -1 else c.reltuples::int8 end,
  'root', case when c.relispartition then coalesce(pg_partition_root(c.oid)::oid::int8, 0) else 0 end,
  'primary_key', %s,
  'identity_index', %s,
  'key_usable', exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid and i.indimmediate),
  'columns', coalesce((select jsonb_agg(jsonb_build_object('name', a.attname, 'attnum', a.attnum, 'type_oid', a.atttypid::int8,
      'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull, 'generated', a.attgenerated <> '') order by a.attnum)
    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't' and c.oid >= 16384
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by n.nspname, c.relname`

// Tables lists the tables of users, partitions included, by schema and name.
func Tables(ctx context.Context, conn Querier) ([]Table, error) {
	sql := fmt.Sprintf(tablesQuery, fmt.Sprintf(keyColumns, "i.indisprimary"), fmt.Sprintf(keyColumns, "i.indisreplident and c.relreplident = 'i'"))
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Table, error) {
		var (
			raw []byte
			t   Table
		)
		if err := r.Scan(&raw); err != nil {
			return t, err
		}
		err := json.Unmarshal(raw, &t)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return tables, nil
}

// Columns resolves the columns of a table that is known by its OID, in the form in which a relation message would bring them; generated
// columns are left out, as pgoutput does. ErrGone if there is no such table.
func Columns(ctx context.Context, conn Querier, oid uint32) ([]cdc.Column, error) {
	rows, err := conn.Query(ctx, `
		select attname::text, attnum, atttypid, atttypmod from pg_attribute
		where attrelid = $1::oid and attnum > 0 and not attisdropped and attgenerated = '' order by attnum`, oid)
	if err != nil {
		return nil, fmt.Errorf("columns of table %d: %w", oid, err)
	}
	columns, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (cdc.Column, error) {
		var c cdc.Column
		err := r.Scan(&c.Name, &c.AttNum, &c.TypeOID, &c.TypeMod)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("columns of table %d: %w", oid, err)
	}
	if len(columns) == 0 {
		if _, err := lookUp(ctx, conn, oid); err != nil {
			return nil, fmt.Errorf("columns of table %d: %w", oid, ErrGone)
		}
	}
	if err := FillTypes(ctx, conn, columns); err != nil {
		return nil, fmt.Errorf("columns of table %d: %w", oid, err)
	}
	return columns, nil
}
