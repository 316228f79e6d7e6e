package sandbox

import (
	"bufio"
	"container/list"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// WorkerArg is the first argument of a process that is a worker.
const WorkerArg = "function-worker"

// IsWorker reports whether a process with these arguments is to be a worker. Main and TestMain ask it before they do anything else.
func IsWorker(args []string) bool { return len(args) > 1 && args[1] == WorkerArg }

// Settings are what the pool tells a worker, for the runtimes.
type Settings struct {
	Limits   Limits
	CacheDir string
}

func (s *Settings) flagSet() *flag.FlagSet {
	set := flag.NewFlagSet(WorkerArg, flag.ContinueOnError)
	set.DurationVar(&s.Limits.Time, "time", s.Limits.Time, "")
	set.IntVar(&s.Limits.Memory, "memory", s.Limits.Memory, "")
	set.IntVar(&s.Limits.Output, "output", s.Limits.Output, "")
	set.DurationVar(&s.Limits.Compile, "compile", s.Limits.Compile, "")
	set.DurationVar(&s.Limits.Grace, "grace", s.Limits.Grace, "")
	set.StringVar(&s.CacheDir, "cache", s.CacheDir, "")
	return set
}

// flags are the settings as arguments.
func (s Settings) flags() []string {
	var all []string
	set := s.flagSet()
	set.VisitAll(func(f *flag.Flag) {
		if f.Value.String() != "" {
			all = append(all, "-"+f.Name+"="+f.Value.String())
		}
	})
	return all
}

// How a worker ends, for those who wait for it.
const (
	exitUsage   = 2
	exitTimeout = 124
	exitMemory  = 125
)

// Main is what a worker does: it serves the pool that started it until that lets it go. It never returns. The runtimes are made once, by their
// languages' names, with the settings of the pool.
func Main(runtimes func(Settings) map[string]language.Runtime) {
	// A Ctrl-C in a terminal, and the stop of a service, go to the children too. It is the server that stops, and lets its workers go in the end.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	var s Settings
	if err := s.flagSet().Parse(os.Args[2:]); err != nil {
		exit(exitUsage)
	}
	s.Limits.setDefaults()
	in, out := os.Stdin, os.Stdout
	os.Stdout = os.Stderr // what a runtime prints does not get between the frames
	confine(s.Limits)
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(int64(s.Limits.Memory) + softBase)
	w := &worker{settings: s, runtimes: runtimes(s), out: out, cache: map[hash]*list.Element{}, used: list.New()}
	w.wake = make(chan struct{}, 1)
	go w.watch()
	if err := w.serve(in); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintln(os.Stderr, err)
		exit(1)
	}
	exit(0)
}

func exit(code int) {
	os.Exit(code) //nolint:forbidigo // a worker is a process, and this is its main
}

// heavy is how long compiling takes when it is worth a while more to give memory back.
const heavy = 100 * time.Millisecond

const (
	gcPercent = 400      // the heap is small, and what a call leaves is nearly all garbage
	softBase  = 32 << 20 // of the runtimes and the compiled programs; the collector works harder beyond that and what a call may use
)

// worker is the one in the child process. Its main goroutine runs calls; another one watches them.
type worker struct {
	settings Settings
	runtimes map[string]language.Runtime
	out      *os.File

	cache     map[hash]*list.Element // of *compiled
	used      *list.List             // the front was used last
	cacheSize int

	wake chan struct{} // to the watchdog: there is a batch

	mu      sync.Mutex       // guards what follows, between the calls and the watchdog
	pending []byte           // frames to send
	failed  error            // of sending
	busy    bool             // a batch is under way
	call    uint64           // counts calls
	running language.Program // of the call under way
	stopped bool             // the call under way was interrupted, or the batch has taken its time
}

type compiled struct {
	hash    hash
	program language.Program
	size    int
}

// How much of what was compiled is kept: programs, and bytes by what those that know it say of themselves.
const (
	maxPrograms    = 64
	maxProgramSize = 256 << 20
	programSize    = 1 << 20 // of one that does not say
)

// sized is implemented by programs that know how much memory they hold.
type sized interface{ Size() int }

func (w *worker) serve(in io.Reader) error {
	r := bufio.NewReaderSize(in, readBuffer)
	w.queue(append(appendHead(nil, frameHello, len(version)), version...))
	var body []byte
	for {
		if err := w.flush(); err != nil {
			return err
		}
		kind, n, err := readHead(r)
		if err != nil {
			return err
		}
		if cap(body) < n || cap(body) > keep {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if n < len(hash{}) {
			return errFrame
		}
		switch kind {
		case frameFunction:
			err = w.define(hash(body), body[len(hash{}):])
		case frameBatch:
			err = w.batch(hash(body), body[len(hash{}):])
		default:
			err = errFrame
		}
		if err != nil {
			return err
		}
	}
}

func (w *worker) queue(frame []byte) {
	w.mu.Lock()
	w.pending = append(w.pending, frame...)
	w.mu.Unlock()
}

func (w *worker) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	return w.failed
}

func (w *worker) flushLocked() {
	if len(w.pending) > 0 && w.failed == nil {
		_, w.failed = w.out.Write(w.pending)
	}
	w.pending = w.pending[:0]
	if cap(w.pending) > keep {
		w.pending = nil
	}
}

