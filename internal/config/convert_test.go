package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestJSONFromYAML(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"order":     {"b: 1\na: {d: x, c: y}\n", `{"b":1,"a":{"d":"x","c":"y"}}`},
		"numbers":   {"[1, 0x10, 0xFFFFFFFFFFFFFFFF, 1_000, 1.50, .5, 123456789012345678901234567890, -0, 1e3]", `[1,16,18446744073709551615,1000,1.50,0.5,123456789012345678901234567890,-0,1e3]`},
		"texts":     {"[a, '1', \"t\\u00e9\", 2025-01-01, null, ~, yes, true]", `["a","1","té","2025-01-01",null,null,"yes",true]`},
		"anchors":   {"a: &x {v: 1, w: 2}\nb: {<<: *x, v: 3}\nc: *x\nd: {<<: [*x, {z: 1, v: 9}]}", `{"a":{"v":1,"w":2},"b":{"v":3,"w":2},"c":{"v":1,"w":2},"d":{"v":1,"w":2,"z":1}}`},
		"empty":     {"", "null"},
		"json":      {`{"a": "\ud83d\ude00"}`, `{"a":"😀"}`},
		"multiline": {"a: |\n  x\n  y\n", `{"a":"x\ny\n"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := JSONFromYAML("x.yaml", []byte(tt.in))
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
	for name, in := range map[string]string{
		"no yaml": "a: [", "two": "a: 1\n---\nb: 1", "twice": "a: 1\na: 2", "cycle": "a: &x [*x]", "infinite": "a: .inf", "key": "? [a]\n: 1", "merge": "<<: 7",
		"bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := JSONFromYAML("x.yaml", []byte(in))
			require.Error(t, err)
		})
	}
}

func TestYAMLFromJSON(t *testing.T) {
	t.Parallel()
	got, err := YAMLFromJSON([]byte(`{"name":"x","port":5432,"r":1.50,"big":123456789012345678901234567890,"yes":"no","list":[],"o":{},"t":"a\nb\n","s":"5432","z":null,"l":[{"a":1}]}`))
	require.NoError(t, err)
	require.Equal(t, `name: x
port: 5432
r: 1.50
big: 123456789012345678901234567890
"yes": "no"
list: []
o: {}
t: |
  a
  b
s: "5432"
z: null
l:
  - a: 1
`, string(got))
	for _, bad := range []string{"", "{", "{} {}", `{"a"}`} {
		_, err := YAMLFromJSON([]byte(bad))
		require.Error(t, err, bad)
	}
}

// FuzzYAMLFromJSON goes to YAML and back.
func FuzzYAMLFromJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"x",null,true,{"b":" c\n d "}]}`, `"\u0000\u2028\ufeff\ud83d\ude00"`, `[-0.0,1e400,"<<","=","~","1_0","0x1","2025-01-01"]`, `{"<<":{"a":1}}`, `"\n"`, `" x\n"`, `"a\n\n b\t\n"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := YAMLFromJSON(data)
		if err != nil {
			return
		}
		back, err := JSONFromYAML("x", text)
		if err != nil {
			require.Regexp(t, "is given twice|nested too deeply", err.Error(), "%q", text)
			return
		}
		require.Equal(t, canonical(t, data), canonical(t, back), "%q", text)
	})
}

func canonical(t *testing.T, data []byte) string {
	t.Helper()
	n, err := nodeFromJSON(data)
	require.NoError(t, err)
	w := &jsonWriter{open: map[*yaml.Node]bool{}}
	return string(w.value(nil, n, "", 0))
}

func TestQuoteJSONIsValid(t *testing.T) {
	t.Parallel()
	require.True(t, json.Valid(quoteJSON(nil, "\xff<>&")))
}
