package consumer_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/filter"
)

// fakeBlocks is a log of blocks in memory.
type fakeBlocks struct {
	mu   sync.Mutex
	m    map[uint64][]byte
	slow func() // called by each Append; nil for nothing
}

func newBlocks() *fakeBlocks { return &fakeBlocks{m: map[uint64][]byte{}} }

func (b *fakeBlocks) Append(_ context.Context, blocks ...engine.Block) error {
	if b.slow != nil {
		b.slow()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, block := range blocks {
		b.m[block.First] = slices.Clone(block.Data)
	}
	return nil
}

func (b *fakeBlocks) Read(_ context.Context, seq uint64) (engine.Block, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	best, found := uint64(0), false
	for first := range b.m {
		if first <= seq && first >= best {
			best, found = first, true
		}
	}
	if !found {
		return engine.Block{}, engine.ErrNotFound
	}
	return engine.Block{First: best, Data: slices.Clone(b.m[best])}, nil
}

func (b *fakeBlocks) TrimFront(_ context.Context, seq uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.m, func(first uint64, _ []byte) bool { return first < seq })
	return nil
}

func (b *fakeBlocks) TrimBack(_ context.Context, seq uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.m, func(first uint64, _ []byte) bool { return first > seq })
	return nil
}

func (b *fakeBlocks) Next(context.Context, uint64) (engine.Block, error) {
	return engine.Block{}, errors.ErrUnsupported
}

func (b *fakeBlocks) Last(context.Context) (engine.Block, error) {
	return engine.Block{}, errors.ErrUnsupported
}
func (b *fakeBlocks) Size(context.Context) (uint64, error) { return 0, errors.ErrUnsupported }

func (b *fakeBlocks) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.m)
}

type pageCodec struct{}

func (pageCodec) EncodePage(rows []cdc.Change) ([]byte, error) {
	return changelog.AppendReads(nil, rows)
}

func (pageCodec) DecodePage(b []byte, first uint64) ([]cdc.Change, error) {
	return changelog.DecodeReads(b, first)
}

func laneDeps(log consumer.Log, state engine.State, blocks *fakeBlocks) consumer.Deps {
	d := deps(log, state)
	d.Lane = &consumer.Lane{Blocks: func(context.Context) (engine.Log, error) { return blocks, nil }, Pages: pageCodec{}}
	return d
}

// source is a table and its history: what has committed, what of it has come through the slot, and what of it snapshots can see.
type source struct {
	rel  *cdc.Relation
	log  *fakeLog
	mu   sync.Mutex
	r    *rand.Rand          // guarded by mu, as all that follows
	rows map[string]rowState // as committed
	all  []*transaction      // in the order of their commits
	wire []*transaction      // committed and not received yet
	told map[uint64]rowState // what an entry of the log makes of its row
}

type rowState struct {
	version int
	gone    bool
	extra   string // a column that updates often leave as it is
}

type transaction struct {
	xid     uint32
	visible bool
	keys    []string
	states  []rowState
	changes []*cdc.Change
}

func newSource(seed uint64) *source {
	return &source{r: rand.New(rand.NewPCG(seed, 18)), rel: table(7, "orders"), log: newLog(), rows: map[string]rowState{}, told: map[uint64]rowState{}}
}

const modelKeys = 12

// commit writes a transaction. What changes a row that an invisible one has changed would have to wait for it.
func (s *source) commit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	locked := map[string]bool{}
	for _, txn := range s.all {
		for _, key := range txn.keys {
			locked[key] = locked[key] || !txn.visible
		}
	}
	txn := &transaction{xid: uint32(100 + len(s.all)), visible: s.r.IntN(4) > 0}
	for range 1 + s.r.IntN(4) {
		key := strconv.Itoa(s.r.IntN(modelKeys))
		if locked[key] {
			continue
		}
		s.change(txn, key)
	}
	if len(txn.keys) == 0 {
		return
	}
	s.all = append(s.all, txn)
	s.wire = append(s.wire, txn)
}

