package consumer

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Update puts a new configuration in force, durably where it must be. Messages in flight stay in flight. A filter holds from the next
// message scanned: what waits already and does not match any more is still delivered, and what was skipped stays skipped. A condition is asked
// again when a message is handed out, so it holds for what waits too. Another grouping holds for everything that is not in flight. Identity and start position cannot change.
func (c *Consumer) Update(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	var fromLSN cdc.LSN
	if c.config().Status == Disabled {
		fromLSN = c.lsnAt(ctx, c.cursor())
	}
	c.mu.Lock()
	wait, err := c.update(cfg, func() { c.resume(fromLSN) })
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("update consumer %q: %w", cfg.Name, err)
	}
	return c.await(ctx, wait)
}

func (c *Consumer) update(cfg Config, resume func()) (*batch, error) {
	old := c.cfg
	if c.isStopped() {
		return nil, ErrStopped
	}
	if cfg.ID != old.ID || cfg.Push != old.Push {
		return nil, problem.New("consumer_identity", "a consumer's id and kind of delivery cannot change").
			WithHint("create another consumer")
	}
	plan, err := newPlan(cfg, c.place)
	if err != nil {
		return nil, err
	}
	c.cfg = cfg
	filtered := !reflect.DeepEqual(old.Source, cfg.Source) || !sameSet(old.Actions, cfg.Actions) || conditionsText(old.Where) != conditionsText(cfg.Where)
	regrouped := !reflect.DeepEqual(old.Grouping, cfg.Grouping)
	if filtered || regrouped {
		c.plan, c.stats.whereErr = plan, nil
	}
	if filtered {
		// After a restart the messages above the cursor are scanned again: what the old filter skipped must stay skipped.
		c.done.touchAll()
	}
	switch {
	case cfg.Status == Disabled && old.Status != Disabled:
		c.setDisabled()
	case cfg.Status != Disabled && old.Status == Disabled:
		resume()
	case regrouped:
		c.rescan()
	}
	c.checkDead()
	c.dispatch()
	wake(c.scanWake)
	return c.durably(), nil
}

func conditionsText(w Conditions) string {
	if w == nil {
		return ""
	}
	return w.String()
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// setDisabled lets go of the log. Called with c.mu held, as resume.
func (c *Consumer) setDisabled() {
	c.place.disabled, c.placeChanged = true, true
	c.dropLane()
	c.progress()
}

// resume begins at the end of the log after the consumer was disabled, and records what was missed.
func (c *Consumer) resume(from cdc.LSN) {
	c.place.disabled, c.placeChanged = false, true
	end := c.log.End()
	c.giveUp(GapRecord{
		From: c.done.cursor, To: end.Seq, Reason: GapDisabled, Detail: "the consumer was disabled", FromLSN: from, ToLSN: end.Position.LSN,
	})
	c.rescan()
}
