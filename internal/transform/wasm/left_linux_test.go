package wasm_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

// What a module holds is given back.
func TestNothingIsLeft(t *testing.T) {
	code, err := everything()
	require.NoError(t, err)
	count := func() (mappings, descriptors int) {
		b, err := os.ReadFile("/proc/self/maps")
		require.NoError(t, err)
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return bytes.Count(b, []byte("sequin-module")), len(entries)
	}
	mappings, descriptors := count()
	for range 3 {
		r := wasm.New(wasm.Options{CacheDir: cacheDir})
		p, err := r.Compile(language.Source{Entry: language.Transform, Code: code})
		require.NoError(t, err)
		require.Equal(t, "20971520", outcome(p.Call(nil, message("grow", `{}`))), "which takes another instance")
		require.Equal(t, "1", outcome(p.Call(nil, message("calls", `{}`))))
		require.NoError(t, p.Close())
		require.NoError(t, r.Close())
	}
	after, open := count()
	require.LessOrEqual(t, after, mappings)
	require.LessOrEqual(t, open, descriptors+1, "the page table of the process stays open")
}
