package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/problem"
)

// Mover is a sink that can be put at another place of the change log.
type Mover interface {
	// Find is the place that a target means. A long search ends early: next is then the After to go on with.
	Find(ctx context.Context, t consumer.Target, where string) (spot consumer.Spot, next uint64, err error)
	// PlanMove tells what a move would do.
	PlanMove(ctx context.Context, to consumer.Spot) (consumer.MovePlan, error)
	// Move and UndoMove are durable when they return.
	Move(ctx context.Context, req consumer.MoveRequest) (consumer.MoveRecord, error)
	UndoMove(ctx context.Context, why string) (consumer.MoveRecord, error)
	// Moves lists the last moves, the last first.
	Moves(ctx context.Context) ([]consumer.MoveRecord, error)
}

func (a *API) moveRoutes() []route {
	const base = "/api/sinks/{id_or_name}"
	return []route{
		{http.MethodPost, base + "/move", a.moveSink},
		{http.MethodPost, base + "/move/undo", a.undoMove},
		{http.MethodGet, base + "/moves", a.listMoves},
	}
}

// destination is where a request wants a sink to go.
type destination struct {
	target consumer.Target
	where  string
	text   string // in words
}

// target is the object in "to".
type target struct {
	Time     *string `json:"time"`
	LSN      *string `json:"lsn"`
	Seq      *uint64 `json:"seq"`
	Position *string `json:"position"`
	Table    string  `json:"table"`
	Key      *string `json:"key"`
	Where    *string `json:"where"`
	After    uint64  `json:"after"`
}

const targetForms = `"beginning", "end", or an object with one of time, lsn, position, seq, where, and table with key`

// destination reads "to".
func (p *params) destination() (d destination, err error) {
	raw := bytes.TrimSpace(p.body["to"])
	if len(raw) == 0 || raw[0] == 'n' {
		return d, badParameter("to", "is missing: %s", targetForms)
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		d.text, d.target.Beginning, d.target.End = "the "+word, word == "beginning", word == "end"
		if d.target.Beginning || d.target.End {
			return d, nil
		}
		return d, badParameter("to", "is %q; it must be %s", clip(word), targetForms)
	}
	var t target
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		return d, badParameter("to", "cannot be read; it must be %s", targetForms).detail(strings.TrimPrefix(err.Error(), "json: "))
	}
	return t.read()
}

func (t *target) read() (d destination, err error) {
	searched := t.Where != nil || t.Key != nil || t.Table != ""
	given := 0
	for _, is := range []bool{t.Time != nil, t.LSN != nil, t.Seq != nil, t.Position != nil, searched} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return d, badParameter("to", "names %d places; it must be %s", given, targetForms)
	case t.After != 0 && !searched:
		return d, badParameter("to", "has after, which goes with table, key and where")
	case searched:
		return t.search()
	case t.Seq != nil:
		d.target.Seq, d.text = *t.Seq, fmt.Sprintf("entry %d", *t.Seq)
	case t.LSN != nil:
		d.target.Position.LSN, err = cdc.ParseLSN(*t.LSN)
		if err != nil || d.target.Position.LSN == 0 {
			return d, badParameter("to", "has lsn %q; an LSN is written as Postgres does: 16/B374D848", clip(*t.LSN))
		}
		d.text = "LSN " + d.target.Position.LSN.String()
	case t.Position != nil:
		if d.target.Position, err = parsePosition(*t.Position); err != nil {
			return d, err
		}
		d.text = "position " + *t.Position
	default:
		if d.target.Time, err = time.Parse(time.RFC3339Nano, *t.Time); err != nil || d.target.Time.Year() < firstYear {
			return d, badParameter("to", "has time %q; write it with a zone, as in 2030-01-31T09:30:00Z or 2030-01-31T09:30:00.5+01:00", clip(*t.Time))
		}
		d.text = "time " + d.target.Time.UTC().Format(time.RFC3339Nano)
	}
	return d, nil
}

