package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// Reason says why a message became a dead letter.
type Reason string

// The reasons for a dead letter.
const (
	ReasonTooBig   Reason = "too_big"           // the change exceeded the log's limit and its data was not kept
	ReasonRejected Reason = "rejected"          // the destination said that repeating will not help
	ReasonRetries  Reason = "retries_exhausted" // max_retry_count attempts failed
)

// Reasons are all of them.
func Reasons() []Reason { return []Reason{ReasonTooBig, ReasonRejected, ReasonRetries} }

// StopReason says why a consumer hands out nothing although it is active.
type StopReason string

// The reasons to stop.
const (
	StopDeadLettersFull StopReason = "dead_letters_full" // they reached their size
	StopDeadLettersOld  StopReason = "dead_letters_old"  // the oldest reached its age
)

// DeadLetter is a message that could not be delivered.
type DeadLetter struct {
	Seq        uint64       `json:"-"`
	Reason     Reason       `json:"reason"`
	Error      string       `json:"error,omitempty"` // the last
	Attempts   int          `json:"attempts"`
	At         time.Time    `json:"at"`
	ID         string       `json:"id"` // idempotency key
	Position   cdc.Position `json:"position"`
	CommitTime time.Time    `json:"commit_time"`
	Action     string       `json:"action"`
	Schema     string       `json:"schema,omitempty"`
	Table      string       `json:"table,omitempty"`
	Key        string       `json:"key,omitempty"`     // the primary key as text; not in the first releases' records
	OldKey     string       `json:"old_key,omitempty"` // of a change of key: what it was
	Group      string       `json:"group,omitempty"`
	Size       int          `json:"size"`   // bytes of the change on the wire
	Stored     int          `json:"stored"` // bytes of Payload
	Payload    []byte       `json:"-"`      // empty if the message could not be built, and in lists
	Redriving  bool         `json:"-"`      // is being delivered again
}

// cost is what a dead letter counts towards the bound.
func (d *DeadLetter) cost() int64 { return int64(d.Stored) + int64(len(d.Error)) + deadOverhead }

const deadOverhead = 512

// burial is a message on its way to the dead letters. It does not change.
type burial struct {
	seq     uint64
	reason  Reason
	cause   string
	payload []byte
	redrive *redrive
}

// buryRetry is the wait after an error that a repetition may mend.
const buryRetry = time.Second

// bury hands a message to the undertaker. Called with c.mu held, as everything below that says nothing else.
func (c *Consumer) bury(e *entry, b burial) {
	if e.state == dying {
		return
	}
	e.state = dying
	b.seq, b.redrive = e.seq, e.redrive
	c.burials = append(c.burials, &b)
	wake(c.buryWake)
}

// undertake makes dead letters of what bury was given. It must not hold c.mu.
func (c *Consumer) undertake(ctx context.Context) {
	if err := c.countDead(ctx); err != nil && ctx.Err() == nil {
		c.logger.ErrorContext(ctx, "dead letters cannot be counted", "error", err)
	}
	recount := time.NewTicker(deadRecount)
	defer recount.Stop()
	for ctx.Err() == nil {
		worked, err := c.buryNext(ctx)
		if err != nil && ctx.Err() == nil {
			c.logger.ErrorContext(ctx, "dead letter cannot be written", "error", err)
			pause(ctx, nil, nil, buryRetry)
		}
		if worked || err != nil {
			continue
		}
		select {
		case <-c.buryWake:
		case <-recount.C:
			if err := c.countDead(ctx); err != nil && ctx.Err() == nil {
				c.logger.ErrorContext(ctx, "dead letters cannot be counted", "error", err)
			}
		case <-ctx.Done():
		}
	}
}

