package language_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		n    int
		want string
	}{
		"short":                   {"abc", 3, "abc"},
		"long":                    {"abcdef", 5, "ab…"},
		"lines become one":        {"a\nb\r\nc", 10, "a b c"},
		"no half characters":      {"aéééé", 7, "aé…"},
		"bytes that are no text":  {"a\xffb", 10, "a�b"},
		"no room for an ellipsis": {"abc", 2, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, language.Cut(c.text, c.n))
		})
	}
}

func TestErrorSaysWhere(t *testing.T) {
	t.Parallel()
	e := language.Errorf(language.KindRuntime, "cannot add %s", "null")
	require.EqualError(t, e, "cannot add null")
	require.EqualError(t, e.At(3, 7).At(9, 9).With(`{"id":1}`), `cannot add null (line 3, column 7), at hand: {"id":1}`)
	require.EqualError(t, e.At(3, 0), "cannot add null (line 3)")
	require.Zero(t, e.Line, "the original stays")
}
