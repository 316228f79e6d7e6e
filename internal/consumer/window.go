package consumer

import (
	"container/heap"
	"time"
)

// The window is the part of the log between the cursor and the scan's frontier. Functions in this file are called with c.mu held.

// admit puts a scanned message into the window. refeed is set when it comes from behind a fence.
func (c *Consumer) admit(m mark, refeed bool) {
	t := c.table(m.oid)
	if t.blocked && !refeed {
		c.wait(&t.wait, m.seq)
		return
	}
	t.live++
	switch m.fate {
	case fateGroup:
		c.admitGroup(t, m)
	case fatePair:
		c.admitPair(t, m)
	case fateFence:
		e := c.entry(m.seq)
		e.t, e.fence = t, true
		t.fence, t.blocked = e, true
		if t.live == 1 {
			c.activate(e)
		} else {
			c.hurryTable(t)
		}
	case fateOversize:
		e := c.entry(m.seq)
		e.t = t
		c.bury(e, burial{reason: ReasonTooBig})
	case fateFree, fateSkip, fateLost:
		e := c.entry(m.seq)
		e.t = t
		c.activate(e)
	}
}

func (c *Consumer) admitGroup(t *table, m mark) {
	g, created := c.group(t, m.a)
	if !created {
		if e := c.entries[m.seq]; e == nil || e.state != inFlight || !c.rejoin(g, e) {
			c.follow(g, m.seq)
		}
		return
	}
	e := c.entry(m.seq)
	e.g, e.t = g, t
	g.head = e
	c.activate(e)
}

// rejoin puts a message that has been in flight since before a restart behind its group's head, if all before it are in flight as well: they
// went out in one batch. If not, one of them failed, and this one counts as not delivered.
func (c *Consumer) rejoin(g *group, e *entry) bool {
	if g.tail.n == 0 && g.head.state == inFlight && g.head.g2 == nil {
		e.g, e.t = g, g.t
		g.extra = append(g.extra, e)
		return true
	}
	c.thinned(e.lease)
	c.quiet(e)
	return false
}

// admitPair admits a change of key: it goes out when it heads both groups.
func (c *Consumer) admitPair(t *table, m mark) {
	e := c.entry(m.seq)
	e.t = t
	for i, hash := range [2]uint64{m.a, m.b} {
		g, created := c.group(t, hash)
		if i == 0 {
			e.g = g
		} else {
			e.g2 = g
		}
		if created {
			g.head = e
			e.arrived++
		} else {
			c.follow(g, m.seq)
		}
	}
	if e.arrived == 2 {
		c.activate(e)
	} else {
		c.backlogBytes += pairBytes
	}
}

// pairBytes is what a change of key costs while it waits: it is not just a number.
const pairBytes = 200

func (c *Consumer) table(oid uint32) *table {
	if c.lastTable != nil && c.lastTable.oid == oid {
		return c.lastTable
	}
	t := c.tables[oid]
	if t == nil {
		t = &table{oid: oid}
		c.tables[oid] = t
	}
	c.lastTable = t
	return t
}

func (c *Consumer) group(t *table, hash uint64) (g *group, created bool) {
	key := groupKey{oid: t.oid, hash: hash}
	if g := c.groups[key]; g != nil {
		return g, false
	}
	if n := len(c.spareGroups); n > 0 {
		g = c.spareGroups[n-1]
		c.spareGroups = c.spareGroups[:n-1]
		g.key, g.t = key, t
	} else {
		g = &group{key: key, t: t}
	}
	c.groups[key] = g
	return g, true
}

// follow queues seq behind its group.
func (c *Consumer) follow(g *group, seq uint64) {
	if g.tail.n == 0 {
		c.blockedGroups++
	}
	c.wait(&g.tail, seq)
	if seq < laneBase {
		c.hurry(g.head)
	}
}

func (c *Consumer) wait(b *backlog, seq uint64) {
	c.backlogBytes += b.push(seq)
	c.waiting++
}

func (c *Consumer) unwait(b *backlog) uint64 {
	seq, freed := b.pop()
	c.backlogBytes -= freed
	c.waiting--
	return seq
}

// entry is the entry of seq: the one with its history, or a new one.
func (c *Consumer) entry(seq uint64) *entry {
	if len(c.entries) > 0 {
		if e := c.entries[seq]; e != nil {
			return e
		}
	}
	var e *entry
	if n := len(c.spareEntries); n > 0 {
		e = c.spareEntries[n-1]
		c.spareEntries = c.spareEntries[:n-1]
		e.seq = seq
	} else {
		e = &entry{seq: seq}
	}
	c.entries[seq] = e
	return e
}

