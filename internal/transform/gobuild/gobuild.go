// Package gobuild makes a WebAssembly module of a small Go file that defines Transform, Filter or Route. It puts the file beside its SDK, in a
// directory of its own, and calls the Go toolchain, which fetches nothing: a function has the standard library. The package is for those who
// write functions; the server never builds anything.
package gobuild

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/language"
)

//go:embed sdk/object.go sdk/scan.go sdk/write.go sdk/index.go sdk/call.go
var sdk embed.FS

// The codes of the errors that Build returns.
const (
	CodeSourceInvalid = "function_source_invalid"
	CodeGoNotFound    = "go_not_found"
)

const (
	minorVersion = 24 // of Go 1, the first with go:wasmexport in libraries
	maxSource    = 1 << 20
	docs         = "docs/reference/functions-go.md tells what a function looks like"
)

// entries are the functions that a file may define, and the type that each returns.
var entries = []struct { //nolint:gochecknoglobals // a table
	name, result string
	entry        language.Entry
}{
	{"Transform", "any", language.Transform},
	{"Filter", "bool", language.Filter},
	{"Route", "any", language.Route},
}

// Build makes a module of a file's source. The name is for messages. Mistakes in the source are *problem.Errors with file, line and column.
func Build(ctx context.Context, name string, source []byte) ([]byte, error) {
	if name = filepath.Base(name); !plainName.MatchString(name) || strings.HasPrefix(name, "sequin_") {
		name = sourceFile // which the compiler, and what reads its traces, can live with
	}
	glue, err := check(name, source)
	if err != nil {
		return nil, err
	}
	compiler, err := toolchain(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sequin-function-")
	if err != nil {
		return nil, err
	}
	module, err := build(ctx, compiler, dir, name, source, glue)
	return module, errors.Join(err, os.RemoveAll(dir))
}

var plainName = regexp.MustCompile(`^[\w.-]+\.go$`)

// toolchain finds a Go that is new enough.
func toolchain(ctx context.Context) (string, error) {
	const hint = "install Go 1.24 or newer from https://go.dev/dl, or build a module elsewhere and use that"
	path, err := exec.LookPath("go")
	if err != nil {
		return "", problem.New(CodeGoNotFound, "functions in Go need the Go toolchain to build them, and there is no go in the PATH").WithHint(hint).Because(err)
	}
	cmd := exec.CommandContext(ctx, path, "env", "GOVERSION") //nolint:gosec // what the PATH says
	cmd.Env = environment()
	cmd.Dir = os.TempDir()
	out, err := cmd.Output()
	if err != nil {
		return "", problem.New(CodeGoNotFound, "the Go toolchain does not run").WithDetail("%v", err).WithHint(hint).Because(err)
	}
	version := strings.TrimSpace(string(out))
	if m := regexp.MustCompile(`^go1\.(\d+)`).FindStringSubmatch(version); m != nil {
		if minor, err := strconv.Atoi(m[1]); err == nil && minor < minorVersion {
			return "", problem.New(CodeGoNotFound, "the Go toolchain is too old").WithDetail("%s, of %s", path, version).WithHint(hint)
		}
	}
	return path, nil
}

// environment is what the toolchain needs of ours, and nothing of what could steer it elsewhere.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "CGO_"), strings.HasPrefix(name, "GO") && name != "GOCACHE" && name != "GOROOT" && name != "GOPATH":
		default:
			env = append(env, v)
		}
	}
	return append(env, "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOENV=off", "GOWORK=off", "GOPROXY=off", "GOTOOLCHAIN=local", "GO111MODULE=on",
		"CGO_ENABLED=0", "GOTELEMETRY=off")
}

const sourceFile = "function.go"

func build(ctx context.Context, compiler, dir, name string, source, glue []byte) ([]byte, error) {
	files := map[string][]byte{
		"go.mod":         fmt.Appendf(nil, "module function\n\ngo 1.%d\n", minorVersion),
		"sequin_main.go": glue,
		// The file's name may mean something to the toolchain (x_linux.go, x_test.go); messages have it all the same.
		sourceFile: append([]byte("/*line "+name+":1:1*/"), source...),
	}
	embedded, err := sdk.ReadDir("sdk")
	if err != nil {
		return nil, err
	}
	for _, f := range embedded {
		content, err := sdk.ReadFile("sdk/" + f.Name())
		if err != nil {
			return nil, err
		}
		files["sequin_"+f.Name()] = bytes.Replace(content, []byte("package sdk\n"), []byte("package main\n"), 1)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, compiler, "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "module.wasm", ".")
	cmd.Dir, cmd.Env = dir, environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, invalid(mistakes(stderr.String(), err))
	}
	return os.ReadFile(filepath.Join(dir, "module.wasm"))
}