// buryNext makes one dead letter, if there is one to make and room for it. It must not hold c.mu.
func (c *Consumer) buryNext(ctx context.Context) (bool, error) {
	c.deadMu.Lock()
	defer c.deadMu.Unlock()
	c.mu.Lock()
	c.checkDead()
	if len(c.burials) == 0 || c.stopReason != "" {
		c.mu.Unlock()
		return false, nil
	}
	b, plan := c.burials[0], c.plan
	e := c.dyingEntry(b)
	if e == nil {
		c.burials = c.burials[1:]
		c.mu.Unlock()
		return true, nil
	}
	attempts := e.attempts
	c.mu.Unlock()

	d, err := c.deadLetter(ctx, b, plan)
	if lost(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.burials) == 0 || c.burials[0] != b {
			return true, nil // discarded meanwhile
		}
		c.burials = c.burials[1:]
		if e := c.redrives[b.seq]; b.redrive.isAgain() && e != nil {
			c.quiet(e)
			c.endRedrive(e)
			return true, nil
		}
		c.logger.ErrorContext(ctx, "message is lost", "seq", b.seq, "error", err)
		c.recordGap(GapRecord{From: b.seq, To: b.seq, Reason: GapLost, Detail: err.Error(), Count: 1})
		c.complete(b.seq)
		c.schedule(time.Now())
		c.dispatch()
		return true, nil
	}
	if err != nil {
		return false, err
	}
	d.Attempts = attempts
	replaced, err := c.replaced(ctx, b)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.burials) == 0 || c.burials[0] != b {
		return true, nil
	}
	c.burials = c.burials[1:]
	if e := c.dyingEntry(b); e != nil {
		c.entomb(e, d, replaced)
	}
	c.wakeScan()
	c.dispatch()
	return true, nil
}

// dyingEntry is the entry of a burial, or nil if the message was acknowledged or given up meanwhile.
func (c *Consumer) dyingEntry(b *burial) *entry {
	e := c.entries[b.seq]
	if b.redrive != nil {
		e = c.redrives[b.seq]
	}
	if e == nil || e.state != dying || e.redrive != b.redrive {
		return nil
	}
	return e
}

// replaced is the dead letter that the message left earlier: when it was redriven, or delivered in an earlier generation. It must not hold c.mu.
func (c *Consumer) replaced(ctx context.Context, b *burial) (*DeadLetter, error) {
	if b.redrive == nil && c.generation() == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	d, err := c.readDead(ctx, b.seq)
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	return &d, err
}

func (c *Consumer) generation() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.place.generation
}

// deadLetter gathers what is to be kept of a message. It must not hold c.mu.
func (c *Consumer) deadLetter(ctx context.Context, b *burial, p *plan) (*DeadLetter, error) {
	cause := b.cause
	if cause == "" {
		cause = c.lastCause(ctx, b)
	}
	cause = truncate(cause, maxErrorBytes)
	if b.redrive != nil && !b.redrive.isAgain() {
		d, err := c.letter(ctx, b.seq)
		d.Reason, d.Error, d.At = b.reason, cause, time.Now()
		return &d, err
	}
	read := (&logReader{log: c.log}).at
	if b.redrive.isAgain() {
		read = func(ctx context.Context, seq uint64) (*cdc.Change, error) {
			return c.againChange(ctx, &logReader{log: c.log}, seq)
		}
	}
	change, err := read(ctx, b.seq)
	if err != nil {
		return nil, err
	}
	d := &DeadLetter{
		Seq: b.seq, Reason: b.reason, Error: cause, At: time.Now(),
		ID: change.IdempotencyKey(), Position: change.Position, CommitTime: change.CommitTime.Time(),
		Action: change.Op.Action(), Key: keyText(change), Size: change.Size, Payload: b.payload,
	}
	if old := oldKeyText(change); old != d.Key {
		d.OldKey = old
	}
	if r := change.Relation; r != nil {
		d.Schema, d.Table = r.Schema, r.Name
		d.Group = string((&sight{}).of(p, r).appendGroup(nil, change))
	}
	if d.Payload == nil && !change.TooBig && c.encode != nil {
		if d.Payload, err = c.encode(change); err != nil {
			d.Payload = nil
			if d.Error == "" {
				d.Error = truncate(err.Error(), maxErrorBytes)
			}
		}
	}
	if change.TooBig && d.Error == "" {
		d.Error = fmt.Sprintf("the change has %d bytes, more than the change log keeps of one", change.Size)
	}
	return d, nil
}

