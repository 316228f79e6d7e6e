package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/store"
)

// keptInCuts is how many revisions the load keeps.
const keptInCuts = 5

// ledger is what a store promised, and what it may show beside that.
type ledger struct {
	mu       sync.Mutex
	attempts map[string]attempt // by label
	acked    map[uint64]string  // label by number
	last     uint64             // greatest acknowledged number
	audited  uint64             // acknowledged audit entries
	token    uint64             // the acknowledged content of a token

	progress chan struct{}
	pause    sync.RWMutex // held while what a cut left is judged, so that the load does not slow that down
}

// attempt is what a commit was to write.
type attempt struct {
	number  uint64
	objects []string
}

func newLedger() *ledger {
	return &ledger{attempts: map[string]attempt{}, acked: map[uint64]string{}, progress: make(chan struct{})}
}

// promised is a ledger at one moment.
type promised struct {
	acked          map[uint64]string
	last           uint64
	audited, token uint64
}

func (l *ledger) now() promised {
	l.mu.Lock()
	defer l.mu.Unlock()
	return promised{acked: maps.Clone(l.acked), last: l.last, audited: l.audited, token: l.token}
}

func (l *ledger) told(ctx context.Context) bool {
	select {
	case l.progress <- struct{}{}:
	default:
	}
	l.pause.RLock()
	defer l.pause.RUnlock()
	return ctx.Err() == nil
}

// commitAtRandom changes some of a few objects on the head, and notes before and after what may be seen and what must.
func (l *ledger) commitAtRandom(ctx context.Context, s *store.Store, r *rand.Rand, label string) error {
	head, objects, err := s.Head(ctx, "acme")
	if err != nil {
		return err
	}
	number := head.Number + 1
	var next []store.Object
	var seen []string
	put := func(id string) {
		data := label + fmt.Sprintf(" %*d", r.IntN(3000), number)
		next = append(next, object(id, data))
		seen = append(seen, fmt.Sprintf("%s@%d=%s", id, number, data))
	}
	for _, o := range objects {
		switch r.IntN(6) {
		case 0: // it goes
		case 1, 2:
			put(o.ID)
		default:
			next = append(next, same(o.ID, o.Written))
			seen = append(seen, texts([]store.Object{o})...)
		}
	}
	for len(next) < 3+r.IntN(10) {
		put("made by " + label + strconv.Itoa(len(next)))
	}
	l.mu.Lock()
	l.attempts[label] = attempt{number: number, objects: seen}
	l.mu.Unlock()
	rev, err := s.Commit(ctx, "acme", head.Number, store.Revision{What: label, Changes: many}, next)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[rev.Number], l.last = label, max(l.last, rev.Number)
	return nil
}

