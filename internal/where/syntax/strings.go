package syntax

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

func bigFrom(n int) *big.Int { return big.NewInt(int64(n)) }

// stringToken reads a string and those that continue it: further quotes after white space with a line's end in it.
func (l *lexer) stringToken(k kind, read func() (string, *Error)) (token, *Error) {
	start := l.pos
	first, err := read()
	if err != nil {
		return token{}, err
	}
	parts := []string{first}
	for {
		before := l.pos
		newline, err := l.skip()
		if err != nil {
			return token{}, err
		}
		if !newline || l.peek(0) != '\'' {
			l.pos = before
			break
		}
		more, err := read()
		if err != nil {
			return token{}, err
		}
		parts = append(parts, more)
	}
	text := strings.Join(parts, "")
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return token{}, errorAt(start, "", "the string is not valid UTF-8")
	}
	return token{kind: k, text: text}, nil
}

func (l *lexer) quoted() (string, *Error) { return l.delimited('\'') }

// delimited reads up to the closing quote; a doubled one stands for itself.
func (l *lexer) delimited(quote byte) (string, *Error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.text); l.pos++ {
		c := l.text[l.pos]
		if c != quote {
			b.WriteByte(c)
			continue
		}
		if l.peek(1) != quote {
			l.pos++
			return b.String(), nil
		}
		b.WriteByte(quote)
		l.pos++
	}
	return "", errorAt(start, "end it with "+string(quote), "a quoted text is not ended")
}

// escaped reads the body of E'…'.
func (l *lexer) escaped() (string, *Error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.text); {
		c := l.text[l.pos]
		switch {
		case c == '\'' && l.peek(1) == '\'':
			b.WriteByte('\'')
			l.pos += 2
		case c == '\'':
			l.pos++
			return b.String(), nil
		case c == '\\':
			if err := l.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			l.pos++
		}
	}
	return "", errorAt(start, "end it with '", "a quoted text is not ended")
}

func (l *lexer) escape(b *strings.Builder) *Error {
	start := l.pos
	c := l.peek(1)
	l.pos += 2
	switch {
	case c == 0:
		return errorAt(start, "end it with '", "a quoted text is not ended")
	case c == 'b':
		b.WriteByte('\b')
	case c == 'f':
		b.WriteByte('\f')
	case c == 'n':
		b.WriteByte('\n')
	case c == 'r':
		b.WriteByte('\r')
	case c == 't':
		b.WriteByte('\t')
	case c == 'v':
		b.WriteByte('\v')
	case c >= '0' && c <= '7':
		l.pos--
		n := l.run(3, "01234567")
		v, _ := strconv.ParseUint(n, 8, 16)
		b.WriteByte(byte(v)) //nolint:gosec // Postgres keeps the low byte too
	case c == 'x' && strings.IndexByte("0123456789abcdefABCDEF", l.peek(0)) >= 0 && l.peek(0) != 0:
		v, _ := strconv.ParseUint(l.run(2, "0123456789abcdefABCDEF"), 16, 8)
		b.WriteByte(byte(v))
	case c == 'u' || c == 'U':
		n := 4
		if c == 'U' {
			n = 8
		}
		digits := l.run(n, "0123456789abcdefABCDEF")
		return l.rune(b, start, digits, n)
	default:
		b.WriteByte(c)
	}
	return nil
}

// run takes up to n characters of a set.
func (l *lexer) run(n int, set string) string {
	start := l.pos
	for l.pos < len(l.text) && l.pos-start < n && strings.IndexByte(set, l.text[l.pos]) >= 0 {
		l.pos++
	}
	return l.text[start:l.pos]
}

// rune writes a character that is given by its number. Pairs of surrogates are refused: the character itself can be written.
func (l *lexer) rune(b *strings.Builder, start int, digits string, n int) *Error {
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != n || v == 0 || v > utf8.MaxRune || v >= 0xD800 && v < 0xE000 {
		return errorAt(start, "write the character itself", "the Unicode escape is not valid")
	}
	b.WriteRune(rune(v))
	return nil
}

// unicode reads U&'…' and U&"…", with UESCAPE behind them.
func (l *lexer) unicode() (token, *Error) {
	start := l.pos
	l.pos += 2
	k, raw := tQuoted, ""
	if l.peek(0) == '\'' {
		t, err := l.stringToken(tString, l.quoted)
		if err != nil {
			return t, err
		}
		k, raw = tString, t.text
	} else {
		name, err := l.delimited('"')
		if err != nil {
			return token{}, err
		}
		raw = name
	}
	escape := byte('\\')
	before := l.pos
	if _, err := l.skip(); err != nil {
		return token{}, err
	}
	if len(l.text)-l.pos >= 7 && asciiLower(l.text[l.pos:l.pos+7]) == "uescape" && !isIdentPart(l.peek(7)) {
		l.pos += 7
		if _, err := l.skip(); err != nil {
			return token{}, err
		}
		if l.peek(0) != '\'' {
			return token{}, errorAt(l.pos, "", "UESCAPE takes a string of one character")
		}
		c, err := l.quoted()
		if err != nil {
			return token{}, err
		}
		if len(c) != 1 || strings.ContainsAny(c, "0123456789abcdefABCDEF+'\" \t\n\r\f") {
			return token{}, errorAt(before, "", "UESCAPE takes a string of one character")
		}
		escape = c[0]
	} else {
		l.pos = before
	}
	text, err := l.unescape(start, raw, escape)
	if err == nil && k == tQuoted {
		if text == "" {
			return token{}, errorAt(start, "", "a quoted name is empty")
		}
		text = truncated(text)
	}
	return token{kind: k, text: text}, err
}

func (l *lexer) unescape(start int, raw string, escape byte) (string, *Error) {
	var b strings.Builder
	sub := lexer{text: raw}
	for sub.pos < len(raw) {
		c := raw[sub.pos]
		if c != escape {
			b.WriteByte(c)
			sub.pos++
			continue
		}
		sub.pos++
		if sub.peek(0) == escape {
			b.WriteByte(escape)
			sub.pos++
			continue
		}
		n := 4
		if sub.peek(0) == '+' {
			n = 6
			sub.pos++
		}
		if err := sub.rune(&b, start, sub.run(n, "0123456789abcdefABCDEF"), n); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// bits reads B'…' and X'…'.
func (l *lexer) bits() (token, *Error) {
	start := l.pos
	prefix := asciiLower(l.text[l.pos : l.pos+1])
	l.pos++
	t, err := l.stringToken(tBits, l.quoted)
	if err != nil {
		return t, err
	}
	set := "01"
	if prefix == "x" {
		set = "0123456789abcdefABCDEF"
	}
	if strings.Trim(t.text, set) != "" {
		return token{}, errorAt(start, "", "%q is not a valid bit string", t.text)
	}
	t.text = prefix + t.text
	return t, nil
}
