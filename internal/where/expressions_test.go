package where_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/where"
)

// expressions are forms that people write, and those in which a difference was once found. All compile here, and mean what Postgres says.
var expressions = []string{
	// lexical forms
	`'it''s'`, `'a'
	'b'`, `E'a\tb\\\x41\101\u00e9\U0001F600'`, `U&'d\0061t\+000061'`, `U&'d!0061t' uescape '!'`, `$$it's$$`, `$tag$a$$b$tag$`, `B'1010'`, `X'1F'`, `b'' = x''`, `"c_int4"`, `"rows".c_int4`,
	`public.rows.c_text`, `1.`, `.5`, `1.5e3`, `1e-3`, `2147483648`, `-2147483648`, `-9223372036854775808`, `9223372036854775808`, `+ 5`, `- - 5`, `1--1
	`, `1 /* a /* b */ c */ + 2`, `c_int4 is null -- end`, `3!=4`, `2<>-1`, `5*-1`, `(1)`, `C_INT4`, `true and not false`, `c_int4::text::text`,
	// types
	`date '2024-02-29'`, `timestamp '2024-02-29 10:00'`, `timestamp with time zone '2024-02-29 10:00+02'`, `timestamptz '2024-02-29T10:00:00Z'`, `time '10:20'`, `time with time zone '10:20+01'`,
	`interval '1 day 02:03:04'`, `interval '5' day`, `interval '1' hour`, `double precision '1.5'`, `int4 '7'`, `bool 'yes'`, `numeric '1.50'`, `numeric(5,1) '1.55'`, `varchar(2) 'abc'`, `char(4) 'ab'`,
	`bit(4) '1010'`, `bit varying '101'`, `character varying 'x'`, `cast('5' as int)`, `cast(c_text as varchar(2))`, `'{1,2}'::int[]`, `'{1,2}'::int array`, `c_int4::float`, `c_int4::float(10)`,
	`'12:00'::time(0)`, `'1.5'::decimal`, `'happy'::mood`, `pg_catalog.date '2024-01-01'`, `c_int4::pg_catalog.int8`, `text 'x'`, `"text" 'x'`, `date('2024-01-01')`, `text(c_int4)`, `int4(c_numeric)`,
	// precedence
	`1 + 2 * 3 ^ 2 - 1`, `2 ^ 3 ^ 2`, `- 2 ^ 2`, `-2::int8`, `1 - 2 - 3`, `10 / 3 * 3`, `1 || 'a' || 2`, `not true = false`, `true or true and false`, `not c_bool is null`, `1 = 1 is true`,
	`c_int4 + 1 between 1 and 5 and true`, `c_text || 'a' like 'b' || '%'`, `@ -5 + 1`, `c_int4 in (1, 2) is not null`, `2 + 3 % 2`, `1 << 2 + 1`, `c_jsonb -> 'a' ->> 'b'`,
	`c_jsonb -> 'a' is null`, `c_jsonb ->> 'n' = '1.50'`, `c_text collate "C" < 'b' collate "C"`, `c_timestamptz at time zone 'UTC' + interval '1 day'`, `c_bool isnull`, `c_bool notnull`,
	// forms
	`case c_int4 when 1 then 'one' when 2 then 'two' else 'many' end`, `case when c_int4 > 1 then 1.5 end`, `coalesce(null, c_int4, 5)`, `nullif(c_text, 'a')`, `greatest(1, 2.5, c_int4)`,
	`least(c_date, '2024-01-01')`, `c_int4 = any ('{1,2,3}')`, `c_int4 <> all (array[1, 2])`, `c_text = any (c__text)`, `5 > all ('{}'::int[])`, `null = any ('{}'::int[])`, `c_text not in ('a', null)`,
	`c_int4 in (1, 2.5, c_int8)`, `c_int2 in (1, 2, 3, 4, 5, 6, 7, 8, 9)`, `c_text in ('a','b','c','d','e','f','g','abc','i')`, `c_int4 not between symmetric 5 and 1`, `c_text like 'a!%' escape '!'`,
	`c_text like 'a' escape ''`, `c_text not ilike '%B%'`, `c_text similar to '(a|b)%'`, `c_text ~ '^a.*c$'`, `c_text !~* 'B'`, `c_bpchar = 'abc'`, `c_bpchar like 'abc%'`, `c_bpchar || 'x'`,
	`extract(year from c_date)`, `extract('dow' from c_timestamp)`, `extract(epoch from c_interval)`, `date_part('hour', c_timestamptz)`, `date_trunc('month', c_timestamp)`,
	`position('b' in c_text)`, `substring(c_text from 2 for 2)`, `substring(c_text for 2)`, `substring(c_text, 2)`, `overlay(c_text placing 'zz' from 2 for 1)`, `trim(both 'a' from c_text)`,
	`trim(c_text)`, `trim(leading from c_text)`, `ltrim(c_text, 'a')`, `(c__int4)[1]`, `c__int4[1:2]`, `(array[1,2,3])[2]`, `c__text[1] is null`, `array[1, null, c_int4]`, `array['a', c_text]`,
	`array[]::int[]`, `array_position(c__int4, 2)`, `c__int4 @> array[1]`, `c__int4 && '{1,5}'`, `c__int4 || 5`, `c__int4 || c__int4`, `c_int4range @> 5`, `c_daterange && '[2024-01-01,)'`,
	`c_jsonb @> '{"a": 1}'`, `c_jsonb ? 'a'`, `c_jsonb ?| array['a', 'z']`, `c_jsonb #>> '{a,b}'`, `c_jsonb -> -1`, `jsonb_extract_path_text(c_jsonb, 'a', 'b')`, `jsonb_typeof(c_jsonb)`,
	`c_jsonb = '{"a": {"b": "c"}, "n": 1.5}'`, `(c_jsonb ->> 'n')::numeric`, `c_inet << '10.0.0.0/8'`, `c_inet >>= c_cidr`, `host(c_inet)`, `num_nonnulls(c_int4, c_text, null)`,
	`concat(c_int4, c_text, c_bool, c_date)`, `concat_ws('-', c_int4, c_numeric)`, `round(c_numeric, 1)`, `mod(7, -3)`, `7 % -3`, `-7 / 2`, `c_date + 1`, `c_date - c_date`, `c_date + time '10:00'`,
	`age(c_timestamp, '2000-02-29')`, `c_timestamp - c_timestamp`, `c_small + 1`, `c_small = 5`, `c_mood > 'sad'`, `c_mood = 'ok'`, `c_mood in ('ok', 'happy')`,
	// differences that there were
	`'"x"'::jsonb -> 0`, `c_jsonb ->> -1`, `nullif(c_varchar, 'a')`, `nullif(c_cidr, c_cidr)`, `'9007199254740993' * c_float8`, `'7' * c_float8`, `(c_text)::json is null or true`,
	`date_part('epoch', interval '-1 days +02:03:04')`, `5 * 9007199254740993::float8`, `~ c_int4 & 3`, `coalesce(c_int8, 1)`, `c_int4 is distinct from null`, `null is not distinct from null`,
	`(1 is distinct from 2) is true or 1 / c_int4 = 1`, `pg_catalog."timestamp"(coalesce(null, '1970-01-01'))`, `c__mood in ('{ok,sad}', '{}')`,
}

