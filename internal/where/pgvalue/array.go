package pgvalue

import (
	"strconv"
	"strings"
)

// Array is an array's elements in row-major order, with the length and the lower bound of each dimension; none for an empty array.
type Array struct {
	Dims  []int
	Lower []int
	Elems []Value
}

var emptyArray = &Array{}

// ArrayOf makes an array of one dimension.
func ArrayOf(elems []Value) Value {
	if len(elems) == 0 {
		return Value{P: emptyArray}
	}
	return Value{P: &Array{Dims: []int{len(elems)}, Lower: []int{1}, Elems: elems}}
}

// Array is the array in a value.
func (v Value) Array() *Array {
	if a, ok := v.P.(*Array); ok {
		return a
	}
	return emptyArray
}

const maxDims = 6

func malformed(s string) error {
	return &Error{"22P02", "malformed array literal: " + strconv.Quote(shorten(s))}
}

type arrayParser struct {
	s     string
	i     int
	delim byte
	elem  Reader
	dims  []int
	out   []Value
	depth int // of the elements, once one was seen
}

// ParseArray reads an array's text.
func ParseArray(s string, elem Reader, delim byte) (Value, error) {
	p := &arrayParser{s: s, delim: delim, elem: elem, depth: -1}
	p.blank()
	lower, lengths, err := p.bounds()
	if err != nil {
		return Null, err
	}
	if err := p.level(0); err != nil {
		return Null, err
	}
	p.blank()
	if p.i != len(s) {
		return Null, malformed(s)
	}
	if len(p.out) == 0 {
		return Value{P: emptyArray}, nil
	}
	if lower == nil {
		for range p.dims {
			lower = append(lower, 1)
		}
	} else {
		if len(lower) != len(p.dims) {
			return Null, malformed(s)
		}
		for i := range lengths {
			if lengths[i] != p.dims[i] {
				return Null, malformed(s)
			}
		}
	}
	return Value{P: &Array{Dims: p.dims, Lower: lower, Elems: p.out}}, nil
}

func (p *arrayParser) blank() {
	for p.i < len(p.s) && strings.IndexByte(" \t\n\r\f\v", p.s[p.i]) >= 0 {
		p.i++
	}
}

// bounds reads [0:2]= before the braces.
func (p *arrayParser) bounds() (lower, lengths []int, err error) {
	if p.i >= len(p.s) || p.s[p.i] != '[' {
		return nil, nil, nil
	}
	head, _, ok := strings.Cut(p.s[p.i:], "=")
	if !ok {
		return nil, nil, malformed(p.s)
	}
	p.i += len(head) + 1
	for part := range strings.SplitSeq(strings.Trim(head, "[] "), "][") {
		low, high, ok := strings.Cut(part, ":")
		if !ok {
			low, high = "1", part
		}
		a, errA := strconv.Atoi(low)
		b, errB := strconv.Atoi(high)
		if errA != nil || errB != nil || b < a || len(lower) == maxDims {
			return nil, nil, malformed(p.s)
		}
		lower, lengths = append(lower, a), append(lengths, b-a+1)
	}
	return lower, lengths, nil
}

func (p *arrayParser) level(depth int) error {
	p.blank()
	if p.i >= len(p.s) || p.s[p.i] != '{' || depth == maxDims {
		return malformed(p.s)
	}
	p.i++
	n := 0
	p.blank()
	if p.i < len(p.s) && p.s[p.i] == '}' {
		p.i++
		if depth > 0 {
			return unsupported("nested empty braces in an array")
		}
		return nil
	}
	for {
		if err := p.item(depth); err != nil {
			return err
		}
		n++
		p.blank()
		if p.i >= len(p.s) {
			return malformed(p.s)
		}
		c := p.s[p.i]
		p.i++
		if c == '}' {
			break
		}
		if c != p.delim {
			return malformed(p.s)
		}
	}
	for len(p.dims) <= depth {
		p.dims = append(p.dims, -1)
	}
	if p.dims[depth] == -1 {
		p.dims[depth] = n
	}
	if p.dims[depth] != n {
		return malformed(p.s)
	}
	return nil
}

func (p *arrayParser) item(depth int) error {
	p.blank()
	if p.i < len(p.s) && p.s[p.i] == '{' {
		if p.depth >= 0 && depth >= p.depth {
			return malformed(p.s)
		}
		return p.level(depth + 1)
	}
	if p.depth < 0 {
		p.depth = depth
	}
	if p.depth != depth {
		return malformed(p.s)
	}
	text, quoted, err := p.text()
	if err != nil {
		return err
	}
	if !quoted && strings.EqualFold(text, "null") {
		p.out = append(p.out, Null)
		return nil
	}
	v, err := p.elem(text)
	p.out = append(p.out, v)
	return err
}

