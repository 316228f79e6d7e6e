package webhook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/sinktest"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		to         string
		configured bool
		method     string
		uri        string
		header     string
	}{
		"everything":                        {`{"method":"put","endpoint_path":"/x/1?a=b","headers":{"x-a":"1"}}`, false, "PUT", "/base/x/1?k=v&a=b", "1"},
		"a function decides about the path": {`{"method":"POST"}`, false, "POST", "/base?k=v", "base"},
		"what is left out is as configured": {`{"headers":{"x-a":7}}`, true, "POST", "/base/set?k=v", "7"},
		"null is left out":                  {`{"method":null,"endpoint_path":null,"headers":null}`, true, "POST", "/base/set?k=v", "base"},
		"a path without its slash":          {`{"method":"DELETE","endpoint_path":"orders/7"}`, false, "DELETE", "/base/orders/7?k=v", "base"},
		"an encoded part":                   {`{"method":"PATCH","endpoint_path":"/a%2Fb"}`, false, "PATCH", "/base/a%2Fb?k=v", "base"},
		"no host of its own":                {`{"method":"POST","endpoint_path":"//evil.test/x"}`, false, "POST", "/base//evil.test/x?k=v", "base"},
		"a null header":                     {`{"method":"POST","headers":{"x-a":null}}`, false, "POST", "/base?k=v", "base"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, seen := recorder(t)
			c.URL += "/base?k=v"
			c.Path, c.Headers = "/set", map[string]string{"X-A": "base"}
			route, err := webhook.Definition.Route(c, []byte(test.to), test.configured)
			require.NoError(t, err)
			batch := sinktest.Batch("m", 1)
			batch[0].Route = route
			require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), batch))
			r := <-seen
			require.Equal(t, test.method, r.Method)
			require.Equal(t, test.uri, r.RequestURI)
			require.Equal(t, test.header, r.Header.Get("X-A"))
			require.NotEmpty(t, r.body)
		})
	}
}

func TestRoutesThatAreRefused(t *testing.T) {
	t.Parallel()
	c := webhook.DefaultConfig()
	c.URL = "https://user:secret@hook.test/base"
	for to, says := range map[string]string{
		`7`:                                  "must be an object",
		`null`:                               "must be an object",
		`{"methods":"PUT"}`:                  `"methods" is not part of a webhook's route`,
		`{}`:                                 "method is missing",
		`{"method":""}`:                      "accepted: GET, POST",
		`{"method":"CONNECT"}`:               "accepted: GET, POST",
		`{"method":7}`:                       "accepted: GET, POST",
		`{"method":"PUT","endpoint_path":7}`: "is no text",
		`{"method":"PUT","endpoint_path":"/a b"}`:                                "encodeURIComponent",
		`{"method":"PUT","endpoint_path":"/%zz"}`:                                "encodeURIComponent",
		`{"method":"PUT","endpoint_path":"/../x"}`:                               "must not climb",
		`{"method":"PUT","endpoint_path":"/a/%2e%2e/%2e%2e/x"}`:                  "must not climb",
		`{"method":"PUT","endpoint_path":"` + strings.Repeat("/abc", 600) + `"}`: "at most 2000",
		`{"method":"PUT","headers":[]}`:                                          "must be an object",
		`{"method":"PUT","headers":{"a b":"c"}}`:                                 "not a valid header name",
		`{"method":"PUT","headers":{"a":"b\r\nc: d"}}`:                           "no header may hold",
		`{"method":"PUT","headers":{"host":"elsewhere.test"}}`:                   "set by the connection",
		`{"method":"PUT","headers":{"Content-Length":"1"}}`:                      "set by the connection",
		`{"method":"PUT","headers":{"a":{}}}`:                                    "is no text",
	} {
		_, err := webhook.Definition.Route(c, []byte(to), false)
		require.ErrorContains(t, err, says, to)
		require.NotContains(t, err.Error(), "secret")
	}
}

// The signature's headers and the id cannot be overwritten; routes with the same destination have the same key.
func TestRouteKeys(t *testing.T) {
	t.Parallel()
	c := webhook.DefaultConfig()
	c.URL = "https://hook.test"
	key := func(to string) string {
		r, err := webhook.Definition.Route(c, []byte(to), true)
		require.NoError(t, err)
		return r.Key
	}
	require.Equal(t, key(`{"headers":{"x-a":"1","x-b":"2"},"method":"PUT"}`), key(`{"method":"put","headers":{"X-B":"2","X-A":"1"}}`))
	require.NotEqual(t, key(`{"headers":{"x-a":"1"}}`), key(`{"headers":{"x-a":"2"}}`))
	require.NotEqual(t, key(`{"endpoint_path":"/a"}`), key(`{"endpoint_path":"/b"}`))
	require.NotEqual(t, key(`{"method":"PUT"}`), key(`{"method":"POST"}`))
	require.Equal(t, []string{"method", "endpoint_path", "headers"}, webhook.Definition.Routes)
}
