package postgres

import (
	"context"
	"time"
)

// RunPasswordCommand runs a password command with another timeout.
func RunPasswordCommand(ctx context.Context, argv []string, timeout time.Duration) (string, error) {
	return runPasswordCommand(ctx, argv, timeout)
}
