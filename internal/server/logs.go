package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/resource"
)

// logs looks into change logs for the API: beside what writes them, or when nothing does.
type logs struct{ s *Server }

// Log opens the change log of a database.
func (l logs) Log(ctx context.Context, db *resource.Database) (api.Log, error) {
	blocks, err := l.s.engine.Log(ctx, db.ID)
	if err != nil {
		return nil, fmt.Errorf("open the storage of the change log: %w", err)
	}
	view, err := changelog.OpenView(ctx, db.Name, blocks)
	if err != nil {
		return nil, err
	}
	return logView{view, *db}, nil
}

// logView is one log.
type logView struct {
	*changelog.View
	db resource.Database
}

// Bounds of one answer. The next one goes on where it ends.
const (
	logLookTime    = 2 * time.Second
	logLookBytes   = 64 << 20 // of changes that are looked at
	logAnswerBytes = 8 << 20  // of messages
	logClockSlack  = time.Minute
)

// effort is what is left for one answer.
type effort struct {
	until time.Time
	bytes int
}

func newEffort() effort { return effort{time.Now().Add(logLookTime), logLookBytes} }

// took counts a block, and reports whether it is time to stop.
func (e *effort) took(s *changelog.Segment) (spent bool) {
	for i := range s.Changes {
		e.bytes -= s.Changes[i].Size
	}
	return e.bytes <= 0 || time.Now().After(e.until)
}

func damageOf(gap *changelog.GapError) api.LogDamage {
	return api.LogDamage{From: gap.From, To: gap.To, Cause: gap.Cause.Error()}
}

// Describe tells what the log holds.
func (v logView) Describe(ctx context.Context) (api.LogView, error) {
	end := v.End()
	d := api.LogView{
		Database: v.db.Name, DatabaseID: v.db.ID, FirstSeq: v.FirstSeq(), LastSeq: end.Seq, Bytes: v.Size(), Epoch: v.Epoch(), LastLSN: lsn(end.Position.LSN),
	}
	if end.Seq >= d.FirstSeq && end.Seq > 0 {
		d.Entries = end.Seq - d.FirstSeq + 1
	}
	if end.CommitTime != 0 {
		d.Newest = moment(end.CommitTime.Time())
	}
	if tail := v.Tail(); tail != nil {
		damage := damageOf(tail)
		d.Damage = &damage
	}
	info, err := v.Info(ctx, d.FirstSeq)
	switch {
	case err == nil:
		d.FirstLSN, d.Oldest = lsn(info.FirstPosition.LSN), moment(info.Appended)
	case errors.Is(err, changelog.ErrEnd) || isGap(err): // nothing is there, or what is there cannot be read
	default:
		return d, err
	}
	return d, nil
}

func isGap(err error) bool {
	_, ok := errors.AsType[*changelog.GapError](err)
	return ok
}

// Tables counts the entries of tables in the newest part.
func (v logView) Tables(ctx context.Context) (api.LogTables, error) {
	from, err := v.SeqOfLast(ctx, logLookBytes)
	if err != nil {
		return api.LogTables{}, err
	}
	t := api.LogTables{From: from, To: v.End().Seq, Complete: from <= v.FirstSeq(), Tables: []api.LogTable{}, Damage: []api.LogDamage{}}
	counts := map[string]*api.LogTable{}
	until := time.Now().Add(logLookTime)
	err = v.Each(ctx, from, func(s *changelog.Segment, gap *changelog.GapError) bool {
		if gap != nil {
			t.Damage = append(t.Damage, damageOf(gap))
			return true
		}
		for i := range s.Changes {
			countChange(counts, &s.Changes[i])
		}
		if t.To = s.Last; time.Now().After(until) && s.Last < v.End().Seq {
			t.Complete = false
			return false
		}
		return true
	})
	for _, c := range counts {
		t.Tables = append(t.Tables, *c)
	}
	slices.SortFunc(t.Tables, func(a, b api.LogTable) int { return strings.Compare(a.Table, b.Table) })
	return t, err
}

func countChange(counts map[string]*api.LogTable, c *cdc.Change) {
	if c.Relation == nil {
		return
	}
	name := c.Relation.Schema + "." + c.Relation.Name
	n := counts[name]
	if n == nil {
		n = &api.LogTable{Table: name}
		counts[name] = n
	}
	n.Bytes += uint64(max(c.Size, 0))
	switch c.Op {
	case cdc.OpInsert:
		n.Inserts++
	case cdc.OpUpdate:
		n.Updates++
	case cdc.OpDelete:
		n.Deletes++
	case cdc.OpTruncate:
		n.Truncates++
	case cdc.OpMessage, cdc.OpRead:
	}
}

