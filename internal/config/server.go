package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sequinstream/sequin/internal/resource"
)

// Server is how one process runs, as opposed to what it is told to do: the one source of the flags, the environment, the defaults and the
// reference page.
type Server struct {
	ConfigFile string // sequin.yaml; "" when there is none
	ConfigYAML string // the same, in Base64; wins over ConfigFile
	Prune      bool

	DataDir   string
	Ephemeral bool
	Salvage   bool

	Listen        string
	MetricsListen string
	MetricsUser   string // with MetricsPassword: HTTP Basic in front of /metrics
	MetricsPass   resource.Secret

	VaultKey         resource.Secret // seals secrets at rest; "" for a key that is made in the data directory
	VaultKeyPrevious resource.Secret // older keys, separated by commas: they open, and seal nothing any more

	LogLevel        string
	LogFormat       string
	ShutdownTimeout time.Duration

	fileNamed bool // ConfigFile was named by a flag or by SEQUIN_CONFIG, so it must exist
}

// Words for logs.
const (
	LogFormatText = "text"
	LogFormatJSON = "json"
)

// DefaultFile is read when no file is named and it exists in the working directory.
const DefaultFile = "sequin.yaml"

// NewServer returns the defaults. The data directory depends on who runs the process: /var/lib/sequin for root, else below the home directory.
func NewServer() *Server {
	return &Server{
		DataDir:         defaultDataDir(os.Geteuid(), os.Getenv),
		Listen:          "127.0.0.1:7376",
		MetricsListen:   "127.0.0.1:8376",
		LogLevel:        "info",
		LogFormat:       LogFormatText,
		ShutdownTimeout: 25 * time.Second,
	}
}

func defaultDataDir(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/sequin"
	}
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sequin")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "sequin")
	}
	return ""
}

// Option describes one setting for the reference page.
type Option struct {
	Flag    string
	Env     []string // the first is ours, the others are the original's
	Default string
	Help    string
	Hidden  bool // the environment alone
}

// setting is one row of the table behind flags, environment and reference.
type setting struct {
	flag   string
	help   string
	bind   func(fs *pflag.FlagSet, name, help string)
	also   []alias // the original's variables
	noFlag bool    // a secret or a whole document: not for a command line
}

// alias is a variable of the original. value turns its content into ours.
type alias struct {
	name  string
	value func(string) (string, error)
}

func (s *Server) settings() []setting {
	text := func(dst *string) func(*pflag.FlagSet, string, string) {
		return func(fs *pflag.FlagSet, name, help string) { fs.StringVar(dst, name, *dst, help) }
	}
	boolean := func(dst *bool) func(*pflag.FlagSet, string, string) {
		return func(fs *pflag.FlagSet, name, help string) { fs.BoolVar(dst, name, *dst, help) }
	}
	return []setting{
		{flag: "config", help: "the `file` that declares databases, endpoints and sinks (default ./sequin.yaml if present)", bind: text(&s.ConfigFile), also: []alias{{"CONFIG_FILE_PATH", same}}},
		{flag: "config-yaml", help: "the same document in Base64; wins over the file", bind: text(&s.ConfigYAML), also: []alias{{"CONFIG_FILE_YAML", same}}, noFlag: true},
		{flag: "prune", help: "remove databases, endpoints and sinks that the file no longer declares", bind: boolean(&s.Prune)},
		{flag: "data-dir", help: "the `directory` of the change log and of all state; one process at a time", bind: text(&s.DataDir)},
		{flag: "ephemeral", help: "accept a data directory that does not survive the container or the machine", bind: boolean(&s.Ephemeral)},
		{flag: "salvage", help: "open a store whose write-ahead log is damaged, without the writes from the damage on; for one start", bind: boolean(&s.Salvage)},
		{flag: "listen", help: "`address` of the HTTP API", bind: text(&s.Listen), also: []alias{{"SERVER_PORT", onPort(&s.Listen)}, {"PORT", onPort(&s.Listen)}}},
		{flag: "metrics-listen", help: "`address` of /metrics; empty for none", bind: text(&s.MetricsListen), also: []alias{{"SEQUIN_METRICS_PORT", onPort(&s.MetricsListen)}}},
		{flag: "metrics-user", help: "user that /metrics asks for", bind: text(&s.MetricsUser), noFlag: true},
		{flag: "metrics-password", help: "password that /metrics asks for", bind: text((*string)(&s.MetricsPass)), noFlag: true},
		{flag: "vault-key", help: "the key that seals secrets at rest, 32 random bytes in Base64 (default: one made in the data directory)", bind: text((*string)(&s.VaultKey)), also: []alias{{"VAULT_KEY", same}}, noFlag: true},
		{flag: "vault-key-previous", help: "older keys that may still open what they sealed, separated by commas", bind: text((*string)(&s.VaultKeyPrevious)), noFlag: true},
		{flag: "log-level", help: "debug, info, warn or error", bind: text(&s.LogLevel), also: []alias{{"LOG_LEVEL", logLevel}}},
		{flag: "log-format", help: "text or json", bind: text(&s.LogFormat), also: []alias{{"SEQUIN_LOG_FORMAT", logFormat}}},
		{flag: "shutdown-timeout", help: "how long deliveries under way may take to finish at a stop", bind: func(fs *pflag.FlagSet, name, help string) {
			fs.DurationVar(&s.ShutdownTimeout, name, s.ShutdownTimeout, help)
		}},
	}
}

