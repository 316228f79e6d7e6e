package resource

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

func (c *checker) endpoint(at string, e *HTTPEndpoint) {
	c.name(at+".name", e.Name)
	c.endpointURL(at+".url", e.URL)
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		c.header(at+".headers", name, e.Headers[name])
	}
	for _, name := range slices.Sorted(maps.Keys(e.EncryptedHeaders)) {
		c.header(at+".encrypted_headers", name, e.EncryptedHeaders[name].Reveal())
	}
	if n := len(e.SigningSecrets); n > MaxSigningSecrets {
		c.add(at+".signing_secrets", CodeInvalid, "has %d keys; at most %d may be active: the old one and the new one", n, MaxSigningSecrets)
	}
	for i, secret := range e.SigningSecrets {
		if _, err := SigningKey(secret); err != nil {
			c.add(fmt.Sprintf("%s.signing_secrets[%d]", at, i), CodeInvalid, "%s", err.Error()).Hint = `make one with: echo "whsec_$(openssl rand -base64 32)"`
		}
	}
}

// endpointURL never shows the text: it may hold a token.
func (c *checker) endpointURL(at, text string) {
	if text == "" {
		c.add(at, CodeMissing, "is required")
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		c.add(at, CodeInvalid, "is not a valid URL; expected https://host/path")
		return
	case u.Scheme != "http" && u.Scheme != "https":
		c.add(at, CodeInvalid, "must begin with https:// or http://")
		return
	case u.User != nil:
		c.add(at, CodeInvalid, "must not hold a user and password").Hint = `send them as encrypted_headers: {Authorization: "Basic …"}`
	}
	host := u.Hostname()
	if host == "" || (!hostPattern.MatchString(host) && net.ParseIP(host) == nil) {
		c.add(at, CodeInvalid, "has no valid host name")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			c.add(at, CodeInvalid, "has a port outside 1 to 65535")
		}
	}
}

// header never shows the value.
func (c *checker) header(at, name, value string) {
	if name == "" || strings.ContainsFunc(name, notTokenRune) {
		c.add(at, CodeInvalid, "has %q, which is not the name of an HTTP header", name)
		return
	}
	if strings.ContainsFunc(value, func(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7f }) {
		c.add(at+"."+name, CodeInvalid, "has a line break or another control character")
	}
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "trailer", "upgrade":
		c.add(at+"."+name, CodeInvalid, "is set by the HTTP connection itself")
	}
}

func notTokenRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
