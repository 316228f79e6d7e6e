package consumer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// UndoMove takes the last move back: what was done before it is done again, and so is what became done since, so that nothing that was
// acknowledged comes back. What was delivered meanwhile stays delivered, attempts are counted from 1, and waits for retries are over. After a move
// that passed messages over, it works for as long as the log retains them. It is durable when it returns.
func (c *Consumer) UndoMove(ctx context.Context, why string) (MoveRecord, error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	if err := c.settled(ctx); err != nil {
		return MoveRecord{}, err
	}
	c.mu.Lock()
	u := c.undo
	c.mu.Unlock()
	if u == nil {
		return MoveRecord{}, problem.New("nothing_to_undo", "there is no move that can be taken back").
			WithDetail("only the last move can be taken back, and only once").WithHint("move the sink to where it is to go on")
	}
	old, err := c.readKept(ctx, u)
	if err != nil {
		return MoveRecord{}, err
	}
	from := u.needs(old)
	if from != math.MaxUint64 { // or else what it needs, the consumer needs now
		if err := c.hold(ctx, from); err != nil {
			return MoveRecord{}, err
		}
	}
	c.mu.Lock()
	move, err := c.undoMove(u, old, from, why)
	if err != nil {
		c.held = 0
		c.mu.Unlock()
		return move, err
	}
	wait := c.durably()
	c.mu.Unlock()
	return move, c.await(ctx, wait)
}

// needs is the first entry that has to be in the log for the move to be taken back, MaxUint64 for none.
func (u *undo) needs(old *doneSet) uint64 {
	from := max(u.place.cursor, u.place.below)
	if u.move.To <= from { // it went back
		return math.MaxUint64
	}
	if first, found := old.next(from, u.move.To-1, math.MaxInt); found {
		return first
	}
	return math.MaxUint64
}

// undoMove is UndoMove with c.mu held.
func (c *Consumer) undoMove(u *undo, old *doneSet, from uint64, why string) (MoveRecord, error) {
	if err := c.movable(); err != nil {
		return MoveRecord{}, err
	}
	place := u.place
	place.generation = c.place.generation + 1
	plan, err := newPlan(c.cfg, place)
	if err != nil {
		return MoveRecord{}, err
	}
	old.merge(c.done, u.move.To)
	if from == math.MaxUint64 {
		place.below = max(place.below, c.place.below)
	} else {
		place.below = from
	}
	move := MoveRecord{
		Generation: place.generation, Moved: true, From: c.done.cursor, To: old.cursor, At: time.Now(), Why: truncate(why, maxErrorBytes),
		Undoes: u.move.Generation, ReplayBelow: c.reach(),
	}
	for _, key := range c.keepDone(dirNow, place.generation, old) {
		c.batch.delete(key) // at the end, when the pages are where they belong
	}
	c.noteMove(&move)
	strays := c.log.sizesOf()
	maps.Copy(strays, u.strays)
	c.forgetUndo(strays)
	old.touchEvery()
	c.begin(place, old, plan)
	c.log.dropAll()
	for seq, size := range strays {
		if seq < place.below && !old.has(seq) {
			c.log.add(seq, size)
		} else {
			c.batch.delete(c.keys.number(dirStray, seq))
		}
	}
	return move, nil
}

// readKept reads the done set from before a move. It must not hold c.mu.
func (c *Consumer) readKept(ctx context.Context, u *undo) (*doneSet, error) {
	old := newDoneSet(u.place.cursor)
	for _, spread := range [2]bool{true, false} { // pages know from the spreads whether they are needed
		err := c.eachKept(ctx, dirWas, u.move.Generation, func(isSpread bool, n uint64, value []byte, _ string) error {
			if isSpread != spread {
				return nil
			}
			var b bitmap
			if _, err := decodePage(value, &b); err != nil {
				return err
			}
			old.load(spread, n, &b)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	old.advance()
	return old, nil
}

// eachKept walks the pages that keepDone wrote for a generation.
func (c *Consumer) eachKept(ctx context.Context, dir string, generation uint32, f func(spread bool, n uint64, value []byte, key string) error) error {
	return c.allKept(ctx, keptDir(dir, generation), func(_ uint32, spread bool, n uint64, value []byte, key string) error {
		return f(spread, n, value, key)
	})
}

// allKept walks the pages of every generation whose key begins so.
func (c *Consumer) allKept(ctx context.Context, prefix string, f func(generation uint32, spread bool, n uint64, value []byte, key string) error) error {
	for entry, err := range c.state.List(ctx, c.keys.name(prefix)) {
		if err != nil {
			return fmt.Errorf("read %s: %w", c.keys.name(prefix), err)
		}
		parts := strings.Split(strings.TrimPrefix(entry.Key, c.keys.prefix), "/")
		if len(parts) != 4 {
			return fmt.Errorf("key %q: %w", entry.Key, errRecord)
		}
		generation, genErr := strconv.ParseUint(parts[1], 16, 32)
		n, numErr := strconv.ParseUint(parts[3], 16, 64)
		if genErr != nil || numErr != nil {
			return fmt.Errorf("key %q: %w", entry.Key, errRecord)
		}
		if err := f(uint32(generation), parts[2]+"/" == dirSpread, n, entry.Value, entry.Key); err != nil {
			return fmt.Errorf("read %s: %w", entry.Key, err)
		}
	}
	return nil
}

// loadMoves finds out what the last move left, and removes what one that was cut off has left. It runs after the done set was loaded.
func (c *Consumer) loadMoves(ctx context.Context) error {
	moves, err := c.readMoves(ctx, c.place.generation)
	if err != nil {
		return err
	}
	if n := len(moves); n > 0 && moves[n-1].Generation == c.place.generation {
		last := moves[n-1]
		c.replayBelow = last.ReplayBelow
		if len(last.Was) > 0 {
			place, err := decodeCursor(last.Was)
			if err != nil {
				return fmt.Errorf("read move %d: %w", last.Generation, err)
			}
			c.undo = &undo{move: last, place: place, strays: map[uint64]int{}}
		}
	}
	if err := c.loadKept(ctx); err != nil {
		return err
	}
	return c.each(ctx, dirMove, func(n uint64, _ []byte) (bool, error) {
		generation := uint64(c.place.generation)
		return n <= generation && n+keptMoves > generation, nil
	})
}

// loadKept takes the done set of an undone move from where it was kept, unless it is where it belongs already: then nothing is new in it.
func (c *Consumer) loadKept(ctx context.Context) error {
	err := c.allKept(ctx, dirNow, func(generation uint32, spread bool, n uint64, value []byte, key string) error {
		c.batch.delete(key)
		if generation != c.place.generation {
			return nil
		}
		var b bitmap
		if _, err := decodePage(value, &b); err != nil {
			return err
		}
		if spread {
			c.done.orSpread(n, &b)
		} else {
			c.done.orPage(n, &b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.done.advance()
	return c.allKept(ctx, dirWas, func(generation uint32, _ bool, _ uint64, _ []byte, key string) error {
		if c.undo != nil && generation == c.place.generation {
			c.undo.pages = append(c.undo.pages, key)
		} else {
			c.batch.delete(key)
		}
		return nil
	})
}

// loadReach finds out up to where messages were handed out, as far as anything is written about them. It runs last.
func (c *Consumer) loadReach(context.Context) error {
	c.handed = c.done.top()
	for seq := range c.entries {
		c.handed = max(c.handed, seq)
	}
	return nil
}
