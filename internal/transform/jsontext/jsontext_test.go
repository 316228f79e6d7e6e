package jsontext_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
)

func TestParseNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]jsontext.Number{
		"0":                       {Double: 0, Form: jsontext.Same},
		"-0":                      {Double: math.Copysign(0, -1), Form: jsontext.Odd},
		"-0.0":                    {Double: math.Copysign(0, -1), Form: jsontext.Odd},
		"-7":                      {Double: -7, Form: jsontext.Same},
		"9007199254740991":        {Double: 1<<53 - 1, Form: jsontext.Same},
		"9007199254740992":        {Double: 1 << 53, Form: jsontext.Integer},
		"-9223372036854775808":    {Double: -1 << 63, Form: jsontext.Integer},
		"1.0":                     {Double: 1, Form: jsontext.Odd},
		"1.10":                    {Double: 1.1, Form: jsontext.Odd},
		"0.1":                     {Double: 0.1, Form: jsontext.Same},
		"-2.5":                    {Double: -2.5, Form: jsontext.Same},
		"123456789012.345":        {Double: 123456789012.345, Form: jsontext.Same},
		"0.000001":                {Double: 1e-6, Form: jsontext.Same},
		"0.0000001":               {Double: 1e-7, Form: jsontext.Odd},
		"1e-7":                    {Double: 1e-7, Form: jsontext.Same},
		"1e-07":                   {Double: 1e-7, Form: jsontext.Odd},
		"1E2":                     {Double: 100, Form: jsontext.Odd},
		"1.7976931348623157e+308": {Double: math.MaxFloat64, Form: jsontext.Same},
		"1e400":                   {Double: math.Inf(1), Form: jsontext.Inexact},
		"1e-400":                  {Double: 0, Form: jsontext.Inexact},
		"1e99999999999":           {Double: math.Inf(1), Form: jsontext.Inexact},
		"0.1234567890123456789":   {Double: 0.12345678901234568, Form: jsontext.Inexact},
		"9007199254740993.0":      {Double: 1 << 53, Form: jsontext.Inexact},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got := jsontext.ParseNumber([]byte(text))
			require.Equal(t, want, got)
			require.Equal(t, math.Signbit(want.Double), math.Signbit(got.Double))
		})
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, text, out string }{
		"plain":                   {`"abc"`, "abc", `"abc"`},
		"escapes":                 {`"\"\\\/\b\f\n\r\t\u0001"`, "\"\\/\b\f\n\r\t\x01", `"\"\\/\b\f\n\r\t\u0001"`},
		"not ASCII":               {`"é\u00e9€"`, "éé€", `"éé€"`},
		"a pair of surrogates":    {`"\ud83d\ude00"`, "😀", `"😀"`},
		"a lone surrogate":        {`"a\uD800b"`, "a\xed\xa0\x80b", `"a\ud800b"`},
		"two in the wrong order":  {`"\ude00\ud83d"`, "\xed\xb8\x80\xed\xa0\xbd", `"\ude00\ud83d"`},
		"a surrogate and a pair":  {`"\ud83d\ud83d\ude00"`, "\xed\xa0\xbd😀", `"\ud83d😀"`},
		"half a pair at the end":  {`"\ud83d\n"`, "\xed\xa0\xbd\n", `"\ud83d\n"`},
		"the replacement itself":  {`"\ufffd"`, "\uFFFD", `"` + "\uFFFD" + `"`},
		"bytes that are no UTF-8": {"\"a\xffb\"", "a\xffb", `"a` + "\uFFFD" + `b"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := jsontext.Scanner{Data: []byte(c.in)}
			text, err := s.String()
			require.NoError(t, err)
			require.NoError(t, s.End())
			got, _ := text.Append(nil)
			require.Equal(t, c.text, string(got))
			require.Equal(t, c.out, string(jsontext.AppendString(nil, c.text)))
		})
	}
}

func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `"`, `"\`, `"\u12`, `"\x"`, "\"\n\"", `-`, `01`, `1.`, `1e`, `+1`, `.5`, `tru`, `nul`, `[`, `[1`, `{"a":`, `]`, `}`, `,`, `:`, `[1]]`, `1 2`, `NaN`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			s := jsontext.Scanner{Data: []byte(text)}
			err := s.Skip()
			if err == nil {
				err = s.End()
			}
			var mistake *jsontext.SyntaxError
			require.ErrorAs(t, err, &mistake)
		})
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	m, err := jsontext.Split([]byte(` {"record": {"a":[1,"}"]}, "changes":null,"other":[{}],"action":"insert","metadata":{"k":"v"}} `))
	require.NoError(t, err)
	require.Equal(t, `{"a":[1,"}"]}`, string(m.Record))
	require.Equal(t, `null`, string(m.Changes))
	require.Equal(t, `"insert"`, string(m.Action))
	require.Equal(t, "v", jsontext.Field(m.Metadata, "k"))
	require.Empty(t, jsontext.Field(m.Metadata, "x"))
	for _, text := range []string{``, `[]`, `{"a"}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1}x`, `{,}`, `{"a":1,}`} {
		_, err := jsontext.Split([]byte(text))
		require.Error(t, err, text)
	}
}

func TestDeepDocumentsNeedNoStackToBeSkipped(t *testing.T) {
	t.Parallel()
	s := jsontext.Scanner{Data: []byte(strings.Repeat("[", 10_000_000) + strings.Repeat("]", 10_000_000))}
	require.NoError(t, s.Skip())
	require.NoError(t, s.End())
}

func FuzzSkip(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-3,"x\n\ud800"],"b":{}}`, `[[[]]]`, `"é"`, `-0`, ` null `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := jsontext.Scanner{Data: data}
		err := s.Skip()
		if err == nil {
			err = s.End()
		}
		if json.Valid(data) {
			require.NoError(t, err)
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-0", "1.10", "9007199254740993", "1e400", "0.1234567890123456789", "5e-324", "123456789.123456789"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := jsontext.Scanner{Data: data}
		text, err := s.Number()
		if err != nil || s.Pos != len(data) {
			return
		}
		require.True(t, json.Valid(data))
		number := jsontext.ParseNumber(text)
		if number.Form == jsontext.Same {
			require.Equal(t, string(text), string(jsontext.AppendDouble(nil, number.Double)))
		}
		if number.Form == jsontext.Same || number.Form == jsontext.Odd {
			var want float64
			require.NoError(t, json.Unmarshal(bytes.TrimSpace(text), &want))
			require.Equal(t, want, number.Double) //nolint:testifylint // the very same double
		}
	})
}
