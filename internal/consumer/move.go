package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// A move puts a consumer at another place of the log, in a new generation: what was handed out before it counts no more, and everything from the
// new place on is delivered as if for the first time, but marked as a replay as far as it may have been delivered before.
//
// The order of the writes makes it all or nothing. First the place as it was is kept, in pages that name the generation that is about to begin;
// then comes the cursor, which begins it; then everything else. A crash before the cursor leaves pages of a generation that never began, which the
// next start removes. A crash after it leaves records of a generation that is over, which are void.
//
// Taking a move back is a move too. Its done set is more than a cursor, so it is written twice: before the cursor to a place of its own, from
// which the next start takes it, and after the cursor to where it belongs.

// MoveRequest says where a consumer is to go.
type MoveRequest struct {
	To   uint64 // the first entry of the log that is delivered next: from the first that is retained to the one behind the end
	Skip bool   // entries before it that are not delivered yet may be passed over
	Why  string // in words, for those who look at it later
}

// MoveRecord is a move that was made.
type MoveRecord struct {
	Generation uint32    `json:"-"` // that it began
	Moved      bool      `json:"-"` // false: the consumer was there already, and nothing was changed
	From       uint64    `json:"from"`
	To         uint64    `json:"to"`
	Skipped    uint64    `json:"skipped,omitempty"` // messages that were not delivered and were passed over
	Unread     uint64    `json:"unread,omitempty"`  // entries of the log that were not read yet and were passed over
	At         time.Time `json:"at"`
	Why        string    `json:"why,omitempty"`
	Undoes     uint32    `json:"undoes,omitempty"` // the generation whose move it took back
	Undoable   bool      `json:"-"`                // it is the last, and can be taken back

	ReplayBelow uint64 `json:"replay_below"`  // what is delivered below it may have been delivered before
	Was         []byte `json:"was,omitempty"` // the cursor's record as it was
}

const (
	dirMove = "move/" // <generation>: a move (JSON)
	dirWas  = "was/"  // <generation>/…: pages of the done set before the move that began the generation
	dirNow  = "now/"  // <generation>/…: pages of the done set after it

	keptMoves = 100
)

// undo is what takes the last move back.
type undo struct {
	move   MoveRecord
	place  cursorRecord
	pages  []string // keys
	strays map[uint64]int
}

// flight names a push delivery.
type flight struct {
	generation uint32
	seq        uint64
}

// Move puts the consumer at another place, durably when it returns. What is on its way to a push destination arrives before anything of the new
// generation is handed out, and counts for nothing; leases end. Dead letters stay. A paused consumer is moved and stays paused.
func (c *Consumer) Move(ctx context.Context, req MoveRequest) (MoveRecord, error) {
	c.deadMu.Lock() // one move at a time, and nothing may be becoming a dead letter
	defer c.deadMu.Unlock()
	// What a move that was cut off has left behind must be gone, for this one begins the same generation.
	if err := c.settled(ctx); err != nil {
		return MoveRecord{}, err
	}
	if err := c.hold(ctx, req.To); err != nil {
		return MoveRecord{}, err
	}
	c.mu.Lock()
	move, err := c.move(req)
	if err != nil || !move.Moved {
		c.held = 0
		c.mu.Unlock()
		return move, err
	}
	wait := c.durably()
	c.mu.Unlock()
	return move, c.await(ctx, wait)
}

