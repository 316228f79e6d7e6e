package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns a Snapshot into metrics.
type collector struct {
	snapshot func() Snapshot
	age      *prometheus.HistogramVec
}

// Describe sends nothing: the set of series follows what is declared, so the collector is unchecked.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads one snapshot.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.snapshot()
	e := emitter{ch}
	for i := range s.Slots {
		e.slot(&s.Slots[i])
	}
	for i := range s.Sinks {
		e.sink(&s.Sinks[i])
		c.age.WithLabelValues(s.Sinks[i].ID, s.Sinks[i].Name).Observe(s.Sinks[i].OldestMessageAgeMS)
	}
	for _, entity := range s.Entities {
		for _, status := range []string{"ok", "warn", "error", "paused"} {
			e.gauge("sequin_entity_health", "1 for the status that holds.", truth(entity.Status == status),
				"entity_type", entity.Type, "entity_id", entity.ID, "entity_name", entity.Name, "status", status)
		}
	}
	e.gauge("sequin_storage_used_bytes", "Bytes that the data directory takes.", s.Engine.UsedBytes)
	e.gauge("sequin_storage_free_bytes", "Bytes left on the data directory's file system.", s.Engine.FreeBytes)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	// The stock dashboard of the original plots this name.
	e.gauge("erlang_vm_memory_bytes_total", "Memory in use, under the original's name.", float64(mem.Sys), "kind", "system")
	e.gauge("erlang_vm_memory_bytes_total", "Memory in use, under the original's name.", float64(mem.HeapInuse), "kind", "processes")
}

type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) gauge(name, help string, v float64, labels ...string) {
	e.send(prometheus.GaugeValue, name, help, v, labels)
}

func (e emitter) counter(name, help string, v uint64, labels ...string) {
	e.send(prometheus.CounterValue, name, help, float64(v), labels)
}

// send emits one sample; labels alternate names and values.
func (e emitter) send(kind prometheus.ValueType, name, help string, v float64, labels []string) {
	names, values := make([]string, 0, len(labels)/2), make([]string, 0, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
	}
	e.ch <- m
}

func (e emitter) slot(s *Slot) {
	l := []string{"replication_slot_id", s.ID, "slot_name", s.SlotName}
	withDB := append([]string{"database_name", s.Database}, l...)
	if s.IngestionLatencyUS >= 0 {
		e.gauge("sequin_ingestion_latency_us", "From emitting a heartbeat to receiving it, in microseconds.", s.IngestionLatencyUS, l...)
	}
	e.counter("sequin_messages_ingested_count", "Changes read from the slot.", s.Ingested, l...)
	e.counter("sequin_slot_bytes_received_total", "Bytes of pgoutput messages read from the slot.", s.BytesIngested, l...)
	e.counter("sequin_slot_transactions_total", "Transactions read from the slot.", s.Transactions, l...)
	e.counter("sequin_slot_unknown_messages_total", "Messages of kinds that were not asked for.", s.Unknown, l...)
	e.counter("sequin_slot_reconnects_total", "Times that the stream was started again.", s.Reconnects, l...)
	e.counter("sequin_slot_too_big_total", "Changes over max_change_bytes.", s.TooBig, l...)
	e.counter("sequin_slot_bad_annotations_total", "Transaction annotations that were not valid JSON.", s.BadAnnotations, l...)
	e.gauge("sequin_slot_processor_server_busy_percent", "Share of time that the slot reader works, not waits.", s.BusyPercent,
		"replication_id", s.ID, "slot_name", s.SlotName)
	if s.RetainedBytes >= 0 {
		e.gauge("sequin_replication_slot_size", "Bytes of WAL that the slot holds.", s.RetainedBytes, withDB...)
		e.gauge("sequin_replication_slot_size_mb", "MiB of WAL that the slot holds.", s.RetainedBytes/(1<<20), withDB...)
	}
	if s.SafeWALBytes >= 0 {
		e.gauge("sequin_slot_safe_wal_bytes", "Bytes of WAL that may be written before the slot is lost; only where max_slot_wal_keep_size is set.", s.SafeWALBytes, withDB...)
	}
	e.gauge("sequin_slot_streaming", "1 while the stream runs.", truth(s.Streaming), l...)
	e.gauge("sequin_slot_confirmed_lsn", "LSN that Postgres was told is safe.", s.ConfirmedLSN, l...)
	e.gauge("sequin_slot_durable_lsn", "LSN up to which everything is synced in the change log.", s.DurableLSN, l...)
	e.log(s, l)
}

