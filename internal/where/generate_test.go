package where_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/where"
)

// kinds are the types that expressions are made of, with literals of each: ordinary, at the edges, and odd.
var kinds = []struct {
	name, ddl string
	values    []string
}{
	{"bool", "bool", []string{"t", "f"}},
	{"int2", "int2", []string{"0", "1", "-1", "7", "100", "32767", "-32768"}},
	{"int4", "int4", []string{"0", "1", "-1", "2", "3", "42", "1000", "2147483647", "-2147483648"}},
	{"int8", "int8", []string{"0", "1", "-1", "5", "4294967296", "9223372036854775807", "-9223372036854775808"}},
	{"numeric", "numeric", []string{"0", "1", "-1", "0.1", "1.50", "-2.5", "2.5", "123456789012345678901234567890.123456789", "0.00000000000000000001", "NaN", "99999.995", "-0.005", "1e20", "12345.678"}},
	{"float4", "float4", []string{"0", "1", "-1.5", "0.1", "3.4e38", "1e-40", "NaN", "Infinity", "-Infinity", "16777217", "123456.7", "1e6", "0.5", "2.5"}},
	{"float8", "float8", []string{"0", "1", "-1.5", "0.1", "1e308", "5e-324", "NaN", "Infinity", "-Infinity", "9007199254740993", "1e15", "123456789012345.6", "0.00001", "2.5", "3.5", "-0"}},
	{"text", "text", []string{"", "a", "A", "abc", "ABC", "aBc ", " x", "12", "-3.5", "true", "héé", "Ünï", "日本", "a,b,c", "2024-01-31", "x%y", "a_c", "foo.bar", "\t", "12:30", `{"a": 1}`, "{1,2}"}},
	{"varchar", "varchar(20)", []string{"", "abc", "Abc", "x ", "42", "hello world"}},
	{"bpchar", "char(5)", []string{"", "abc", "ABC", "x", "12345", "é"}},
	{"bytea", "bytea", []string{`\x`, `\x00`, `\xdeadbeef`, `\x616263`}},
	{"uuid", "uuid", []string{"00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{"date", "date", []string{"2000-01-01", "2024-02-29", "1999-12-31", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "2024-05-31", "1970-01-01"}},
	{"time", "time", []string{"00:00:00", "12:30:00", "23:59:59.999999", "24:00:00", "01:02:03.5"}},
	{"timetz", "timetz", []string{"00:00:00+00", "12:30:00+02", "23:59:59.999999-08", "01:02:03.5+05:30"}},
	{"timestamp", "timestamp", []string{"2000-01-01 00:00:00", "2024-02-29 12:34:56.789012", "1969-12-31 23:59:59.999999", "infinity", "-infinity", "0001-01-01 00:00:00 BC", "2024-03-31 02:30:00", "1999-12-27 10:00:00"}},
	{"timestamptz", "timestamptz", []string{"2000-01-01 00:00:00+00", "2024-02-29 12:34:56.789012+00", "1969-12-31 23:59:59.999999+00", "infinity", "2024-10-27 00:30:00+00", "2024-03-31 01:00:00+00", "1950-06-01 00:00:00+00"}},
	{"interval", "interval", []string{"00:00:00", "1 day", "-1 days +02:03:04", "1 mon", "1 year 2 mons 3 days 04:05:06.789", "30 days", "-2 years -3 mons", "100:00:00", "00:00:00.000001"}},
	{"json", "json", []string{`{"a": 1}`, `null`, `[1, 2]`, `"x"`, `{"a":{"b":"c"},"n":1.50}`}},
	{"jsonb", "jsonb", []string{`{"a": 1, "b": [1, 2, {"c": null}]}`, `null`, `[1, 2, "x", 2.0]`, `"x"`, `{"a": {"b": "c"}, "n": 1.50}`, `12.30`, `true`, `{}`, `[]`, `{"long key": "é\n", "a": null}`}},
	{"inet", "inet", []string{"10.0.0.1", "10.0.0.0/8", "192.168.1.5/24", "::1", "2001:db8::/32"}},
	{"cidr", "cidr", []string{"10.0.0.0/8", "192.168.1.0/24", "::/0", "10.1.2.3/32"}},
	{"macaddr", "macaddr", []string{"08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"}},
	{"bit", "bit(4)", []string{"0000", "1010", "1111"}},
	{"varbit", "varbit", []string{"", "1", "0", "101", "1010101010"}},
	{"mood", "mood", []string{"sad", "ok", "happy"}},
	{"small", "small", []string{"0", "1", "99"}},
	{"_int4", "int4[]", []string{"{}", "{1,2,3}", "{NULL,1}", "[0:2]={5,6,7}", "{{1,2},{3,4}}", "{42}"}},
	{"_int8", "int8[]", []string{"{}", "{1,2,3}", "{5}"}},
	{"_text", "text[]", []string{"{}", "{a,b}", `{"",NULL,"NULL","x,y","q\"q"}`, "{abc}"}},
	{"_numeric", "numeric[]", []string{"{}", "{1.0,2.50}", "{NaN}"}},
	{"_date", "date[]", []string{"{}", "{2024-02-29}"}},
	{"_mood", "mood[]", []string{"{}", "{ok,sad}"}},
	{"int4range", "int4range", []string{"empty", "[1,10)", "(,5)", "[3,)", "(,)", "[1,1]"}},
	{"numrange", "numrange", []string{"empty", "[1.5,2.5]", "(0,10)", "[1,)", "[1,1]"}},
	{"daterange", "daterange", []string{"empty", "[2024-01-01,2024-12-31]", "(,2000-01-01)"}},
	{"tstzrange", "tstzrange", []string{"empty", `["2024-01-01 00:00:00+00","2025-01-01 00:00:00+00")`}},
}

const schemaSQL = `
create type mood as enum ('sad', 'ok', 'happy');
create domain small as int4 check (value < 100);`

func columnDDL() string {
	var b strings.Builder
	b.WriteString("create table rows (id int4 primary key")
	for _, k := range kinds {
		fmt.Fprintf(&b, ", c_%s %s, d_%s %s", k.name, k.ddl, k.name, k.ddl)
	}
	b.WriteString(")")
	return b.String()
}

// generator makes random expressions, and knows no types: which is the type checker's job. Where asked for a type it usually delivers it.
type generator struct {
	*rand.Rand
	major     int
	operators []string
	functions []string
}

func newGenerator(seed uint64, major int) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), major: major}
	g.operators, g.functions = where.Supported(major)
	return g
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (g *generator) kind(name string) int {
	for i := range kinds {
		if kinds[i].name == name {
			return i
		}
	}
	return -1
}

