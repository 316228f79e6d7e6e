package backfills

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
)

// Target is what a backfill works with: a sink that runs, and its database.
type Target struct {
	Database  string // by id
	Consumer  *consumer.Consumer
	Open      func(ctx context.Context, b *Backfill, blocks *backfill.Blocks) (*backfill.Reader, error)
	LogEnd    func() (seq uint64, epoch uint32)
	Watermark func(ctx context.Context) (cdc.LSN, error)
	// Received lists the transactions that a snapshot cannot see and whose changes have come through the slot.
	Received func(inProgress []uint64, xmax uint64) []uint32
	// Shareable says that every change of a row reaches the sink: the table may be read along its blocks, where rows move.
	Shareable bool
	MaxRow    int // bytes; bigger rows become dead letters
}

// run is a backfill at work.
type run struct {
	m      *Manager
	id     string
	logger *slog.Logger
	cancel context.CancelFunc
	ended  chan struct{}

	offering sync.Mutex // taken before mu

	mu       sync.Mutex
	progress progress
	waiting  string
	key      string
	speed    meter
	consumer *consumer.Consumer
}

// errNotRunning reports a sink that does not run now.
var errNotRunning = errors.New("the sink does not run")

// work reads what is left and returns when the sink has delivered it.
func (r *run) work(ctx context.Context) error {
	t, ok := r.m.targets(r.sink())
	if !ok {
		return errNotRunning
	}
	p, err := decodeProgress(t.Consumer.Progress(r.id))
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.progress, r.consumer = p, t.Consumer
	r.mu.Unlock()
	if len(p.Ranges) == 0 {
		if err := r.begin(ctx, &t); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		r.count(gctx, &t)
		return nil
	})
	for i := range r.ranges() {
		g.Go(func() error { return r.read(gctx, &t, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return r.delivered(ctx, &t)
}

func (r *run) sink() string { return r.m.record(r.id).Sink }

func (r *run) ranges() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress.Ranges
}

// begin looks at the table and shares it among the readers.
func (r *run) begin(ctx context.Context, t *Target) error {
	b := r.m.record(r.id)
	reader, err := t.Open(ctx, &b, nil)
	if err != nil {
		return err
	}
	defer reader.Close(ctx)
	workers := 1
	if t.Shareable {
		workers = max(b.Workers, 1)
	}
	blocks, err := reader.Split(ctx, workers)
	if err != nil {
		return err
	}
	p := progress{}
	for _, s := range blocks {
		p.Ranges = append(p.Ranges, span{Blocks: s})
	}
	rows, err := reader.Estimate(ctx)
	if err != nil {
		return err
	}
	r.m.change(ctx, r.id, func(b *Backfill) {
		b.OID = reader.Relation().OID
		if rows >= 0 {
			b.Rows, b.Estimated = &rows, true
		}
	})
	r.mu.Lock()
	r.progress = p
	r.mu.Unlock()
	r.logger.InfoContext(ctx, "a backfill begins", "table", b.Table.String(), "rows", rows, "readers", len(p.Ranges))
	return nil
}

// count counts the rows there are to read, beside the reading, if that can be done in the time of a page. Nothing but the display needs it.
func (r *run) count(ctx context.Context, t *Target) {
	b := r.m.record(r.id)
	if b.Rows != nil && !b.Estimated {
		return
	}
	reader, err := t.Open(ctx, &b, nil)
	if err != nil {
		return // whoever reads says why
	}
	defer reader.Close(ctx)
	if n, err := reader.Count(ctx); err == nil {
		r.m.change(ctx, r.id, func(b *Backfill) { b.Rows, b.Estimated = &n, false })
	}
}

// job is a page that was read and has not been offered.
type job struct {
	page   *backfill.Page
	since  uint64 // the log's end before its snapshot
	unseen []uint32
	lsn    cdc.LSN // of its watermark
}

// read reads one span: pages are read ahead of the one that waits for its watermark.
func (r *run) read(ctx context.Context, t *Target, i int) error {
	s := r.ranges()[i]
	if s.Done {
		return nil
	}
	b := r.m.record(r.id)
	reader, err := t.Open(ctx, &b, s.Blocks)
	if err != nil {
		return err
	}
	defer reader.Close(ctx)
	if oid := reader.Relation().OID; b.OID != 0 && oid != b.OID {
		return problem.New("backfill_table_changed", "table %s was dropped and created anew", b.Table.String()).WithHint("start another backfill")
	}
	ends := &ends{of: t.LogEnd}
	again := backoff.Schedule{Base: 2 * time.Millisecond, Cap: 2 * time.Second}
	for n := 1; ; n++ {
		from := r.ranges()[i].Cursor
		err := r.stream(ctx, t, reader, &b, ends, i)
		if !errors.Is(err, consumer.ErrReadAgain) {
			return err
		}
		if r.ranges()[i].Cursor.String() != from.String() {
			n = 1
		}
		if n > 5 {
			r.waits("for a transaction that has committed and that no snapshot sees yet, as one that waits for a synchronous standby")
		}
		if err := sleep(ctx, again.Delay(n, nil)); err != nil {
			return err
		}
	}
}

// stream reads and offers pages of a span until there are no more, or one of them has to be read again.
func (r *run) stream(ctx context.Context, t *Target, reader *backfill.Reader, b *Backfill, ends *ends, i int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs, marked := make(chan job), make(chan job)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		return r.pages(ctx, t, reader, b, ends, r.ranges()[i].Cursor, jobs)
	})
	g.Go(func() error {
		defer close(marked)
		return r.mark(ctx, t, jobs, marked)
	})
	g.Go(func() error {
		for j := range marked {
			if err := r.offer(ctx, t, i, j); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// pages reads one page after the other.
func (r *run) pages(ctx context.Context, t *Target, reader *backfill.Reader, b *Backfill, ends *ends, at backfill.Cursor, jobs chan<- job) error {
	timeout := b.Timeout
	if timeout <= 0 {
		timeout = backfill.DefaultTimeout
	}
	sizer := backfill.NewSizer(timeout / 10) // live changes and the server's vacuum are served better by short pages
	for {
		size := sizer.Next()
		if b.Rate > 0 {
			size = min(size, max(b.Rate, 1))
		}
		since := ends.before()
		page, err := reader.Page(ctx, at, size)
		if errors.Is(err, backfill.ErrTimeout) && size > 1 {
			sizer.Note(size, 0, 0, true)
			continue
		}
		if err != nil {
			return err
		}
		sizer.Note(size, page.Took, page.Bytes, false)
		select {
		case jobs <- job{page: page, since: since, unseen: t.Received(page.Snapshot.InProgress, page.Snapshot.Xmax)}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if page.Done {
			return nil
		}
		at = page.Next
		if b.Rate > 0 {
			if err := sleep(ctx, time.Duration(float64(len(page.Rows))/float64(b.Rate)*float64(time.Second))-page.Took); err != nil {
				return err
			}
		}
	}
}

// ends remembers where the log ended lately.
type ends struct {
	of  func() (seq uint64, epoch uint32)
	at  []time.Time
	seq []uint64
}

// lookback is how long a commit that is in the log already may take to become visible without a page having to be read again: a server's process
// that has written its commit may wait for its turn before it says so to the others.
const lookback = 250 * time.Millisecond

// before is the log's end of a moment ago, or now if none is remembered. Whoever looks at the changes from there on misses nothing.
func (e *ends) before() uint64 {
	now := time.Now()
	seq, _ := e.of()
	e.at, e.seq = append(e.at, now), append(e.seq, seq)
	for len(e.at) > 1 && now.Sub(e.at[1]) >= lookback {
		e.at, e.seq = e.at[1:], e.seq[1:]
	}
	return e.seq[0]
}

// sleep waits, or not at all.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// mark waits until the log has what the pages' snapshots saw.
func (r *run) mark(ctx context.Context, t *Target, jobs <-chan job, marked chan<- job) error {
	for j := range jobs {
		if len(j.page.Rows) > 0 {
			r.waits("for the slot to catch up with what was read")
			var err error
			if j.lsn, err = t.Watermark(ctx); err != nil {
				return err
			}
		}
		select {
		case marked <- j:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// offer hands a page to the consumer.
func (r *run) offer(ctx context.Context, t *Target, i int, j job) error {
	_, epoch := t.LogEnd()
	page := consumer.ReadPage{
		Backfill: r.id, Relation: j.page.Relation, Rows: r.rows(t, j.page, j.lsn, epoch), Since: j.since, Unseen: j.unseen, Sees: j.page.Snapshot.Sees,
	}
	r.waits("for the sink to deliver rows that were read")
	r.offering.Lock() // each page tells how far all readers have got
	defer r.offering.Unlock()
	r.mu.Lock()
	before := r.progress
	r.mu.Unlock()
	page.Progress = func(o consumer.Offered) []byte { return before.with(i, j.page, o).encode() }
	offered, err := t.Consumer.Offer(ctx, page)
	if err != nil {
		return err
	}
	if r.m.record(r.id).Error != "" { // it gets on again
		r.m.change(ctx, r.id, func(b *Backfill) { b.Error, b.ErrorCode, b.Hint = "", "", "" })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = before.with(i, j.page, offered)
	r.key, r.waiting = j.page.Next.String(), ""
	r.speed.add(time.Now(), len(j.page.Rows))
	return nil
}

// rows are the page's rows as changes.
func (r *run) rows(t *Target, page *backfill.Page, lsn cdc.LSN, epoch uint32) []cdc.Change {
	now := cdc.Timestamp(time.Now().UnixMicro())
	out := make([]cdc.Change, len(page.Rows))
	for n, row := range page.Rows {
		c := &out[n]
		c.Op, c.Position, c.CommitTime, c.Relation = cdc.OpRead, cdc.Position{LSN: lsn, Index: uint32(n), Epoch: epoch}, now, page.Relation
		c.New, c.Size, c.Prefix = row, len(row), r.id
		if t.MaxRow > 0 && len(row) > t.MaxRow {
			c.TooBig = true
		}
	}
	return out
}

func (r *run) waits(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = what
}

// delivered waits until the consumer holds no rows of the backfill any more.
func (r *run) delivered(ctx context.Context, t *Target) error {
	r.waits("for the sink to deliver the last rows")
	defer r.waits("")
	for {
		rows, moved := t.Consumer.Outstanding(r.id)
		if rows == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-time.After(time.Second): // the consumer may have been opened anew
			if now, ok := r.m.targets(r.sink()); !ok || now.Consumer != t.Consumer {
				return errNotRunning
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// final tells whether trying again would be of no use, and why.
func final(err error) *problem.Error {
	p, ok := problem.As(err)
	if !ok {
		return nil
	}
	switch p.Code {
	case "backfill_table_missing", "backfill_not_a_table", "backfill_table_changed", "backfill_column_missing", "backfill_no_key", "backfill_sort_unindexed",
		"backfill_bounds", "backfill_query":
		return p
	}
	return nil
}

// CodeTrouble stands for an error without a code of its own.
const CodeTrouble = "backfill_trouble"

// describe is an error as a backfill keeps it.
func describe(err error) (text, code, hint string) {
	if p, ok := problem.As(err); ok {
		text = p.Message
		if p.Detail != "" {
			text += ": " + p.Detail
		}
		return text, p.Code, p.Hint
	}
	return problem.Public(err), CodeTrouble, "it is tried again by itself"
}

// meter tells how many rows a second there were lately.
type meter struct {
	at   []time.Time
	rows []int
}

// meterSpan is what "lately" means.
const meterSpan = 10 * time.Second

func (m *meter) add(now time.Time, rows int) {
	m.at, m.rows = append(m.at, now), append(m.rows, rows)
	for len(m.at) > 1 && now.Sub(m.at[0]) > meterSpan {
		m.at, m.rows = m.at[1:], m.rows[1:]
	}
}

func (m *meter) speed(now time.Time) float64 {
	if len(m.at) == 0 || now.Sub(m.at[len(m.at)-1]) > meterSpan {
		return 0
	}
	n := 0
	for _, rows := range m.rows {
		n += rows
	}
	return float64(n) / max(now.Sub(m.at[0]).Seconds(), 1)
}
