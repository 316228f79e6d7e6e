package throwaway_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// group returns how many processes of a process group live.
func group(t *testing.T, leader int) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	n := 0
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:])) // state, parent, group, …
		if fields[2] == strconv.Itoa(leader) && fields[0] != "Z" {
			n++
		}
	}
	return n
}

// find returns the process whose command line holds both texts, 0 for none.
func find(t *testing.T, program, argument string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range lines {
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte(program)) && bytes.Contains(content, []byte(argument)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(t, err)
			return pid
		}
	}
	return 0
}

func TestAnInterruptedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("/tmp", "interrupt") //nolint:usetesting // the server's user has to reach it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	require.NoError(t, os.Chmod(parent, 0o755))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := throwaway.Start(ctx, throwaway.Options{Dir: parent})
		ended <- err
	}()
	var initdb int
	require.Eventually(t, func() bool {
		initdb = find(t, "initdb", parent)
		return initdb != 0 && group(t, initdb) > 2 // itself, a shell, a server
	}, time.Minute, time.Millisecond)
	cancel()
	require.Error(t, <-ended)
	require.Eventually(t, func() bool { return group(t, initdb) == 0 }, time.Minute, time.Millisecond)
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left)
}
