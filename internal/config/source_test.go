package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/resource"
)

func environment(name string) (string, bool) {
	value, ok := map[string]string{
		"A": "one", "PORT": "5432", "EMPTY": "", "YES": "yes", "LINES": "a\n  b\n", "COLON": "a: b # c", "NULL": "null", "DOLLAR": "$A",
	}[name]
	return value, ok
}

func files(name string) ([]byte, error) {
	text, ok := map[string]string{"f.lua": "return $A\n", "binary": "\xff\xfe", "big": strings.Repeat("x", maxCodeFile+1)}[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func TestReadSource(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"nothing to do":      {"# a comment\na:   'x'\n\n\nb: [1,2]\n", "# a comment\na:   'x'\n\n\nb: [1,2]\n"},
		"empty":              {"", ""},
		"only a comment":     {"# nothing\n", "# nothing\n"},
		"a value":            {"a: $A # why\n", "a: one # why\n"},
		"stays a text":       {"port: ${PORT:-1}\nnull: $NULL\nb: $YES\n", "port: \"5432\"\nnull: \"null\"\nb: yes\n"},
		"special characters": {"a: $COLON\nb: $LINES\n", "a: 'a: b # c'\nb: |\n  a\n    b\n"},
		"unset is empty":     {"a: x${NOPE}y\nb: $EMPTY\n", "a: xy\nb: \"\"\n"},
		"keys stay":          {"$A: $A\n", "$A: one\n"},
		"escape":             {"a: $$A\nb: $DOLLAR\n", "a: $A\nb: $A\n"},
		"code stays":         {"a: $A\nf: {code: $A, x: [$A]}\n", "a: one\nf: {code: $A, x: [one]}\n"},
		"numbers stay":       {"a: 1\nb: $A\nc: 2025-01-01\n", "a: 1\nb: one\nc: 2025-01-01\n"},
		"anchors":            {"a: &x {v: $A}\nb: *x\nc: {<<: *x}\n", "a: &x {v: one}\nb: *x\nc: {<<: *x}\n"},
		"anchor into code":   {"a: &x $A\ncode: *x\n", "a: &x one\ncode: $A\n"},
		"anchor out of code": {"f: {code: &x $A}\nb: *x\n", "f: {code: &x $A}\nb: one\n"},
		"file":               {"functions:\n  - name: f\n    file: f.lua\n", "functions:\n  - name: f\n    code: |\n      return $A\n"},
		"nested file":        {"transforms: [{name: f, function: {type: path, file: f.lua}}]\n", "transforms: [{name: f, function: {type: path, code: \"return $A\\n\"}}]\n"},
		"file of a secret":   {"databases: [{password: {file: f.lua}}]\n", "databases: [{password: {file: f.lua}}]\n"},
		"json":               {`{"a": "\ud83d\ude00 $A"}`, "a: \"\\U0001F600 one\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ReadSource("x.yaml", []byte(tt.in), SourceOptions{Lookup: environment, Read: files})
			require.NoError(t, err)
			require.Equal(t, tt.want, string(s.Text))
		})
	}
}

func TestReadSourceLeavesWhatItIsNotAskedFor(t *testing.T) {
	t.Parallel()
	const text = "a: $A\nfunctions: [{file: f.lua}]\n"
	s, err := ReadSource("x.yaml", []byte(text), SourceOptions{})
	require.NoError(t, err)
	require.Equal(t, text, string(s.Text))
}

