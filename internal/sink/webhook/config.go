package webhook

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/sink/circuit"
)

// Config is a webhook sink together with the HTTP endpoint that it posts to.
type Config struct {
	URL              string            `json:"url" help:"where the endpoint is: scheme, host, port, path, query"`
	Path             string            `json:"http_endpoint_path" help:"appended to the endpoint's URL; starts with /, ? or #"`
	Headers          map[string]string `json:"headers" help:"sent with every request; they win over the defaults"`
	EncryptedHeaders map[string]string `json:"encrypted_headers" secret:"true" help:"like headers, kept secret; they win over headers"`
	Batch            bool              `json:"batch" default:"true" help:"one request carries a batch, {\"data\":[…]}; otherwise one message"`
	SigningSecrets   []string          `json:"signing_secrets" secret:"true" help:"Standard Webhooks secrets, whsec_…; two while one is being replaced"`
	RejectStatus     []int             `json:"reject_status" help:"answers between 400 and 499 after which a message becomes a dead letter at once"`
	HTTP2            bool              `json:"http2" default:"true" help:"speak HTTP/2 to https endpoints that offer it"`
	CACert           string            `json:"ca_cert" help:"PEM certificates to trust beside the system's"`
	MaxConnections   int               `json:"max_connections" help:"bound on open connections; 0 for none"`
	CircuitFailures  int               `json:"circuit_failures" default:"20" help:"consecutive failures that pause the endpoint; 0 for never"`
	CircuitMaxWait   time.Duration     `json:"circuit_max_wait" default:"30s" help:"the longest pause between two probes of a paused endpoint"`
}

// Limits on a configuration.
const (
	maxPath         = 2000
	maxSecrets      = 2
	minSecretBytes  = 24
	maxSecretBytes  = 64
	secretPrefix    = "whsec_"
	defaultAccept   = "application/json"
	defaultAgent    = "sequin"
	contentTypeJSON = "application/json"
)

// DefaultConfig holds the defaults of every field.
func DefaultConfig() Config {
	return Config{Batch: true, HTTP2: true, CircuitFailures: circuit.DefaultFailures, CircuitMaxWait: circuit.DefaultMaxWait}
}

// Format keeps secrets out of whatever prints a configuration.
func (c Config) Format(f fmt.State, _ rune) {
	host := "an endpoint"
	if u, err := url.Parse(c.URL); err == nil && u.Host != "" {
		host = u.Host
	}
	_, _ = fmt.Fprintf(f, "webhook to %s", host) // a fmt.State does not fail
}

// Validate reports every mistake at once, by field, as a problem.Error.
func (c Config) Validate() error {
	_, err := c.parse()
	return err
}

func (c Config) circuitOptions() circuit.Options {
	failures := c.CircuitFailures
	if failures <= 0 {
		failures = -1
	}
	return circuit.Options{Failures: failures, MaxWait: c.CircuitMaxWait}
}

// parsed is a configuration that was found good.
type parsed struct {
	url      *url.URL
	endpoint string // names the endpoint among all sinks: no user, query or fragment
	host     string
	headers  http.Header
	gzip     bool
	signer   signer
	reject   map[int]bool
	roots    *x509.CertPool
	redact   redactor
}

type mistakes map[string][]string

func (m mistakes) add(field, format string, args ...any) {
	m[field] = append(m[field], fmt.Sprintf(format, args...))
}

func (c Config) parse() (parsed, error) {
	wrong := mistakes{}
	var p parsed
	base := c.parseURL(wrong)
	c.parseHeaders(&p, wrong)
	c.parseSecrets(&p, wrong)
	c.parseLimits(&p, wrong)
	if len(wrong) > 0 {
		err := problem.New("webhook_invalid", "the webhook is not configured correctly")
		var lines []string
		for _, field := range slices.Sorted(maps.Keys(wrong)) {
			lines = append(lines, field+" "+strings.Join(wrong[field], ", "))
		}
		err.Fields = wrong
		return parsed{}, err.WithDetail("%s", strings.Join(lines, "; "))
	}
	p.redact = c.redactor(base)
	if user := base.User; user != nil {
		if p.headers.Get("Authorization") == "" {
			password, _ := user.Password()
			p.headers.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
		}
		base.User = nil
	}
	p.endpoint = base.Scheme + "://" + base.Host + base.EscapedPath()
	p.url = join(base, c.Path)
	return p, nil
}

