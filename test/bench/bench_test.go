package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.CleanUp()
	os.Exit(code)
}

// Every subject runs, on backlogs and loads too small to mean anything, and fills its tables in the page.
func TestEverySubjectFillsItsTables(t *testing.T) {
	page := filepath.Join(t.TempDir(), "performance.md")
	require.NoError(t, os.WriteFile(page, []byte("# Performance\n\n"+begin("capture")+"\nold\n\n"+end("capture")+"\nWords.\n"), 0o600))
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{
		"-binary", harness.ReleaseBinary(t), "-scale", "0.0005", "-rounds", "1", "-repeats", "0", "-markdown", page,
	}, &out, &progress)
	require.NoError(t, err, "%s", progress.String())
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	text := string(content)
	for _, name := range []string{"capture", "capture-cpu", "latency", "pull", "webhook", "fanout", "memory", "cost", "load"} {
		require.Equal(t, 1, strings.Count(text, begin(name)), "the section %s", name)
		require.Equal(t, 1, strings.Count(text, end(name)), "the end of section %s", name)
	}
	require.NotContains(t, text, "old")
	require.Contains(t, text, "\nWords.\n")
	require.NotContains(t, text, "NaN")
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown subject": {"-only", "capture,weather"},
		"unknown backlog": {"-backlogs", "huge"},
		"no scale":        {"-scale", "0"},
		"no rounds":       {"-rounds", "0"},
		"words":           {"capture"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(args, &bytes.Buffer{})
			require.Error(t, err)
		})
	}
	o, err := parse([]string{"-only", "pull,capture"}, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, []string{"pull", "capture"}, o.only)
}

func TestSpreadShowsMedianAndExtremes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "2.00 (1.00-4.00)", sample{4, 1, 2}.spread(2))
	require.Equal(t, "1,234,568", sample{1234567.6}.spread(0))
	require.Equal(t, "-", sample{}.spread(1))
	require.InDelta(t, 2.5, sample{1, 2, 3, 4}.median(), 1e-9)
	require.Equal(t, sample{2, 0.5}, ratios(sample{4, 1}, sample{2, 2}))
	require.Equal(t, "-1,000.5", number(-1000.5, 1))
	sorted := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	require.Equal(t, time.Duration(6), quantile(sorted, 0.5))
	require.Equal(t, time.Duration(10), quantile(sorted, 1))
}

func TestReplaceKeepsTheRestOfThePage(t *testing.T) {
	t.Parallel()
	page := "before\n" + begin("a") + "\nx\n\n" + end("a") + "after\n"
	got, err := replace(page, "a", "y")
	require.NoError(t, err)
	require.Equal(t, strings.Replace(page, "\nx\n", "\ny\n", 1), got)
	again, err := replace(got, "a", "y")
	require.NoError(t, err)
	require.Equal(t, got, again)
	_, err = replace("before\n"+begin("a")+"x", "a", "y")
	require.Error(t, err)
}

func TestParseStatOfAnyName(t *testing.T) {
	t.Parallel()
	p, ok := parseStat([]byte("42 (a) b) S 7 1 1 0 -1 4194560 1 2 3 4 100 50 20 10 20 0 1 0 1 2"))
	require.True(t, ok)
	require.Equal(t, process{pid: 42, parent: 7, own: 1500 * time.Millisecond, total: 1800 * time.Millisecond}, p)
	_, ok = parseStat([]byte("42 (a S"))
	require.False(t, ok)
}

func TestOthersAreWhatIsNeitherOursNorTheKernels(t *testing.T) {
	t.Parallel()
	before := usage{at: time.Unix(0, 0)}
	after := usage{at: time.Unix(10, 0), busy: 15 * time.Second, ours: 9 * time.Second, os: time.Second, steal: 5 * time.Second}
	require.InDelta(t, 1, after.others(before), 1e-9)
	before, err := readUsage(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, before.ours)
	require.GreaterOrEqual(t, before.busy, before.ours)
}

func TestReadPgoutputInAnyPieces(t *testing.T) {
	t.Parallel()
	insert := "I\x00\x00\x40\x00N\x00\x03t\x00\x00\x00\x0212t\x00\x00\x00\x03a\nbt\x00\x00\x00\x04\x31\x37\x30\x30"
	relation := "R\x00\x00\x40\x00public\x00bench_stream\x00d\x00\x01\x01id\x00\x00\x00\x00\x14\xff\xff\xff\xff"
	stream := "B" + strings.Repeat("\n", 20) + "\n" + relation + "\n" + insert + "\n" + insert + "\n" + "C" + strings.Repeat("x", 25) + "\n"
	for _, piece := range []int{1, 3, len(stream)} {
		var got []arrival
		r := &pieces{data: []byte(stream), size: piece}
		require.NoError(t, readPgoutput(r, func(_ time.Time, rows []arrival) { got = append(got, rows...) }))
		require.Equal(t, []arrival{{12, 1700}, {12, 1700}}, got, "pieces of %d", piece)
	}
	require.Error(t, readPgoutput(strings.NewReader("?"), func(time.Time, []arrival) {}))
}

// pieces reads a few bytes at once.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func TestArrivalsAndAckIDs(t *testing.T) {
	t.Parallel()
	const id = "3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55"
	message := `{"ack_id":"` + id + `","deliver_count":1,"data":{"record":{"id":7,"payload":"x","at_us":99},"changes":null}}`
	body := []byte(`{"data":[` + message + `,` + message + `]}`)
	require.Equal(t, []arrival{{7, 99}, {7, 99}}, arrivals(nil, body))
	var ack bytes.Buffer
	require.Equal(t, 2, ackIDs(&ack, body))
	require.Equal(t, `{"ack_ids":["`+id+`","`+id+`"]}`, ack.String())
}

func TestTimelineCountsFirstArrivalsAndFindsCalm(t *testing.T) {
	t.Parallel()
	l := newTimeline(3)
	at := time.Unix(100, 0)
	l.note(at, []arrival{{1, 5}, {1, 6}, {9, 1}})
	l.note(at.Add(time.Second), []arrival{{1, 5}, {2, 5}})
	require.Error(t, l.complete(t.Context(), 0))
	l.note(at.Add(5*time.Second), []arrival{{3, 5}})
	require.NoError(t, l.complete(t.Context(), time.Second))
	for id := range l.committed {
		l.committed[id] = l.arrived[id] - int64(200*time.Millisecond)
	}
	require.Equal(t, []time.Duration{200 * time.Millisecond, 200 * time.Millisecond}, l.delays(l.committed, 1))
	require.Equal(t, time.Second, l.calmAfter(at, at.Add(time.Minute)), "the late arrival long after is not the burst's")
}
