package lua_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/lua"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const output = 16 << 20

func compile(t testing.TB, code string) language.Program {
	t.Helper()
	return compileEntry(t, language.Transform, code)
}

func compileEntry(t testing.TB, entry language.Entry, code string) language.Program {
	t.Helper()
	p, err := lua.Runtime{}.Compile(language.Source{Name: "test", Entry: entry, Code: []byte(code), Output: output})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// message wraps a record.
func message(record string) []byte {
	return []byte(`{"record":` + record + `,"changes":null,"action":"insert","metadata":{"table_name":"orders",` +
		`"commit_timestamp":"2026-11-22T10:11:12.345678Z","idempotency_key":"MjUxNjkyODg6MA=="}}`)
}

// call runs a function on a record.
func call(t testing.TB, p language.Program, record string) (string, *language.Error) {
	t.Helper()
	out, err := p.Call([]byte("before"), message(record))
	require.Equal(t, "before", string(out[:6]), "what was there stays")
	if err != nil {
		require.Equal(t, "before", string(out))
		var e *language.Error
		require.ErrorAs(t, err, &e)
		return "", e
	}
	return string(out[6:]), nil
}

// run compiles code and runs it once.
func run(t testing.TB, code, record string) (string, *language.Error) {
	t.Helper()
	return call(t, compile(t, code), record)
}

// body puts the statements of a function into it.
func body(statements string) string {
	return "function transform(action, record, changes, metadata) " + statements + " end"
}
