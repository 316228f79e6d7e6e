package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every key that the decoder asks for is described, and every description is of such a key.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	var walk func(path string, s *shape)
	walk = func(path string, s *shape) {
		for _, q := range s.keys {
			sub := join(path, q.key)
			if q.shape.kind != shapeIgnored && q.shape.kind != shapeRetired {
				used[descriptionPath(sub)] = true
				require.NotEmpty(t, description(sub, q.shape), sub)
			}
			walk(sub, q.shape)
		}
		if s.item != nil {
			walk(path+map[shapeKind]string{shapeList: "[]", shapeMap: ".*"}[s.kind], s.item)
		}
		for _, one := range s.either {
			walk(path, one)
		}
		if s.kind == shapeSecret {
			used["file"] = true
		}
	}
	walk("", documentShape())
	for path, text := range descriptions {
		require.True(t, used[path], "%s is described and never asked for", path)
		require.True(t, strings.HasSuffix(text, "."), path)
	}
	require.Greater(t, len(used), 100)
}

// A key that the decoder looks for without saying what it expects would be missing from the schema.
func TestEveryQuestionIsNoted(t *testing.T) {
	t.Parallel()
	d := newDecoder("")
	root := &shape{}
	d.set(&node{kind: mapping, asked: root})
	require.Empty(t, d.unasked)
	require.Empty(t, d.mistakes)
	require.Empty(t, d.warnings)
	var asked []string
	for _, q := range root.keys {
		asked = append(asked, q.key)
	}
	require.Equal(t, sections, asked)
}
