package consumer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// A lane holds the rows that backfills have read for this consumer and that are not done: a small queue on disk beside the log, with numbers of
// its own from laneBase on. A page of rows has a place in the log: after the entry `after`, which was the log's last when the page was compared
// with it. The scan puts the page's rows into the window when it comes to that place, so within a group they go out after what is before it and
// before what is behind it. Across groups, messages of the log go first.
//
// What a page's rows say was true at its place: whatever the log has of them that the reading did not see was looked at when the page was offered
// (offer.go). A page counts from the moment that its record is durable; rows without a record were never offered, and are read again.

// laneBase is where the numbers of a lane begin: above those that a log will ever give, and within the bits that an ack id has for them.
const laneBase = 1 << 57

// Bounds of a lane: whoever reads waits while there is more.
const (
	laneRows  = 20_000
	laneBytes = 32 << 20
	lanePages = 64
)

// Pages turns rows of a backfill into bytes with everything that decoding them will ever need, and back. first becomes the number of the first.
type Pages interface {
	EncodePage(rows []cdc.Change) ([]byte, error)
	DecodePage(b []byte, first uint64) ([]cdc.Change, error)
}

// Lane is where a consumer keeps the rows of backfills.
type Lane struct {
	// Blocks opens the storage. It is called when the first row comes, or when rows were left.
	Blocks func(ctx context.Context) (engine.Log, error)
	Pages  Pages
}

// lanePage is a page of rows that are not all done.
type lanePage struct {
	first, last uint64 // numbers without laneBase
	after       uint64 // its place: behind this entry of the log
	backfill    string
	bytes       int
	admitted    uint64 // the next number to go into the window
}

func (p *lanePage) whole() bool { return p.admitted > p.last }

// lane is the part of a consumer that knows the pages. Everything but its store is guarded by Consumer.mu.
type lane struct {
	store  laneStore
	pages  []*lanePage // ascending by number and by place
	done   *doneSet    // of numbers without laneBase
	next   uint64      // the next number to give
	cursor uint64      // of done, as written or being written
	stop   uint64      // the place of the first page that is not whole: the scan does not pass it; MaxUint64 for none
	peak   uint64      // as far as the frontier has ever been, when it went back: what lies below may have been handed out
	moved  chan struct{}
	// progress is how far backfills have read, by id, in their own words.
	progress map[string][]byte
	trim     uint64 // blocks before this number are not needed any more, durably

	ready  readyQueue
	readyN int

	inFlight int
	turn     uint // counts what went out while there were both
}

func newLane(deps Deps) *lane {
	return &lane{
		store: laneStore{lane: deps.Lane}, done: newDoneSet(1), next: 1, cursor: 1, stop: math.MaxUint64, moved: make(chan struct{}),
		progress: map[string][]byte{},
	}
}

// restart has all pages put into the window again.
func (l *lane) restart() {
	l.ready, l.readyN = readyQueue{}, 0
	for _, p := range l.pages {
		p.admitted = p.first
	}
	l.settle()
}

// settle finds where the scan has to stop, and lets go of pages that are done.
func (l *lane) settle() {
	n := 0
	for n < len(l.pages) && l.pages[n].last < l.done.cursor {
		n++
	}
	if n > 0 {
		l.pages = slices.Delete(l.pages, 0, n)
		l.changed()
	}
	l.stop = math.MaxUint64
	for _, p := range l.pages {
		if !p.whole() {
			l.stop = p.after
			return
		}
	}
}

// changed wakes those who wait for room, or for the end of a backfill.
func (l *lane) changed() {
	close(l.moved)
	l.moved = make(chan struct{})
}

// due is the first page that is not whole, if the frontier has come to its place.
func (l *lane) due(frontier uint64) *lanePage {
	if l.stop >= frontier {
		return nil
	}
	for _, p := range l.pages {
		if !p.whole() {
			return p
		}
	}
	return nil
}