func (s *source) change(txn *transaction, key string) {
	old, exists := s.rows[key]
	exists = exists && !old.gone
	now := rowState{version: old.version + 1, extra: old.extra}
	c := &cdc.Change{Relation: s.rel, XID: txn.xid}
	switch {
	case !exists:
		now.extra = "x" + strconv.Itoa(now.version)
		c.Op, c.New = cdc.OpInsert, cdctest.Tuple(key, strconv.Itoa(now.version), now.extra)
	case s.r.IntN(4) == 0:
		now.gone = true
		c.Op, c.OldKind, c.Old = cdc.OpDelete, 'K', cdctest.Tuple(key, nil, nil)
	case s.r.IntN(2) == 0:
		c.Op, c.New = cdc.OpUpdate, cdctest.Tuple(key, strconv.Itoa(now.version), cdctest.Unchanged)
	default:
		now.extra = "x" + strconv.Itoa(now.version)
		c.Op, c.New = cdc.OpUpdate, cdctest.Tuple(key, strconv.Itoa(now.version), now.extra)
	}
	s.rows[key] = now
	txn.keys, txn.states, txn.changes = append(txn.keys, key), append(txn.states, now), append(txn.changes, c)
}

// receive brings up to n transactions through the slot.
func (s *source) receive(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; n > 0 && len(s.wire) > 0; n-- {
		txn := s.wire[0]
		s.wire = s.wire[1:]
		at := s.log.End().Seq
		for i := range txn.changes {
			s.told[at+1+uint64(i)] = txn.states[i]
		}
		s.log.add(txn.changes...)
	}
}

// storm changes rows while somebody else is in the middle of something, and gives it time to be noticed.
func (s *source) storm() {
	s.mu.Lock()
	n := s.r.IntN(3)
	s.mu.Unlock()
	for range n {
		s.commit()
	}
	if n > 0 {
		s.receive(n)
		time.Sleep(time.Millisecond)
	}
}

// show makes what waited for its standby visible.
func (s *source) show(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, txn := range s.all {
		if !txn.visible && (all || s.r.IntN(2) == 0) {
			txn.visible = true
		}
	}
}

// read reads the rows with keys from low to high.
func (s *source) read(low, high int) consumer.ReadPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := consumer.ReadPage{Backfill: "b1", Relation: s.rel, Since: s.log.End().Seq}
	rows, visible, waiting := map[string]rowState{}, map[uint32]bool{}, map[uint32]bool{}
	for _, txn := range s.wire {
		waiting[txn.xid] = true
	}
	for _, txn := range s.all {
		if !txn.visible {
			if !waiting[txn.xid] {
				p.Unseen = append(p.Unseen, txn.xid)
			}
			continue
		}
		visible[txn.xid] = true
		for i, key := range txn.keys {
			rows[key] = txn.states[i]
		}
	}
	p.Sees = func(xid uint32) bool { return visible[xid] }
	for n := low; n < high; n++ {
		key := strconv.Itoa(n)
		if row, ok := rows[key]; ok && !row.gone {
			p.Rows = append(p.Rows, cdc.Change{
				Op: cdc.OpRead, Relation: s.rel, New: cdctest.Tuple(key, strconv.Itoa(row.version), row.extra), Size: 10,
				Position: cdc.Position{LSN: cdc.LSN(p.Since * 16), Index: uint32(len(p.Rows))}, CommitTime: cdc.Timestamp(time.Now().UnixMicro()), //nolint:gosec // a few
			})
		}
	}
	return p
}

// reader is the application behind a consumer, and the backfill.
type reader struct {
	t      *testing.T
	r      *rand.Rand
	s      *source
	cfg    consumer.Config
	state  *fakeState
	blocks *fakeBlocks
	c      *running
	held   []*consumer.Delivery
	view   map[string]rowState // what was processed
	sure   map[string]rowState // what was acknowledged and answered
	acked  map[string]bool
	reads  int
	again  atomic.Int64
	older  map[string]bool // rows of which older states may come once more

	offers sync.WaitGroup
}

