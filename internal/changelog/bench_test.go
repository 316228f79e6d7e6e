package changelog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
)

// discard stores nothing but remembers what a reader benchmark needs.
type discard struct {
	memory
	keep bool
}

func (d *discard) Append(ctx context.Context, blocks ...engine.Block) error {
	if d.keep {
		return d.memory.Append(ctx, blocks...)
	}
	return nil
}

// benchRows are rows of about 200 bytes, as an order table may have.
func benchRows(n int) []cdc.Tuple {
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]cdc.Tuple, n)
	for i := range rows {
		note := make([]byte, 60)
		for j := range note {
			note[j] = "abcdefghijklmnopqrstuvwxyz      "[r.IntN(32)]
		}
		rows[i] = cdctest.Tuple(
			strconv.Itoa(1_000_000+i), fmt.Sprintf("customer-%d@example.com", r.IntN(100_000)), fmt.Sprintf("%d.%02d", r.IntN(10_000), r.IntN(100)),
			[]string{"pending", "paid", "shipped"}[r.IntN(3)], "2025-07-01 10:11:12.345678+00", note,
			fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48)),
		)
	}
	return rows
}

func benchTable() *cdc.Relation {
	return table(16400, "orders", "id", "email", "price", "status", "at", "note", "ref")
}

func runLog(b *testing.B, o changelog.Options) *changelog.Log {
	b.Helper()
	l, err := changelog.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return l
}

// fill writes n changes in transactions of per rows, flushing after every flush transactions (0: never).
func fill(b *testing.B, w *changelog.Writer, rows []cdc.Tuple, n, per, flush int) {
	b.Helper()
	for i, x := 0, 0; i < n; x++ {
		lsn := cdc.LSN(1 + i*500)
		w.Begin(uint32(x), lsn, cdc.Timestamp(1_700_000_000_000_000+x*100))
		for range per {
			if err := w.Change(cdc.OpInsert, 16400, 0, nil, rows[i%len(rows)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
		if err := w.Commit(lsn + 48); err != nil {
			b.Fatal(err)
		}
		if flush > 0 && x%flush == 0 {
			w.Flush()
		}
	}
	w.Flush()
}

func BenchmarkWrite(b *testing.B) {
	rows := benchRows(1000)
	for _, per := range []int{1, 100} {
		for _, flush := range []int{0, 1} {
			b.Run(fmt.Sprintf("per=%d/flush=%d", per, flush), func(b *testing.B) {
				l := runLog(b, changelog.Options{Blocks: &discard{}})
				w := l.Writer(0)
				w.Relation(benchTable())
				b.ReportAllocs()
				b.SetBytes(int64(len(rows[0])))
				b.ResetTimer()
				fill(b, w, rows, b.N, per, flush)
				if err := l.Wait(b.Context(), uint64(b.N)-1); err != nil {
					b.Fatal(err)
				}
				s := l.Stats()
				b.ReportMetric(float64(s.StoredBytes)/float64(s.RawBytes), "stored/raw")
				b.ReportMetric(float64(s.Entries)/float64(s.Blocks), "entries/block")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	rows := benchRows(1000)
	for _, kib := range []int{64, 256, 1024} {
		b.Run(fmt.Sprintf("block=%dKiB", kib), func(b *testing.B) {
			const n = 200_000
			m := &discard{keep: true}
			l := runLog(b, changelog.Options{Blocks: m, CacheBytes: 1, BlockBytes: kib << 10})
			w := l.Writer(0)
			w.Relation(benchTable())
			fill(b, w, rows, n, 10, 0)
			if err := l.Wait(b.Context(), n-1); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(rows[0])))
			b.ResetTimer()
			for read, seq := 0, uint64(1); read < b.N; {
				seg, err := l.Segment(b.Context(), seq)
				if err != nil {
					b.Fatal(err)
				}
				read += len(seg.Changes)
				if seq = seg.Last + 1; seq > n {
					seq = 1
				}
			}
		})
	}
}

// BenchmarkEmbedded is the whole way: written, synced by the embedded engine, and read by one reader that keeps up.
func BenchmarkEmbedded(b *testing.B) {
	rows := benchRows(1000)
	for _, kib := range []int{128, 256, 512, 1024} {
		b.Run(fmt.Sprintf("block=%dKiB", kib), func(b *testing.B) {
			e, err := embedded.Open(b.Context(), embedded.Options{Dir: b.TempDir(), AllowEphemeral: true})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			blocks, err := e.Log(b.Context(), "bench")
			if err != nil {
				b.Fatal(err)
			}
			l := runLog(b, changelog.Options{Blocks: blocks, BlockBytes: kib << 10})
			w := l.Writer(0)
			w.Relation(benchTable())
			b.ReportAllocs()
			b.SetBytes(int64(len(rows[0])))
			b.ResetTimer()
			read := make(chan error, 1)
			go func() { read <- follow(b.Context(), l, uint64(b.N)) }()
			fill(b, w, rows, b.N, 10, 0)
			if err := <-read; err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s := l.Stats()
			b.ReportMetric(float64(s.CacheHits)/float64(s.CacheHits+s.CacheMisses), "hits")
			b.ReportMetric(float64(s.Blocks)/float64(s.Syncs), "blocks/sync")
		})
	}
}

// BenchmarkLatency is one small transaction at a time: from Begin until a waiting reader has its changes.
func BenchmarkLatency(b *testing.B) {
	e, err := embedded.Open(b.Context(), embedded.Options{Dir: b.TempDir(), AllowEphemeral: true})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	blocks, err := e.Log(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	for name, blocks := range map[string]engine.Log{"embedded": blocks, "memory": &discard{}} {
		b.Run(name, func(b *testing.B) {
			l := runLog(b, changelog.Options{Blocks: blocks})
			w := l.Writer(0)
			w.Relation(benchTable())
			rows := benchRows(10)
			from := l.End().Seq
			lsn := l.Durable()
			b.ResetTimer()
			for i := range b.N {
				lsn += 500
				w.Begin(uint32(i), lsn, 1)
				if err := w.Change(cdc.OpInsert, 16400, 0, nil, rows[0]); err != nil {
					b.Fatal(err)
				}
				if err := w.Commit(lsn + 48); err != nil {
					b.Fatal(err)
				}
				w.Flush()
				if err := follow(b.Context(), l, from+uint64(i)+1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// follow reads up to seq, from the newest segment on when it is short of it.
func follow(ctx context.Context, l *changelog.Log, seq uint64) error {
	next := uint64(1)
	if seq > 0 && l.End().Seq+1 >= seq {
		next = seq
	}
	for next <= seq {
		if err := l.Wait(ctx, next-1); err != nil {
			return err
		}
		seg, err := l.Segment(ctx, next)
		if err != nil {
			return err
		}
		next = seg.Last + 1
	}
	return nil
}
