package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1m30s": 90 * time.Second,
	} {
		got, err := config.ParseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "5", "d", "1.5d", "-1d", "1d-1h", "1d2", "99999999d", "1w", "106751d24h"} {
		_, err := config.ParseDuration(text)
		require.Error(t, err, text)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "67108864": 64 << 20, "10GiB": 10 << 30, "10 GiB": 10 << 30, "1.5MiB": 3 << 19, "1GB": 1e9, "64k": 64 << 10, "2T": 2 << 40, "5B": 5,
	} {
		got, err := config.ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "GiB", "-1", "-1GiB", "1PiB", "1e3", "NaN", "Inf", "99999999999TiB", "0x10", "1 0"} {
		_, err := config.ParseSize(text)
		require.Error(t, err, text)
	}
	for _, n := range []int64{0, 1, 1000, 1024, 64 << 20, 10 << 30, 1 << 40} {
		got, err := config.ParseSize(config.FormatSize(n))
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
}