// front reports whether nothing of its groups is before e.
func (e *entry) front() bool {
	if e.redrive != nil {
		return true
	}
	return e.t != nil && (e.g == nil || e.g.head == e) && (e.g2 == nil || e.g2.head == e)
}

// activate decides what a message does that has reached the head of its group.
func (c *Consumer) activate(e *entry) {
	switch {
	case e.state == inFlight || e.state == dying: // since before a restart or a regrouping
	case c.exhausted(e):
		c.bury(e, burial{reason: ReasonRetries})
	case !e.next.IsZero() && e.next.After(time.Now()):
		e.state = retrying
		c.retryN++
		c.setTimer(&timer{at: e.next, e: e})
	default:
		c.makeReady(e)
	}
}

func (c *Consumer) exhausted(e *entry) bool {
	return c.cfg.MaxRetryCount > 0 && e.attempts >= c.cfg.MaxRetryCount
}

func (c *Consumer) makeReady(e *entry) {
	e.state = ready
	if e.seq >= laneBase && (e.g == nil || e.g.tail.n == 0) && e.redrive == nil {
		e.slow = true
		c.lane.readyN++
		c.lane.ready.push(e)
		return
	}
	c.readyN++
	c.ready.push(e)
}

func (c *Consumer) setTimer(t *timer) {
	if t.e != nil {
		t.e.timer = t
	} else {
		t.l.timer = t
	}
	heap.Push(&c.timers, t)
	if t.index == 0 {
		wake(c.timerWake)
	}
}

func (c *Consumer) stopTimer(t *timer) {
	if t != nil && t.index >= 0 {
		heap.Remove(&c.timers, t.index)
	}
}

// quiet takes e out of whatever it is in; it is held afterwards.
func (c *Consumer) quiet(e *entry) {
	switch e.state {
	case ready:
		if e.slow {
			c.lane.readyN--
		} else {
			c.readyN--
		}
		e.slow, e.stale = false, true
	case inFlight:
		c.inFlightN--
		if e.seq >= laneBase {
			c.lane.inFlight--
		}
	case retrying:
		c.retryN--
		c.stopTimer(e.timer)
		e.timer = nil
	case held, dying:
	}
	e.state = held
	c.leaveLease(e)
}

// complete records that a message is done, and reports whether that is news.
func (c *Consumer) complete(seq uint64) bool {
	if e := c.redrives[seq]; e != nil {
		c.redriveDone(e)
		return true
	}
	return c.finish(seq)
}

// finish is complete for a message that is no dead letter.
func (c *Consumer) finish(seq uint64) bool {
	if c.isDone(seq) {
		return false
	}
	c.setDone(seq, true)
	if c.log.drop(seq) {
		c.batch.delete(c.keys.number(dirStray, seq))
	}
	if e := c.entries[seq]; e != nil {
		c.drop(e)
	}
	return true
}

// drop takes a done message out of the window.
func (c *Consumer) drop(e *entry) {
	c.quiet(e)
	if e.g2 != nil && e.arrived < 2 {
		c.leavePair(e)
		return
	}
	c.forget(e)
}

// leavePair lets the group go on that a done change of key heads while it waits for its other group. Groups that have not come to it yet pass
// over it when they do.
func (c *Consumer) leavePair(e *entry) {
	for _, g := range [2]*group{e.g, e.g2} {
		if g.head == e {
			c.forgetPair(e)
			c.promote(g)
			return
		}
	}
}

// forgetPair removes the entry of a done change of key. Its table counts it until its last group has passed over it.
func (c *Consumer) forgetPair(e *entry) {
	c.backlogBytes -= pairBytes
	if e.stored {
		c.batch.delete(c.keys.number(dirMsg, e.seq))
	}
	delete(c.entries, e.seq)
}

// forget removes an entry and lets go what it held back.
func (c *Consumer) forget(e *entry) {
	if e.stored {
		c.batch.delete(c.keys.number(dirMsg, e.seq))
	}
	delete(c.entries, e.seq)
	t := e.t
	if t == nil {
		return // in a backlog, or not scanned yet: the done bit says what to do with it there
	}
	for _, g := range [2]*group{e.g, e.g2} {
		switch {
		case g == nil:
		case g.head == e:
			c.promote(g)
		default:
			g.removeExtra(e)
		}
	}
	if e.fence {
		c.passFence(t)
	}
	c.leaveTable(t)
	if !e.stale && len(c.spareEntries) < maxSpares {
		*e = entry{}
		c.spareEntries = append(c.spareEntries, e)
	}
}

