package changelog

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sync/errgroup"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

const (
	minCompress   = 512     // bytes; smaller bodies stay plain
	keepScratch   = 1 << 20 // bytes; bigger buffers are not kept for the next group,
	keepScratches = 4       // and not more than these
	firstRetry    = 50 * time.Millisecond
	slowestRetry  = 5 * time.Second
	finalDeadline = 5 * time.Second // for what is complete when Run is asked to stop
)

// chain is what a block needs to know of its predecessor.
type chain struct {
	seq        uint64 // last number, 0 in an empty log
	first      uint64 // of the block, 0 in an empty log
	sum        uint32
	offset     uint64
	pos        cdc.Position
	commitEnd  cdc.LSN
	end        cdc.LSN
	commitTime cdc.Timestamp
	maxCommit  cdc.Timestamp
	appended   cdc.Timestamp
}

// after is the chain behind a block.
func after(h *header) chain {
	return chain{
		seq: h.last, first: h.first, sum: h.sum, offset: h.offset + h.size(), pos: h.lastPos, commitEnd: h.commitEnd, end: h.end,
		commitTime: h.commitTime, maxCommit: h.maxCommit, appended: h.appended,
	}
}

// Run syncs what the writer hands over, in groups, until ctx ends or the storage breaks. While the storage has no room it waits and repeats;
// Stats tells so. Any other trouble ends it with an error, and the log must be opened anew. It can run once.
func (l *Log) Run(ctx context.Context) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("change log: Run was called before")
	}
	a := &appender{l: l, tail: l.tail, committed: l.tail}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx) })
	for range aheadWorkers {
		g.Go(func() error { return l.readAheadLoop(ctx) })
	}
	return g.Wait()
}

// appender turns blocks into bytes and stores them. It is the only one who writes to the storage, but for trims at the front.
type appender struct {
	l         *Log
	tail      chain // behind the newest block
	committed chain // behind the newest block with a commit
	group     []item
	pending   []*block // of the group, not yet stored
	scratch   [][]byte
}

func (a *appender) run(ctx context.Context) (err error) {
	q := a.l.queue
	defer func() {
		if err != nil {
			q.close(err)
			return
		}
		q.close(ErrStopped)
	}()
	for {
		if ctx.Err() != nil {
			return a.last(ctx)
		}
		if a.group = q.take(a.group); len(a.group) > 0 {
			if err := a.process(ctx, a.group); err != nil {
				return a.stopped(ctx, err)
			}
			continue
		}
		select {
		case <-q.work:
			a.wait(ctx)
		case <-ctx.Done():
		}
	}
}

// wait lingers for a fuller group.
func (a *appender) wait(ctx context.Context) {
	if a.l.linger <= 0 || a.l.queue.full() {
		return
	}
	timer := time.NewTimer(a.l.linger)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		case <-a.l.queue.work:
			if a.l.queue.full() {
				return
			}
		}
	}
}

// last stores what is complete when the log is asked to stop. It is a courtesy: what it does not store, Postgres sends again.
func (a *appender) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalDeadline)
	defer cancel()
	if a.group = a.l.queue.take(a.group); len(a.group) == 0 {
		return nil
	}
	return a.stopped(ctx, a.process(ctx, a.group))
}

// stopped is the outcome of Run after err: being asked to stop is none.
func (a *appender) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// process carries out a group in order: neighbouring blocks share one append.
func (a *appender) process(ctx context.Context, group []item) error {
	bytes := 0
	defer func() { a.l.queue.done(bytes) }()
	for i := range group {
		it := &group[i]
		switch {
		case it.block != nil:
			bytes += len(it.block.frames)
			a.pending = append(a.pending, it.block)
			continue
		case it.abort:
			if err := a.store(ctx); err != nil {
				return err
			}
			if err := a.cutBack(ctx); err != nil {
				return err
			}
		default:
			if err := a.store(ctx); err != nil {
				return err
			}
			a.l.advanceDurable(it.epoch, it.mark)
		}
		*it = item{}
	}
	return a.store(ctx)
}

// store appends the pending blocks and makes them visible.
func (a *appender) store(ctx context.Context) error {
	if len(a.pending) == 0 {
		return nil
	}
	tail, committed := a.tail, a.committed
	now := stamp(time.Now())
	blocks := make([]engine.Block, len(a.pending))
	entries := make([]*entry, len(a.pending))
	for i, b := range a.pending {
		e, data := a.seal(b, i, now)
		blocks[i] = engine.Block{First: b.first, Data: data}
		entries[i] = e
	}
	err := a.retry(ctx, "append", func() error { return a.l.blocks.Append(ctx, blocks...) })
	if err != nil {
		a.tail, a.committed = tail, committed
		return fmt.Errorf("append to the change log: %w", err)
	}
	a.visible(entries)
	clear(a.pending)
	a.pending = a.pending[:0]
	a.scratch = a.scratch[:min(len(a.scratch), keepScratches)]
	for i := range a.scratch {
		if cap(a.scratch[i]) > keepScratch {
			a.scratch[i] = nil
		}
	}
	return nil
}

