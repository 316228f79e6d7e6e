package sandbox_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// confined checks what the system says of a worker.
func confined(t *testing.T, pid string) {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile("/proc/" + pid + "/" + name)
		require.NoError(t, err)
		return string(b)
	}
	require.Contains(t, read("status"), "NoNewPrivs:\t1")
	require.Equal(t, "1000\n", read("oom_score_adj"))
	require.Regexp(t, `Max core file size +0 +0 `, read("limits"))
	require.Regexp(t, `Max open files +256 +256 `, read("limits"))
	require.Regexp(t, `Max data size +1342177280 +1342177280 `, read("limits"))
	directory, err := os.Readlink("/proc/" + pid + "/cwd")
	require.NoError(t, err)
	require.Equal(t, "/", directory)
	entries, err := os.ReadDir("/proc/" + pid + "/fd")
	require.NoError(t, err)
	for _, e := range entries {
		target, err := os.Readlink("/proc/" + pid + "/fd/" + e.Name())
		require.NoError(t, err)
		if len(e.Name()) == 1 && e.Name() <= "2" {
			require.Regexp(t, `^pipe:`, target)
			continue
		}
		require.Regexp(t, `^anon_inode:`, target, "only what the Go runtime opened itself")
	}
}

func TestNoWorkerOutlivesAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	server := exec.CommandContext(t.Context(), os.Args[0])
	server.Env = append(os.Environ(), "SANDBOX_SERVER=a")
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	pid := ""
	for r := bufio.NewReader(out); pid == ""; {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if _, found, ok := strings.Cut(line, "pid="); ok {
			pid = strings.TrimSpace(found)
		}
	}
	require.DirExists(t, "/proc/"+pid)
	require.NoError(t, server.Process.Kill())
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	_ = server.Wait()
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + pid)
		return os.IsNotExist(err)
	}, 5*time.Second, 5*time.Millisecond)
}
