package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

func TestSetValue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ before, set, after string }{
		"text":                {`{}`, "name=orders", `{"name":"orders"}`},
		"empty":               {`{}`, "name=", `{"name":""}`},
		"number":              {`{}`, "port=5432", `{"port":5432}`},
		"digits":              {`{}`, "n=123456789012345678901234567890", `{"n":123456789012345678901234567890}`},
		"number as a text":    {`{}`, `port="5432"`, `{"port":"5432"}`},
		"true":                {`{}`, "ssl=true", `{"ssl":true}`},
		"null":                {`{"a":1}`, "a=null", `{"a":null}`},
		"list":                {`{}`, `actions=["insert"]`, `{"actions":["insert"]}`},
		"object":              {`{}`, `h={"A":"b"}`, `{"h":{"A":"b"}}`},
		"almost JSON":         {`{}`, `a={b`, `{"a":"{b"}`},
		"two values":          {`{}`, `a=1 2`, `{"a":"1 2"}`},
		"equals signs":        {`{}`, "url=postgres://h/d?a=b", `{"url":"postgres://h/d?a=b"}`},
		"path":                {`{}`, "destination.type=webhook", `{"destination":{"type":"webhook"}}`},
		"path into what is":   {`{"a":{"b":1}}`, "a.c=2", `{"a":{"b":1,"c":2}}`},
		"dot in a name":       {`{}`, `webhook\.site=true`, `{"webhook.site":true}`},
		"backslash":           {`{}`, `a\\b=1`, `{"a\\b":1}`},
		"other backslash":     {`{}`, `a\b=1`, `{"a\\b":1}`},
		"place in a list":     {`{"l":[1,2]}`, "l.1=9", `{"l":[1,9]}`},
		"end of a list":       {`{"l":[1]}`, "l.1.name=x", `{"l":[1,{"name":"x"}]}`},
		"a list begins":       {`{}`, "tables.0.name=x", `{"tables":[{"name":"x"}]}`},
		"over null":           {`{"a":null}`, "a.b=1", `{"a":{"b":1}}`},
		"a value is replaced": {`{"a":{"b":1}}`, "a=1", `{"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := readObject("x", []byte(tt.before))
			require.NoError(t, err)
			require.NoError(t, setValue(object, tt.set))
			got, err := json.Marshal(object)
			require.NoError(t, err)
			require.Equal(t, tt.after, string(got))
		})
	}
	for name, tt := range map[string]struct{ before, set string }{
		"no value": {`{}`, "name"}, "no key": {`{}`, "=x"}, "empty name": {`{}`, "a..b=1"}, "through a value": {`{"a":1}`, "a.b=1"},
		"beyond a list": {`{"l":[]}`, "l.1=1"}, "no place": {`{"l":[]}`, "l.x=1"}, "negative": {`{"l":[1]}`, "l.-1=1"}, "too deep": {`{}`, strings.Repeat("a.", 30) + "a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := readObject("x", []byte(tt.before))
			require.NoError(t, err)
			require.Error(t, setValue(object, tt.set))
		})
	}
}

// FuzzSetValue sets a value and finds it again.
func FuzzSetValue(f *testing.F) {
	for _, seed := range []string{"a.b=1", `a\.b="x"`, "l.0.x=[1]", "a=", "=", "a..b=", `\=\`, "0=0", "a.0.1=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		object := map[string]any{"l": []any{json.Number("1")}, "o": map[string]any{"x": nil}, "s": "text"}
		if setValue(object, text) != nil {
			return
		}
		_, err := json.Marshal(object)
		require.NoError(t, err)
		key, value, _ := strings.Cut(text, "=")
		path, err := splitPath(key)
		require.NoError(t, err)
		var at any = object
		for _, name := range path {
			switch v := at.(type) {
			case map[string]any:
				at = v[name]
			case []any:
				var i int
				_, err := fmt.Sscan(name, &i)
				require.NoError(t, err)
				at = v[i]
			}
		}
		require.Equal(t, jsonValue(value), at)
	})
}

func TestWhatAStrangerWroteCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain é 日本": "plain é 日本", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb\tc\r": `a\nb\tc\x0d`, "\u009b31m": `\x9b31m`, "a\u202eb": `a\u202eb`, "\xff\x9b": "\uFFFD", "\u2028": `\u2028`,
	} {
		require.Equal(t, want, clean(in, false))
	}
	require.Equal(t, "a\nb\tc\\x1b", clean("a\nb\tc\x1b", true))
	shown := text(&client.Error{Status: 500, RequestID: "r\x1b1", Problem: problem.New("a_b", "bad\x1b[2J").WithDetail("x\ny\x07").WithHint("do\x9b")})
	require.False(t, strings.ContainsFunc(shown, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }), "%q", shown)
}

func TestTableWidths(t *testing.T) {
	t.Parallel()
	x := table{head: []string{"NAME", "TEXT"}}
	x.add("日本", strings.Repeat("long ", 10))
	x.add("e\u0301", "short")
	var wide, narrow, tiny strings.Builder
	require.NoError(t, x.write(&wide, screen{}))
	require.Equal(t, "NAME  TEXT\n日本  "+strings.TrimSpace(strings.Repeat("long ", 10))+"\ne\u0301     short\n", wide.String())
	require.NoError(t, x.write(&narrow, screen{width: 20}))
	require.Equal(t, "NAME  TEXT\n日本  long long lon…\ne\u0301     short\n", narrow.String())
	require.NoError(t, x.write(&tiny, screen{width: 3, color: true}))
	require.Contains(t, tiny.String(), "日本  long …", "something of every column stays")
}

func TestThePlanOfTheOriginal(t *testing.T) {
	t.Parallel()
	p, err := readPlan([]byte(`{"changes":[
		{"resource_type":"database","action":"update","old":{"name":"prod","port":5432},"new":{"name":"prod","port":5432}},
		{"resource_type":"user","action":"create","old":null,"new":{"email":"ops@acme.test"}},
		{"resource_type":"sink","action":"update","old":{"name":"s","a":{"b":1},"l":[1,{"x":1}],"gone":1},"new":{"name":"s","a":{"b":2,"c":null},"l":[1,{"x":2}]}}],"actions":[]}`))
	require.NoError(t, err)
	require.Len(t, p.changes, 2, "what does not change is not shown")
	require.Equal(t, "ops@acme.test", p.changes[0].Name)
	a := &app{}
	require.Equal(t, "Sequin will make these changes:\n\n+ user ops@acme.test\n    email: \"ops@acme.test\"\n\n"+
		"~ sink s\n    ~ a.b: 1 → 2\n    ~ l[1].x: 1 → 2\n    - gone: 1\n    + a.c: null\n\nPlan: 1 to add, 1 to change, 0 to destroy.\n", a.renderPlan(p))
	for _, bad := range []string{`{}`, `[]`, `{"changes":7}`} {
		_, err := readPlan([]byte(bad))
		require.Equal(t, "unexpected_reply", problem.Code(err))
	}
}

func TestASecretThatChangesBehindItsMask(t *testing.T) {
	t.Parallel()
	p, err := readPlan([]byte(`{"changes":[{"resource_type":"database","action":"update","name":"shop","old":{"password":"****"},"new":{"password":"****"},"changed":["password"]}],"warnings":[{"path":"sinks[0]","message":"is odd"},"plain"]}`))
	require.NoError(t, err)
	require.Contains(t, (&app{}).renderPlan(p), "password: (changed; its value is not shown)")
	require.Equal(t, []string{"sinks[0] is odd", "plain"}, p.warnings)
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	answer := func(status int, code string, fields map[string][]string) error {
		return fmt.Errorf("x: %w", &client.Error{Status: status, Problem: &problem.Error{Code: code, Fields: fields}})
	}
	for name, tt := range map[string]struct {
		err  error
		want int
	}{
		"plain":         {http.ErrServerClosed, ExitError},
		"usage":         {usage("x"), ExitUsage},
		"invalid":       {answer(422, "http_422", map[string][]string{"a": {"b"}}), ExitInvalid},
		"invalid, ours": {answer(400, resource.CodeUnavailable, nil), ExitInvalid},
		"document":      {&resource.InvalidError{}, ExitInvalid},
		"not found":     {answer(404, "sink_not_found", nil), ExitNotFound},
		"no token":      {answer(401, "authorization_missing", nil), ExitDenied},
		"no scope":      {answer(403, "token_scope", nil), ExitDenied},
		"failing":       {answer(500, "internal_error", nil), ExitError},
		"away":          {&client.UnreachableError{Problem: problem.New("server_unreachable", "x")}, ExitUnreachable},
	} {
		require.Equal(t, tt.want, exitCode(tt.err), name)
	}
}

func TestIsLocal(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:7376": true, "127.0.0.1:1": true, "::1": true, "[::1]:7376": true, "host.docker.internal:7376": true, "192.168.1.2": true, "10.0.0.1:80": true,
		"172.16.0.1": true, "unix:/run/x.sock": true, "172.17.0.1": false, "example.com": false, "localhost.example.com": false, "110.0.0.1": false, "": false,
	} {
		require.Equal(t, want, isLocal(host), host)
	}
}

func TestTextsForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 150 << 20: "150 MiB", 10 << 30: "10.0 GiB", -2048: "-2.0 KiB"} {
		require.Equal(t, want, bytesText(n))
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 900 * time.Millisecond: "900ms", 1500 * time.Millisecond: "1.5s", 61 * time.Second: "1m01s", 90 * time.Minute: "1h30m", 49 * time.Hour: "2d01h",
	} {
		require.Equal(t, want, ageText(d))
	}
}
