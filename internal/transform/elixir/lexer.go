package elixir

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind says what a token is.
type tokenKind int

const (
	tokenEnd      tokenKind = iota
	tokenLine               // one or more line ends, or a semicolon
	tokenName               // a variable or a function: status, nil?
	tokenWord               // a reserved word: do, end, fn, and
	tokenAlias              // a module: String
	tokenInteger            // 12
	tokenFloat              // 1.5
	tokenText               // "…", with what stands between its parts
	tokenAtom               // :name
	tokenKey                // name:
	tokenSigil              // ~r/…/i
	tokenOperator           // + |> ==
	tokenPunct              // ( ) [ ] { } , . % << >>
	tokenCapture            // &1
)

// token is one word of the code.
type token struct {
	kind   tokenKind
	text   string
	parts  []textPart // of a text, a key, an atom or a sigil
	flags  string     // of a sigil
	at     Position
	spaced bool // blanks stand before it
	tight  bool // no blank stands after it
}

// textPart is a piece of a text: what stands there, or the tokens of an interpolation.
type textPart struct {
	text   string
	tokens []token
	at     Position
}

//nolint:gochecknoglobals // tables
var (
	reservedWords = []string{"do", "end", "else", "after", "rescue", "catch", "fn", "when", "and", "or", "not", "in", "true", "false", "nil"}
	// operators stand longest first.
	operators = []string{
		"===", "!==", "<<<", ">>>", "|||", "&&&", "<~>", "~>>", "<<~", "+++", "---", "^^^", "~~~", "...",
		"==", "!=", "<=", ">=", "&&", "||", "|>", "<>", "++", "--", "->", "<-", "=>", "=~", "::", "\\\\", "..", "**", "//",
		"+", "-", "*", "/", "<", ">", "=", "!", "|", "&", "^", "@",
	}
)

// lexer cuts code into tokens.
type lexer struct {
	code      string
	offset    int
	line, col int
	refusals  *[]Refusal
	depth     int
}

// maxDepth bounds how deep code may be nested.
const maxDepth = 200

// stopped is what a lexer or a parser panics with once it has noted why the code cannot be read.
type stopped struct{}

func (l *lexer) fail(at Position, what, why, instead string) {
	*l.refusals = append(*l.refusals, Refusal{at, what, why, instead})
	panic(stopped{})
}

// refuse notes what has no translation, and goes on.
func (l *lexer) refuse(at Position, what, why, instead string) {
	*l.refusals = append(*l.refusals, Refusal{at, what, why, instead})
}

func (l *lexer) at() Position { return Position{l.line, l.col} }

func (l *lexer) rest() string { return l.code[l.offset:] }

func (l *lexer) peek() rune {
	r, _ := utf8.DecodeRuneInString(l.rest())
	return r
}

// next takes one character.
func (l *lexer) next() rune {
	r, size := utf8.DecodeRuneInString(l.rest())
	l.offset += size
	l.col++
	if r == '\n' {
		l.line, l.col = l.line+1, 1
	}
	return r
}

func (l *lexer) take(n int) string {
	start := l.offset
	for l.offset < start+n && l.offset < len(l.code) {
		l.next()
	}
	return l.code[start:l.offset]
}

// tokens reads up to the end of the code, or up to the brace that closes the interpolation that begins at that place.
func (l *lexer) tokens(opened *Position) []token {
	inside := opened != nil
	if l.depth++; l.depth > maxDepth {
		l.fail(l.at(), "this text", "is nested too deep", "take it apart")
	}
	defer func() { l.depth-- }()
	var out []token
	braces := 0
	for {
		spaced, line := l.blanks()
		if line {
			if n := len(out); n == 0 || out[n-1].kind != tokenLine {
				out = append(out, token{kind: tokenLine, text: "the end of the line", at: l.at()})
			}
		}
		if l.offset >= len(l.code) {
			if inside {
				l.fail(*opened, "#{", "is not closed", "write the } that belongs to it")
			}
			return append(out, token{kind: tokenEnd, text: "the end of the code", at: l.at()})
		}
		if inside && braces == 0 && l.peek() == '}' {
			end := l.at()
			l.next()
			return append(out, token{kind: tokenEnd, text: "}", at: end})
		}
		t := l.token()
		t.spaced = spaced || line
		t.tight = l.offset < len(l.code) && !unicode.IsSpace(l.peek())
		switch {
		case t.kind == tokenPunct && t.text == "{":
			braces++
		case t.kind == tokenPunct && t.text == "}":
			braces--
		}
		out = append(out, t)
	}
}

// blanks skips blanks and comments; a line tells whether a line ended.
func (l *lexer) blanks() (spaced, line bool) {
	for l.offset < len(l.code) {
		switch r := l.peek(); {
		case r == '#':
			for l.offset < len(l.code) && l.peek() != '\n' {
				l.next()
			}
		case r == '\n' || r == ';':
			line = true
			l.next()
		case r == '\\' && strings.HasPrefix(l.rest(), "\\\n"):
			l.take(2)
		case r == ' ' || r == '\t' || r == '\r':
			spaced = true
			l.next()
		default:
			return spaced, line
		}
	}
	return spaced, line
}

