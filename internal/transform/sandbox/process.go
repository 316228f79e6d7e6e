package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// CodeUnavailable is the code of the error for workers that do not start.
const CodeUnavailable = "function_worker_unavailable"

const (
	hintUnavailable = "see the server's log for what the worker wrote, and whether this machine has memory and processes left"
)

const (
	helloTimeout = 10 * time.Second
	goodbye      = time.Second // how long a worker that was told to go may take
	readBuffer   = 64 << 10
)

// process is a worker as the pool sees it. But for end, kill and what waits for it, it belongs to the one who took it.
type process struct {
	pool   *Pool
	cmd    *exec.Cmd
	in     *os.File // the worker's standard input
	out    *os.File // and output
	r      *bufio.Reader
	stderr *tail
	timer  *time.Timer   // ends it when it is idle
	gone   chan struct{} // closed when the process has been waited for

	known    map[hash]struct{} // the functions that it was given
	last     hash
	dead     bool // it cannot be used any more
	buf      []byte
	patience time.Duration
	stopped  func() error // the context of the exchange under way
}

// backoff keeps workers that do not start from being started all the time.
type backoff struct {
	failures int
	until    time.Time
	err      error
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
)

// start starts a process and waits until it is ready.
func (p *Pool) start(ctx context.Context) (*process, error) {
	p.mu.Lock()
	pausing := p.starts
	p.mu.Unlock()
	if pausing.failures > 0 && time.Now().Before(pausing.until) {
		return nil, pausing.err
	}
	w, err := p.spawn()
	if err == nil {
		if err = w.exchange(ctx, helloTimeout, w.hello); err != nil {
			w.bury()
			if ctx.Err() == nil {
				err = errors.New(w.cause(errors.Is(err, os.ErrDeadlineExceeded), helloTimeout).Message)
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, ErrClosed):
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.starts = backoff{}
		return w, nil
	}
	if p.closed {
		return nil, ErrClosed
	}
	pause := min(firstPause<<min(p.starts.failures, 10), maxPause)
	reported := problem.New(CodeUnavailable, "a function worker does not start").WithDetail("%v", err).WithHint(hintUnavailable).Because(err)
	p.starts = backoff{failures: p.starts.failures + 1, until: time.Now().Add(pause), err: reported}
	p.options.Logger.Error("a function worker does not start", "error", err, "next_attempt_in", pause)
	return nil, reported
}

// spawn starts a process.
func (p *Pool) spawn() (*process, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	w := &process{pool: p, in: in, out: out, gone: make(chan struct{}), known: map[hash]struct{}{}}
	w.r = bufio.NewReaderSize(w, readBuffer)
	w.timer = time.AfterFunc(time.Hour, func() { p.expire(w) })
	w.timer.Stop()
	command := p.options.Command
	if len(command) == 0 {
		command = []string{executable(), WorkerArg}
	}
	arguments := append(append([]string{}, command[1:]...), Settings{Limits: p.options.Limits, CacheDir: p.options.CacheDir}.flags()...)
	w.cmd = exec.Command(command[0], arguments...) //nolint:gosec,noctx // ourselves; it lives longer than the call that needs it first
	// No environment: what the server was given there is none of a function's business. The two variables steer the Go runtime.
	w.cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=2"}
	w.cmd.Dir = "/"
	w.stderr = &tail{logger: p.options.Logger}
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = childIn, childOut, w.stderr
	w.cmd.SysProcAttr = attributes()
	err = p.begin(w)
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// begin starts the process unless the pool is closed, and waits for its end in the background. The system ends a worker when the thread that started it ends;
// a goroutine of its own runs on a thread that will not, as one that was locked to its caller might.
func (p *Pool) begin(w *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		close(w.gone)
		return ErrClosed
	}
	started := make(chan error)
	go func() { started <- w.cmd.Start() }()
	if err := <-started; err != nil {
		close(w.gone)
		return err
	}
	p.all[w] = struct{}{}
	p.ended.Go(func() {
		_ = w.cmd.Wait() // the state tells
		close(w.gone)
		p.mu.Lock()
		delete(p.all, w)
		p.mu.Unlock()
	})
	return nil
}

// end lets an idle worker go, and kills it if it does not.
func (w *process) end() {
	w.closePipes()
	time.AfterFunc(goodbye, func() { w.signal() })
}

func (w *process) closePipes() {
	_ = w.in.Close() // that is how it hears of it
	_ = w.out.Close()
}

// signal kills the process, if it runs.
func (w *process) signal() {
	if w.cmd.Process != nil {
		_ = w.cmd.Process.Kill() // gone already, or going
	}
}

// kill ends a worker at once.
func (w *process) kill() {
	w.dead = true
	w.timer.Stop()
	w.closePipes()
	w.signal()
}

// bury kills a worker and waits until it is gone, so that it can be told how it ended. One that ends by itself is given the time to.
func (w *process) bury() {
	w.dead = true
	_ = w.in.Close()
	select {
	case <-w.gone:
	case <-time.After(50 * time.Millisecond):
	}
	w.kill()
	<-w.gone
}

// exchange lets something be sent and received: every wait within it lasts at most as long as said, and ends with the context.
func (w *process) exchange(ctx context.Context, patience time.Duration, do func() error) error {
	w.patience, w.stopped = patience, ctx.Err
	stop := context.AfterFunc(ctx, func() {
		_ = w.out.SetReadDeadline(time.Unix(1, 0))
		_ = w.in.SetWriteDeadline(time.Unix(1, 0))
	})
	err := do()
	if !stop() && err == nil {
		w.dead = true // the deadlines may still be about to be set
	}
	return err
}

// Read reads from the worker, for bufio.
func (w *process) Read(p []byte) (int, error) {
	if err := w.out.SetReadDeadline(time.Now().Add(w.patience)); err != nil {
		return 0, err
	}
	if err := w.stopped(); err != nil { // only now: what stops us sets the deadline after it is stopped itself
		return 0, err
	}
	return w.out.Read(p)
}

func (w *process) send() error {
	if err := w.in.SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
		return err
	}
	if err := w.stopped(); err != nil {
		return err
	}
	_, err := w.in.Write(w.buf)
	if cap(w.buf) > keep {
		w.buf = nil
	}
	return err
}