func (o *reader) open() {
	c, err := consumer.Open(o.t.Context(), laneDeps(o.s.log, o.state, o.blocks), o.cfg)
	require.NoError(o.t, err)
	c.SetBounds(1+o.r.IntN(20), 4096, 1+o.r.IntN(40), 1<<30)
	o.c = run(o.t, c)
}

func (o *reader) crashIf() {
	select {
	case <-o.state.crashed:
	default:
		return
	}
	o.offers.Wait()
	require.Error(o.t, <-o.c.done)
	o.c.over = true
	o.held = nil
	o.state = o.state.survivor()
	o.open()
}

func (o *reader) fine(err error) bool {
	if err != nil {
		require.True(o.t, errors.Is(err, errCrashed) || errors.Is(err, consumer.ErrStopped), "%v", err)
	}
	return err == nil
}

// backfill reads one page as a snapshot has it now, and offers it when the watermark has come.
func (o *reader) backfill(low, high int, done func()) {
	p := o.s.read(low, high)
	c := o.c
	o.offers.Go(func() {
		o.s.receive(1 << 30) // the watermark comes after all that was committed before it
		_, err := c.Offer(context.WithoutCancel(o.t.Context()), p)
		switch {
		case errors.Is(err, consumer.ErrReadAgain):
			o.again.Add(1)
		case o.fine(err) && done != nil:
			done()
		}
	})
}

// take receives messages and checks what they say of their rows.
func (o *reader) take() {
	ds, err := o.c.Receive(o.t.Context(), consumer.ReceiveOptions{
		Max: 1 + o.r.IntN(8), SameGroup: o.r.IntN(2) == 0, Visibility: time.Duration(1+o.r.IntN(60)) * time.Second,
	})
	if !o.fine(err) {
		return
	}
	batch := maps.Clone(o.sure)
	for _, d := range ds {
		require.False(o.t, o.acked[d.AckID], "acknowledged message %d came again", d.Seq)
		key, now := o.told(d)
		require.GreaterOrEqual(o.t, now.version, batch[key].version, "row %s goes back, by message %d", key, d.Seq)
		batch[key] = now
	}
	o.held = append(o.held, ds...)
}

// told is what a message says of its row.
func (o *reader) told(d *consumer.Delivery) (key string, now rowState) {
	row := d.Change.New
	if d.Change.Op == cdc.OpDelete {
		row = d.Change.Old
	}
	id, _ := row.Column(0)
	o.s.mu.Lock()
	now, live := o.s.told[d.Seq]
	o.s.mu.Unlock()
	if !live {
		require.Equal(o.t, cdc.OpRead, d.Change.Op)
		o.reads++
		version, _ := row.Column(1)
		extra, _ := row.Column(2)
		n, err := strconv.Atoi(string(version.Text))
		require.NoError(o.t, err)
		require.False(o.t, extra.Unchanged(), "a read tells the whole row")
		now = rowState{version: n, extra: string(extra.Text)}
	}
	return string(id.Text), now
}

func (o *reader) ack(n int) {
	n = min(n, len(o.held))
	if n == 0 {
		return
	}
	// From the front: an attempt whose lease is over may be out again, and then the later one counts.
	ds := o.held[:n]
	o.held = o.held[n:]
	sure := o.fine(o.c.Ack(o.t.Context(), ackIDs(ds)))
	for _, d := range ds { // processed, whatever has become of the acknowledgement
		key, now := o.told(d)
		if now.version >= o.view[key].version || o.older[key] { // else a later attempt was processed before
			o.view[key] = now
		}
		delete(o.older, key)
		if sure {
			o.acked[d.AckID] = true
			if now.version >= o.sure[key].version {
				o.sure[key] = now
			}
		}
	}
}