func (l *lexer) token() token {
	at := l.at()
	rest := l.rest()
	switch r := l.peek(); {
	case isDigit(r):
		return l.number(at)
	case r == '"':
		return l.quoted(at)
	case r == '\'':
		l.next()
		l.refuse(at, "a charlist '…'", "is a list of numbers", `write a text: "…"`)
		return token{kind: tokenText, text: "a text", parts: l.until(at, "'", true), at: at}
	case r == '?' && len(rest) > 1:
		l.next()
		l.refuse(at, "the character code ?"+string(l.next()), "is not converted", "write the number")
		return token{kind: tokenInteger, text: "0", at: at}
	case r == '~' && len(rest) > 1 && unicode.IsLetter(rune(rest[1])):
		return l.sigil(at)
	case r == ':' && len(rest) > 1 && (rest[1] == '"' || isNameStart(rune(rest[1]))):
		return l.atom(at)
	case r == '_' || unicode.IsLetter(r):
		return l.word(at)
	case r == '&' && len(rest) > 1 && isDigit(rune(rest[1])):
		l.next()
		return token{kind: tokenCapture, text: l.digits(), at: at}
	case strings.HasPrefix(rest, "<<") && !strings.HasPrefix(rest, "<<<") && !strings.HasPrefix(rest, "<<~"), strings.HasPrefix(rest, ">>") && !strings.HasPrefix(rest, ">>>"):
		return token{kind: tokenPunct, text: l.take(2), at: at}
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			return token{kind: tokenOperator, text: l.take(len(op)), at: at}
		}
	}
	r := l.next()
	if !strings.ContainsRune("()[]{},.%", r) {
		l.fail(at, "the character "+string(r), "means nothing here", "take it out")
	}
	return token{kind: tokenPunct, text: string(r), at: at}
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func isNameStart(r rune) bool { return r == '_' || unicode.IsLetter(r) || r >= utf8.RuneSelf }

func (l *lexer) digits() string {
	start := l.offset
	for l.offset < len(l.code) && (isDigit(l.peek()) || l.peek() == '_') {
		l.next()
	}
	return strings.ReplaceAll(l.code[start:l.offset], "_", "")
}

func (l *lexer) number(at Position) token {
	if rest := l.rest(); len(rest) > 1 && rest[0] == '0' && strings.ContainsRune("xob", rune(rest[1])) {
		text := l.take(2)
		start := l.offset
		for l.offset < len(l.code) && (isDigit(l.peek()) || unicode.IsLetter(l.peek()) || l.peek() == '_') {
			l.next()
		}
		return token{kind: tokenInteger, text: text + strings.ReplaceAll(l.code[start:l.offset], "_", ""), at: at}
	}
	text, kind := l.digits(), tokenInteger
	if rest := l.rest(); len(rest) > 1 && rest[0] == '.' && isDigit(rune(rest[1])) {
		l.next()
		text, kind = text+"."+l.digits(), tokenFloat
		if rest := l.rest(); rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
			signed := strings.TrimLeft(rest[1:min(2, len(rest))], "+-")
			if n := 2 - len(signed); len(rest) > n && isDigit(rune(rest[n])) {
				text += l.take(n)
				text += l.digits()
			}
		}
	}
	return token{kind: kind, text: text, at: at}
}

// name takes the characters of a name.
func (l *lexer) name() string {
	start := l.offset
	for l.offset < len(l.code) {
		if r := l.peek(); r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		l.next()
	}
	if rest := l.rest(); rest != "" && (rest[0] == '?' || rest[0] == '!') && !strings.HasPrefix(rest, "!=") {
		l.next()
	}
	return l.code[start:l.offset]
}

func (l *lexer) word(at Position) token {
	text := l.name()
	if rest := l.rest(); strings.HasPrefix(rest, ":") && !strings.HasPrefix(rest, "::") && (len(rest) == 1 || unicode.IsSpace(rune(rest[1]))) {
		l.next()
		return token{kind: tokenKey, text: text, at: at}
	}
	kind := tokenName
	switch {
	case unicode.IsUpper(rune(text[0])):
		kind = tokenAlias
	case slices.Contains(reservedWords, text):
		kind = tokenWord
	}
	return token{kind: kind, text: text, at: at}
}

func (l *lexer) atom(at Position) token {
	l.next()
	if l.peek() == '"' {
		t := l.quoted(at)
		if len(t.parts) != 1 || t.parts[0].tokens != nil {
			l.fail(at, "an atom with interpolation", "is not converted", "write a text, or the atom as it is")
		}
		return token{kind: tokenAtom, text: t.parts[0].text, at: at}
	}
	return token{kind: tokenAtom, text: l.name(), at: at}
}
