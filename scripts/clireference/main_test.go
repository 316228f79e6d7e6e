package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageIsFresh(t *testing.T) {
	t.Parallel()
	want, err := render()
	require.NoError(t, err)
	got, err := os.ReadFile("../../docs/reference/cli.md")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run make generate")
}
