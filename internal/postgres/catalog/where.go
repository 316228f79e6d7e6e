package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sequinstream/sequin/internal/where"
)

// whereTypesQuery reads the types that columns are made of, as far as they are not Postgres' own.
const whereTypesQuery = `
with recursive reachable (oid, depth) as (
  select a.atttypid, 0 from pg_attribute a where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
  union
  select x.oid, r.depth + 1
  from reachable r join pg_type t on t.oid = r.oid left join pg_range g on g.rngtypid = t.oid, lateral (values (t.typbasetype), (t.typelem), (t.typarray), (g.rngsubtype)) x (oid)
  where x.oid <> 0 and r.depth < $2::int4
)
select coalesce(jsonb_agg(distinct jsonb_build_object('OID', t.oid::int8, 'Schema', n.nspname, 'Name', t.typname,
  'Letter', case when e.oid is not null then 'a' else t.typtype end, 'Base', t.typbasetype::int8,
  'Elem', coalesce(e.oid, g.rngsubtype, 0)::int8, 'Delim', t.typdelim,
  'Labels', (select jsonb_agg(l.enumlabel order by l.enumsortorder) from pg_enum l where l.enumtypid = t.oid))), '[]')
from reachable r join pg_type t on t.oid = r.oid join pg_namespace n on n.oid = t.typnamespace
left join pg_type e on e.oid = t.typelem and e.typarray = t.oid left join pg_range g on g.rngtypid = t.oid
where t.oid >= 16384`

const whereTableQuery = `
select jsonb_build_object('Schema', n.nspname, 'Name', c.relname, 'Identity', c.relreplident,
  'IdentityColumns', coalesce((select jsonb_agg(a.attname order by a.attnum) from pg_index i
    join pg_attribute a on a.attrelid = c.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    where i.indrelid = c.oid and (c.relreplident = 'i' and i.indisreplident or c.relreplident = 'd' and i.indisprimary and i.indimmediate)), '[]'),
  'Columns', coalesce((select jsonb_agg(jsonb_build_object('Name', a.attname, 'TypeOID', a.atttypid::int8, 'Collation', to_jsonb(l)) order by a.attnum)
    from pg_attribute a left join pg_collation l on l.oid = a.attcollation and l.collname <> 'default'
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''), '[]'))
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1::oid`

// collationRow is a row of pg_collation, or of pg_database under the same names.
type collationRow struct {
	Name          string `json:"collname"`
	Provider      string `json:"collprovider"`
	Deterministic *bool  `json:"collisdeterministic"`
	Collate       string `json:"collcollate"`
	Ctype         string `json:"collctype"`
	Locale        string `json:"colllocale"`    // from 17
	ICULocale     string `json:"colliculocale"` // 15 and 16
}

func (r *collationRow) facts() where.Collation {
	c := where.Collation{Name: r.Name, Nondeterministic: r.Deterministic != nil && !*r.Deterministic}
	plain := func(locale string) bool { return locale == "C" || locale == "POSIX" }
	locale := r.Locale + r.ICULocale
	switch r.Provider {
	case "b":
		c.Bytewise, c.ASCIICase = true, locale == "C"
	case "i":
		if locale == "" {
			locale = r.Collate
		}
	default:
		c.Bytewise, c.ASCIICase = plain(r.Collate), plain(r.Ctype)
		locale = r.Ctype
	}
	language, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(locale), "-", "_"), "_")
	switch language {
	case "tr", "az", "lt", "crh", "tt", "ku":
		c.Turkic = true
	}
	return c
}

// WhereTable reads what a condition on a table must know of it. ErrGone if there is no such table.
func WhereTable(ctx context.Context, conn Querier, oid uint32) (where.Table, error) {
	var raw, types []byte
	if _, err := lookUp(ctx, conn, oid); err != nil {
		return where.Table{}, fmt.Errorf("columns of table %d: %w", oid, ErrGone)
	}
	if err := conn.QueryRow(ctx, whereTableQuery, oid).Scan(&raw); err != nil {
		return where.Table{}, fmt.Errorf("columns of table %d: %w", oid, err)
	}
	if err := conn.QueryRow(ctx, whereTypesQuery, oid, maxTypeDepth).Scan(&types); err != nil {
		return where.Table{}, fmt.Errorf("types of table %d: %w", oid, err)
	}
	return decodeWhereTable(raw, types)
}

func decodeWhereTable(raw, types []byte) (where.Table, error) {
	var found struct {
		Schema, Name, Identity string
		IdentityColumns        []string
		Columns                []struct {
			Name      string
			TypeOID   uint32
			Collation *collationRow
		}
	}
	var declared []struct {
		where.UserType
		Letter string
		Delim  string
	}
	if err := json.Unmarshal(raw, &found); err != nil {
		return where.Table{}, fmt.Errorf("read a table's columns: %w", err)
	}
	if err := json.Unmarshal(types, &declared); err != nil {
		return where.Table{}, fmt.Errorf("read a table's types: %w", err)
	}
	t := where.Table{Schema: found.Schema, Name: found.Name, Identity: firstByte(found.Identity), IdentityColumns: found.IdentityColumns}
	for _, c := range found.Columns {
		column := where.Column{Name: c.Name, TypeOID: c.TypeOID}
		if c.Collation != nil {
			facts := c.Collation.facts()
			column.Collation = &facts
		}
		t.Columns = append(t.Columns, column)
	}
	for _, d := range declared {
		d.Kind, d.UserType.Delim = firstByte(d.Letter), firstByte(d.Delim)
		t.Types = append(t.Types, d.UserType)
	}
	return t, nil
}

// WhereOptions reads what a condition must know of the database.
func WhereOptions(ctx context.Context, conn Querier) (where.Options, error) {
	var (
		raw      []byte
		version  int
		encoding string
	)
	err := conn.QueryRow(ctx, `
		select to_jsonb(d), current_setting('server_version_num')::int4, pg_encoding_to_char(d.encoding) from pg_database d where d.datname = current_database()`).
		Scan(&raw, &version, &encoding)
	if err != nil {
		return where.Options{}, fmt.Errorf("read the database's collation: %w", err)
	}
	var d struct {
		Provider  string `json:"datlocprovider"` // from 15
		Collate   string `json:"datcollate"`
		Ctype     string `json:"datctype"`
		Locale    string `json:"datlocale"`
		ICULocale string `json:"daticulocale"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return where.Options{}, fmt.Errorf("read the database's collation: %w", err)
	}
	row := collationRow{Name: d.Collate, Provider: d.Provider, Collate: d.Collate, Ctype: d.Ctype, Locale: d.Locale, ICULocale: d.ICULocale}
	if row.Locale+row.ICULocale != "" {
		row.Name = row.Locale + row.ICULocale
	}
	return where.Options{Major: version / 10000, Collation: row.facts(), NotUTF8: encoding != "UTF8"}, nil
}
