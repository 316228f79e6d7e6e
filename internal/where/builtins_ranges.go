package where

import (
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

// ofBounds makes a function of two ranges, or of a range and an element.
func ofBounds(f func(cmp pgvalue.Comparer) func(a, b value) bool) builtin {
	return builtin{build: func(g *building) error {
		cmp, err := boundsOrder(g)
		if (g.call.Source == "range_contains_elem" || g.call.Source == "elem_contained_by_range") && g.catalog.Major >= 17 {
			for _, a := range g.args { // from 17 on the planner answers for these without looking at the element, null or not
				if r := a.val.Range(); a.constant && !a.val.Null && a.typ.BaseType().Kind == 'r' && (r.Empty || r.Lower.Null && r.Upper.Null) {
					return refuse(a.pos, "", "a constant range that holds nothing, or everything, is not supported here")
				}
			}
		}
		g.result.fn2 = func(a, b value) (value, error) { return isBool(f(cmp)(a, b)) }
		return err
	}}
}

func boundsOrder(g *building) (pgvalue.Comparer, error) {
	var t *pgcatalog.Type
	for _, a := range g.args {
		if base := a.typ.BaseType(); base.Kind == 'r' {
			t = base
		}
	}
	if t == nil || pgvalue.ComparerOf(t) == nil {
		return nil, refuse(g.pos, "", "ranges of that type are not supported")
	}
	return pgvalue.ComparerOf(t.Subtype), nil
}

func rangeBool(f func(r *pgvalue.Range) bool) builtin {
	return builtin{fn1: func(v value) (value, error) { return isBool(f(v.Range())) }}
}

func ranges() map[string]builtin {
	two := func(f func(a, b *pgvalue.Range, cmp pgvalue.Comparer) bool) builtin {
		return ofBounds(func(cmp pgvalue.Comparer) func(a, b value) bool {
			return func(a, b value) bool { return f(a.Range(), b.Range(), cmp) }
		})
	}
	swapped := func(f func(a, b *pgvalue.Range, cmp pgvalue.Comparer) bool) func(a, b *pgvalue.Range, cmp pgvalue.Comparer) bool {
		return func(a, b *pgvalue.Range, cmp pgvalue.Comparer) bool { return f(b, a, cmp) }
	}
	return map[string]builtin{
		"range_contains":     two(pgvalue.RangeContains),
		"range_contained_by": two(swapped(pgvalue.RangeContains)),
		"range_overlaps":     two(pgvalue.RangeOverlaps),
		"range_before":       two(pgvalue.RangeBefore),
		"range_after":        two(swapped(pgvalue.RangeBefore)),
		"range_contains_elem": ofBounds(func(cmp pgvalue.Comparer) func(a, b value) bool {
			return func(a, b value) bool { return pgvalue.RangeContainsElem(a.Range(), b, cmp) }
		}),
		"elem_contained_by_range": ofBounds(func(cmp pgvalue.Comparer) func(a, b value) bool {
			return func(a, b value) bool { return pgvalue.RangeContainsElem(b.Range(), a, cmp) }
		}),
		"range_lower": {fn1: func(v value) (value, error) {
			if r := v.Range(); !r.Empty {
				return r.Lower, nil
			}
			return pgvalue.Null, nil
		}},
		"range_upper": {fn1: func(v value) (value, error) {
			if r := v.Range(); !r.Empty {
				return r.Upper, nil
			}
			return pgvalue.Null, nil
		}},
		"range_empty":     rangeBool(func(r *pgvalue.Range) bool { return r.Empty }),
		"range_lower_inc": rangeBool(func(r *pgvalue.Range) bool { return r.LowerInc }),
		"range_upper_inc": rangeBool(func(r *pgvalue.Range) bool { return r.UpperInc }),
		"range_lower_inf": rangeBool(func(r *pgvalue.Range) bool { return !r.Empty && r.Lower.Null }),
		"range_upper_inf": rangeBool(func(r *pgvalue.Range) bool { return !r.Empty && r.Upper.Null }),
	}
}

func networks() map[string]builtin {
	two := func(f func(a, b *pgvalue.Inet) bool) builtin {
		return builtin{fn2: func(a, b value) (value, error) { return isBool(f(a.Inet(), b.Inet())) }}
	}
	return map[string]builtin{
		"network_sub":     two(func(a, b *pgvalue.Inet) bool { return pgvalue.InetContains(b, a, true) }),
		"network_subeq":   two(func(a, b *pgvalue.Inet) bool { return pgvalue.InetContains(b, a, false) }),
		"network_sup":     two(func(a, b *pgvalue.Inet) bool { return pgvalue.InetContains(a, b, true) }),
		"network_supeq":   two(func(a, b *pgvalue.Inet) bool { return pgvalue.InetContains(a, b, false) }),
		"network_overlap": two(pgvalue.InetOverlaps),
		"network_family": {fn1: func(v value) (value, error) {
			if v.Inet().Addr.Is4() {
				return pgvalue.Int(4), nil
			}
			return pgvalue.Int(6), nil
		}},
		"network_masklen": {fn1: func(v value) (value, error) { return pgvalue.Int(int64(v.Inet().Bits)), nil }},
		"network_host":    {fn1: func(v value) (value, error) { return pgvalue.Text(v.Inet().Addr.String()), nil }},
		"network_show": {fn1: func(v value) (value, error) {
			a := *v.Inet()
			a.CIDR = true
			return pgvalue.Text(pgvalue.FormatInet(value{P: &a})), nil
		}},
	}
}

func bitOp(f func(a, b byte) byte, word string) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		if len(a.S) != len(b.S) {
			return pgvalue.Null, &pgvalue.Error{Code: "22026", Message: "cannot " + word + " bit strings of different sizes"}
		}
		out := make([]byte, len(a.S))
		for i := range out {
			out[i] = '0' + f(a.S[i]-'0', b.S[i]-'0')
		}
		return pgvalue.Text(string(out)), nil
	}}
}

func bitStrings() map[string]builtin {
	return map[string]builtin{
		"bit_and": bitOp(func(a, b byte) byte { return a & b }, "AND"),
		"bit_or":  bitOp(func(a, b byte) byte { return a | b }, "OR"),
		"bitxor":  bitOp(func(a, b byte) byte { return a ^ b }, "XOR"),
		"bitnot": text1(func(s string) string {
			return strings.Map(func(r rune) rune { return '0' + '1' - r }, s)
		}),
		"bitcat":         {fn2: concatenate},
		"bitlength":      int1(func(s string) int64 { return int64(len(s)) }),
		"bitoctetlength": int1(func(s string) int64 { return int64(len(s)+7) / 8 }),
		"bitgetbit": {fn2: func(a, b value) (value, error) {
			if b.I < 0 || b.I >= int64(len(a.S)) {
				return pgvalue.Null, &pgvalue.Error{Code: "2202E", Message: "bit index out of valid range"}
			}
			return pgvalue.Int(int64(a.S[b.I] - '0')), nil
		}},
	}
}
