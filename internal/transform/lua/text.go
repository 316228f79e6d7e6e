package lua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// stringLibrary is string, except dump.
func (p *Program) stringLibrary() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"byte": p.stringByte, "char": stringChar, "find": p.find, "format": p.format, "gmatch": p.gmatch, "gsub": p.gsub, "match": p.matchText,
		"rep": p.repeat, "sub": p.sub, "reverse": p.reverse,
		"len":   func(l *lua.LState) int { l.Push(lua.LNumber(len(p.check(l, 1)))); return 1 },
		"lower": func(l *lua.LState) int { l.Push(lua.LString(mapASCII(p.check(l, 1), 'A', 'Z'))); return 1 },
		"upper": func(l *lua.LState) int { l.Push(lua.LString(mapASCII(p.check(l, 1), 'a', 'z'))); return 1 },
	}
}

// check is an argument that has to be a string; numbers are taken for their text.
func (p *Program) check(l *lua.LState, n int) string {
	v := l.Get(n)
	if v.Type() != lua.LTString && !isNumber(v) {
		l.ArgError(n, "string expected, got "+typeName(v))
	}
	return p.text(l, v)
}

// mapASCII changes the case of the letters in a range. Others are bytes of UTF-8, which have no case of their own.
func mapASCII(text string, from, to byte) string {
	b := []byte(text)
	for i, c := range b {
		if from <= c && c <= to {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// span turns the places that a caller gives, which count from 1 or from the end, into a part of a text.
func span(length, from, to int) (start, end int) {
	if from < 0 {
		from = max(length+from+1, 1)
	}
	if to < 0 {
		to = length + to + 1
	}
	start, end = max(from, 1)-1, min(to, length)
	if start >= end {
		return 0, 0
	}
	return start, end
}

// place is an argument that is a place in a text, within what an int can hold.
func place(l *lua.LState, n, otherwise int) int {
	d := float64(l.OptNumber(n, lua.LNumber(otherwise)))
	const most = 1 << 40
	return int(max(min(d, most), -most))
}

func (p *Program) sub(l *lua.LState) int {
	text := p.check(l, 1)
	start, end := span(len(text), place(l, 2, 1), place(l, 3, -1))
	l.Push(lua.LString(text[start:end]))
	return 1
}

func (p *Program) stringByte(l *lua.LState) int {
	text := p.check(l, 1)
	from := place(l, 2, 1)
	start, end := span(len(text), from, place(l, 3, from))
	for _, c := range []byte(text[start:end]) {
		l.Push(lua.LNumber(c))
	}
	return end - start
}

func stringChar(l *lua.LState) int {
	b := make([]byte, l.GetTop())
	for i := range b {
		n := l.CheckInt(i + 1)
		if n < 0 || n > 255 {
			l.ArgError(i+1, "invalid value")
		}
		b[i] = byte(n) //nolint:gosec // within 0 and 255
	}
	l.Push(lua.LString(b))
	return 1
}

func (p *Program) reverse(l *lua.LState) int {
	text := p.check(l, 1)
	b := make([]byte, len(text))
	for i := range b {
		b[len(b)-1-i] = text[i]
	}
	l.Push(lua.LString(b))
	return 1
}

func (p *Program) repeat(l *lua.LState) int {
	text, n := p.check(l, 1), float64(l.CheckNumber(2))
	if !(n >= 1) || text == "" { // NaN too
		l.Push(lua.LString(""))
		return 1
	}
	p.bound(float64(len(text))*n, "rep")
	l.Push(lua.LString(strings.Repeat(text, int(n))))
	return 1
}

func (p *Program) find(l *lua.LState) int {
	text, pattern := p.check(l, 1), p.check(l, 2)
	if lua.LVAsBool(l.Get(4)) || !strings.ContainsAny(pattern, "^$*+?.([%-") {
		start, _ := from(text, place(l, 3, 1))
		at := strings.Index(text[start:], pattern)
		if at < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(start + at + 1))
		l.Push(lua.LNumber(start + at + len(pattern)))
		return 2
	}
	m, s, e := p.search(l, text, pattern)
	if e < 0 {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LNumber(s + 1))
	l.Push(lua.LNumber(e))
	return 2 + m.pushCaptures(l, s, e, false)
}

func (p *Program) matchText(l *lua.LState) int {
	text, pattern := p.check(l, 1), p.check(l, 2)
	m, s, e := p.search(l, text, pattern)
	if e < 0 {
		l.Push(lua.LNil)
		return 1
	}
	return m.pushCaptures(l, s, e, true)
}

// from is where to begin to look, within the text.
func from(text string, at int) (start int, ok bool) {
	if at < 0 {
		at = max(len(text)+at+1, 1)
	}
	start = max(at, 1) - 1
	return min(start, len(text)), start <= len(text)
}

// search looks for the first match, from the place that the third argument gives.
func (p *Program) search(l *lua.LState, text, pattern string) (m *matcher, s, e int) {
	m = &matcher{p: p, text: text, pattern: pattern}
	s, ok := from(text, place(l, 3, 1))
	if !ok {
		return m, 0, -1
	}
	return m.next(s)
}

// next looks for the first match at s or behind it.
func (m *matcher) next(s int) (*matcher, int, int) {
	anchored := strings.HasPrefix(m.pattern, "^")
	i := 0
	if anchored {
		i = 1
	}
	for ; s <= len(m.text); s++ {
		m.level, m.nested = 0, 0
		if e := m.match(s, i); e >= 0 {
			return m, s, e
		}
		if anchored {
			break
		}
	}
	return m, 0, -1
}

// pushCaptures pushes what was captured, the whole match if there are no captures and it is wanted.
func (m *matcher) pushCaptures(l *lua.LState, s, e int, whole bool) int {
	if m.level == 0 && whole {
		l.Push(lua.LString(m.text[s:e]))
		return 1
	}
	for n := range m.level {
		l.Push(m.capture(n, s, e))
	}
	return m.level
}

// capture is what was captured; 0 is the whole match if there are no captures.
func (m *matcher) capture(n, s, e int) lua.LValue {
	if n >= m.level {
		if n > 0 {
			m.fail("invalid capture index")
		}
		return lua.LString(m.text[s:e])
	}
	c := m.captures[n]
	switch c.length {
	case position:
		return lua.LNumber(c.start + 1)
	case unclosed:
		m.fail("unfinished capture")
	}
	return lua.LString(m.text[c.start : c.start+c.length])
}

func (p *Program) gmatch(l *lua.LState) int {
	m := &matcher{p: p, text: p.check(l, 1), pattern: p.check(l, 2)}
	at := 0
	if strings.HasPrefix(m.pattern, "^") { // in gmatch it is a character like others
		m.pattern = "%" + m.pattern
	}
	l.Push(l.NewFunction(func(l *lua.LState) int {
		if at > len(m.text) {
			l.Push(lua.LNil)
			return 1
		}
		_, s, e := m.next(at)
		if e < 0 {
			at = len(m.text) + 1
			l.Push(lua.LNil)
			return 1
		}
		at = e
		if e == s {
			at++
		}
		return m.pushCaptures(l, s, e, true)
	}))
	return 1
}

func (p *Program) gsub(l *lua.LState) int {
	m := &matcher{p: p, text: p.check(l, 1), pattern: p.check(l, 2)}
	replacement := l.Get(3)
	switch replacement.Type() {
	case lua.LTString, lua.LTNumber, lua.LTTable, lua.LTFunction:
	default:
		l.ArgError(3, "string/function/table expected, got "+typeName(replacement))
	}
	most := place(l, 4, len(m.text)+1)
	i := 0
	if strings.HasPrefix(m.pattern, "^") {
		i, most = 1, min(most, 1)
	}
	var b strings.Builder
	count, s := 0, 0
	for count < most {
		m.level, m.nested = 0, 0
		e := m.match(s, i)
		if e >= 0 {
			count++
			p.replace(l, m, &b, replacement, s, e)
			p.bound(float64(b.Len()), "gsub")
		}
		switch {
		case e > s:
			s = e
		case s < len(m.text):
			b.WriteByte(m.text[s])
			s++
		default:
			s++
		}
		if s > len(m.text) || i == 1 {
			break
		}
	}
	if s < len(m.text) {
		b.WriteString(m.text[s:])
	}
	l.Push(lua.LString(b.String()))
	l.Push(lua.LNumber(count))
	return 2
}

// replace writes what comes in the place of a match.
func (p *Program) replace(l *lua.LState, m *matcher, b *strings.Builder, replacement lua.LValue, s, e int) {
	var value lua.LValue
	switch x := replacement.(type) {
	case *lua.LTable:
		value = l.GetTable(x, m.capture(0, s, e))
	case *lua.LFunction:
		l.Push(x)
		n := m.pushCaptures(l, s, e, true)
		again := *m // the function may use patterns too, but not this matcher
		l.Call(n, 1)
		*m = again
		value = l.Get(-1)
		l.Pop(1)
	default:
		p.expand(m, b, p.text(l, replacement), s, e)
		return
	}
	switch {
	case lua.LVIsFalse(value):
		b.WriteString(m.text[s:e])
	case value.Type() == lua.LTString || isNumber(value):
		b.WriteString(p.text(l, value))
	default:
		l.RaiseError("invalid replacement value (a %s)", typeName(value))
	}
}

// expand writes a text in which %1 stands for a capture, %0 for the match.
func (p *Program) expand(m *matcher, b *strings.Builder, text string, s, e int) {
	for i := 0; i < len(text); i++ {
		p.step()
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch {
		case i == len(text):
			m.fail("invalid use of '%' in replacement string")
		case text[i] == '0':
			b.WriteString(m.text[s:e])
		case '1' <= text[i] && text[i] <= '9':
			b.WriteString(p.text(p.world.state, m.capture(int(text[i]-'1'), s, e)))
		default:
			b.WriteByte(text[i])
		}
		p.bound(float64(b.Len()), "gsub")
	}
}
