package wasm_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/transform/gobuild"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

var cacheDir string

func TestMain(m *testing.M) {
	if sandbox.IsWorker(os.Args) {
		sandbox.Main(func(s sandbox.Settings) map[string]language.Runtime {
			return map[string]language.Runtime{"go": wasm.New(wasm.Options{Memory: s.Limits.Memory, CacheDir: s.CacheDir})}
		})
	}
	var err error
	if cacheDir, err = os.MkdirTemp("", "sequin-wasm-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(cacheDir)
		os.Exit(code)
	}))
}

// everything is the module of testdata/everything.go, built once.
var everything = sync.OnceValues(func() ([]byte, error) {
	source, err := os.ReadFile("testdata/everything.go")
	if err != nil {
		return nil, err
	}
	return gobuild.Build(context.Background(), "everything.go", source)
})

func compile(t testing.TB, entry language.Entry, code []byte) (language.Program, error) {
	t.Helper()
	r := wasm.New(wasm.Options{CacheDir: cacheDir})
	p, err := r.Compile(language.Source{Name: "f", Entry: entry, Code: code, Output: 1 << 20})
	t.Cleanup(func() {
		if err == nil {
			require.NoError(t, p.Close())
		}
		require.NoError(t, r.Close())
	})
	return p, err
}

func program(t testing.TB, entry language.Entry) language.Program {
	t.Helper()
	code, err := everything()
	require.NoError(t, err)
	p, err := compile(t, entry, code)
	require.NoError(t, err)
	return p
}

// message is one with an action, its record given as JSON.
func message(action, record string) []byte {
	return fmt.Appendf(nil, `{"record":%s,"changes":null,"action":%q,"metadata":{"table_name":"orders","commit_timestamp":"2025-07-01T10:11:12.345678Z"}}`, record, action)
}

// outcome is a result, or kind and text of an error.
func outcome(result []byte, err error) string {
	if err == nil {
		return string(result)
	}
	if e, ok := err.(*language.Error); ok { //nolint:errorlint // it is to be one
		return string(e.Kind) + ": " + e.Error()
	}
	return "trouble: " + err.Error()
}

func TestCalls(t *testing.T) {
	t.Parallel()
	p := program(t, language.Transform)
	for _, c := range []struct{ name, action, record, want string }{
		{"nothing touched", "insert", `{"b":1.50,"a":{"z":1e400,"y":[ ]}}`, `{"b":1.50,"a":{"z":1e400,"y":[ ]}}`},
		{"five fields", "five", `{"id":9007199254740993,"name":"Ada \"L\" \u00e9","status":null,"price":"199.99"}`, `{"id":9007199254740993,"name":"Ada \"L\" é","status":"","total":399.98,"table":"orders"}`},
		{"a panic", "panic", `{"n":3}`, "runtime: index out of range [3] with length 0 (line 28)"},
		{"a nil pointer", "nil", `{}`, "runtime: invalid memory address or nil pointer dereference (line 31)"},
		{"an error", "error", `{}`, "runtime: no such luck"},
		{"a panic elsewhere", "goroutine", `{}`, "runtime: in the background (line 36)"},
		{"a deadlock", "deadlock", `{}`, "runtime: all goroutines are asleep - deadlock! (line 39)"},
		{"an exit", "exit", `{}`, "runtime: the module ended itself with code 7"},
		{"endless recursion", "recurse", `{}`, "memory: it took more than 64 MiB of memory"},
		{"memory, little by little", "fill", `{}`, "memory: it took more than 64 MiB of memory"},
		{"memory, at once", "bomb", `{}`, "memory: it took more than 64 MiB of memory"},
		{"memory, but not too much", "grow", `{}`, "20971520"},
		{"the time", "now", `{}`, `["2025-07-01T10:11:12.345678Z","1m30s"]`},
		{"nothing of the world", "world", `{}`, `"true true 0 true"`},
		{"a result that is too big", "big", `{"n":1048576}`, "output: the result has 1048578 bytes; at most 1048576 are taken"},
		{"no JSON", "type", `{}`, "runtime: the result has a value of a type that is not written as JSON by itself: give it a method MarshalJSON, or return Raw of json.Marshal"},
		{"a cycle", "cycle", `{}`, "runtime: the result contains itself, or is more than 1000 levels deep"},
		{"text that is no JSON", "raw", `{"raw":"{\"a\":"}`, `result: what the function returned is no JSON, at hand: {"a":`},
		{"a wrong type", "five", `{"name":[1]}`, "runtime: name is no text, but an array (line 24)"},
		{"a long message", "big", `{"n":3,"note":"` + strings.Repeat("y", 300_000) + `"}`, `"xxx"`},
		{"many fields", "big", `{"n":3` + strings.Repeat(`,"a":1`, 5000) + `}`, `"xxx"`},
	} {
		for range 3 { // whatever one call does, the next is not touched by it
			got := outcome(p.Call(nil, message(c.action, c.record)))
			if strings.HasPrefix(c.want, "memory") {
				got, _, _ = strings.Cut(got, " (line")
			}
			require.Equal(t, c.want, got, c.name)
			require.Equal(t, "1", outcome(p.Call(nil, message("calls", `{}`))), c.name)
		}
	}
	require.Equal(t, `{"a":1}`, outcome(p.Call([]byte(`{"a":`), []byte(`{"record":1,"action":"calls"}`)))+"}", "the result is appended")
}

