package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// short are limits for tests of what goes over them.
var short = sandbox.Limits{Time: 200 * time.Millisecond, Grace: 200 * time.Millisecond, Memory: 32 << 20, Output: 1 << 20, Compile: time.Second}

func TestResultsComeInOrder(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1})
	messages, want := []string{}, []string{}
	for i := range 1000 {
		text := strconv.Itoa(i) + strings.Repeat("x", i*3)
		messages, want = append(messages, text), append(want, "a:"+text)
	}
	require.Equal(t, want, run(t, p, "a", messages...))
	require.Equal(t, []string{"a:"}, run(t, p, "a", ""), "an empty message")
	require.Empty(t, run(t, p, "a"))
}

func TestWhatGoesWrongIsOneMessagesError(t *testing.T) {
	t.Parallel()
	long := short // so that it is memory that runs out first, also on a busy machine
	long.Time = 20 * time.Second
	for name, c := range map[string]struct{ word, want string }{
		"an error":                        {"fail it", "runtime: so be it (line 3, column 4), at hand: it"},
		"an error of another type":        {"plain", "runtime: not as promised"},
		"too slow":                        {"loop", "timeout: it took longer than 200ms (line 7)"},
		"too slow, cannot be interrupted": {"spin", "timeout: it took longer than 200ms and could not be interrupted; its process was ended"},
		"memory, little by little":        {"grow", "memory: it took more than 32 MiB of memory"},
		"memory, cannot be interrupted":   {"hoard", "memory: it took more than 32 MiB of memory and could not be interrupted; its process was ended"},
		"memory, at once":                 {"bomb", "memory: it needed more memory than there is for functions; its process has ended"},
		"too deep":                        {"deep", "memory: it went too deep; its process has ended"},
		"a panic of the runtime":          {"panic", "runtime: the runtime of the language broke: the runtime broke"},
		"an exit":                         {"exit", "runtime: its process ended (exit status 3)"},
		"killed each time":                {"suicide", "memory: its process ended (signal: killed)"},
		"too big":                         {"big 1048577", "output: the result has more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := short
			if strings.HasPrefix(c.want, "memory") {
				limits = long
			}
			if !strings.Contains(name, "cannot be interrupted") {
				limits.Grace = 20 * time.Second // a busy machine takes its time
			}
			p := newPool(t, sandbox.Options{Workers: 1, Limits: limits})
			got := run(t, p, "a", "1", "2", c.word, "3", "4", c.word, "5")
			require.Equal(t, []string{"a:1", "a:2", c.want, "a:3", "a:4", c.want, "a:5"}, got)
		})
	}
}

func TestGarbageIsNotMemory(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1, Limits: sandbox.Limits{Memory: 32 << 20, Time: 20 * time.Second}})
	require.Equal(t, []string{"a:garbage"}, run(t, p, "a", "garbage"))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1, Limits: short})
	require.NoError(t, p.Check(t.Context(), function("good")))
	require.NoError(t, p.Check(t.Context(), function("good")))
	for name, c := range map[string]struct {
		code string
		want language.Error
	}{
		"wrong":                   {"wrong", language.Error{Kind: language.KindSyntax, Message: "that is wrong", Line: 2, Column: 5}},
		"the compiler breaks":     {"broken", language.Error{Kind: language.KindSyntax, Message: "the code cannot be compiled: the compiler broke"}},
		"it takes the process":    {"die", language.Error{Kind: language.KindMemory, Message: "while it was being compiled: its process ended (signal: killed)"}},
		"it does not come to end": {"loop", language.Error{Kind: language.KindTimeout, Message: "while it was being compiled: it took longer than 1s and could not be interrupted; its process was ended"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed *language.Error
			require.ErrorAs(t, p.Check(t.Context(), function(c.code)), &failed)
			require.Equal(t, c.want, *failed)
			want := string(c.want.Kind) + ": " + c.want.Error()
			begin := time.Now()
			require.Equal(t, []string{want, want}, run(t, p, c.code, "1", "2"), "and each message has that error")
			require.Less(t, time.Since(begin), 900*time.Millisecond, "what does harm is not tried again for each batch")
		})
	}
	err := p.Check(t.Context(), sandbox.NewFunction("cobol", language.Source{Entry: language.Filter}))
	require.EqualError(t, err, `functions cannot be written in "cobol"`)
}