// lastCause is the error of the last failed attempt, as far as it is on disk. It must not hold c.mu.
func (c *Consumer) lastCause(ctx context.Context, b *burial) string {
	dir := dirMsg
	if b.redrive != nil {
		dir = dirRedrive
	}
	c.mu.Lock()
	for _, batch := range [2]*batch{c.batch, c.committing} {
		if cause := batch.cause(c.keys.number(dir, b.seq)); cause != "" {
			c.mu.Unlock()
			return cause
		}
	}
	c.mu.Unlock()
	found, err := c.state.Get(ctx, c.keys.number(dir, b.seq))
	if err != nil {
		return ""
	}
	_, m, err := decodeMsg(found.Value)
	if err != nil {
		return ""
	}
	return m.cause
}

// cause is the error in the failure that b is going to write under key.
func (b *batch) cause(key string) string {
	if b == nil {
		return ""
	}
	for i := range b.puts {
		op := &b.puts[len(b.puts)-1-i]
		if op.Key == key {
			if _, m, err := decodeMsg(op.Value); err == nil {
				return m.cause
			}
		}
	}
	return ""
}

// entomb writes the dead letter and lets its group go on.
func (c *Consumer) entomb(e *entry, d, replaced *DeadLetter) {
	d.Stored = len(d.Payload)
	value, err := json.Marshal(d)
	if err != nil {
		return // numbers, text and times: it cannot fail
	}
	marker := c.keys.number(dirBury, d.Seq)
	if e.redrive == nil {
		c.batch.putFirst(marker, []byte{recordVersion})
	}
	if len(d.Payload) > 0 && (e.redrive == nil || e.redrive.isAgain()) {
		c.batch.putFirst(c.keys.number(dirDeadBody, d.Seq), append([]byte{recordVersion}, d.Payload...))
	}
	c.batch.putFirst(c.keys.number(dirDead, d.Seq), append([]byte{recordVersion}, value...))
	if replaced != nil {
		c.countDeadLetter(-1, -replaced.cost())
	}
	c.countDeadLetter(1, d.cost())
	if c.deadOldest.IsZero() {
		c.deadOldest = d.At
	}
	if e.redrive != nil {
		c.quiet(e)
		c.endRedrive(e)
	} else {
		c.batch.delete(marker)
		c.stats.deadLettered++
		c.complete(d.Seq)
	}
	c.schedule(time.Now().Add(settleDelay))
}

// countDeadLetter adjusts what is known of the dead letters as a whole, and writes it with the batch.
func (c *Consumer) countDeadLetter(n, bytes int64) {
	c.deadCount = max(c.deadCount+n, 0)
	c.deadBytes = max(c.deadBytes+bytes, 0)
	c.deadVersion++
	if c.deadCount == 0 {
		c.deadBytes, c.deadOldest = 0, time.Time{}
	}
	c.batch.putFirst(c.keys.name(keyDeadStat), appendUints(nil, recordVersion, uint64(c.deadCount), uint64(c.deadBytes))) //nolint:gosec // not negative
	c.checkDead()
}

// checkDead stops the consumer at the bounds of its dead letters, or lets it go on.
func (c *Consumer) checkDead() {
	b, was := c.cfg.DeadLetters, c.stopReason
	switch {
	case b.MaxBytes > 0 && c.deadBytes >= b.MaxBytes:
		c.stopReason = StopDeadLettersFull
	case b.MaxAge > 0 && !c.deadOldest.IsZero() && time.Since(c.deadOldest) >= b.MaxAge:
		c.stopReason = StopDeadLettersOld
	default:
		c.stopReason = ""
	}
	if was != "" && c.stopReason == "" {
		wake(c.buryWake)
		c.dispatch()
	}
}

// readDead is a dead letter without its payload. It must not hold c.mu.
func (c *Consumer) readDead(ctx context.Context, seq uint64) (DeadLetter, error) {
	found, err := c.state.Get(ctx, c.keys.number(dirDead, seq))
	if errors.Is(err, engine.ErrNotFound) {
		return DeadLetter{}, ErrNotFound
	}
	if err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %d: %w", seq, err)
	}
	return decodeDead(seq, found.Value)
}

func decodeDead(seq uint64, value []byte) (DeadLetter, error) {
	d := DeadLetter{Seq: seq}
	if len(value) == 0 || value[0] != recordVersion {
		return d, fmt.Errorf("dead letter %d: %w", seq, errRecord)
	}
	if err := json.Unmarshal(value[1:], &d); err != nil {
		return d, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return d, nil
}
