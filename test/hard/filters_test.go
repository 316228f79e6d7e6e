package hard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// take receives and acknowledges n messages, and sees that there are no more.
func (r *rig) take(sink string, n int) {
	r.t.Helper()
	stream := &harness.Stream{Base: func() string { return r.URL }, Name: sink}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for got := 0; got < n; {
		batch, err := stream.Receive(ctx, n+1, 5*time.Second)
		require.NoError(r.t, err, "sink %s after %d messages", sink, got)
		if got += len(batch); len(batch) > 0 {
			require.NoError(r.t, stream.Ack(ctx, harness.AckIDs(batch)...))
		}
		require.LessOrEqual(r.t, got, n, sink)
	}
	batch, err := stream.Receive(ctx, 1, 0)
	require.NoError(r.t, err)
	require.Empty(r.t, batch, sink)
}

// A hundred sinks with a condition each, of many kinds, cost a server that rests little memory and a start little time, and each gets what is its own.
func TestHundredFilters(t *testing.T) {
	t.Parallel()
	const n = 100
	forms := []string{
		"id %% 100 = %d", "id %% 100 in (%d) and name like 'row %%'", "(doc ->> 'n')::int = %d", "doc @> '{\"n\": %d}'",
		"tags && array['t%d'] and total >= 0", "case when id %% 100 = %d then at > '2020-01-01' end", "name ~ '^row [0-9]+ (%d)$'", "coalesce(old.id, new.id) %% 100 = %d",
	}
	var sinks strings.Builder
	for i := range n {
		fmt.Fprintf(&sinks, "  - {name: s%d, database: db, source: {include_tables: [t]}, where: %q, destination: {type: sequin_stream}}\n", i, fmt.Sprintf(forms[i%len(forms)], i))
	}
	r := prepare(t, setup{
		ddl:   "create table t (id int primary key, name text, doc jsonb, tags text[], total numeric, at timestamptz)",
		sinks: sinks.String(),
	})
	r.Released = true
	r.start()
	r.exec(`insert into t select i, format('row %s %s', i, i % 100), jsonb_build_object('n', i % 100), array['t' || i % 100], i, now() from generate_series(1, 1000) i`)
	for _, i := range []int{1, 2, 3, 4, 5, 6, 7, 42, 99} {
		r.take(fmt.Sprintf("s%d", i), 10)
	}
	r.Stop()

	began := time.Now()
	r.start()
	took := time.Since(began)
	r.exec("insert into t values (1042, 'row 1042 42', '{\"n\": 42}', '{t42}', 1, now())")
	r.take("s42", 1)
	const mib = 1 << 20
	t.Logf("started with %d conditions in %s, %d MiB resident, %d at the peak", n, took.Round(time.Millisecond), r.Memory()/mib, r.PeakMemory()/mib)
	require.LessOrEqual(t, r.PeakMemory(), int64(80*mib), "while it starts, on a busy machine")
	r.eventually(func() bool { return r.Memory() <= 60*mib }, "it rests within 60 MiB")
}
