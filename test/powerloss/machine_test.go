package powerloss_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/test/harness"
)

// machine is one life of the server, from a boot to a power cut.
type machine struct {
	rig    *rig
	life   int
	power  *power
	proxy  *proxy
	disk   *controller
	engine *embedded.Engine
	server *server.Server
	client *http.Client
	log    *journal
	hurry  atomic.Bool // acknowledge everything, fail nothing
	closer func()      // ends what a faulty build has added to the engine

	stop      context.CancelFunc
	done      chan struct{}
	workers   sync.WaitGroup
	endWork   context.CancelFunc
	yardstick yardstick
}

// boot starts a server on what is on the rig's disk.
func (r *rig) boot() *machine {
	r.t.Helper()
	m, err := r.tryBoot()
	require.NoError(r.t, err, "boot")
	return m
}

func (r *rig) tryBoot() (*machine, error) {
	r.life++
	m := &machine{rig: r, life: r.life, power: newPower(), done: make(chan struct{}), closer: func() {}, client: &http.Client{Transport: &http.Transport{}}}
	m.log = &journal{l: r.ledger, power: m.power, strict: r.strict}
	m.disk = newController(r.disk.FS(), r.slow)
	opts := powerloss.Options{
		Options:  embedded.Options{Logger: m.log.logger(), MemtableBytes: 512 << 10, ReserveBytes: -1},
		SkipSync: r.build.skipSync, Wrap: func(vfs.FS) vfs.FS { return m.disk },
	}
	var err error
	opts.Salvage = r.salvage
	if m.engine, err = r.disk.Open(context.Background(), opts); err != nil {
		return nil, err
	}
	var e engine.Engine = m.engine
	if r.build.engine != nil {
		e, m.closer = r.build.engine(m.engine)
	}
	m.server, err = server.New(context.Background(), server.Options{
		Version: "test", Engine: e, Instance: m.engine.Instance(), Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		ShutdownTimeout: time.Second, Logger: m.log.logger(), VaultKey: vaultKey,
	})
	if err != nil {
		return nil, err
	}
	m.proxy = newProxy(r.t, m.power, r.postgres)
	doc := &control.Document{Name: "test.yaml", Data: []byte(r.yaml(m))}
	r.receiver.mu.Lock()
	r.receiver.machines[strconv.Itoa(m.life)] = m
	r.receiver.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() {
		defer close(m.done)
		if err := m.server.Run(ctx, doc, nil); err != nil && m.power.on() {
			r.ledger.complain("server", "life %d ended: %v", m.life, err)
		}
	}()
	m.startWork()
	return m, nil
}

// vaultKey seals what the machine declares; a real one lies in the data directory, which this machine does not have.
const vaultKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// startWork lets clients and the yardstick loose on the machine.
func (m *machine) startWork() {
	ctx, cancel := context.WithCancel(context.Background())
	m.endWork = cancel
	for _, b := range m.rig.ledger.pulls {
		for range 3 {
			rng := m.rig.random()
			m.workers.Go(func() { b.work(ctx, m, rng) })
		}
	}
	m.workers.Go(func() { m.yardstick.run(ctx, m) })
}

func (m *machine) url() string { return "http://" + m.server.Addr() }

// abandon ends what is left of a machine without power; nobody hears it.
func (m *machine) abandon() {
	m.stop()
	<-m.done
	m.workers.Wait()
	m.closer()
	if err := m.engine.Close(); err != nil {
		m.rig.t.Logf("close the engine of life %d, which is dead: %v", m.life, err)
	}
	m.client.CloseIdleConnections()
}

// get fetches a path of the machine's API.
func (m *machine) get(path string) (int, string) {
	base := m.url()
	if path == "/metrics" {
		base = "http://" + m.server.MetricsAddr()
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, base+path, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// awaitProblem waits until /healthz shows the problem, and returns the body.
func (m *machine) awaitProblem(code string) string {
	m.rig.t.Helper()
	var body string
	require.Eventually(m.rig.t, func() bool {
		var status int
		status, body = m.get("/healthz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"code":"`+code+`"`)
	}, patience, 5*time.Millisecond, "no problem %s", code)
	return body
}

// awaitHealthy waits until /healthz is content.
func (m *machine) awaitHealthy() {
	m.rig.t.Helper()
	var body string
	require.Eventually(m.rig.t, func() bool {
		var status int
		status, body = m.get("/healthz")
		return status == http.StatusOK && !strings.Contains(body, `"initializing"`)
	}, patience, 5*time.Millisecond, "not healthy")
}

// yaml declares the database, reached over the machine's own proxy, and the sinks, with the machine's own endpoints.
func (r *rig) yaml(m *machine) string {
	u, err := url.Parse(r.db.URL)
	require.NoError(r.t, err)
	u.Host = "127.0.0.1:" + strconv.Itoa(m.proxy.port())
	endpoints := map[string]string{}
	for _, b := range r.ledger.pushes {
		endpoints[b.name] = fmt.Sprintf("%s/%d/%s", r.hook.URL, m.life, b.name)
	}
	return harness.Config{
		DB: &pgtest.DB{URL: u.String()}, Slot: r.slot, Publication: r.publication, Database: r.database, Endpoints: endpoints, Sinks: r.sinks,
	}.YAML(r.t)
}

// yardstick measures what the machine takes for the shortest way from an acceptance to its being durable: the rest of a request, 5 ms for
// company, one write. What promise P4 says of 10 ms is said of a machine that is up to its work; on one that is not, this is the measure.
type yardstick struct {
	mu      sync.Mutex
	longest time.Duration
	running time.Time
}

func (y *yardstick) run(ctx context.Context, m *machine) {
	for ctx.Err() == nil && m.power.on() {
		began := time.Now()
		y.mu.Lock()
		y.running = began
		y.mu.Unlock()
		m.get("/livez")
		pause(ctx, 5*time.Millisecond)
		_ = m.engine.State().Apply(context.Background(), engine.Put("yardstick", nil)) // an error takes its time too
		y.mu.Lock()
		y.longest = max(y.longest, time.Since(began))
		y.mu.Unlock()
	}
}

// window is how long before the end an acceptance may have come that is not durable.
func (y *yardstick) window(end time.Time) time.Duration {
	y.mu.Lock()
	defer y.mu.Unlock()
	return max(10*time.Millisecond, 3*max(y.longest, end.Sub(y.running)))
}

// journal keeps the end of a machine's log, and complains about what must not happen to an honest build.
type journal struct {
	l      *ledger
	power  *power
	strict bool
	mu     sync.Mutex
	lines  []string
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// alarms are what a power cut must never lead to.
var alarms = []string{ //nolint:gochecknoglobals // constant
	`"code":"slot_moved"`, `"code":"slot_lost"`, `"code":"slot_marked_by_another"`, `"code":"log_lost"`, `"code":"source_replaced"`, "is recorded as lost",
	"does not follow", "message is lost", "gave up its oldest", "storage found damaged data", "panic", "no room",
}

func (j *journal) Write(line []byte) (int, error) {
	if j.strict {
		for _, a := range alarms {
			if bytes.Contains(line, []byte(a)) {
				j.power.during(func() { j.l.complain(p1, "the log says: %s", bytes.TrimSpace(line)) })
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) > 400 {
		j.lines = append(j.lines[:0], j.lines[200:]...)
	}
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-n):], "")
}
