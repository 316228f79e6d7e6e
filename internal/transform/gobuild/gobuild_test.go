package gobuild_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/gobuild"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

const head = "package main\n\n"

func TestBuild(t *testing.T) {
	t.Parallel()
	source := head + "import (\n\t\"encoding/json\"\n\t\"strings\"\n)\n\ntype shape struct {\n\tName string `json:\"name\"`\n}\n\n" +
		"func Transform(action string, record *Object, _, _ *Object) (Raw, error) {\n\treturn json.Marshal(shape{strings.ToUpper(record.String(\"name\"))})\n}\n"
	for name, file := range map[string]string{
		"a name that means a system": "/home/ada/shape_windows.go",
		"a name that means a test":   "shape_test.go",
		"a name of ours":             "sequin_main.go",
		"a name with surprises":      "sha*/pe.go\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			module, err := gobuild.Build(t.Context(), file, []byte(source))
			require.NoError(t, err)
			require.True(t, wasm.IsModule(string(module)))
		})
	}
	module, err := gobuild.Build(t.Context(), "shape.go", []byte(source))
	require.NoError(t, err)
	r := wasm.New(wasm.Options{})
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	p, err := r.Compile(language.Source{Entry: language.Transform, Code: module})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	result, err := p.Call(nil, []byte(`{"record":{"name":"ada"},"action":"insert"}`))
	require.NoError(t, err)
	require.Equal(t, `{"name":"ADA"}`, string(result))
	_, err = p.Call(nil, []byte(`{"record":{"name":{}},"action":"insert"}`))
	require.EqualError(t, err, "name is no text, but an object (line 13)")
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	const transform = "func Transform(action string, record, changes, metadata *Object) any "
	for name, c := range map[string]struct{ source, want string }{
		"syntax":               {head + transform + "{\n\treturn }}\n", "f.go:4:10: expected declaration, found '}'"},
		"types":                {head + transform + "{\n\treturn record.Foo() + y\n}\n", "f.go:4:16: record.Foo undefined (type *Object has no field or method Foo)\nf.go:4:24: undefined: y"},
		"unused import":        {head + "import \"os\"\n" + transform + "{ return nil }\n", `f.go:3:8: "os" imported and not used`},
		"a module":             {head + "import \"github.com/a/b\"\n" + transform + "{ return b.C }\n", `f.go:3:8: "github.com/a/b" cannot be imported; a function has the standard library`},
		"cgo":                  {head + "import \"C\"\n" + transform + "{ return nil }\n", `f.go:3:8: "C" cannot be imported; a function has the standard library`},
		"no such package":      {head + "import \"foo/bar\"\n" + transform + "{ return bar.C }\n", "f.go:3:8: package foo/bar is not in std"},
		"another package":      {"package shape\n" + transform + "{ return nil }\n", "f.go:1:9: the package is shape; it must be main"},
		"no function":          {head + "func transform() {}\n", "f.go:1:9: it defines none of Transform, Filter and Route"},
		"a main":               {head + transform + "{ return nil }\nfunc main() {}\n", "f.go:4:1: a function has no main; it is called through Transform, Filter or Route"},
		"another shape":        {head + "func Transform(record *Object) any { return nil }\n", "f.go:3:1: Transform must be func Transform(action string, record, changes, metadata *Object) any, or return (any, error)"},
		"a filter of no truth": {head + "func Filter(a string, b, c, d *Object) any { return nil }\n", "f.go:3:1: Filter must be func Filter(action string, record, changes, metadata *Object) bool, or return (bool, error)"},
		"empty":                {"", "f.go:1:1: expected 'package', found 'EOF'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gobuild.Build(t.Context(), "dir/f.go", []byte(c.source))
			found, ok := problem.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "function_source_invalid", found.Code)
			require.Contains(t, found.Detail, c.want)
		})
	}
}

func TestWithoutAToolchain(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := gobuild.Build(t.Context(), "f.go", []byte(head+"func Filter(a string, b, c, d *Object) bool { return true }\n"))
	found, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "go_not_found", found.Code)
	require.Contains(t, found.Hint, "1.24")
}

func TestWithAnOldToolchain(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/go", []byte("#!/bin/sh\necho go1.21.3\n"), 0o700))
	t.Setenv("PATH", dir)
	_, err := gobuild.Build(t.Context(), "f.go", []byte(head+"func Filter(a string, b, c, d *Object) bool { return true }\n"))
	require.EqualError(t, err, "the Go toolchain is too old: "+dir+"/go, of go1.21.3")
}

// What steers the toolchain of the user's own work does not steer this.
func TestTheEnvironmentDoesNotMatter(t *testing.T) {
	for name, value := range map[string]string{"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOARCH": "mips", "CGO_ENABLED": "1", "GOWORK": "/nowhere/go.work"} {
		t.Setenv(name, value)
	}
	_, err := gobuild.Build(t.Context(), "f.go", []byte(head+"func Filter(a string, b, c, d *Object) bool { return true }\n"))
	require.NoError(t, err)
}