// place is where a message of the lane belongs in the log.
func (l *lane) place(seq uint64) uint64 {
	n := seq - laneBase
	i := sort.Search(len(l.pages), func(i int) bool { return l.pages[i].last >= n })
	if i == len(l.pages) {
		return math.MaxUint64
	}
	return l.pages[i].after
}

// size is what the lane holds.
func (l *lane) size() (rows uint64, bytes int) {
	for _, p := range l.pages {
		rows += p.last - p.first + 1
		bytes += p.bytes
	}
	return rows, bytes
}

func (l *lane) roomy() bool {
	rows, bytes := l.size()
	return rows < laneRows && bytes < laneBytes && len(l.pages) < lanePages
}

// needed is the first number whose block is needed.
func (l *lane) needed() uint64 {
	if len(l.pages) > 0 {
		return l.pages[0].first
	}
	return l.next
}

// order is where a message belongs among all others, those of the lane included. Called with c.mu held.
func (c *Consumer) order(seq uint64) uint64 {
	if seq < laneBase {
		return seq
	}
	return c.lane.place(seq)
}

// goesBefore compares messages by the order in which those of one group go out.
func goesBefore(aOrder, a, bOrder, b uint64) bool {
	if aOrder != bOrder {
		return aOrder < bOrder
	}
	return a < b // a row behind the entry whose number is its place
}

// isDone tells of a message of the log or the lane. Called with c.mu held, as setDone.
func (c *Consumer) isDone(seq uint64) bool {
	if seq >= laneBase {
		return c.lane.done.has(seq - laneBase)
	}
	return c.done.has(seq)
}

func (c *Consumer) setDone(seq uint64, durable bool) {
	if seq < laneBase {
		c.done.set(seq, durable)
		return
	}
	n, before := seq-laneBase, c.lane.done.cursor
	c.lane.done.set(n, durable)
	if now := c.lane.done.cursor; now != before && (len(c.lane.pages) == 0 || c.lane.pages[0].last < now) {
		for _, p := range c.lane.pages {
			if p.last < now {
				c.batch.delete(c.keys.number(dirLane, p.first))
			}
		}
		c.lane.settle()
	}
}

// sealLane returns the writes of the lane, in their order. Its record of pages is among those that come first.
func (c *Consumer) sealLane(b *batch) []engine.Op {
	var ops []engine.Op
	l := c.lane
	key := func(spread bool, n uint64) string {
		if spread {
			return c.keys.number(dirLaneSpread, n)
		}
		return c.keys.number(dirLaneDone, n)
	}
	l.done.render(func(spread bool, n uint64, bits *bitmap) {
		ops = append(ops, engine.Put(key(spread, n), encodePage(0, bits)))
	}, func(spread bool, n uint64) {
		b.gone[key(spread, n)] = struct{}{}
	})
	if l.cursor != l.done.cursor {
		l.cursor = l.done.cursor
		ops = append(ops, engine.Put(c.keys.name(keyLane), appendUints(nil, recordVersion, l.cursor)))
	}
	return ops
}

func (c *Consumer) laneUnwritten() bool {
	return c.lane.done.changed() || c.lane.cursor != c.lane.done.cursor
}

func (p *lanePage) encode() []byte {
	b := appendUints(nil, recordVersion, p.last, p.after, uint64(max(p.bytes, 0)))
	return append(b, p.backfill...)
}

func decodeLanePage(first uint64, b []byte) (*lanePage, error) {
	r := newReader(b)
	p := &lanePage{first: first, admitted: first}
	p.last, p.after, p.bytes = r.uint(), r.uint(), int(r.uint()) //nolint:gosec // written from an int
	p.backfill = string(r.b)
	if r.err == nil && p.last < p.first {
		r.err = errRecord
	}
	return p, r.err
}

