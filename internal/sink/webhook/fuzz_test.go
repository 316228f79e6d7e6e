package webhook

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-1", "1e3", "99999999999999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", " 5 ", "٣"} {
		f.Add(seed, "Fri, 31 Dec 1999 23:59:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		wait, ok := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(1700000000, 0))
		if ok && (wait <= 0 || wait > maxRetryWait) {
			t.Errorf("Retry-After %q, Date %q: wait %s", value, date, wait)
		}
	})
}

// Whatever is appended, the request goes to the endpoint's host.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/x", "//evil.test/x", "?a=b", "#f", "/..//%2e%2e/", "/\\evil.test", "/@evil.test:80/", "/ä?ö#ü"} {
		f.Add("/base", seed)
	}
	f.Fuzz(func(t *testing.T, base, path string) {
		c := Config{URL: "http://endpoint.test:8080" + base, Path: path}
		if !strings.HasPrefix(base, "/") && base != "" {
			return
		}
		p, err := c.parse()
		if err != nil {
			return
		}
		again, err := url.Parse(p.url.String())
		if err != nil {
			t.Fatalf("%q and %q make %q: %v", base, path, p.url, err)
		}
		if p.url.Host != "endpoint.test:8080" || again.Host != p.url.Host || again.User != nil {
			t.Errorf("%q and %q lead to %q", base, path, p.url)
		}
		if uri := p.url.RequestURI(); strings.ContainsAny(uri, " \r\n#") {
			t.Errorf("%q and %q make the request line %q", base, path, uri)
		}
	})
}

func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("a\n\tb \xff c"), 5)
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		limit = max(0, min(limit, 1000))
		text := excerpt(body, limit)
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n") || len(text) > limit+len(" …") {
			t.Errorf("%q", text)
		}
	})
}