// typeName writes a typname so that it can stand in a cast.
func typeName(name string) string {
	if elem, ok := strings.CutPrefix(name, "_"); ok {
		return elem + "[]"
	}
	return name
}

// literal is a constant of a type: cast, or left open, or a plain number.
func (g *generator) literal(name string) string {
	i := g.kind(name)
	if i < 0 {
		return "null::" + typeName(name)
	}
	v := pick(g, kinds[i].values)
	switch name {
	case "int4", "int8", "numeric":
		if g.IntN(2) == 0 && !strings.ContainsAny(v, "NI") {
			return "(" + v + ")"
		}
	case "bool":
		if g.IntN(2) == 0 {
			return map[string]string{"t": "true", "f": "false"}[v]
		}
	case "small":
		return "(" + v + ")"
	}
	switch g.IntN(6) {
	case 0:
		return quote(v)
	case 1:
		if g.IntN(4) == 0 {
			return "null"
		}
	}
	if name == "bit" {
		return "B" + quote(v)
	}
	return quote(v) + "::" + typeName(name)
}

func (g *generator) column(name string) string {
	if g.kind(name) < 0 {
		return g.literal(name)
	}
	return pick(g, []string{"c_", "d_"}) + name
}

// typed is an expression that usually has the type.
func (g *generator) typed(name string, depth int) string {
	name = g.concrete(name)
	if depth <= 0 || g.IntN(3) == 0 {
		if g.IntN(5) < 3 {
			return g.column(name)
		}
		return g.literal(name)
	}
	switch g.IntN(12) {
	case 0:
		return "coalesce(" + g.typed(name, depth-1) + ", " + g.typed(name, depth-1) + ")"
	case 1:
		return "case when " + g.boolean(depth-1) + " then " + g.typed(name, depth-1) + " else " + g.typed(name, depth-1) + " end"
	case 2:
		return "nullif(" + g.typed(name, depth-1) + ", " + g.typed(name, depth-1) + ")"
	case 3:
		return pick(g, []string{"greatest", "least"}) + "(" + g.typed(name, depth-1) + ", " + g.typed(name, depth-1) + ")"
	case 4:
		return "(" + g.any(depth-1) + ")::" + typeName(name)
	case 5:
		if name == "text" {
			return "(" + g.any(depth-1) + ")::text"
		}
	}
	return g.column(name)
}

