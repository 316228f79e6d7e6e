package manage_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// cli runs the command line, and returns its exit code and what it wrote.
func (r *rig) cli(stdin []byte, args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(r.t), args...)
	cmd.Env = append(os.Environ(), "HOME="+r.t.TempDir(), "SEQUIN_URL="+r.URL, "SEQUIN_TOKEN="+harness.Token)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), errs.String()
	}
	require.NoError(r.t, err)
	return 0, out.String(), errs.String()
}

// The operator is let in through the data directory, while the server runs and while it does not, and both see the same.
func TestOperatorWithAndWithoutAServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key)", pull)
	r.Start()
	r.WaitHealthy(patience)
	admin := func(stdin string, args ...string) string {
		code, out, errs := r.cli([]byte(stdin), append([]string{"admin", "--data-dir", r.DataDir()}, args...)...)
		require.Equal(t, 0, code, "%v: %s%s", args, out, errs)
		return out
	}
	require.Contains(t, admin("", "accounts", "list"), "test")
	admin("correct horse\n", "users", "create", "ada@example.com", "--password-stdin")
	signIn := func(password string) int {
		return r.callAs("", "POST", "/api/sessions", map[string]any{"email": "ada@example.com", "password": password}).status
	}
	require.Equal(t, 200, signIn("correct horse"))
	r.Stop()
	require.Contains(t, admin("", "accounts", "list"), "test")
	admin("another horse\n", "users", "set-password", "ada@example.com", "--password-stdin")
	require.Contains(t, admin("", "rotate-vault-key"), "key_id")
	r.Start()
	r.WaitHealthy(patience)
	require.Equal(t, 401, signIn("correct horse"))
	require.Equal(t, 200, signIn("another horse"))
	r.db.Exec(t, row(1))
	require.Equal(t, []int{1}, r.ids("pull", 1), "what was sealed with the old key was read with the new one")
	code, _, errs := r.cli(nil, "admin", "accounts", "list", "--data-dir", t.TempDir())
	require.NotEqual(t, 0, code)
	require.Contains(t, errs, "server_not_running")
}
