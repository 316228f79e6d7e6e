package elixir

import (
	"strconv"
	"strings"
	"unicode"
)

// quoted reads a text in quotes or a heredoc. A text with a colon behind it is a key.
func (l *lexer) quoted(at Position) token {
	if strings.HasPrefix(l.rest(), `"""`) {
		l.take(3)
		return token{kind: tokenText, text: "a text", parts: l.heredoc(at, true), at: at}
	}
	l.next()
	parts := l.until(at, `"`, true)
	kind := tokenText
	if rest := l.rest(); strings.HasPrefix(rest, ":") && (len(rest) == 1 || unicode.IsSpace(rune(rest[1]))) {
		l.next()
		kind = tokenKey
		if len(parts) != 1 || parts[0].tokens != nil {
			l.fail(at, "a key with interpolation", "is not converted", `write a key that is a text: "…" => value`)
		}
		return token{kind: kind, text: parts[0].text, at: at}
	}
	return token{kind: kind, text: "a text", parts: parts, at: at}
}

// until reads the parts of a text up to what closes it. There is always one part at least.
func (l *lexer) until(at Position, closing string, escapes bool) []textPart {
	var parts []textPart
	var b strings.Builder
	from := l.at()
	for {
		rest := l.rest()
		switch {
		case rest == "":
			l.fail(at, "this text", "is not closed", "write the "+closing+" that belongs to it")
		case strings.HasPrefix(rest, closing):
			l.take(len(closing))
			if b.Len() > 0 || len(parts) == 0 {
				parts = append(parts, textPart{text: b.String(), at: from})
			}
			return parts
		case escapes && strings.HasPrefix(rest, "#{"):
			if b.Len() > 0 {
				parts = append(parts, textPart{text: b.String(), at: from})
				b.Reset()
			}
			inner := l.at()
			l.take(2)
			parts = append(parts, textPart{tokens: l.tokens(&inner), at: inner})
			from = l.at()
		case rest[0] == '\\' && escapes:
			l.escape(&b)
		case rest[0] == '\\' && strings.HasPrefix(rest[1:], closing):
			l.next() // the closing character may be escaped in sigils of capitals too
			b.WriteString(l.take(len(closing)))
		default:
			b.WriteRune(l.next())
		}
	}
}

//nolint:gochecknoglobals // a table
var escapes = map[rune]string{'n': "\n", 't': "\t", 'r': "\r", '0': "\x00", 's': " ", 'a': "\a", 'b': "\b", 'd': "\x7f", 'e': "\x1b", 'f': "\f", 'v': "\v", '\n': ""}

func (l *lexer) escape(b *strings.Builder) {
	at := l.at()
	l.next()
	if l.rest() == "" {
		return
	}
	r := l.next()
	if r != 'x' && r != 'u' {
		if text, ok := escapes[r]; ok {
			b.WriteString(text)
			return
		}
		b.WriteRune(r)
		return
	}
	digits := ""
	if l.peek() == '{' {
		l.next()
		for l.rest() != "" && l.peek() != '}' && len(digits) < 7 {
			digits += string(l.next())
		}
		l.take(1)
	} else {
		digits = l.take(map[rune]int{'x': 2, 'u': 4}[r])
	}
	code, err := strconv.ParseUint(digits, 16, 21)
	if err != nil || code > unicode.MaxRune || r == 'x' && code > 0x7f {
		l.fail(at, `the escape \`+string(r)+digits, "is no character", "write the character itself")
	}
	b.WriteRune(rune(code))
}

// heredoc reads up to """ on a line of its own and takes away as many blanks of each line as stand before it.
func (l *lexer) heredoc(at Position, escapes bool) []textPart {
	for l.rest() != "" && l.peek() != '\n' {
		l.next()
	}
	l.take(1)
	indent, closed := -1, false
	for line := range strings.SplitSeq(l.rest(), "\n") {
		if trimmed := strings.TrimLeft(line, " \t"); strings.HasPrefix(trimmed, `"""`) {
			indent, closed = len(line)-len(trimmed), true
			break
		}
	}
	if !closed {
		l.fail(at, `"""`, "is not closed", `write """ on a line of its own`)
	}
	var parts []textPart
	for {
		blanks := 0
		for blanks < indent && (l.peek() == ' ' || l.peek() == '\t') {
			l.next()
			blanks++
		}
		if strings.HasPrefix(l.rest(), `"""`) {
			l.take(3)
			return merged(parts, at)
		}
		if strings.HasPrefix(l.rest(), "\n") {
			l.take(1)
			parts = append(parts, textPart{text: "\n", at: l.at()})
			continue
		}
		parts = append(parts, l.until(at, "\n", escapes)...)
		parts = append(parts, textPart{text: "\n", at: l.at()})
	}
}

// merged joins neighbouring pieces of plain text.
func merged(parts []textPart, at Position) []textPart {
	var out []textPart
	for _, p := range parts {
		if n := len(out); p.tokens == nil && n > 0 && out[n-1].tokens == nil {
			out[n-1].text += p.text
			continue
		}
		out = append(out, p)
	}
	if out == nil {
		out = []textPart{{at: at}}
	}
	return out
}

// sigil reads ~r/…/i and its kin.
func (l *lexer) sigil(at Position) token {
	l.next()
	name := string(l.next())
	lower := strings.ToLower(name) == name
	if strings.HasPrefix(l.rest(), `"""`) {
		l.take(3)
		return token{kind: tokenSigil, text: name, parts: l.heredoc(at, lower && name != "r"), at: at}
	}
	open := l.next()
	closing, ok := map[rune]string{'/': "/", '|': "|", '"': `"`, '\'': "'", '(': ")", '[': "]", '{': "}", '<': ">"}[open]
	if !ok {
		l.fail(at, "the sigil ~"+name, "has no text", "write it with slashes or parentheses around the text")
	}
	t := token{kind: tokenSigil, text: name, at: at}
	if name == "r" {
		t.parts = l.pattern(at, closing)
	} else {
		t.parts = l.until(at, closing, lower)
	}
	start := l.offset
	for l.rest() != "" && unicode.IsLetter(l.peek()) {
		l.next()
	}
	t.flags = l.code[start:l.offset]
	return t
}

// pattern reads a regular expression, in which a backslash belongs to the expression.
func (l *lexer) pattern(at Position, closing string) []textPart {
	var b strings.Builder
	for {
		rest := l.rest()
		switch {
		case rest == "":
			l.fail(at, "this regular expression", "is not closed", "write the "+closing+" that belongs to it")
		case strings.HasPrefix(rest, closing):
			l.take(len(closing))
			return []textPart{{text: b.String(), at: at}}
		case strings.HasPrefix(rest, "#{"):
			l.fail(l.at(), "interpolation in a regular expression", "is not converted", "write the expression out")
		case rest[0] == '\\' && strings.HasPrefix(rest[1:], closing):
			l.next()
			if strings.ContainsAny(closing, "|)]}") {
				b.WriteByte('\\')
			}
			b.WriteString(l.take(len(closing)))
		case rest[0] == '\\' && len(rest) > 1:
			b.WriteRune(l.next())
			b.WriteRune(l.next())
		default:
			b.WriteRune(l.next())
		}
	}
}
