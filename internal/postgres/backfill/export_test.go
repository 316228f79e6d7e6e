package backfill

import (
	"context"
	"fmt"
	"strings"
)

// Plan is how the server would read a page.
func (r *Reader) Plan(ctx context.Context, after Cursor, limit int) (string, error) {
	q := r.query(after, limit, nil)
	t := &transaction{r: r}
	defer t.leave(ctx)
	sql := "begin read only; " + fmt.Sprintf(settings, 5000)
	if r.at.order == nil {
		sql += blockSettings
	}
	if _, err := r.simple(ctx, sql); err != nil {
		return "", err
	}
	result := r.conn.PgConn().ExecParams(ctx, "explain "+q.sql, q.args, nil, nil, nil)
	var lines []string
	for result.NextRow() {
		lines = append(lines, string(result.Values()[0]))
	}
	_, err := result.Close()
	return strings.Join(lines, "\n"), err
}