// loadLane reads what the lane holds.
func (c *Consumer) loadLane(ctx context.Context) error {
	l := c.lane
	found, err := c.state.Get(ctx, c.keys.name(keyLane))
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read the place in the rows of backfills: %w", err)
	default:
		r := newReader(found.Value)
		if l.cursor = r.uint(); r.err != nil {
			return fmt.Errorf("read the place in the rows of backfills: %w", r.err)
		}
	}
	l.done, l.next = newDoneSet(l.cursor), l.cursor
	for _, spread := range [2]bool{true, false} {
		dir := dirLaneDone
		if spread {
			dir = dirLaneSpread
		}
		err := c.each(ctx, dir, func(n uint64, value []byte) (bool, error) {
			var b bitmap
			_, err := decodePage(value, &b)
			return err == nil && !l.done.load(spread, n, &b), err
		})
		if err != nil {
			return err
		}
	}
	l.done.advance()
	err = c.each(ctx, dirLane, func(first uint64, value []byte) (bool, error) {
		p, err := decodeLanePage(first, value)
		if err != nil {
			return false, err
		}
		l.next = max(l.next, p.last+1)
		if p.last < l.done.cursor {
			return false, nil
		}
		l.pages = append(l.pages, p)
		return true, nil
	})
	if err != nil {
		return err
	}
	l.next = max(l.next, l.done.cursor)
	l.settle()
	return c.loadProgress(ctx)
}

// loadProgress reads how far backfills have got, and takes back what a page would have told that was lost.
func (c *Consumer) loadProgress(ctx context.Context) error {
	prefix := c.keys.name(dirProgress)
	for entry, err := range c.state.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("read %s: %w", prefix, err)
		}
		r := newReader(entry.Value)
		first, n := r.uint(), r.uint()
		if r.err != nil || n > uint64(len(r.b)) {
			return fmt.Errorf("read %s: %w", entry.Key, errRecord)
		}
		known := r.b[n:]
		if first >= c.lane.next {
			known = r.b[:n]
		}
		c.lane.progress[strings.TrimPrefix(entry.Key, prefix)] = slices.Clone(known)
	}
	return nil
}

// keepLane gives back the room of rows that are done.
func (c *Consumer) keepLane(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.laneWake:
		}
		c.mu.Lock()
		before := c.lane.trim
		c.mu.Unlock()
		if err := c.lane.store.trimFront(ctx, before); err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "the room of rows that a backfill read and that are done could not be given back", "reason", err)
		}
		pause(ctx, nil, nil, trimInterval)
	}
}

// trimInterval is how often room is given back: each time costs the store a mark that it carries along for a while.
const trimInterval = time.Second

// dropLane makes everything in the lane done without delivery. Called with c.mu held.
func (c *Consumer) dropLane() {
	for _, p := range c.lane.pages {
		c.batch.delete(c.keys.number(dirLane, p.first))
	}
	c.lane.done.moveTo(c.lane.next)
	for seq, e := range c.entries {
		if seq >= laneBase && c.entries[seq] == e {
			c.drop(e)
		}
	}
	c.lane.settle()
}

// laneStore reads and writes blocks of rows. It is safe for concurrent use.
type laneStore struct {
	lane *Lane

	mu     sync.Mutex
	blocks engine.Log   // guarded by mu, as all that follows; nil until it is needed
	clean  uint64       // there is nothing from this number on; 0 when that is not known
	recent []*laneBlock // decoded, the last used at the end
}

type laneBlock struct {
	first   uint64
	changes []cdc.Change
}

// recentBlocks is how many decoded blocks are kept: those being put into the window and those being handed out.
const recentBlocks = 6

var errNoLane = errors.New("this consumer takes no rows of backfills")

func (s *laneStore) open(ctx context.Context) (engine.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks != nil {
		return s.blocks, nil
	}
	if s.lane == nil {
		return nil, errNoLane
	}
	blocks, err := s.lane.Blocks(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the rows of backfills: %w", err)
	}
	s.blocks = blocks
	return blocks, nil
}