// search reads a place that has to be searched for.
func (t *target) search() (d destination, err error) {
	s := &consumer.Search{After: t.After}
	s.Table = t.Table
	if t.Key != nil {
		s.Key = *t.Key
	}
	if t.Where != nil {
		d.where = *t.Where
	}
	switch {
	case t.Key != nil && (s.Key == "" || s.Table == ""):
		return d, badParameter("to", "needs table and key: the primary key as text, its columns with colons between them")
	case t.Where != nil && strings.TrimSpace(d.where) == "":
		return d, badParameter("to", "has an empty where")
	case t.Key == nil && t.Where == nil:
		return d, badParameter("to", "has a table alone; add key or where")
	}
	parts := filterText(s.MessageFilter, 0)
	if d.where != "" {
		parts = append(parts, "where "+clip(d.where))
	}
	d.target.Search, d.text = s, "the first message with "+strings.Join(parts, ", ")
	return d, nil
}

// parsePosition reads what positionText writes; the epoch is the present one whatever it says.
func parsePosition(text string) (p cdc.Position, err error) {
	bad := badParameter("to", "has position %q; write it as the list of messages does: 16/B374D848:3", clip(text))
	lsn, rest, _ := strings.Cut(text, ":")
	index, epoch, hasEpoch := strings.Cut(rest, ":e")
	if p.LSN, err = cdc.ParseLSN(lsn); err != nil || p.LSN == 0 {
		return p, bad
	}
	n, err := strconv.ParseUint(index, 10, 32)
	if err == nil && hasEpoch {
		_, err = strconv.ParseUint(epoch, 10, 32)
	}
	if err != nil {
		return p, bad
	}
	p.Index = uint32(n)
	return p, nil
}

// shownSpot is a place as the API shows it.
type shownSpot struct {
	Seq             uint64    `json:"seq"`
	LSN             *string   `json:"lsn"`
	CommitTimestamp timestamp `json:"commit_timestamp"`
	End             bool      `json:"end"`
}

func spotOf(s consumer.Spot) *shownSpot {
	shown := &shownSpot{Seq: s.Seq, CommitTimestamp: timestamp(s.CommitTime), End: s.End}
	if s.LSN != 0 {
		text := s.LSN.String()
		shown.LSN = &text
	}
	return shown
}

type shownTally struct {
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	AtLeast  bool      `json:"at_least"`
	First    timestamp `json:"first"`
	Last     timestamp `json:"last"`
}

func tallyOf(t consumer.Tally) shownTally {
	return shownTally{t.Messages, t.Bytes, t.AtLeast, timestamp(t.First), timestamp(t.Last)}
}

// shownPlan is a dry run.
type shownPlan struct {
	DryRun      bool       `json:"dry_run"`
	Found       bool       `json:"found"`
	Next        seqOrNull  `json:"next"`
	From        *shownSpot `json:"from"`
	To          *shownSpot `json:"to"`
	Deliver     shownTally `json:"deliver"`
	Again       uint64     `json:"again"`
	Skip        shownTally `json:"skip"`
	InFlight    int        `json:"in_flight"`
	DeadLetters int64      `json:"dead_letters"`
	Status      string     `json:"status"`
}

// moveSink moves a sink, or tells what that would do.
func (a *API) moveSink(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	d, err := r.params.destination()
	if err != nil {
		return err
	}
	dry, err := r.params.boolean("dry_run")
	if err != nil {
		return err
	}
	req := consumer.MoveRequest{Why: d.text}
	if req.Skip, err = r.params.boolean("skip"); err != nil {
		return err
	}
	if why, err := r.params.reason(); err != nil {
		return err
	} else if why != "" {
		req.Why = why
	}
	spot, next, err := s.Find(r.Context(), d.target, d.where)
	switch {
	case err != nil:
		return err
	case dry:
		return a.planMove(w, r, s, spot, next)
	case next != 0:
		return problem.New("search_unfinished", "the search for the place has not come to its end").
			WithDetail("the entries up to %d were looked at, and none matches", next).WithHint("go on with \"after\": %d in \"to\"", next)
	}
	req.To = spot.Seq
	move, err := s.Move(r.Context(), req)
	if err == nil && move.Moved {
		a.noteMove(r, s, "sink.move", &move)
	}
	return a.moved(w, &move, err)
}

