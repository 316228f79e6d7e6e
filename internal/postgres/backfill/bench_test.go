package backfill_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
)

// shapes are the tables that are measured.
var shapes = map[string]string{
	"narrow": `create table t (id bigint primary key, a int, b int, at timestamptz); insert into t select i, i % 100, i, timestamptz '2025-01-01' + i * interval '1 s' from generate_series(1, 1000000) i`,
	"wide": `create table t (id bigint primary key, a text, b text, c jsonb, d numeric, e timestamptz, f uuid, g int[], h text);
		insert into t select i, repeat('a', 200), repeat('b', 200), jsonb_build_object('k', i, 'v', repeat('c', 100)), i / 7.0, now(), md5(i::text)::uuid, array[i, i + 1], repeat('h', 400) from generate_series(1, 100000) i`,
	"keyless": `create table t (id bigint, a int, b int, at timestamptz); insert into t select i, i % 100, i, timestamptz '2025-01-01' + i * interval '1 s' from generate_series(1, 1000000) i`,
}

// BenchmarkBesideCopy reads tables in pages, with one reader and with two, beside COPY of the same table: the ratio is that of their speeds.
func BenchmarkBesideCopy(b *testing.B) {
	for _, name := range []string{"narrow", "wide", "keyless"} {
		db := pgtest.Shared(b).Database(b)
		db.Exec(b, shapes[name])
		db.Exec(b, "vacuum analyze t")
		cfg, err := postgres.ParseURL(db.URL)
		require.NoError(b, err)
		rows := pgtest.Value[int64](b, db, "select count(*) from t")
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) {
				var copying, reading time.Duration
				for b.Loop() {
					copying += besideCopy(b, cfg)
					reading += besideReaders(b, cfg, workers, rows)
				}
				b.ReportMetric(float64(rows)*float64(b.N)/copying.Seconds(), "copy-rows/s")
				b.ReportMetric(float64(rows)*float64(b.N)/reading.Seconds(), "rows/s")
				b.ReportMetric(copying.Seconds()/reading.Seconds(), "ratio")
			})
		}
	}
}

func besideCopy(b *testing.B, cfg postgres.Config) time.Duration {
	b.Helper()
	conn, err := cfg.Connect(b.Context())
	require.NoError(b, err)
	defer func() { _ = conn.Close(context.WithoutCancel(b.Context())) }()
	began := time.Now()
	_, err = conn.PgConn().CopyTo(b.Context(), io.Discard, "copy (select * from t) to stdout")
	require.NoError(b, err)
	return time.Since(began)
}

func besideReaders(b *testing.B, cfg postgres.Config, workers int, rows int64) time.Duration {
	b.Helper()
	whole, err := backfill.New(b.Context(), cfg.Connect, backfill.Spec{Schema: "public", Table: "t"})
	require.NoError(b, err)
	defer whole.Close(b.Context())
	began := time.Now()
	parts, err := whole.Split(b.Context(), workers)
	require.NoError(b, err)
	counts := make([]int64, len(parts))
	var group sync.WaitGroup
	for i, share := range parts {
		spec := backfill.Spec{Schema: "public", Table: "t", Blocks: share}
		group.Go(func() { counts[i] = readAll(b, cfg, spec) })
	}
	group.Wait()
	var total int64
	for _, n := range counts {
		total += n
	}
	require.Equal(b, rows, total)
	return time.Since(began)
}

func readAll(b *testing.B, cfg postgres.Config, spec backfill.Spec) (n int64) {
	b.Helper()
	r, err := backfill.New(b.Context(), cfg.Connect, spec)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer r.Close(b.Context())
	sizer := backfill.NewSizer(time.Second)
	at, done := backfill.Cursor{}, false
	for !done {
		size := sizer.Next()
		p, err := r.Page(b.Context(), at, size)
		if err != nil {
			b.Error(err)
			return 0
		}
		sizer.Note(size, p.Took, p.Bytes, false)
		n, at, done = n+int64(len(p.Rows)), p.Next, p.Done
	}
	return n
}
