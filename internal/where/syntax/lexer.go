package syntax

import (
	"strings"
	"unicode/utf8"
)

type kind byte

const (
	tEOF     kind = iota
	tIdent        // text is folded
	tQuoted       // a quoted identifier
	tKeyword      // text is the key word, lower case
	tInt
	tFloat
	tString
	tBits  // text starts with b or x
	tOp    // operators, comparison signs included
	tSelf  // one of ( ) [ ] , ; : .
	tCast  // ::
	tParam // $1
)

type token struct {
	kind kind
	text string
	pos  int
	end  int
}

type lexer struct {
	text     string
	pos      int
	keywords map[string]byte
	// underscores, and numbers in other bases, came with 16
	newNumbers bool
}

const opChars = "~!@#^&|`?+-*/%<>="

func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

func (l *lexer) peek(n int) byte {
	if l.pos+n < len(l.text) {
		return l.text[l.pos+n]
	}
	return 0
}

// skip passes over white space and comments; newline tells whether a line ended among them.
func (l *lexer) skip() (newline bool, err *Error) {
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch {
		case c == '\n' || c == '\r':
			newline = true
			l.pos++
		case c == ' ' || c == '\t' || c == '\f' || c == '\v':
			l.pos++
		case c == '-' && l.peek(1) == '-':
			for l.pos < len(l.text) && l.text[l.pos] != '\n' && l.text[l.pos] != '\r' {
				l.pos++
			}
		case c == '/' && l.peek(1) == '*':
			if err := l.skipBlockComment(); err != nil {
				return newline, err
			}
		default:
			return newline, nil
		}
	}
	return newline, nil
}

