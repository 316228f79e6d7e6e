package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "s3cret-token"

// serve is a server that answers with one thing and keeps what it was asked.
func serve(t *testing.T, status int, header http.Header, body string) (*httptest.Server, <-chan *http.Request) {
	t.Helper()
	asked := make(chan *http.Request, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(text)))
		asked <- r
		w.Header().Set("X-Request-Id", "request-1")
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s, asked
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestARequestCarriesWhatItWasGiven(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "/", "/api", "/api/"} {
		s, asked := serve(t, http.StatusCreated, nil, `{"id":12345678901234567890}`)
		c := dial(t, client.Options{URL: s.URL + suffix, Token: secret, UserAgent: "sequin/test"})
		res, err := c.Do(t.Context(), client.Request{
			Method: http.MethodPost, Path: client.Path("api", "sinks", "a/b ü"), Query: url.Values{"x": {"1 2"}}, Body: map[string]any{"name": "a"},
		})
		require.NoError(t, err)
		require.Equal(t, "request-1", res.RequestID)
		var got struct{ ID json.Number }
		require.NoError(t, res.Decode(&got))
		require.Equal(t, "12345678901234567890", got.ID.String(), "no digit is lost")
		r := <-asked
		require.Equal(t, "/api/sinks/a%2Fb%20%C3%BC?x=1+2", r.RequestURI, "a name stays one segment")
		require.Equal(t, "Bearer "+secret, r.Header.Get("Authorization"))
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		require.Equal(t, "sequin/test", r.Header.Get("User-Agent"))
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.JSONEq(t, `{"name":"a"}`, string(text))
	}
}

func TestAnswersThatSayNo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		want   problem.Error
	}{
		"ours": {
			422, nil, `{"summary":"the declaration has 1 mistake","validation_errors":{"destination.type":["is unknown"]},"code":"validation_failed","detail":"d","hint":"h"}`,
			problem.Error{Code: "validation_failed", Message: "the declaration has 1 mistake", Detail: "d", Hint: "h", Fields: map[string][]string{"destination.type": {"is unknown"}}},
		},
		"the original's": {
			422, nil, `{"summary":"Validation failed","validation_errors":{"name":["can't be blank"],"sink":{"port":["must be less than 65536"]},"tables":[{"name":["x"]}]}}`,
			problem.Error{Code: "http_422", Message: "Validation failed", Fields: map[string][]string{"name": {"can't be blank"}, "sink.port": {"must be less than 65536"}, "tables[0].name": {"x"}}},
		},
		"generic":     {404, nil, `{"errors":{"detail":"Not Found"}}`, problem.Error{Code: "http_404", Message: "Not Found"}},
		"a test":      {422, nil, `{"success":false,"reason":"no route"}`, problem.Error{Code: "http_422", Message: "no route"}},
		"a delete":    {422, nil, `{"success":false,"error":"in use"}`, problem.Error{Code: "http_422", Message: "in use"}},
		"nothing":     {500, nil, `{}`, problem.Error{Code: "http_500", Message: "500 Internal Server Error"}},
		"no content":  {204, nil, ``, problem.Error{Code: "unexpected_reply", Message: "the server answered 204 No Content"}},
		"a proxy":     {502, nil, "<html>Bad Gateway</html>", problem.Error{Code: "unexpected_reply", Message: "the server answered 502 Bad Gateway", Detail: "<html>Bad Gateway</html>"}},
		"long":        {502, nil, strings.Repeat("é", 300), problem.Error{Code: "unexpected_reply", Message: "the server answered 502 Bad Gateway", Detail: strings.Repeat("é", 200) + "…"}},
		"elsewhere":   {302, http.Header{"Location": {"https://elsewhere.test/"}}, ``, problem.Error{Code: "unexpected_reply", Message: "the server at this address sends one elsewhere", Detail: "302 Found to https://elsewhere.test/"}},
		"fields null": {400, nil, `{"summary":"x","validation_errors":null,"code":"c_d"}`, problem.Error{Code: "c_d", Message: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.status == http.StatusNoContent {
				tt.body = ""
			}
			s, _ := serve(t, tt.status, tt.header, tt.body)
			_, err := dial(t, client.Options{URL: s.URL}).Do(t.Context(), client.Request{Path: "/api/x"})
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.status, e.Status)
			require.Equal(t, "request-1", e.RequestID)
			got := *e.Problem
			if tt.want.Hint == "" {
				got.Hint = ""
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, 503, http.Header{"Retry-After": {"7"}}, `{"summary":"x"}`)
	_, err := dial(t, client.Options{URL: s.URL}).Do(t.Context(), client.Request{Path: "/"})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 7*time.Second, e.RetryAfter)
}

func TestATokenDoesNotFollowARedirect(t *testing.T) {
	t.Parallel()
	other, asked := serve(t, 200, nil, `{}`)
	s, _ := serve(t, 307, http.Header{"Location": {other.URL}}, ``)
	_, err := dial(t, client.Options{URL: s.URL, Token: secret}).Do(t.Context(), client.Request{Path: "/api/x"})
	require.Equal(t, "unexpected_reply", problem.Code(err))
	require.Empty(t, asked)
}

func TestWhatCannotBeReachedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	refused := httptest.NewServer(http.NotFoundHandler())
	refused.Close()
	plain, _ := serve(t, 200, nil, `{}`)
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = nil
	tls.StartTLS()
	t.Cleanup(tls.Close)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(slow.Close)
	dir := t.TempDir()
	abandoned := filepath.Join(dir, "abandoned.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", abandoned)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	for name, tt := range map[string]struct {
		url, code, hint string
		running         bool
	}{
		"refused":          {refused.URL, "server_unreachable", "sequin serve", true},
		"no TLS":           {strings.Replace(plain.URL, "http:", "https:", 1), "server_unreachable", "http://", true},
		"unknown":          {tls.URL, "server_unreachable", "SSL_CERT_FILE", true},
		"slow":             {slow.URL, "server_timeout", "sequin status", true},
		"no such host":     {"http://nowhere.invalid", "server_unreachable", "check the address", true},
		"no socket":        {"unix:" + dir + "/none.sock", "server_not_running", "SEQUIN_DATA_DIR", false},
		"abandoned socket": {"unix:" + abandoned, "server_not_running", "start it", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := dial(t, client.Options{URL: tt.url, Token: secret}).Do(t.Context(), client.Request{Path: "/api/x", Timeout: 2 * time.Second})
			var e *client.UnreachableError
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.code, e.Problem.Code)
			require.Contains(t, e.Problem.Hint, tt.hint)
			require.Equal(t, tt.running, !e.NotRunning())
			require.NotContains(t, e.Problem.Text(), secret)
		})
	}
}

func TestACallerThatGoesGetsItsOwnError(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := dial(t, client.Options{URL: s.URL}).Do(ctx, client.Request{Path: "/"})
	require.ErrorIs(t, err, context.Canceled)
	var e *client.UnreachableError
	require.False(t, errors.As(err, &e)) //nolint:testifylint // there is no ErrorNotAs
}

func TestAnAnswerHasALimit(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, 200, nil, `"`+strings.Repeat("x", 98)+`"`)
	c := dial(t, client.Options{URL: s.URL})
	_, err := c.Do(t.Context(), client.Request{Path: "/", MaxResponse: 100})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), client.Request{Path: "/", MaxResponse: 99})
	require.Equal(t, "reply_too_large", problem.Code(err))
}

func TestAnAnswerThatIsNoJSON(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, 200, nil, `<html>`)
	var v any
	err := dial(t, client.Options{URL: s.URL}).Get(t.Context(), "/", nil, &v)
	require.Equal(t, "unexpected_reply", problem.Code(err))
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]client.Options{
		"no scheme": {URL: "localhost:7376"}, "no host": {URL: "http://"}, "user": {URL: "http://me:pass@host"}, "query": {URL: "http://host?x=1"},
		"another scheme": {URL: "ftp://host"}, "no socket": {URL: "unix:"}, "unreadable": {URL: "http://me:pass@[::1"},
		"token": {URL: client.DefaultURL, Token: "pass\nword"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.New(o)
			p, ok := problem.As(err)
			require.True(t, ok)
			require.NotEmpty(t, p.Hint)
			require.NotContains(t, p.Text(), "pass")
		})
	}
}

func TestNamesThatAreDirections(t *testing.T) {
	t.Parallel()
	s, asked := serve(t, 200, nil, `{}`)
	_, err := dial(t, client.Options{URL: s.URL}).Do(t.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("api", "sinks", "..")})
	require.Equal(t, "name_not_addressable", problem.Code(err))
	require.Empty(t, asked)
}

func TestSomebodyHearsOfTheWait(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, 200, nil, `{}`)
	var heard []string
	c := dial(t, client.Options{URL: s.URL, Waiting: func() func() {
		heard = append(heard, "begins")
		return func() { heard = append(heard, "ends") }
	}})
	_, err := c.Do(t.Context(), client.Request{Path: "/"})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), client.Request{Path: "/", Quiet: true})
	require.NoError(t, err)
	require.Equal(t, []string{"begins", "ends"}, heard)
}

func TestTheSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sq") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "admin.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(answer())
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	for _, prefix := range []string{"unix:", "unix://"} {
		c := dial(t, client.Options{URL: prefix + path, Account: "acme"})
		require.Equal(t, "unix:"+path, c.Address())
		var got map[string]string
		require.NoError(t, c.Get(t.Context(), "/api/account", nil, &got))
		require.Equal(t, map[string]string{"account": "acme", "path": "/api/account"}, got)
		res, err := c.Do(t.Context(), client.Request{Path: "/api/account", Account: "other"})
		require.NoError(t, err)
		require.Contains(t, string(res.Body), "other")
	}
}

func answer() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, `{"summary":"no","code":"a_b"}`, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"account": r.Header.Get("X-Sequin-Account"), "path": r.URL.Path}) // the test sees what is missing
	})
}

func TestAHandlerInThisProcess(t *testing.T) {
	t.Parallel()
	c := dial(t, client.Options{URL: "unix:/nowhere/admin.sock", Account: "acme", Transport: client.Serve(answer())})
	var got map[string]string
	require.NoError(t, c.Get(t.Context(), "/api/account", nil, &got))
	require.Equal(t, map[string]string{"account": "acme", "path": "/api/account"}, got)
	_, err := c.Do(t.Context(), client.Request{Method: http.MethodPost, Path: "/no"})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusForbidden, e.Status)
	require.Equal(t, "a_b", e.Problem.Code)
}
