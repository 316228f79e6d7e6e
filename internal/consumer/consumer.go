package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// Consumer is one consumer of one change log. Open makes it, Run makes it work; everything else may be called from any goroutine.
//
// One mutex guards the window; nothing that waits or touches storage happens under it. Three goroutines of Run work on it: the scan brings
// messages in from the log, the commit writes what has become of them, and the clock ends leases and waits. A fourth, the undertaker, makes
// dead letters, and a fifth gives back the room of rows that backfills have read. Work on dead letters holds deadMu, which is taken before mu.
type Consumer struct {
	log    *strayLog
	state  engine.State
	logger *slog.Logger
	encode func(*cdc.Change) ([]byte, error)
	keys   keys
	tag    uint64
	limits bounds
	effort effort

	scanWake   chan struct{} // the scan may have more to do
	timerWake  chan struct{} // there is an earlier deadline
	commitWake chan struct{} // the batch is due earlier
	buryWake   chan struct{} // there is a burial, or room for one
	laneWake   chan struct{} // rows of backfills need their room no more
	stopped    chan struct{} // closed when Run has ended

	deadMu   sync.Mutex    // serializes changes to the dead letters, and moves
	offering chan struct{} // holds one token while rows are offered, which takes turns
	trimming sync.Locker   // held while the log is trimmed; nil if it never is. Taken after deadMu and before mu

	mu   sync.Mutex
	cfg  Config
	plan *plan
	rand *rand.Rand

	place        cursorRecord // as last written or being written
	placeChanged bool         // by more than the cursor

	writtenGeneration uint32

	handed      uint64              // the last message that was handed out in this generation
	replayBelow uint64              // what is delivered below it may have been delivered in an earlier generation
	undo        *undo               // takes the last move back; nil if nothing does
	held        uint64              // what the log has to keep for a move that is not durable yet; 0 for nothing
	heldFor     uint32              // the generation that the move begins
	againBytes  int                 // of the copies of messages that were asked for once more
	late        map[flight]struct{} // push deliveries of earlier generations whose outcome is not known: until it is, nothing is handed out

	done  *doneSet
	next  uint64 // the scan's frontier: everything below was scanned
	epoch uint64 // rises when the window is set up anew, so that the scan notices

	lane *lane

	entries    map[uint64]*entry
	redrives   map[uint64]*entry
	groups     map[groupKey]*group
	tables     map[uint32]*table
	refeed     []*table
	leases     map[uint64]*lease
	thinLeases map[*lease]struct{}
	ready      readyQueue
	timers     timers
	waiters    waiterList

	lastTable    *table
	lastLease    uint64
	spareEntries []*entry
	spareGroups  []*group

	readyN, inFlightN, retryN int
	waiting                   int // in backlogs
	blockedGroups             int // with a backlog
	backlogBytes              int
	receiving                 int  // long polls that wait
	scanWaits                 bool // for room
	batch                     *batch
	committing                *batch // being written
	uncommitted               int    // push acknowledgements that are not durable
	durable                   uint64 // the pin on disk
	durablyDisabled           bool
	burials                   []*burial
	deadCount, deadBytes      int64
	deadOldest                time.Time
	deadVersion               uint64
	gaps                      int
	lastGap                   *GapRecord
	stopReason                StopReason
	ages                      ageTrack
	stats                     counters
}

// bounds of the window. A consumer that reaches one waits.
type bounds struct {
	ready    int    // messages that could be handed out
	pages    int    // of the done set
	distance uint64 // messages between the cursor and the frontier
	backlog  int    // bytes for messages behind blocked groups
	burials  int    // messages that are becoming dead letters
	redrives int    // dead letters that are being delivered again
}

func defaultBounds() bounds {
	return bounds{
		ready:    8192,
		pages:    4096, // 16.7 million messages when every page has one that is not done
		distance: 1 << 30,
		backlog:  4 << 20, // some 2 to 4 million messages
		burials:  1024,
		redrives: 10_000,
	}
}

// maxLeaseItems keeps a lease's record small.
const maxLeaseItems = 1000

// Open reads the consumer's state, or writes the first. The time it takes does not depend on what waits in the log.
func Open(ctx context.Context, deps Deps, cfg Config) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := deps.Rand
	if r == nil {
		r = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // G404: spreads retries, guards nothing
	}
	c := &Consumer{
		log: newStrayLog(deps, cfg.ID), trimming: deps.Trimming, late: map[flight]struct{}{}, state: deps.State, encode: deps.Encode, cfg: cfg, rand: r,
		logger: deps.Logger.With("consumer", cfg.Name),
		keys:   newKeys(cfg.ID), tag: consumerTag(cfg.ID), limits: defaultBounds(), effort: defaultEffort(),
		scanWake: make(chan struct{}, 1), timerWake: make(chan struct{}, 1), commitWake: make(chan struct{}, 1),
		buryWake: make(chan struct{}, 1), laneWake: make(chan struct{}, 1), offering: make(chan struct{}, 1), stopped: make(chan struct{}),
		redrives: map[uint64]*entry{}, leases: map[uint64]*lease{}, thinLeases: map[*lease]struct{}{}, batch: newBatch(),
	}
	c.lane = newLane(deps)
	c.log.lane = &c.lane.store
	c.clearWindow()
	c.entries = map[uint64]*entry{}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("open consumer %q: %w", cfg.Name, err)
	}
	if c.plan, err = newPlan(cfg, c.place); err != nil {
		return nil, err
	}
	return c, nil
}

