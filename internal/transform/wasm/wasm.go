// Package wasm runs functions that come as WebAssembly modules, from Go and from every other language that is compiled to them. The contract of
// a module is docs/reference/functions-go.md: it exports its memory, an allocator, one function for each entry, and a mark with the version of
// the contract; messages go in and results come out as JSON in its memory. There is WASI, with nothing in it: no files, no network, no
// arguments, a clock that stands at the change's commit, random numbers that depend on the message alone.
//
// A call begins with the memory and the globals as they were when the module had been initialised, whatever earlier calls did. That is had by
// copying back the pages that calls write to, which is cheaper than it sounds; see memory_linux.go. Modules are rewritten before they are
// compiled, so that the globals can be reached and a loop can be interrupted; see rewrite.go.
package wasm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// The contract with modules.
const (
	exportMark  = "sequin_abi_1"
	exportAlloc = "sequin_alloc"
	exportIndex = "sequin_index_1"
	exportInit  = "_initialize"
	exportStart = "_start"
)

// MaxModule is how large a module may be, in bytes.
const MaxModule = 16 << 20

const (
	textPrefix = "base64:"
	magic      = "\x00asm"
	gzipMagic  = "\x1f\x8b"
	pageSize   = 64 << 10
)

// Options configure a Runtime.
type Options struct {
	Memory   int    // how much memory a module may have in all, in bytes; default 64 MiB
	CacheDir string // where compiled modules are kept; "" for nowhere
}

// Runtime runs modules. It starts to exist with the first.
type Runtime struct {
	options Options
	once    sync.Once
	engine  wazero.Runtime
	err     error
}

// New makes a runtime.
func New(o Options) *Runtime {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	return &Runtime{options: o}
}

// Encode writes a module as the text that the code of a function is: compressed, in base64.
func Encode(module []byte) string {
	var b bytes.Buffer
	b.WriteString(textPrefix)
	text := base64.NewEncoder(base64.StdEncoding, &b)
	z, _ := gzip.NewWriterLevel(text, gzip.BestCompression) // a level that exists
	_, _ = z.Write(module)                                  // to memory
	_ = z.Close()
	_ = text.Close()
	return b.String()
}

// IsModule reports whether code is a module, or the text of one, rather than source.
func IsModule(code string) bool {
	code = strings.TrimSpace(code)
	return strings.HasPrefix(code, textPrefix) || strings.HasPrefix(code, magic) || strings.HasPrefix(code, "AGFz") || strings.HasPrefix(code, "H4sI")
}

// Decode returns the module that the code of a function is: base64 with or without "base64:" in front of it, or the bytes themselves; compressed
// by gzip or not. What is none is an *language.Error.
func Decode(code string) ([]byte, error) {
	module := []byte(code)
	if !strings.HasPrefix(code, magic) && !strings.HasPrefix(code, gzipMagic) {
		text, named := strings.CutPrefix(strings.TrimSpace(code), textPrefix)
		var err error
		if module, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			if !named && !IsModule(code) {
				return nil, language.Errorf(language.KindSyntax, "this is no WebAssembly module; Go is built with sequin functions build")
			}
			return nil, language.Errorf(language.KindSyntax, "the base64 of the module is damaged: %v", err)
		}
	}
	if bytes.HasPrefix(module, []byte(gzipMagic)) {
		unpacked, err := unpack(module)
		if err != nil {
			return nil, err
		}
		module = unpacked
	}
	switch {
	case len(module) > MaxModule:
		return nil, language.Errorf(language.KindSyntax, "the module has more than %d MiB", MaxModule>>20)
	case !bytes.HasPrefix(module, []byte(magic)):
		return nil, language.Errorf(language.KindSyntax, "this is no WebAssembly module: it does not begin with \\0asm")
	}
	return module, nil
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, language.Errorf(language.KindSyntax, "the compressed module is damaged: %v", err)
	}
	module, err := io.ReadAll(io.LimitReader(z, MaxModule+1))
	if err != nil {
		return nil, language.Errorf(language.KindSyntax, "the compressed module is damaged: %v", err)
	}
	return module, nil
}