func (c Config) parseURL(wrong mistakes) *url.URL {
	if c.Path != "" && !strings.ContainsRune("/?#", rune(c.Path[0])) {
		wrong.add("http_endpoint_path", "must start with /, ? or #")
	} else if path, _ := cutPath(c.Path); !validPath(path) || strings.ContainsFunc(c.Path, unsafeInPath) {
		wrong.add("http_endpoint_path", "must be a valid URL path")
	}
	if len(c.Path) > maxPath {
		wrong.add("http_endpoint_path", "must not be longer than %d characters", maxPath)
	}
	u, err := url.Parse(c.URL) // its error would repeat the URL, which may hold a password
	switch {
	case err != nil || strings.ContainsFunc(c.URL, unsafeInPath):
		wrong.add("url", "must be a valid URL")
		return nil
	case u.Scheme != "http" && u.Scheme != "https":
		wrong.add("url", "must start with http:// or https://")
	case u.Hostname() == "":
		wrong.add("url", "must name a host")
	}
	return u
}

func unsafeInPath(r rune) bool { return r <= ' ' || r == 0x7f }

func validPath(path string) bool {
	_, err := url.PathUnescape(path)
	return err == nil
}

// cutPath splits a sink's path into path and query. It is not a URL of its own: "//host" names no host here.
func cutPath(s string) (path, query string) {
	s, _, _ = strings.Cut(s, "#")
	path, query, _ = strings.Cut(s, "?")
	return path, query
}

// join appends the sink's path to the endpoint's URL with exactly one slash between them; the queries of both are sent. Fragments never
// leave a client.
func join(base *url.URL, path string) *url.URL {
	u := *base
	u.Fragment, u.RawFragment = "", ""
	rest, query := cutPath(path)
	if rest != "" {
		joined := strings.TrimSuffix(u.EscapedPath(), "/") + "/" + strings.TrimPrefix(rest, "/")
		if plain, err := url.PathUnescape(joined); err == nil {
			u.Path, u.RawPath = plain, joined
		}
	}
	if query != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+query, "&")
	}
	return &u
}

func (c Config) parseHeaders(p *parsed, wrong mistakes) {
	p.headers = http.Header{
		"Content-Type": {contentTypeJSON},
		"Accept":       {defaultAccept},
		"User-Agent":   {defaultAgent},
	}
	set := func(field string, headers map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			value := headers[name]
			switch key := http.CanonicalHeaderKey(name); {
			case !httpguts.ValidHeaderFieldName(name):
				wrong.add(field, "%q is not a valid header name", name)
			case !httpguts.ValidHeaderFieldValue(value):
				wrong.add(field, "the value of %q holds characters that no header may hold", name)
			case forbidden(key):
				wrong.add(field, "%q is set by the connection itself", name)
			case key == "Host":
				p.host = value
			default:
				p.headers[key] = []string{value}
			}
		}
	}
	set("headers", c.Headers)
	set("encrypted_headers", c.EncryptedHeaders)
	switch encoding := p.headers.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		p.gzip = true
	default:
		wrong.add("headers", "content-encoding %q is not supported: gzip is", encoding)
	}
}

func forbidden(key string) bool {
	switch key {
	case "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer", "Proxy-Connection", "Expect":
		return true
	}
	return false
}

func (c Config) parseSecrets(p *parsed, wrong mistakes) {
	if len(c.SigningSecrets) > maxSecrets {
		wrong.add("signing_secrets", "must be one, or two while one is being replaced")
	}
	for i, secret := range c.SigningSecrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
		switch {
		case !strings.HasPrefix(secret, secretPrefix) || err != nil:
			wrong.add("signing_secrets", "secret %d must be %s followed by Base64", i+1, secretPrefix)
		case len(key) < minSecretBytes || len(key) > maxSecretBytes:
			wrong.add("signing_secrets", "secret %d must hold %d to %d bytes, it holds %d", i+1, minSecretBytes, maxSecretBytes, len(key))
		default:
			p.signer.keys = append(p.signer.keys, key)
		}
	}
}

func (c Config) parseLimits(p *parsed, wrong mistakes) {
	p.reject = make(map[int]bool, len(c.RejectStatus))
	for _, status := range c.RejectStatus {
		if status < 400 || status > 499 || transient(status) {
			wrong.add("reject_status", "%d cannot be rejected: between 400 and 499, without 408, 425 and 429", status)
		}
		p.reject[status] = true
	}
	if c.MaxConnections < 0 {
		wrong.add("max_connections", "must not be negative")
	}
	if c.CircuitFailures < 0 {
		wrong.add("circuit_failures", "must not be negative")
	}
	if c.CircuitMaxWait < 0 {
		wrong.add("circuit_max_wait", "must not be negative")
	}
	if c.CACert == "" {
		return
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM([]byte(c.CACert)) {
		wrong.add("ca_cert", "holds no PEM certificate")
	}
	p.roots = roots
}
