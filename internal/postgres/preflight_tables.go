package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/problem"
)

// tableFacts is what the catalog says of a table that may matter to those who want its changes.
type tableFacts struct {
	publication.Name
	kind       string // pg_class.relkind
	permanent  bool
	identity   string // pg_class.relreplident
	usage      bool   // of its schema
	readable   bool
	secured    bool // row-level security hides rows from us
	partition  bool
	inherited  bool     // other tables inherit from it
	hypertable bool     // of TimescaleDB
	large      []string // columns whose values may be stored out of line
	generated  []string // stored columns that are computed
	virtual    []string // columns that are computed when read
	temporary  bool
	root       string // the partitioned table that it belongs to
}

// tablesQuery reads them. attgenerated is there from 12 on, and virtual columns from 18 on.
const tableFactsQuery = `
select n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'p', c.relpersistence = 't', c.relreplident::text,
  has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT') or has_any_column_privilege(c.oid, 'SELECT'),
  c.relrowsecurity and row_security_active(c.oid), c.relispartition,
  c.relkind = 'r' and exists (select from pg_inherits h where h.inhparent = c.oid),
  coalesce((select array_agg(a.attname::text order by a.attnum) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attstorage in ('x', 'e') and (c.reltoastrelid <> 0 or c.relkind = 'p')), '{}'),
  coalesce((select array_agg(a.attname::text order by a.attnum) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = 's'), '{}'),
  coalesce((select array_agg(a.attname::text order by a.attnum) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = 'v'), '{}'),
  coalesce((select pg_partition_root(c.oid)::regclass::text where c.relispartition), '')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where %s
order by 1, 2`

// The tables that the checks look at: those asked for, those that a publication names, or all tables of users.
const (
	tablesByName = `c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.nspname, c.relname) in (select * from unnest($1::text[], $2::text[]))`
	tablesOfUser = `c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't' and c.oid >= 16384 and n.nspname !~ '^pg_'
  and n.nspname not in ('information_schema', 'sequin_config', 'sequin_streams')
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`
)

// checkTables reads the tables and says which cannot be published, or not as one might think.
func (p *preflight) checkTables(ctx context.Context) (finding, error) {
	if err := p.readTables(ctx); err != nil {
		return finding{}, err
	}
	if found := p.unusableTables(); found != nil {
		return fail(found), nil
	}
	left, usable := split(p.tables)
	p.tables = usable
	text := count(len(p.tables), "table")
	if len(left) > 0 {
		text += "; unlogged and foreign ones cannot be published: " + someTables(left, (*tableFacts).label)
	}
	if hyper := filter(p.tables, func(t *tableFacts) bool { return t.hypertable }); len(hyper) > 0 {
		return warn(problem.New("hypertable_chunks", "%s of TimescaleDB: the rows live in chunks, and a publication of the hypertable alone sends none of their changes",
			count(len(hyper), "table is a hypertable", "tables are hypertables")).
			WithDetail("%s", someTables(hyper, (*tableFacts).label)).WithHint("%s", p.chunksHint())), nil
	}
	if parts := filter(p.tables, func(t *tableFacts) bool { return t.partition && len(p.opts.Tables) > 0 }); len(parts) > 0 {
		text += "; changes of partitions come under the name of the partitioned table: " + someTables(parts, func(t *tableFacts) string { return t.label() + " of " + t.root })
	}
	if parents := filter(p.tables, func(t *tableFacts) bool { return t.inherited && !t.hypertable }); len(parents) > 0 {
		text += "; tables that inherit are tables of their own: " + someTables(parents, (*tableFacts).label)
	}
	return good("%s", text), nil
}

func (t *tableFacts) label() string { return t.Name.String() }

// unusable tells why the table cannot be published, "" if it can.
func (t *tableFacts) unusable() string {
	switch {
	case t.kind == "v":
		return "is a view"
	case t.kind == "m":
		return "is a materialized view"
	case t.kind == "f":
		return "is a foreign table"
	case t.temporary:
		return "is temporary"
	case !t.permanent:
		return "is unlogged"
	}
	return ""
}

