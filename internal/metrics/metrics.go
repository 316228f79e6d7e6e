// Package metrics exposes what Sequin does in the Prometheus text format. Counters and gauges are read from the running parts when a scrape
// asks, so they cost nothing in between; only latencies, which need a histogram, are observed as they happen. Names without a unit prefix of
// their own are those of the original Sequin, so that its dashboards and alerts go on working; labels are bounded by what is declared.
package metrics

import (
	"crypto/subtle"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Snapshot is the state of everything at one moment.
type Snapshot struct {
	Slots    []Slot
	Sinks    []Sink
	Entities []Entity
	Engine   Engine
}

// Slot is one database's capture and change log.
type Slot struct {
	ID, SlotName, Database string

	IngestionLatencyUS float64 // commit to reception by our own heartbeats; negative before the first
	Ingested           uint64
	BytesIngested      uint64
	Transactions       uint64
	Unknown            uint64
	Reconnects         uint64
	BusyPercent        float64
	RetainedBytes      float64 // WAL that the slot holds; negative when unknown
	SafeWALBytes       float64 // WAL that may still be written before the slot is lost; negative when unlimited or unknown
	ConfirmedLSN       float64
	DurableLSN         float64
	Streaming          bool

	LogBytes       float64
	LogMaxBytes    float64
	LogFirstSeq    float64
	LogEndSeq      float64
	LogOldestAge   float64 // seconds
	LogBlocked     bool
	LogQueueBytes  float64
	LogSyncs       uint64
	LogBlocks      uint64
	Gaps           float64
	TooBig         uint64
	BadAnnotations uint64
}

// Sink is one consumer and what delivers for it.
type Sink struct {
	ID, Name string

	Attempts, Successes, Failures uint64
	BytesIngested, BytesDelivered uint64
	InDelivery                    float64
	Buffered                      float64
	InRedelivery                  float64
	BufferBytes                   float64
	BufferMaxBytes                float64
	OldestMessageAgeMS            float64
	LagMessages                   float64
	DeadLetters                   float64
	DeadLetterBytes               float64
	BlockedGroups                 float64
	IngestionSaturation           float64 // percent
	ProcessingSaturation          float64
	DeliverySaturation            float64
	Redelivered                   uint64
	Discarded                     uint64
	Gaps                          float64
}

// Entity is one line of sequin_entity_health.
type Entity struct{ Type, ID, Name, Status string }

// Engine is the storage.
type Engine struct{ UsedBytes, FreeBytes float64 }

// Metrics owns the registry.
type Metrics struct {
	registry *prometheus.Registry
	internal *prometheus.HistogramVec
	delivery *prometheus.HistogramVec
	post     *prometheus.HistogramVec
	age      *prometheus.HistogramVec
}

// microseconds are the buckets of the original's latency histograms.
var microseconds = []float64{10, 100, 1000, 10000, 50000, 100000, 500000, 1000000, 5000000, 10000000, 50000000}

// New makes the registry; snapshot is called for each scrape, from any goroutine.
func New(version string, snapshot func() Snapshot) *Metrics {
	labels := []string{"consumer_id", "consumer_name"}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		internal: histogram("sequin_internal_latency_us", "From receiving a change to starting its delivery, in microseconds.", microseconds, labels...),
		delivery: histogram("sequin_delivery_latency_us", "One delivery of a batch, in microseconds.", microseconds, append(labels, "success")...),
		post: histogram("sequin_post_delivery_latency_us", "Making a received message's acknowledgement durable, in microseconds.",
			microseconds, labels...),
		age: histogram("sequin_oldest_message_age_ms", "Age of the oldest unacknowledged message at each scrape, in milliseconds.",
			[]float64{1000, 5000, 10000, 30000, 60000, 300000, 900000, 1800000, 3600000}, labels...),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sequin_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.internal, m.delivery, m.post, m.age, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{snapshot: snapshot, age: m.age})
	return m
}

// Handler serves /metrics, behind HTTP Basic when either credential is set.
func (m *Metrics) Handler(user, password string) http.Handler {
	mux := http.NewServeMux()
	handler := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	mux.Handle("GET /metrics", handler)
	if user == "" && password == "" {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		right := subtle.ConstantTimeCompare([]byte(u), []byte(user)) & subtle.ConstantTimeCompare([]byte(p), []byte(password))
		if right != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Sequin Metrics"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Consumer returns the observers of one sink.
func (m *Metrics) Consumer(id, name string) *Consumer {
	return &Consumer{
		internal: m.internal.WithLabelValues(id, name),
		ok:       m.delivery.WithLabelValues(id, name, "ok"),
		failed:   m.delivery.WithLabelValues(id, name, "error"),
		post:     m.post.WithLabelValues(id, name),
	}
}

// Forget drops the series of a sink that is gone.
func (m *Metrics) Forget(id, name string) {
	match := prometheus.Labels{"consumer_id": id, "consumer_name": name}
	for _, v := range []*prometheus.HistogramVec{m.internal, m.delivery, m.post, m.age} {
		v.DeletePartialMatch(match)
	}
}

// Consumer observes the latencies of one sink.
type Consumer struct {
	internal, ok, failed, post prometheus.Observer
}

// Internal observes the time from reception to delivery, in microseconds.
func (c *Consumer) Internal(us float64) { c.internal.Observe(us) }

// Delivery observes one batch.
func (c *Consumer) Delivery(us float64, success bool) {
	if success {
		c.ok.Observe(us)
		return
	}
	c.failed.Observe(us)
}

// Post observes the time until an acknowledgement was durable.
func (c *Consumer) Post(us float64) { c.post.Observe(us) }
