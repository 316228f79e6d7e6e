package backfill

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Estimate is about how many rows there are to read, -1 when the server does not know.
func (r *Reader) Estimate(ctx context.Context) (int64, error) {
	if err := r.reach(ctx); err != nil {
		return -1, err
	}
	if len(r.spec.Keys) > 0 {
		return int64(len(r.spec.Keys)), nil
	}
	if !r.spec.partial() && r.spec.Blocks == nil {
		var n int64
		err := r.conn.QueryRow(ctx, `
			select coalesce(sum(case when c.reltuples < 0 or c.reltuples = 0 and c.relpages = 0 then -1 else c.reltuples end), -1)::int8
			from pg_class c where c.oid = $1::oid and c.relkind = 'r' or c.oid in (select relid from pg_partition_tree($1::oid::regclass) where isleaf)`, r.table.oid).
			Scan(&n)
		if err != nil {
			return -1, fmt.Errorf("estimate the rows of table %s: %w", r.label(), err)
		}
		return max(n, -1), nil
	}
	q := r.countQuery("select 1")
	lines, err := r.ask(ctx, "explain (format json) "+q.sql, q.args)
	if err != nil {
		return -1, r.explain(err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal([]byte(strings.Join(lines, "\n")), &plans); err != nil || len(plans) == 0 {
		return -1, nil //nolint:nilerr // no estimate
	}
	return int64(plans[0].Plan.Rows), nil
}

// Count counts the rows there are to read, within the time of a page: ErrTimeout says that they are too many for that.
func (r *Reader) Count(ctx context.Context) (int64, error) {
	if err := r.reach(ctx); err != nil {
		return -1, err
	}
	total := int64(0)
	for from := 0; from == 0 || from < len(r.spec.Keys); from += maxKeys {
		q := r.countQueryFrom("select count(*)", from)
		values, err := r.ask(ctx, q.sql, q.args)
		if err != nil {
			return -1, r.explain(err)
		}
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return -1, fmt.Errorf("count the rows of table %s: %w", r.label(), err)
		}
		total += n
	}
	return total, nil
}

// countQuery is the whole of what is to be read, without order.
func (r *Reader) countQuery(what string) *query { return r.countQueryFrom(what, 0) }

// countQueryFrom is it from one of the keys of the list on.
func (r *Reader) countQueryFrom(what string, key int) *query {
	var q query
	from := r.name()
	if r.table.kind == "r" {
		from = "only " + from
	}
	conditions := r.selected(&q, Cursor{Key: key})
	if b := r.spec.Blocks; b != nil {
		conditions = append(conditions, fmt.Sprintf("ctid >= '(%d,0)'", b.From))
		if b.To > 0 {
			conditions = append(conditions, fmt.Sprintf("ctid < '(%d,0)'", b.To))
		}
	}
	q.sql = what + " from " + from + whereAll(conditions)
	return &q
}
