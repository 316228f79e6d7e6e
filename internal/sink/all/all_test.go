package all_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink/all"
)

func TestDefinitionsAreComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, d := range all.Definitions() {
		require.NotEmpty(t, d.Type)
		require.False(t, seen[d.Type], "%s is listed twice", d.Type)
		seen[d.Type] = true
		require.NotNil(t, d.Open, d.Type)
		require.NotNil(t, d.Atomicity, d.Type)
		config := reflect.TypeOf(d.Config)
		require.Equal(t, reflect.Struct, config.Kind(), d.Type)
		for field := range config.Fields() {
			require.NotEmpty(t, field.Tag.Get("json"), "%s.%s", d.Type, field.Name)
			require.NotEmpty(t, field.Tag.Get("help"), "%s.%s", d.Type, field.Name)
		}
		found, ok := all.ByType(d.Type)
		require.True(t, ok)
		require.Equal(t, d.Type, found.Type)
	}
	_, ok := all.ByType("carrier pigeon")
	require.False(t, ok)
}