// Name is the consumer's name.
func (c *Consumer) Name() string { return c.config().Name }

// Remove deletes everything that a consumer kept. It must not be running.
func Remove(ctx context.Context, state engine.State, id string) error {
	if err := state.DeletePrefix(ctx, newKeys(id).prefix); err != nil {
		return fmt.Errorf("remove the state of consumer %s: %w", id, err)
	}
	return nil
}

// clearWindow forgets what was scanned, but not the entries.
func (c *Consumer) clearWindow() {
	c.groups, c.tables = map[groupKey]*group{}, map[uint32]*table{}
	c.lastTable, c.refeed = nil, nil
	c.spareEntries, c.spareGroups = nil, nil
	c.ready = readyQueue{}
	c.readyN, c.waiting, c.blockedGroups, c.backlogBytes = 0, 0, 0, 0
	c.lane.restart()
	c.epoch++
}

// rescan sets the window up anew from the cursor: what is in flight or has a history stays known, everything else is scanned again.
func (c *Consumer) rescan() {
	c.clearWindow()
	for seq, e := range c.entries {
		if e.state == retrying {
			c.quiet(e)
		}
		e.slow = false
		if c.isDone(seq) { // acknowledged while it waited for its groups
			c.forget(&entry{seq: seq, stored: e.stored})
			continue
		}
		if e.state != inFlight && e.state != dying {
			e.state = held
			if e.attempts == 0 {
				delete(c.entries, seq)
				continue
			}
		}
		e.g, e.g2, e.t, e.arrived, e.fence, e.stale = nil, nil, nil, 0, false, true
	}
	for _, e := range c.redrives {
		if e.state == ready {
			c.makeReady(e)
		}
	}
	c.ages = ageTrack{}
	c.lane.peak = max(c.lane.peak, c.next)
	c.next = c.done.cursor
	wake(c.scanWake)
}

// Run works until ctx ends, then writes what is outstanding and returns nil. It returns an error when the state store is closed, or when what
// is outstanding could not be written in the end. A consumer runs once.
func (c *Consumer) Run(ctx context.Context) error {
	defer close(c.stopped)
	work, stop := context.WithCancel(ctx)
	defer stop()
	var wg errgroup.Group
	for _, f := range []func(context.Context){c.scan, c.keepTime, c.undertake, c.keepLane} {
		wg.Go(func() error {
			f(work)
			return nil
		})
	}
	err := c.commit(ctx)
	stop()
	if werr := wg.Wait(); err == nil {
		err = werr
	}
	if err == nil {
		err = c.lastCommit(context.WithoutCancel(ctx))
	}
	c.failWaiters()
	return err
}

// keepTime ends leases and waits for retries when their time has come.
func (c *Consumer) keepTime(ctx context.Context) {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		c.mu.Lock()
		wait := c.tick(time.Now())
		c.mu.Unlock()
		alarm.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-c.timerWake:
		case <-alarm.C:
		}
	}
}

// tick does what is due and returns the time until the next deadline.
func (c *Consumer) tick(now time.Time) time.Duration {
	for len(c.timers) > 0 {
		t := c.timers[0]
		if t.at.After(now) {
			c.dispatch()
			c.progress()
			return t.at.Sub(now)
		}
		c.stopTimer(t)
		if t.l != nil {
			c.expire(t.l)
			continue
		}
		e := t.e
		e.timer = nil
		e.state = held
		c.retryN--
		c.activate(e)
	}
	c.dispatch()
	c.progress()
	return time.Hour
}

// retryAt is when to try a message again that failed on its way to the destination.
func (c *Consumer) retryAt(e *entry, after time.Duration) time.Time {
	if after <= 0 {
		after = backoff.Delivery().Delay(e.attempts+1, c.rand)
	}
	return time.Now().Add(after)
}

// Cursor is the first message that the consumer still needs, durably, for the log's retention: MaxUint64 for a disabled consumer.
func (c *Consumer) Cursor() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	pin := c.durable
	if c.durablyDisabled {
		pin = math.MaxUint64
	}
	if c.held > 0 {
		pin = min(pin, c.held)
	}
	return pin
}

// wake makes the goroutine behind ch look again.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
