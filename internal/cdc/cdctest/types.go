package cdctest

import "strings"

// Typed is a type of column with values for it.
type Typed struct {
	Type   string
	Since  int      // server_version_num of the first version that has the type or value; 0 for all
	Values []string // pairs: an SQL expression, and the JSON that it must become
}

const (
	v13 = 130000
	v14 = 140000
	v15 = 150000
	v17 = 170000
)

var (
	digits1000 = strings.Repeat("9", 1000)

	// EveryType has edge values of every type.
	EveryType = []Typed{
		{"boolean", 0, []string{`true`, `true`, `false`, `false`, `null`, `null`}},
		{"int2", 0, []string{`-32768`, `-32768`}},
		{"int4", 0, []string{`2147483647`, `2147483647`}},
		{"int8", 0, []string{`9223372036854775807`, `9223372036854775807`, `-9223372036854775808`, `-9223372036854775808`, `9007199254740993`, `9007199254740993`}},
		{"oid", 0, []string{`4294967295`, `4294967295`}},
		{"float4", 0, []string{`1`, `1.0`, `0.1`, `0.1`, `3.4028235e38`, `3.4028235e+38`, `'NaN'`, `"NaN"`}},
		{"float8", 0, []string{
			`1`, `1.0`, `0.1::float8 + 0.2::float8`, `0.30000000000000004`, `1e20`, `1e+20`, `1e-5`, `1e-05`, `'-0'`, `-0.0`, `123456789012345`, `123456789012345.0`,
			`5e-324`, `5e-324`, `'Infinity'`, `"Infinity"`, `'-Infinity'`, `"-Infinity"`, `'NaN'`, `"NaN"`,
		}},
		{"numeric", 0, []string{`199.90`, `"199.90"`, `0.00000001`, `"0.00000001"`, digits1000, `"` + digits1000 + `"`, `'NaN'`, `"NaN"`}},
		{"numeric", v14, []string{`'Infinity'`, `"Infinity"`, `'-Infinity'`, `"-Infinity"`}},
		{"numeric(6,2)", 0, []string{`1`, `"1.00"`}},
		{"money", 0, []string{`12.5`, `"$12.50"`}},
		{"text", 0, []string{
			`''`, `""`, `'a"b\c'`, `"a\"b\\c"`, `E'\b\f\n\r\t\x01'`, `"\b\f\n\r\t\u0001"`, `'Grüße 世界 🎉'`, `"Grüße 世界 🎉"`, `'unchanged_toast'`, `"unchanged_toast"`,
		}},
		{"varchar(5)", 0, []string{`'abc'`, `"abc"`}},
		{"char(5)", 0, []string{`'abc'`, `"abc  "`}},
		{`"char"`, 0, []string{`'x'`, `"x"`}},
		{"name", 0, []string{`'n'`, `"n"`}},
		{"bytea", 0, []string{`'\x0a0B'`, `"\\x0a0b"`, `''`, `"\\x"`}},
		{"uuid", 0, []string{`'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'`, `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`}},
		{"json", 0, []string{
			`'{"b": 1.10,  "a": [1e400, 12345678901234567890], "b": "\u00e9\u0000"}'`, `{"b": 1.10,  "a": [1e400, 12345678901234567890], "b": "\u00e9\u0000"}`,
			`'null'`, `null`, `'"x"'`, `"x"`,
		}},
		{"jsonb", 0, []string{`'{"b": 1.10, "a": [1e400]}'`, `{"a": [1` + strings.Repeat("0", 400) + `], "b": 1.10}`, `'"é"'`, `"é"`}},
		{"date", 0, []string{
			`'2025-01-02'`, `"2025-01-02"`, `'infinity'`, `"infinity"`, `'-infinity'`, `"-infinity"`, `'0044-03-15 BC'`, `"0044-03-15 BC"`, `'5874897-12-31'`, `"5874897-12-31"`,
		}},
		{"time", 0, []string{`'03:04:05.123456'`, `"03:04:05.123456"`, `'24:00'`, `"24:00:00"`}},
		{"timetz", 0, []string{`'03:04:05.5+05:30'`, `"03:04:05.5+05:30"`, `'03:04:05-08'`, `"03:04:05-08"`}},
		{"timestamp", 0, []string{
			`'2025-01-02 03:04:05.123456'`, `"2025-01-02T03:04:05.123456"`, `'2025-01-02 03:04:05.1'`, `"2025-01-02T03:04:05.100000"`,
			`'0001-01-01'`, `"0001-01-01T00:00:00.000000"`, `'9999-12-31 23:59:59.999999'`, `"9999-12-31T23:59:59.999999"`,
			`'10000-01-01'`, `"10000-01-01 00:00:00"`, `'294276-12-31 23:59:59.999999'`, `"294276-12-31 23:59:59.999999"`,
			`'4713-01-01 BC'`, `"4713-01-01 00:00:00 BC"`, `'infinity'`, `"infinity"`, `'-infinity'`, `"-infinity"`,
		}},
		{"timestamptz", 0, []string{
			`'2025-01-02 03:04:05.5+05:30'`, `"2025-01-01T21:34:05.500000Z"`, `'0044-03-15 12:00+00 BC'`, `"0044-03-15 12:00:00+00 BC"`,
			`'9999-12-31 23:30-01'`, `"10000-01-01 00:30:00+00"`, `'infinity'`, `"infinity"`,
		}},
		{"timestamp(0)", 0, []string{`'2025-01-02 03:04:05.6'`, `"2025-01-02T03:04:06.000000"`}},
		{"interval", 0, []string{
			`'0'`, `{"months":0,"days":0,"microseconds":0}`, `'1 year 2 mons 3 days 04:05:06.789'`, `{"months":14,"days":3,"microseconds":14706789000}`,
			`'-1 year 2 mons -3 days 04:05:06'`, `{"months":-10,"days":-3,"microseconds":14706000000}`, `'100 hours'`, `{"months":0,"days":0,"microseconds":360000000000}`,
			`'-0.000001 s'`, `{"months":0,"days":0,"microseconds":-1}`, `'1 mon -1 day'`, `{"months":1,"days":-1,"microseconds":0}`,
			`'2147483647:00:00'`, `{"months":0,"days":0,"microseconds":7730941129200000000}`,
			`'178956970 years 7 mons 2147483647 days'`, `{"months":2147483647,"days":2147483647,"microseconds":0}`,
		}},
		{"interval", v15, []string{
			`'2562047788:00:54.775807'`, `{"months":0,"days":0,"microseconds":9223372036854775807}`,
			`'-2562047788:00:54.775807'`, `{"months":0,"days":0,"microseconds":-9223372036854775807}`,
		}},
		{"interval", v17, []string{`'infinity'`, `"infinity"`, `'-infinity'`, `"-infinity"`}},
		{"inet", 0, []string{`'10.0.0.1/8'`, `"10.0.0.1/8"`, `'::1'`, `"::1"`}},
		{"cidr", 0, []string{`'10.0.0.0/8'`, `"10.0.0.0/8"`}},
		{"macaddr", 0, []string{`'08:00:2b:01:02:03'`, `"08:00:2b:01:02:03"`}},
		{"macaddr8", 0, []string{`'08:00:2b:01:02:03:04:05'`, `"08:00:2b:01:02:03:04:05"`}},
		{"point", 0, []string{`'(1,2.5)'`, `"(1,2.5)"`}},
		{"line", 0, []string{`'{1,2,3}'`, `"{1,2,3}"`}},
		{"lseg", 0, []string{`'[(1,2),(3,4)]'`, `"[(1,2),(3,4)]"`}},
		{"box", 0, []string{`'(1,1),(0,0)'`, `"(1,1),(0,0)"`}},
		{"path", 0, []string{`'((1,1),(2,2))'`, `"((1,1),(2,2))"`}},
		{"polygon", 0, []string{`'((1,1),(2,2),(3,1))'`, `"((1,1),(2,2),(3,1))"`}},
		{"circle", 0, []string{`'<(1,1),2>'`, `"<(1,1),2>"`}},
		{"bit(3)", 0, []string{`B'101'`, `"101"`}},
		{"varbit", 0, []string{`B'1'`, `"1"`}},
		{"xml", 0, []string{`'<a b="c">d</a>'`, `"<a b=\"c\">d</a>"`}},
		{"tsvector", 0, []string{`'fat:2 cat:3A'`, `"'cat':3A 'fat':2"`}},
		{"tsquery", 0, []string{`'fat & !cat'`, `"'fat' & !'cat'"`}},
		{"jsonpath", 0, []string{`'$.a'`, `"$.\"a\""`}},
		{"pg_lsn", 0, []string{`'16/B374D848'`, `"16/B374D848"`}},
		{"txid_snapshot", 0, []string{`'10:20:10,14'`, `"10:20:10,14"`}},
		{"xid", 0, []string{`'7'`, `"7"`}},
		{"xid8", v13, []string{`'18446744073709551615'`, `"18446744073709551615"`}},
		{"regtype", 0, []string{`'int4'`, `"integer"`}},
		{"int2vector", 0, []string{`'1 2'`, `"1 2"`}},
		{"int4range", 0, []string{`'[1,10)'`, `"[1,10)"`, `'empty'`, `"empty"`, `'(,)'`, `"(,)"`}},
		{"tstzrange", 0, []string{`'[2025-01-02 03:04:05+00,)'`, `"[\"2025-01-02 03:04:05+00\",)"`}},
		{"int4multirange", v14, []string{`'{[1,3),[5,7)}'`, `"{[1,3),[5,7)}"`}},
		{"mood", 0, []string{`'so "so"'`, `"so \"so\""`}},
		{"positive", 0, []string{`7`, `7`}},
		{"tiny", 0, []string{`7`, `7`}},
		{"pair", 0, []string{`row(1, 'a b')`, `"(1,\"a b\")"`}},
		{"vector", 0, []string{`'[1,2.5,-3e-05]'`, `[1,2.5,-3e-05]`}},
		{"_odd", 0, []string{`'x'`, `"x"`}},
		{"int4[]", 0, []string{
			`'{}'`, `[]`, `'{1,NULL,3}'`, `[1,null,3]`, `'{{1,2},{3,4}}'`, `[[1,2],[3,4]]`, `'[0:2]={1,2,3}'`, `[1,2,3]`, `'[-1:0][2:2]={{1},{2}}'`, `[[1],[2]]`,
		}},
		{"text[]", 0, []string{
			`array['a,b', '{x}', 'q"\', '', ' ', 'NULL', null, E'a\nb']`, `["a,b","{x}","q\"\\",""," ","NULL",null,"a\nb"]`,
		}},
		{"bool[]", 0, []string{`'{t,f}'`, `[true,false]`}},
		{"float8[]", 0, []string{`'{1,NaN,1e20}'`, `[1.0,"NaN",1e+20]`}},
		{"numeric[]", 0, []string{`'{1.50}'`, `["1.50"]`}},
		{"uuid[]", 0, []string{`'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'`, `["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]`}},
		{"bytea[]", 0, []string{`array['\x0a'::bytea]`, `["\\x0a"]`}},
		{"jsonb[]", 0, []string{`array['{"a": "q\"\\"}', 'null', null]::jsonb[]`, `[{"a": "q\"\\"},null,null]`}},
		{"json[]", 0, []string{`array['{"a" :1.10}']::json[]`, `[{"a" :1.10}]`}},
		{"timestamp[]", 0, []string{`array['2025-01-02 03:04:05', 'infinity']::timestamp[]`, `["2025-01-02T03:04:05.000000","infinity"]`}},
		{"interval[]", 0, []string{`array['1 day', '01:00']::interval[]`, `[{"months":0,"days":1,"microseconds":0},{"months":0,"days":0,"microseconds":3600000000}]`}},
		{"box[]", 0, []string{`array['(1,1),(0,0)', '(2,2),(1,1)']::box[]`, `["(1,1),(0,0)","(2,2),(1,1)"]`}},
		{"mood[]", 0, []string{`array['so "so"']::mood[]`, `["so \"so\""]`}},
		{"tiny[]", 0, []string{`'{7}'`, `[7]`}},
		{"listing", 0, []string{`'{1,2}'`, `[1,2]`}},
		{"listing[]", 0, []string{`array['{1,2}'::listing, '{}'::listing]`, `[[1,2],[]]`}},
		{"pair[]", 0, []string{`array[row(1, 'a "b"')::pair]`, `["(1,\"a \"\"b\"\"\")"]`}},
		{"int4range[]", 0, []string{`array['[1,10)'::int4range]`, `["[1,10)"]`}},
		{"vector[]", 0, []string{`array['[1,2]'::vector]`, `[[1,2]]`}},
		{"int2vector[]", 0, []string{`'{"1 2"}'`, `["1 2"]`}},
	}
)

// OwnTypes makes the user types of EveryType. vector stands in for pgvector's, which prints the same.
const OwnTypes = `
	create type mood as enum ('so "so"');
	create domain positive as int4 check (value > 0);
	create domain tiny as positive;
	create domain listing as int4[];
	create type pair as (a int4, b text);
	create type _odd as enum ('x');
	create type vector;
	create function vector_in(cstring) returns vector language internal strict immutable as 'textin';
	create function vector_out(vector) returns cstring language internal strict immutable as 'textout';
	create type vector (input = vector_in, output = vector_out, like = text)`