// move is Move with c.mu held, as everything below that says nothing else.
func (c *Consumer) move(req MoveRequest) (MoveRecord, error) {
	move := MoveRecord{From: c.done.cursor, To: req.To, At: time.Now(), Why: truncate(req.Why, maxErrorBytes), Generation: c.place.generation}
	if err := c.movable(); err != nil {
		return move, err
	}
	if end := c.log.End().Seq; req.To > end+1 {
		return move, problem.New("beyond_log_end", "entry %d is not in the change log yet", req.To).
			WithDetail("the change log has the entries up to %d", end).WithHint("move to the end with \"end\"")
	}
	if req.To > c.done.cursor {
		move.Skipped = c.done.undone(c.done.cursor, min(req.To, c.next)-1)
		move.Unread = req.To - min(req.To, c.next)
	}
	if move.Skipped+move.Unread > 0 && !req.Skip {
		return move, problem.New("move_skips_messages", "the move would pass over messages that are not delivered yet").
			WithDetail("before entry %d, %d messages are not delivered, and %d entries are not read yet; the oldest is entry %d", req.To, move.Skipped, move.Unread, c.done.cursor).
			WithHint("see how many they are with \"dry_run\": true, and allow it with \"skip\": true")
	}
	if req.To == c.done.cursor && c.handed < req.To {
		return move, nil // asked for once more: what takes the move back must stay
	}
	place := cursorRecord{generation: c.place.generation + 1, cursor: req.To}
	plan, err := newPlan(c.cfg, place)
	if err != nil {
		return move, err
	}
	was := c.place
	was.cursor = c.done.cursor
	move.Moved, move.Undoable, move.Generation, move.Was, move.ReplayBelow = true, true, place.generation, was.encode(), c.reach()
	kept := &undo{move: move, place: was, pages: c.keepDone(dirWas, place.generation, c.done), strays: c.log.sizesOf()}
	c.noteMove(&move)
	c.forgetUndo(kept.strays)
	c.begin(place, newDoneSet(req.To), plan)
	c.log.dropAll()
	c.undo = kept
	return move, nil
}

func (c *Consumer) movable() error {
	switch {
	case c.isStopped():
		return ErrStopped
	case c.cfg.Status == Disabled:
		return problem.New("sink_disabled", "a disabled sink keeps no place, and cannot be moved").
			WithHint("set its status to paused or active first; then it can be moved back to what it missed")
	}
	return nil
}

// reach is the number below which everything is that was handed out.
func (c *Consumer) reach() uint64 { return max(c.handed+1, c.done.cursor, c.replayBelow) }

