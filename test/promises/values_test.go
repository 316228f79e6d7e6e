package promises_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// value is a column, what is put into it, and what consumers get, to the letter.
type value struct{ kind, sql, json string }

func values() map[string]value {
	return map[string]value{
		"int8":         {"bigint", "9223372036854775807", "9223372036854775807"},
		"int8_min":     {"bigint", "-9223372036854775808", "-9223372036854775808"},
		"float8":       {"double precision", "0.1", "0.1"},
		"float8_whole": {"double precision", "3", "3.0"},
		"float8_nan":   {"double precision", "'NaN'", `"NaN"`},
		"float4":       {"real", "1.1", "1.1"},
		"num":          {"numeric", "123456789012345678901234567890.000000000012345600", `"123456789012345678901234567890.000000000012345600"`},
		"num_small":    {"numeric", "0.00000001", `"0.00000001"`},
		"num_nan":      {"numeric", "'NaN'", `"NaN"`},
		"yes":          {"boolean", "true", "true"},
		"txt":          {"text", `E'tab\t "quoted" back\\slash \u2028 \U0001F600'`, `"tab\t \"quoted\" back\\slash ` + "\u2028 \U0001F600" + `"`},
		"padded":       {"char(5)", "'ab'", `"ab   "`},
		"bin":          {"bytea", `'\x00ff0a'`, `"\\x00ff0a"`},
		"js":           {"json", `'{"b": 1.10,  "a": 1e400, "b": 2}'`, `{"b": 1.10,  "a": 1e400, "b": 2}`},
		"jsb":          {"jsonb", `'{"n": 12345678901234567890.10}'`, `{"n": 12345678901234567890.10}`},
		"ts":           {"timestamp", "'2026-01-02 03:04:05'", `"2026-01-02T03:04:05.000000"`},
		"tstz":         {"timestamptz", "'2026-01-02 03:04:05.123456+05:30'", `"2026-01-01T21:34:05.123456Z"`},
		"ts_inf":       {"timestamp", "'-infinity'", `"-infinity"`},
		"ts_bc":        {"timestamp", "'0044-03-15 12:00:00 BC'", `"0044-03-15 12:00:00 BC"`},
		"ts_far":       {"timestamp", "'12026-01-02 03:04:05'", `"12026-01-02 03:04:05"`},
		"day":          {"date", "'2026-01-02'", `"2026-01-02"`},
		"tm":           {"time", "'03:04:05.5'", `"03:04:05.5"`},
		"tmtz":         {"timetz", "'03:04:05+02'", `"03:04:05+02"`},
		"iv":           {"interval", "'1 year 2 months -3 days 100:00:00.5'", `{"months":14,"days":-3,"microseconds":360000500000}`},
		"id":           {"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
		"ints":         {"int[]", "'{1,NULL,3}'", "[1,null,3]"},
		"bounded":      {"int[]", "'[0:2]={1,2,3}'", "[1,2,3]"},
		"nested":       {"int[]", "'{{1,2},{3,4}}'", "[[1,2],[3,4]]"},
		"texts":        {"text[]", `'{"NULL",NULL,"a,b","{}",""}'`, `["NULL",null,"a,b","{}",""]`},
		"boxes":        {"box[]", "'{(1,1),(0,0);(3,3),(2,2)}'", `["(1,1),(0,0)","(3,3),(2,2)"]`},
		"empty":        {"text[]", "'{}'", "[]"},
		"span":         {"int4range", "'[1,10)'", `"[1,10)"`},
		"net":          {"inet", "'10.0.0.1/8'", `"10.0.0.1/8"`},
		"bits":         {"bit(3)", "B'101'", `"101"`},
		"pt":           {"point", "'(1.5,2)'", `"(1.5,2)"`},
		"mood":         {"mood", "'happy'", `"happy"`},
		"pair":         {"pair", "row(1, 'a b')", `"(1,\"a b\")"`},
		"positive":     {"positive", "7", "7"},
		"positives":    {"positive[]", "'{7,8}'", "[7,8]"},
		"nothing":      {"text", "null", "null"},
	}
}

// Promise P8: values read the same to the last digit, whatever settings the role and the database have.
func TestP8ValuesAreFaithful(t *testing.T) {
	t.Parallel()
	all := values()
	names := slices.Sorted(maps.Keys(all))
	var columns, inserted []string
	for _, name := range names {
		columns = append(columns, name+" "+all[name].kind)
		inserted = append(inserted, all[name].sql)
	}
	in := install(t, pgtest.Shared(t), `
		create type mood as enum ('sad', 'happy'); create type pair as (a int, b text);
		create domain natural_number as int check (value >= 0); create domain positive as natural_number check (value > 0);
		create table t (k int primary key, `+strings.Join(columns, ", ")+`)`, "", pull, nil)
	database := pgtest.Value[string](t, in.db, "select current_database()")
	for _, setting := range []string{"DateStyle = 'German'", "IntervalStyle = 'iso_8601'", "TimeZone = 'Asia/Kathmandu'", "bytea_output = 'escape'", "extra_float_digits = -3"} {
		in.db.Exec(t, fmt.Sprintf("alter database %s set %s", database, setting))
	}
	in.Start()
	in.WaitHealthy(20 * time.Second)
	in.db.Exec(t, "insert into t values (1, "+strings.Join(inserted, ", ")+")")
	message := in.receiveAll(t, "pull", 1)[0]
	var record map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(message.Data.Record, &record))
	for _, name := range names {
		require.Equal(t, all[name].json, string(record[name]), "%s %s", name, all[name].kind)
	}
}