// visible publishes stored blocks: the cache first, so that readers who wake find them there.
func (a *appender) visible(entries []*entry) {
	l := a.l
	var newest *header
	for _, e := range entries {
		l.cache.add(e)
		l.stats.stored(&e.header)
		if e.header.committing() {
			newest = &e.header
		}
	}
	l.stats.syncs.Add(1)
	l.endOffset.Store(a.tail.offset)
	if newest == nil {
		return
	}
	l.advanceEnd(End{Seq: newest.last, Position: newest.lastPos, CommitEnd: newest.commitEnd, CommitTime: newest.commitTime})
	l.advanceDurable(newest.epoch, newest.end)
}

// seal builds the i-th block of a group: header, checksums, compressed body. The raw body goes to the cache for the first reader.
func (a *appender) seal(b *block, i int, now cdc.Timestamp) (*entry, []byte) {
	out := &b.out
	raw := a.raw(b)
	h := header{
		epoch: b.epoch, prev: a.tail.sum, first: b.first, last: out.last, committed: b.committed, firstPos: b.firstPos, lastPos: out.pos,
		commitEnd: a.tail.commitEnd, end: a.tail.end, commitTime: a.tail.commitTime, maxCommit: a.tail.maxCommit,
		appended: max(now, a.tail.appended), offset: a.tail.offset,
		rawSize: uint32(len(raw)), frames: uint32(out.frames), //nolint:gosec // bounded by Options
		relations: uint16(out.relations), part: b.part, //nolint:gosec // bounded by the writer
	}
	if b.commits {
		h.flags |= flagCommit
		h.committed = out.last
		h.commitEnd, h.end, h.commitTime, h.maxCommit = out.commitEnd, out.end, out.commitTime, max(out.maxCommit, h.maxCommit)
	}
	if b.continued {
		h.flags |= flagContinue
	}
	data := a.compress(&h, raw, i)
	h.bodySum = crc32.Checksum(data[headerSize:], castagnoli)
	h.put(data)
	a.tail = after(&h)
	if b.commits {
		a.committed = a.tail
	}
	return newEntry(h, raw, true), data
}

// raw is the block's body. A small one gets memory of its own size, and the buffer serves again.
func (a *appender) raw(b *block) []byte {
	size := b.out.frames + b.out.relBytes
	if size >= cap(b.frames)/2 {
		return b.appendRelations(b.frames, b.out.relations)
	}
	raw := append(make([]byte, 0, size), b.frames...)
	a.l.queue.recycle(b.frames)
	return b.appendRelations(raw, b.out.relations)
}

// compress lays out the i-th block of a group in a buffer that serves until the group is stored.
func (a *appender) compress(h *header, raw []byte, i int) []byte {
	if i == len(a.scratch) {
		a.scratch = append(a.scratch, nil)[:i+1]
	}
	need := headerSize + max(s2.MaxEncodedLen(len(raw)), len(raw))
	if cap(a.scratch[i]) < need {
		a.scratch[i] = make([]byte, need)
	}
	data := a.scratch[i][:need]
	if len(raw) >= minCompress {
		if body := s2.Encode(data[headerSize:], raw); len(body) < len(raw)-len(raw)/16 {
			h.codec, h.storedSize = codecS2, uint32(len(body)) //nolint:gosec // smaller than raw
			return data[:headerSize+len(body)]
		}
	}
	h.codec, h.storedSize = codecPlain, h.rawSize
	copy(data[headerSize:], raw)
	return data[:headerSize+len(raw)]
}

// cutBack removes the parts of an aborted transaction, before anything else is stored.
func (a *appender) cutBack(ctx context.Context) error {
	if a.tail.seq == a.committed.seq {
		return nil
	}
	err := a.retry(ctx, "cut", func() error { return a.l.blocks.TrimBack(ctx, a.committed.first) })
	if err != nil {
		return fmt.Errorf("cut an aborted transaction from the change log: %w", err)
	}
	a.l.cache.dropAfter(a.committed.seq)
	a.l.stats.cut(a.tail.offset - a.committed.offset)
	a.tail = a.committed
	a.l.endOffset.Store(a.tail.offset)
	return nil
}

// retry repeats a write for as long as the storage is full.
func (a *appender) retry(ctx context.Context, what string, write func() error) error {
	pause := firstRetry
	for {
		err := write()
		if err == nil || !errors.Is(err, engine.ErrNoSpace) {
			if a.l.stats.unblock() {
				a.l.log.Info("the storage has room again", "operation", what)
			}
			return err
		}
		if a.l.stats.block(err) {
			a.l.log.Error("the storage is full; reading from Postgres stops until there is room", "operation", what, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, slowestRetry)
	}
}