func TestReadSourceFindsMistakes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"no yaml":        {"a: 1\nb: 2\n\tc: 3\n", "x.yaml:3:1: the document is not valid YAML: found a tab character that violates indentation"},
		"two documents":  {"a: 1\n---\nb: 2\n", "x.yaml:1:1: the document holds more than one YAML document"},
		"braces":         {"a: 1\nb:\n  - ${\n", "x.yaml:3:5: b[0] has ${ without a matching }\n\twrite $$ for a dollar sign"},
		"no such file":   {"functions:\n  - file: nope\n", "x.yaml:2:5: functions[0].file cannot be read: file does not exist"},
		"file and code":  {"functions: [{file: f.lua, code: x}]", "is given beside code"},
		"file is a list": {"functions: [{file: [f.lua]}]", "is not the name of a file"},
		"not text":       {"functions: [{file: binary}]", "not text in UTF-8"},
		"too large":      {"functions: [{file: big}]", "at most 1048576 are read"},
		"holds itself":   {"a: &x {code: [*x, *x], v: $A}", "nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadSource("x.yaml", []byte(tt.in), SourceOptions{Lookup: environment, Read: files})
			var invalid *resource.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestSourceKnowsWhereThingsWere(t *testing.T) {
	t.Parallel()
	s, err := ReadSource("x.yaml", []byte("# a\n\nbase: &b\n  tls: true\nsinks:\n  - <<: *b\n    name: ${NOPE}\n    destination:\n      hosts: [a,\n        b]\n"), SourceOptions{Lookup: environment})
	require.NoError(t, err)
	for path, want := range map[string]string{
		"sinks":                           "5:1",
		"sinks[0].name":                   "7:5",
		"sinks[0].tls":                    "4:3",
		"sinks[0].destination.hosts[1]":   "10:9",
		"sinks[0].destination.topic":      "8:5",
		"sinks[0].destination.hosts[1].x": "10:9",
		"elsewhere":                       "1:1",
		"":                                "1:1",
	} {
		file, line, column := s.Position(path)
		require.Equal(t, want, fmt.Sprintf("%d:%d", line, column), path)
		require.Equal(t, "x.yaml", file)
	}
	require.Len(t, s.Warnings, 1)
	require.Equal(t, "x.yaml:7:11: sinks[0].name uses the environment variable NOPE, which is not set", s.Warnings[0].String())
}

// FuzzReadSource compares with what the server makes of the same document when it fills in the variables itself.
func FuzzReadSource(f *testing.F) {
	for _, seed := range []string{
		"a: $A\nb: [${PORT}, '$$', \"x$LINES\"]\n", "a: &x $A\ncode: *x\nb: {c: *x}\n", "f: {code: &x {v: $A}}\nb: *x\n", "a: |\n  $A\n  x\n", "a: >-\n  $LINES\n  x\n",
		"- &a [$A]\n- <<: {v: $A}\n- *a\n", "a: ! $A\nb: !!int 7\nc: !!str 7$A\n", "{\"a\": \"$A\"}", "a: &x {code: [*x], v: $A}", "? [a]\n: $A", "a: # $A\n  $A # $A\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadSource("x", []byte(text), SourceOptions{Lookup: environment})
		if err != nil {
			if _, ok := errors.AsType[*resource.InvalidError](err); !ok {
				require.ErrorContains(t, err, "cannot be written as YAML")
			}
			return
		}
		server := parseFuzzed(text, environment)
		if server == nil {
			return
		}
		client := parseFuzzed(string(s.Text), nil)
		require.NotNil(t, client, "%q", s.Text)
		requireSameTree(t, server, client)
	})
}

func parseFuzzed(text string, lookup LookupEnv) *node {
	d := &decoder{lookup: lookup, warned: map[string]bool{}, places: map[string]place{}}
	root := d.parse([]byte(text))
	if len(d.mistakes) > 0 {
		return nil
	}
	return root
}

func requireSameTree(t *testing.T, want, got *node) {
	t.Helper()
	require.Equal(t, want.kind, got.kind)
	require.Equal(t, want.text, got.text)
	require.Len(t, got.entries, len(want.entries))
	require.Len(t, got.items, len(want.items))
	for i := range want.entries {
		require.Equal(t, want.entries[i].key, got.entries[i].key)
		requireSameTree(t, want.entries[i].value, got.entries[i].value)
	}
	for i := range want.items {
		requireSameTree(t, want.items[i], got.items[i])
	}
}
