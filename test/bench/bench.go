package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// bench is the place of a run: a Postgres cluster and data directories on the same disk, and what was found.
type bench struct {
	opts        options
	progress    io.Writer
	dir         string
	binary      string
	recvlogical string
	pg          *throwaway.Cluster
	conn        *pgx.Conn // for administration and for looking at slots; one goroutine at a time
	report      report
	serial      int  // makes names unique
	refill      bool // a table is read beside what is measured
}

const database = "bench"

// settings of the server: as in production where it matters (fsync, full_page_writes and synchronous_commit are on), and without the background
// work that comes at random.
func settings() map[string]string {
	return map[string]string{
		"autovacuum":            "off",
		"checkpoint_timeout":    "1h",
		"max_wal_size":          "16GB",
		"shared_buffers":        "512MB",
		"wal_level":             "logical",
		"wal_sender_timeout":    "60s",
		"track_io_timing":       "off",
		"wal_init_zero":         "on",
		"max_replication_slots": "64",
	}
}

func open(ctx context.Context, o options, progress io.Writer) (b *bench, err error) {
	b = &bench{opts: o, progress: progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	if b.dir, err = os.MkdirTemp(o.dir, "sequin-bench-"); err != nil {
		return b, err
	}
	if fileSystem(b.dir) == "tmpfs" {
		return b, fmt.Errorf("%s is in memory, where a sync costs nothing; name a directory on a disk with -dir", b.dir)
	}
	if err := b.copyBinary(); err != nil {
		return b, err
	}
	if b.pg, err = throwaway.Start(ctx, throwaway.Options{Major: o.major, Settings: settings(), Durable: true, Dir: o.dir}); err != nil {
		return b, err
	}
	if b.recvlogical, err = findRecvlogical(b.pg.Installation()); err != nil {
		return b, err
	}
	admin, err := pgx.Connect(ctx, b.pg.SocketURL("postgres"))
	if err != nil {
		return b, err
	}
	_, err = admin.Exec(ctx, "create database "+database)
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return b, err
	}
	if b.conn, err = pgx.Connect(ctx, b.pg.SocketURL(database)); err != nil {
		return b, err
	}
	b.report.machine = b.machine(ctx)
	b.say("%s", b.report.machine)
	return b, nil
}

// copyBinary keeps the program as it is now: a build in the meantime must not be what later rounds measure.
func (b *bench) copyBinary() error {
	content, err := os.ReadFile(b.opts.binary)
	if err != nil {
		return fmt.Errorf("%w; build it with: make build", err)
	}
	b.binary = filepath.Join(b.dir, "sequin")
	return os.WriteFile(b.binary, content, 0o700)
}

func (b *bench) close(ctx context.Context) error {
	var err error
	if b.conn != nil {
		err = b.conn.Close(context.WithoutCancel(ctx))
	}
	if b.pg != nil {
		err = errors.Join(err, b.pg.Remove(ctx))
	}
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// say tells what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// exec runs statements one after another.
func (b *bench) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := b.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", clip(sql), err)
		}
	}
	return nil
}

func clip(sql string) string {
	const most = 80
	if len(sql) > most {
		return sql[:most] + "…"
	}
	return sql
}

// unique makes a name for a slot.
func (b *bench) unique(prefix string) string {
	b.serial++
	return fmt.Sprintf("%s_%d", prefix, b.serial)
}

// scaled applies the scale to a size.
func (b *bench) scaled(n int) int { return max(1, int(float64(n)*b.opts.scale)) }

// lasting applies the scale to a duration, within reason.
func (b *bench) lasting(d time.Duration) time.Duration {
	return max(200*time.Millisecond, time.Duration(float64(d)*b.opts.scale))
}

// disturbance is what others took while something was measured.
type disturbance struct {
	cores float64 // the most in any measurement that counts
	bad   bool    // more than is allowed, in spite of all repetitions
}

func (d *disturbance) join(o disturbance) { d.cores, d.bad = max(d.cores, o.cores), d.bad || o.bad }

// String renders it for a table.
func (d disturbance) String() string {
	if d.bad {
		return number(d.cores, 2) + " " + disturbedMark
	}
	return number(d.cores, 2)
}

const disturbedMark = "†"

// others is the name of the column.
const others = "CPU of others (cores)"

// measure runs f until others leave it alone or the repetitions are used up; the last run counts.
func (b *bench) measure(ctx context.Context, what string, f func(ctx context.Context) (string, error)) (disturbance, error) {
	for attempt := 0; ; attempt++ {
		settle()
		before, err := readUsage(os.Getpid())
		if err != nil {
			return disturbance{}, err
		}
		found, err := f(ctx)
		if err != nil {
			return disturbance{}, fmt.Errorf("%s: %w", what, err)
		}
		after, err := readUsage(os.Getpid())
		if err != nil {
			return disturbance{}, err
		}
		d := disturbance{cores: after.others(before)}
		d.bad = d.cores > b.opts.quiet
		again := d.bad && attempt < b.opts.repeats
		verdict := ""
		if again {
			verdict = "; discarded, once more"
		}
		b.say("%-46s %s; others %.2f cores%s", what, found, d.cores, verdict)
		if !again {
			return d, nil
		}
	}
}

// findRecvlogical looks beside the server's programs, in PATH and where Debian puts it.
func findRecvlogical(in throwaway.Installation) (string, error) {
	const name = "pg_recvlogical"
	candidates := []string{filepath.Join(in.Bin, name)}
	if path, err := exec.LookPath(name); err == nil {
		candidates = append(candidates, path)
	}
	more, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	for _, path := range append(candidates, more...) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: it comes with PostgreSQL's client programs (Debian: apt-get install postgresql-client-%d)", name, in.Major)
}
