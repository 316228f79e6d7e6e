package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.IsWorker(os.Args) {
		sandbox.Main(func(s sandbox.Settings) map[string]language.Runtime {
			return map[string]language.Runtime{"words": words{s}, "copy": copier{}}
		})
	}
	if code := os.Getenv("SANDBOX_SERVER"); code != "" {
		fmt.Fprintln(os.Stderr, serverForAnother(code))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// serverForAnother is the server that a test starts and kills.
func serverForAnother(code string) error {
	p := sandbox.New(sandbox.Options{Workers: 2, Limits: sandbox.Limits{Time: time.Minute}})
	f := sandbox.NewFunction("words", language.Source{Name: "f", Code: []byte(code)})
	var b sandbox.Batch
	b.Add([]byte("pid"))
	if err := p.Run(context.Background(), f, &b); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("pid=" + texts(&b)[0] + "\n"); err != nil {
		return err
	}
	b.Reset()
	b.Add([]byte("spin"))
	return p.Run(context.Background(), f, &b)
}

// copier is the language whose every program returns the message.
type copier struct{}

type copyProgram struct{}

func (copier) Compile(language.Source) (language.Program, error) { return copyProgram{}, nil }

func (copyProgram) Call(dst, message []byte) ([]byte, error) { return append(dst, message...), nil }
func (copyProgram) Interrupt(*language.Error)                {}
func (copyProgram) Close() error                             { return nil }

// words is a language whose programs do what the message says, so that a test can choose for each message. The code is returned in front of it.
type words struct{ settings sandbox.Settings }

type wordsProgram struct {
	code      string
	calls     int
	interrupt atomic.Pointer[language.Error]
}

func (w words) Compile(s language.Source) (language.Program, error) {
	switch code := string(s.Code); {
	case strings.HasPrefix(code, "wrong"):
		return nil, language.Errorf(language.KindSyntax, "that is wrong").At(2, 5)
	case code == "loop":
		for {
			syscall.Getpid()
		}
	case code == "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case code == "broken":
		panic("the compiler broke")
	}
	return &wordsProgram{code: string(s.Code)}, nil
}

func (p *wordsProgram) Interrupt(cause *language.Error) { p.interrupt.Store(cause) }
func (p *wordsProgram) Close() error                    { return nil }

var kept [][]byte

func (p *wordsProgram) Call(dst, message []byte) ([]byte, error) {
	p.interrupt.Store(nil)
	p.calls++
	word, argument, _ := strings.Cut(string(message), " ")
	switch word {
	case "fail":
		return nil, language.Errorf(language.KindRuntime, "so be it").At(3, 4).With(argument)
	case "plain":
		return nil, errors.New("not as promised")
	case "loop": // honours an interrupt
		for p.interrupt.Load() == nil {
			syscall.Getpid()
		}
		return nil, p.interrupt.Load().At(7, 0)
	case "spin": // does not
		for {
			syscall.Getpid()
		}
	case "grow": // a little at a time, and honours an interrupt
		kept = nil
		for p.interrupt.Load() == nil {
			kept = append(kept, filled(1<<20))
		}
		kept = nil
		return nil, p.interrupt.Load()
	case "hoard": // and does not
		for {
			kept = append(kept, filled(1<<20))
		}
	case "garbage": // allocates much and keeps nothing
		for range 500 {
			kept = [][]byte{filled(1 << 20)}
		}
		kept = nil
	case "bomb": // at once
		kept = append(kept, filled(10<<30))
	case "deep":
		return append(dst, strconv.Itoa(deep(1))...), nil
	case "panic":
		panic("the runtime broke")
	case "exit":
		os.Exit(3)
	case "suicide":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "big":
		n, _ := strconv.Atoi(argument)
		return append(dst, bytes.Repeat([]byte("x"), n)...), nil
	case "calls":
		return strconv.AppendInt(dst, int64(p.calls), 10), nil
	case "pid":
		return strconv.AppendInt(dst, int64(os.Getpid()), 10), nil
	case "env":
		return append(dst, strings.Join(os.Environ(), " ")...), nil
	case "print":
		fmt.Println(argument)
		os.Stdout.WriteString("out\n")
	case "sleep":
		d, _ := time.ParseDuration(argument)
		for begin := time.Now(); time.Since(begin) < d; {
			syscall.Getpid()
		}
	}
	return append(append(append(dst, p.code...), ':'), message...), nil
}

func filled(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		b[i] = 1
	}
	return b
}

func deep(n int) int {
	var pad [1 << 10]byte
	pad[n%len(pad)] = byte(n)
	return deep(n+1) + int(pad[n%7]) //nolint:staticcheck // that it never ends is the point
}

// logs collects what is logged.
type logs struct{ b syncBuffer }

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&l.b, nil)) }

func newPool(t testing.TB, o sandbox.Options) *sandbox.Pool {
	t.Helper()
	p := sandbox.New(o)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func function(code string) *sandbox.Function {
	return sandbox.NewFunction("words", language.Source{Name: "f", Entry: language.Transform, Code: []byte(code)})
}

// run runs a function and returns a text for every message: the result, or kind and text of the error.
func run(t testing.TB, p *sandbox.Pool, code string, messages ...string) []string {
	t.Helper()
	var b sandbox.Batch
	for _, m := range messages {
		b.Add([]byte(m))
	}
	require.NoError(t, p.Run(t.Context(), function(code), &b))
	return texts(&b)
}

func texts(b *sandbox.Batch) []string {
	all := make([]string, 0, b.Len())
	for i := range b.Len() {
		result, failed := b.Result(i)
		if failed != nil {
			all = append(all, string(failed.Kind)+": "+failed.Error())
			continue
		}
		all = append(all, string(result))
	}
	return all
}
