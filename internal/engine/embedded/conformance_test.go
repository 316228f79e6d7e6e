package embedded_test

import (
	"context"
	"testing"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/engine/enginetest"
)

func TestConformanceOnDisk(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t *testing.T) enginetest.Open {
		dir := t.TempDir()
		return func(ctx context.Context) (engine.Engine, error) {
			return embedded.Open(ctx, embedded.Options{Dir: dir, AllowEphemeral: true})
		}
	})
}

// TestConformanceAcrossPowerCuts reopens what a power cut leaves instead of what a clean end does.
func TestConformanceAcrossPowerCuts(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(*testing.T) enginetest.Open {
		disk, seed := powerloss.New(), uint64(0)
		return func(ctx context.Context) (engine.Engine, error) {
			seed++
			disk = disk.Cut(seed)
			return disk.Open(ctx, powerloss.Options{})
		}
	})
}