func (o *reader) act() {
	switch o.r.IntN(16) {
	case 0, 1, 2:
		o.s.commit()
	case 3, 4:
		o.s.receive(1 + o.r.IntN(3))
	case 5:
		o.s.show(false)
	case 6, 7, 8:
		o.take()
	case 9, 10:
		o.ack(o.r.IntN(len(o.held) + 1))
	case 11:
		if n := len(o.held); n > 0 {
			o.fine(o.c.Nack(o.t.Context(), []string{o.held[o.r.IntN(n)].AckID}, 0))
		}
	case 12, 13:
		low := o.r.IntN(modelKeys)
		o.backfill(low, low+1+o.r.IntN(modelKeys), nil)
	case 14:
		time.Sleep(time.Duration(o.r.IntN(40)) * time.Second)
	case 15:
		switch o.r.IntN(4) {
		case 3: // back along the log: what the rows were goes out again, and then what they became
			to := min(1+o.r.Uint64N(o.s.log.End().Seq+1), o.c.Stats().Cursor)
			_, err := o.c.Move(o.t.Context(), consumer.MoveRequest{To: to, Skip: true})
			o.fine(err) // a crash may leave it before the move or behind it
			clear(o.sure)
			o.held = nil
			for key := range o.view {
				o.older[key] = true
			}
		case 0:
			o.state.mu.Lock()
			o.state.budget = o.r.IntN(40)
			o.state.mu.Unlock()
		case 1:
			o.cfg.Grouping.Mode = []consumer.GroupMode{consumer.GroupByKey, consumer.GroupByTable}[o.r.IntN(2)]
			o.fine(o.c.Update(o.t.Context(), o.cfg))
		default:
			o.offers.Wait()
		}
	}
}

// finish reads the whole table once more, has everything delivered, and compares.
func (o *reader) finish() {
	o.state.mu.Lock()
	o.state.budget = -1
	o.state.mu.Unlock()
	o.offers.Wait()
	o.crashIf()
	o.blocks.slow = nil
	o.s.show(true)
	o.s.receive(1 << 30)
	for low, done := 0, false; low < modelKeys; low, done = low+5, false {
		o.backfill(low, min(low+5, modelKeys), func() { done = true })
		o.offers.Wait()
		require.True(o.t, done)
	}
	for range 10_000 {
		o.take()
		o.ack(len(o.held))
		time.Sleep(time.Second)
		if rows, _ := o.c.Outstanding("b1"); rows == 0 && o.c.Stats().Lag == 0 {
			break
		}
	}
	rows, _ := o.c.Outstanding("b1")
	require.Zero(o.t, rows)
	require.Empty(o.t, o.c.Books())
	wants := func(op string) bool { return slices.Contains(o.cfg.Actions, op) }
	for key, row := range o.s.rows {
		seen, known := o.view[key]
		if row.gone && (!known || !wants("delete")) {
			continue
		}
		require.Equal(o.t, row.gone, seen.gone, "row %s", key)
		if !row.gone {
			require.Equal(o.t, row, seen, "row %s", key)
		}
	}
}

// Backfills, changes, transactions that wait for a standby, lags of the slot, crashes and all that an application does, at random: a row never
// goes back, nothing that was deleted comes back, and in the end the application has the table.
func TestBackfillsNeverGoBack(t *testing.T) {
	t.Parallel()
	reads, again := 0, int64(0)
	for seed := range uint64(iterations(400)) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 17))
			o := &reader{
				t: t, r: r, s: newSource(seed), cfg: pullConfig(), state: newState(), blocks: newBlocks(), view: map[string]rowState{}, sure: map[string]rowState{}, acked: map[string]bool{}, older: map[string]bool{},
			}
			o.blocks.slow = o.s.storm
			o.cfg.Start = []consumer.Start{consumer.StartBeginning, consumer.StartNow}[r.IntN(2)]
			o.cfg.Actions = [][]string{filter.Actions(), {"insert", "update", "delete"}, {"insert", "delete"}, {"insert"}, {"delete"}}[seed%5]
			for range r.IntN(10) {
				o.s.commit()
			}
			o.s.receive(r.IntN(10))
			o.open()
			for n := range 120 {
				o.act()
				if r.IntN(3) == 0 {
					synctest.Wait()
					require.Empty(t, o.c.Books(), "after act %d", n)
				}
				o.crashIf()
			}
			o.finish()
			reads, again = reads+o.reads, again+o.again.Load()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	require.Positive(t, again, "no page had to be read again")
	t.Logf("%d rows read, %d pages read again", reads, again)
}
