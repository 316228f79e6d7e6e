package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
)

func TestMistakesAreNested(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fields map[string][]string
		want   string
	}{
		{"one", map[string][]string{"name": {"is required"}}, `{"name":["is required"]}`},
		{"several", map[string][]string{"name": {"a", "b"}, "port": {"c"}}, `{"name":["a","b"],"port":["c"]}`},
		{"within", map[string][]string{"source.include_tables": {"x"}}, `{"source":{"include_tables":["x"]}}`},
		{"the destination goes by its old name too", map[string][]string{"destination.port": {"x"}}, `{"destination":{"port":["x"]},"sink":{"port":["x"]}}`},
		{"an item of a list", map[string][]string{"tables[2].name": {"x"}}, `{"tables":[{},{},{"name":["x"]}]}`},
		{"a text in a list", map[string][]string{"actions[1]": {"is \"x\""}, "actions[0]": {"is \"y\""}}, `{"actions":["item 1 is \"y\"","item 2 is \"x\""]}`},
		{"a list and its items", map[string][]string{"actions": {"is empty"}, "actions[0]": {"is odd"}}, `{"actions":["is empty","item 1 is odd"]}`},
		{"an item as a whole beside others", map[string][]string{"tables[0]": {"is odd"}, "tables[1].name": {"x"}}, `{"tables":[{"base":["is odd"]},{"name":["x"]}]}`},
		{"a thing and its parts", map[string][]string{"source": {"a"}, "source.include_tables": {"b"}}, `{"source":{"base":["a"],"include_tables":["b"]}}`},
		{"everything", map[string][]string{"": {"is no object"}}, `{"base":["is no object"]}`},
		{"a key with a bracket", map[string][]string{"headers.[x": {"a"}}, `{"headers":{"[x":["a"]}}`},
		{"far out", map[string][]string{"tables[999999999].name": {"x"}}, ""},
	} {
		text, err := json.Marshal(api.Nest(tt.fields))
		require.NoError(t, err, tt.name)
		if tt.want != "" {
			require.JSONEq(t, tt.want, string(text), tt.name)
		}
		require.Less(t, len(text), 100_000, tt.name)
	}
}

func TestQueryTakesThePlaceOfTheBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, body, want string }{
		{"", "", `{}`},
		{"", `{"a":1}`, `{"a":1}`},
		{"a=1&b=", "", `{"a":"1","b":""}`},
		{"a=1", `{"a":2}`, `{"a":2}`},
		{"a[]=1&a[]=2", "", `{"a":["1","2"]}`},
		{"d[type]=webhook&d[batch]=false", `{"n":1}`, `{"d":{"type":"webhook","batch":"false"},"n":1}`},
		{"a[b][c][]=1", "", `{"a":{"b":{"c":["1"]}}}`},
		{"show_sensitive=true&show-sensitive=1", `{}`, `{}`},
		{"[x]=1&=2", "", `{}`},
		{"a[b=1", "", `{"a":"1"}`},
		{strings.Repeat("a[", 100) + "=1", "", `{}`},
	} {
		got, err := api.Declaration(tt.query, tt.body)
		require.NoError(t, err)
		require.JSONEq(t, tt.want, got, tt.query)
	}
}

func TestBodiesThatNestTooDeep(t *testing.T) {
	t.Parallel()
	fine := `{"batch_size":1,"x":` + strings.Repeat("[", 98) + strings.Repeat("]", 98) + `,"y":"` + strings.Repeat("[", 500) + `\"{"}`
	require.Equal(t, 200, call(t, newAPI(&fakeStream{}), "POST", "/api/sequin_streams/orders/receive", fine).Code)
	deep := `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
	w := call(t, newAPI(&fakeStream{}), "POST", "/api/sequin_streams/orders/receive", deep)
	require.Equal(t, 400, w.Code)
	require.Contains(t, w.Body.String(), `"code":"body_too_deep"`)
}

// slowSink never answers by itself.
type slowSink struct{ api.Sink }

func (s slowSink) SinkByID(string, string) (api.Sink, bool)   { return s, true }
func (s slowSink) SinkByName(string, string) (api.Sink, bool) { return s, true }

func (slowSink) DeadLetters(ctx context.Context, _ consumer.DeadQuery) (consumer.DeadPage, error) {
	<-ctx.Done()
	return consumer.DeadPage{}, fmt.Errorf("list dead letters: %w", ctx.Err())
}

func TestRequestsEndInTime(t *testing.T) {
	t.Parallel()
	a := api.New(api.Deps{
		Sinks: slowSink{&fakeSink{}}, Logger: slog.New(slog.DiscardHandler), Limits: api.Limits{RequestTime: 20 * time.Millisecond},
		Auth: auth.NewTokens([]auth.Token{{Name: "reader", Hash: auth.HashToken("reader"), Scopes: []resource.Scope{resource.ScopeRead}}}),
	})
	w := ask(t, a, "reader", "GET", "/api/sinks/orders/dead_letters", "")
	require.Equal(t, http.StatusGatewayTimeout, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"code":"request_timeout"`)
}

// Paths that another server would send elsewhere lead nowhere here.
func TestDotSegmentsLeadNowhere(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/sequin_streams/orders/./receive", "/api/sequin_streams/x/../orders/receive", "/api/sequin_streams/orders/receive/..", "/api/.."} {
		require.Equal(t, 404, call(t, newAPI(&fakeStream{}), "POST", path, "").Code, path)
	}
}