func invalid(detail string) *problem.Error {
	return problem.New(CodeSourceInvalid, "the function cannot be built").WithDetail("%s", detail).WithHint("correct the file; %s", docs)
}

// mistakes makes of what the compiler wrote the lines that are about the user's file.
func mistakes(wrote string, err error) string {
	var lines []string
	for line := range strings.Lines(wrote) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		lines = append(lines, strings.TrimPrefix(line, "./"))
	}
	if len(lines) == 0 {
		return err.Error()
	}
	return strings.Join(lines, "\n")
}

// check reads the source and writes the file that exports its functions.
func check(name string, source []byte) (glue []byte, err error) {
	if len(source) > maxSource {
		return nil, invalid(fmt.Sprintf("%s has more than %d bytes", name, maxSource))
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		if list, ok := errors.AsType[scanner.ErrorList](err); ok {
			list.RemoveMultiples()
			var lines []string
			for _, e := range list {
				lines = append(lines, e.Error())
			}
			return nil, invalid(strings.Join(lines, "\n"))
		}
		return nil, invalid(err.Error())
	}
	var wrong []string
	add := func(at token.Pos, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s: %s", files.Position(at), fmt.Sprintf(format, args...)))
	}
	if file.Name.Name != "main" {
		add(file.Name.Pos(), "the package is %s; it must be main", file.Name.Name)
	}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value) // the parser has seen to it
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") || path == "C" {
			add(spec.Pos(), "%s cannot be imported; a function has the standard library", spec.Path.Value)
		}
	}
	var calls bytes.Buffer
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		if f.Name.Name == "main" {
			add(f.Pos(), "a function has no main; it is called through Transform, Filter or Route")
		}
		for _, e := range entries {
			if f.Name.Name == e.name {
				writeCall(&calls, e.entry, e.name, e.result, f, add)
			}
		}
	}
	if calls.Len() == 0 && len(wrong) == 0 {
		add(file.Name.Pos(), "it defines none of Transform, Filter and Route")
	}
	if len(wrong) > 0 {
		return nil, invalid(strings.Join(wrong, "\n"))
	}
	return fmt.Appendf(nil, glueHead, name, calls.String()), nil
}

// glueHead is the file that exports what the host calls; the exports of the user's functions follow.
const glueHead = `package main

import "unsafe"

func main() {}

func init() { prepare(%q) }

//go:wasmexport sequin_abi_1
func sequinABI1() {}

//go:wasmimport wasi_snapshot_preview1 random_get
func sequinRandom(to unsafe.Pointer, n uint32) uint32

// Random returns random bits that depend on the change alone, so that a message that is delivered again gives the same result.
func Random() (bits uint64) {
	sequinRandom(unsafe.Pointer(&bits), 8)
	return bits
}

//go:wasmexport sequin_alloc
func sequinAlloc(n uint32) unsafe.Pointer { return inputRoom(n) }

//go:wasmexport sequin_index_1
func sequinIndex1() unsafe.Pointer { return indexRoom() }
%s`

// writeCall writes the exported function that calls one of the user's.
func writeCall(b *bytes.Buffer, entry language.Entry, name, result string, f *ast.FuncDecl, add func(token.Pos, string, ...any)) {
	var params []string
	for _, p := range f.Type.Params.List {
		for range max(len(p.Names), 1) {
			params = append(params, types.ExprString(p.Type))
		}
	}
	var results []string
	if f.Type.Results != nil {
		for _, r := range f.Type.Results.List {
			for range max(len(r.Names), 1) {
				results = append(results, types.ExprString(r.Type))
			}
		}
	}
	withError := len(results) == 2 && results[1] == "error"
	fits := strings.Join(params, ", ") == "string, *Object, *Object, *Object" && (len(results) == 1 && results[0] != "error" || withError)
	if !fits || f.Type.TypeParams != nil || result == "bool" && results[0] != "bool" {
		add(f.Pos(), "%s must be func %s(action string, record, changes, metadata *Object) %s, or return (%s, error)", name, name, result, result)
		return
	}
	call := name + "(m.action, m.record, m.changes, m.metadata)"
	if !withError {
		call += ", nil"
	}
	fmt.Fprintf(b, "\n//go:wasmexport %s\nfunc sequin%s(at unsafe.Pointer, n uint32) int64 {\n\treturn call(at, n, func(m *message) (any, error) { return %s })\n}\n", entry, name, call)
}
