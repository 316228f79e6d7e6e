package api

import (
	"net/http"
	"time"

	"github.com/sequinstream/sequin/internal/consumer"
)

// showPosition tells where a sink is in the change log.
func (a *API) showPosition(w http.ResponseWriter, r *request) error {
	s, err := a.readableSink(r)
	if err != nil {
		return err
	}
	p, err := s.Place(r.Context())
	if err != nil {
		return err
	}
	type oldest struct {
		Seq             uint64    `json:"seq"`
		LSN             string    `json:"lsn"`
		CommitTimestamp timestamp `json:"commit_timestamp"`
		AgeMS           int64     `json:"age_ms"`
	}
	type lag struct {
		Messages  uint64 `json:"messages"`
		Bytes     uint64 `json:"bytes"`
		MS        int64  `json:"ms"`
		Estimated bool   `json:"estimated"`
	}
	reply := struct {
		Status        consumer.Status     `json:"status"`
		Generation    uint32              `json:"generation"`
		Cursor        uint64              `json:"cursor"`
		Frontier      uint64              `json:"frontier"`
		LogEnd        uint64              `json:"log_end"`
		LSN           string              `json:"lsn"`
		Pending       uint64              `json:"pending"`
		InFlight      int                 `json:"in_flight"`
		BackingOff    int                 `json:"backing_off"`
		BlockedGroups int                 `json:"blocked_groups"`
		DeadLetters   int64               `json:"dead_letters"`
		Oldest        *oldest             `json:"oldest_unacked"`
		Lag           lag                 `json:"lag"`
		Stopped       consumer.StopReason `json:"stopped,omitempty"`
	}{
		Status: p.Status, Generation: p.Generation, Cursor: p.Cursor, Frontier: p.Frontier, LogEnd: p.LogEnd, LSN: p.LSN.String(), Pending: p.Messages,
		InFlight: p.InFlight, BackingOff: p.BackingOff, BlockedGroups: p.BlockedGroups, DeadLetters: p.DeadLetters, Stopped: p.Stopped,
		Lag: lag{Messages: p.Messages, Bytes: p.Bytes, Estimated: p.Estimated},
	}
	if o := p.Oldest; o != nil {
		age := max(time.Since(o.CommitTime).Milliseconds(), 0)
		reply.Oldest, reply.Lag.MS = &oldest{o.Seq, o.LSN.String(), timestamp(o.CommitTime), age}, age
	}
	return a.writeJSON(w, reply)
}
