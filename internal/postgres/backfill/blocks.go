package backfill

import (
	"context"
	"fmt"
)

// enterBlocks completes a cursor that has just come to a table, and bounds how many blocks a page looks at: as many as hold about so many rows. If the
// table lay elsewhere when the cursor was made, its rows have other places now, and all are read again.
func (t *transaction) enterBlocks(at Cursor, limit int) Cursor {
	if at.File != t.file {
		at = Cursor{Leaf: t.r.at.oid, File: t.file, End: t.blocks}
		if b := t.r.spec.Blocks; b != nil {
			at.Block = b.From
			if b.To > 0 {
				at.End = b.To
			}
		}
	}
	at.Until = min(at.Block+max(int64(float64(limit)/max(t.perBlock, 1)), 1), max(at.End, at.Block+1))
	return at
}

// behindBlocks is where to go on after a page of blocks; last is the place of its last row.
func (r *Reader) behindBlocks(at Cursor, stopped bool, last string) (next Cursor, done bool) {
	next = at
	if stopped {
		if _, err := fmt.Sscanf(last, "(%d,%d)", &next.Block, &next.Row); err == nil {
			return next, false
		}
	}
	next.Block, next.Row = at.Until, 0
	return next, next.Block >= at.End
}

// blocks is how many blocks the table has now, with all its partitions.
func (r *Reader) blocks(ctx context.Context) (int64, error) {
	var n int64
	err := r.conn.QueryRow(ctx, `
		select coalesce(sum(pg_relation_size(c.oid)), 0)::int8 / current_setting('block_size')::int8 from pg_class c
		where c.oid = $1::oid and c.relkind = 'r' or c.oid in (select relid from pg_partition_tree($1::oid::regclass) where isleaf)`, r.table.oid).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("size of table %s: %w", r.label(), err)
	}
	return n, nil
}
