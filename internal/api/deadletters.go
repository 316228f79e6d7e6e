package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
)

// Sinks finds sinks of every type.
type Sinks interface {
	SinkByID(account, id string) (Sink, bool)
	SinkByName(account, name string) (Sink, bool)
}

// Sink is what can be done about a sink's dead letters; *consumer.Consumer has all of it. It is safe for concurrent use.
type Sink interface {
	DeadLetters(ctx context.Context, after uint64, limit int) ([]consumer.DeadLetter, error)
	DeadLetter(ctx context.Context, seq uint64) (consumer.DeadLetter, error)
	Redrive(ctx context.Context, seqs []uint64) (missing []uint64, err error)
	Discard(ctx context.Context, seqs []uint64) error
}

// Bounds of the dead-letter routes.
const (
	defaultDeadLetters = 100
	maxDeadLetters     = 1000
)

func (a *API) deadLetterRoutes() []route {
	const base = "/api/sinks/{id_or_name}/dead_letters"
	return []route{
		{http.MethodGet, base, a.listDeadLetters},
		{http.MethodGet, base + "/{seq}", a.showDeadLetter},
		{http.MethodPost, base + "/redrive", a.redrive},
		{http.MethodPost, base + "/discard", a.discard},
	}
}

// deadLetter is a dead letter as the API shows it. Data is the message, where it could be built.
type deadLetter struct {
	Seq uint64 `json:"seq"`
	consumer.DeadLetter
	IsRedriving bool            `json:"redriving"`
	Data        json.RawMessage `json:"data,omitempty"`
}

func (a *API) sink(r *request) (Sink, error) {
	name := r.PathValue("id_or_name")
	var s Sink
	var ok bool
	if isUUIDv4(name) {
		s, ok = a.sinks.SinkByID(r.identity.Account, strings.ToLower(name))
	} else {
		s, ok = a.sinks.SinkByName(r.identity.Account, name)
	}
	if !ok {
		return nil, notFound("sink_not_found", "Not found: No `consumer` found matching the provided ID or name")
	}
	return s, nil
}

func notFound(code, message string) *statusError {
	return &statusError{status: http.StatusNotFound, problem: problem.New(code, "%s", message)}
}

// listDeadLetters pages through the dead letters by seq; next is the after of the next page.
func (a *API) listDeadLetters(w http.ResponseWriter, r *request) error {
	s, err := a.sink(r)
	if err != nil {
		return err
	}
	if err := r.identity.MayRead(); err != nil {
		return err
	}
	limit, found, err := r.params.integer("limit", 1, maxDeadLetters)
	if err != nil {
		return err
	}
	if !found {
		limit = defaultDeadLetters
	}
	after := uint64(0)
	if v, ok := r.params.find("after"); ok {
		if after, err = strconv.ParseUint(v.text, 10, 64); err != nil {
			return badParameter("after", "is %s; expected the seq of a dead letter", v.shown)
		}
	}
	letters, err := s.DeadLetters(r.Context(), after, limit)
	if err != nil {
		return err
	}
	reply := struct {
		Data []deadLetter `json:"data"`
		Next *uint64      `json:"next"`
	}{Data: make([]deadLetter, len(letters))}
	for i := range letters {
		reply.Data[i] = deadLetter{Seq: letters[i].Seq, DeadLetter: letters[i], IsRedriving: letters[i].Redriving}
	}
	if len(letters) == limit {
		reply.Next = &letters[limit-1].Seq
	}
	return a.writeJSON(w, reply)
}

func (a *API) showDeadLetter(w http.ResponseWriter, r *request) error {
	s, err := a.sink(r)
	if err != nil {
		return err
	}
	if err := r.identity.MayRead(); err != nil {
		return err
	}
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return badParameter("seq", "is %q; expected a number", clip(r.PathValue("seq")))
	}
	letter, err := s.DeadLetter(r.Context(), seq)
	if errors.Is(err, consumer.ErrNotFound) {
		return notFound("dead_letter_not_found", "Not found: there is no such dead letter")
	}
	if err != nil {
		return err
	}
	reply := deadLetter{Seq: letter.Seq, DeadLetter: letter, IsRedriving: letter.Redriving}
	if json.Valid(letter.Payload) {
		reply.Data = letter.Payload
	}
	return a.writeJSON(w, reply)
}

// redrive delivers dead letters again, out of order; they stay until they are acknowledged.
func (a *API) redrive(w http.ResponseWriter, r *request) error {
	s, seqs, err := a.changeDeadLetters(r)
	if err != nil {
		return err
	}
	missing, err := s.Redrive(r.Context(), seqs)
	if err != nil {
		return err
	}
	if missing == nil {
		missing = []uint64{}
	}
	return a.writeJSON(w, map[string]any{"success": true, "missing": missing})
}

func (a *API) discard(w http.ResponseWriter, r *request) error {
	s, seqs, err := a.changeDeadLetters(r)
	if err != nil {
		return err
	}
	return a.done(w, s.Discard(r.Context(), seqs))
}

// changeDeadLetters reads what redrive and discard have in common: a list of seqs.
func (a *API) changeDeadLetters(r *request) (Sink, []uint64, error) {
	s, err := a.sink(r)
	if err != nil {
		return nil, nil, err
	}
	if err := r.identity.MayChange(); err != nil {
		return nil, nil, err
	}
	raw, ok := r.params.body["seqs"]
	if !ok {
		return nil, nil, badParameter("seqs", "is missing: a list with the seq of each dead letter")
	}
	var seqs []uint64
	if json.Unmarshal(raw, &seqs) != nil || len(seqs) == 0 || len(seqs) > maxDeadLetters {
		return nil, nil, badParameter("seqs", "must be a list of 1 to %d numbers", maxDeadLetters)
	}
	return s, seqs, nil
}

func (a *API) writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return errInternal().because(err)
	}
	a.write(w, http.StatusOK, body)
	return nil
}
