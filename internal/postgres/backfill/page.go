package backfill

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Page is a run of rows and the snapshot that they were read in.
type Page struct {
	Snapshot Snapshot
	Relation *cdc.Relation
	Rows     []cdc.Tuple
	Bytes    int
	Next     Cursor
	Done     bool // there is nothing behind it
	Took     time.Duration
}

// staleAttempts is how often a page is begun anew because somebody altered the table meanwhile.
const staleAttempts = 10

// Page reads at most so many rows behind a cursor, in one transaction. It stops early when they are more than PageBytes; a page may also be empty
// and not the last. An ErrTimeout asks for a smaller one. After any error the same cursor can be used again.
func (r *Reader) Page(ctx context.Context, after Cursor, limit int) (*Page, error) {
	began := time.Now()
	limit = max(limit, 1)
	for range staleAttempts {
		p, err := r.page(ctx, after, limit)
		if errors.Is(err, errStale) {
			if err := r.describe(ctx); err != nil {
				return nil, err
			}
			r.at.shape = "" // whatever it was
			continue
		}
		if errors.Is(err, ErrTimeout) && r.selective() {
			r.windowed = true
		}
		if err != nil {
			return nil, err
		}
		p.Took = time.Since(began)
		return p, nil
	}
	return nil, problem.New("backfill_table_changed", "table %s is altered again and again", r.label()).
		WithDetail("%d attempts to read a page met another table at their end than at their beginning", staleAttempts).WithHint("resume the backfill when the table has come to rest")
}

// selective tells whether rows are left out by a condition, so that a page's time does not depend on its size.
func (r *Reader) selective() bool {
	return r.spec.Where != "" || r.spec.KeyQuery != "" || r.at.entry.filter != ""
}

// page is one attempt.
func (r *Reader) page(ctx context.Context, after Cursor, limit int) (*Page, error) {
	if err := r.reach(ctx); err != nil {
		return nil, err
	}
	after, there, err := r.locate(ctx, after)
	if err != nil {
		return nil, err
	}
	if !there {
		return &Page{Relation: r.at.relation, Next: after, Done: true}, nil
	}
	t, err := r.begin(ctx)
	if err != nil {
		return nil, r.explain(err)
	}
	defer t.leave(ctx)
	if r.at.order == nil {
		after = t.enterBlocks(after, limit)
	}
	p := &Page{Snapshot: t.snapshot, Relation: r.at.relation}
	var window []string
	if r.windowed && r.at.order != nil {
		if window, err = t.window(ctx, after, limit); err != nil {
			return nil, r.explain(err)
		}
	}
	stopped, last, err := t.read(ctx, p, r.query(after, r.fitting(limit), window))
	if err != nil {
		return nil, r.explain(err)
	}
	if err := t.end(ctx); err != nil {
		return nil, r.explain(err)
	}
	switch {
	case r.at.order == nil:
		p.Next, p.Done = r.behindBlocks(after, stopped, last)
	case stopped:
		p.Next = Cursor{After: r.position(p.Rows[len(p.Rows)-1], after), Nulls: after.Nulls, Key: after.Key, Leaf: after.Leaf}
	case len(window) > 0:
		p.Next = Cursor{After: window, Nulls: after.Nulls, Key: after.Key, Leaf: after.Leaf}
	default:
		p.Next, p.Done = r.behindAll(after)
	}
	if !p.Done {
		return p, nil
	}
	return p, r.nextLeaf(ctx, p)
}

// blindRows are asked for when nothing is known of the size of rows.
const blindRows = 100

// fitting is how many rows to ask for: no more than a page holds, by the size of those before them.
func (r *Reader) fitting(limit int) int {
	if r.at.rowBytes == 0 {
		return min(limit, blindRows)
	}
	return min(limit, PageBytes/r.at.rowBytes+1)
}

// position is what a row has in the columns that are read along.
func (r *Reader) position(row cdc.Tuple, after Cursor) []string {
	order := r.along(after)
	texts := make([]string, len(order))
	for i, c := range order {
		d, _ := row.Column(c.index)
		texts[i] = string(d.Text)
	}
	return texts
}

// behindAll is where to go on when the cursor's stretch has no more rows: the rows without a value in the sort column, the next keys of a list.
func (r *Reader) behindAll(after Cursor) (next Cursor, done bool) {
	switch {
	case r.at.nullable && !after.Nulls:
		return Cursor{Nulls: true, Key: after.Key, Leaf: after.Leaf}, false
	case after.Key+maxKeys < len(r.spec.Keys):
		return Cursor{Key: after.Key + maxKeys, Leaf: after.Leaf}, false
	}
	return after, true
}

// locate makes the cursor's source the current one. A partition that is gone has no more rows for us: the next one by OID takes its place.
func (r *Reader) locate(ctx context.Context, after Cursor) (at Cursor, there bool, err error) {
	if r.table.kind != "p" {
		if r.at.shape == "" {
			err = r.enter(ctx, leaf{})
		}
		return after, true, err
	}
	i := slices.IndexFunc(r.leaves, func(l leaf) bool { return l.oid >= after.Leaf })
	if i < 0 {
		return after, false, nil
	}
	if l := r.leaves[i]; l.oid != after.Leaf {
		after = Cursor{Leaf: l.oid}
	}
	if r.at.shape == "" || r.at.leaf.oid != after.Leaf {
		err = r.enter(ctx, r.leaves[i])
	}
	return after, true, err
}

// nextLeaf goes on to the next partition, among those there are now.
func (r *Reader) nextLeaf(ctx context.Context, p *Page) error {
	if r.table.kind != "p" {
		return nil
	}
	if err := r.describe(ctx); err != nil {
		return err
	}
	for _, l := range r.leaves {
		if l.oid > p.Next.Leaf {
			p.Next, p.Done = Cursor{Leaf: l.oid}, false
			return nil
		}
	}
	return nil
}

// appendTuple appends a row in the form in which the walsender sends one.
func appendTuple(dst []byte, values [][]byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(values))) //nolint:gosec // a table has at most 1,600 columns
	for _, v := range values {
		if v == nil {
			dst = append(dst, 'n')
			continue
		}
		dst = append(dst, 't')
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v))) //nolint:gosec // a value has at most 1 GB
		dst = append(dst, v...)
	}
	return dst
}

// arena keeps the rows of a page in a few large pieces.
type arena struct{ free []byte }

const arenaPiece = 64 << 10

// tuple puts a row into the arena.
func (a *arena) tuple(values [][]byte) cdc.Tuple {
	n := 2
	for _, v := range values {
		n += 5 + len(v)
	}
	if n > cap(a.free)-len(a.free) {
		if n > arenaPiece/4 {
			return appendTuple(make([]byte, 0, n), values)
		}
		a.free = make([]byte, 0, arenaPiece)
	}
	from := len(a.free)
	a.free = appendTuple(a.free, values)
	return cdc.Tuple(a.free[from:len(a.free):len(a.free)])
}
