package powerloss_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/postgres"
)

// honestLog is the change log as capture sees it.
type honestLog struct{ *changelog.Log }

func (l honestLog) Writer(epoch uint32) capture.Writer { return l.Log.Writer(epoch) }
func (l honestLog) CommitEnd() cdc.LSN                 { return l.End().CommitEnd }

// earlyLog takes what was received for durable.
type earlyLog struct {
	honestLog
	received atomic.Uint64
}

func (l *earlyLog) Durable() cdc.LSN { return max(l.honestLog.Durable(), cdc.LSN(l.received.Load())) }

func (l *earlyLog) CommitEnd() cdc.LSN {
	return max(l.honestLog.CommitEnd(), cdc.LSN(l.received.Load()))
}

func (l *earlyLog) Writer(epoch uint32) capture.Writer {
	return &earlyWriter{l.honestLog.Writer(epoch), l}
}

type earlyWriter struct {
	capture.Writer
	log *earlyLog
}

func (w *earlyWriter) Commit(end cdc.LSN) error {
	err := w.Writer.Commit(end)
	if err == nil {
		w.log.received.Store(uint64(end))
	}
	return err
}

// capturing runs only the way from the slot to the disk, cuts the power at random, and returns the first LSN that Postgres was told and the
// disk did not hold.
func capturing(t *testing.T, points int, wrap func(*changelog.Log) capture.Log) (told, holds cdc.LSN) {
	t.Helper()
	r := newRig(t, build{}, seed(t))
	r.load(t)
	for range points {
		r.captureOnce(wrap)
		told = r.confirmed()
		var err error
		holds, err = r.surviving()
		require.NoError(t, err)
		if told > holds {
			return told, holds
		}
	}
	return told, holds
}

// captureOnce captures for a while, on a disk that takes its time to sync.
func (r *rig) captureOnce(wrap func(*changelog.Log) capture.Log) {
	t := r.t
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := newPower()
	x := newProxy(t, p, r.postgres)
	disk := newController(r.disk.FS(), 60*time.Millisecond)
	e, err := r.disk.Open(ctx, powerloss.Options{Options: embedded.Options{ReserveBytes: -1}, Wrap: func(vfs.FS) vfs.FS { return disk }})
	require.NoError(t, err)
	blocks, err := e.Log(ctx, "db")
	require.NoError(t, err)
	log, err := changelog.Open(ctx, changelog.Options{Name: "db", Blocks: blocks})
	require.NoError(t, err)
	source, err := postgres.ParseURL(r.db.URL)
	require.NoError(t, err)
	source.Hosts = []postgres.Host{{Name: "127.0.0.1", Port: uint16(x.port())}} //nolint:gosec // a port
	c := capture.New(capture.Deps{ID: "db", Name: "db", Instance: e.Instance(), Log: wrap(log), State: e.State(), Logger: slog.New(slog.DiscardHandler)},
		capture.Config{Source: source, Database: source.Database, Slot: r.slot, Publication: r.publication, MaxChange: 1 << 20})
	running := make(chan error, 2)
	go func() { running <- log.Run(ctx) }()
	go func() { running <- c.Run(ctx) }()
	begun := log.End().Seq
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	require.NoError(t, log.Wait(waiting, begun+uint64(r.rng.IntN(50)))) //nolint:gosec // small
	pause(ctx, time.Duration(r.rng.IntN(60))*time.Millisecond)
	p.cut(func() {
		disk.kill()
		r.disk = r.disk.Cut(r.rng.Uint64())
	})
	x.close()
	cancel()
	for range cap(running) {
		require.NoError(t, <-running)
	}
	require.NoError(t, e.Close())
}

// A capture that tells Postgres of what it received, and not of what was synced, is found out; one that waits is not, in the same circumstances.
func TestACaptureThatConfirmsWhatItReceivedIsFound(t *testing.T) {
	t.Parallel()
	told, holds := capturing(t, mutantPoints, func(l *changelog.Log) capture.Log { return &earlyLog{honestLog: honestLog{l}} })
	require.Greater(t, told, holds, "%d power cuts did not tell it from an honest one", mutantPoints)
	told, holds = capturing(t, 5, func(l *changelog.Log) capture.Log { return honestLog{l} })
	require.LessOrEqual(t, told, holds)
}