// unusableTables complains of tables asked for that are not there, or can never be published.
func (p *preflight) unusableTables() *problem.Error {
	var missing, unusable, hints []string
	for _, name := range p.opts.Tables {
		i := slices.IndexFunc(p.tables, func(t *tableFacts) bool { return t.Name == name })
		if i < 0 {
			missing = append(missing, name.String())
			continue
		}
		why := p.tables[i].unusable()
		if why == "" {
			continue
		}
		unusable = append(unusable, name.String()+" "+why)
		if why == "is unlogged" {
			hints = append(hints, fmt.Sprintf("ALTER TABLE %s SET LOGGED", name))
		}
	}
	switch {
	case len(missing) > 0:
		return problem.New("table_not_found", "the database has no table %s", strings.Join(missing, ", ")).
			WithHint("correct the names, schema included, or create the tables")
	case len(unusable) > 0:
		return problem.New("table_not_publishable", "Postgres cannot publish the changes of %s", count(len(unusable), "of the tables", "of the tables")).
			WithDetail("%s", strings.Join(unusable, "; ")).
			WithHint("%s", strings.Join(append(hints, "capture the tables that a view or a foreign table reads from, in their own database"), "; "))
	}
	return nil
}

// chunksHint publishes the chunks, as far as the version lets one.
func (p *preflight) chunksHint() string {
	name := quoteIdent(p.publicationName())
	if p.server.version < 150000 {
		return "add the chunks to the publication one by one, and new ones as they appear; or upgrade to 15 or later, where a publication can name their schema"
	}
	if p.report.Publication == nil {
		return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE …, TABLES IN SCHEMA _timescaledb_internal; it takes a superuser, and changes come under the names of the chunks", name)
	}
	return fmt.Sprintf("ALTER PUBLICATION %s ADD TABLES IN SCHEMA _timescaledb_internal; it takes a superuser, and changes come under the names of the chunks", name)
}

func (p *preflight) readTables(ctx context.Context) error {
	where, args := tablesOfUser, []any(nil)
	switch pub := p.report.Publication; {
	case len(p.opts.Tables) > 0:
		where, args = tablesByName, nameArgs(p.opts.Tables)
	case pub != nil:
		var names []publication.Name
		for _, t := range pub.Tables {
			names = append(names, t.Name)
		}
		where, args = tablesByName, nameArgs(names)
	}
	rows, err := p.conn.Query(ctx, fmt.Sprintf(tableFactsQuery, where), args...)
	if err != nil {
		return err
	}
	p.tables, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*tableFacts, error) {
		t := new(tableFacts)
		err := r.Scan(&t.Schema, &t.Table, &t.kind, &t.permanent, &t.temporary, &t.identity, &t.usage, &t.readable, &t.secured, &t.partition, &t.inherited,
			&t.large, &t.generated, &t.virtual, &t.root)
		return t, err
	})
	if err != nil {
		return err
	}
	return p.markHypertables(ctx)
}

func nameArgs(names []publication.Name) []any {
	schemas, tables := make([]string, 0, len(names)), make([]string, 0, len(names))
	for _, n := range names {
		schemas, tables = append(schemas, n.Schema), append(tables, n.Table)
	}
	return []any{schemas, tables}
}

// markHypertables asks TimescaleDB, where it is installed.
func (p *preflight) markHypertables(ctx context.Context) error {
	var installed bool
	if err := p.conn.QueryRow(ctx, "select to_regclass('timescaledb_information.hypertables') is not null").Scan(&installed); err != nil || !installed {
		return err
	}
	rows, err := p.conn.Query(ctx, "select hypertable_schema::text, hypertable_name::text from timescaledb_information.hypertables")
	if err != nil {
		return err
	}
	hypertables := map[publication.Name]bool{}
	var n publication.Name
	if _, err := pgx.ForEachRow(rows, []any{&n.Schema, &n.Table}, func() error { hypertables[n] = true; return nil }); err != nil {
		return err
	}
	for _, t := range p.tables {
		t.hypertable = hypertables[t.Name]
	}
	return nil
}

// split tells the tables that cannot be published from the others.
func split(all []*tableFacts) (unusable, usable []*tableFacts) {
	for _, t := range all {
		if t.unusable() != "" {
			unusable = append(unusable, t)
		} else {
			usable = append(usable, t)
		}
	}
	return unusable, usable
}

