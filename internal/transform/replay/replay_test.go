package replay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/replay"
)

func TestClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ metadata, want string }{
		"the commit":     {`{"commit_lsn":1,"commit_timestamp":"2026-11-22T10:11:12.345678Z"}`, "2026-11-22T10:11:12.345678Z"},
		"another zone":   {`{"commit_timestamp":"2026-11-22T10:11:12+02:00"}`, "2026-11-22T08:11:12Z"},
		"none":           {`{}`, "1970-01-01T00:00:00Z"},
		"null":           {`{"commit_timestamp":null}`, "1970-01-01T00:00:00Z"},
		"no metadata":    {``, "1970-01-01T00:00:00Z"},
		"not a time":     {`{"commit_timestamp":"infinity"}`, "1970-01-01T00:00:00Z"},
		"only the inner": {`{"x":{"commit_timestamp":"2026-11-22T10:11:12Z"}}`, "1970-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, replay.Clock([]byte(c.metadata)).Format(time.RFC3339Nano))
		})
	}
}

func TestRandomIsTheSameForTheSameKey(t *testing.T) {
	t.Parallel()
	roll := func(metadata string) uint64 { return replay.Random([]byte(metadata)).Uint64() }
	require.Equal(t, roll(`{"idempotency_key":"a"}`), roll(`{"x":1,"idempotency_key":"a"}`))
	require.NotEqual(t, roll(`{"idempotency_key":"a"}`), roll(`{"idempotency_key":"b"}`))
	require.Equal(t, uint64(0x20b355843e8afcd), roll(`{"idempotency_key":"MjUxNjkyODg6MA=="}`), "results of functions must not change with a new version")
}
