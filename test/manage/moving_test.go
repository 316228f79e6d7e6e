package manage_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// original is the environment that the original's compose file gives its container.
func original(yaml string) []string {
	return []string{
		"PG_HOSTNAME=sequin_postgres", "PG_DATABASE=sequin", "PG_PORT=5432", "PG_USERNAME=postgres", "PG_PASSWORD=postgres", "PG_POOL_SIZE=20",
		"REDIS_URL=redis://sequin_redis:6379", "SECRET_KEY_BASE=wDPLYus0pvD6qJhKJICO4dauYPXfO/Yl782Zjtpew5qRBDp7CZvbWtQmY0eB13If",
		"VAULT_KEY=2Sig69bIpuSm2kv0VQfDekET2qy8qUZGI8v3/h3ASiY=", "FEATURE_PROVISION_DEFAULT_USER=enabled", "SEQUIN_LOG_FORMAT=json",
		"ADMIN_USER=", "ADMIN_PASSWORD=", "DATADOG_API_KEY=", "GITHUB_CLIENT_ID=", // unused ones are empty
		"CONFIG_FILE_YAML=" + base64.StdEncoding.EncodeToString([]byte(yaml)),
	}
}

// The original's compose values start us. What has no meaning any more is named once. When the data directory is lost between two starts, nothing is
// skipped silently: the slot has the mark of the lost installation, and what may be missing is stated.
func TestOriginalsEnvironmentStartsUs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key)", pull)
	r.db.Exec(t, "create publication "+r.config.Publication+" for all tables")
	r.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", r.config.Slot)
	r.db.Exec(t, row(1)) // while nobody reads
	yaml := strings.NewReplacer("account: {name: test}", "account: {name: Playground}\nusers:\n  - email: admin@sequinstream.com\n    password: sequinpassword!").
		Replace(r.config.YAML(t))
	yaml = strings.ReplaceAll(yaml, "slot: {name: "+r.config.Slot+", create_if_not_exists: true}", "slot_name: "+r.config.Slot)
	yaml = strings.ReplaceAll(yaml, "publication: {name: "+r.config.Publication+", create_if_not_exists: true}", "publication_name: "+r.config.Publication)
	r.Env = original(yaml)
	require.NoError(t, os.Remove(r.ConfigPath()))
	require.NoError(t, os.WriteFile(r.ConfigPath(), []byte("{}\n"), 0o600))
	r.Start()
	r.WaitHealthy(patience)
	r.db.Exec(t, row(2))
	require.Equal(t, numbers(1, 2), r.ids("pull", 2), "what the slot held, and what came since")
	ignored := 0
	for line := range strings.Lines(r.Log()) {
		if !strings.Contains(line, "have no effect here") {
			continue
		}
		ignored++
		require.Contains(t, line, "REDIS_URL")
		require.Contains(t, line, "SECRET_KEY_BASE")
		require.NotContains(t, line, "VAULT_KEY")
		require.NotContains(t, line, "ADMIN_USER")
	}
	require.Equal(t, 1, ignored)
	signedIn := r.callAs("", "POST", "/api/sessions", map[string]any{"email": "admin@sequinstream.com", "password": "sequinpassword!"})
	require.Equal(t, http.StatusOK, signedIn.status, "%s", signedIn.body)

	r.Stop()
	r.db.Exec(t, row(3))
	require.NoError(t, os.RemoveAll(r.DataDir()))
	r.Start()
	body := r.WaitProblem("slot_marked_by_another", patience)
	require.Contains(t, body, "what was confirmed before")
	status, _ := r.Get("/healthz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	got, err := r.Stream("pull").Receive(t.Context(), 10, 0)
	require.NoError(t, err)
	require.Empty(t, got, "nothing is streamed past what is missing")

	// The decision is a person's, and then everything from there on comes.
	r.db.Exec(t, "comment on publication "+r.config.Publication+" is null")
	require.Equal(t, []int{3}, r.ids("pull", 1))
	r.WaitHealthy(patience)
}

// Storage that does not survive stops the start, with the lines to add.
func TestEphemeralStorageIsRefusedWithTheLinesToAdd(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key)", pull)
	dir, err := os.MkdirTemp("/dev/shm", "sequin") //nolint:usetesting // it has to be in memory
	if err != nil {
		t.Fatalf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	code, _, stderr := r.cli(nil, "serve", "--config", r.ConfigPath(), "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--metrics-listen", "")
	require.Equal(t, 1, code)
	for _, line := range []string{"ephemeral_storage", fmt.Sprintf(`volumes: ["sequin_data:%s/data"]`, dir), "\nvolumes:", "sequin_data:"} {
		require.Contains(t, strings.ReplaceAll(stderr, "        volumes:", "volumes:"), line)
	}
}
