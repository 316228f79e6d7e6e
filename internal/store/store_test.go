package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start opens the engine that Sequin runs on, in a directory of the test's own.
func start(t *testing.T) engine.State {
	t.Helper()
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), AllowEphemeral: true, ReserveBytes: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e.State()
}

// memory opens it on a disk in memory, for tests that write very often.
func memory(t *testing.T) engine.State {
	t.Helper()
	e, err := powerloss.New().Open(t.Context(), powerloss.Options{Options: embedded.Options{ReserveBytes: -1, MemtableBytes: 256 << 10}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e.State()
}

// dump is everything that the state store holds.
func dump(t *testing.T, state engine.State) map[string]string {
	t.Helper()
	all := map[string]string{}
	for entry, err := range state.List(t.Context(), "") {
		require.NoError(t, err)
		all[entry.Key] = string(entry.Value)
	}
	return all
}

var day = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// object is an object that is new or changed.
func object(id, data string) store.Object {
	return store.Object{Kind: "sink", ID: id, Name: "name of " + id, InsertedAt: day, UpdatedAt: day.Add(time.Hour), Data: []byte(data)}
}

// same is an object as an earlier revision wrote it.
func same(id string, written uint64) store.Object {
	o := object(id, "")
	o.Data, o.Written = nil, written
	return o
}

// texts shows objects as "id@written=data".
func texts(objects []store.Object) []string {
	all := make([]string, len(objects))
	for i, o := range objects {
		all[i] = fmt.Sprintf("%s@%d=%s", o.ID, o.Written, o.Data)
	}
	return all
}