func TestWorkersAreKeptWarmAndEndWhenIdle(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 2, Idle: 100 * time.Millisecond})
	first := run(t, p, "a", "pid")
	require.Equal(t, first, run(t, p, "a", "pid"))
	pid, err := strconv.Atoi(first[0])
	require.NoError(t, err)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 5*time.Second, 5*time.Millisecond)
	require.NotEqual(t, first, run(t, p, "a", "pid"))
}

func TestProgramsAreKeptUpToABound(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1})
	require.Equal(t, []string{"1"}, run(t, p, "a", "calls"))
	require.Equal(t, []string{"2"}, run(t, p, "a", "calls"))
	for i := range 64 {
		require.Equal(t, []string{"1"}, run(t, p, "other "+strconv.Itoa(i), "calls"))
	}
	require.Equal(t, []string{"1", "2"}, run(t, p, "a", "calls", "calls"), "compiled again")
	require.Equal(t, []string{"2"}, run(t, p, "other 63", "calls"))
}

func TestSameCodeOfAnotherNameIsAnotherFunction(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1})
	for _, s := range []language.Source{
		{Name: "a", Entry: "bc", Code: []byte("d")},
		{Name: "ab", Entry: "c", Code: []byte("d")},
		{Name: "a", Entry: "b", Code: []byte("cd")},
	} {
		var b sandbox.Batch
		b.Add([]byte("calls"))
		require.NoError(t, p.Run(t.Context(), sandbox.NewFunction("words", s), &b))
		require.Equal(t, []string{"1"}, texts(&b))
	}
}

func TestAWorkerHasNothingOfTheServer(t *testing.T) {
	t.Setenv("SEQUIN_SECRET", "hunter2")
	inherited, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0) // without close-on-exec, as if our own parent had left it to us
	require.NoError(t, err)
	defer syscall.Close(inherited)
	var l logs
	p := newPool(t, sandbox.Options{Workers: 1, Logger: l.logger()})
	require.Equal(t, []string{"GOTRACEBACK=none GOMAXPROCS=2"}, run(t, p, "a", "env"))
	require.Equal(t, []string{"a:print hello"}, run(t, p, "a", "print hello"), "what is printed does not disturb")
	require.Eventually(t, func() bool { return strings.Contains(l.b.String(), "wrote=hello") }, 5*time.Second, time.Millisecond)
	pid := run(t, p, "a", "pid")[0]
	confined(t, pid)
}

func TestInterruptsOfTheTerminalAreTheServersAffair(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1})
	pid, err := strconv.Atoi(run(t, p, "a", "pid")[0])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGINT))
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, []string{strconv.Itoa(pid)}, run(t, p, "a", "pid"))
}

func TestWorkerKilledFromOutside(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		p := newPool(t, sandbox.Options{Workers: 1})
		pid, err := strconv.Atoi(run(t, p, "a", "pid")[0])
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Equal(t, []string{"a:1", "a:2"}, run(t, p, "a", "1", "2"))
	})
	t.Run("at work", func(t *testing.T) {
		t.Parallel()
		p := newPool(t, sandbox.Options{Workers: 1})
		pid, err := strconv.Atoi(run(t, p, "a", "pid")[0])
		require.NoError(t, err)
		time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		require.Equal(t, []string{"a:sleep 60ms", "a:sleep 80ms", "a:sleep 70ms"}, run(t, p, "a", "sleep 60ms", "sleep 80ms", "sleep 70ms"),
			"no message is to blame")
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		p := newPool(t, sandbox.Options{Workers: 1, Limits: short})
		pid, err := strconv.Atoi(run(t, p, "a", "pid")[0])
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		require.Equal(t, []string{"a:1", "a:2"}, run(t, p, "a", "1", "2"))
	})
}

func TestManyCallersAndFunctions(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 3, Limits: short})
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			code := "f" + strconv.Itoa(i%7)
			var b sandbox.Batch
			for range 20 {
				b.Reset()
				want := []string{}
				for j := range 10 {
					if i%8 == 7 && j == 5 {
						b.Add([]byte("panic"))
						want = append(want, "runtime: the runtime of the language broke: the runtime broke")
						continue
					}
					b.Add(fmt.Append(nil, j))
					want = append(want, code+":"+strconv.Itoa(j))
				}
				if err := p.Run(t.Context(), function(code), &b); err != nil {
					t.Error(err)
				}
				if got := texts(&b); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%v", got)
				}
			}
		})
	}
	all.Wait()
}

