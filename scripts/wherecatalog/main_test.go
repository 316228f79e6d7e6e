package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestTheTablesAreTheServers compares what is committed with the catalog of the server at hand.
func TestTheTablesAreTheServers(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	want, err := lines(t.Context(), server.Database(t).Conn(t))
	require.NoError(t, err)
	content, err := os.ReadFile("../../internal/where/pgcatalog/catalog.txt")
	require.NoError(t, err)
	var got []string
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		text, span, limited := strings.Cut(line, " @")
		// An operator's name may hold an @ too.
		if i := strings.LastIndex(line, " @"); limited {
			text, span = line[:i], line[i+2:]
		}
		var from, to int
		if _, err := fmt.Sscanf(span, "%d-%d", &from, &to); !limited || err != nil {
			text, from, to = line, 0, 99
		}
		if major := server.Major(t); line[0] != '#' && from <= major && major <= to {
			got = append(got, text)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(t, slices.Compact(want), got, "run go run ./scripts/wherecatalog internal/where/pgcatalog/catalog.txt")
}
