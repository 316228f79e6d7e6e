package upgrade_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/vault"
	"github.com/sequinstream/sequin/test/harness"
)

const patience = 60 * time.Second

// The names in every golden directory.
const (
	slotName        = "golden"
	publicationName = "golden"
)

// declaration is the same for all versions, but for where the database and the webhook are.
const sinks = `
  - {name: all, database: db, start: beginning, source: {include_tables: [public.orders, public.dropped, public.big]}, actions: [insert, update, delete, truncate], destination: {type: sequin_stream}, annotations: {team: a}}
  - {name: leased, database: db, start: beginning, source: {include_tables: [public.orders]}, destination: {type: sequin_stream}}
  - {name: sparse, database: db, start: beginning, source: {include_tables: [public.events]}, destination: {type: sequin_stream}}
  - {name: released, database: db, start: beginning, source: {include_tables: [public.orders]}, destination: {type: sequin_stream}}
  - {name: rewound, database: db, start: beginning, source: {include_tables: [public.dropped]}, destination: {type: sequin_stream}}
  - {name: off, database: db, status: disabled, destination: {type: sequin_stream}}
  - {name: hooked, database: db, start: beginning, max_retry_count: 1, source: {include_tables: [public.orders, public.big]}, destination: {type: webhook, http_endpoint: hook, batch: false}}
`

// hook is a webhook endpoint that refuses what is poisoned, unless it is redriven.
type hook struct {
	*httptest.Server
	mu       sync.Mutex
	accepted []json.RawMessage
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(string(body), "poison") && !strings.Contains(string(body), `"redriven":true`) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.accepted = append(h.accepted, body)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) bodies() []json.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]json.RawMessage{}, h.accepted...)
}

// node is a server on a data directory.
type node struct {
	*server.Server
	t    *testing.T
	stop func()
}

// serve starts a server on dir.
func serve(t *testing.T, dir string, db *pgtest.DB, h *hook) *node {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	text := harness.Config{
		DB: &pgtest.DB{URL: u.String()}, Slot: slotName, Publication: publicationName, Endpoints: map[string]string{"hook": h.URL},
		Database: "    heartbeat_interval: 0s\n    max_change_bytes: 65536", Sinks: sinks,
	}.YAML(t)
	doc := &control.Document{Name: "golden.yaml", Data: []byte(text)}
	s, err := server.New(t.Context(), server.Options{
		Version: "test", DataDir: dir, Ephemeral: true, Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", ShutdownTimeout: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, doc, nil) }()
	n := &node{Server: s, t: t}
	n.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
		http.DefaultClient.CloseIdleConnections()
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) stream(name string) *harness.Stream {
	return &harness.Stream{Base: func() string { return "http://" + n.Addr() }, Name: name}
}

func (n *node) get(base, path string) string {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://"+base+path, http.NoBody)
	require.NoError(n.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	return string(body)
}

// metric is the value of a gauge of one sink.
func (n *node) metric(name, sink string) (value float64) {
	n.t.Helper()
	for line := range strings.Lines(n.get(n.MetricsAddr(), "/metrics")) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `"`+sink+`"`) {
			_, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value)
			require.NoError(n.t, err)
			return value
		}
	}
	return -1
}

// inside is a data directory opened without a server.
type inside struct {
	engine *embedded.Engine
	log    *changelog.Log
	stop   func()
}

// known are the databases or sinks that have state here, by name: from the register, or from where the first format had them.
func (in *inside) known(t *testing.T, kind store.Kind) []store.Identity {
	t.Helper()
	all, err := store.New(in.engine.State()).List(t.Context(), kind)
	require.NoError(t, err)
	if len(all) > 0 {
		return all
	}
	prefix := "registered/" + string(kind) + "/"
	for entry, err := range in.engine.State().List(t.Context(), prefix) {
		require.NoError(t, err)
		var r struct{ Name, Parent string }
		require.NoError(t, json.Unmarshal(entry.Value, &r))
		all = append(all, store.Identity{ID: strings.TrimPrefix(entry.Key, prefix), Name: r.Name, Parent: r.Parent})
	}
	slices.SortFunc(all, func(a, b store.Identity) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// declared is what the accounts declare, unsealed: "test: sink leased".
func (in *inside) declared(t *testing.T, dir string) []string {
	t.Helper()
	keys, err := vault.Open(vault.Options{File: filepath.Join(dir, "vault.key")})
	require.NoError(t, err)
	plane, err := control.Open(t.Context(), control.Deps{Store: store.New(in.engine.State()), Vault: keys, Tokens: auth.NewTokens(nil)})
	require.NoError(t, err)
	var all []string
	for _, set := range plane.Sets() {
		for i := range set.Databases {
			all = append(all, set.Account.Name+": database "+set.Databases[i].Name+" "+set.Databases[i].Password.Reveal())
		}
		for i := range set.HTTPEndpoints {
			all = append(all, set.Account.Name+": endpoint "+set.HTTPEndpoints[i].Name)
		}
		for i := range set.Sinks {
			all = append(all, set.Account.Name+": sink "+set.Sinks[i].Name)
		}
	}
	return all
}

// look opens a directory's change log and state through the packages that own them.
func look(t *testing.T, dir string) *inside {
	t.Helper()
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true})
	require.NoError(t, err)
	in := &inside{engine: e}
	databases := in.known(t, store.Database)
	require.Len(t, databases, 1)
	blocks, err := e.Log(t.Context(), databases[0].ID)
	require.NoError(t, err)
	in.log, err = changelog.Open(t.Context(), changelog.Options{Name: "db", Blocks: blocks})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.log.Run(ctx) }()
	in.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, e.Close())
	})
	t.Cleanup(in.stop)
	return in
}

// consumer opens the consumer of a sink. Unless it is run it writes nothing.
func (in *inside) consumer(t *testing.T, name string) *consumer.Consumer {
	t.Helper()
	for _, s := range in.known(t, store.Sink) {
		if s.Name != name {
			continue
		}
		cfg := consumer.Config{ID: s.ID, Name: name, Push: name == "hooked", Actions: []string{"insert", "update", "delete"}, Source: filter.Source{
			IncludeTables: []filter.TableRef{{Schema: "public", Name: tables[name]}},
		}}
		if name == "off" {
			cfg.Status = consumer.Disabled
		}
		c, err := consumer.Open(t.Context(), consumer.Deps{Log: seen{in.log}, State: in.engine.State(), Logger: slog.New(slog.DiscardHandler)}, cfg)
		require.NoError(t, err)
		return c
	}
	t.Fatal("no sink", name)
	return nil
}

// tables are what the sinks with one table take.
var tables = map[string]string{"all": "orders", "leased": "orders", "sparse": "events", "released": "orders", "rewound": "dropped", "hooked": "orders", "off": "orders"} //nolint:gochecknoglobals // constant

// run lets a consumer work for as long as f takes.
func (in *inside) run(t *testing.T, name string, f func(c *consumer.Consumer)) {
	t.Helper()
	c := in.consumer(t, name)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	f(c)
	cancel()
	require.NoError(t, <-ended)
}

// seen is a change log as consumers see it.
type seen struct{ *changelog.Log }

func (l seen) End() consumer.End { return consumer.End(l.Log.End()) }

func (l seen) Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error) {
	s, err := l.Log.Segment(ctx, seq)
	if err != nil {
		return 0, 0, nil, consumer.ErrEnd
	}
	return s.First, s.Last, s.Changes, nil
}

func (l seen) Since(context.Context, cdc.Timestamp) (uint64, error) { return 0, consumer.ErrEnd }

var _ engine.Engine = (*embedded.Engine)(nil)