// load commits from two sides, prunes, and writes beside that, until ctx ends.
func (l *ledger) load(ctx context.Context, state engine.State, seed uint64) error {
	s := store.New(state)
	errs := make(chan error, 3)
	for side := range 2 {
		go func() {
			r := rand.New(rand.NewPCG(seed, uint64(side)))
			for n := 0; l.told(ctx); n++ {
				err := l.commitAtRandom(ctx, s, r, fmt.Sprintf("%d.%d.%d", seed, side, n))
				if err == nil && r.IntN(4) == 0 {
					err = s.PruneRevisions(ctx, "acme", keptInCuts)
				}
				if err != nil && ctx.Err() == nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	go func() { errs <- l.loadBeside(ctx, s) }()
	return errors.Join(<-errs, <-errs, <-errs)
}

func (l *ledger) loadBeside(ctx context.Context, s *store.Store) (err error) {
	defer func() {
		if ctx.Err() != nil {
			err = nil // it was asked to end
		}
	}()
	for l.told(ctx) {
		before := l.now()
		if err := s.AppendAudit(ctx, "acme", store.AuditEntry{Action: strconv.FormatUint(before.audited+1, 10)}); err != nil {
			return err
		}
		l.mu.Lock()
		l.audited++
		l.mu.Unlock()
		if err := s.PutToken(ctx, store.TokenRecord{ID: "t", Account: "acme", Name: strconv.FormatUint(before.token+1, 10)}); err != nil {
			return err
		}
		l.mu.Lock()
		l.token++
		l.mu.Unlock()
	}
	return nil
}

// audit judges what a cut left of a store by what was promised before.
func (l *ledger) audit(ctx context.Context, state engine.State, p promised) error {
	s := store.New(state)
	head, _, err := s.Head(ctx, "acme")
	if err != nil {
		return err
	}
	if head.Number < p.last {
		return fmt.Errorf("the head is %d, %d was acknowledged", head.Number, p.last)
	}
	all, err := s.Revisions(ctx, "acme", 0, 0)
	if err != nil {
		return err
	}
	if uint64(len(all)) < min(head.Number, keptInCuts) {
		return fmt.Errorf("%d revisions are left of %d", len(all), head.Number)
	}
	for _, r := range all {
		if err := l.judge(ctx, s, r, p); err != nil {
			return fmt.Errorf("revision %d: %w", r.Number, err)
		}
	}
	entries, err := s.Audit(ctx, "acme", 0, 0)
	if err != nil {
		return err
	}
	if uint64(len(entries)) < p.audited {
		return fmt.Errorf("%d audit entries are left of %d", len(entries), p.audited)
	}
	tokens, err := s.Tokens(ctx)
	if err != nil {
		return err
	}
	if n := 0; p.token > 0 {
		if len(tokens) != 1 {
			return errors.New("the token is gone")
		}
		if _, err := fmt.Sscan(tokens[0].Name, &n); err != nil || uint64(n) < p.token {
			return fmt.Errorf("the token is at %q, %d was acknowledged", tokens[0].Name, p.token)
		}
	}
	return nil
}

// judge compares a revision with the commit that says that it made it.
func (l *ledger) judge(ctx context.Context, s *store.Store, r store.Revision, p promised) error {
	_, objects, err := s.Revision(ctx, "acme", r.Number)
	if err != nil {
		return err
	}
	l.mu.Lock()
	made := l.attempts[r.What]
	l.mu.Unlock()
	if label := p.acked[r.Number]; label != "" && label != r.What {
		return fmt.Errorf("it is that of %s, %s was acknowledged", r.What, label)
	}
	if made.number != r.Number || len(r.Changes) != len(many) {
		return fmt.Errorf("%s was to make %d", r.What, made.number)
	}
	if got := texts(objects); fmt.Sprint(got) != fmt.Sprint(made.objects) {
		return errors.New("it is not what was written")
	}
	return nil
}

func openDisk(ctx context.Context, disk *powerloss.Disk, skipSync bool) (*embedded.Engine, error) {
	return disk.Open(ctx, powerloss.Options{
		Options: embedded.Options{ReserveBytes: -1, MemtableBytes: 256 << 10}, SkipSync: skipSync,
	})
}

// cutOften runs the load, cuts the power again and again in the middle of it, and judges each time what is left. Twice on each disk: the second
// load begins with what the last cut left.
func cutOften(t *testing.T, skipSync bool, rounds, cuts int) error {
	t.Helper()
	for round := range rounds {
		disk, led := powerloss.New(), newLedger()
		for life := range 2 {
			var err error
			if disk, err = led.live(t, disk, uint64(2*round+life), cuts, skipSync); err != nil {
				return err
			}
		}
	}
	return nil
}

// live is a load on one disk; it returns the disk as the last cut left it.
func (l *ledger) live(t *testing.T, disk *powerloss.Disk, seed uint64, cuts int, skipSync bool) (*powerloss.Disk, error) {
	t.Helper()
	e, err := openDisk(t.Context(), disk, skipSync)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.load(ctx, e.State(), seed) }()
	var after *powerloss.Disk
	var p promised
	for cut := 0; cut < cuts && err == nil; cut++ {
		for range 1 + cut%9 {
			<-l.progress
		}
		p = l.now()
		after = disk.Cut(seed*1000 + uint64(cut)) // in the middle of things
		l.pause.Lock()
		err = l.reopen(t.Context(), after, p)
		l.pause.Unlock()
	}
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, e.Close())
	if err != nil {
		return nil, fmt.Errorf("seed %d: %w", seed, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked, l.last, l.audited, l.token = p.acked, p.last, p.audited, p.token // what came after the cut was another history
	return after, nil
}

// reopen looks at a disk after a cut, without changing it, and then sees to it that a copy of it can be worked with.
func (l *ledger) reopen(ctx context.Context, disk *powerloss.Disk, p promised) (err error) {
	disk, err = disk.Copy()
	if err != nil {
		return err
	}
	e, err := openDisk(ctx, disk, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := l.audit(ctx, e.State(), p); err != nil {
		return err
	}
	s := store.New(e.State())
	head, _, err := s.Head(ctx, "acme")
	if err != nil {
		return err
	}
	for n := range uint64(2) {
		if _, err := s.Commit(ctx, "acme", head.Number+n, store.Revision{}, []store.Object{object("a", "a")}); err != nil {
			return err
		}
	}
	if err := s.PruneRevisions(ctx, "acme", 1); err != nil {
		return err
	}
	garbage, err := s.Garbage(ctx, "acme")
	if err == nil && len(garbage) > 0 {
		err = fmt.Errorf("left over: %q", garbage)
	}
	return err
}

// The power is cut again and again while two commit and prune, and every time everything that was acknowledged is there, and every revision is
// whole.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	rounds := 2
	if os.Getenv("SEQUIN_SOAK") != "" {
		rounds = 50
	}
	require.NoError(t, cutOften(t, false, rounds, 15))
}

// The test of the test: an engine that forgets to sync must not pass it.
func TestPowerCutsNoticeASkippedSync(t *testing.T) {
	t.Parallel()
	require.Error(t, cutOften(t, true, 10, 15))
}
