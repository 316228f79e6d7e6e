package backfill

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// sampledBlocks is how many blocks of a table Parts looks at.
const sampledBlocks = 1000

// smallTable has so few blocks that one reader is enough: 32 MiB.
const smallTable = 4096

// Split shares what is to be read among at most n readers: by ranges of the first column that it is read along, found in a sample, or by blocks where
// there is no key. A table with a key is not shared by blocks, because an update that moves a row past a reader may come without the large values that
// it did not change. It returns nil for the whole when that is small, a list of keys, a share already, or has no column that is never null.
func (r *Reader) Split(ctx context.Context, n int) ([]*Blocks, error) {
	whole := []*Blocks{nil}
	if err := r.reach(ctx); err != nil {
		return nil, err
	}
	if n <= 1 || r.spec.Blocks != nil || len(r.spec.Keys) > 0 {
		return whole, nil
	}
	blocks, err := r.blocks(ctx)
	if err != nil {
		return nil, err
	}
	if blocks < smallTable {
		return whole, nil
	}
	if r.at.order == nil {
		return r.splitBlocks(blocks, n), nil
	}
	first := r.at.order[0]
	if !first.notNull {
		return whole, nil
	}
	bounds, err := r.sample(ctx, first, n, blocks)
	if err != nil || len(bounds) == 0 {
		return whole, err
	}
	var all []*Blocks
	lower := r.spec.From
	for _, upper := range append(bounds, r.spec.To) {
		all = append(all, &Blocks{Column: r.at.relation.Columns[first.index].Name, Lower: lower, Upper: upper})
		lower = upper
	}
	return all, nil
}

// splitBlocks shares a table of so many blocks; a partitioned one, of which each part has blocks of its own, stays whole.
func (r *Reader) splitBlocks(blocks int64, n int) []*Blocks {
	if r.table.kind != "r" {
		return []*Blocks{nil}
	}
	var all []*Blocks
	for i := range int64(n) {
		all = append(all, &Blocks{From: blocks * i / int64(n), To: blocks * (i + 1) / int64(n)})
	}
	all[n-1].To = 0 // what is added meanwhile
	return all
}

// sample returns values of a column that part its rows into n equal shares, ascending, as text. There are fewer when many rows are alike.
func (r *Reader) sample(ctx context.Context, c column, n int, blocks int64) ([]string, error) {
	shares := make([]string, 0, n-1)
	for i := 1; i < n; i++ {
		shares = append(shares, fmt.Sprint(float64(i)/float64(n)))
	}
	var q query
	percent := min(100, 100*sampledBlocks/float64(max(blocks, 1)))
	from := r.name()
	if r.table.kind == "r" {
		from = "only " + from
	}
	q.sql = "select percentile_disc(array[" + strings.Join(shares, ", ") + "]) within group (order by " + c.name + ")::text[]::text from " + from +
		fmt.Sprintf(" tablesample system (%f)", percent) + whereAll(r.selected(&q, Cursor{}))
	texts, err := r.ask(ctx, q.sql, q.args)
	if err != nil {
		return nil, r.explain(err)
	}
	var bounds []string
	if len(texts) == 1 && texts[0] != "" {
		if err := pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.TextFormatCode, []byte(texts[0]), &bounds); err != nil {
			return nil, fmt.Errorf("sample column %s of table %s: %w", c.name, r.label(), err)
		}
	}
	// An empty text is no bound, and below it nothing lies.
	return slices.DeleteFunc(slices.Compact(bounds), func(b string) bool { return b == "" }), nil
}
