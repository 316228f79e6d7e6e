package lua_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/lua"
)

// order is a message as consumers get it.
const order = `{"record":{"id":918273,"customer_id":40211,"status":"paid","currency":"EUR","total":"199.99","items":3,` +
	`"email":"ann@example.com","note":null,"express":true,"created_at":"2026-11-22T10:11:12.345678","updated_at":"2026-11-22T10:12:13.456789",` +
	`"address":{"city": "Gent", "zip": "9000"}},"changes":{"status":"pending"},"action":"update","metadata":{"table_schema":"public",` +
	`"table_name":"orders","commit_timestamp":"2026-11-22T10:12:13.456789Z","commit_lsn":25169288,"commit_idx":0,"database_name":"shop",` +
	`"transaction_annotations":null,"idempotency_key":"MjUxNjkyODg6MA==","record_pks":["918273"],"enrichment":null,"consumer":{"id":` +
	`"7c3a2a52-37a4-4a0a-9bb5-b1c5b4c8a001","name":"orders_kafka","annotations":{}},"database":{"id":"7c3a2a52-37a4-4a0a-9bb5-b1c5b4c8a002",` +
	`"name":"shop","annotations":{},"database":"app","hostname":"db.internal"}}}`

const fiveFields = `function transform(action, record, changes, metadata)
  return {
    op = action,
    id = record.id,
    table = metadata.table_name,
    total = tonumber(record.total),
    was = changes and changes.status or null,
  }
end`

func BenchmarkFiveFields(b *testing.B) { benchmark(b, fiveFields) }

func BenchmarkIdentity(b *testing.B) {
	benchmark(b, `function transform(action, record, changes, metadata) return {record = record, changes = changes, action = action, metadata = metadata} end`)
}

func benchmark(b *testing.B, code string) {
	b.Helper()
	p, err := lua.Runtime{}.Compile(language.Source{Name: "f", Entry: language.Transform, Code: []byte(code), Output: output})
	require.NoError(b, err)
	message, dst := []byte(order), []byte(nil)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if dst, err = p.Call(dst[:0], message); err != nil {
			b.Fatal(err)
		}
	}
}
