package eventtable

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// annotations is the one column that may be missing.
const annotations = "transaction_annotations"

// needed are the columns of an event table, with the types that they may have; the first is that of DDL.
var needed = []struct {
	name  string
	types []string
}{
	{"id", nil},
	{"seq", []string{"bigint", "numeric"}},
	{"source_database_id", []string{"uuid", "text", "character varying"}},
	{"source_table_oid", []string{"bigint", "oid", "numeric"}},
	{"source_table_schema", []string{"text", "character varying", "name"}},
	{"source_table_name", []string{"text", "character varying", "name"}},
	{"record_pk", []string{"text", "character varying"}},
	{"record", []string{"jsonb", "json"}},
	{"changes", []string{"jsonb", "json"}},
	{"action", []string{"text", "character varying"}},
	{"committed_at", []string{"timestamp with time zone"}},
	{"inserted_at", []string{"timestamp with time zone", "timestamp without time zone"}},
	{annotations, []string{"jsonb", "json"}},
}

// column is one of a table's.
type column struct {
	kind string // the type without its modifier
	cast string // the type
}

// table is what a look at the event table found.
type table struct {
	name        Name
	kind        string // of relation
	persistence string
	columns     map[string]column
	unique      bool   // there is an index by which repeated rows are recognized
	may         bool   // insert and select
	readOnly    bool   // the server, or the session
	role        string // whose session it is

	statement string // that writes rows
	keeps     bool   // the position can be kept
}

func (t *table) has(name string) bool { _, there := t.columns[name]; return there }

const lookTable = `select c.oid::bigint, c.relkind::text, c.relpersistence::text, has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'select'),
	pg_is_in_recovery() or current_setting('transaction_read_only') = 'on', current_user::text,
	exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
		and (select array_agg(a.attname::text order by a.attname) from unnest(i.indkey::int2[]) with ordinality k(attnum, n)
			join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum where k.n <= i.indnkeyatts)
			= array['committed_at', 'record_pk', 'seq', 'source_database_id'])
	from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2`

const lookColumns = `select a.attname::text, case when t.typtype = 'd' then format_type(t.typbasetype, null) else format_type(t.oid, null) end,
	format_type(a.atttypid, a.atttypmod)
	from pg_attribute a join pg_type t on t.oid = a.atttypid where a.attrelid = $1::bigint::oid and a.attnum > 0 and not a.attisdropped`

// look reads what must be known of the table.
func look(ctx context.Context, conn *pgx.Conn, name Name) (*table, error) {
	t := &table{name: name, columns: map[string]column{}}
	var oid int64
	err := conn.QueryRow(ctx, lookTable, name.Schema, name.Table).Scan(&oid, &t.kind, &t.persistence, &t.may, &t.readOnly, &t.role, &t.unique)
	if err != nil {
		return nil, fmt.Errorf("look at event table %s: %w", name, err)
	}
	rows, err := conn.Query(ctx, lookColumns, oid)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of event table %s: %w", name, err)
	}
	var named string
	var c column
	_, err = pgx.ForEachRow(rows, []any{&named, &c.kind, &c.cast}, func() error {
		t.columns[named] = c
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the columns of event table %s: %w", name, err)
	}
	if t.has("seq") {
		t.statement = t.insert()
	}
	return t, nil
}

// fit tells what keeps the table from being written, nil for nothing.
func (t *table) fit() error {
	if missing := t.missing(); len(missing) > 0 {
		return problem.New("retention_columns_missing", "table %s is not an event table: it lacks %s", t.name, strings.Join(missing, ", ")).
			WithHint("add the columns, or make a new table: %s", DDL(t.name, false))
	}
	if wrong := t.wrong(); len(wrong) > 0 {
		return problem.New("retention_column_type", "event table %s has columns of another type: %s", t.name, strings.Join(wrong, "; ")).
			WithHint("alter table %s alter column … type …; or make a new table: %s", t.name.quoted(), DDL(t.name, false))
	}
	switch {
	case t.kind != "r" && t.kind != "p":
		return problem.New("retention_not_a_table", "%s is not a table", t.name).WithHint("name a table that rows can be kept in: %s", DDL(t.name, false))
	case t.persistence != "p":
		return problem.New("retention_table_unlogged", "event table %s is unlogged: a crash of its server would empty it", t.name).
			WithHint("alter table %s set logged", t.name.quoted())
	case !t.unique:
		return problem.New("retention_key_missing", "event table %s has no unique index on (%s)", t.name, keyColumns).
			WithDetail("without it a row that was written before a crash could not be recognized").
			WithHint("create unique index on %s (%s)", t.name.quoted(), keyColumns)
	case t.readOnly:
		return problem.New("retention_read_only", "event table %s cannot be written: its server, or the role, is read-only", t.name).
			WithHint("give the destination database the address of the primary; or alter role … set default_transaction_read_only = off")
	case !t.may:
		return problem.New("retention_not_permitted", "role %q may not write event table %s", t.role, t.name).
			WithHint("grant select, insert on %s to %s; and grant usage on its id's sequence", t.name.quoted(), pgx.Identifier{t.role}.Sanitize())
	}
	return nil
}

func (t *table) missing() []string {
	return slices.DeleteFunc(cdc.EventColumns(), t.has)
}

// wrong are the columns whose types values do not fit.
func (t *table) wrong() []string {
	var all []string
	for _, c := range needed {
		have, there := t.columns[c.name]
		if there && c.types != nil && !slices.Contains(c.types, have.kind) {
			all = append(all, fmt.Sprintf("%s is %s, and should be %s", c.name, have.cast, c.types[0]))
		}
	}
	return all
}
