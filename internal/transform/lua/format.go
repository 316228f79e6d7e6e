package lua

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// maxWidth bounds widths and precisions, as Lua does.
const maxWidth = 99

// format is string.format.
func (p *Program) format(l *lua.LState) int {
	text := p.check(l, 1)
	var b strings.Builder
	argument := 1
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i < len(text) && text[i] == '%' {
			b.WriteByte('%')
			continue
		}
		start := i
		for i < len(text) && strings.IndexByte("-+ #0", text[i]) >= 0 {
			i++
		}
		for i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] == '.') {
			i++
		}
		if i == len(text) {
			l.RaiseError("invalid conversion '%%%s' to 'format'", text[start:])
		}
		argument++
		p.convert(l, &b, checkSpec(l, text[start:i]), text[i], argument)
		p.bound(float64(b.Len()), "format")
	}
	l.Push(lua.LString(b.String()))
	return 1
}

// checkSpec is flags, width and precision with a percent sign before them.
func checkSpec(l *lua.LState, spec string) string {
	parts := strings.Split(strings.TrimLeft(spec, "-+ #0"), ".")
	for _, part := range parts {
		if n, err := strconv.Atoi(part); len(parts) > 2 || part != "" && (err != nil || n > maxWidth) {
			l.RaiseError("invalid conversion '%%%s' to 'format': width and precision end at %d", spec, maxWidth)
		}
	}
	return "%" + spec
}

func (p *Program) convert(l *lua.LState, b *strings.Builder, spec string, verb byte, argument int) {
	v := l.Get(argument)
	if argument > l.GetTop() {
		l.ArgError(argument, "no value")
	}
	switch verb {
	case 'd', 'i':
		fmt.Fprintf(b, spec+"d", p.integerArgument(l, argument))
	case 'u', 'x', 'X', 'o':
		n := p.integerArgument(l, argument)
		if n.Sign() < 0 { // as an unsigned integer of 64 bits
			n = new(big.Int).SetUint64(uint64(n.Int64())) //nolint:gosec // that is what C does
		}
		if verb == 'u' {
			verb = 'd'
		}
		fmt.Fprintf(b, spec+string(verb), n)
	case 'c':
		n := l.CheckInt(argument)
		fmt.Fprintf(b, spec+"s", string([]byte{byte(n)})) //nolint:gosec // a byte, as C has it
	case 'e', 'E', 'f', 'g', 'G':
		o, ok := p.operand(v)
		if !ok {
			l.ArgError(argument, "number expected, got "+typeName(v))
		}
		writeDouble(b, spec, verb, o.double)
	case 'q':
		b.WriteString(quote(p.check(l, argument)))
	case 's':
		text := p.text(l, v)
		if spec == "%" {
			b.WriteString(text)
		} else {
			b.WriteString(padded(spec, text))
		}
	default:
		l.RaiseError("invalid conversion '%s%c' to 'format'", spec, verb)
	}
}

// padded is a text with the width and precision of a conversion, which count bytes.
func padded(spec, text string) string {
	left := strings.Contains(spec, "-")
	width, precision, cut := strings.Cut(strings.TrimLeft(spec[1:], "-+ #0"), ".")
	if n, _ := strconv.Atoi(precision); cut && n < len(text) {
		text = text[:n]
	}
	n, _ := strconv.Atoi(width)
	space := strings.Repeat(" ", max(n-len(text), 0))
	if left {
		return text + space
	}
	return space + text
}

// writeDouble writes a double as C does, which spells infinity in another way than Go.
func writeDouble(b *strings.Builder, spec string, verb byte, d float64) {
	if math.IsInf(d, 0) || math.IsNaN(d) {
		text := strings.ToLower(strings.TrimPrefix(fmt.Sprint(d), "+"))
		spec, _, _ = strings.Cut(spec, ".")
		b.WriteString(padded(spec, text))
		return
	}
	if (verb == 'g' || verb == 'G') && !strings.Contains(spec, ".") {
		spec += ".6" // Go would give all digits
	}
	fmt.Fprintf(b, spec+string(verb), d)
}

// integerArgument is a number without its fraction.
func (p *Program) integerArgument(l *lua.LState, argument int) *big.Int {
	o, ok := p.operand(l.Get(argument))
	switch {
	case !ok:
		l.ArgError(argument, "number expected, got "+typeName(l.Get(argument)))
	case o.integer != nil:
		return o.integer
	case math.IsNaN(o.double) || math.IsInf(o.double, 0) || math.Abs(o.double) > 1e18:
		l.ArgError(argument, "number has no integer representation")
	}
	return big.NewInt(int64(o.double))
}

// quote is a string as Lua code would say it.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\000`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
