package config_test

import (
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

func start(t *testing.T, args []string, env map[string]string) (*config.Server, []config.Warning, error) {
	t.Helper()
	s := config.NewServer()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.BindFlags(fs, s)
	require.NoError(t, fs.Parse(args))
	warnings, err := config.ApplyEnv(fs, s, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	return s, warnings, err
}

func TestSettingsPrecedence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want func(*config.Server)
	}{
		{"defaults", nil, nil, func(*config.Server) {}},
		{"flag", []string{"--listen", "0.0.0.0:80"}, nil, func(s *config.Server) { s.Listen = "0.0.0.0:80" }},
		{"our variable", nil, map[string]string{"SEQUIN_LISTEN": ":80", "SEQUIN_EPHEMERAL": "true", "SEQUIN_SHUTDOWN_TIMEOUT": "5s"}, func(s *config.Server) {
			s.Listen, s.Ephemeral, s.ShutdownTimeout = ":80", true, 5*time.Second
		}},
		{"a flag wins", []string{"--listen=:1"}, map[string]string{"SEQUIN_LISTEN": ":2", "SERVER_PORT": "3"}, func(s *config.Server) { s.Listen = ":1" }},
		{"ours wins over the original's", nil, map[string]string{"SEQUIN_LISTEN": ":2", "SERVER_PORT": "3"}, func(s *config.Server) { s.Listen = ":2" }},
		{"ports of the original keep the host", nil, map[string]string{"SERVER_PORT": "3000", "SEQUIN_METRICS_PORT": "3001"}, func(s *config.Server) {
			s.Listen, s.MetricsListen = "127.0.0.1:3000", "127.0.0.1:3001"
		}},
		{"empty variables are absent", nil, map[string]string{"SEQUIN_LISTEN": "", "SERVER_PORT": " ", "LOG_LEVEL": ""}, func(*config.Server) {}},
		{"log words of the original", nil, map[string]string{"LOG_LEVEL": "warning", "SEQUIN_LOG_FORMAT": "DATADOG_JSON"}, func(s *config.Server) {
			s.LogLevel, s.LogFormat = "warn", "json"
		}},
		{"the chart's log format", nil, map[string]string{"SEQUIN_LOG_FORMAT": "CONSOLE"}, func(*config.Server) {}},
		{"metrics credentials", nil, map[string]string{"SEQUIN_METRICS_USER": "u", "SEQUIN_METRICS_PASSWORD": "p"}, func(s *config.Server) {
			s.MetricsUser, s.MetricsPass = "u", "p"
		}},
		{"configuration in the environment", nil, map[string]string{"CONFIG_FILE_YAML": "YQ==", "CONFIG_FILE_PATH": "/x.yaml"}, func(s *config.Server) {
			s.ConfigYAML, s.ConfigFile = "YQ==", "/x.yaml"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, warnings, err := start(t, tt.args, tt.env)
			require.NoError(t, err)
			require.Empty(t, warnings)
			want := config.NewServer()
			tt.want(want)
			require.Equal(t, want, got)
		})
	}
}

func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	_, warnings, err := start(t, nil, map[string]string{
		"SERVER_PORT": "70000", "SEQUIN_EPHEMERAL": "perhaps", "SEQUIN_SHUTDOWN_TIMEOUT": "5", "LOG_LEVEL": "loud", "REDIS_URL": "redis://r", "PG_URL": "x",
	})
	var invalid *resource.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Len(t, invalid.Mistakes, 3)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0].String(), "LOG_LEVEL")
	require.Contains(t, warnings[1].String(), "PG_URL, REDIS_URL")
}

func TestServerValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, config.NewServer().Validate())
	s := &config.Server{Listen: "7376", MetricsListen: "a b:1", LogLevel: "loud", LogFormat: "xml", ShutdownTimeout: -1}
	var invalid *resource.InvalidError
	require.ErrorAs(t, s.Validate(), &invalid)
	require.Len(t, invalid.Mistakes, 6)
	require.Equal(t, slog.LevelWarn, (&config.Server{LogLevel: "warning"}).Level())
}

func TestLoadConfigChoosesTheDocument(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	lookup := func(string) (string, bool) { return "", false }
	load := func(args []string, env map[string]string) (string, []config.Warning, error) {
		s, _, err := start(t, args, env)
		require.NoError(t, err)
		set, warnings, err := s.LoadConfig(lookup)
		if err != nil {
			return "", warnings, err
		}
		return set.Account.Name, warnings, nil
	}
	name, _, err := load(nil, nil)
	require.NoError(t, err)
	require.Equal(t, resource.DefaultAccount, name)

	_, warnings, err := load(nil, map[string]string{"CONFIG_FILE_PATH": "absent.yaml"})
	require.NoError(t, err)
	require.Len(t, warnings, 1)

	_, _, err = load([]string{"--config", "absent.yaml"}, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = load(nil, map[string]string{"SEQUIN_CONFIG": "absent.yaml"})
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.WriteFile(filepath.Join(dir, config.DefaultFile), []byte("account: {name: here}"), 0o600))
	name, _, err = load(nil, nil)
	require.NoError(t, err)
	require.Equal(t, "here", name)

	encoded := base64.StdEncoding.EncodeToString([]byte("account: {name: encoded}"))
	name, _, err = load(nil, map[string]string{"CONFIG_FILE_YAML": encoded[:8] + "\n" + encoded[8:]})
	require.NoError(t, err)
	require.Equal(t, "encoded", name)
	_, _, err = load(nil, map[string]string{"CONFIG_FILE_YAML": "!!"})
	require.Error(t, err)
}

func TestOptionsNameEveryVariable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, o := range config.Options() {
		require.NotEmpty(t, o.Help, o.Flag)
		for _, name := range o.Env {
			require.False(t, seen[name], name)
			seen[name] = true
		}
	}
	for _, name := range []string{"SEQUIN_DATA_DIR", "CONFIG_FILE_YAML", "SERVER_PORT", "SEQUIN_METRICS_PORT", "LOG_LEVEL"} {
		require.True(t, seen[name], name)
	}
}
