package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/sequinstream/sequin/internal/sink"
)

// routeKeys are what may be said of one message.
var routeKeys = []string{"method", "endpoint_path", "headers"}

// methods are those that a message may be sent with.
var methods = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
}

// destination is where one message goes, and how.
type destination struct {
	method  string
	url     *url.URL
	headers http.Header // over the endpoint's
}

// routeOf reads {"method": …, "endpoint_path": …, "headers": {…}}.
func routeOf(config any, to []byte, configured bool) (sink.Route, error) {
	c, ok := config.(Config)
	if !ok {
		return sink.Route{}, fmt.Errorf("the configuration is %T, want webhook.Config", config)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(to, &keys); err != nil || keys == nil {
		return sink.Route{}, errors.New("a route must be an object")
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(routeKeys, key) {
			return sink.Route{}, fmt.Errorf("%q is not part of a webhook's route; it may say %s", key, strings.Join(routeKeys, ", "))
		}
	}
	d := destination{method: http.MethodPost}
	if err := d.readMethod(keys["method"], configured); err != nil {
		return sink.Route{}, err
	}
	path := ""
	if configured {
		path = c.Path
	}
	if err := d.readPath(c, keys["endpoint_path"], path); err != nil {
		return sink.Route{}, err
	}
	if err := d.readHeaders(keys["headers"]); err != nil {
		return sink.Route{}, err
	}
	return sink.Route{Key: d.key(), To: &d}, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func (d *destination) readMethod(raw json.RawMessage, configured bool) error {
	if isNull(raw) {
		if configured {
			return nil
		}
		return fmt.Errorf("method is missing: one of %s", strings.Join(methods, ", "))
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		d.method = strings.ToUpper(text)
	}
	if text == "" || !slices.Contains(methods, d.method) {
		return fmt.Errorf("method is %s; accepted: %s", raw, strings.Join(methods, ", "))
	}
	return nil
}

func (d *destination) readPath(c Config, raw json.RawMessage, path string) error {
	if !isNull(raw) {
		if err := json.Unmarshal(raw, &path); err != nil {
			return fmt.Errorf("endpoint_path is %s, which is no text", raw)
		}
	}
	plain, query := cutPath(path)
	switch unescaped, err := url.PathUnescape(plain); {
	case len(path) > maxPath:
		return fmt.Errorf("endpoint_path has %d characters; at most %d are sent", len(path), maxPath)
	case err != nil || strings.ContainsFunc(path, unsafeInPath):
		return fmt.Errorf("endpoint_path is %q, which is not a valid URL path: encode its parts (encodeURIComponent)", path)
	case slices.ContainsFunc(strings.Split(unescaped, "/"), func(s string) bool { return s == ".." || s == "." }):
		return fmt.Errorf("endpoint_path is %q: it must not climb out of the endpoint's path", path)
	}
	if plain != "" && !strings.HasPrefix(plain, "/") {
		path = "/" + plain
		if query != "" {
			path += "?" + query
		}
	}
	base, err := url.Parse(c.URL)
	if err != nil {
		return errors.New("the endpoint's URL is not valid") // the error would repeat it
	}
	base.User = nil // it is in the headers
	d.url = join(base, path)
	return nil
}

func (d *destination) readHeaders(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var values map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil {
		return fmt.Errorf("headers are %s; they must be an object of names and texts", raw)
	}
	d.headers = http.Header{}
	for name, value := range values {
		text := ""
		switch v := value.(type) {
		case nil:
			continue
		case string:
			text = v
		case json.Number, bool:
			text = fmt.Sprint(v)
		default:
			return fmt.Errorf("header %q is no text", name)
		}
		key := http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("%q is not a valid header name", name)
		case !httpguts.ValidHeaderFieldValue(text):
			return fmt.Errorf("the value of header %q holds characters that no header may hold", name)
		case forbidden(key) || key == "Host" || key == "Content-Encoding":
			return fmt.Errorf("header %q is set by the connection itself", name)
		}
		d.headers[key] = []string{text}
	}
	return nil
}

// key tells destinations apart.
func (d *destination) key() string {
	var b strings.Builder
	b.WriteString(d.method + " " + d.url.String())
	for _, name := range slices.Sorted(maps.Keys(d.headers)) {
		b.WriteString("\n" + name + ": " + d.headers[name][0])
	}
	return b.String()
}
