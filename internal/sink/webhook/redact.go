package webhook

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// redactor takes secrets out of texts that reach people: an endpoint may repeat in its answer what it was sent.
type redactor struct{ replace *strings.Replacer }

// A shorter value is more likely part of an ordinary word than worth hiding.
const minRedacted = 4

func (c Config) redactor(base *url.URL) redactor {
	var secrets []string
	add := func(s string) {
		if len(s) >= minRedacted {
			secrets = append(secrets, s)
		}
	}
	value := func(v string) {
		add(v)
		if _, token, ok := strings.Cut(v, " "); ok { // "Bearer token": the token alone is as secret
			add(token)
		}
	}
	for _, v := range c.EncryptedHeaders {
		value(v)
	}
	for name, v := range c.Headers {
		if sensitive(name) {
			value(v)
		}
	}
	for _, s := range c.SigningSecrets {
		value(s)
		add(strings.TrimPrefix(s, secretPrefix))
	}
	if base.User != nil {
		password, _ := base.User.Password()
		add(password)
	}
	add(base.RawQuery)
	for _, values := range base.Query() {
		for _, v := range values {
			add(v)
			add(url.QueryEscape(v))
		}
	}
	return newRedactor(secrets)
}

func newRedactor(secrets []string) redactor {
	// Of two secrets that begin alike the longer must win.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		pairs = append(pairs, s, "***")
	}
	return redactor{strings.NewReplacer(pairs...)}
}

func sensitive(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Auth-Token", "X-Access-Token":
		return true
	}
	return false
}

func (r redactor) text(s string) string { return r.replace.Replace(s) }