// maxSpares bounds what is kept for reuse.
const maxSpares = 1024

func (g *group) removeExtra(e *entry) {
	for i, x := range g.extra {
		if x == e {
			g.extra = append(g.extra[:i], g.extra[i+1:]...)
			return
		}
	}
}

// leaveTable counts a message of the table as done, and lets a fence go that waited for the last of them.
func (c *Consumer) leaveTable(t *table) {
	t.live--
	if t.fence != nil && t.live == 1 && t.fence.state == held {
		c.activate(t.fence)
	}
}

// passFence lets what waited behind a done fence be scanned again.
func (c *Consumer) passFence(t *table) {
	t.fence = nil
	if t.wait.n == 0 {
		t.blocked = false
		return
	}
	c.refeed = append(c.refeed, t)
	wake(c.scanWake)
}

// promote brings the next message of a group to its head.
func (c *Consumer) promote(g *group) {
	g.head = nil
	if len(g.extra) > 0 {
		g.head = g.extra[0]
		g.extra = g.extra[1:]
		if g.head.state == held {
			c.activate(g.head)
		}
		return
	}
	for g.tail.n > 0 {
		e := c.nextOf(g)
		switch {
		case e == nil:
		case e.g2 == nil:
			g.head = e
			c.activate(e)
			return
		default:
			c.arrive(g, e)
			return
		}
	}
	delete(c.groups, g.key)
	if len(c.spareGroups) < maxSpares && cap(g.tail.buf) <= 4096 {
		*g = group{tail: backlog{buf: g.tail.buf[:0]}}
		c.spareGroups = append(c.spareGroups, g)
	}
}

// nextOf takes the next seq off the group's backlog and returns its entry, or nil if it is done.
func (c *Consumer) nextOf(g *group) *entry {
	seq := c.unwait(&g.tail)
	if g.tail.n == 0 {
		c.blockedGroups--
	}
	e := c.entries[seq]
	done := c.isDone(seq)
	if e != nil && e.g2 != nil {
		if !done {
			return e
		}
		c.passPair(g, e)
		return nil
	}
	if done {
		c.leaveTable(g.t)
		return nil
	}
	if e == nil {
		e = c.entry(seq)
	}
	e.g, e.t = g, g.t
	return e
}

// passPair passes over a done change of key in one of its groups. It is gone when the other has passed over it too.
func (c *Consumer) passPair(g *group, e *entry) {
	other := e.g
	if other == g {
		other = e.g2
	}
	leads := other.head == e // among many that are given up at once, it is not its turn yet
	if e.arrived++; !leads && e.arrived < 2 {
		return
	}
	c.quiet(e)
	c.forgetPair(e)
	c.leaveTable(g.t)
	if leads {
		c.promote(other)
	}
}

// arrive brings a change of key to the head of one of its groups.
func (c *Consumer) arrive(g *group, e *entry) {
	g.head = e
	e.arrived++
	if e.arrived < 2 {
		return
	}
	c.backlogBytes -= pairBytes
	c.activate(e)
}

// fail ends an attempt without success. at is when to try again.
func (c *Consumer) fail(e *entry, at time.Time, cause string) {
	c.quiet(e)
	e.attempts++
	e.next = at
	c.storeFailure(e, cause)
	c.recallLater(e)
	if e.front() {
		c.activate(e)
	}
}

func (c *Consumer) storeFailure(e *entry, cause string) {
	m := msgRecord{attempts: e.attempts, next: e.next, cause: cause}
	if e.redrive != nil {
		c.batch.put(c.keys.number(dirRedrive, e.seq), m.encode(c.place.generation))
		return
	}
	e.stored = true
	c.batch.put(c.keys.number(dirMsg, e.seq), m.encode(c.place.generation))
}

// release makes a message available again that was not tried. One that is leased is released with all others of its lease.
func (c *Consumer) release(e *entry) {
	c.quiet(e)
	c.recallLater(e)
	if e.front() {
		c.activate(e)
	}
}

// recallLater takes back what was handed out together with e and comes after it in its group: it counts as not delivered.
func (c *Consumer) recallLater(e *entry) {
	if e.g == nil || e.g2 != nil {
		return
	}
	at := c.order(e.seq)
	for _, x := range e.g.extra {
		if x.state == inFlight && goesBefore(at, e.seq, c.order(x.seq), x.seq) {
			c.thinned(x.lease)
			c.quiet(x)
		}
	}
}
