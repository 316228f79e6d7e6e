package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine is one line about where the numbers come from.
func (b *bench) machine(ctx context.Context) string {
	version := "unknown version"
	if out, err := exec.CommandContext(ctx, b.binary, "--version").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	sync := "not measured"
	if d, err := syncTime(b.dir); err == nil {
		sync = fmt.Sprintf("%.2f ms", millis(d))
	}
	return fmt.Sprintf("%s: %s, %d cores, %s of memory, %s, 4 KiB write and sync %s (median), Linux %s, PostgreSQL %s, %s, %s; scale %g, %d rounds.",
		time.Now().UTC().Format(time.DateOnly), procLine("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), fileSystem(b.dir), sync,
		firstLine("/proc/sys/kernel/osrelease"), b.pg.Installation().Version, runtime.Version(), version, b.opts.scale, b.opts.rounds)
}

func procLine(path, key string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(content) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == key {
			return string(bytes.TrimSpace(value))
		}
	}
	return "unknown"
}

func memory() string {
	var kb int64
	if _, err := fmt.Sscanf(procLine("/proc/meminfo", "MemTotal"), "%d kB", &kb); err != nil {
		return "unknown size"
	}
	return fmt.Sprintf("%.0f GiB", float64(kb)/(1<<20))
}

func firstLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}

// syncTime is the median of a write and its sync, which bounds every commit, Postgres's and ours.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	var all []time.Duration
	for range 200 {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return quantile(all, 0.5), nil
}