func (l *lexer) skipBlockComment() *Error {
	start, depth := l.pos, 0
	for l.pos < len(l.text) {
		switch {
		case strings.HasPrefix(l.text[l.pos:], "/*"):
			depth++
			l.pos += 2
		case strings.HasPrefix(l.text[l.pos:], "*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return errorAt(start, "end it with */", "a comment is not ended")
}

func (l *lexer) next() (token, *Error) {
	if _, err := l.skip(); err != nil {
		return token{}, err
	}
	start := l.pos
	t, err := l.scan()
	t.pos, t.end = start, l.pos
	return t, err
}

func (l *lexer) scan() (token, *Error) {
	if l.pos >= len(l.text) {
		return token{kind: tEOF}, nil
	}
	c := l.text[l.pos]
	switch {
	case c == '\'':
		return l.stringToken(tString, l.quoted)
	case (c == 'e' || c == 'E') && l.peek(1) == '\'':
		l.pos++
		return l.stringToken(tString, l.escaped)
	case (c == 'b' || c == 'B' || c == 'x' || c == 'X') && l.peek(1) == '\'':
		return l.bits()
	case (c == 'n' || c == 'N') && l.peek(1) == '\'':
		return token{}, errorAt(l.pos, "write the string without N", "national character strings are not supported")
	case (c == 'u' || c == 'U') && l.peek(1) == '&' && (l.peek(2) == '\'' || l.peek(2) == '"'):
		return l.unicode()
	case c == '"':
		name, err := l.delimited('"')
		if err == nil && name == "" {
			err = errorAt(l.pos, "", "a quoted name is empty")
		}
		return token{kind: tQuoted, text: truncated(name)}, err
	case isIdentStart(c):
		return l.word(), nil
	case isDigit(c) || c == '.' && isDigit(l.peek(1)):
		return l.number()
	case c == '$':
		return l.dollar()
	case c == ':' && l.peek(1) == ':':
		l.pos += 2
		return token{kind: tCast}, nil
	case strings.IndexByte("()[],;:.", c) >= 0:
		l.pos++
		return token{kind: tSelf, text: string(c)}, nil
	case strings.IndexByte(opChars, c) >= 0:
		return l.operator()
	}
	return token{}, errorAt(l.pos, "", "%q cannot stand here", c)
}

// truncated cuts a name to the length that Postgres keeps, at a character.
func truncated(name string) string {
	const limit = 63
	if len(name) <= limit {
		return name
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut]
}

func (l *lexer) word() token {
	start := l.pos
	for l.pos < len(l.text) && isIdentPart(l.text[l.pos]) {
		l.pos++
	}
	lower := asciiLower(l.text[start:l.pos])
	if _, ok := l.keywords[lower]; ok {
		return token{kind: tKeyword, text: lower}
	}
	return token{kind: tIdent, text: truncated(lower)}
}

func asciiLower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// operator takes the longest run of operator characters, as the manual's "Operators" says: comments end it, and a trailing + or - belongs to
// it only beside certain others.
func (l *lexer) operator() (token, *Error) {
	end := l.pos
	for end < len(l.text) && strings.IndexByte(opChars, l.text[end]) >= 0 {
		rest := l.text[end:]
		if strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*") {
			break
		}
		end++
	}
	for end-l.pos > 1 && (l.text[end-1] == '+' || l.text[end-1] == '-') && !strings.ContainsAny(l.text[l.pos:end-1], "~!@#^&|`?%") {
		end--
	}
	op := l.text[l.pos:end]
	if len(op) > 63 {
		return token{}, errorAt(l.pos, "", "the operator is too long")
	}
	if op == "!=" {
		op = "<>"
	}
	if op == "=>" {
		return token{}, errorAt(l.pos, "give the arguments by position", "named arguments are not supported")
	}
	l.pos = end
	return token{kind: tOp, text: op}, nil
}

func (l *lexer) number() (token, *Error) {
	start := l.pos
	if l.newNumbers && l.text[l.pos] == '0' {
		if t, ok, err := l.based(); ok || err != nil {
			return t, err
		}
	}
	digits := func() {
		for l.pos < len(l.text) && (isDigit(l.text[l.pos]) || l.newNumbers && l.text[l.pos] == '_' && isDigit(l.peek(1)) && l.pos > start && isDigit(l.text[l.pos-1])) {
			l.pos++
		}
	}
	k := tInt
	digits()
	if l.peek(0) == '.' && l.peek(1) != '.' {
		k = tFloat
		l.pos++
		digits()
	}
	if c := l.peek(0); c == 'e' || c == 'E' {
		n := 1
		if c := l.peek(1); c == '+' || c == '-' {
			n = 2
		}
		if isDigit(l.peek(n)) {
			k = tFloat
			l.pos += n
			digits()
		}
	}
	if isIdentPart(l.peek(0)) {
		return token{}, errorAt(start, "put a space behind the number", "there is something right behind a number")
	}
	return token{kind: k, text: strings.ReplaceAll(l.text[start:l.pos], "_", "")}, nil
}

// based reads 0x, 0o and 0b numbers.
func (l *lexer) based() (token, bool, *Error) {
	base, digits := 0, ""
	switch l.peek(1) {
	case 'x', 'X':
		base, digits = 16, "0123456789abcdefABCDEF"
	case 'o', 'O':
		base, digits = 8, "01234567"
	case 'b', 'B':
		base, digits = 2, "01"
	default:
		return token{}, false, nil
	}
	start, value, found := l.pos, bigFrom(0), false
	l.pos += 2
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		if c == '_' && strings.IndexByte(digits, l.peek(1)) >= 0 && l.peek(1) != 0 {
			l.pos++
			continue
		}
		i := strings.IndexByte(digits, c)
		if i < 0 {
			break
		}
		if i > 15 {
			i -= 6
		}
		value.Mul(value, bigFrom(base)).Add(value, bigFrom(i))
		found = true
		l.pos++
	}
	if !found || isIdentPart(l.peek(0)) {
		return token{}, true, errorAt(start, "", "that is not a number")
	}
	return token{kind: tInt, text: value.String()}, true, nil
}

func (l *lexer) dollar() (token, *Error) {
	start := l.pos
	if isDigit(l.peek(1)) {
		return token{}, errorAt(start, "write the value as a literal", "parameters are not supported")
	}
	end := l.pos + 1
	for end < len(l.text) && isIdentPart(l.text[end]) && l.text[end] != '$' {
		end++
	}
	if end >= len(l.text) || l.text[end] != '$' {
		return token{}, errorAt(start, "", `"$" cannot stand here`)
	}
	tag := l.text[start : end+1]
	body := l.text[end+1:]
	i := strings.Index(body, tag)
	if i < 0 {
		return token{}, errorAt(start, "end it with "+tag, "a dollar-quoted string is not ended")
	}
	l.pos = end + 1 + i + len(tag)
	return token{kind: tString, text: body[:i]}, nil
}
