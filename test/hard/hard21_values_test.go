package hard_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// Values read the same whatever the role, the database and the server prefer to print, and no digit is lost on the way.
func TestHard21ValuesDoNotDependOnSettings(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("1234567890", 90)
	values := []struct{ column, typ, value, want string }{
		{"ts", "timestamptz", "'2025-01-02 03:04:05.123456+02'", `"2025-01-02T01:04:05.123456Z"`},
		{"tl", "timestamp", "'2025-01-02 03:04:05'", `"2025-01-02T03:04:05.000000"`},
		{"d", "date", "'2025-01-02'", `"2025-01-02"`},
		{"forever", "date", "'infinity'", `"infinity"`},
		{"bc", "date", "'0044-03-15 BC'", `"0044-03-15 BC"`},
		{"far", "timestamp", "'12345-06-07 08:09:10'", `"12345-06-07 08:09:10"`},
		{"tz", "timetz", "'03:04:05.5+02'", `"03:04:05.5+02"`},
		{"iv", "interval", "'1 year 2 mons 3 days 100:05:06.789'", `{"months":14,"days":3,"microseconds":360306789000}`},
		{"f8", "float8", "0.1::float8 + 0.2::float8", `0.30000000000000004`},
		{"f4", "float4", "'1e-30'", `1e-30`},
		{"nan", "float8", "'NaN'", `"NaN"`},
		{"i8", "int8", "9223372036854775807", `9223372036854775807`},
		{"n", "numeric", digits + ".50", `"` + digits + `.50"`},
		{"nn", "numeric", "'NaN'", `"NaN"`},
		{"m", "money", "12.5", `"$12.50"`},
		{"b", "bytea", `'\x00ff'`, `"\\x00ff"`},
		{"c", "char(4)", "'ab'", `"ab  "`},
		{"j", "jsonb", `'{"n": 12345678901234567890.10, "a": [1.50]}'`, `{"a": [1.50], "n": 12345678901234567890.10}`},
		{"raw", "json", `'{"z":1,"a":1e400,"z":2}'`, `{"z":1,"a":1e400,"z":2}`},
		{"arr", "int[]", "'[0:1]={1,2}'", `[1,2]`},
		{"texts", "text[]", `array['NULL', null, 'a,"b"', '']`, `["NULL",null,"a,\"b\"",""]`},
		{"r", "tstzrange", "'[2025-01-01 00:00+02,)'", `"[\"2024-12-31 22:00:00+00\",)"`},
		{"t", "text", "E'\\u2028 \\x01 \"quoted\" \\\\ é'", "\"\u2028 \\u0001 \\\"quoted\\\" \\\\ é\""},
	}
	var columns, row []string
	for _, v := range values {
		columns = append(columns, v.column+" "+v.typ)
		row = append(row, v.value)
	}
	r := prepare(t, setup{ddl: "create table t (id int primary key, " + strings.Join(columns, ", ") + ")"})
	role := r.db.Slot(t) // any unique name
	r.exec("create role " + role + " superuser login")
	t.Cleanup(func() { r.exec("drop role " + role) })
	for _, setting := range []string{
		"datestyle = 'German'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kolkata'", "bytea_output = 'escape'", "extra_float_digits = -15",
		"lc_monetary = 'C'", "xmlbinary = 'hex'", "standard_conforming_strings = off",
	} {
		r.exec("alter role " + role + " set " + setting)
		r.exec(`alter database "` + r.db.Name + `" set ` + setting)
	}
	r.at(func(u *url.URL) { u.User = url.User(role) })
	r.start()
	r.exec("insert into t values (1, " + strings.Join(row, ", ") + ")")
	got := r.drain("pull")
	require.Len(t, got, 1)
	var record map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(got[0].Data.Record, &record))
	for _, v := range values {
		require.Equal(t, v.want, string(record[v.column]), "%s: %s", v.column, v.typ)
	}
	require.Equal(t, 1, pgtest.Value[int](t, r.db, "select count(*) from t"))
}
