package where

import (
	"fmt"
	"maps"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

// builtins are the functions that are done here, by the name of their code in the server.
var builtins = allBuiltins()

func allBuiltins() map[string]builtin {
	all := map[string]builtin{}
	for _, part := range []map[string]builtin{
		comparisons(), integers(), floats(), numerics(), texts(), textParts(), patterns(), datetimes(), dateParts(), zones(), arrays(), jsons(), ranges(), networks(), bitStrings(), casts(),
	} {
		maps.Copy(all, part)
	}
	return all
}

func errUnsupported(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), pgvalue.ErrUnsupported)
}

func errLabel(label string) error {
	return errUnsupported("the label %q was added to the enum after the condition was saved; save it again", label)
}

func isBool(b bool) (value, error) { return pgvalue.Bool(b), nil }

// tests of the result of a comparison, by the suffix of the functions' names.
var relations = map[string]func(int) bool{
	"eq": func(c int) bool { return c == 0 },
	"ne": func(c int) bool { return c != 0 },
	"lt": func(c int) bool { return c < 0 },
	"le": func(c int) bool { return c <= 0 },
	"gt": func(c int) bool { return c > 0 },
	"ge": func(c int) bool { return c >= 0 },
}

// comparisons are = <> < <= > >= of all types.
func comparisons() map[string]builtin {
	all := map[string]builtin{}
	family := func(pattern string, compare func(a, b value) int) {
		for suffix, holds := range relations {
			all[strings.ReplaceAll(pattern, "*", suffix)] = builtin{fn2: func(a, b value) (value, error) { return pgvalue.Bool(holds(compare(a, b))), nil }}
		}
	}
	byInt := func(a, b value) int {
		switch {
		case a.I < b.I:
			return -1
		case a.I > b.I:
			return 1
		}
		return 0
	}
	byText := func(a, b value) int { return strings.Compare(a.S, b.S) }
	for _, p := range []string{
		"bool*", "int2*", "int4*", "int8*", "int24*", "int42*", "int28*", "int82*", "int48*", "int84*", "oid*", "date_*", "time_*", "timestamp_*",
		"timestamp_*_timestamptz", "timestamptz_*_timestamp",
	} {
		family(p, byInt)
	}
	for _, p := range []string{"float4*", "float8*", "float48*", "float84*"} {
		family(p, pgvalue.CompareFloat)
	}
	family("numeric_*", pgvalue.CompareNumeric)
	for _, p := range []string{"uuid_*", "bytea*", "macaddr_*", "bit*"} {
		family(p, byText)
	}
	family("timetz_*", pgvalue.CompareTimeTZ)
	family("interval_*", pgvalue.CompareInterval)
	family("network_*", pgvalue.CompareInet)
	for suffix, holds := range relations {
		compare := func(a, b value) (value, error) {
			ts, err := pgvalue.DateToTimestamp(a.I)
			if err != nil {
				return ts, errUnsupported("a comparison of a date after all timestamps") // an error before 13
			}
			return isBool(holds(byInt(ts, b)))
		}
		reverse := func(a, b value) (value, error) {
			ts, err := pgvalue.DateToTimestamp(b.I)
			if err != nil {
				return ts, errUnsupported("a comparison of a date after all timestamps")
			}
			return isBool(holds(byInt(a, ts)))
		}
		all["date_"+suffix+"_timestamp"], all["date_"+suffix+"_timestamptz"] = builtin{fn2: compare}, builtin{fn2: compare}
		all["timestamp_"+suffix+"_date"], all["timestamptz_"+suffix+"_date"] = builtin{fn2: reverse}, builtin{fn2: reverse}
	}
	texts := func(pattern string, compare func(a, b value) int) {
		family(pattern, compare)
		for suffix := range relations {
			name := strings.ReplaceAll(pattern, "*", suffix)
			b := all[name]
			b.need = needsOrder
			if suffix == "eq" || suffix == "ne" {
				b.need = needsEquality
			}
			all[name] = b
		}
	}
	texts("text*", byText)
	texts("text_*", byText)
	trimmed := func(a, b value) int { return strings.Compare(strings.TrimRight(a.S, " "), strings.TrimRight(b.S, " ")) }
	texts("bpchar*", trimmed)
	texts("name*", byText)
	texts("nameeqtext", byText)
	for suffix := range relations {
		for _, pair := range []string{"nametext", "textname"} {
			b := all["text"+suffix]
			all[strings.Replace(pair, "name", "name"+suffix, 1)] = b
			all[strings.Replace(pair, "text", "text"+suffix, 1)] = b
		}
	}
	for suffix, holds := range relations {
		all["enum_"+suffix] = enumComparison(suffix, holds)
		all["array_"+suffix] = arrayComparison(suffix, holds)
		all["range_"+suffix] = rangeComparison(holds)
	}
	all["jsonb_eq"] = builtin{fn2: func(a, b value) (value, error) { return isBool(pgvalue.EqualJSONB(a, b)) }}
	all["jsonb_ne"] = builtin{fn2: func(a, b value) (value, error) { return isBool(!pgvalue.EqualJSONB(a, b)) }}
	for suffix, holds := range relations {
		name := "text_pattern_" + suffix
		all[name] = builtin{fn2: func(a, b value) (value, error) { return isBool(holds(byText(a, b))) }, bytes: true}
		all["bpchar_pattern_"+suffix] = builtin{fn2: func(a, b value) (value, error) { return isBool(holds(trimmed(a, b))) }, bytes: true}
	}
	return all
}

func enumComparison(suffix string, holds func(int) bool) builtin {
	switch suffix {
	case "eq":
		return builtin{fn2: func(a, b value) (value, error) { return isBool(a.S == b.S) }}
	case "ne":
		return builtin{fn2: func(a, b value) (value, error) { return isBool(a.S != b.S) }}
	}
	return builtin{fn2: func(a, b value) (value, error) {
		if a.I < 0 {
			return pgvalue.Null, errLabel(a.S)
		}
		if b.I < 0 {
			return pgvalue.Null, errLabel(b.S)
		}
		return isBool(holds(int(a.I - b.I)))
	}}
}

func arrayComparison(suffix string, holds func(int) bool) builtin {
	return builtin{build: func(g *building) error {
		elem := g.args[0].typ.BaseType().Elem
		cmp := pgvalue.ComparerOf(elem)
		base := elem.BaseType()
		order := suffix != "eq" && suffix != "ne"
		if cmp == nil || order && (base.Name == "jsonb" || base.Kind == 'e') || base.Kind == 'm' {
			return refuse(g.pos, "", "comparisons of %s are not supported", g.args[0].typ.Display())
		}
		if base.Kind == 'e' {
			cmp = func(a, b value) int { return strings.Compare(a.S, b.S) }
		}
		if base.Collatable {
			g.result.need = needsEquality
			if order {
				g.result.need = needsOrder
			}
		}
		g.result.fn2 = func(a, b value) (value, error) { return isBool(holds(pgvalue.CompareArrays(a, b, cmp))) }
		return nil
	}}
}

func rangeComparison(holds func(int) bool) builtin {
	return builtin{build: func(g *building) error {
		cmp := pgvalue.ComparerOf(g.args[0].typ)
		if cmp == nil {
			return refuse(g.pos, "", "comparisons of %s are not supported", g.args[0].typ.Display())
		}
		g.result.fn2 = func(a, b value) (value, error) { return isBool(holds(cmp(a, b))) }
		return nil
	}}
}
