package capture_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type logAdapter struct{ *changelog.Log }

func (l logAdapter) Writer(epoch uint32) capture.Writer { return l.Log.Writer(epoch) }
func (l logAdapter) CommitEnd() cdc.LSN                 { return l.End().CommitEnd }

func TestScratch(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		return
	}
	srv := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"shared_buffers": "256MB", "max_wal_size": "8GB", "wal_level": "logical"}})
	db := srv.Database(t)
	db.Exec(t, "create table t (id bigserial primary key, a text, b text, n int, at timestamptz default now())")
	db.Exec(t, "create publication p for all tables")
	n := 300000
	for _, mode := range []string{"single", "hundred"} {
		for round := range 2 {
			for _, who := range []string{"recv", "ours-tcp", "recv", "ours-unix"} {
				slot := db.Slot(t)
				db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
				load(t, db, mode, n)
				end := pgtest.Value[string](t, db, "select pg_current_wal_lsn()::text")
				db.Exec(t, "checkpoint")
				start := time.Now()
				var ru0, ru1 syscall.Rusage
				syscall.Getrusage(syscall.RUSAGE_SELF, &ru0)
				if who == "recv" {
					cmd := exec.Command("/usr/lib/postgresql/15/bin/pg_recvlogical", "-d", db.URL, "--slot", slot, "--start", "-o", "proto_version=1", "-o", "publication_names=p", "-f", "/dev/null", "-E", end, "--no-loop", "-s", "1", "-F", "1")
					out, err := cmd.CombinedOutput()
					require.NoError(t, err, string(out))
				} else {
					url := db.URL
					if who == "ours-unix" {
						url = db.SocketURL
					}
					cfg, err := postgres.ParseURL(url)
					require.NoError(t, err)
					e, err := embedded.Open(t.Context(), embedded.Options{Dir: filepath.Join(t.TempDir(), "d"), AllowEphemeral: true})
					require.NoError(t, err)
					blocks, err := e.Log(t.Context(), "x")
					require.NoError(t, err)
					log, err := changelog.Open(t.Context(), changelog.Options{Name: "x", Blocks: blocks})
					require.NoError(t, err)
					ctx, cancel := context.WithCancel(t.Context())
					go log.Run(ctx)
					c := capture.New(capture.Deps{ID: "x", Name: "x", Instance: "i", Log: logAdapter{log}, State: e.State(), Logger: testLogger(t)}, capture.Config{
						Source: cfg, Database: cfg.Database, Slot: slot, Publication: "p", Heartbeat: 0, MaxChange: 64 << 20,
					})
					done := make(chan struct{})
					go func() { c.Run(ctx); close(done) }()
					want, _ := cdc.ParseLSN(end)
					for log.Durable() < want {
						time.Sleep(time.Millisecond)
					}
					cancel()
					<-done
					fmt.Printf("   entries %d stats %+v\n", log.End().Seq, log.Stats().Syncs)
					e.Close()
				}
				el := time.Since(start)
				syscall.Getrusage(syscall.RUSAGE_SELF, &ru1)
				cpu := time.Duration(ru1.Utime.Nano() + ru1.Stime.Nano() - ru0.Utime.Nano() - ru0.Stime.Nano())
				fmt.Printf("%s round %d %-10s %8.0f changes/s  %v  cpu(self) %v\n", mode, round, who, float64(n)/el.Seconds(), el.Round(time.Millisecond), cpu.Round(time.Millisecond))
				db.Exec(t, "select pg_drop_replication_slot($1)", slot)
				db.Exec(t, "truncate t")
			}
		}
	}
}

func load(t *testing.T, db *pgtest.DB, mode string, n int) {
	if mode == "single" {
		f := filepath.Join(t.TempDir(), "s.sql")
		os.WriteFile(f, []byte("insert into t (a, b, n) values (repeat('a', 60), repeat('b', 60), 42);\n"), 0o644)
		cmd := exec.Command("/usr/lib/postgresql/15/bin/pgbench", "-n", "-c", "8", "-j", "2", "-t", fmt.Sprint(n/8), "-f", f, db.SocketURL)
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		require.NoError(t, cmd.Run(), b.String())
		return
	}
	db.Exec(t, fmt.Sprintf("do $$ begin for i in 1..%d loop insert into t (a,b,n) select repeat('a', 60), repeat('b', 60), 42 from generate_series(1,100); commit; end loop; end $$", n/100))
}
