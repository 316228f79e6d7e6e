package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"CI_TOKEN":    "c1c1c1c1c1c1c1c1c1c1c1c1",
		"PG_PORT":     "6543",
		"PG_PASSWORD": "pa$$word ${not again}",
		"EMPTY":       "",
	}[name]
	return v, ok
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update if that is intended:\n%s", file, diff)
	}
}

func TestGoodFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			set, warnings, err := config.Parse(filepath.Base(file), data, testEnv)
			require.NoError(t, err)
			var b strings.Builder
			for _, w := range warnings {
				b.WriteString("warning: " + w.String() + "\n")
			}
			text, err := json.MarshalIndent(set, "", "  ")
			require.NoError(t, err)
			b.Write(text)
			b.WriteByte('\n')
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", b.String())
		})
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			set, warnings, err := config.Parse(filepath.Base(file), data, testEnv)
			require.Nil(t, set)
			var invalid *resource.InvalidError
			require.ErrorAs(t, err, &invalid)
			for _, m := range invalid.Mistakes {
				require.NotZero(t, m.Line, "%s %s", m.Path, m.What)
				require.NotEmpty(t, m.Code)
			}
			var b strings.Builder
			for _, w := range warnings {
				b.WriteString("warning: " + w.String() + "\n")
			}
			b.WriteString(err.Error() + "\n")
			require.NotContains(t, b.String(), "hunter2")
			require.NotContains(t, b.String(), "cret@")
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", b.String())
		})
	}
}

func TestErrorIsAProblemWithFields(t *testing.T) {
	t.Parallel()
	_, _, err := config.Parse("f.yaml", []byte("databases: [{name: a b}]"), nil)
	p, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, "validation_failed", p.Code)
	require.Contains(t, p.Fields, "databases[0].name")
	require.Contains(t, p.Detail, "f.yaml:1:20: databases[0].name")
}

func TestSecretsKeepTheirText(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/good/full.yaml")
	require.NoError(t, err)
	set, _, err := config.Parse("full.yaml", data, testEnv)
	require.NoError(t, err)
	require.Equal(t, "pa$$word ${not again}", set.Databases[0].Password.Reveal())
	require.Equal(t, "p/w", set.Databases[1].Password.Reveal())
	require.Equal(t, "Bearer $literal", set.HTTPEndpoints[0].EncryptedHeaders["Authorization"].Reveal())
	require.Equal(t, "c1c1c1c1c1c1c1c1c1c1c1c1", set.APITokens[0].Token.Reveal())
	require.JSONEq(t, `{"team":"core","tier":1,"tags":["a","b"],"nested":{"on":true,"ratio":0.5,"none":null,"hex":16}}`, string(set.Databases[0].Annotations))
}

func TestWithoutLookupVariablesStay(t *testing.T) {
	t.Parallel()
	set, _, err := config.Parse("x", []byte("account: {name: \"${HOME} $$\"}"), nil)
	require.NoError(t, err)
	require.Equal(t, "${HOME} $$", set.Account.Name)
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	_, _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, "config_unreadable", problem.Code(err))
}

// A document whose aliases double at each step must be refused, not expanded.
func TestAliasesDoNotMultiply(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x-0: &a0 {k: v}\n")
	for i := 1; i < 60; i++ {
		prev := "*a" + string(rune('0'+(i-1)/10)) + string(rune('0'+(i-1)%10))
		if i == 1 {
			prev = "*a0"
		}
		b.WriteString("x-" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ": &a" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + " [" + prev + ", " + prev + "]\n")
	}
	b.WriteString("databases: [{name: a, hostname: h, database: d, slot: {name: s}, publication: {name: p}, annotations: {bomb: *a59}}]\n")
	start := time.Now()
	_, _, err := config.Parse("bomb", []byte(b.String()), nil)
	require.Error(t, err)
	require.Less(t, time.Since(start), 10*time.Second)
}

// So must one whose merge keys pile up.
func TestMergesDoNotMultiply(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x-0: &a0 {")
	for i := range 1000 {
		fmt.Fprintf(&b, "k%d: 1, ", i)
	}
	b.WriteString("end: 1}\n")
	for i := 1; i < 3000; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d {<<: *a%d, n%d: 1}\n", i, i, i-1, i)
	}
	_, _, err := config.Parse("merges", []byte(b.String()), nil)
	require.ErrorContains(t, err, "aliases")
	require.Less(t, len(err.Error()), 1000, "said once")
}

func TestLaterKeysMayBeSwitchedOff(t *testing.T) {
	t.Parallel()
	doc := `
databases: [{name: d, hostname: h, database: d, slot: {name: s}, publication: {name: p}}]
sinks: [{name: s, database: d, destination: {type: sequin_stream}, filter: none, transform: ~, routing: nil, enrichment: "none", initial_backfill: []}]
functions: []
`
	_, warnings, err := config.Parse("x", []byte(doc), nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
}

func TestMisspelledSectionIsSuggested(t *testing.T) {
	t.Parallel()
	_, warnings, err := config.Parse("x", []byte("database: []\nx-any: {a: 1}\nanchors: {b: 2}\n"), nil)
	require.NoError(t, err)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0].String(), "did you mean databases?")
	require.Contains(t, warnings[1].String(), "x-anchors")
}
