package elixir_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/elixir"
)

// TestDocsNameWhatIsConverted looks up each function of a module that the how-to says is converted.
func TestDocsNameWhatIsConverted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/how-to/convert-functions.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| (`[A-Z]\\w+`(?:, `[A-Z]\\w+`)*) \\| `([^`]+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(rows), 10)
	for _, row := range rows {
		for module := range strings.SplitSeq(strings.ReplaceAll(row[1], "`", ""), ", ") {
			for name := range strings.FieldsSeq(row[2]) {
				require.True(t, known(module+"."+name), "%s.%s is not converted", module, name)
			}
		}
	}
	require.False(t, known("String.jaro_distance"))
}

// known tells whether a function is converted with any number of values.
func known(name string) bool {
	for _, values := range []string{"", "nil", "nil, nil", "nil, nil, nil", "nil, nil, nil, nil"} {
		_, err := elixir.Convert(inFunction(name + "(" + values + ")"))
		if err == nil || !strings.Contains(err.Error(), ": is not converted") {
			return true
		}
	}
	return false
}
