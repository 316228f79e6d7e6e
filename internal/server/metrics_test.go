package server_test

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

func (r *rig) scrape() string {
	r.t.Helper()
	status, body := r.get("http://" + r.server.MetricsAddr() + "/metrics")
	require.Equal(r.t, http.StatusOK, status)
	return body
}

// metric is the value of the first sample with that name.
func (r *rig) metric(name string) float64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `(?:\{[^}]*\})? (\S+)$`).FindStringSubmatch(r.scrape())
	require.NotNil(r.t, m, "metric %s", name)
	v, err := strconv.ParseFloat(m[1], 64)
	require.NoError(r.t, err)
	return v
}

// Every metric is documented, everything documented is set, and the original's names have their labels.
func TestMetricsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull+"  - {name: push, database: db, destination: {type: webhook, http_endpoint: hook}}\n")
	delivered := make(chan struct{}, 10)
	r.config.Endpoints = map[string]string{"hook": hook(t, func(http.ResponseWriter, *http.Request) { delivered <- struct{}{} })}
	r.config.Database = "    heartbeat_interval: 1s"
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	r.receive("pull", 1)
	<-delivered
	r.eventually("the heartbeat is measured", func() bool { return strings.Contains(r.scrape(), "\nsequin_ingestion_latency_us{") })
	r.eventually("the delivery is counted", func() bool { return strings.Contains(r.scrape(), "\nsequin_delivery_latency_us_count{") })
	text := r.scrape()

	var emitted []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (sequin_\S+)`).FindAllStringSubmatch(text, -1) {
		emitted = append(emitted, m[1])
	}
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(sequin_[a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	if !slices.Contains(emitted, "sequin_slot_safe_wal_bytes") { // only where max_slot_wal_keep_size is set
		emitted = append(emitted, "sequin_slot_safe_wal_bytes")
	}
	slices.Sort(emitted)
	slices.Sort(documented)
	require.Equal(t, documented, emitted)

	const slot, sink = `replication_slot_id slot_name`, `consumer_id consumer_name`
	for name, labels := range map[string]string{
		"sequin_ingestion_latency_us": slot, "sequin_messages_ingested_count": slot, "sequin_replication_slot_size": "database_name " + slot,
		"sequin_internal_latency_us_bucket": sink + " le", "sequin_delivery_latency_us_bucket": sink + " le success",
		"sequin_message_deliver_attempt_count": sink, "sequin_message_deliver_success_count": sink, "sequin_message_deliver_failure_count": sink,
		"sequin_slot_processor_server_busy_percent": "replication_id slot_name",
		"sequin_entity_health":                      "entity_id entity_name entity_type status",
		"sequin_post_delivery_latency_us_bucket":    sink + " le", "sequin_oldest_message_age_ms_bucket": sink + " le",
		"sequin_messages_in_delivery": sink, "sequin_messages_buffered": sink, "sequin_messages_in_redelivery": sink,
		"sequin_bytes_ingested_total": sink, "sequin_bytes_delivered_total": sink, "sequin_buffer_memory_utilization_mb": sink,
		"sequin_buffer_memory_utilization_percent": sink, "sequin_ingestion_saturation_percent": sink,
		"sequin_processing_saturation_percent": sink, "sequin_delivery_saturation_percent": sink,
	} {
		m := regexp.MustCompile(`(?m)^` + name + `\{([^}]*)\}`).FindStringSubmatch(text)
		require.NotNil(t, m, name)
		var found []string
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[1], -1) {
			found = append(found, l[1])
		}
		slices.Sort(found)
		require.Equal(t, labels, strings.Join(found, " "), name)
	}
	require.Contains(t, text, `sequin_delivery_latency_us_bucket{`)
	require.Regexp(t, `sequin_entity_health\{[^}]*entity_type="(sink|replication_slot)"`, text)
}
