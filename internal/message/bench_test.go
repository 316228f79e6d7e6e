package message_test

import (
	"strings"
	"testing"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
)

func BenchmarkAppend(b *testing.B) {
	for name, c := range map[string]*cdc.Change{
		"insert": change(cdc.OpInsert, 0, nil, rowBefore),
		"update": change(cdc.OpUpdate, 'O', rowBefore, rowAfter),
		"delete": change(cdc.OpDelete, 'K', keyBefore, nil),
	} {
		b.Run(name+"/first", func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 4096)
			for b.Loop() {
				c.Encoded[0].Store(nil)
				dst = appendOrFail(b, dst[:0], c)
			}
			b.SetBytes(int64(len(dst)))
		})
		b.Run(name+"/cached", func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 4096)
			for b.Loop() {
				dst = appendOrFail(b, dst[:0], c)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

func appendOrFail(b *testing.B, dst []byte, c *cdc.Change) []byte {
	b.Helper()
	dst, err := message.Append(dst, c, message.Format{}, tail, message.Flags{})
	if err != nil {
		b.Fatal(err)
	}
	return dst
}

func BenchmarkAppendValue(b *testing.B) {
	for _, bc := range []struct {
		name string
		typ  cdc.Type
		text string
	}{
		{"int", cdc.Type{Kind: cdc.KindInt}, "9007199254740993"},
		{"float", cdc.Type{Kind: cdc.KindFloat}, "0.30000000000000004"},
		{"text", cdc.Type{}, strings.Repeat("plain text of some length ", 40)},
		{"text/escapes", cdc.Type{}, strings.Repeat("say \"hi\"\n", 100)},
		{"text/foreign", cdc.Type{}, strings.Repeat("Привет, мир ", 50)},
		{"json", cdc.Type{Kind: cdc.KindJSON}, `[` + strings.Repeat(`{"id": 12345, "name": "somebody", "tags": ["a", "b"], "ok": true},`, 15) + `null]`},
		{"timestamptz", cdc.Type{Kind: cdc.KindTimestampTZ}, "2025-01-02 03:04:05.123456+00"},
		{"timestamptz/offset", cdc.Type{Kind: cdc.KindTimestampTZ}, "2025-01-02 03:04:05.123456+05:30"},
		{"interval", cdc.Type{Kind: cdc.KindInterval}, "1 year 2 mons 3 days 04:05:06.789"},
		{"array/int", arrayOf(cdc.Type{Kind: cdc.KindInt}), "{" + strings.Repeat("12345,", 99) + "NULL}"},
		{"array/text", arrayOf(cdc.Type{}), `{` + strings.Repeat(`"say \"hi\"",`, 99) + `NULL}`},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.text)))
			dst := make([]byte, 0, 1<<14)
			text := []byte(bc.text)
			for b.Loop() {
				dst = message.AppendValue(dst[:0], &bc.typ, text, message.Format{})
			}
		})
	}
}
