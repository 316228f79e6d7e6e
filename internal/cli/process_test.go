package cli_test

import (
	"bufio"
	"io"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/test/harness"
)

// process is the real binary, for what signals and pipes do.
type process struct {
	cmd  *exec.Cmd
	out  io.ReadCloser
	errs *text
}

func startTail(t *testing.T, db *pgtest.DB) *process {
	t.Helper()
	p := &process{cmd: exec.Command(harness.Binary(t), "tail", db.URL), errs: &text{}}
	var err error
	p.out, err = p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = p.errs
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // usually it has ended
		_ = p.cmd.Wait()
	})
	p.errs.has(t, "following ")
	return p
}

func (p *process) end() int {
	_ = p.cmd.Wait() // the exit code tells
	return p.cmd.ProcessState.ExitCode()
}

func TestTailCleansUpAfterSignals(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t).Database(t)
			db.Exec(t, orders)
			p := startTail(t, db)
			require.NotEmpty(t, publications(t, db))
			require.NoError(t, p.cmd.Process.Signal(signal))
			require.Equal(t, cli.ExitOK, p.end(), "%s", p.errs)
			nothingLeft(t, db)
		})
	}
}

// TestTailCleansUpWhenPipedIntoHead meets SIGPIPE, which would end the process where it stands.
func TestTailCleansUpWhenPipedIntoHead(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	p := startTail(t, db)
	db.Exec(t, `insert into orders values (1, 'new')`)
	line, err := bufio.NewReader(p.out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"insert"`)
	require.NoError(t, p.out.Close())
	db.Exec(t, `insert into orders values (2, 'new')`)
	require.Equal(t, cli.ExitOK, p.end(), "%s", p.errs)
	nothingLeft(t, db)
}

func TestTailRemovesWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, orders)
	killed := startTail(t, db)
	stale := publications(t, db)
	require.NotEmpty(t, stale)
	alive := follow(t, db)
	require.NotContains(t, alive.errs.String(), "left behind", "the other one still runs")
	require.NoError(t, killed.cmd.Process.Kill())
	require.Equal(t, -1, killed.end())
	require.Eventually(t, func() bool {
		return pgtest.Value[int](t, db, `select count(*) from pg_replication_slots where database = current_database()`) == 1
	}, patience, pollEvery)

	next := follow(t, db)
	require.Contains(t, next.errs.String(), `removed publication "`+stale+`", which an earlier run left behind`)
	db.Exec(t, `insert into orders values (1, 'new')`)
	require.Equal(t, "insert", next.message().Action)
	require.Equal(t, "insert", alive.message().Action, "and leaves the running one alone")
	for _, c := range []*command{alive, next} {
		c.stop()
		require.Equal(t, cli.ExitOK, c.end())
	}
	nothingLeft(t, db)
}
