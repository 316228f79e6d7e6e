package api

import (
	"context"
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

// Sinks finds sinks of every type.
type Sinks interface {
	SinkByID(account, id string) (Sink, bool)
	SinkByName(account, name string) (Sink, bool)
}

// Sink is what can be seen of a sink's messages and done about them; *consumer.Consumer has nearly all of it. Each call takes a bounded time, whatever
// the backlog, and what it changed is durable when it returns. It is safe for concurrent use.
type Sink interface {
	Name() string
	Place(ctx context.Context) (consumer.Place, error)

	Messages(ctx context.Context, q consumer.MessageQuery) (consumer.MessagePage, error)
	Message(ctx context.Context, name string) (consumer.Message, error)
	Redeliver(ctx context.Context, sel consumer.Selection) (consumer.Changed, error)
	DiscardMessages(ctx context.Context, sel consumer.Selection) (consumer.Changed, error)

	DeadLetters(ctx context.Context, q consumer.DeadQuery) (consumer.DeadPage, error)
	DeadLetter(ctx context.Context, seq uint64) (consumer.DeadLetter, error)
	Redrive(ctx context.Context, sel consumer.DeadSelection) (consumer.Changed, error)
	Discard(ctx context.Context, sel consumer.DeadSelection) (consumer.Changed, error)

	Mover
	Replayer
}

// AuditFunc notes what somebody did to the messages of an account's sink: "messages.redeliver", "messages.discard", "dead_letters.redrive" or
// "dead_letters.discard", and which of them. ctx is that of the request.
type AuditFunc func(ctx context.Context, account string, e control.Entry)

// Bounds of the routes that look into a sink.
const (
	defaultListed = 100
	maxListed     = 1000
	maxNamed      = 1000 // messages in one request that names them
)

func (a *API) messageRoutes() []route {
	const base = "/api/sinks/{id_or_name}"
	return []route{
		{http.MethodGet, base + "/position", a.showPosition},
		{http.MethodGet, base + "/messages", a.listMessages},
		{http.MethodGet, base + "/messages/{seq_or_ack_id}", a.showMessage},
		{http.MethodPost, base + "/messages/redeliver", a.redeliver},
		{http.MethodPost, base + "/messages/discard", a.discardMessages},
	}
}

// sink finds the sink in the path. What the caller may not do is refused only after it was found.
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

// readableSink is the sink in the path for a caller who wants to look.
func (a *API) readableSink(r *request) (Sink, error) {
	s, err := a.sink(r)
	if err != nil {
		return nil, err
	}
	return s, r.identity.MayRead()
}

// changeableSink is the sink in the path for a caller who wants to change something.
func (a *API) changeableSink(r *request) (Sink, error) {
	s, err := a.sink(r)
	if err != nil {
		return nil, err
	}
	return s, r.identity.MayChange()
}

func notFound(code, message string) *statusError {
	return &statusError{status: http.StatusNotFound, problem: problem.New(code, "%s", message)}
}

// timestamp is a time as the API shows it: UTC, with microseconds.
type timestamp time.Time

// MarshalJSON writes null for no time.
func (t timestamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return time.Time(t).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000000Z"`), nil
}

// seqOrNull is a seq, or null for none.
type seqOrNull uint64

// MarshalJSON writes null for 0.
func (s seqOrNull) MarshalJSON() ([]byte, error) {
	if s == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(s), 10), nil
}

// positionText is a position as one text: the commit LSN as Postgres prints it, the index in the transaction and, if it is not 0, the epoch.
func positionText(p cdc.Position) string {
	text := fmt.Sprintf("%s:%d", p.LSN, p.Index)
	if p.Epoch > 0 {
		text += fmt.Sprintf(":e%d", p.Epoch)
	}
	return text
}

// tableText is a table's name with its schema.
func tableText(schema, table string) string {
	if schema == "" {
		return table
	}
	return schema + "." + table
}

// listedMessage is a message in a list.
type listedMessage struct {
	Seq             uint64                `json:"seq"`
	AckID           string                `json:"ack_id"`
	State           consumer.MessageState `json:"state"`
	Table           string                `json:"table"`
	Action          string                `json:"action"`
	Key             string                `json:"key"`
	Group           string                `json:"group"`
	ID              string                `json:"id"`
	Position        string                `json:"position"`
	CommitTimestamp timestamp             `json:"commit_timestamp"`
	Attempts        int                   `json:"attempts"`
	LastError       *string               `json:"last_error"`
	NotVisibleUntil timestamp             `json:"not_visible_until"`
	BlockedBy       seqOrNull             `json:"blocked_by"`
	Bytes           int                   `json:"bytes"`
	Reason          consumer.Reason       `json:"reason,omitempty"`
	Redriving       bool                  `json:"redriving,omitempty"`
}

