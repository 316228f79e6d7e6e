package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

func rewriteOptions() config.RewriteOptions {
	return config.RewriteOptions{
		Read: func(file string) ([]byte, error) {
			if file != "route.ex" {
				return nil, errors.New("no such file")
			}
			return []byte("def route(a, b, c, d), do: 1"), nil
		},
		Rewrite: func(name, code string) (string, error) {
			if strings.Contains(code, "wrong") {
				return "", errors.New(name + " is wrong")
			}
			return "// " + name + " ${x}\n" + strings.ToUpper(code) + "\n", nil
		},
		From: func(kind resource.FunctionType, l resource.Language) bool {
			return l == resource.LanguageElixir && kind != resource.FunctionEnrichment
		},
		To: resource.LanguageJavaScript,
	}
}

func TestRewriteFunctions(t *testing.T) {
	t.Parallel()
	const document = `# What is declared.
databases:
  - {name: shop, password: "${PASSWORD:-x}$$"} # the source
functions:
  - name: plain
    type: transform
    code: |-
      def transform(a, b, c, d), do: a
  - {name: braces, type: filter, code: "def filter(a, b, c, d), do: true"}
  - name: nested
    function:
      type: routing
      sink_type: webhook
      file: route.ex
  - name: kept
    type: transform
    language: lua
    code: function transform() end
  - name: ids
    type: path
    path: record.id
  - name: query
    type: enrichment
    code: select 1 where id = any($1)
`
	text, n, err := config.RewriteFunctions("sequin.yaml", []byte(document), rewriteOptions())
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, `# What is declared.
databases:
  - {name: shop, password: "${PASSWORD:-x}$$"} # the source
functions:
  - name: plain
    type: transform
    language: javascript
    code: |
      // plain ${x}
      DEF TRANSFORM(A, B, C, D), DO: A
  - name: braces
    type: filter
    language: javascript
    code: |
      // braces ${x}
      DEF FILTER(A, B, C, D), DO: TRUE
  - name: nested
    function:
      type: routing
      sink_type: webhook
      language: javascript
      code: |
        // nested ${x}
        DEF ROUTE(A, B, C, D), DO: 1
  - name: kept
    type: transform
    language: lua
    code: function transform() end
  - name: ids
    type: path
    path: record.id
  - name: query
    type: enrichment
    code: select 1 where id = any($1)
`, string(text))
	again, n, err := config.RewriteFunctions("sequin.yaml", text, rewriteOptions())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, text, again)
}

func TestRewriteFunctionsRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ document, want string }{
		"no YAML":         {"a: [", "sequin.yaml:1:"},
		"a missing file":  {"functions:\n  - name: x\n    type: filter\n    language: elixir\n    file: nothing.ex\n", "functions[0].file cannot be read: no such file"},
		"what is refused": {"transforms: [{name: x, type: transform, code: \"def transform(a, b, c, d), do: wrong\"}]", "x is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := config.RewriteFunctions("sequin.yaml", []byte(c.document), rewriteOptions())
			require.ErrorContains(t, err, c.want)
		})
	}
	for name, document := range map[string]string{"empty": "", "no functions": "sinks: []\n", "an odd shape": "functions: 7\n", "odd items": "functions: [1, {code: [x]}, null]\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, n, err := config.RewriteFunctions("sequin.yaml", []byte(document), rewriteOptions())
			require.NoError(t, err)
			require.Zero(t, n)
			require.Equal(t, document, string(text))
		})
	}
}