// text reads one element; quoted tells whether any of it was quoted.
func (p *arrayParser) text() (text string, quoted bool, err error) {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(`{}"\`, p.s[p.i]) < 0 && p.s[p.i] != p.delim { // the plain case
		p.i++
	}
	if p.i < len(p.s) && (p.s[p.i] == '}' || p.s[p.i] == p.delim) {
		text = strings.TrimRight(p.s[start:p.i], " \t\n\r\f\v")
		if text == "" {
			return "", false, malformed(p.s)
		}
		return text, false, nil
	}
	p.i = start
	var b strings.Builder
	inside, keep := false, 0
	closed := false // a quoted element is over
	for p.i < len(p.s) {
		c := p.s[p.i]
		if !inside && (closed && c != p.delim && c != '}' && strings.IndexByte(" \t\n\r\f\v", c) < 0 || c == '"' && p.i > start) {
			return "", false, malformed(p.s)
		}
		closed = closed || c == '"' && inside
		switch {
		case c == '\\':
			p.i++
			if p.i >= len(p.s) {
				return "", false, malformed(p.s)
			}
			b.WriteByte(p.s[p.i])
			quoted, keep = true, b.Len()
		case c == '"':
			inside = !inside
			quoted, keep = true, b.Len()
		case inside:
			b.WriteByte(c)
			keep = b.Len()
		case c == '}' || c == p.delim:
			s := b.String()
			return s[:keep] + strings.TrimRight(s[keep:], " \t\n\r\f\v"), quoted, nil
		case c == '{':
			return "", false, malformed(p.s)
		default:
			b.WriteByte(c)
		}
		p.i++
	}
	return "", false, malformed(p.s)
}

// FormatArray prints an array.
func FormatArray(v Value, elem Writer, delim byte) string {
	a := v.Array()
	if len(a.Elems) == 0 {
		return "{}"
	}
	var b strings.Builder
	odd := false
	for _, l := range a.Lower {
		odd = odd || l != 1
	}
	if odd {
		for i := range a.Dims {
			b.WriteString("[" + strconv.Itoa(a.Lower[i]) + ":" + strconv.Itoa(a.Lower[i]+a.Dims[i]-1) + "]")
		}
		b.WriteByte('=')
	}
	i := 0
	var level func(depth int)
	level = func(depth int) {
		b.WriteByte('{')
		for n := range a.Dims[depth] {
			if n > 0 {
				b.WriteByte(delim)
			}
			if depth+1 < len(a.Dims) {
				level(depth + 1)
				continue
			}
			writeElement(&b, a.Elems[i], elem, delim)
			i++
		}
		b.WriteByte('}')
	}
	level(0)
	return b.String()
}

func writeElement(b *strings.Builder, v Value, elem Writer, delim byte) {
	if v.Null {
		b.WriteString("NULL")
		return
	}
	s := elem(v)
	if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{}\"\\ \t\n\r\f\v") && strings.IndexByte(s, delim) < 0 {
		b.WriteString(s)
		return
	}
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}

// CompareArrays orders by elements, then by number of elements, dimensions and bounds. Nulls are equal, and greater than everything else.
func CompareArrays(x, y Value, elem Comparer) int {
	a, b := x.Array(), y.Array()
	for i := 0; i < len(a.Elems) && i < len(b.Elems); i++ {
		p, q := a.Elems[i], b.Elems[i]
		switch {
		case p.Null && q.Null:
			continue
		case p.Null:
			return 1
		case q.Null:
			return -1
		}
		if c := elem(p, q); c != 0 {
			return c
		}
	}
	if c := compareInt(int64(len(a.Elems)), int64(len(b.Elems))); c != 0 {
		return c
	}
	if c := compareInt(int64(len(a.Dims)), int64(len(b.Dims))); c != 0 {
		return c
	}
	for i := range a.Dims {
		if c := compareInt(int64(a.Dims[i]), int64(b.Dims[i])); c != 0 {
			return c
		}
	}
	for i := range a.Lower {
		if c := compareInt(int64(a.Lower[i]), int64(b.Lower[i])); c != 0 {
			return c
		}
	}
	return 0
}

// Index is the element at the subscripts, null outside.
func (a *Array) Index(subs []int64) Value {
	if len(subs) != len(a.Dims) {
		return Null
	}
	at := 0
	for i, s := range subs {
		n := s - int64(a.Lower[i])
		if n < 0 || n >= int64(a.Dims[i]) {
			return Null
		}
		at = at*a.Dims[i] + int(n)
	}
	return a.Elems[at]
}
