package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
)

// savedContext is a server with a name, in the original's format, byte for byte: ~/.sequin/contexts/<name>.json. Session alone is ours.
type savedContext struct {
	Name          string        `json:"name"`
	Description   string        `json:"description"`
	Hostname      string        `json:"hostname"`
	TLS           bool          `json:"tls"`
	PortalBaseURL string        `json:"portal_hostname"`
	Default       bool          `json:"default"`
	APIToken      string        `json:"api_token"`
	TunnelPorts   []tunnelPort  `json:"tunnelPorts,omitempty"`
	Session       *savedSession `json:"session,omitempty"`
}

// tunnelPort keeps what the original kept; nothing uses it.
type tunnelPort struct {
	NameOrID string `json:"nameOrId"`
	Port     string `json:"port"`
}

// savedSession says that the token is that of a login.
type savedSession struct {
	Email     string `json:"email"`
	Account   string `json:"account,omitempty"`
	Role      string `json:"role,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
}

// url is the server's address. A context of the original without a host meant its cloud, which is closed.
func (c *savedContext) url() string {
	switch {
	case c.Hostname == "":
		return client.DefaultURL
	case strings.HasPrefix(c.Hostname, "unix:"):
		return c.Hostname
	case c.TLS:
		return "https://" + c.Hostname
	default:
		return "http://" + c.Hostname
	}
}

// takeURL splits a URL that was given for the host, which the original would take for a part of its name.
func (c *savedContext) takeURL() {
	if host, ok := strings.CutPrefix(c.Hostname, "https://"); ok {
		c.Hostname, c.TLS = strings.TrimRight(host, "/"), true
	} else if host, ok := strings.CutPrefix(c.Hostname, "http://"); ok {
		c.Hostname, c.TLS = strings.TrimRight(host, "/"), false
	}
}

// isLocal reports the hosts that the original speaks plain HTTP to.
func isLocal(hostname string) bool {
	host := strings.ToLower(hostname)
	if strings.HasPrefix(host, "unix:") || host == "::1" || strings.HasPrefix(host, "[::1]") {
		return true
	}
	host, _, _ = strings.Cut(host, ":")
	if slices.Contains([]string{"localhost", "127.0.0.1", "host.docker.internal"}, host) {
		return true
	}
	for _, prefix := range []string{"192.168.", "10.", "172.16."} {
		if strings.HasPrefix(host, prefix) {
			return true
		}
	}
	return false
}

// contextStore is ~/.sequin.
type contextStore struct{ dir string }

func (a *app) contexts() (contextStore, error) {
	home := a.getenv("HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return contextStore{}, fmt.Errorf("find the home directory, where contexts are kept: %w", err)
		}
	}
	return contextStore{filepath.Join(home, ".sequin")}, nil
}

func (s contextStore) file(name string) string {
	return filepath.Join(s.dir, "contexts", name+".json")
}

// checkContextName refuses names that would be files elsewhere.
func checkContextName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\n") || len(name) > 200 {
		return usage("%q cannot be the name of a context", name)
	}
	return nil
}

// defaultName is the selected context, or "".
func (s contextStore) defaultName() (string, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, ".default_context"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read which context is selected: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (s contextStore) load(name string) (savedContext, error) {
	var c savedContext
	if err := checkContextName(name); err != nil {
		return c, err
	}
	data, err := os.ReadFile(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return c, &exitError{ExitNotFound, problem.New("context_not_found", "there is no context %q", name).WithDetail("%s does not exist", s.file(name)).
			WithHint("sequin context ls lists them, sequin context add makes one")}
	}
	if err != nil {
		return c, fmt.Errorf("read context %q: %w", name, err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, problem.New("context_damaged", "the context %q cannot be read", name).WithDetail("%s: %s", s.file(name), jsonTrouble(err)).
			WithHint("mend the file, or remove it with sequin context rm %s", name)
	}
	c.Name = name
	selected, err := s.defaultName()
	c.Default = selected == name
	return c, err
}

// jsonTrouble says what is wrong with a file without showing what it holds.
func jsonTrouble(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("it is no valid JSON from byte %d on", syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return kind.Field + " is of the wrong type"
	}
	return "it is no valid JSON"
}

// save writes a context for its owner alone: it holds a token.
func (s contextStore) save(c savedContext) error {
	if err := checkContextName(c.Name); err != nil {
		return err
	}
	if c.Default { // .default_context tells
		c.Default = false
	}
	data, err := json.MarshalIndent(c, "", "  ") //nolint:gosec // G117: the file is where the token is kept, for its owner alone
	if err != nil {
		return fmt.Errorf("encode context %q: %w", c.Name, err)
	}
	return s.write(s.file(c.Name), data)
}

func (s contextStore) selectDefault(name string) error {
	return s.write(filepath.Join(s.dir, ".default_context"), []byte(name))
}

// write replaces a file, whole or not at all.
func (s contextStore) write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the directory of contexts: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func (s contextStore) remove(name string) error {
	if err := checkContextName(name); err != nil {
		return err
	}
	err := os.Remove(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = s.load(name)
		return err
	}
	if err != nil {
		return fmt.Errorf("remove context %q: %w", name, err)
	}
	selected, err := s.defaultName()
	if err != nil || selected != name {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, ".default_context")); err != nil {
		return fmt.Errorf("select no context: %w", err)
	}
	return nil
}

// names lists the contexts, the selected one first.
func (s contextStore) names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "contexts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list contexts: %w", err)
	}
	selected, err := s.defaultName()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		switch {
		case !ok || e.IsDir():
		case name == selected:
			names = slices.Insert(names, 0, name)
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// shown is the context as it may be printed: with its token masked.
func (c *savedContext) shown() json.RawMessage {
	hidden := *c
	hidden.APIToken = masked(c.APIToken)
	text, err := json.Marshal(hidden) //nolint:gosec // G117: it is masked
	if err != nil {                   // cannot happen: it was read from JSON
		return json.RawMessage("null")
	}
	return text
}

// masked hides a token and tells its length.
func masked(token string) string { return string(bytes.Repeat([]byte("*"), len(token))) }
