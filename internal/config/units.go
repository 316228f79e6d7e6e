package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	errDuration = errors.New("must be a duration with its unit, such as 500ms, 30s, 24h or 7d")
	errSize     = errors.New("must be a size, such as 512MiB, 10GiB or 10GB")
)

// ParseDuration reads a duration as time.ParseDuration does, and days (7d).
func ParseDuration(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		v, err := time.ParseDuration(text)
		if err != nil {
			return 0, errDuration
		}
		return v, nil
	}
	n, err := strconv.ParseUint(days, 10, 31)
	if err != nil || n > uint64(math.MaxInt64/int64(24*time.Hour)) {
		return 0, errDuration
	}
	total := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return total, nil
	}
	v, err := time.ParseDuration(rest)
	if err != nil || v < 0 || v > math.MaxInt64-total {
		return 0, errDuration
	}
	return total + v, nil
}

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kb": 1e3, "kib": 1 << 10,
	"m": 1 << 20, "mb": 1e6, "mib": 1 << 20,
	"g": 1 << 30, "gb": 1e9, "gib": 1 << 30,
	"t": 1 << 40, "tb": 1e12, "tib": 1 << 40,
}

// ParseSize reads a number of bytes: plain, or with a unit. KiB and K are 1024 bytes, KB is 1000.
func ParseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, ok := sizeUnits[strings.ToLower(text[len(digits):])]
	digits = strings.TrimSpace(digits)
	if !ok || digits == "" || strings.ContainsAny(digits, "eExX_") {
		return 0, errSize
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && unit == 1 {
		if n < 0 {
			return 0, errSize
		}
		return n, nil
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || v < 0 || v*unit > 1<<62 {
		return 0, errSize
	}
	return int64(v * unit), nil
}

// FormatSize writes a number of bytes as ParseSize reads it.
func FormatSize(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	unit := ""
	for _, u := range units {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return fmt.Sprintf("%d%s", n, unit)
}

// FormatDuration writes a duration as ParseDuration reads it, without parts that are zero.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
