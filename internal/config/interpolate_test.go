package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInterpolate(t *testing.T) {
	t.Parallel()
	env := map[string]string{"A": "one", "B": "two words", "EMPTY": "", "D": "$A", "_x9": "odd"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"$A", "one"},
		{"${A}", "one"},
		{"pre-$A-post", "pre-one-post"},
		{"$A$B", "onetwo words"},
		{"$_x9!", "odd!"},
		{"${NONE}", ""},
		{"$NONE.", "."},
		{"${NONE-def}", "def"},
		{"${NONE:-def}", "def"},
		{"${NONE=def}", "def"},
		{"${NONE:=def}", "def"},
		{"${EMPTY-def}", ""},
		{"${EMPTY:-def}", "def"},
		{"${EMPTY=def}", ""},
		{"${EMPTY:=def}", "def"},
		{"${A-def}", "one"},
		{"${A:-def}", "one"},
		{"${A+alt}", "alt"},
		{"${A:+alt}", "alt"},
		{"${EMPTY+alt}", "alt"},
		{"${EMPTY:+alt}", ""},
		{"${NONE+alt}", ""},
		{"${NONE:-$A}", "one"},
		{"${NONE:-${EMPTY:-${B}}}!", "two words!"},
		{"${NONE:-}", ""},
		{"${NONE:-a:b-c}", "a:b-c"},
		{"$$A", "$A"},
		{"$${A}", "${A}"},
		{"$$$A", "$one"},
		{"$D", "$A"}, // a value is not read again
		{"cost: 5$", "cost: 5$"},
		{"$5 and $ alone", "$5 and $ alone"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := interpolate(tt.in, lookup, func(string) {})
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
	for _, bad := range []string{"${", "${A", "${}", "${1}", "${A?x}", "${A:}", "${A:-${B}", "${ A}", strings.Repeat("${N:-", 40) + strings.Repeat("}", 40)} {
		_, err := interpolate(bad, lookup, func(string) {})
		require.Error(t, err, bad)
	}
	var unset []string
	_, err := interpolate("$X ${Y} ${Z:-z} ${W+w}", lookup, func(name string) { unset = append(unset, name) })
	require.NoError(t, err)
	require.Equal(t, []string{"X", "Y"}, unset)
}

func TestVariablesBelowCodeStay(t *testing.T) {
	t.Parallel()
	d := newDecoder("")
	d.lookup = func(string) (string, bool) { return "filled", true }
	root := d.parse([]byte("a: $X\ncode: $X\nb: {code: {c: $X}}\nshared: &s {v: $X}\nc: {code: *s}\n"))
	require.Equal(t, "filled", root.entries[0].value.text)
	require.Equal(t, "$X", root.entries[1].value.text)
	require.Equal(t, "$X", root.entries[2].value.entries[0].value.entries[0].value.text)
	require.Equal(t, "filled", root.entries[3].value.entries[0].value.text)
	require.Equal(t, "$X", root.entries[4].value.entries[0].value.entries[0].value.text)
}
