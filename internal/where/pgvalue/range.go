package pgvalue

import (
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
)

// Range is a range. A bound that is infinite has no value.
type Range struct {
	Empty              bool
	Lower, Upper       Value // Null: infinite
	LowerInc, UpperInc bool
}

// Range is the range in a value.
func (v Value) Range() *Range {
	if r, ok := v.P.(*Range); ok {
		return r
	}
	return &Range{Empty: true}
}

// discrete are the ranges whose bounds Postgres brings into the form [a,b).
func discrete(t *pgcatalog.Type) bool {
	return t.Schema == "" && (t.Name == "int4range" || t.Name == "int8range" || t.Name == "daterange")
}

// NewRange checks and normalises.
func NewRange(t *pgcatalog.Type, r Range) (Value, error) {
	cmp := ComparerOf(t.Subtype)
	if cmp == nil || t.Subtype.Collatable {
		return Null, unsupported("ranges of %s", t.Subtype.Display())
	}
	if r.Empty {
		return Value{P: &Range{Empty: true}}, nil
	}
	if r.Lower.Null {
		r.LowerInc = false
	}
	if r.Upper.Null {
		r.UpperInc = false
	}
	if !r.Lower.Null && !r.Upper.Null {
		c := cmp(r.Lower, r.Upper)
		if c > 0 {
			return Null, &Error{"22000", "range lower bound must be less than or equal to range upper bound"}
		}
		if c == 0 && (!r.LowerInc || !r.UpperInc) {
			return Value{P: &Range{Empty: true}}, nil
		}
	}
	if discrete(t) {
		return canonical(t, r)
	}
	return Value{P: &r}, nil
}

func canonical(t *pgcatalog.Type, r Range) (Value, error) {
	limit, name := int64(1)<<31-1, "integer"
	switch t.Name {
	case "int8range":
		limit, name = 1<<63-1, "bigint"
	case "daterange":
		limit, name = endDate-1, "date"
	}
	step := func(v *Value) error {
		if t.Name == "daterange" && (v.I == DateInf || v.I == DateMinusInf) {
			return nil
		}
		if v.I == limit {
			if name == "date" {
				return ErrDateRange
			}
			return OutOfRange(name)
		}
		v.I++
		return nil
	}
	finite := func(v Value) bool { return t.Name != "daterange" || v.I != DateInf && v.I != DateMinusInf }
	if !r.Lower.Null && !r.LowerInc && finite(r.Lower) {
		if err := step(&r.Lower); err != nil {
			return Null, err
		}
		r.LowerInc = true
	}
	if !r.Upper.Null && r.UpperInc && finite(r.Upper) {
		if err := step(&r.Upper); err != nil {
			return Null, err
		}
		r.UpperInc = false
	}
	if !r.Lower.Null && !r.Upper.Null && r.Lower.I == r.Upper.I && (!r.LowerInc || !r.UpperInc) {
		return Value{P: &Range{Empty: true}}, nil
	}
	return Value{P: &r}, nil
}

func rangeReader(t *pgcatalog.Type) Reader {
	bound := ReaderOf(t.Subtype)
	if bound == nil {
		return nil
	}
	return func(s string) (Value, error) { return parseRange(t, s, bound) }
}

func parseRange(t *pgcatalog.Type, s string, bound Reader) (Value, error) {
	bad := &Error{"22P02", "malformed range literal: " + strconv.Quote(shorten(s))}
	text := strings.Trim(s, " \t\n\r\f\v")
	if strings.EqualFold(text, "empty") {
		return NewRange(t, Range{Empty: true})
	}
	if len(text) < 3 {
		return Null, bad
	}
	r := Range{LowerInc: text[0] == '[', UpperInc: text[len(text)-1] == ']'}
	if text[0] != '[' && text[0] != '(' || text[len(text)-1] != ']' && text[len(text)-1] != ')' {
		return Null, bad
	}
	body := text[1 : len(text)-1]
	low, rest, lowGiven, ok := rangeBound(body)
	if !ok || !strings.HasPrefix(rest, ",") {
		return Null, bad
	}
	high, rest, highGiven, ok := rangeBound(rest[1:])
	if !ok || rest != "" {
		return Null, bad
	}
	r.Lower, r.Upper = Null, Null
	var err error
	if lowGiven {
		if r.Lower, err = bound(low); err != nil {
			return Null, err
		}
	}
	if highGiven {
		if r.Upper, err = bound(high); err != nil {
			return Null, err
		}
	}
	return NewRange(t, r)
}