// maxReason bounds what a request may say about why.
const maxReason = 500

func (p *params) reason() (string, error) {
	why, err := p.text("reason")
	if err == nil && len(why) > maxReason {
		err = badParameter("reason", "is longer than %d bytes", maxReason)
	}
	return why, err
}

func (a *API) planMove(w http.ResponseWriter, r *request, s Sink, spot consumer.Spot, next uint64) error {
	if next != 0 {
		return a.writeJSON(w, shownPlan{DryRun: true, Next: seqOrNull(next)})
	}
	p, err := s.PlanMove(r.Context(), spot)
	if err != nil {
		return err
	}
	return a.writeJSON(w, shownPlan{
		DryRun: true, Found: true, From: spotOf(p.From), To: spotOf(p.To), Deliver: tallyOf(p.Deliver), Again: p.Again, Skip: tallyOf(p.Skip),
		InFlight: p.InFlight, DeadLetters: p.DeadLetters, Status: string(p.Status),
	})
}

// undoMove takes the last move back.
func (a *API) undoMove(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	why, err := r.params.reason()
	if err != nil {
		return err
	}
	move, err := s.UndoMove(r.Context(), why)
	if err == nil {
		a.noteMove(r, s, "sink.undo_move", &move)
	}
	return a.moved(w, &move, err)
}

// noteMove has a move noted in the audit log.
func (a *API) noteMove(r *request, s Sink, action string, m *consumer.MoveRecord) {
	if a.noted == nil {
		return
	}
	detail := fmt.Sprintf("from entry %d to entry %d", m.From, m.To)
	if m.Undoes > 0 {
		detail += fmt.Sprintf(", taking back generation %d", m.Undoes)
	}
	if m.Skipped+m.Unread > 0 {
		detail += fmt.Sprintf(", passing over %d messages and %d entries that were not read", m.Skipped, m.Unread)
	}
	if m.Why != "" {
		detail += ": " + m.Why
	}
	a.noted(r.Context(), r.identity.Account, control.Entry{
		Actor: r.actor(), Action: action, ResourceType: control.KindSink, Resource: s.Name(), Detail: detail,
	})
}

// shownMove is a move as the API shows it.
type shownMove struct {
	Generation uint32    `json:"generation"`
	From       uint64    `json:"from"`
	To         uint64    `json:"to"`
	Skipped    uint64    `json:"skipped"`
	Unread     uint64    `json:"unread"`
	At         timestamp `json:"at"`
	Reason     string    `json:"reason"`
	Undoes     *uint32   `json:"undoes"`
	Undoable   bool      `json:"undoable"`
}

func moveOf(m *consumer.MoveRecord) shownMove {
	shown := shownMove{m.Generation, m.From, m.To, m.Skipped, m.Unread, timestamp(m.At), m.Why, nil, m.Undoable}
	if m.Undoes > 0 {
		shown.Undoes = &m.Undoes
	}
	return shown
}

func (a *API) moved(w http.ResponseWriter, m *consumer.MoveRecord, err error) error {
	if err != nil {
		return err
	}
	return a.writeJSON(w, struct {
		Moved bool `json:"moved"`
		shownMove
	}{m.Moved, moveOf(m)})
}

// listMoves lists the moves of a sink.
func (a *API) listMoves(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	moves, err := s.Moves(r.Context())
	if err != nil {
		return err
	}
	data := make([]shownMove, len(moves))
	for i := range moves {
		data[i] = moveOf(&moves[i])
	}
	return a.writeJSON(w, map[string]any{"data": data})
}