// refusedByBoth are mistakes to Postgres too.
var refusedByBoth = []string{
	"a.b", "c_int4 < 1 < 2", "1 < 2 = true", "1 is distinct from 2 is true", "c_int4 = = 1", "c_int4 like 'a' like 'b'", "(c_int4", "c_int4)", "c_int4 +", "'a", "c_int4 in ()", "case end", "1 2", "c_int4::", "c_int4 ! 1", "select", "c_int4 is 5",
	"c_int4 between 1", "array[", "c_text ~~ 5", "c_int4 = 'x'", "c_bool + 1", "frobnicate(1)", "c_int4::nosuchtype", "extract(from c_date)", "not", "c_int4 and true", "date 'x'", "1 / 0", "c_int4 = array[1]",
	"c_text || c_json || 1 = 2", "'sader'::mood", "'{1,2'::int[]", "'[5,1]'::int4range", "B'12'", "E'\\u12'", "c_text at time zone", "12abc", "coalesce()", "nullif(1)", "c_mood = 'nope'", "u&'\\00zz'",
}

// corners may be refused, but not answered otherwise.
func corners() []string {
	var all []string
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC", "Pacific/Apia", "Europe/London"} {
		for _, wall := range []string{
			"2024-03-31 01:59:59", "2024-03-31 02:30", "2024-03-31 03:00", "2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 03:00", "2024-03-10 02:30", "2024-03-10 03:00",
			"2024-11-03 01:30", "2024-11-03 02:00", "2024-10-06 02:15", "2024-04-07 01:45", "2011-12-30 12:00", "2024-07-01 12:00", "1945-05-24 02:30", "1971-10-31 02:30", "1990-01-01 00:00",
		} {
			all = append(all, "timestamp '"+wall+"' at time zone '"+zone+"'", "timestamptz '"+wall+"+00' at time zone '"+zone+"'")
		}
	}
	for _, pattern := range []string{
		"^a", "[]a]", "[^]a]", "[a-]", "[a-c-e]", "[[:digit:][:upper:]]", "[[:space:]]", `[\d]`, `[\w-]`, `\D+`, `\W`, `\S`, "a{0}", "a{2,}", "a{1,2}?", "a{,2}", "a{x", "{", "a||b", "|a", "()", "(?:a)", "(?=a)",
		"a**", "a+?", "^*", "*a", "a(?i)b", "(?i)é", "(?n)a", "***=a", `\m`, `\ya`, `\Aa\Z`, `\n`, `\x41`, `\e`, "[[.a.]]", "[[=a=]]", "a$b", "x^", "[a", "(a", "a)", "]", "}", `a\`, "[é-ü]", "(?i)[a-c]", "(?i)[[:lower:]]", ".",
	} {
		for _, op := range []string{"~", "~*", "!~"} {
			all = append(all, "c_text "+op+" '"+pattern+"'")
		}
		all = append(all, "substring(c_text from '"+pattern+"')", "regexp_replace(c_text, '"+pattern+"', 'X', 'g')")
	}
	for _, pattern := range []string{"a%", "[a-c]%", "(a|b)_*", `a\%`, "a.c", "%(bc|x)%", "a{2}", "^a$", "a+", "_{3}", `%"a"%`, ""} {
		all = append(all, "c_text similar to '"+pattern+"'", "c_text not similar to '"+pattern+"' escape '!'", "c_text like '"+pattern+"'", "c_varchar ilike '"+pattern+"'")
	}
	for _, document := range []string{
		`"\u00e9\n\t\\\"\/\b\f\r"`, `"\ud83d\ude00"`, `"\u0000"`, `"\ud83d"`, `[1,2,]`, `{"a":1,"a":2}`, `{"b":1,"a":[true,false,null]}`, `1e2`, `-0`, `01`, `1.`, `"\u001f"`, ` {"a" : [ ] } `, `nul`, `"`, `{"a"}`, `1E-5`,
	} {
		all = append(all, "'"+document+"'::jsonb", "'"+document+"'::json", "'"+document+"'::jsonb ->> 0", "'"+document+"'::json ->> 0", "'"+document+"'::jsonb -> 'a'")
	}
	for _, field := range []string{"year", "month", "day", "hour", "minute", "second", "milliseconds", "microseconds", "epoch", "quarter", "week", "doy", "dow", "isodow", "isoyear", "century", "decade", "millennium"} {
		for _, column := range []string{"c_date", "c_timestamp", "c_timestamptz", "c_interval", "c_time", "d_interval", "d_timestamp"} {
			all = append(all, "extract("+field+" from "+column+")", "date_part('"+field+"', "+column+")", "date_trunc('"+field+"', "+column+")")
		}
	}
	for _, span := range []string{"1.5 seconds", "-1.25 sec", "1 week", "2 mons -3 days", "1 year 2 mons", "-00:00:01", "1 day 1 day", "P1D", "5", "1:02", "@ 1 day", "1 day ago", "100 years", "00:00:00.1234567", "infinity", ""} {
		all = append(all, "'"+span+"'::interval", "justify_days('"+span+"'::interval)", "justify_hours('"+span+"'::interval)", "- '"+span+"'::interval")
	}
	for _, moment := range []string{"2024-02-30", "2024-13-01", "0000-01-01", "2024-2-1", "20240201", "2024-02-01 24:00", "2024-02-01 23:59:60", "2024-02-01T10:00:00.123456789", "2024-02-01 10:00 CET", "2024-02-01 10:00 +2", "2024-02-01 10:00+0230", "294277-01-01", "4714-11-24 BC", "4714-11-23 BC", " 2024-02-01 ", "Jan 5 2024", "epoch", ""} {
		all = append(all, "'"+moment+"'::date", "'"+moment+"'::timestamp", "'"+moment+"'::timestamptz", "c_bool and '"+moment+"'::text::timestamp > c_timestamp")
	}
	return append(all,
		"1 operator(pg_catalog.+) 2", "operator(pg_catalog.-) 2", "c_int4 between 1 is distinct from 2 and 3", `c_text collate pg_catalog."C" > 'a'`, `c_text collate "POSIX" > 'a'`, "c_oid = 1", "5::oid", "4294967295::oid::int4",
		`'a\\b'::bytea`, `'\x4142'::bytea || 'c'`, `'\000'::bytea`, `'\x4'::bytea`, "repeat('a', 3)", "translate(c_text, 'abc', 'xy')", "initcap(c_text)", "split_part(c_text, ',', 2)", "split_part(c_text, ',', -1)", "c_text::name",
		"'infinity'::numeric", "'-inf'::numeric * 0", "'inf'::numeric - 'inf'::numeric", "'nan'::numeric + 1", "'infinity'::numeric / 0", "5 / 'infinity'::numeric", "5 % 'infinity'::numeric", "'[1,2'::int4range", `'["1","2"]'::int4range`, "'[,]'::int4range",
		"array['{}'::jsonb, '1'] = array['{}'::jsonb, '1.0']", "c_numeric::text::numeric", "c_float8::text::float8", "c_float4::float8::text", "c_float8::float4", "c_float8::numeric", "c_float4::int4", "c_numeric::int2", "c_numeric::float4",
	)
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	s := newServer(t, 7)
	for _, text := range expressions {
		var n tally
		difference, err := s.compare(t.Context(), text, &n)
		require.NoError(t, err, text)
		assert.Empty(t, difference, text)
		assert.Zero(t, n.refused+n.rejected, text)
	}
	corners := corners()
	for _, text := range append(corners, "0x1F", "0b101", "0o17", "1_000", "1_0.2_5", "1__0", "0x", "0xfffffffff", "_1", "1_", "1e1_0") { // the last since 16
		var n tally
		difference, err := s.compare(t.Context(), text, &n)
		require.NoError(t, err, text)
		assert.Empty(t, difference, text)
	}
	for _, text := range refusedByBoth {
		_, _, refusal, err := s.ask(t.Context(), text)
		require.NoError(t, err, text)
		assert.NotEmpty(t, refusal, text)
		_, err = where.CompileExpression(text, &s.table, s.options)
		assert.Error(t, err, text)
	}
}
