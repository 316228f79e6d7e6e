package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/metrics"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// sinkRun is a running sink: its consumer, and for a destination that is pushed to, the deliveries. When either breaks, both are opened anew.
type sinkRun struct {
	id       string
	name     string
	db       *database
	log      consumer.Log
	logger   *slog.Logger
	pipeline atomic.Pointer[pipeline]
	observer *sinkObserver
	task     *task
	life     string                    // of a change retention
	table    atomic.Pointer[tableSink] // and what it writes to, the last

	changing sync.Mutex // one change of the parts at a time; taken before mu

	mu       sync.Mutex
	want     declared
	source   resource.Database
	consumer *consumer.Consumer
	push     *delivery.Push // nil for pull
	used     bool           // consumer and push have run, and cannot run again
}

// startSink opens the consumer and starts its parts. from is where one begins that was never opened.
func startSink(ctx context.Context, d *database, live *running, want declared, source resource.Database, from place) (*sinkRun, error) {
	r := &sinkRun{
		id: want.id, name: want.sink.Name, db: d, log: consumerLog{live.log}, want: want, source: source,
		logger: d.logger.With(want.kind(), want.sink.Name), observer: newSinkObserver(d.server.metrics.Consumer(want.id, want.sink.Name)),
	}
	if want.retention != nil {
		var err error
		if r.life, err = lifeOf(ctx, d.server.engine.State(), want.id); err != nil {
			return nil, err
		}
	}
	if err := r.open(ctx, from); err != nil {
		return nil, err
	}
	r.task = start(r.logger, "sink", r.run) //nolint:contextcheck // it outlives the call that starts it
	return r, nil
}

// kind is the type of destination that it was started with.
func (r *sinkRun) kind() resource.DestinationType { return r.declared().sink.Destination.Type }

func (r *sinkRun) declared() declared {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.want
}

// open makes the consumer and its deliveries from the declaration.
func (r *sinkRun) open(ctx context.Context, from place) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	want, source := r.want, r.source
	r.mu.Unlock()
	pipeline, err := r.pipelineOf(source, want)
	if err != nil {
		return err
	}
	r.use(pipeline)
	cfg := r.config(want)
	cfg.StartAt, cfg.SkipBelow = from.seq, from.lsn
	c, err := consumer.Open(ctx, consumer.Deps{
		Log: r.log, State: r.db.server.engine.State(), Logger: r.logger, Codec: changeCodec{}, Lane: r.db.server.laneOf(want.id), Trimming: &r.db.trimming,
		Encode: func(ch *cdc.Change) ([]byte, error) {
			return r.pipeline.Load().Form.Encode(nil, &consumer.Delivery{Change: ch})
		},
	}, cfg)
	if err != nil {
		return err
	}
	var push *delivery.Push
	if cfg.Push {
		settings, err := r.settings(want)
		if err != nil {
			return err
		}
		push, err = delivery.New(delivery.Options{
			Name: r.name, Source: c, Settings: settings, Logger: r.logger, Observer: r.observer, Drain: r.db.server.opts.drain(),
		})
		if err != nil {
			return errors.Join(err, settings.Sink.Close())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumer, r.push, r.used = c, push, false
	return nil
}

// use has messages made by another pipeline from now on. What the old one holds is let go when its last batch is done.
func (r *sinkRun) use(p *pipeline) {
	if old := r.pipeline.Swap(p); old != nil {
		old.close()
	}
}

// run works until ctx ends: first the deliveries stop, then the consumer, whose last act is to make what was acknowledged durable.
func (r *sinkRun) run(ctx context.Context) error {
	if r.spent() {
		if err := r.open(ctx, place{}); err != nil {
			return err
		}
		r.spent()
	}
	c, push := r.now()
	defer func() { r.pipeline.Load().close() }()
	lower, stopLower := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLower()
	upper, stopUpper := context.WithCancel(ctx)
	defer stopUpper()
	ended := make(chan error, 1)
	go func() {
		err := c.Run(lower)
		stopUpper()
		ended <- err
	}()
	if r.declared().retention != nil {
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			r.watchTable(upper)
		}()
		defer func() { stopUpper(); <-watched }()
	}
	var err error
	if push != nil {
		err = push.Run(upper)
	} else {
		<-upper.Done()
	}
	stopLower()
	return errors.Join(err, <-ended)
}

// spent tells whether the parts have run before, and takes them for used from now on.
func (r *sinkRun) spent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.used
	r.used = true
	return was
}

