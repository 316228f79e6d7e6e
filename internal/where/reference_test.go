package where_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/where"
)

var update = flag.Bool("update", false, "write generated files anew")

const (
	referencePage   = "../../docs/reference/filters.md"
	generatedMarker = "<!-- What follows is written by go generate ./internal/where. -->\n"
)

// TestReferenceListsEverything keeps the page and the tables of what is supported the same.
func TestReferenceListsEverything(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(referencePage)
	require.NoError(t, err)
	head, _, found := strings.Cut(string(page), generatedMarker)
	require.True(t, found)
	want := head + generatedMarker + "\n" + where.Reference()
	if *update {
		require.NoError(t, os.WriteFile(referencePage, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(page), "run go generate ./internal/where")
}