func listed(m *consumer.Message) listedMessage {
	l := listedMessage{
		Seq: m.Seq, AckID: m.AckID, State: m.State, Table: tableText(m.Schema, m.Table), Action: m.Action, Key: m.Key, Group: m.Group, ID: m.ID,
		Position: positionText(m.Position), CommitTimestamp: timestamp(m.CommitTime), Attempts: m.Attempts,
		NotVisibleUntil: timestamp(m.NotVisibleUntil), BlockedBy: seqOrNull(m.BlockedBy), Bytes: m.Bytes, Reason: m.Reason, Redriving: m.Redriving,
	}
	if m.LastError != "" {
		l.LastError = &m.LastError
	}
	return l
}

// listMessages pages through what a sink has yet to deliver, and its dead letters.
func (a *API) listMessages(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	var q consumer.MessageQuery
	if q.After, q.Before, q.Descending, q.Limit, err = r.params.page(); err != nil {
		return err
	}
	if q.MessageFilter, err = r.params.messageFilter(); err != nil {
		return err
	}
	if q.State, err = r.params.state(consumer.MessageStates()...); err != nil {
		return err
	}
	page, err := s.Messages(r.Context(), q)
	if err != nil {
		return err
	}
	reply := struct {
		Data []listedMessage `json:"data"`
		Next seqOrNull       `json:"next"`
	}{Data: make([]listedMessage, len(page.Messages)), Next: seqOrNull(page.Next)}
	for i := range page.Messages {
		reply.Data[i] = listed(&page.Messages[i])
	}
	return a.writeJSON(w, reply)
}

// showMessage is one message, with its body as it would go out.
func (a *API) showMessage(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	m, err := s.Message(r.Context(), strings.ToLower(r.PathValue("seq_or_ack_id")))
	if err != nil {
		return err
	}
	reply := struct {
		listedMessage
		DataError string `json:"data_error,omitempty"`
	}{listedMessage: listed(&m)}
	if m.PayloadError != nil {
		reply.DataError = m.PayloadError.Error()
	}
	return a.writeWithData(w, reply, m.Payload)
}

// redeliver makes messages available at once.
func (a *API) redeliver(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	sel, err := r.params.selection(consumer.MessageBackingOff)
	if err != nil {
		return err
	}
	done, err := s.Redeliver(r.Context(), sel)
	return a.changed(w, r, s, "messages.redeliver", selectionText(&sel), &done, err)
}

// discardMessages makes messages done without delivering them.
func (a *API) discardMessages(w http.ResponseWriter, r *request) error {
	s, err := a.changeableSink(r)
	if err != nil {
		return err
	}
	sel, err := r.params.selection(consumer.MessageAvailable, consumer.MessageDelivering, consumer.MessageBackingOff, consumer.MessageRedelivery)
	if err != nil {
		return err
	}
	done, err := s.DiscardMessages(r.Context(), sel)
	return a.changed(w, r, s, "messages.discard", selectionText(&sel), &done, err)
}

// note has a change noted in the audit log.
func (a *API) note(r *request, s Sink, action, which string, done *consumer.Changed) {
	if a.noted != nil && done.Count > 0 {
		a.noted(r.Context(), r.identity.Account, control.Entry{
			Actor: r.actor(), Action: action, ResourceType: control.KindSink, Resource: s.Name(), Detail: fmt.Sprintf("%d changed: %s", done.Count, which),
		})
	}
}

// changed answers a change of messages, and has it noted: also what was changed before an error.
func (a *API) changed(w http.ResponseWriter, r *request, s Sink, action, which string, done *consumer.Changed, err error) error {
	a.note(r, s, action, which, done)
	if err != nil {
		return err
	}
	type missing struct {
		Seq    seqOrNull              `json:"seq"`
		AckID  string                 `json:"ack_id,omitempty"`
		Reason consumer.MissingReason `json:"reason"`
	}
	reply := struct {
		Success bool      `json:"success"`
		Count   int       `json:"count"`
		Missing []missing `json:"missing"`
		Skipped int       `json:"skipped"`
		Next    seqOrNull `json:"next"`
	}{Success: true, Count: done.Count, Missing: make([]missing, len(done.Missing)), Skipped: done.Skipped, Next: seqOrNull(done.Next)}
	for i, m := range done.Missing {
		reply.Missing[i] = missing{seqOrNull(m.Seq), m.AckID, m.Reason}
	}
	return a.writeJSON(w, reply)
}