func (g *generator) concrete(name string) string {
	switch name {
	case "anyelement", "anycompatible", "any", "anynonarray", "anycompatiblenonarray":
		return pick(g, []string{"int4", "text", "numeric", "date", "mood"})
	case "anyarray", "anycompatiblearray":
		return pick(g, []string{"_int4", "_text", "_numeric", "_date", "_mood"})
	case "anyenum":
		return "mood"
	case "anyrange", "anycompatiblerange":
		return pick(g, []string{"int4range", "numrange", "daterange"})
	}
	return name
}

func (g *generator) any(depth int) string {
	if depth <= 0 || g.IntN(4) == 0 {
		return g.typed(kinds[g.IntN(len(kinds))].name, depth)
	}
	switch g.IntN(10) {
	case 0, 1, 2:
		return g.operator(depth)
	case 3, 4, 5:
		return g.function(depth)
	case 6:
		return g.typed(kinds[g.IntN(len(kinds))].name, depth)
	case 7:
		return g.special(depth)
	}
	return g.boolean(depth)
}

// paren puts parentheses around an expression, or leaves its place to the precedences.
func (g *generator) paren(s string) string {
	if g.IntN(4) == 0 {
		return s
	}
	return "(" + s + ")"
}

// operator applies an operator by one of its signatures, or now and then to anything.
func (g *generator) operator(depth int) string {
	name := pick(g, g.operators)
	s := pick(g, where.OperatorSignatures(g.major, name))
	right := g.typed(s[1], depth-1)
	if g.IntN(12) == 0 {
		right = g.any(depth - 1)
	}
	if strings.Contains(name, "~") && !strings.Contains(name, "~~") && s[1] == "text" {
		right = g.pattern()
	}
	if s[0] == "" {
		return g.paren(name + " " + right)
	}
	return g.paren(g.typed(s[0], depth-1) + " " + name + " " + right)
}

func (g *generator) pattern() string {
	return quote(pick(g, []string{"a", "^a", "b$", "a.c", "^[a-c]+$", "[^a]", "a|b", "(a|b)c*", "x{1,2}", `\d+`, `\w`, `^\s`, "[[:alpha:]]+", "", "a{2}", `\.`, "(?i)ABC", `[0-9]`, `\yfoo\y`, "é", "a*?b", "(?:ab)+"}))
}

