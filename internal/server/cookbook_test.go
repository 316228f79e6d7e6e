package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// recipe is one recipe of the cookbook.
type recipe struct {
	title string
	parts map[string]string // by the language of the block
}

var fenced = regexp.MustCompile("(?s)```(\\w+)\n(.*?)\n```")

// cookbook reads docs/how-to/shape-messages.md: what goes before all recipes, and the recipes.
func cookbook(t *testing.T) (ddl string, all []recipe) {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-to/shape-messages.md")
	require.NoError(t, err)
	sections := strings.Split(string(text), "\n## ")
	ddl = fenced.FindStringSubmatch(sections[0])[2]
	for _, s := range sections[1:] {
		title, _, _ := strings.Cut(s, "\n")
		r := recipe{title: title, parts: map[string]string{}}
		for _, m := range fenced.FindAllStringSubmatch(s, -1) {
			require.NotContains(t, r.parts, m[1], title)
			r.parts[m[1]] = m[2]
		}
		all = append(all, r)
	}
	return ddl, all
}

var sinkName = regexp.MustCompile(`(?m)^ {2}- name: (\w+)\n {4}database: shop`)

// Each recipe of the cookbook delivers what stands below it.
func TestCookbook(t *testing.T) {
	t.Parallel()
	ddl, all := cookbook(t)
	require.GreaterOrEqual(t, len(all), 20)
	for _, recipe := range all {
		t.Run(recipe.title, func(t *testing.T) {
			t.Parallel()
			hits := make(chan string, 100)
			url := hook(t, func(_ http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				hits <- request(req, body)
			})
			yaml := recipe.parts["yaml"]
			require.Regexp(t, `^sinks:\n`, yaml)
			name := sinkName.FindStringSubmatch(yaml)
			require.NotNil(t, name, yaml)
			yaml = sinkName.ReplaceAllString(yaml, "  - name: pull\n    database: db")
			r := newRig(t, pgtest.Shared(t), ddl, strings.TrimPrefix(yaml, "sinks:\n"))
			r.config.Endpoints = map[string]string{"hook": url}
			r.begin()
			r.db.Exec(t, recipe.parts["sql"])
			if want, ok := recipe.parts["http"]; ok {
				all := strings.Split(want, "\n---\n")
				require.ElementsMatch(t, all, taken(t, hits, len(all)))
				return
			}
			want := strings.Split(recipe.parts["json"], "\n")
			got := r.data(len(want))
			for i := range want { // rows of different keys have no order among each other
				require.True(t, json.Valid([]byte(want[i])), want[i])
				require.Contains(t, got, want[i])
			}
			r.nothing("pull")
			r.healthy()
		})
	}
}

// request is a request as the cookbook writes it: the headers that a route may have set are those that begin with x-.
func request(req *http.Request, body []byte) string {
	var headers []string
	for name, values := range req.Header {
		if strings.HasPrefix(name, "X-") {
			headers = append(headers, fmt.Sprintf("%s: %s\n", strings.ToLower(name), values[0]))
		}
	}
	slices.Sort(headers)
	return fmt.Sprintf("%s %s\n%s\n%s", req.Method, req.URL.Path, strings.Join(headers, ""), body)
}

func taken(t *testing.T, hits <-chan string, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		select {
		case h := <-hits:
			got = append(got, h)
		case <-time.After(patience):
			t.Fatalf("only %q", got)
		}
	}
	return got
}