// define compiles a function.
func (w *worker) define(h hash, body []byte) error {
	var lang, entry string
	var s language.Source
	rest, err := cutTexts(body, &lang, &entry, &s.Name)
	if err != nil {
		return err
	}
	code, _, err := cutBytes(rest)
	if err != nil {
		return err
	}
	s.Entry, s.Code, s.Output = language.Entry(entry), append([]byte{}, code...), w.settings.Limits.Output
	begin := time.Now()
	program, failed := w.compile(lang, s)
	if time.Since(begin) > heavy {
		debug.FreeOSMemory() // the compiler of modules leaves several times the module behind
	}
	if failed != nil {
		w.queue(errorFrame(frameRejected, failed))
		return nil
	}
	w.remember(&compiled{hash: h, program: program})
	w.queue(appendHead(nil, frameCompiled, 0))
	return nil
}

func (w *worker) compile(lang string, s language.Source) (program language.Program, failed *language.Error) {
	runtime, ok := w.runtimes[lang]
	if !ok {
		return nil, language.Errorf(language.KindSyntax, "functions cannot be written in %q", lang)
	}
	defer func() {
		if r := recover(); r != nil {
			failed = language.Errorf(language.KindSyntax, "the code cannot be compiled: %v", r)
		}
	}()
	program, err := runtime.Compile(s)
	return program, asError(err, language.KindSyntax)
}

// asError makes of an error what is told of it. A runtime returns what it promises; anything else is not kept from the user either.
func asError(err error, kind language.Kind) *language.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*language.Error](err); ok {
		return e
	}
	return language.Errorf(kind, "%s", err)
}

func errorFrame(kind byte, e *language.Error) []byte {
	return endFrame(appendError(beginFrame(nil, kind), e), 0)
}

// remember keeps a program, and lets go of those that were not used for longest.
func (w *worker) remember(c *compiled) {
	w.forget(c.hash)
	c.size = programSize
	if s, ok := c.program.(sized); ok {
		c.size = s.Size()
	}
	w.cache[c.hash] = w.used.PushFront(c)
	w.cacheSize += c.size
	for w.used.Len() > 1 && (w.used.Len() > maxPrograms || w.cacheSize > maxProgramSize) {
		w.forget(w.used.Back().Value.(*compiled).hash) //nolint:forcetypeassert // as it was put there
	}
}

func (w *worker) forget(h hash) {
	e, ok := w.cache[h]
	if !ok {
		return
	}
	c := w.used.Remove(e).(*compiled) //nolint:forcetypeassert // as it was put there
	delete(w.cache, h)
	w.cacheSize -= c.size
	if err := c.program.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close a program:", strings.ToValidUTF8(err.Error(), "�"))
	}
}

// batch runs a function on messages.
func (w *worker) batch(h hash, body []byte) error {
	if len(body) < batchHead-len(h) {
		return errFrame
	}
	careful := body[0]&flagCareful != 0
	count, rest, err := cutUint32(body[1:])
	if err != nil {
		return err
	}
	e, ok := w.cache[h]
	if !ok {
		w.queue(appendHead(nil, frameUnknown, 0))
		return nil
	}
	w.used.MoveToFront(e)
	c := e.Value.(*compiled) //nolint:forcetypeassert // as it was put there
	w.beginBatch()
	defer w.endBatch()
	var dst []byte
	for i := range count {
		var message []byte
		if message, rest, err = cutBytes(rest); err != nil {
			return err
		}
		if !w.beginCall(c.program, careful) {
			w.queue(appendHead(nil, frameYield, 0))
			return nil
		}
		result, failed, broken := w.safely(c.program, dst[:0], message)
		if err := w.endCall(result, failed, careful); err != nil {
			return err
		}
		if dst = result; cap(dst) > keep {
			dst = nil
		}
		if broken {
			w.forget(h)
			if i+1 < count {
				w.queue(appendHead(nil, frameUnknown, 0))
			}
			return nil
		}
	}
	return nil
}

// safely calls a program. One that panics has a state that nobody knows.
func (w *worker) safely(p language.Program, dst, message []byte) (result []byte, failed *language.Error, broken bool) {
	defer func() {
		if r := recover(); r != nil {
			result, failed, broken = nil, language.Errorf(language.KindRuntime, "the runtime of the language broke: %v", r), true
		}
	}()
	result, err := p.Call(dst, message)
	if err != nil {
		return result, asError(err, language.KindRuntime), false
	}
	if len(result) > w.settings.Limits.Output {
		return nil, language.Errorf(language.KindOutput, "the result has more than %d bytes", w.settings.Limits.Output), false
	}
	return result, nil, false
}

func (w *worker) beginBatch() {
	select {
	case w.wake <- struct{}{}: // first, so that the watchdog does not take this batch for the one before
	default:
	}
	w.mu.Lock()
	w.busy, w.stopped = true, false
	w.mu.Unlock()
}

func (w *worker) endBatch() {
	w.mu.Lock()
	w.busy = false
	w.mu.Unlock()
}

// beginCall notes that a call begins, unless the batch has had its time.
func (w *worker) beginCall(p language.Program, careful bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return false
	}
	w.call++
	w.running = p
	if careful {
		w.pending = appendHead(w.pending, frameBegin, 0)
		w.flushLocked()
	}
	return true
}

// flushAt is how much is sent without waiting for the end of the batch.
const flushAt = 48 << 10

// endCall notes what a call returned. Until here the watchdog may interrupt it, and not after.
func (w *worker) endCall(result []byte, failed *language.Error, careful bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = nil
	if failed != nil {
		w.pending = append(w.pending, errorFrame(frameFailed, failed)...)
	} else {
		w.pending = append(appendHead(w.pending, frameResult, len(result)), result...)
	}
	if careful || len(w.pending) >= flushAt {
		w.flushLocked()
	}
	return w.failed
}