// BindFlags adds the flags, with the values in s as their defaults.
func BindFlags(fs *pflag.FlagSet, s *Server) {
	for _, x := range s.settings() {
		x.bind(fs, x.flag, x.help)
		if x.noFlag {
			fs.Lookup(x.flag).Hidden = true
		}
	}
}

// Options lists every setting with its defaults.
func Options() []Option {
	s := NewServer()
	s.DataDir = "/var/lib/sequin for root, else ~/.local/share/sequin"
	fs := pflag.NewFlagSet("reference", pflag.ContinueOnError)
	var all []Option
	for _, x := range s.settings() {
		x.bind(fs, x.flag, x.help)
		_, help := pflag.UnquoteUsage(fs.Lookup(x.flag))
		o := Option{Flag: x.flag, Env: []string{envName(x.flag)}, Default: fs.Lookup(x.flag).DefValue, Help: help, Hidden: x.noFlag}
		for _, a := range x.also {
			if a.name != o.Env[0] {
				o.Env = append(o.Env, a.name)
			}
		}
		all = append(all, o)
	}
	return all
}

func envName(flag string) string {
	return "SEQUIN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// onPort keeps the host of an address and replaces its port.
func onPort(address *string) func(string) (string, error) {
	return func(port string) (string, error) {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("%q is not a port", port)
		}
		host, _, err := net.SplitHostPort(*address)
		if err != nil {
			return "", fmt.Errorf("the address %q has no port to replace", *address)
		}
		return net.JoinHostPort(host, port), nil
	}
}

func same(v string) (string, error) { return v, nil }

// Validate reports every mistake in the settings.
func (s *Server) Validate() error {
	var all []resource.Mistake
	bad := func(flag, format string, args ...any) {
		all = append(all, resource.Mistake{Path: "--" + flag, Code: resource.CodeInvalid, What: fmt.Sprintf(format, args...)})
	}
	checkAddress := func(flag, address string) {
		host, port, err := net.SplitHostPort(address)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 || strings.ContainsAny(host, " /") {
			bad(flag, "is %q; expected host:port, for example 127.0.0.1:7376", address)
		}
	}
	checkAddress("listen", s.Listen)
	if s.MetricsListen != "" {
		checkAddress("metrics-listen", s.MetricsListen)
	}
	if s.DataDir == "" {
		bad("data-dir", "is not set, and there is no home directory to choose one in")
	}
	if _, err := logLevel(s.LogLevel); err != nil {
		bad("log-level", "is %q; accepted: debug, info, warn, error", s.LogLevel)
	}
	if s.LogFormat != LogFormatText && s.LogFormat != LogFormatJSON {
		bad("log-format", "is %q; accepted: text, json", s.LogFormat)
	}
	if s.ShutdownTimeout < 0 {
		bad("shutdown-timeout", "is negative")
	}
	if len(all) == 0 {
		return nil
	}
	return &resource.InvalidError{Mistakes: all}
}

// LoadConfig reads and checks what the settings name. Without any of it nothing is declared.
func (s *Server) LoadConfig(lookup LookupEnv) (*resource.Set, []Warning, error) {
	raw, warnings, err := s.ReadConfig()
	if err != nil || raw == nil {
		return &resource.Set{Account: resource.Account{Name: resource.DefaultAccount}}, warnings, err
	}
	return Parse(raw.Name, raw.Data, lookup)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !os.IsNotExist(err)
}
