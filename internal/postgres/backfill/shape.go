package backfill

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// errStale reports that the catalog is not what it was when the source was entered.
var errStale = errors.New("the table has changed")

// shapeQuery is a short text that is another one when a table, its columns, its indexes, its schema or its place in the publication have changed.
// The rows of the catalog are told apart by the transactions that wrote them.
func (r *Reader) shapeQuery(s *source) string {
	oids := fmt.Sprintf("(%d, %d, %d)", s.oid, s.entry.oid, r.table.oid)
	name := "'" + strings.ReplaceAll(r.spec.Publication, "'", "''") + "'"
	parts := []string{
		`select string_agg(concat_ws(' ', c.oid, c.relname, c.relnamespace, c.relreplident, c.relispartition, c.relkind, c.relpersistence), ',' order by c.oid)
			from pg_class c where c.oid in ` + oids,
		`select string_agg(concat_ws(' ', a.attrelid, a.attnum, a.xmin), ',' order by a.attrelid, a.attnum) from pg_attribute a where a.attnum > 0 and a.attrelid in ` + oids,
		`select string_agg(concat_ws(' ', i.indexrelid, i.xmin), ',' order by i.indexrelid) from pg_index i where i.indrelid in ` + oids,
		`select string_agg(concat_ws(' ', n.oid, n.xmin), ',' order by n.oid) from pg_namespace n join pg_class c on c.relnamespace = n.oid where c.oid in ` + oids,
	}
	if r.spec.Publication != "" {
		parts = append(
			parts,
			`select concat_ws(' ', p.oid, p.xmin) from pg_publication p where p.pubname = `+name,
			`select string_agg(concat_ws(' ', l.oid, l.xmin), ',' order by l.oid) from pg_publication_rel l join pg_publication p on p.oid = l.prpubid
				where p.pubname = `+name+` and l.prrelid in `+oids,
		)
		if r.version >= 150000 {
			parts = append(parts, `select string_agg(concat_ws(' ', l.oid, l.xmin), ',' order by l.oid) from pg_publication_namespace l
				join pg_publication p on p.oid = l.pnpubid where p.pubname = `+name)
		}
	}
	return "md5(concat_ws('|', (" + strings.Join(parts, "), (") + ")))"
}

// shape is it as of now.
func (r *Reader) shape(ctx context.Context, s *source) (string, error) {
	var text string
	if err := r.conn.QueryRow(ctx, "select "+r.shapeQuery(s)).Scan(&text); err != nil {
		return "", fmt.Errorf("look up table %s: %w", r.label(), err)
	}
	return text, nil
}
