package path_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/path"
)

const message = `{"record":{"id":9007199254740993,"total":"1.10","tags":["a",{"b":1}],"doc":{"n":1.10,"deep":{"x":[]}},"ké\"y":"q","empty":{},"twice":{"a":1,"a":2},"back":"\\\""},` +
	`"changes":null,"action":"insert","metadata":{"table_name":"orders","consumer":{"name":"c"}}}`

func TestOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"action":                 `"insert"`,
		"record.id":              `9007199254740993`,
		"record.total":           `"1.10"`,
		"record.doc.n":           `1.10`,
		"record.doc.deep":        `{"x":[]}`,
		"record.doc.deep.x":      `[]`,
		"record.tags":            `["a",{"b":1}]`,
		"record.empty":           `{}`,
		"metadata.consumer.name": `"c"`,
		"record.missing":         `null`,
		"record.missing.more":    `null`,
		"record.twice.a":         `2`,
		"record.back":            `"\\\""`,
		"record.tags.0":          `null`,
		"record.doc.deep.x.y":    `null`,
		"changes":                `null`,
		"changes.status":         `null`,
		`record.ké"y`:            `"q"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := path.New(name)
			require.NoError(t, err)
			got, err := p.Of([]byte(message))
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			require.Equal(t, name, p.String())
		})
	}
}

func TestOfRefuses(t *testing.T) {
	t.Parallel()
	p, err := path.New("record.id.more")
	require.NoError(t, err)
	_, err = p.Of([]byte(message))
	var e *language.Error
	require.ErrorAs(t, err, &e)
	require.EqualError(t, err, `path record.id.more: record.id is no object, and has no "more", at hand: 9007199254740993`)
	for _, text := range []string{"", ".", "record.", ".id", "record..id"} {
		_, err := path.New(text)
		require.Error(t, err, text)
	}
}

// What a path finds is what decoding finds, whatever the JSON looks like, and nothing panics.
func FuzzOf(f *testing.F) {
	f.Add([]byte(message), "record.id")
	f.Add([]byte(` { "a" : { "b" : [ 1 , { "c" : "}" } ] , "b" : "\"" } } `), "a.b")
	f.Add([]byte(`{"a\u0062":1}`), "ab")
	f.Fuzz(func(t *testing.T, doc []byte, text string) {
		p, err := path.New(text)
		if err != nil || len(doc) == 0 || doc[0] != '{' {
			return
		}
		got, err := p.Of(doc)
		if !json.Valid(doc) {
			return
		}
		if err != nil {
			require.ErrorAs(t, err, new(*language.Error))
			return
		}
		require.True(t, json.Valid(got), "%s of %s is %s", text, doc, got)
		var decoded map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(doc, &decoded))
		if want, there := decoded[text]; there && topKeys(t, doc) == len(decoded) {
			require.JSONEq(t, string(want), string(got))
		}
	})
}

// topKeys counts the keys of an object, a key that stands twice twice.
func topKeys(t *testing.T, doc []byte) int {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	_, err := d.Token()
	require.NoError(t, err)
	n := 0
	for ; d.More(); n++ {
		_, err = d.Token()
		require.NoError(t, err)
		require.NoError(t, d.Decode(new(json.RawMessage)))
	}
	return n
}