func (e emitter) log(s *Slot, l []string) {
	e.gauge("sequin_log_bytes", "Bytes of the change log.", s.LogBytes, l...)
	e.gauge("sequin_log_max_bytes", "The change log's disk budget, max_disk.", s.LogMaxBytes, l...)
	e.gauge("sequin_log_first_seq", "Number of the oldest retained entry.", s.LogFirstSeq, l...)
	e.gauge("sequin_log_end_seq", "Number of the newest entry.", s.LogEndSeq, l...)
	e.gauge("sequin_log_oldest_age_seconds", "Age of the oldest retained block.", s.LogOldestAge, l...)
	e.gauge("sequin_log_blocked", "1 while the log cannot be appended to.", truth(s.LogBlocked), l...)
	e.gauge("sequin_log_queue_bytes", "Bytes that wait for their sync.", s.LogQueueBytes, l...)
	e.counter("sequin_log_syncs_total", "Group commits of the change log.", s.LogSyncs, l...)
	e.counter("sequin_log_blocks_total", "Blocks appended to the change log.", s.LogBlocks, l...)
	e.gauge("sequin_log_gaps", "Damaged or missing ranges of the change log.", s.Gaps, l...)
}

func (e emitter) sink(s *Sink) {
	l := []string{"consumer_id", s.ID, "consumer_name", s.Name}
	e.counter("sequin_message_deliver_attempt_count", "Messages whose delivery was attempted.", s.Attempts, l...)
	e.counter("sequin_message_deliver_success_count", "Messages delivered.", s.Successes, l...)
	e.counter("sequin_message_deliver_failure_count", "Messages whose delivery failed.", s.Failures, l...)
	e.counter("sequin_message_redelivered_total", "Messages handed out more than once.", s.Redelivered, l...)
	e.counter("sequin_message_discarded_total", "Messages made done by an operator, without delivery.", s.Discarded, l...)
	e.counter("sequin_bytes_ingested_total", "Bytes of changes that this sink matched.", s.BytesIngested, l...)
	e.counter("sequin_bytes_delivered_total", "Bytes of messages delivered.", s.BytesDelivered, l...)
	e.gauge("sequin_messages_in_delivery", "Messages in flight.", s.InDelivery, l...)
	e.gauge("sequin_messages_buffered", "Messages ready in memory.", s.Buffered, l...)
	e.gauge("sequin_messages_in_redelivery", "Messages that wait for their retry.", s.InRedelivery, l...)
	e.gauge("sequin_buffer_memory_utilization_mb", "MiB of the sink's window in memory.", s.BufferBytes/(1<<20), l...)
	e.gauge("sequin_buffer_memory_utilization_percent", "Share of the window that is taken.", percent(s.BufferBytes, s.BufferMaxBytes), l...)
	e.gauge("sequin_sink_lag_messages", "Log entries between the sink's cursor and the log's end.", s.LagMessages, l...)
	e.gauge("sequin_sink_oldest_message_age_ms", "Age of the oldest unacknowledged message, in milliseconds.", s.OldestMessageAgeMS, l...)
	e.gauge("sequin_sink_dead_letters", "Dead letters kept.", s.DeadLetters, l...)
	e.gauge("sequin_sink_dead_letter_bytes", "Bytes of dead letters kept.", s.DeadLetterBytes, l...)
	e.gauge("sequin_sink_blocked_groups", "Groups whose first message is in flight or waits for a retry.", s.BlockedGroups, l...)
	e.gauge("sequin_sink_gaps", "Recorded gaps of the sink.", s.Gaps, l...)
	e.gauge("sequin_ingestion_saturation_percent", "How full the sink's window is.", s.IngestionSaturation, l...)
	e.gauge("sequin_processing_saturation_percent", "Share of max_ack_pending that is taken.", s.ProcessingSaturation, l...)
	e.gauge("sequin_delivery_saturation_percent", "Share of the delivery workers that are busy.", s.DeliverySaturation, l...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func percent(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * part / whole
}
