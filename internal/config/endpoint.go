package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

func (d *decoder) endpoint(path string, n *node, stored *resource.HTTPEndpoint) resource.HTTPEndpoint {
	e := resource.HTTPEndpoint{Headers: map[string]string{}, EncryptedHeaders: map[string]resource.Secret{}}
	f := d.fields(path, n)
	if stored != nil {
		e, f.updating = *stored, true
	}
	f.name("name", &e.Name)
	if f.text("url", &e.URL, "") {
		e.URL = withoutDefaultPort(e.URL)
	}
	f.headers(&e)
	f.secrets("signing_secrets", &e.SigningSecrets)
	f.tunnel()
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	return e
}

// withoutDefaultPort writes a URL as it is shown: without the port that goes without saying.
func withoutDefaultPort(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if port == "" || !strings.HasSuffix(u.Host, port) {
		return text
	}
	before, after, _ := strings.Cut(text, u.Host)
	return before + strings.TrimSuffix(u.Host, port) + after
}

// tunnel refuses the endpoints that only the original's cloud could reach.
func (f *fields) tunnel() {
	local, site := false, false
	if f.boolean("local", &local, false) && local {
		f.known = append(f.known, "path")
		n, _ := f.find("local")
		f.mistake("url", n, resource.CodeRetired, "is missing: a local endpoint was reached through a tunnel of the closed cloud").
			Hint = "Sequin runs beside you: give the endpoint's own address, for example url: http://localhost:3000/hook"
		return
	}
	if f.boolean("webhook.site", &site, false) && site {
		n, _ := f.find("webhook.site")
		f.mistake("url", n, resource.CodeRetired, "is missing: nothing is created at webhook.site for you").
			Hint = "open https://webhook.site in a browser and copy your address to url"
		return
	}
	f.ask("path", &shape{kind: shapeNull})
	if n, ok := f.find("path"); ok {
		f.mistake("path", n, resource.CodeRetired, "belongs to tunnels, which are no longer offered").
			Hint = "put the path into url, or into the sink's http_endpoint_path"
	}
}

// headers reads both kinds of headers. What is given takes the place of what is stored.
func (f *fields) headers(e *resource.HTTPEndpoint) {
	plain := map[string]string{}
	if f.pairs("headers", shapeText, func(path, name string, n *node) {
		if n.kind != scalar {
			f.d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a text", shapeName(n))
			return
		}
		plain[name] = n.text
	}) {
		e.Headers = plain
	}
	hidden, stored := map[string]resource.Secret{}, e.EncryptedHeaders
	if f.pairs("encrypted_headers", shapeSecret, func(path, name string, n *node) {
		v, ok := f.d.secret(path, n)
		if !ok {
			return
		}
		if was, there := stored[name]; there && f.updating && masks(v, was) {
			v = was
		} else {
			f.d.warnMasked(path, n, v)
		}
		hidden[name] = v
	}) {
		e.EncryptedHeaders = hidden
	}
}

// maskedHeaders is in what old exports of the original write in place of encrypted headers.
const maskedHeaders = "sha256sum:"

// pairs reads a mapping, or a list of {key, value}; null means none. It tells whether any was given.
func (f *fields) pairs(key string, value shapeKind, add func(path, name string, n *node)) bool {
	f.askPairs(key, value)
	n, ok := f.find(key)
	switch {
	case !ok:
		return n != nil
	case n.kind == mapping:
		for i := range n.entries {
			e := &n.entries[i]
			f.d.places[f.at(key)+"."+e.key] = e.at
			add(f.at(key)+"."+e.key, e.key, e.value)
		}
	case n.kind == sequence:
		for i, item := range n.items {
			f.pair(key, fmt.Sprintf("%s[%d]", f.at(key), i), item, add)
		}
	case strings.Contains(n.text, maskedHeaders):
		f.d.warnOnce("masked headers", f.at(key), n.at, "is the masked form of an export and is ignored; export again with secrets")
		return false
	default:
		f.mistake(key, n, resource.CodeInvalid, "must be a mapping, or a list of {key, value}")
		return false
	}
	return true
}

func (f *fields) pair(key, path string, item *node, add func(path, name string, n *node)) {
	h := f.d.fields(path, item)
	var name string
	hasName := h.text("key", &name, "")
	value, hasValue := h.find("value")
	if !hasName || !hasValue {
		h.d.mistake(h.path, item.at, resource.CodeMissing, "needs key and value")
		return
	}
	h.close()
	f.d.places[f.at(key)+"."+name] = item.at
	add(f.at(key)+"."+name, name, value)
}

// askPairs describes what pairs reads.
func (f *fields) askPairs(key string, value shapeKind) {
	f.ask(key, &shape{kind: shapeEither, either: []*shape{
		{kind: shapeMap, item: &shape{kind: value}},
		{kind: shapeList, item: &shape{kind: shapeObject, keys: []question{
			{"key", &shape{kind: shapeText, required: true}},
			{"value", &shape{kind: value, required: true}},
		}}},
		{kind: shapeMasked},
	}})
}

// shapeName describes a value without showing it.
func shapeName(n *node) string {
	if n.kind == scalar {
		return "a text"
	}
	return n.describe()
}