func TestOneWhoLoopsDoesNotKeepOthersWaiting(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1, Limits: short})
	run(t, p, "good", "1")
	var bad sandbox.Batch
	for range 8 {
		bad.Add([]byte("loop"))
	}
	looping := make(chan error)
	go func() { looping <- p.Run(t.Context(), function("bad"), &bad) }()
	require.Eventually(t, func() bool { return p.Busy() == 1 }, 5*time.Second, time.Millisecond)
	begin := time.Now()
	require.Equal(t, []string{"good:1"}, run(t, p, "good", "1"))
	require.Less(t, time.Since(begin), 5*short.Time, "one turn, not eight")
	require.NoError(t, <-looping)
	require.Len(t, texts(&bad), 8)
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Workers: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var b, behind sandbox.Batch
	b.Add([]byte("sleep 900ms"))
	behind.Add([]byte("1"))
	waits := make(chan error)
	go func() { waits <- p.Run(ctx, function("a"), &behind) }()
	begin := time.Now()
	require.ErrorIs(t, p.Run(ctx, function("a"), &b), context.DeadlineExceeded)
	err := <-waits
	if err != nil { // it waited behind the other
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.Less(t, time.Since(begin), 800*time.Millisecond)
	require.Equal(t, []string{"a:1"}, run(t, p, "a", "1"))
}

func TestClose(t *testing.T) {
	t.Parallel()
	p := sandbox.New(sandbox.Options{Workers: 2})
	idle, err := strconv.Atoi(run(t, p, "a", "pid")[0])
	require.NoError(t, err)
	failed := make(chan error)
	for _, w := range []string{"sleep 1s", "sleep 900ms", "1"} { // the third waits
		go func() {
			var b sandbox.Batch
			b.Add([]byte(w))
			b.Add([]byte(w))
			failed <- p.Run(context.Background(), function("a"), &b)
		}()
	}
	require.Eventually(t, func() bool { return p.Busy() == 2 }, 5*time.Second, time.Millisecond)
	require.NoError(t, p.Close())
	for range 3 {
		if err := <-failed; err != nil {
			require.ErrorIs(t, err, sandbox.ErrClosed)
		}
	}
	require.Error(t, syscall.Kill(idle, 0), "gone")
	require.NoError(t, p.Run(t.Context(), function("a"), new(sandbox.Batch)), "nothing to do")
	require.ErrorIs(t, p.Check(t.Context(), function("a")), sandbox.ErrClosed)
	require.NoError(t, p.Close())
}

func TestNoWorkerBeforeThereIsWork(t *testing.T) {
	t.Parallel()
	p := newPool(t, sandbox.Options{Command: []string{"/nonexistent"}})
	require.NoError(t, p.Run(t.Context(), function("a"), new(sandbox.Batch)))
}

func TestWorkersThatDoNotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command []string
		detail  string
	}{
		"no such program":        {[]string{"/nonexistent"}, "no such file"},
		"it ends":                {[]string{"/bin/sh", "-c", "echo sorry >&2; exit 7"}, "exit status 7"},
		"it says something else": {[]string{"/bin/echo", "hello, world"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l logs
			p := newPool(t, sandbox.Options{Command: c.command, Logger: l.logger()})
			for range 100 {
				err := p.Check(t.Context(), function("a"))
				found, ok := problem.As(err)
				require.True(t, ok, "%v", err)
				require.Equal(t, "function_worker_unavailable", found.Code)
				require.Contains(t, found.Detail, c.detail)
			}
			require.Less(t, strings.Count(l.b.String(), "next_attempt_in"), 20, "there is a pause between attempts")
		})
	}
}

// Descriptors of the pool itself: what it opens, it closes.
func TestNoDescriptorsAreLeft(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/dev/fd")
		require.NoError(t, err)
		return len(entries)
	}
	p := sandbox.New(sandbox.Options{Workers: 2, Limits: short})
	run(t, p, "a", "1")
	before := count()
	for range 5 {
		run(t, p, "a", "exit", "1", "suicide")
	}
	require.LessOrEqual(t, count(), before+1)
	require.NoError(t, p.Close())
	require.Less(t, count(), before)
}
