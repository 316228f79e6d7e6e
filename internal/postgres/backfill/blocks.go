package backfill

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// findLeaves lists the tables that hold the rows, by oid.
func (r *Reader) findLeaves(ctx context.Context) error {
	rows, err := r.conn.Query(ctx, `
		select c.oid::int8, n.nspname::text, c.relname::text from pg_partition_tree($1::oid::regclass) t
		join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace where t.isleaf and c.relkind = 'r'
		union select c.oid::int8, n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.oid = $1::oid and c.relkind = 'r' order by 1`, r.table.OID)
	if err != nil {
		return fmt.Errorf("partitions of table %s: %w", r.name(), err)
	}
	r.leaves, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (leaf, error) {
		var oid int64
		var schema, table string
		err := row.Scan(&oid, &schema, &table)
		return leaf{uint32(oid), pgx.Identifier{schema, table}.Sanitize()}, err //nolint:gosec // an oid
	})
	if err != nil {
		return fmt.Errorf("partitions of table %s: %w", r.name(), err)
	}
	return nil
}

func (r *Reader) firstLeaf() leaf {
	if len(r.leaves) == 0 {
		return leaf{}
	}
	return r.leaves[0]
}

// enter finds the table that a cursor points into, or the first; its Leaf is 0 when there is none.
func (r *Reader) enter(c Cursor) Cursor {
	if c.Leaf != 0 || len(r.leaves) == 0 {
		return c
	}
	c.Leaf = r.leaves[0].oid
	if r.spec.Blocks != nil {
		c.Block = r.spec.Blocks.From
	}
	return c
}

// leafOf is a table by its oid. One that was detached or dropped meanwhile has no rows for us.
func (r *Reader) leafOf(oid uint32) (leaf, error) {
	for _, l := range r.leaves {
		if l.oid == oid {
			return l, nil
		}
	}
	return leaf{}, fmt.Errorf("partition %d of table %s is gone", oid, r.name())
}

// blocksFor is how many blocks hold about so many rows.
func (r *Reader) blocksFor(ctx context.Context, at leaf, rows int) (int, error) {
	var perBlock float64
	err := r.conn.QueryRow(ctx, `select case when relpages > 0 and reltuples > 0 then reltuples / relpages else 50 end::float8 from pg_class where oid = $1::oid`, at.oid).
		Scan(&perBlock)
	if err != nil {
		return 0, fmt.Errorf("size of table %s: %w", at.name, err)
	}
	return max(int(float64(rows)/max(perBlock, 1)), 1), nil
}

// inBlocks is the condition that rows lie in blocks from … up to, not including, to. Before 14 there is no scan of a range of them.
func (r *Reader) inBlocks(from, to int64) string {
	if b := r.spec.Blocks; b != nil && b.To > 0 {
		to = min(to, b.To)
	}
	if r.version >= 140000 {
		return fmt.Sprintf("ctid >= '(%d,0)' and ctid < '(%d,0)'", from, to)
	}
	return fmt.Sprintf(`ctid = any (array(select format('(%%s,%%s)', b, i)::tid from generate_series(%d, %d) b, generate_series(1, 291) i))`, from, to-1)
}

// nextBlocks is where to go on after some blocks.
func (r *Reader) nextBlocks(ctx context.Context, at Cursor, blocks int) (next Cursor, done bool) {
	next = Cursor{Leaf: at.Leaf, Block: at.Block + int64(blocks)}
	end, err := r.blocks(ctx, at.Leaf)
	if b := r.spec.Blocks; b != nil && b.To > 0 {
		end = b.To
	}
	if err == nil && next.Block < end {
		return next, false
	}
	if err != nil { // it will be asked again; nothing is passed over
		return next, false
	}
	for i, l := range r.leaves {
		if l.oid == at.Leaf && i+1 < len(r.leaves) {
			return Cursor{Leaf: r.leaves[i+1].oid}, false
		}
	}
	return next, true
}

// blocks is how many blocks a table has now.
func (r *Reader) blocks(ctx context.Context, oid uint32) (int64, error) {
	var n int64
	err := r.conn.QueryRow(ctx, `select pg_relation_size($1::oid::regclass) / current_setting('block_size')::int8`, oid).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("size of table %d: %w", oid, err)
	}
	return n, nil
}

// Split shares the table among n readers by its blocks. It returns one whole range for a table that is small, partitioned, or not wanted as a whole.
func (r *Reader) Split(ctx context.Context, n int) ([]*Blocks, error) {
	whole := []*Blocks{nil}
	if n <= 1 || r.spec.partial() || r.spec.SortColumn != "" || r.table.Kind != "r" || r.version < 140000 {
		return whole, nil
	}
	blocks, err := r.blocks(ctx, r.table.OID)
	if err != nil {
		return nil, err
	}
	if blocks < smallTable {
		return whole, nil
	}
	var all []*Blocks
	for i := range int64(n) {
		b := &Blocks{From: blocks * i / int64(n), To: blocks * (i + 1) / int64(n)}
		if i == int64(n)-1 {
			b.To = 0 // what is added meanwhile
		}
		all = append(all, b)
	}
	return all, nil
}

// smallTable has so few blocks that one reader is enough: 32 MiB.
const smallTable = 4096

// Estimate is about how many rows there are to read, -1 when the server does not know.
func (r *Reader) Estimate(ctx context.Context) (int64, error) {
	if !r.spec.partial() {
		var n int64
		err := r.conn.QueryRow(ctx, `
			select coalesce(sum(case when c.reltuples < 0 or c.reltuples = 0 and c.relpages = 0 then -1 else c.reltuples end), -1)::int8
			from pg_class c where c.oid = $1::oid and c.relkind = 'r' or c.oid in (select relid from pg_partition_tree($1::oid::regclass) where isleaf)`, r.table.OID).
			Scan(&n)
		if err != nil {
			return -1, fmt.Errorf("estimate the rows of table %s: %w", r.name(), err)
		}
		return max(n, -1), nil
	}
	if len(r.spec.Keys) > 0 {
		return int64(len(r.spec.Keys)), nil
	}
	sql, args := r.countQuery("select 1")
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	var text []byte
	_, err := r.rows(ctx, "explain (format json) "+sql, args, func(values [][]byte) (bool, error) {
		text = append(text, values[0]...)
		return true, nil
	}, nil)
	if err != nil {
		return -1, r.explain(err)
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
		return -1, nil //nolint:nilerr // no estimate
	}
	return int64(plans[0].Plan.Rows), nil
}

// Count counts the rows there are to read, within the time of a page.
func (r *Reader) Count(ctx context.Context) (int64, error) {
	sql, args := r.countQuery("select count(*)")
	var n int64
	_, err := r.rows(ctx, sql, args, func(values [][]byte) (bool, error) {
		var err error
		n, err = strconv.ParseInt(string(values[0]), 10, 64)
		return true, err
	}, nil)
	return n, r.explain(err)
}

// countQuery is the whole of what is to be read, without order.
func (r *Reader) countQuery(what string) (string, [][]byte) {
	var args [][]byte
	arg := func(text, typ string) string {
		args = append(args, []byte(text))
		return "$" + strconv.Itoa(len(args)) + "::text::" + typ
	}
	only := ""
	if r.table.Kind == "r" {
		only = "only "
	}
	sql := what + " from " + only + r.name()
	if conditions := r.selected(Cursor{}, max(len(r.spec.Keys), 1), arg); len(conditions) > 0 {
		sql += " where " + strings.Join(conditions, " and ")
	}
	return sql, args
}