func (w *process) head() (kind byte, n int, err error) { return readHead(w.r) }

// full reads as many bytes as fit.
func (w *process) full(b []byte) error {
	_, err := io.ReadFull(w.r, b)
	return err
}

func (w *process) hello() error {
	kind, n, err := w.head()
	if err != nil {
		return err
	}
	body := make([]byte, min(n, len(version)+1))
	if err := w.full(body); err != nil {
		return err
	}
	if kind != frameHello || string(body) != version {
		return errFrame
	}
	return nil
}

// compile gives the worker a function.
func (w *process) compile(f *Function) (*language.Error, error) {
	w.buf = beginFrame(w.buf[:0], frameFunction)
	w.buf = append(w.buf, f.hash[:]...)
	w.buf = appendBytes(w.buf, f.language)
	w.buf = appendBytes(w.buf, string(f.source.Entry))
	w.buf = appendBytes(w.buf, f.source.Name)
	w.buf = endFrame(appendBytes(w.buf, f.source.Code), 0)
	if err := w.send(); err != nil {
		return nil, err
	}
	switch kind, n, err := w.head(); {
	case err != nil:
		return nil, err
	case kind == frameCompiled:
		return nil, nil
	case kind == frameRejected:
		return w.failure(n)
	default:
		return nil, errFrame
	}
}

func (w *process) sendBatch(h hash, careful bool, messages [][]byte) error {
	w.buf = beginFrame(w.buf[:0], frameBatch)
	w.buf = append(w.buf, h[:]...)
	var flags byte
	if careful {
		flags = flagCareful
	}
	w.buf = appendHead(w.buf, flags, len(messages))
	for _, m := range messages {
		w.buf = appendBytes(w.buf, m)
	}
	w.buf = endFrame(w.buf, 0)
	return w.send()
}

// maxError is more than an error has.
const maxError = 16 << 10

func (w *process) failure(n int) (*language.Error, error) {
	if n > maxError {
		return nil, errFrame
	}
	body := make([]byte, n)
	if err := w.full(body); err != nil {
		return nil, err
	}
	return decodeError(body)
}

// confessed reports whether a worker that is gone ended itself because of the call under way.
func (w *process) confessed() bool {
	code := w.exitCode()
	return code == exitTimeout || code == exitMemory
}

func (w *process) exitCode() int {
	if w.cmd.ProcessState == nil {
		return -1
	}
	return w.cmd.ProcessState.ExitCode()
}

// deadly are the words of the Go runtime for what a function can bring about, as they are found in what a worker wrote last.
var deadly = []struct{ words, meaning string }{ //nolint:gochecknoglobals // a table
	{"stack overflow", "it went too deep"},
	{"stack exceeds", "it went too deep"},
	{"out of memory", "it needed more memory than there is for functions"},
	{"failed to allocate", "it needed more memory than there is for functions"},
	{"cannot allocate memory", "it needed more memory than there is for functions"},
}

// cause says why a worker that is gone ended: late if we killed it because it had not answered within the limit.
func (w *process) cause(late bool, limit time.Duration) *language.Error {
	code, wrote := w.exitCode(), w.stderr.text()
	switch {
	case late || code == exitTimeout:
		return language.Errorf(language.KindTimeout, "it took longer than %s and could not be interrupted; its process was ended", limit)
	case code == exitMemory:
		return language.Errorf(language.KindMemory, "it took more than %d MiB of memory and could not be interrupted; its process was ended", w.pool.options.Limits.Memory>>20)
	}
	for _, d := range deadly {
		if strings.Contains(wrote, d.words) {
			return language.Errorf(language.KindMemory, "%s; its process has ended", d.meaning)
		}
	}
	how := "without a word"
	if w.cmd.ProcessState != nil {
		how = w.cmd.ProcessState.String()
	}
	if first := strings.TrimSpace(wrote); first != "" {
		how = fmt.Sprintf("%s, after: %s", how, language.Cut(first, language.MaxValue))
	}
	kind := language.KindRuntime
	if code < 0 { // by a signal: what the kernel does when memory runs out
		kind = language.KindMemory
	}
	return language.Errorf(kind, "its process ended (%s)", how)
}
