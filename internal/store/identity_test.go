package store_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/store"
)

func TestANameKeepsItsID(t *testing.T) {
	t.Parallel()
	state := start(t)
	first, created, err := store.New(state).Identify(t.Context(), store.Sink, "orders", "db")
	require.NoError(t, err)
	require.True(t, created)
	s := store.New(state)
	again, created, err := s.Identify(t.Context(), store.Sink, "orders", "db")
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first, again)
	other, _, err := s.Identify(t.Context(), store.Database, "orders", "")
	require.NoError(t, err)
	require.NotEqual(t, first.ID, other.ID)
	all, err := s.List(t.Context(), store.Sink)
	require.NoError(t, err)
	require.Equal(t, []store.Identity{first}, all)
	require.NoError(t, s.Forget(t.Context(), store.Sink, "orders"))
	next, created, err := s.Identify(t.Context(), store.Sink, "orders", "db")
	require.NoError(t, err)
	require.True(t, created)
	require.NotEqual(t, first.ID, next.ID)
}

func TestOfThoseWhoAskAtOnceAllGetTheSameID(t *testing.T) {
	t.Parallel()
	state := start(t)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, _, err := store.New(state).Identify(t.Context(), store.Sink, "orders", "")
			if err != nil {
				t.Error(err)
			}
			ids[i] = id.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
}

// The data directories of earlier releases know names and their ids, and nothing of accounts and revisions.
func TestDataDirectoriesOfEarlierReleases(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("..", "..", "test", "upgrade", "testdata", "01")
	dir := unpack(t, golden+".tar.gz")
	content, err := os.ReadFile(golden + ".json")
	require.NoError(t, err)
	var want struct {
		Identities map[store.Kind][]struct{ ID string }
	}
	require.NoError(t, json.Unmarshal(content, &want))

	e, err := embedded.Open(t.Context(), embedded.Options{Dir: dir, AllowEphemeral: true, ReserveBytes: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	s := store.New(e.State())
	before := dump(t, e.State())
	require.NoError(t, s.Tidy(t.Context()))
	for kind, identities := range want.Identities {
		require.NotEmpty(t, identities)
		got, err := s.List(t.Context(), kind)
		require.NoError(t, err)
		require.Len(t, got, len(identities))
		for i := range got {
			require.Equal(t, identities[i].ID, got[i].ID)
			require.NotEmpty(t, got[i].Name)
		}
	}
	require.Empty(t, accountNames(t, s))
	require.Empty(t, tokenIDs(t, s))
	require.Equal(t, before, dump(t, e.State()), "reading changes nothing")

	a, err := s.CreateAccount(t.Context(), "default")
	require.NoError(t, err)
	_, err = s.Commit(t.Context(), a.ID, 0, store.Revision{}, []store.Object{object("a", "a1")})
	require.NoError(t, err)
	after := dump(t, e.State())
	for key, value := range before {
		require.Equal(t, value, after[key], "what was there is not touched")
	}
}

// unpack makes a directory of an archive of one.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		require.NoError(t, err)
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(path, 0o700))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
}
