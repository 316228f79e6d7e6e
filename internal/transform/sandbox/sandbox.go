// Package sandbox runs the functions that users write, never in the process that holds the change log: a Pool keeps a few child processes of
// the same binary, started on demand, kept while there is work, and ended when they are idle. A worker runs one batch of one function at a
// time, its messages in order. It watches time and memory of each call and interrupts the function; if that does not help, it ends itself, and
// if it cannot, the pool kills it. Whatever a function does is that message's error: the messages before it keep their results, those
// behind it run in a fresh worker, and neither the server nor the functions of others notice. Callers wait for a worker in the order in which
// they came, and nobody holds one for much longer than the time that a single call may take.
//
// The process is a wall against functions that run away, and against what a defect of a runtime could break. It is not a user of its own: a
// worker has the rights of the server, less what can be given up without privileges.
package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// Limits are what one call of a function may use.
type Limits struct {
	Time    time.Duration // default 1 s
	Memory  int           // bytes more than before the call; default 64 MiB
	Output  int           // bytes of the result; default 16 MiB
	Compile time.Duration // making the function ready; default 30 s
	Grace   time.Duration // how long an interrupted function may take to stop; default 500 ms
}

func (l *Limits) setDefaults() {
	l.Time = defaultTo(l.Time, time.Second)
	l.Memory = defaultTo(l.Memory, 64<<20)
	l.Output = defaultTo(l.Output, 16<<20)
	l.Compile = defaultTo(l.Compile, 30*time.Second)
	l.Grace = defaultTo(l.Grace, 500*time.Millisecond)
}

func defaultTo[T int | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// Options configure a Pool.
type Options struct {
	Workers  int           // processes at the same time; default GOMAXPROCS
	Command  []string      // what a worker is; default this executable with WorkerArg. Settings are appended as flags
	CacheDir string        // where runtimes may keep compiled code from one process to the next; "" for nowhere
	Logger   *slog.Logger  // default none
	Limits   Limits        // of each call
	Idle     time.Duration // how long a worker without work is kept; default 1 min
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the pool of function workers is closed")

// Function is a function to run. It is immutable, and knows the hash of all that makes it what it is.
type Function struct {
	language string
	source   language.Source
	hash     hash
}

type hash [sha256.Size]byte

// NewFunction makes a function of code in a language that the workers know. How big a result may be is the pool's affair, not the source's.
func NewFunction(lang string, s language.Source) *Function {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(lang), []byte(s.Entry), []byte(s.Name), s.Code} {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return &Function{language: lang, source: s, hash: hash(h.Sum(nil))}
}

// Name is the function's name.
func (f *Function) Name() string { return f.source.Name }

// Pool keeps the workers. It is safe for concurrent use.
type Pool struct {
	options Options
	slots   chan struct{} // one token a worker that may run; waiters are served in order
	closing chan struct{}
	ended   sync.WaitGroup // processes that have not been waited for

	mu     sync.Mutex
	closed bool
	idle   []*process // the last is the one used last
	all    map[*process]struct{}
	starts backoff
	broken map[hash]verdict // functions that cannot be compiled without harm
}

// New makes a pool, which starts no process before there is work.
func New(o Options) *Pool {
	o.Limits.setDefaults()
	o.Workers = defaultTo(o.Workers, runtime.GOMAXPROCS(0))
	o.Idle = defaultTo(o.Idle, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pool{
		options: o, slots: make(chan struct{}, o.Workers), closing: make(chan struct{}),
		all: map[*process]struct{}{}, broken: map[hash]verdict{},
	}
}

// withWorker waits for a turn, hands a worker to do, and takes it back if it is still good for the next.
func (p *Pool) withWorker(ctx context.Context, f *Function, do func(*process) (*language.Error, error)) (*language.Error, error) {
	if failed := p.verdict(f.hash); failed != nil {
		return failed, nil
	}
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.slots }()
	w, err := p.take(ctx, f.hash)
	if err != nil {
		return nil, err
	}
	failed, err := do(w)
	if err == nil && !w.dead {
		p.put(w, f.hash)
		return failed, nil
	}
	w.kill()
	return failed, err
}

func (p *Pool) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.closing:
		return ErrClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closing:
		return ErrClosed
	}
}

// take returns an idle worker, if there is one that which ran the function last, else a fresh one.
func (p *Pool) take(ctx context.Context, h hash) (*process, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		i := slices.IndexFunc(p.idle, func(w *process) bool { return w.last == h })
		if i < 0 {
			i = n - 1
		}
		w := p.idle[i]
		p.idle = slices.Delete(p.idle, i, i+1)
		p.mu.Unlock()
		w.timer.Stop()
		return w, nil
	}
	p.mu.Unlock()
	return p.start(ctx)
}

func (p *Pool) put(w *process, h hash) {
	w.last = h
	w.stderr.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		w.end() // it goes by itself; Close waits for it
		return
	}
	p.idle = append(p.idle, w)
	w.timer.Reset(p.options.Idle)
}

// expire ends a worker that has been idle for long, unless it was taken in the meantime.
func (p *Pool) expire(w *process) {
	p.mu.Lock()
	i := slices.Index(p.idle, w)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		w.end()
	}
}

// Close ends all workers and returns when they are gone. Runs under way fail with ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	for w := range p.all {
		w.timer.Stop()
		w.end()
	}
	p.idle = nil
	p.mu.Unlock()
	p.ended.Wait()
	return nil
}

// verdict remembers for a while that compiling a function harmed its worker, so that not every batch harms another.
type verdict struct {
	err   *language.Error
	until time.Time
}

const (
	verdictHolds = time.Minute
	maxVerdicts  = 256
)

func (p *Pool) verdict(h hash) *language.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.broken[h]
	if !ok {
		return nil
	}
	if time.Now().After(v.until) {
		delete(p.broken, h)
		return nil
	}
	return v.err
}

func (p *Pool) condemn(h hash, err *language.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.broken) >= maxVerdicts {
		clear(p.broken)
	}
	p.broken[h] = verdict{err, time.Now().Add(verdictHolds)}
}

// Busy is how many workers are at work, or about to be.
func (p *Pool) Busy() int { return len(p.slots) }