// now returns the consumer and the push of this moment.
func (r *sinkRun) now() (*consumer.Consumer, *delivery.Push) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.consumer, r.push
}

// updateTimeout bounds how long a change may wait for the state to be written.
const updateTimeout = 10 * time.Second

// update changes a running sink in place. One that broke meanwhile is opened anew with what is declared then.
func (r *sinkRun) update(ctx context.Context, want declared, source resource.Database) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	c, push, old, named := r.consumer, r.push, r.want, r.source
	r.mu.Unlock()
	if reflect.DeepEqual(strip(want), strip(old)) && sameNames(source, named) {
		return nil
	}
	pipeline, err := r.pipelineOf(source, want)
	if err != nil {
		return err
	}
	var settings delivery.Settings
	if push != nil {
		if settings, err = r.settings(want); err != nil {
			pipeline.close()
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	if err := c.Update(ctx, r.config(want)); err != nil && !errors.Is(err, consumer.ErrStopped) {
		pipeline.close()
		return errors.Join(err, closeSink(settings))
	}
	r.use(pipeline)
	r.mu.Lock()
	r.want, r.source = want, source
	r.mu.Unlock()
	if push == nil {
		return nil
	}
	if err := push.Update(settings); err != nil { // it has ended, and begins again with these settings
		return closeSink(settings)
	}
	return nil
}

func closeSink(s delivery.Settings) error {
	if s.Sink == nil {
		return nil
	}
	return s.Sink.Close()
}

// strip leaves what a sink's declaration says, without how it came.
func strip(d declared) declared {
	d.created = false
	return d
}

// sameNames tells whether messages name the database as before.
func sameNames(a, b resource.Database) bool {
	return a.Name == b.Name && a.Database == b.Database && a.Hostname == b.Hostname && string(a.Annotations) == string(b.Annotations)
}

func formatOf(s resource.Sink) message.Format {
	return message.Format{
		UnixMicros:  s.TimestampFormat == resource.TimestampUnixMicro,
		ToastMarker: s.UnchangedToast == resource.UnchangedToastMarker,
	}
}

// settings opens the destination and says how to deliver to it.
func (r *sinkRun) settings(want declared) (delivery.Settings, error) {
	if want.retention != nil {
		return r.retentionSettings(want)
	}
	cfg, err := webhookConfig(want)
	if err != nil {
		return delivery.Settings{}, err
	}
	opened, err := webhook.New(sink.Env{Name: want.sink.Name, Logger: r.logger, Timeout: want.sink.AckWait, Egress: r.db.server.egress, Circuits: r.db.server.circuits}, cfg)
	if err != nil {
		return delivery.Settings{}, fmt.Errorf("open the destination: %w", err)
	}
	linger := want.sink.BatchTimeout
	if linger == 0 || want.sink.BatchSize <= 1 {
		linger = -1
	}
	return delivery.Settings{
		Sink: opened, Atomicity: webhook.Definition.Atomicity(cfg), BatchSize: want.sink.BatchSize, Linger: linger, Workers: want.sink.Concurrency,
		Shape: func(ctx context.Context, b *shape.Batch) { r.pipeline.Load().Shape(ctx, b) },
	}, nil
}

func webhookConfig(want declared) (webhook.Config, error) {
	if want.endpoint == nil {
		return webhook.Config{}, fmt.Errorf("HTTP endpoint %q is not declared", want.sink.Destination.Webhook.HTTPEndpoint)
	}
	cfg := webhook.DefaultConfig()
	cfg.URL, cfg.Path = want.endpoint.URL, want.sink.Destination.Webhook.HTTPEndpointPath
	cfg.Headers = maps.Clone(want.endpoint.Headers)
	cfg.EncryptedHeaders = map[string]string{}
	for k, v := range want.endpoint.EncryptedHeaders {
		cfg.EncryptedHeaders[k] = v.Reveal()
	}
	for _, s := range want.endpoint.SigningSecrets {
		cfg.SigningSecrets = append(cfg.SigningSecrets, s.Reveal())
	}
	cfg.Batch = want.sink.Destination.Webhook.Batch
	return cfg, nil
}

// config is the declaration as the consumer needs it.
func (r *sinkRun) config(want declared) consumer.Config {
	cfg := consumerConfig(want)
	if want.retention != nil {
		cfg.Where = retentionConditions(r.db.facts, &want.retention.ChangeRetention)
	} else {
		cfg.Where = conditionsOf(r.db.facts, &want.sink)
	}
	return cfg
}

// consumerConfig translates a declaration, but for conditions, which need the tables.
func consumerConfig(want declared) consumer.Config {
	s := want.sink
	cfg := consumer.Config{
		ID: want.id, Name: s.Name, Source: sourceOf(s), Status: consumer.Status(s.Status), Push: s.Destination.Type != resource.DestinationStream,
		AckWait: s.AckWait, MaxAckPending: s.MaxAckPending, MaxWaiting: s.MaxWaiting, MaxRetryCount: s.MaxRetryCount,
		AckCommit: consumer.AckCommit(s.AckCommit), Start: consumer.Start(s.Start), Grouping: groupingOf(s),
	}
	for _, a := range s.Actions {
		cfg.Actions = append(cfg.Actions, string(a))
	}
	return cfg
}

func sourceOf(s resource.Sink) filter.Source {
	refs := func(names []resource.TableName) []filter.TableRef {
		var out []filter.TableRef
		for _, n := range names {
			out = append(out, filter.TableRef{Schema: n.Schema, Name: n.Name})
		}
		return out
	}
	return filter.Source{
		IncludeSchemas: s.Source.IncludeSchemas, ExcludeSchemas: s.Source.ExcludeSchemas,
		IncludeTables: refs(s.Source.IncludeTables), ExcludeTables: refs(s.Source.ExcludeTables),
	}
}

func groupingOf(s resource.Sink) consumer.Grouping {
	switch s.MessageGrouping {
	case resource.GroupNone:
		return consumer.Grouping{Mode: consumer.GroupOff}
	case resource.GroupByTable:
		return consumer.Grouping{Mode: consumer.GroupByTable}
	case resource.GroupByKey:
	}
	g := consumer.Grouping{Columns: map[filter.TableRef][]string{}}
	for _, t := range s.Tables {
		if len(t.GroupColumns) > 0 {
			g.Columns[filter.TableRef{Schema: t.Name.Schema, Name: t.Name.Name}] = t.GroupColumns
		}
	}
	return g
}

// positionTimeout bounds the question for the server's WAL position when a sink is created.
const positionTimeout = 2 * time.Second

// positionNow is the server's WAL position, from which on a new sink gets changes. A server that does not answer leaves the log's end, which
// is earlier: rather more than less.
func (d *database) positionNow(ctx context.Context, res resource.Database) cdc.LSN {
	ctx, cancel := context.WithTimeout(ctx, positionTimeout)
	defer cancel()
	lsn, err := askPosition(ctx, res)
	if err != nil {
		d.logger.Warn("the server did not tell its WAL position; new sinks start at the end of the change log", "reason", err)
	}
	return lsn
}

func askPosition(ctx context.Context, res resource.Database) (cdc.LSN, error) {
	source, err := Source(res)
	if err != nil {
		return 0, err
	}
	conn, err := source.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the answer is in; a failed farewell is nothing
	var text string
	const query = "select (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end)::text"
	if err := conn.QueryRow(ctx, query).Scan(&text); err != nil {
		return 0, err
	}
	return cdc.ParseLSN(text)
}

// sinkObserver feeds the metrics of one sink.
type sinkObserver struct {
	latencies *metrics.Consumer
	attempts  atomic.Uint64
	successes atomic.Uint64
	failures  atomic.Uint64
	bytes     atomic.Uint64
}

func newSinkObserver(m *metrics.Consumer) *sinkObserver { return &sinkObserver{latencies: m} }

// Observe counts one delivery.
func (o *sinkObserver) Observe(a delivery.Attempt) {
	add(&o.attempts, a.Accepted+a.Failed)
	add(&o.successes, a.Accepted)
	add(&o.failures, a.Failed+a.Unbuilt)
	if a.Accepted+a.Failed == 0 {
		return
	}
	if a.Accepted > 0 {
		add(&o.bytes, a.Bytes)
	}
	o.latencies.Internal(float64(a.Waited.Microseconds()))
	o.latencies.Delivery(float64(a.Latency.Microseconds()), a.Err == nil)
}

func add(counter *atomic.Uint64, n int) { counter.Add(uint64(max(n, 0))) }

// acked and sent count for pull sinks what Observe counts for the others.
func (o *sinkObserver) acked(n int, took time.Duration) {
	add(&o.successes, n)
	o.latencies.Post(float64(took.Microseconds()))
}

func (o *sinkObserver) sent(n int) {
	o.attempts.Add(1)
	add(&o.bytes, n)
}