func (g *generator) function(depth int) string {
	name := pick(g, g.functions)
	args := []string(nil)
	for i, t := range pick(g, where.Signatures(g.major, name)) {
		switch {
		case (strings.HasPrefix(name, "extract") || name == "date_part" || name == "date_trunc") && i == 0:
			args = append(args, quote(pick(g, []string{"year", "month", "day", "hour", "minute", "second", "epoch", "dow", "isodow", "doy", "week", "quarter", "century", "decade", "millennium", "isoyear", "milliseconds", "microseconds"})))
		case name == "timezone" && i == 0 && t == "text":
			args = append(args, quote(pick(g, []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"})))
		case strings.HasPrefix(name, "regexp") && i == 1, name == "substring" && i == 1 && t == "text", name == "textregexeq" && i == 1, name == "texticregexeq":
			args = append(args, g.pattern())
		case name == "regexp_replace" && i == 3:
			args = append(args, "'g'")
		case t == "int4" && (g.IntN(2) == 0 || name == "repeat" || name == "lpad" || name == "rpad"):
			args = append(args, strconv.Itoa(g.IntN(9)-3))
		default:
			args = append(args, g.typed(t, depth-1))
		}
	}
	if name == "extract" {
		return "extract(" + args[0] + " from " + args[1] + ")"
	}
	switch name {
	case "position", "overlay", "substring", "left", "right", "like", "char", "float4", "int4", "int8", "int2", "numeric", "text", "varchar", "bpchar", "bit", "varbit", "time", "timestamp", "interval", "timestamptz", "timetz", "bool", "date", "float8":
		return "pg_catalog." + `"` + name + `"(` + strings.Join(args, ", ") + ")"
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

func (g *generator) special(depth int) string {
	a := kinds[g.IntN(len(kinds))].name
	switch g.IntN(9) {
	case 0:
		return "substring(" + g.typed("text", depth-1) + " from " + strconv.Itoa(g.IntN(6)-1) + " for " + strconv.Itoa(g.IntN(4)) + ")"
	case 1:
		return "trim(" + pick(g, []string{"", "both ", "leading ", "trailing "}) + "'ax ' from " + g.typed("text", depth-1) + ")"
	case 2:
		return "position(" + g.typed("text", depth-1) + " in " + g.typed("text", depth-1) + ")"
	case 3:
		return "array[" + g.typed(a, depth-1) + ", " + g.typed(a, depth-1) + "]"
	case 4:
		return "(" + g.column(pick(g, []string{"_int4", "_text"})) + ")[" + strconv.Itoa(g.IntN(4)) + "]"
	case 5:
		return "(" + g.column(pick(g, []string{"_int4", "_text"})) + ")[" + strconv.Itoa(g.IntN(3)) + ":" + strconv.Itoa(g.IntN(4)) + "]"
	case 6:
		return g.typed("timestamptz", depth-1) + " at time zone " + quote(pick(g, []string{"UTC", "Europe/Berlin", "Asia/Kolkata"}))
	case 7:
		return "(" + g.any(depth-1) + ")::" + pick(g, []string{"numeric(10,2)", "varchar(2)", "char(3)", "timestamp(0)", "timestamptz(2)", "bit(3)", "varbit(2)", "time(1)"})
	}
	return "overlay(" + g.typed("text", depth-1) + " placing 'zz' from " + strconv.Itoa(g.IntN(4)) + ")"
}

// boolean is a condition.
func (g *generator) boolean(depth int) string {
	if depth <= 0 {
		return g.column("bool")
	}
	a := kinds[g.IntN(len(kinds))].name
	t := func() string { return g.typed(a, depth-1) }
	not := pick(g, []string{"", "not "})
	switch g.IntN(16) {
	case 0, 1:
		return g.paren(g.boolean(depth-1) + pick(g, []string{" and ", " or "}) + g.boolean(depth-1))
	case 2:
		return "not " + g.boolean(depth-1)
	case 3:
		return "(" + t() + " is " + not + "null)"
	case 4:
		return g.paren(g.boolean(depth-1) + " is " + not + pick(g, []string{"true", "false", "unknown"}))
	case 5:
		return g.paren(t() + " is " + not + "distinct from " + t())
	case 6:
		return "(" + t() + " " + not + "in (" + t() + ", " + g.literal(a) + ", " + g.literal(a) + "))"
	case 7:
		return g.paren(t() + " " + not + "between " + pick(g, []string{"", "symmetric "}) + t() + " and " + t())
	case 8:
		return g.paren(g.typed("text", depth-1) + " " + not + pick(g, []string{"like ", "ilike "}) + quote(pick(g, []string{"a%", "%b%", "_b_", "%", "", "A%", `a\%`, "é%", "%é"})) + pick(g, []string{"", " escape '!'"}))
	case 9:
		return g.paren(g.typed("text", depth-1) + " " + not + "similar to " + quote(pick(g, []string{"a%", "(a|b)%", "_+", "%c"})))
	case 10:
		return "(" + t() + pick(g, []string{" = ", " <> ", " < ", " >= "}) + pick(g, []string{"any", "all"}) + " (" + g.typed("_"+a, depth-1) + "))"
	case 11:
		return "(" + g.operator(depth) + ")::bool"
	}
	return g.paren(t() + pick(g, []string{" = ", " <> ", " < ", " > ", " <= ", " >= "}) + t())
}
