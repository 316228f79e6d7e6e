package message_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/message"
)

// FuzzString holds strings to what a JSON reader gets back.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c\n\x00\x1f", "Grüße 世界", "\xff\xc3", "12345678\"", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := message.AppendValue(nil, &cdc.Type{}, []byte(s), message.Format{})
		var back string
		require.NoError(t, json.Unmarshal(got, &back), "%q", got)
		require.Equal(t, string([]rune(s)), back) // which replaces byte by byte
	})
}

// FuzzJSON holds the json kind to the standard library's judgement.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"null", `{"a": [1.10, true, "x\u00e9"]}`, "[1,]", `{"a"}`, "01", `"\ud800"`, "\"\xff\"", " 1 ", "[[[["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := message.AppendValue(nil, &cdc.Type{Kind: cdc.KindJSON}, text, message.Format{})
		require.True(t, json.Valid(got), "%q", got)
		if json.Valid(text) {
			require.Equal(t, string([]rune(string(text))), string(got))
			requireSameDocument(t, got)
		} else {
			require.Equal(t, byte('"'), got[0])
		}
	})
}

// requireSameDocument compares Compact with the standard library's.
func requireSameDocument(t *testing.T, doc []byte) {
	t.Helper()
	var want bytes.Buffer
	require.NoError(t, json.Compact(&want, doc))
	require.Equal(t, want.String(), string(message.Compact(nil, doc)))
}

// FuzzArray writes an array of two texts the way array_out does, and wants them back.
func FuzzArray(f *testing.F) {
	f.Add("a", "b")
	f.Add("NULL", `\"`)
	f.Add("{}", ",")
	f.Add("", "\n\xff")
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, a, b string) {
		text := `[3:4]={"` + quote.Replace(a) + `","` + quote.Replace(b) + `"}`
		typ := arrayOf(cdc.Type{})
		got := message.AppendValue(nil, &typ, []byte(text), message.Format{})
		var back []string
		require.NoError(t, json.Unmarshal(got, &back), "%q", got)
		require.Equal(t, []string{string([]rune(a)), string([]rune(b))}, back)
	})
}

// FuzzValue feeds any text to any type: the result is valid JSON, and what stands before it stays.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		"", "t", "1", "-1.5e-05", "NaN", "infinity", "2025-01-02 03:04:05.123456+05:30:15", "0044-03-15 12:00:00 BC", "2025-01-02",
		"1 year 2 mons -3 days +04:05:06.789", "-2562047788:00:54.775808", "[1,2.5]", "{}", `[0:1]={"a\"b",NULL}`, "{{1,2},{3,4}}",
		"{(1,1),(0,0);(2,2),(1,1)}", `{"a": 1}`, "\xff\x00",
	} {
		for kind := range byte(12) {
			f.Add(kind, false, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, array bool, text []byte) {
		typ := cdc.Type{Kind: cdc.Kind(kind % 13), Delim: ','} // one of them unknown
		if typ.Kind == cdc.KindArray {
			typ.Elem = &cdc.Type{}
		}
		if array {
			typ = arrayOf(typ)
		}
		for _, format := range []message.Format{{}, micros} {
			got := message.AppendValue([]byte("before"), &typ, text, format)
			require.Equal(t, "before", string(got[:6]))
			require.True(t, json.Valid(got[6:]), "%q", got)
		}
	})
}

// FuzzAppend builds messages from damaged rows: an error or valid JSON, never a panic.
func FuzzAppend(f *testing.F) {
	for _, row := range []cdc.Tuple{rowBefore, rowAfter, rowToast, keyBefore, nil, cdctest.Tuple(nil, nil, nil, nil, nil, nil), rowAfter[:9]} {
		f.Add(byte('U'), byte('O'), []byte(rowBefore), []byte(row), []byte("{}"))
		f.Add(byte('D'), byte('K'), []byte(row), []byte(nil), []byte("null"))
		f.Add(byte('I'), byte(0), []byte(nil), []byte(row), []byte("{"))
	}
	f.Fuzz(func(t *testing.T, op, oldKind byte, old, row, annotations []byte) {
		for _, format := range []message.Format{{}, {UnixMicros: true, ToastMarker: true}} {
			c := change(cdc.Op(op), oldKind, old, row)
			c.Annotations = annotations
			pks := message.RecordPKs(c)
			got, err := message.Append(nil, c, format, tail, message.Flags{})
			if err != nil {
				require.Empty(t, got)
				continue
			}
			require.True(t, json.Valid(got), "%q", got)
			var m struct {
				Metadata struct {
					RecordPKs []string `json:"record_pks"`
				}
			}
			require.NoError(t, json.Unmarshal(got, &m))
			require.Len(t, m.Metadata.RecordPKs, len(pks))
			requireSameDocument(t, got)
		}
	})
}