func TestRandomNumbersDependOnTheChange(t *testing.T) {
	t.Parallel()
	p, q := program(t, language.Transform), program(t, language.Transform)
	of := func(p language.Program, metadata string) string {
		return outcome(p.Call(nil, []byte(`{"action":"random","record":{},"metadata":`+metadata+`}`)))
	}
	one := of(p, `{"idempotency_key":"a"}`)
	require.Equal(t, one, of(p, `{"idempotency_key":"a"}`))
	require.Equal(t, one, of(q, `{"redriven":true,"idempotency_key":"a"}`), "another worker, delivered again")
	require.NotEqual(t, one, of(p, `{"idempotency_key":"b"}`))
}

func TestFilterAndRoute(t *testing.T) {
	t.Parallel()
	f, r := program(t, language.Filter), program(t, language.Route)
	require.Equal(t, "true", outcome(f.Call(nil, message("insert", `{"wanted":true}`))))
	require.Equal(t, "false", outcome(f.Call(nil, message("insert", `{}`))))
	require.Equal(t, "runtime: wanted is no boolean, but a number (line 86)", outcome(f.Call(nil, message("insert", `{"wanted":1}`))))
	require.Equal(t, `{"topic":"a"}`, outcome(r.Call(nil, message("insert", `{"route":{"topic":"a"}}`))))
	require.Equal(t, `result: a routing function returns an object, at hand: "a"`, outcome(r.Call(nil, message("insert", `{"route":"a"}`))))
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	p := program(t, language.Transform)
	p.Interrupt(language.Errorf(language.KindTimeout, "nobody is running"))
	for range 3 {
		stop := time.AfterFunc(20*time.Millisecond, func() {
			runtime.GC() // which waits for all code to stop
			p.Interrupt(language.Errorf(language.KindTimeout, "enough"))
		})
		require.Equal(t, "timeout: enough", outcome(p.Call(nil, message("loop", `{}`))))
		stop.Stop()
		p.Interrupt(language.Errorf(language.KindTimeout, "too late"))
		require.Equal(t, "1", outcome(p.Call(nil, message("calls", `{}`))))
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	module := []byte("\x00asm\x01\x00\x00\x00")
	plain := base64.StdEncoding.EncodeToString(module)
	for name, c := range map[string]struct{ code, want string }{
		"encoded":          {wasm.Encode(module), ""},
		"the bytes":        {string(module), ""},
		"base64":           {plain, ""},
		"base64, in lines": {"\n" + plain[:4] + "\n" + plain[4:] + "\n", ""},
		"base64, named":    {"base64:" + plain, ""},
		"source":           {"package main", "this is no WebAssembly module; Go is built with sequin functions build"},
		"nothing":          {"", "this is no WebAssembly module: it does not begin with \\0asm"},
		"other base64":     {"base64:" + base64.StdEncoding.EncodeToString([]byte("hello")), "this is no WebAssembly module: it does not begin with \\0asm"},
		"damaged":          {"base64:" + plain[:5], "the base64 of the module is damaged: illegal base64 data at input byte 4"},
		"cut":              {wasm.Encode(module)[:31], "the compressed module is damaged: unexpected EOF"},
		"too big":          {wasm.Encode(append(module, make([]byte, wasm.MaxModule)...)), "the module has more than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := wasm.Decode(c.code)
			if c.want != "" {
				require.EqualError(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, module, got)
			require.True(t, wasm.IsModule(c.code))
		})
	}
	require.False(t, wasm.IsModule("function transform() {}"))
}

// The whole way: a module in a worker, with the limits of the pool.
func TestInTheSandbox(t *testing.T) {
	t.Parallel()
	code, err := everything()
	require.NoError(t, err)
	pool := sandbox.New(sandbox.Options{Workers: 1, CacheDir: cacheDir, Limits: sandbox.Limits{Compile: 2 * time.Minute}})
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	f := sandbox.NewFunction("go", language.Source{Name: "f", Entry: language.Transform, Code: []byte(wasm.Encode(code))})
	require.NoError(t, pool.Check(t.Context(), f))
	var b sandbox.Batch
	for _, action := range []string{"calls", "loop", "fill", "exit", "calls"} {
		b.Add(message(action, `{}`))
	}
	require.NoError(t, pool.Run(t.Context(), f, &b))
	got := []string{}
	for i := range b.Len() {
		result, failed := b.Result(i)
		if failed != nil {
			got = append(got, string(failed.Kind))
			continue
		}
		got = append(got, string(result))
	}
	require.Equal(t, []string{"1", "timeout", "memory", "runtime", "1"}, got)
}

const orders = `{"record":{"id":1234,"name":"Ada Lovelace","status":"pending","price":"199.99","note":"a note"},"changes":null,"action":"five","metadata":{` +
	`"table_schema":"public","table_name":"orders","commit_timestamp":"2025-07-01T10:11:12.345678Z","commit_lsn":25169288,"commit_idx":0,` +
	`"database_name":"myapp-prod","transaction_annotations":null,"idempotency_key":"MjUxNjkyODg6MA==","record_pks":["1234"],"enrichment":null,` +
	`"consumer":{"id":"5f4b8a58-6d3c-4fd1-9f4a-3c6a2a5b2d11","name":"orders_kafka","annotations":{}},` +
	`"database":{"id":"0b8f2e8c-13a3-4c0e-8a58-2b1c6c1f7a10","name":"myapp-prod","annotations":{},"database":"app","hostname":"db.internal"}}}`

// A transform in Go that makes an object of five fields, without the way to a worker.
func BenchmarkFiveFields(b *testing.B) {
	p := program(b, language.Transform)
	m := []byte(orders)
	var out []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if out, err = p.Call(out[:0], m); err != nil {
			b.Fatal(err)
		}
	}
	require.JSONEq(b, `{"id":1234,"name":"Ada Lovelace","status":"pending","total":399.98,"table":"orders"}`, string(out))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// Making a module ready, with the compiled code kept from before and without.
func BenchmarkCompile(b *testing.B) {
	code, err := everything()
	require.NoError(b, err)
	for name, dir := range map[string]string{"cold": "", "cached": cacheDir} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := wasm.New(wasm.Options{CacheDir: dir})
				p, err := r.Compile(language.Source{Entry: language.Transform, Code: code})
				require.NoError(b, err)
				require.NoError(b, p.Close())
				require.NoError(b, r.Close())
			}
		})
	}
}
