package ledger_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pulse measures how long the machine makes everybody wait, for processors and for the disk: what is said to take milliseconds takes longer on
// one that is busy.
type pulse struct {
	mu    sync.Mutex
	beats []beat
}

type beat struct {
	at   time.Time
	late time.Duration
}

const (
	pulseInterval = 20 * time.Millisecond
	pulseMemory   = 10 * time.Second
)

func newPulse(t *testing.T) *pulse {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "pulse"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &pulse{}
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			begun := time.Now()
			wait(ctx, pulseInterval)
			if _, err := file.WriteAt([]byte{1}, 0); err == nil {
				_ = file.Sync() // what counts is the time it takes
			}
			p.beat(time.Since(begun) - pulseInterval)
		}
	})
	t.Cleanup(func() {
		cancel()
		working.Wait()
		_ = file.Close()
	})
	return p
}

func (p *pulse) beat(late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.beats) > 0 && now.Sub(p.beats[0].at) > pulseMemory {
		p.beats = p.beats[1:]
	}
	p.beats = append(p.beats, beat{now, late})
}

// worst is the longest delay of late.
func (p *pulse) worst() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var worst time.Duration
	for _, b := range p.beats {
		worst = max(worst, b.late)
	}
	return worst
}