// start makes the engine, with what modules may import.
func (r *Runtime) start() error {
	r.once.Do(func() {
		config := wazero.NewRuntimeConfig() // how much memory there is, our allocator says
		if r.options.CacheDir != "" {
			cache, err := wazero.NewCompilationCacheWithDir(r.options.CacheDir)
			if err == nil { // without it, it takes longer
				config = config.WithCompilationCache(cache)
			}
		}
		r.engine = wazero.NewRuntimeWithConfig(context.Background(), config)
		r.err = provideHost(r.engine)
	})
	return r.err
}

// Close frees what the runtime holds.
func (r *Runtime) Close() error {
	if r.engine == nil {
		return nil
	}
	return r.engine.Close(context.Background())
}

// Compile implements language.Runtime.
func (r *Runtime) Compile(s language.Source) (language.Program, error) {
	module, err := Decode(string(s.Code))
	if err != nil {
		return nil, err
	}
	if err := r.start(); err != nil {
		return nil, err
	}
	changed, globals, err := rewrite(module)
	if err != nil {
		return nil, err
	}
	ctx := experimental.WithCompilationWorkers(context.Background(), runtime.GOMAXPROCS(0))
	compiled, err := r.engine.CompileModule(ctx, changed)
	if err != nil {
		return nil, language.Errorf(language.KindSyntax, "the module cannot be used: %v", err)
	}
	for _, m := range compiled.ExportedMemories() {
		if uint64(m.Min())*pageSize > uint64(r.options.Memory) { //nolint:gosec // positive
			err := language.Errorf(language.KindSyntax, "the module begins with %d MiB of memory; at most %d are given", m.Min()/(1<<20/pageSize), r.options.Memory>>20)
			_ = compiled.Close(context.Background()) // as below
			return nil, err
		}
	}
	p := &program{runtime: r, source: s, compiled: compiled, globals: globals, size: len(changed)}
	p.source.Code = nil
	if err = checkExports(compiled, s.Entry); err == nil {
		err = p.initialise()
	}
	if err != nil {
		_ = p.Close() // what is wrong with the module counts
		return nil, err
	}
	return p, nil
}

// checkExports checks that a module keeps to the contract, so that what is missing is named before there is a message.
func checkExports(m wazero.CompiledModule, entry language.Entry) error {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	functions := m.ExportedFunctions()
	if _, ok := functions[exportMark]; !ok {
		return language.Errorf(language.KindSyntax, "the module does not export the function %s, the mark of the contract that it keeps to", exportMark)
	}
	if _, ok := functions[exportStart]; ok {
		return language.Errorf(language.KindSyntax, "the module is a program (it exports %s); build a reactor: -buildmode=c-shared, --crate-type cdylib", exportStart)
	}
	if len(m.ExportedMemories()) != 1 {
		return language.Errorf(language.KindSyntax, "the module does not export its memory")
	}
	for _, f := range []struct {
		name            string
		params, results []api.ValueType
	}{
		{exportAlloc, []api.ValueType{i32}, []api.ValueType{i32}},
		{string(entry), []api.ValueType{i32, i32}, []api.ValueType{i64}},
	} {
		d, ok := functions[f.name]
		if !ok {
			return language.Errorf(language.KindSyntax, "the module does not export the function %s", f.name)
		}
		if !bytes.Equal(d.ParamTypes(), f.params) || !bytes.Equal(d.ResultTypes(), f.results) {
			return language.Errorf(language.KindSyntax, "the module's function %s is %s; it must be %s", f.name,
				signature(d.ParamTypes(), d.ResultTypes()), signature(f.params, f.results))
		}
	}
	return nil
}

func signature(params, results []api.ValueType) string {
	names := func(types []api.ValueType) string {
		all := make([]string, 0, len(types))
		for _, t := range types {
			all = append(all, api.ValueTypeName(t))
		}
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("(%s) -> (%s)", names(params), names(results))
}