// append writes the rows of one page from a number on, in blocks, durably. What is there from that number on was never offered, and goes.
func (s *laneStore) append(ctx context.Context, first uint64, rows []cdc.Change) error {
	blocks, err := s.open(ctx)
	if err != nil {
		return err
	}
	var out []engine.Block
	var fresh []*laneBlock
	for at := 0; at < len(rows); {
		n, size := 0, 0
		for at+n < len(rows) && (n == 0 || size+rows[at+n].Size <= laneBlockBytes) {
			size += rows[at+n].Size
			n++
		}
		part := rows[at : at+n : at+n]
		data, err := s.lane.Pages.EncodePage(part)
		if err != nil {
			return fmt.Errorf("encode the rows of a backfill: %w", err)
		}
		number := first + uint64(at)
		out = append(out, engine.Block{First: number, Data: data})
		fresh = append(fresh, &laneBlock{first: laneBase + number, changes: part})
		at += n
	}
	s.mu.Lock()
	clean := s.clean
	s.clean = 0
	s.mu.Unlock()
	if clean == 0 || clean > first {
		if err := blocks.TrimBack(ctx, first-1); err != nil {
			return fmt.Errorf("keep the rows of a backfill: %w", err)
		}
	}
	if err := blocks.Append(ctx, out...); err != nil {
		return fmt.Errorf("keep the rows of a backfill: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean = first + uint64(len(rows))
	s.recent = slices.DeleteFunc(s.recent, func(b *laneBlock) bool { return b.first >= laneBase+first })
	s.recent = append(s.recent, fresh...)
	s.recent = s.recent[max(0, len(s.recent)-recentBlocks):]
	return nil
}

// laneBlockBytes is the size of a block of rows, as they came from the server.
const laneBlockBytes = 512 << 10

// segment is the run of rows that holds a message of the lane.
func (s *laneStore) segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	b := s.cached(seq)
	if b == nil {
		if b, err = s.load(ctx, seq); err != nil {
			return 0, 0, nil, err
		}
	}
	return b.first, b.first + uint64(len(b.changes)) - 1, b.changes, nil
}

func (s *laneStore) cached(seq uint64) *laneBlock {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.recent {
		if seq >= b.first && seq-b.first < uint64(len(b.changes)) {
			s.recent = append(slices.Delete(s.recent, i, i+1), b)
			return b
		}
	}
	return nil
}

func (s *laneStore) load(ctx context.Context, seq uint64) (*laneBlock, error) {
	blocks, err := s.open(ctx)
	if errors.Is(err, errNoLane) {
		return nil, errMissing
	}
	if err != nil {
		return nil, err
	}
	found, err := blocks.Read(ctx, seq-laneBase)
	if errors.Is(err, engine.ErrNotFound) || errors.Is(err, engine.ErrCorrupt) {
		return nil, fmt.Errorf("read row %d of a backfill: %w: %w", seq-laneBase, errMissing, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read row %d of a backfill: %w", seq-laneBase, err)
	}
	b := &laneBlock{first: laneBase + found.First}
	if b.changes, err = s.lane.Pages.DecodePage(found.Data, b.first); err != nil {
		return nil, fmt.Errorf("read row %d of a backfill: %w: %w", seq-laneBase, errMissing, err)
	}
	if seq-b.first >= uint64(len(b.changes)) {
		return nil, fmt.Errorf("read row %d of a backfill: %w", seq-laneBase, errMissing)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = append(s.recent, b)
	s.recent = s.recent[max(0, len(s.recent)-recentBlocks):]
	return b, nil
}

func (s *laneStore) trimFront(ctx context.Context, before uint64) error {
	s.mu.Lock()
	blocks := s.blocks
	s.recent = slices.DeleteFunc(s.recent, func(b *laneBlock) bool { return b.first+uint64(len(b.changes)) <= laneBase+before })
	s.mu.Unlock()
	if blocks == nil {
		return nil
	}
	return blocks.TrimFront(ctx, before)
}
