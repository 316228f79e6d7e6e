package elixir_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/elixir"
	"github.com/sequinstream/sequin/internal/transform/javascript"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// show prints the JavaScript of the functions of the corpus: go test -run TestCorpus -show -v.
var show = flag.Bool("show", false, "print what the functions become")

// outcome is what Elixir itself made of a message.
type outcome struct {
	Value json.RawMessage
	Error string
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func corpus(t testing.TB) *txtar.Archive {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/corpus.txtar")
	require.NoError(t, err)
	return archive
}

// TestCorpus runs the converted functions on the messages that Elixir ran the functions on: make golden-elixir.
func TestCorpus(t *testing.T) {
	t.Parallel()
	archive := corpus(t)
	var messages []json.RawMessage
	var golden map[string][]outcome
	readJSON(t, "testdata/messages.json", &messages)
	readJSON(t, "testdata/corpus.golden.json", &golden)
	require.Len(t, golden, len(archive.Files), "each function has its outcomes; make golden-elixir writes them anew")
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			converted, err := elixir.Convert(string(file.Data))
			require.NoError(t, err)
			if *show {
				t.Log("\n" + converted.Code[strings.LastIndex(converted.Code, "\nfunction "+converted.Entry+"(")+1:])
			}
			program := compile(t, converted)
			require.Len(t, golden[file.Name], len(messages))
			for i, want := range golden[file.Name] {
				got, err := program.Call(nil, messages[i])
				if converted.Entry == "filter" && string(want.Value) != "true" && string(want.Value) != "false" {
					want.Error = "no boolean"
				}
				if want.Error != "" {
					require.Error(t, err, "message %d: Elixir raised %s, JavaScript gave %s", i, want.Error, got)
					require.NotContains(t, err.Error(), "is not defined")
					require.NotContains(t, err.Error(), "is not a function")
					continue
				}
				require.NoError(t, err, "message %d: Elixir gave %s", i, want.Value)
				require.Equal(t, canonical(t, want.Value), canonical(t, got), "message %d", i)
			}
		})
	}
}

func compile(t testing.TB, converted *elixir.Result) language.Program {
	t.Helper()
	program, err := javascript.Runtime{}.Compile(language.Source{Name: "converted", Entry: language.Entry(converted.Entry), Code: []byte(converted.Code), Output: 1 << 20})
	require.NoError(t, err, converted.Code)
	t.Cleanup(func() { require.NoError(t, program.Close()) })
	return program
}

// canonical puts the keys in order. An integer stays another one than a float, to the last digit; a float is its value.
func canonical(t testing.TB, text []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), "%s", text)
	var b strings.Builder
	write(&b, v)
	return b.String()
}

func write(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		b.WriteString("{\n")
		for _, key := range keys {
			b.WriteString(key + ": ")
			write(b, v[key])
		}
		b.WriteString("}\n")
	case []any:
		b.WriteString("[\n")
		for _, element := range v {
			write(b, element)
		}
		b.WriteString("]\n")
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			_, _ = b.WriteString("float ")
			_ = json.NewEncoder(b).Encode(f)
			return
		}
		b.WriteString(v.String() + "\n")
	default:
		_ = json.NewEncoder(b).Encode(v)
	}
}
