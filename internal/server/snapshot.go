package server

import (
	"maps"
	"time"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/metrics"
)

// snapshot is what the metrics of this moment are made of.
func (s *Server) snapshot() metrics.Snapshot {
	usage := s.engine.Usage()
	snap := metrics.Snapshot{Engine: metrics.Engine{UsedBytes: float64(usage.Used), FreeBytes: float64(usage.Free)}}
	for _, d := range s.databases() {
		d.mu.Lock()
		live, name, slot := d.live, d.res.Name, d.res.Slot.Name
		var runs map[string]*sinkRun
		if live != nil {
			runs = maps.Clone(live.sinks)
		}
		d.mu.Unlock()
		if live == nil {
			continue
		}
		snap.Slots = append(snap.Slots, live.slotMetrics(d.id, slot, name))
		for _, r := range runs {
			snap.Sinks = append(snap.Sinks, r.metrics())
		}
	}
	for _, e := range s.entities() {
		snap.Entities = append(snap.Entities, metrics.Entity{Type: e.Kind, ID: e.ID, Name: e.Name, Status: entityStatus(e.Status)})
	}
	return snap
}

// entityStatus is the word of sequin_entity_health; none while something initializes.
func entityStatus(s health.Status) string {
	switch s {
	case health.OK:
		return "ok"
	case health.Warning:
		return "warn"
	case health.Error:
		return "error"
	case health.Paused:
		return "paused"
	case health.Initializing:
	}
	return ""
}

func (r *running) slotMetrics(id, slot, database string) metrics.Slot {
	st, log, end := r.capture.Status(), r.log.Stats(), r.log.End()
	m, _ := r.janitor.state()
	out := metrics.Slot{
		ID: id, SlotName: slot, Database: database,
		IngestionLatencyUS: float64(st.HeartbeatLatency.Microseconds()), Ingested: st.Changes, BytesIngested: st.Bytes, Transactions: st.Transactions,
		Unknown: st.Unknown, Reconnects: st.Reconnects, BusyPercent: r.busy(st), RetainedBytes: float64(st.Slot.Retained), SafeWALBytes: float64(st.Slot.SafeWAL),
		ConfirmedLSN: float64(st.Confirmed), DurableLSN: float64(st.Durable), Streaming: st.State == capture.Streaming, TooBig: st.TooBig,
		LogBytes: float64(log.Size), LogMaxBytes: float64(m.limit), LogFirstSeq: float64(r.log.FirstSeq()), LogEndSeq: float64(end.Seq),
		LogBlocked: log.Blocked != nil, LogQueueBytes: float64(log.QueuedBytes), LogSyncs: log.Syncs, LogBlocks: log.Blocks, Gaps: float64(log.Gaps),
		BadAnnotations: log.InvalidAnnotations,
	}
	if !m.oldest.IsZero() {
		out.LogOldestAge = time.Since(m.oldest).Seconds()
	}
	return out
}

// busy is the share of time that the reader has worked since the scrape before.
func (r *running) busy(st capture.Status) float64 {
	now := time.Now()
	r.busyMu.Lock()
	defer r.busyMu.Unlock()
	past := now.Sub(r.busyAt)
	if past >= time.Second {
		if !r.busyAt.IsZero() {
			r.busyShare = min(max(100*float64(st.Busy-r.busyWas)/float64(past), 0), 100)
		}
		r.busyAt, r.busyWas = now, st.Busy
	}
	return r.busyShare
}

func (r *sinkRun) metrics() metrics.Sink {
	c, push := r.now()
	st := c.Stats()
	r.mu.Lock()
	pending := r.want.sink.MaxAckPending
	r.mu.Unlock()
	held := st.InFlight + st.WaitingRetry
	window := st.Ready + st.Waiting + held
	out := metrics.Sink{
		ID: r.id, Name: r.name,
		Attempts: r.observer.attempts.Load(), Successes: r.observer.successes.Load(), Failures: r.observer.failures.Load() + st.Nacked + st.Expired,
		BytesIngested: st.MatchedBytes, BytesDelivered: r.observer.bytes.Load(),
		InDelivery: float64(st.InFlight), Buffered: float64(st.Ready + st.Waiting), InRedelivery: float64(st.WaitingRetry),
		BufferBytes: float64(window) * entryBytes, BufferMaxBytes: maxWindow * entryBytes,
		OldestMessageAgeMS: float64(st.OldestAge.Milliseconds()), LagMessages: float64(st.Lag),
		DeadLetters: float64(st.DeadLetters), DeadLetterBytes: float64(st.DeadLetterBytes), BlockedGroups: float64(st.BlockedGroups),
		IngestionSaturation: min(100*float64(st.Ready)/readyWindow, 100), ProcessingSaturation: 100 * float64(held) / float64(max(pending, 1)),
		Redelivered: st.Redelivered, Discarded: st.Discarded, Gaps: float64(st.Gaps),
	}
	if push != nil {
		p := push.Status()
		out.DeliverySaturation = min(100*float64(p.InFlight)/float64(max(p.Workers, 1)), 100)
	}
	return out
}

// What a message in a consumer's window takes, and how many of them it may hold.
const (
	entryBytes  = 128
	readyWindow = 8192
	maxWindow   = 1 << 16
)