func filter(all []*tableFacts, keep func(*tableFacts) bool) []*tableFacts {
	var kept []*tableFacts
	for _, t := range all {
		if keep(t) {
			kept = append(kept, t)
		}
	}
	return kept
}

// checkOldValues tells which tables send the old values of a row.
func (p *preflight) checkOldValues(context.Context) (finding, error) {
	without := filter(p.tables, func(t *tableFacts) bool { return t.identity != "f" && t.kind == "r" })
	switch {
	case len(without) == 0:
		return good("every table has replica identity full"), nil
	case !p.opts.OldValues:
		return good("%s without replica identity full: updates and deletes tell the old key alone", count(len(without), "table")), nil
	}
	return warn(problem.New("old_values_missing", "%s the old values of a row, because the replica identity is not full",
		count(len(without), "table does not send", "tables do not send")).
		WithDetail("%s", someTables(without, (*tableFacts).label)).WithHint("%s", fullIdentity(without))), nil
}

func fullIdentity(tables []*tableFacts) string {
	var repairs []string
	for _, t := range tables[:min(len(tables), maxNamed)] {
		repairs = append(repairs, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", t.Name))
	}
	return strings.Join(repairs, "; ") + "; it makes the server write more WAL for every update and delete"
}

// checkLarge tells which columns an update may leave out because their value, stored out of line, did not change.
func (p *preflight) checkLarge(context.Context) (finding, error) {
	with := filter(p.tables, func(t *tableFacts) bool { return t.identity != "f" && len(t.large) > 0 })
	if len(with) == 0 {
		return good("no update leaves a column out"), nil
	}
	columns := someTables(with, func(t *tableFacts) string { return t.label() + " (" + strings.Join(t.large, ", ") + ")" })
	if !p.opts.OldValues {
		return good("updates may leave out unchanged values of more than about 2 kB, and name the columns: %s", columns), nil
	}
	return warn(problem.New("large_values_left_out", "updates of %s leave out large values that did not change", count(len(with), "table")).
		WithDetail("%s", columns).WithHint("%s", fullIdentity(with))), nil
}

// checkGenerated tells which columns changes do not hold, because the server computes them.
func (p *preflight) checkGenerated(context.Context) (finding, error) {
	pub := p.report.Publication
	var stored, virtual []string
	for _, t := range p.tables {
		for _, c := range t.generated {
			stored = append(stored, t.label()+"."+c)
		}
		for _, c := range t.virtual {
			virtual = append(virtual, t.label()+"."+c)
		}
	}
	self := func(s string) string { return s }
	switch {
	case len(stored)+len(virtual) == 0:
		return good("none"), nil
	case len(stored) > 0 && p.server.version >= 180000 && pub != nil && !pub.GeneratedStored:
		return warn(problem.New("generated_columns_left_out", "changes leave out %s that the server computes", count(len(stored), "column")).
			WithDetail("%s", someTables(stored, self)).
			WithHint("ALTER PUBLICATION %s SET (publish_generated_columns = stored)", quoteIdent(pub.Name))), nil
	case len(stored) > 0 && pub != nil && pub.GeneratedStored && len(virtual) == 0:
		return good("changes hold the computed columns: %s", someTables(stored, self)), nil
	case len(stored) > 0 && p.server.version >= 180000 && pub == nil:
		return good("changes hold computed columns only if the publication has publish_generated_columns = stored: %s", someTables(append(stored, virtual...), self)), nil
	}
	return good("changes leave out the columns that the server computes: %s", someTables(append(stored, virtual...), self)), nil
}

// checkRowSecurity names the tables of which a backfill would silently read a part.
func (p *preflight) checkRowSecurity(context.Context) (finding, error) {
	secured := filter(p.tables, func(t *tableFacts) bool { return t.secured })
	if len(secured) == 0 {
		return good("no table hides rows from user %q", p.server.user), nil
	}
	user := quoteIdent(p.server.user)
	return warn(problem.New("row_security_active", "row-level security hides rows of %s from user %q: changes stream all the same, backfills miss what is hidden",
		count(len(secured), "table"), p.server.user).
		WithDetail("%s", someTables(secured, (*tableFacts).label)).
		WithHint("ALTER ROLE %[1]s BYPASSRLS; or for each table: CREATE POLICY sequin ON %[2]s FOR SELECT TO %[1]s USING (true)", user, secured[0].Name)), nil
}