// rangeBound reads up to a comma that is not quoted.
func rangeBound(s string) (text, rest string, given, ok bool) {
	var b strings.Builder
	inside := false
	i := 0
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			i++
			if i >= len(s) {
				return "", "", false, false
			}
			b.WriteByte(s[i])
			given = true
		case c == '"' && inside && i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			inside = !inside
			given = true
		case !inside && c == ',':
			return b.String(), s[i:], given || b.Len() > 0, true
		case !inside && strings.IndexByte("()[]", c) >= 0:
			return "", "", false, false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), s[i:], given || b.Len() > 0, !inside
}

func rangeWriter(t *pgcatalog.Type) Writer {
	bound := WriterOf(t.Subtype)
	if bound == nil {
		return nil
	}
	return func(v Value) string {
		r := v.Range()
		if r.Empty {
			return "empty"
		}
		var b strings.Builder
		b.WriteByte("(["[index(r.LowerInc)])
		writeBound(&b, r.Lower, bound)
		b.WriteByte(',')
		writeBound(&b, r.Upper, bound)
		b.WriteByte(")]"[index(r.UpperInc)])
		return b.String()
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func writeBound(b *strings.Builder, v Value, bound Writer) {
	if v.Null {
		return
	}
	s := bound(v)
	if s != "" && !strings.ContainsAny(s, "\"\\()[], \t\n\r\f\v") {
		b.WriteString(s)
		return
	}
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte(s[i])
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}

// Bounds of a range, for comparisons.
type bound struct {
	value     Value
	inclusive bool
	lower     bool
}

func (r *Range) low() bound  { return bound{r.Lower, r.LowerInc, true} }
func (r *Range) high() bound { return bound{r.Upper, r.UpperInc, false} }

// compareBounds is range_cmp_bounds.
func compareBounds(a, b bound, cmp Comparer) int {
	switch {
	case a.value.Null && b.value.Null:
		if a.lower == b.lower {
			return 0
		}
		if a.lower {
			return -1
		}
		return 1
	case a.value.Null:
		if a.lower {
			return -1
		}
		return 1
	case b.value.Null:
		if b.lower {
			return 1
		}
		return -1
	}
	c := cmp(a.value, b.value)
	if c != 0 {
		return c
	}
	switch {
	case !a.inclusive && !b.inclusive:
		if a.lower == b.lower {
			return 0
		}
		if a.lower {
			return 1
		}
		return -1
	case !a.inclusive:
		if a.lower {
			return 1
		}
		return -1
	case !b.inclusive:
		if b.lower {
			return -1
		}
		return 1
	}
	return 0
}

func rangeComparer(t *pgcatalog.Type) Comparer {
	cmp := ComparerOf(t.Subtype)
	if cmp == nil || t.Subtype.Collatable {
		return nil
	}
	return func(a, b Value) int {
		x, y := a.Range(), b.Range()
		switch {
		case x.Empty && y.Empty:
			return 0
		case x.Empty:
			return -1
		case y.Empty:
			return 1
		}
		if c := compareBounds(x.low(), y.low(), cmp); c != 0 {
			return c
		}
		return compareBounds(x.high(), y.high(), cmp)
	}
}

// RangeContainsElem reports whether a range holds a value.
func RangeContainsElem(r *Range, v Value, cmp Comparer) bool {
	if r.Empty {
		return false
	}
	if !r.Lower.Null {
		if c := cmp(r.Lower, v); c > 0 || c == 0 && !r.LowerInc {
			return false
		}
	}
	if !r.Upper.Null {
		if c := cmp(r.Upper, v); c < 0 || c == 0 && !r.UpperInc {
			return false
		}
	}
	return true
}

// RangeContains reports whether a holds all of b.
func RangeContains(a, b *Range, cmp Comparer) bool {
	switch {
	case b.Empty:
		return true
	case a.Empty:
		return false
	}
	return compareBounds(a.low(), b.low(), cmp) <= 0 && compareBounds(a.high(), b.high(), cmp) >= 0
}

// RangeOverlaps reports whether two ranges have a value in common.
func RangeOverlaps(a, b *Range, cmp Comparer) bool {
	if a.Empty || b.Empty {
		return false
	}
	if compareBounds(a.low(), b.low(), cmp) >= 0 {
		return compareBounds(a.low(), b.high(), cmp) <= 0
	}
	return compareBounds(b.low(), a.high(), cmp) <= 0
}

// RangeBefore reports whether a ends before b begins.
func RangeBefore(a, b *Range, cmp Comparer) bool {
	return !a.Empty && !b.Empty && compareBounds(a.high(), b.low(), cmp) < 0
}
