package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sequinstream/sequin/internal/resource"
)

// ApplyEnv fills in what no flag has set from SEQUIN_… variables, and from those of the original. An empty variable counts as absent. Call it
// after the flags were parsed.
func ApplyEnv(fs *pflag.FlagSet, s *Server, lookup LookupEnv) ([]Warning, error) {
	get := func(name string) string { v, _ := lookup(name); return strings.TrimSpace(v) }
	var warnings []Warning
	var mistakes []resource.Mistake
	for _, x := range s.settings() {
		if fs.Changed(x.flag) {
			s.fileNamed = s.fileNamed || x.flag == "config"
			continue
		}
		name, value, legacy := x.fromEnv(get)
		if value == "" {
			continue
		}
		v := value
		if legacy != nil {
			var err error
			if v, err = legacy(value); err != nil {
				if x.flag == "log-level" || x.flag == "log-format" {
					warnings = append(warnings, Warning{Message: fmt.Sprintf("%s: %v; the default is used", name, err)})
					continue
				}
				mistakes = append(mistakes, resource.Mistake{Path: name, Code: resource.CodeInvalid, What: "is not valid: " + err.Error()})
				continue
			}
		}
		if err := fs.Lookup(x.flag).Value.Set(v); err != nil {
			mistakes = append(mistakes, resource.Mistake{Path: name, Code: resource.CodeInvalid, What: fmt.Sprintf("is %q, which --%s cannot be", value, x.flag)})
			continue
		}
		s.fileNamed = s.fileNamed || name == "SEQUIN_CONFIG"
	}
	if w := unneeded(get); w != "" {
		warnings = append(warnings, Warning{Message: w})
	}
	if len(mistakes) > 0 {
		return warnings, &resource.InvalidError{Mistakes: mistakes}
	}
	return warnings, nil
}

// fromEnv finds the setting's variable: ours first, then the original's.
func (x *setting) fromEnv(get func(string) string) (name, value string, legacy func(string) (string, error)) {
	own := envName(x.flag)
	for _, a := range x.also {
		if a.name == own { // one name, and more words than ours
			legacy = a.value
		}
	}
	if v := get(own); v != "" {
		return own, v, legacy
	}
	for _, a := range x.also {
		if v := get(a.name); v != "" {
			return a.name, v, a.value
		}
	}
	return "", "", nil
}

// logLevel reads our levels and the original's.
func logLevel(v string) (string, error) {
	switch strings.ToLower(v) {
	case "debug", "info", "warn", "error":
		return strings.ToLower(v), nil
	case "warning":
		return "warn", nil
	case "notice":
		return "info", nil
	case "critical", "alert", "emergency":
		return "error", nil
	}
	return "", fmt.Errorf("%q is not a log level: debug, info, warn, error", v)
}

// logFormat reads our formats and the original's, for which everything but JSON is the console.
func logFormat(v string) (string, error) {
	switch strings.ToLower(v) {
	case LogFormatJSON, "datadog_json":
		return LogFormatJSON, nil
	case LogFormatText, "console":
		return LogFormatText, nil
	}
	return "", fmt.Errorf("%q is not a log format: text, json", v)
}

// unneeded names variables of the original that have nothing to configure any more.
func unneeded(get func(string) string) string {
	var set []string
	for _, name := range retiredVariables() {
		if get(name) != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return ""
	}
	slices.Sort(set)
	return "these environment variables have no effect here and can be taken out: Sequin needs no database and no Redis of its own, keeps its state in the data directory, and sends no telemetry: " +
		strings.Join(set, ", ")
}

// retiredVariables are the original's whose subject is gone.
func retiredVariables() []string {
	return []string{
		"PG_URL", "PG_HOSTNAME", "PG_DATABASE", "PG_PORT", "PG_USERNAME", "PG_PASSWORD", "PG_POOL_SIZE", "PG_SSL", "PG_IPV6", "ECTO_IPV6",
		"REDIS_URL", "REDIS_POOL_SIZE", "REDIS_TLS", "REDIS_SSL", "REDIS_TLS_CA_CERT_FILE", "REDIS_TLS_CLIENT_CERT_FILE", "REDIS_TLS_CLIENT_KEY_FILE",
		"REDIS_TLS_VERIFY", "REDIS_IPV6",
		"SECRET_KEY_BASE", "SERVER_HOST", "PHX_HOST", "SERVER_CHECK_ORIGIN", "RELEASE_VERSION",
		"DEFAULT_WORKERS_PER_SINK", "BACKFILL_MAX_PENDING_MESSAGES", "MAX_MEMORY_MB", "MEMORY_BUFFER_PERCENT",
		"REPLICATION_FLUSH_MAX_ACCUMULATED_BYTES", "REPLICATION_FLUSH_MAX_ACCUMULATED_MESSAGES", "REPLICATION_FLUSH_MAX_ACCUMULATED_TIME_MS",
		"HTTP_POOL_SIZE", "HTTP_POOL_COUNT", "LONG_POLL_FALLBACK_MS",
		"HTTP_PUSH_VIA_SQS_QUEUE_URL", "HTTP_PUSH_VIA_SQS_DLQ_URL", "HTTP_PUSH_VIA_SQS_REGION", "HTTP_PUSH_VIA_SQS_ACCESS_KEY_ID",
		"HTTP_PUSH_VIA_SQS_SECRET_ACCESS_KEY", "HTTP_PUSH_VIA_SQS_NEW_SINKS", "HTTP_PUSH_VIA_SQS_DISCARDS_DISABLED",
		"FEATURE_ACCOUNT_SELF_SIGNUP", "FEATURE_PROVISION_DEFAULT_USER", "FEATURE_FUNCTION_TRANSFORMS",
		"SEQUIN_TELEMETRY_DISABLED", "CRASH_REPORTING_DISABLED", "SENTRY_DSN", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "GITHUB_CLIENT_REDIRECT_URI",
		"LOOPS_API_KEY", "METRICS_HOST", "ADMIN_USER", "ADMIN_PASSWORD", "DATADOG_API_KEY", "DATADOG_APP_KEY", "PAGERDUTY_INTEGRATION_KEY",
		"INCIDENT_IO_API_KEY", "RETOOL_WORKFLOW_KEY", "API_HOST", "STATSD_HOST", "AUTO_ASSIGN_RELEASE_NODE", "RELEASE_NODE", "RELEASE_HOST",
		"RELEASE_DISTRIBUTION", "SELF_HOSTED",
	}
}

// Level is the log level as slog knows it.
func (s *Server) Level() slog.Level {
	level, err := logLevel(s.LogLevel)
	if err != nil {
		return slog.LevelInfo
	}
	switch level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
