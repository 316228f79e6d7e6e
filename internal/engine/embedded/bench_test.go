package embedded_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
)

// benchOpen opens an engine on the disk that TMPDIR names: a tmpfs would flatter it.
func benchOpen(b *testing.B) *embedded.Engine {
	b.Helper()
	e, err := embedded.Open(b.Context(), embedded.Options{Dir: b.TempDir(), AllowEphemeral: true})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	return e
}

func cpu() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// procField reads one number of a /proc/self file, 0 where there is none.
func procField(file, field string) float64 {
	data, err := os.ReadFile("/proc/self/" + file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var v float64
		if rest, ok := strings.CutPrefix(line, field); ok {
			if _, err := fmt.Sscan(strings.TrimSpace(strings.TrimPrefix(rest, ":")), &v); err == nil {
				return v
			}
		}
	}
	return 0
}

// BenchmarkAppend writes incompressible blocks of 256 KiB, n at a time, and reports CPU seconds per GB, bytes written to the disk per byte
// and the most memory resident.
func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 4} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			e := benchOpen(b)
			l, err := e.Log(b.Context(), "bench")
			require.NoError(b, err)
			data := make([]byte, 256<<10)
			_, err = rand.Read(data)
			require.NoError(b, err)
			blocks := make([]engine.Block, group)
			b.SetBytes(int64(group * len(data)))
			cpu0, disk0 := cpu(), procField("io", "write_bytes")
			first := uint64(1)
			for b.Loop() {
				for i := range blocks {
					blocks[i] = engine.Block{First: first, Data: data}
					first += 100
				}
				require.NoError(b, l.Append(b.Context(), blocks...))
			}
			gb := float64(b.N) * float64(group*len(data)) / 1e9
			b.ReportMetric((cpu()-cpu0).Seconds()/gb, "cpu-s/GB")
			b.ReportMetric((procField("io", "write_bytes")-disk0)/gb/1e9, "disk-B/B")
			b.ReportMetric(procField("status", "VmHWM")/1024, "peak-MiB")
		})
	}
}

// BenchmarkAcks measures state commits beside a log that fills as fast as it can.
func BenchmarkAcks(b *testing.B) {
	e := benchOpen(b)
	l, err := e.Log(b.Context(), "bench")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var filler sync.WaitGroup
	filler.Go(func() {
		data := make([]byte, 256<<10)
		for first := uint64(1); ctx.Err() == nil; first++ {
			if err := l.Append(ctx, engine.Block{First: first, Data: data}); err != nil && ctx.Err() == nil {
				b.Error(err)
				return
			}
		}
	})
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		require.NoError(b, e.State().Apply(b.Context(), engine.Put("cursor", []byte("12345678"))))
		took = append(took, time.Since(start))
	}
	cancel()
	filler.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
}

// BenchmarkRead reads blocks of 256 KiB one after another, from the disk.
func BenchmarkRead(b *testing.B) {
	e := benchOpen(b)
	l, err := e.Log(b.Context(), "bench")
	require.NoError(b, err)
	data := make([]byte, 256<<10)
	const blocks = 2000
	for i := range blocks {
		require.NoError(b, l.Append(b.Context(), engine.Block{First: uint64(i) + 1, Data: data}))
	}
	b.SetBytes(int64(len(data)))
	seq := uint64(0)
	for b.Loop() {
		seq = seq%blocks + 1
		_, err := l.Read(b.Context(), seq)
		require.NoError(b, err)
	}
}
