// Package runtimes lists the languages that functions can be written in, and turns what is declared of a function into what a worker runs.
package runtimes

import (
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/javascript"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/lua"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

// The names by which workers know the languages.
const (
	javaScript  = "javascript"
	luaText     = "lua"
	webAssembly = "go"
)

// elixir is the language of the original, which is converted and not run.
const elixir = "elixir"

// All makes the runtimes of a worker.
func All(s sandbox.Settings) map[string]language.Runtime {
	return map[string]language.Runtime{
		javaScript:  javascript.Runtime{},
		luaText:     lua.Runtime{},
		webAssembly: wasm.New(wasm.Options{Memory: s.Limits.Memory, CacheDir: s.CacheDir}),
	}
}

// Program is code that a worker can run.
type Program struct {
	Language string // a key of All
	Code     []byte
}

// Code is the program for a function as it is declared: code in a language. The error is a *problem.Error.
func Code(lang string, _ language.Entry, code string) (Program, error) {
	switch lang {
	case javaScript, luaText:
		return Program{lang, []byte(code)}, nil
	case webAssembly:
		module, err := wasm.Decode(code)
		return Program{webAssembly, module}, err
	}
	e := problem.New("not_in_this_version", "functions in %s are not run by this version", lang)
	if lang == elixir {
		return Program{}, e.WithHint("turn it into JavaScript: sequin functions convert --name NAME, or sequin functions convert FILE (docs/how-to/convert-functions.md)")
	}
	return Program{}, e.WithHint("write it in JavaScript or Lua: the parameters are the same (docs/reference/functions.md)")
}