// Verify reads a part of the log and checks it: the checksums of its blocks, that each follows its predecessor, that they can be decoded, and that
// positions ascend.
func (v logView) Verify(ctx context.Context, after uint64) (api.LogVerified, error) {
	out := api.LogVerified{From: max(after+1, v.FirstSeq()), Damage: []api.LogDamage{}}
	out.To = out.From - 1
	left := newEffort()
	var before *cdc.Position
	err := v.Each(ctx, out.From, func(s *changelog.Segment, gap *changelog.GapError) bool {
		if gap != nil {
			out.Damage = append(out.Damage, damageOf(gap))
			out.To, before = gap.To, nil
			return true
		}
		if seq, ok := s.Disorder(before); !ok {
			out.Damage = append(out.Damage, api.LogDamage{From: seq, To: seq, Cause: "its position does not follow that of the entry before it"})
		}
		if n := len(s.Changes); n > 0 {
			before = &s.Changes[n-1].Position
		}
		out.Blocks++
		out.Entries += s.Last - max(s.First, out.From) + 1
		out.To = s.Last
		return !left.took(s)
	})
	if err != nil {
		return out, err
	}
	if out.To < v.End().Seq {
		out.SetNext(out.To)
	} else if tail := v.Tail(); tail != nil {
		out.Damage = append(out.Damage, damageOf(tail))
		out.To = tail.To
	}
	return out, nil
}

// Changes lists entries as messages.
func (v logView) Changes(ctx context.Context, q api.LogQuery) (api.LogPage, error) {
	page := api.LogPage{Damage: []api.LogDamage{}}
	from, err := v.begin(ctx, &q)
	if err != nil {
		return page, err
	}
	l := lister{
		q: &q, page: &page, from: from, left: newEffort(), epochs: v.Epoch() > 0,
		tail: tailOf(v.db.ID, v.db, declared{}),
	}
	err = v.Each(ctx, from, func(s *changelog.Segment, gap *changelog.GapError) bool {
		if gap != nil {
			if l.stopped = q.Before != 0 && gap.From >= q.Before; l.stopped {
				return false
			}
			page.Damage = append(page.Damage, damageOf(gap))
			return true
		}
		return l.segment(s, v.End().Seq)
	})
	if tail := v.Tail(); err == nil && tail != nil && !l.stopped {
		page.Damage = append(page.Damage, damageOf(tail))
	}
	return page, err
}

// begin is where the entries that are asked for may begin.
func (v logView) begin(ctx context.Context, q *api.LogQuery) (uint64, error) {
	from := max(q.After+1, v.FirstSeq())
	if !q.From.IsZero() {
		seq, err := v.SeqAtTime(ctx, cdc.Timestamp(q.From.UnixMicro()))
		if err != nil {
			return 0, err
		}
		from = max(from, seq)
	}
	if q.FromLSN != 0 {
		seq, err := v.SeqAtLSN(ctx, q.FromLSN)
		if err != nil {
			return 0, err
		}
		from = max(from, seq)
	}
	return from, nil
}

// lister gathers a page of entries.
type lister struct {
	q      *api.LogQuery
	page   *api.LogPage
	tail   *message.Tail
	from   uint64
	left   effort
	bytes  int
	epochs bool // there are several, so LSNs tell no order

	stopped bool // before the end of the log
}

// segment takes what is asked for of a block, and reports whether to go on.
func (l *lister) segment(s *changelog.Segment, end uint64) bool {
	l.stopped = !l.some(s, end)
	return !l.stopped
}

func (l *lister) some(s *changelog.Segment, end uint64) bool {
	for i := range s.Changes {
		c := &s.Changes[i]
		if c.Seq < l.from {
			continue
		}
		if l.over(c) {
			return false
		}
		if !l.wanted(c) {
			continue
		}
		if len(l.page.Entries) == l.q.Limit || l.bytes >= logAnswerBytes {
			l.page.Next = c.Seq - 1
			return false
		}
		l.take(c)
	}
	if l.left.took(s) && s.Last < end {
		l.page.Next = s.Last
		return false
	}
	return true
}

// over reports whether nothing that is asked for comes any more.
func (l *lister) over(c *cdc.Change) bool {
	q := l.q
	return q.Before != 0 && c.Seq >= q.Before || q.ToLSN != 0 && !l.epochs && c.Position.LSN > q.ToLSN ||
		!q.To.IsZero() && c.CommitTime.Time().After(q.To.Add(logClockSlack)) // a clock may have run backwards a little
}

func (l *lister) wanted(c *cdc.Change) bool {
	q := l.q
	at := c.CommitTime.Time()
	return c.Relation != nil && q.Passes(c) && (q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To)) &&
		(q.FromLSN == 0 || c.Position.LSN >= q.FromLSN) && (q.ToLSN == 0 || c.Position.LSN <= q.ToLSN)
}

func (l *lister) take(c *cdc.Change) {
	e := api.LogEntry{Seq: c.Seq, Position: c.Position}
	e.Message, e.Err = message.Append(nil, c, message.Format{}, l.tail, message.Flags{})
	if e.Err != nil {
		e.Message = nil
	}
	l.bytes += len(e.Message)
	l.page.Entries = append(l.page.Entries, e)
}
