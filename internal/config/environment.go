package config

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sequinstream/sequin/internal/problem"
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
	for _, name := range []string{
		"PG_URL", "PG_HOSTNAME", "PG_DATABASE", "PG_PORT", "PG_USERNAME", "PG_PASSWORD", "PG_POOL_SIZE", "PG_SSL", "PG_IPV6",
		"REDIS_URL", "REDIS_POOL_SIZE", "REDIS_TLS", "SECRET_KEY_BASE", "DEFAULT_WORKERS_PER_SINK", "MAX_MEMORY_MB",
		"REPLICATION_FLUSH_MAX_ACCUMULATED_BYTES", "REPLICATION_FLUSH_MAX_ACCUMULATED_MESSAGES", "REPLICATION_FLUSH_MAX_ACCUMULATED_TIME_MS",
	} {
		if get(name) != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return ""
	}
	slices.Sort(set)
	return "these environment variables have no effect: Sequin needs no database and no Redis of its own: " + strings.Join(set, ", ")
}

func parseBase64(text string, lookup LookupEnv) (*resource.Set, []Warning, error) {
	clean := strings.Join(strings.Fields(text), "")
	data, err := base64.StdEncoding.DecodeString(clean)
	if err != nil {
		data, err = base64.RawStdEncoding.DecodeString(clean)
	}
	if err != nil {
		return nil, nil, problem.New("config_unreadable", "SEQUIN_CONFIG_YAML is not Base64").
			WithHint("encode the file with: base64 -w0 sequin.yaml")
	}
	return Parse("SEQUIN_CONFIG_YAML", data, lookup)
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
