package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
)

// Replayer is a sink whose delivered messages can be asked for once more.
type Replayer interface {
	// Replay is durable when it returns; where is a condition in SQL beside the search, or "".
	Replay(ctx context.Context, sel consumer.ReplaySelection, where string) (consumer.Changed, error)
	CountReplay(ctx context.Context, sel consumer.ReplaySelection, where string) (consumer.Tally, error)
	Replays() []consumer.Replay
	CancelReplays(ctx context.Context, seqs []uint64, all bool) (consumer.Changed, error)
}

func (a *API) replayRoutes() []route {
	const base = "/api/sinks/{id_or_name}/replays"
	return []route{
		{http.MethodGet, base, a.listReplays},
		{http.MethodPost, base, a.replay},
		{http.MethodPost, base + "/cancel", a.cancelReplays},
	}
}

// replaySelection reads which messages are meant.
func (p *params) replaySelection() (sel consumer.ReplaySelection, where string, err error) {
	var named bool
	if sel.Seqs, named, err = p.seqs(); err != nil {
		return sel, "", err
	}
	s := &consumer.Search{}
	if s.MessageFilter, err = p.messageFilter(); err != nil {
		return sel, "", err
	}
	if where, err = p.text("where"); err != nil {
		return sel, "", err
	}
	if sel.From, err = p.instant("from"); err != nil {
		return sel, "", err
	}
	if sel.Until, err = p.instant("until"); err != nil {
		return sel, "", err
	}
	if s.After, _, err = p.seq("after"); err != nil {
		return sel, "", err
	}
	described := s.MessageFilter != (consumer.MessageFilter{}) || strings.TrimSpace(where) != "" || !sel.From.IsZero() || !sel.Until.IsZero()
	switch {
	case named && described:
		return sel, "", badParameter("seqs", "cannot be combined: name messages with seqs, or describe them with from, until, table, key and where")
	case !named && !described:
		return sel, "", badParameter("seqs", "is missing: name messages with seqs, or describe them with from, until, table, key and where")
	case !sel.From.IsZero() && !sel.Until.IsZero() && !sel.From.Before(sel.Until):
		return sel, "", badParameter("until", "is not after from")
	case described:
		sel.Search = s
	}
	return sel, where, nil
}

// instant reads a time with its zone; absent is the zero time.
func (p *params) instant(name string) (time.Time, error) {
	v, ok := p.find(name)
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v.text)
	if !v.scalar || err != nil || t.Year() < firstYear {
		return time.Time{}, badParameter(name, "is %s; write it with a zone, as in 2030-01-31T09:30:00Z or 2030-01-31T09:30:00.5+01:00", v.shown)
	}
	return t, nil
}

// firstYear keeps times within what the log can hold.
const firstYear = 1970

// replayText says which messages were meant, for the audit log.
func replayText(sel *consumer.ReplaySelection, where string) string {
	if sel.Search == nil {
		return namesText(sel.Seqs, nil)
	}
	parts := filterText(sel.Search.MessageFilter, sel.Search.After)
	if where != "" {
		parts = append(parts, "where "+clip(where))
	}
	for _, bound := range []struct {
		name string
		at   time.Time
	}{{"from", sel.From}, {"until", sel.Until}} {
		if !bound.at.IsZero() {
			parts = append(parts, bound.name+" "+bound.at.UTC().Format(time.RFC3339Nano))
		}
	}
	return allText(parts)
}

// replay delivers messages once more.
func (a *API) replay(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	sel, where, err := r.params.replaySelection()
	if err != nil {
		return err
	}
	dry, err := r.params.boolean("dry_run")
	if err != nil {
		return err
	}
	if dry {
		if sel.Search == nil {
			return badParameter("dry_run", "is for messages that are described; those named by seqs are counted already")
		}
		t, err := s.CountReplay(r.Context(), sel, where)
		if err != nil {
			return err
		}
		return a.writeJSON(w, struct {
			DryRun bool `json:"dry_run"`
			shownTally
		}{true, tallyOf(t)})
	}
	done, err := s.Replay(r.Context(), sel, where)
	return a.changed(w, r, s, "messages.replay", replayText(&sel, where), &done, err)
}

// listReplays lists what is on its way once more.
func (a *API) listReplays(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	type shown struct {
		Seq             uint64                `json:"seq"`
		At              timestamp             `json:"at"`
		State           consumer.MessageState `json:"state"`
		Attempts        int                   `json:"attempts"`
		NotVisibleUntil timestamp             `json:"not_visible_until"`
	}
	data := []shown{}
	for _, m := range s.Replays() {
		data = append(data, shown{m.Seq, timestamp(m.Asked), m.State, m.Attempts, timestamp(m.Next)})
	}
	return a.writeJSON(w, map[string]any{"data": data})
}

// cancelReplays gives up what is on its way once more.
func (a *API) cancelReplays(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	seqs, named, err := r.params.seqs()
	if err != nil {
		return err
	}
	all, err := r.params.boolean("all")
	switch {
	case err != nil:
		return err
	case named == all:
		return badParameter("seqs", "or all must be given, and not both")
	}
	which := "all"
	if named {
		which = namesText(seqs, nil)
	}
	done, err := s.CancelReplays(r.Context(), seqs, all)
	return a.changed(w, r, s, "replays.cancel", which, &done, err)
}
