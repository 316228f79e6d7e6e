package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// janitor trims one change log by age and size, never below what a consumer still needs, and keeps it within its disk budget: it warns early,
// then releases the consumers that agreed to it, then stops the reading of WAL, and when the slot in turn holds more WAL than its budget, it
// releases the consumer that is furthest behind, because the primary must live.
type janitor struct {
	d     *database
	live  *running
	floor *problem.Error // reading is held for want of room

	mu       sync.Mutex
	warnings []*problem.Error
	measured measurement
}

// measurement is what the last round saw.
type measurement struct {
	size, limit uint64
	first, end  uint64
	oldest      time.Time
	at          time.Time
	rate        float64 // bytes a second that the log grew by since the round before
}

func newJanitor(d *database, live *running) *janitor { return &janitor{d: d, live: live} }

// Budget fractions and the pace of rounds.
const (
	warnAt, alarmAt = 0.5, 0.8
	releaseTo       = 0.75 // of the budget, so that a release is not needed again at once
	resumeAt        = 0.95
	quietRound      = 5 * time.Second
	fastest         = 200 << 20 // bytes a second; no log grows faster
	fullRound       = 500 * time.Millisecond

	maxDiskDefault   = 50 << 30
	walBudgetDefault = 20 << 30
)

func (j *janitor) run(ctx context.Context) error {
	for {
		full, err := j.round(ctx)
		if err != nil && ctx.Err() == nil {
			j.d.logger.Warn("the change log could not be tidied", "reason", err)
		}
		wait := j.untilFull()
		if full {
			wait = fullRound
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// untilFull is how long the log takes at least to reach its budget, within the pace of rounds.
func (j *janitor) untilFull() time.Duration {
	m, _ := j.state()
	left := m.limit - min(m.size, m.limit)
	return min(max(time.Duration(float64(left)/fastest*float64(time.Second)), fullRound), quietRound)
}

// laggard is a consumer that keeps the log from being trimmed.
type laggard struct {
	id, name string
	cursor   uint64
	run      *sinkRun  // nil for one that does not run: not declared any more, or not to be started
	want     *declared // nil for one that is not declared any more
}

// title is what people call it.
func (l *laggard) title() string {
	if l.want != nil {
		return l.want.title()
	}
	return fmt.Sprintf("sink %q", l.name)
}

// look is how to look at it.
func (l *laggard) look() string {
	if l.want != nil && l.want.retention != nil {
		return "GET /healthz"
	}
	return "GET /healthz?sink=" + l.name
}

// sheds tells whether the consumer agreed to lose its oldest messages when the log is full.
func (l laggard) sheds() bool {
	return l.want != nil && l.want.sink.LoadSheddingPolicy == resource.DiscardOnFull
}

// laggards lists who needs what, the one furthest behind first.
func (j *janitor) laggards(ctx context.Context) ([]laggard, error) {
	var all []laggard
	declared := map[string]bool{}
	starts := map[string]place{}
	j.d.mu.Lock()
	for name := range j.d.wanted {
		want := j.d.wanted[name]
		declared[want.id] = true
		all = append(all, laggard{id: want.id, name: name, run: j.live.sinks[name], want: &want})
	}
	maps.Copy(starts, j.d.starts)
	j.d.mu.Unlock()
	known, err := j.d.server.registry.list(ctx, store.Sink)
	if err != nil {
		return nil, err
	}
	for _, r := range known {
		if r.Parent == j.d.id && !declared[r.ID] {
			all = append(all, laggard{id: r.ID, name: r.Name})
		}
	}
	for i := range all {
		l := &all[i]
		if l.run != nil {
			l.cursor = l.run.cursor()
			continue
		}
		// What a sink needs that does not run is as safe as when it runs.
		if l.cursor, err = consumer.StoredCursor(ctx, j.d.server.engine.State(), l.id); err != nil {
			return nil, err
		}
		if start, there := starts[l.name]; there && start.seq != 0 && l.want != nil && l.want.sink.Status != resource.StatusDisabled {
			l.cursor = min(l.cursor, start.seq) // it was never started, and begins there
		}
	}
	sort.Slice(all, func(a, b int) bool { return all[a].cursor < all[b].cursor })
	return all, nil
}

// round trims once and looks after the budget; full says that the log is at its limit or near it.
func (j *janitor) round(ctx context.Context) (full bool, err error) {
	j.d.mu.Lock()
	res := j.d.res
	j.d.mu.Unlock()
	limit := j.limit(res)
	blocked := j.live.log.Stats().Blocked != nil
	if blocked {
		limit = max(min(limit, j.live.log.Stats().Size), 1) // the file system's end came before the budget's
	}
	lag, err := j.tidy(ctx, res, limit)
	if err != nil {
		return false, err
	}
	return j.keepWithin(ctx, res, limit, blocked, lag), nil
}

// keepWithin compares the log's size with its limit and does what that asks for. It reports whether the log is at its limit or near it.
func (j *janitor) keepWithin(ctx context.Context, res resource.Database, limit uint64, blocked bool, lag []laggard) bool {
	size := j.measure(ctx, j.limit(res))
	if size < limit {
		j.reportShare(size, limit, lag)
		if j.floor != nil && float64(size) < resumeAt*float64(limit) {
			j.floor = nil
			j.live.capture.Resume()
		}
		return blocked || j.floor != nil || float64(size) >= alarmAt*float64(limit) // near the limit it is worth looking often
	}
	if j.release(ctx, lag, limit, laggard.sheds, "discard_on_full") {
		return true
	}
	if !blocked { // or else the log itself waits for room, and says so
		j.hold(size, limit, lag)
	}
	if budget := j.walBudget(res); res.OnWALBudget == resource.OnWALBudgetRelease && j.live.capture.Status().Slot.Retained > budget {
		j.release(ctx, lag, limit, func(laggard) bool { return true }, "wal_budget")
	}
	return true
}

// tidy finds out who needs what and lets go of the rest. A sink that begins meanwhile either finds what is left or is counted.
func (j *janitor) tidy(ctx context.Context, res resource.Database, limit uint64) ([]laggard, error) {
	j.d.trimming.Lock()
	defer j.d.trimming.Unlock()
	lag, err := j.laggards(ctx)
	if err != nil {
		return nil, err
	}
	size := retainedSize(res, limit)
	if err := j.copyOut(ctx, res, size, lag); err != nil {
		return nil, err
	}
	return lag, j.trim(ctx, res, size, lag)
}

// copyOut has the sinks that pin what is due keep their stragglers themselves, and puts lag in order again.
func (j *janitor) copyOut(ctx context.Context, res resource.Database, size uint64, lag []laggard) error {
	due, err := j.live.log.Due(ctx, time.Now(), res.Retention.MaxAge, size)
	if err != nil {
		return fmt.Errorf("find what is due: %w", err)
	}
	for i := range lag {
		l := &lag[i]
		if l.run == nil || l.cursor >= due {
			continue
		}
		if err := l.run.copyOut(ctx, due); err != nil && ctx.Err() == nil {
			j.d.logger.Warn("the stragglers of a sink could not be copied out of the change log", "sink", l.name, "reason", err)
		}
		l.cursor = l.run.cursor()
	}
	sort.Slice(lag, func(a, b int) bool { return lag[a].cursor < lag[b].cursor })
	return nil
}

// retainedSize is how much of the log stays for nobody in particular.
func retainedSize(res resource.Database, limit uint64) uint64 {
	if size := uint64(max(res.Retention.MaxSize, 0)); size > 0 {
		return min(size, limit/2) // what nobody needs must not eat the budget of what somebody does
	}
	return limit / 2
}

// trim lets go of what is old or too much and nobody needs.
func (j *janitor) trim(ctx context.Context, res resource.Database, size uint64, lag []laggard) error {
	keep := uint64(math.MaxUint64)
	if len(lag) > 0 {
		keep = lag[0].cursor
	}
	if _, err := j.live.log.Retain(ctx, time.Now(), res.Retention.MaxAge, size, keep); err != nil {
		return fmt.Errorf("trim: %w", err)
	}
	return nil
}

// limit is the disk budget in bytes.
func (j *janitor) limit(res resource.Database) uint64 {
	if res.MaxDisk > 0 {
		return uint64(res.MaxDisk)
	}
	return min(maxDiskDefault, max(j.d.server.engine.Usage().Total/5*4, 1))
}

// walBudget is how much WAL the slot may hold while the log is full.
func (j *janitor) walBudget(res resource.Database) int64 {
	if res.WALBudget > 0 {
		return res.WALBudget
	}
	if keep := j.live.capture.Status().Slot.KeepSize; keep > 0 {
		return keep / 2
	}
	return walBudgetDefault
}

// measure notes how big the log is, of which budget.
func (j *janitor) measure(ctx context.Context, budget uint64) uint64 {
	size := j.live.log.Stats().Size
	m := measurement{size: size, limit: budget, first: j.live.log.FirstSeq(), end: j.live.log.End().Seq, at: time.Now()}
	if oldest, err := j.live.log.Oldest(ctx); err == nil {
		m.oldest = oldest.Appended
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if past := m.at.Sub(j.measured.at).Seconds(); past > 0 && !j.measured.at.IsZero() && size > j.measured.size {
		m.rate = float64(size-j.measured.size) / past
	}
	j.measured = m
	return size
}

// reportShare warns when half or four fifths of the budget are taken by what a consumer still needs.
func (j *janitor) reportShare(size, limit uint64, lag []laggard) {
	share := float64(size) / float64(limit)
	var warnings []*problem.Error
	if share >= warnAt && len(lag) > 0 && j.live.log.End().Seq > lag[0].cursor {
		left := "at the present rate it is not filling up"
		j.mu.Lock()
		if rate := j.measured.rate; rate > 0 {
			left = "at the present rate it is full in " + roughly(time.Duration(float64(limit-size)/rate*float64(time.Second)))
		}
		j.mu.Unlock()
		code := "log_filling"
		if share >= alarmAt {
			code = "log_nearly_full"
		}
		warnings = append(warnings, problem.New(code, "the change log takes %.0f %% of its disk budget", 100*share).
			WithDetail("%d of %d bytes; %s is furthest behind, by %d entries; %s", size, limit, lag[0].title(), j.live.log.End().Seq-lag[0].cursor+1, left).
			WithHint("look at it with %s; or raise max_disk", lag[0].look()))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(warnings) > 0 && (len(j.warnings) == 0 || j.warnings[0].Code != warnings[0].Code) {
		j.d.logger.Warn("the change log fills up", "what", warnings[0].Message, "code", warnings[0].Code, "detail", warnings[0].Detail, "hint", warnings[0].Hint)
	}
	j.warnings = warnings
}

// roughly is a duration as exact as it needs to be.
func roughly(d time.Duration) string {
	if d < 10*time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// hold stops the reading of WAL and says whose fault it is.
func (j *janitor) hold(size, limit uint64, lag []laggard) {
	p := problem.New("log_full", "the change log has reached its disk budget, and reading from the slot has stopped").
		WithDetail("%d of %d bytes", size, limit).WithHint("raise max_disk")
	if len(lag) > 0 {
		p = p.WithDetail("%d of %d bytes; %s has not acknowledged anything since entry %d", size, limit, lag[0].title(), lag[0].cursor).
			WithHint("mend %s, or set its status to disabled to let its messages go, or raise max_disk; WAL is kept by Postgres meanwhile", lag[0].title())
	}
	j.floor = p
	j.live.capture.Hold(p)
}

// release lets the consumer that is furthest behind give up its oldest messages, as a recorded gap, if it matches. It reports whether it did. One
// that is ahead of another who does not match keeps all that it has: letting it go would make no room.
func (j *janitor) release(ctx context.Context, lag []laggard, limit uint64, match func(laggard) bool, reason string) bool {
	if len(lag) == 0 || !match(lag[0]) || lag[0].cursor > j.live.log.End().Seq {
		return false
	}
	l := lag[0]
	upTo, err := j.releasePoint(ctx, limit)
	if err != nil {
		j.d.logger.Warn("no release point could be found", "reason", err)
		return false
	}
	for _, other := range lag[1:] {
		if !match(other) {
			upTo = min(upTo, other.cursor)
			break
		}
	}
	if upTo <= l.cursor {
		return false // what fills the log is not what this consumer holds
	}
	if l.run != nil {
		err = l.run.release(ctx, upTo, reason)
	} else {
		err = j.d.releaseHeld(ctx, j.live, l, upTo, reason)
	}
	if err != nil {
		j.d.logger.Warn("a consumer could not be released", "sink", l.name, "reason", err)
		return false
	}
	j.d.logger.Error("a sink gave up its oldest messages because there was no room; they are a recorded gap", "sink", l.name,
		"from", l.cursor, "to", upTo-1, "policy", reason)
	return true
}

// releasePoint is the number below which enough of the log could go.
func (j *janitor) releasePoint(ctx context.Context, limit uint64) (uint64, error) {
	log := j.live.log
	oldest, err := log.Oldest(ctx)
	if err != nil {
		return 0, err
	}
	size := log.Stats().Size
	target := oldest.Offset + size - min(size, uint64(releaseTo*float64(limit)))
	lo, hi := log.FirstSeq(), log.End().Seq+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		info, err := log.InfoAt(ctx, mid)
		var gap *changelog.GapError
		switch {
		case errors.As(err, &gap):
			lo = gap.To + 1
			continue
		case err != nil:
			return 0, err
		}
		if info.Offset < target {
			lo = info.Last + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// state is the last measurement and what it warns of.
func (j *janitor) state() (measurement, []*problem.Error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.measured, j.warnings
}
