package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/sequinstream/sequin/internal/consumer"
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

// deadLetter is a dead letter as the API shows it.
type deadLetter struct {
	Seq uint64 `json:"seq"`
	consumer.DeadLetter
	Position    string `json:"position"`
	IsRedriving bool   `json:"redriving"`
}

func shown(d *consumer.DeadLetter) deadLetter {
	return deadLetter{Seq: d.Seq, DeadLetter: *d, Position: positionText(d.Position), IsRedriving: d.Redriving}
}

// listDeadLetters pages through the dead letters by seq.
func (a *API) listDeadLetters(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	var q consumer.DeadQuery
	if q.After, q.Before, q.Descending, q.Limit, err = r.params.page(); err != nil {
		return err
	}
	if q.DeadFilter, err = r.params.deadFilter(); err != nil {
		return err
	}
	page, err := s.DeadLetters(r.Context(), q)
	if err != nil {
		return err
	}
	reply := struct {
		Data []deadLetter `json:"data"`
		Next seqOrNull    `json:"next"`
	}{Data: make([]deadLetter, len(page.Letters)), Next: seqOrNull(page.Next)}
	for i := range page.Letters {
		reply.Data[i] = shown(&page.Letters[i])
	}
	return a.writeJSON(w, reply)
}

func (a *API) showDeadLetter(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
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
	return a.writeWithData(w, shown(&letter), letter.Payload)
}

// redrive delivers dead letters again, out of order; they stay until they are acknowledged.
func (a *API) redrive(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	sel, err := r.params.deadSelection()
	if err != nil {
		return err
	}
	done, err := s.Redrive(r.Context(), sel)
	return a.changedDead(w, r, s, "dead_letters.redrive", deadText(&sel), &done, err)
}

// discard removes dead letters for good.
func (a *API) discard(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	sel, err := r.params.deadSelection()
	if err != nil {
		return err
	}
	done, err := s.Discard(r.Context(), sel)
	return a.changedDead(w, r, s, "dead_letters.discard", deadText(&sel), &done, err)
}

// changedDead is changed for dead letters: missing ones have one reason only, so they are plain seqs.
func (a *API) changedDead(w http.ResponseWriter, r *request, s Sink, action, which string, done *consumer.Changed, err error) error {
	a.note(r, s, action, which, done)
	if err != nil {
		return err
	}
	reply := struct {
		Success bool      `json:"success"`
		Count   int       `json:"count"`
		Missing []uint64  `json:"missing"`
		Skipped int       `json:"skipped"`
		Next    seqOrNull `json:"next"`
	}{Success: true, Count: done.Count, Missing: make([]uint64, len(done.Missing)), Skipped: done.Skipped, Next: seqOrNull(done.Next)}
	for i, m := range done.Missing {
		reply.Missing[i] = m.Seq
	}
	return a.writeJSON(w, reply)
}

func (a *API) writeJSON(w http.ResponseWriter, v any) error {
	body, err := encode(v)
	if err != nil {
		return errInternal().because(err)
	}
	a.write(w, http.StatusOK, body)
	return nil
}

// writeWithData answers an object with one more key: the message, byte for byte as it would go out, or null if it could not be built.
func (a *API) writeWithData(w http.ResponseWriter, v any, data []byte) error {
	body, err := encode(v)
	if err != nil {
		return errInternal().because(err)
	}
	if !json.Valid(data) {
		data = []byte("null")
	}
	body = append(body[:len(body)-1], `,"data":`...)
	a.write(w, http.StatusOK, append(append(body, data...), '}'))
	return nil
}

func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(text.Bytes()), err
}