// hold has the log keep what the consumer needs that is about to be at seq. A trim that is under way ends before, and the next one knows. It must
// not hold c.mu.
func (c *Consumer) hold(ctx context.Context, seq uint64) error {
	if c.trimming != nil {
		c.trimming.Lock()
		defer c.trimming.Unlock()
	}
	if first := max(c.log.FirstSeq(), 1); seq < first {
		return c.errTrimmed(ctx, fmt.Sprintf("entry %d", seq))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.heldFor = seq, c.place.generation+1
	return nil
}

// begin begins a generation at another place.
func (c *Consumer) begin(place cursorRecord, done *doneSet, plan *plan) {
	c.replayBelow, c.handed = c.reach(), 0
	if c.cfg.Push {
		for seq, e := range c.entries {
			if e.state == inFlight {
				c.late[flight{c.place.generation, seq}] = struct{}{}
			}
		}
	}
	c.voidAll(done)
	c.place, c.placeChanged = place, true
	c.done, c.plan = done, plan
	c.rescan()
}

// settleLate notes that the outcome of a delivery of an earlier generation is known. When all are, messages are handed out again.
func (c *Consumer) settleLate(generation uint32, seq uint64) {
	if len(c.late) == 0 {
		return
	}
	if delete(c.late, flight{generation, seq}); len(c.late) == 0 {
		c.dispatch()
	}
}

// void reports whether a delivery's outcome counts for nothing, because it is of an earlier generation. Those that are out of order anyway count
// in any.
func (c *Consumer) void(d *Delivery) bool {
	if d.generation == c.place.generation {
		return false
	}
	if d.outOfOrder() {
		return c.redrives[d.Seq] == nil
	}
	c.settleLate(d.generation, d.Seq)
	return true
}

// voidAll forgets every message and what was written about it. The records are void by their generation already; deleting them saves room.
func (c *Consumer) voidAll(done *doneSet) {
	for _, e := range c.entries {
		c.quiet(e)
		if e.stored {
			c.batch.delete(c.keys.number(dirMsg, e.seq))
		}
	}
	clear(c.entries)
	c.burials = slices.DeleteFunc(c.burials, func(b *burial) bool { return b.redrive == nil })
	for _, e := range c.redrives {
		switch {
		case e.seq < laneBase && !done.has(e.seq): // the move delivers it
			c.quiet(e)
			c.endRedrive(e)
		case e.state == inFlight && !c.cfg.Push:
			c.release(e) // its id is of the old generation
		}
	}
	c.done.forgetAll(func(spread bool, n uint64) { c.batch.delete(c.pageKey(spread, n)) })
}

// dropVoid leaves out the picks of an earlier generation.
func (c *Consumer) dropVoid(picks []pick) []pick {
	return slices.DeleteFunc(picks, func(p pick) bool {
		void := p.redrive == nil && p.generation != c.place.generation
		if void {
			c.settleLate(p.generation, p.seq)
		}
		return void
	})
}

// noteMove writes a move.
func (c *Consumer) noteMove(move *MoveRecord) {
	value, err := json.Marshal(move)
	if err != nil {
		return // numbers, text and a time: it cannot fail
	}
	c.batch.putFirst(c.keys.number(dirMove, uint64(move.Generation)), append([]byte{recordVersion}, value...))
	if move.Generation > keptMoves {
		c.batch.delete(c.keys.number(dirMove, uint64(move.Generation-keptMoves)))
	}
}

func keptDir(dir string, generation uint32) string { return fmt.Sprintf("%s%08x/", dir, generation) }

// keepDone writes a done set where nothing else is, and returns the keys of its pages.
func (c *Consumer) keepDone(dir string, generation uint32, done *doneSet) (pages []string) {
	done.each(func(spread bool, n uint64, bits *bitmap) {
		sub := dirDone
		if spread {
			sub = dirSpread
		}
		key := c.keys.number(keptDir(dir, generation)+sub, n)
		c.batch.putFirst(key, encodePage(generation, bits))
		pages = append(pages, key)
	})
	return pages
}

// forgetUndo gives up what would take the last move back, but for the copies that still serve.
func (c *Consumer) forgetUndo(keep map[uint64]int) {
	if c.undo == nil {
		return
	}
	for _, key := range c.undo.pages {
		c.batch.delete(key)
	}
	for seq := range c.undo.strays {
		if _, ok := keep[seq]; !ok {
			c.batch.delete(c.keys.number(dirStray, seq))
		}
	}
	c.undo = nil
}

// Moves lists the moves that were made, the last first. It does not know more than the last hundred.
func (c *Consumer) Moves(ctx context.Context) ([]MoveRecord, error) {
	if err := c.settled(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	generation, undoable := c.place.generation, c.undo != nil
	c.mu.Unlock()
	moves, err := c.readMoves(ctx, generation)
	if n := len(moves); n > 0 {
		moves[n-1].Undoable = undoable && moves[n-1].Generation == generation
	}
	slices.Reverse(moves)
	return moves, err
}

// readMoves reads the moves up to a generation, the first first. It must not hold c.mu.
func (c *Consumer) readMoves(ctx context.Context, generation uint32) (moves []MoveRecord, err error) {
	for entry, err := range c.state.List(ctx, c.keys.name(dirMove)) {
		if err != nil {
			return nil, fmt.Errorf("list moves: %w", err)
		}
		n, err := c.keys.parseNumber(dirMove, entry.Key)
		if err != nil {
			return nil, err
		}
		if n > uint64(generation) {
			continue
		}
		move := MoveRecord{Generation: uint32(n), Moved: true} //nolint:gosec // not above generation
		if len(entry.Value) == 0 || entry.Value[0] != recordVersion {
			return nil, fmt.Errorf("move %s: %w", entry.Key, errRecord)
		}
		if err := json.Unmarshal(entry.Value[1:], &move); err != nil {
			return nil, fmt.Errorf("move %s: %w", entry.Key, errors.Join(errRecord, err))
		}
		moves = append(moves, move)
	}
	return moves, nil
}
