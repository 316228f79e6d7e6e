package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// decoders read what is stored of each kind.
var decoders = map[string]func([]byte) (any, error){
	config.KindDatabase:        func(b []byte) (any, error) { return decoded(config.DecodeDatabase(b)) },
	config.KindChangeRetention: func(b []byte) (any, error) { return decoded(config.DecodeChangeRetention(b)) },
	config.KindHTTPEndpoint:    func(b []byte) (any, error) { return decoded(config.DecodeEndpoint(b)) },
	config.KindFunction:        func(b []byte) (any, error) { return decoded(config.DecodeFunction(b)) },
	config.KindSink:            func(b []byte) (any, error) { return decoded(config.DecodeSink(b)) },
}

func decoded[T any](x T, err error) (any, error) { return x, err }

// The records in testdata/stored were written by the releases that they are named after, and are never rewritten: every later release reads
// them as they were meant. The .golden beside each says how.
func TestStoredRecordsOfEveryRelease(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	files, err := filepath.Glob("testdata/stored/*.json")
	require.NoError(t, err)
	for _, file := range files {
		kind, _, _ := strings.Cut(filepath.Base(file), ".")
		seen[kind] = true
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		x, err := decoders[kind](data)
		require.NoError(t, err, file)
		text, err := json.MarshalIndent(x, "", "  ")
		require.NoError(t, err)
		golden(t, strings.TrimSuffix(file, ".json")+".golden", string(text)+"\n")
	}
	for kind := range decoders {
		require.True(t, seen[kind], "no record of a %s", kind)
	}
}

// A record without a key that came later means what it meant.
func TestStoredRecordWithoutLaterKeys(t *testing.T) {
	t.Parallel()
	sink, err := config.DecodeSink([]byte(`{"name":"old"}`))
	require.NoError(t, err)
	want := resource.NewSink()
	want.Name = "old"
	same(t, want, sink, "")
	database, err := config.DecodeDatabase([]byte(`{"name":"old"}`))
	require.NoError(t, err)
	require.Equal(t, resource.NewDatabase().Retention, database.Retention)
}

func TestStoredRecordOfALaterRelease(t *testing.T) {
	t.Parallel()
	for kind, decode := range decoders {
		_, err := decode([]byte(`{"name":"x","teleport":"hunter2"}`))
		p, ok := problem.As(err)
		require.True(t, ok, kind)
		require.Equal(t, "declaration_of_newer_release", p.Code)
		require.Contains(t, p.Detail, `"teleport"`)
		require.NotContains(t, p.Text(), "hunter2")

		for _, damaged := range []string{"", "[]", `{"name":`, `{"name":["hunter2"]}`, `"hunter2"`} {
			_, err := decode([]byte(damaged))
			p, ok := problem.As(err)
			require.True(t, ok, "%s: %s", kind, damaged)
			require.Equal(t, "declaration_damaged", p.Code)
			require.NotContains(t, p.Text(), "hunter2")
		}
	}
}

func TestEncodeKnowsTheKind(t *testing.T) {
	t.Parallel()
	_, err := config.Encode(config.KindSink, resource.NewDatabase())
	require.ErrorContains(t, err, "a database is no sink")
	_, err = config.Encode(config.KindSink, 7)
	require.ErrorContains(t, err, "int")
}
