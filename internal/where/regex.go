package where

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is a regular expression of Postgres, translated.
type pattern struct {
	re *regexp.Regexp
	// asciiOnly is true for patterns with classes of characters that depend on the server's locale: texts outside of ASCII are then an error.
	asciiOnly bool
	lazy      bool // has a quantifier that takes as little as possible
	captures  bool
}

func (p *pattern) check(s string) error {
	if !p.asciiOnly {
		return nil
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return errUnsupported(`a text outside of ASCII against a pattern with \w, \d, \s or a class such as [:alpha:], which depend on the server's locale`)
		}
	}
	return nil
}

// regexParser translates what is the same in both: the advanced regular expressions of the manual without back references, look-around,
// collating elements and options other than i, c and s at the start.
type regexParser struct {
	src   []rune
	i     int
	out   strings.Builder
	fold  bool
	ascii bool // the locale knows ASCII alone
	depth int
	res   pattern
}

func badRegex(format string, args ...any) error {
	return errUnsupported("regular expression: "+format, args...)
}

func translateRegex(src string, fold, asciiLocale bool) (*pattern, error) {
	p := &regexParser{src: []rune(src), fold: fold, ascii: asciiLocale}
	if len(p.src) > 1000 {
		return nil, badRegex("longer than 1000 characters")
	}
	if err := p.options(); err != nil {
		return nil, err
	}
	p.out.WriteString("(?s)")
	if err := p.alternatives(); err != nil {
		return nil, err
	}
	if p.i < len(p.src) {
		return nil, badRegex("parentheses () not balanced")
	}
	re, err := regexp.Compile(p.out.String())
	if err != nil {
		return nil, badRegex("%s", err.Error())
	}
	p.res.re = re
	return &p.res, nil
}

// options reads the director *** (refused) and embedded options at the start.
func (p *regexParser) options() error {
	s := string(p.src)
	if strings.HasPrefix(s, "***") {
		return badRegex("the prefix *** is not supported")
	}
	if !strings.HasPrefix(s, "(?") || len(p.src) < 3 || !unicode.IsLetter(p.src[2]) {
		return nil
	}
	end := strings.IndexByte(s, ')')
	if end < 0 {
		return badRegex("parentheses () not balanced")
	}
	for _, o := range s[2:end] {
		switch o {
		case 'i':
			p.fold = true
		case 'c':
			p.fold = false
		case 's':
		default:
			return badRegex("the option %c is not supported", o)
		}
	}
	p.i = end + 1
	return nil
}

func (p *regexParser) peek() rune {
	if p.i < len(p.src) {
		return p.src[p.i]
	}
	return 0
}

func (p *regexParser) alternatives() error {
	for {
		if err := p.sequence(); err != nil {
			return err
		}
		if p.peek() != '|' {
			return nil
		}
		p.i++
		p.out.WriteByte('|')
	}
}

func (p *regexParser) sequence() error {
	for p.i < len(p.src) {
		r := p.src[p.i]
		if r == '|' || r == ')' && p.depth > 0 {
			return nil
		}
		quantifiable, err := p.atom(r)
		if err != nil {
			return err
		}
		if err := p.quantifier(quantifiable); err != nil {
			return err
		}
	}
	return nil
}

func (p *regexParser) atom(r rune) (quantifiable bool, err error) {
	p.i++
	switch r {
	case '(':
		return true, p.group()
	case '[':
		return true, p.bracket()
	case '.':
		p.out.WriteByte('.')
		return true, nil
	case '^':
		p.out.WriteString(`\A`)
		return false, nil
	case '$':
		p.out.WriteString(`\z`)
		return false, nil
	case '\\':
		return p.escape()
	case '*', '+', '?':
		return false, badRegex("quantifier operand invalid")
	case '{':
		if unicode.IsDigit(p.peek()) {
			return false, badRegex("quantifier operand invalid")
		}
	case ')':
		return false, badRegex("parentheses () not balanced")
	}
	return true, p.char(r)
}

// char writes one character, in both cases if case does not matter.
func (p *regexParser) char(r rune) error {
	if p.fold {
		lower, upper, err := p.cases(r)
		if err != nil {
			return err
		}
		if lower != upper {
			p.out.WriteString("[" + string(lower) + string(upper) + "]")
			return nil
		}
	}
	p.out.WriteString(regexp.QuoteMeta(string(r)))
	return nil
}

func (p *regexParser) cases(r rune) (lower, upper rune, err error) {
	if r < utf8.RuneSelf {
		return unicode.ToLower(r), unicode.ToUpper(r), nil
	}
	if p.ascii {
		return r, r, nil
	}
	if !plainCase(r) {
		return r, r, badRegex("the case of %q depends on the server's libraries", r)
	}
	return unicode.ToLower(r), unicode.ToUpper(r), nil
}

func (p *regexParser) group() error {
	if p.peek() == '?' {
		if p.i+1 >= len(p.src) || p.src[p.i+1] != ':' {
			return badRegex("look-ahead, look-behind and options inside are not supported")
		}
		p.i += 2
		p.out.WriteString("(?:")
	} else {
		p.res.captures = true
		p.out.WriteByte('(')
	}
	p.depth++
	if p.depth > 50 {
		return badRegex("nested too deep")
	}
	if err := p.alternatives(); err != nil {
		return err
	}
	if p.peek() != ')' {
		return badRegex("parentheses () not balanced")
	}
	p.i++
	p.depth--
	p.out.WriteByte(')')
	return nil
}

func (p *regexParser) quantifier(allowed bool) error {
	switch r := p.peek(); {
	case p.i >= len(p.src):
		return nil
	case r == '*' || r == '+' || r == '?':
		p.i++
		p.out.WriteRune(r)
	case r == '{' && p.i+1 < len(p.src) && unicode.IsDigit(p.src[p.i+1]):
		if err := p.bounds(); err != nil {
			return err
		}
	default:
		return nil
	}
	if !allowed {
		return badRegex("a quantifier cannot follow ^, $ or another constraint")
	}
	if p.peek() == '?' && p.i < len(p.src) {
		p.i++
		p.out.WriteByte('?')
		p.res.lazy = true
	}
	if r := p.peek(); p.i < len(p.src) && (r == '*' || r == '+' || r == '?') {
		return badRegex("quantifier operand invalid")
	}
	return nil
}

func (p *regexParser) number() (int, error) {
	start := p.i
	for p.i < len(p.src) && p.src[p.i] >= '0' && p.src[p.i] <= '9' {
		p.i++
	}
	n, err := strconv.Atoi(string(p.src[start:p.i]))
	if err != nil || n > 255 {
		return 0, badRegex("invalid repetition count(s)")
	}
	return n, nil
}

func (p *regexParser) bounds() error {
	p.i++
	low, err := p.number()
	if err != nil {
		return err
	}
	text := "{" + strconv.Itoa(low)
	if p.peek() == ',' {
		p.i++
		text += ","
		if p.peek() != '}' {
			high, err := p.number()
			if err != nil || high < low {
				return badRegex("invalid repetition count(s)")
			}
			text += strconv.Itoa(high)
		}
	}
	if p.peek() != '}' {
		return badRegex("braces {} not balanced")
	}
	p.i++
	p.out.WriteString(text + "}")
	return nil
}

// escape translates what follows a backslash.
func (p *regexParser) escape() (quantifiable bool, err error) {
	if p.i >= len(p.src) {
		return false, badRegex(`invalid escape \ sequence`)
	}
	r := p.src[p.i]
	p.i++
	switch r {
	case 'd', 'D', 's', 'S', 'w', 'W':
		p.out.WriteString(p.class(r))
		return true, nil
	case 'A':
		p.out.WriteString(`\A`)
		return false, nil
	case 'Z':
		p.out.WriteString(`\z`)
		return false, nil
	case 'y':
		p.localised()
		p.out.WriteString(`\b`)
		return false, nil
	case 'Y':
		p.localised()
		p.out.WriteString(`\B`)
		return false, nil
	}
	c, err := escapedChar(r)
	if err != nil {
		return false, err
	}
	return true, p.char(c)
}

func (p *regexParser) localised() {
	if !p.ascii {
		p.res.asciiOnly = true
	}
}

func (p *regexParser) class(r rune) string {
	p.localised()
	return map[rune]string{
		'd': "[0-9]", 'D': "[^0-9]", 's': `[ \t-\r]`, 'S': `[^ \t-\r]`, 'w': "[0-9A-Za-z_]", 'W': "[^0-9A-Za-z_]",
	}[r]
}

func escapedChar(r rune) (rune, error) {
	switch r {
	case 'a':
		return '\a', nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'v':
		return '\v', nil
	case 'B':
		return '\\', nil
	case '_':
		return r, nil
	}
	if unicode.IsLetter(r) || unicode.IsDigit(r) || r >= utf8.RuneSelf {
		return 0, badRegex(`\%c is not supported`, r)
	}
	return r, nil
}

// classes of POSIX within ASCII.
var regexClasses = map[string]string{
	"alpha": "A-Za-z", "digit": "0-9", "alnum": "0-9A-Za-z", "upper": "A-Z", "lower": "a-z", "space": ` \t-\r`, "blank": ` \t`, "punct": "!-/:-@\\[-`{-~",
	"xdigit": "0-9A-Fa-f", "cntrl": `\x00-\x1f\x7f`, "print": " -~", "graph": "!-~",
}

// bracket translates a bracket expression.
func (p *regexParser) bracket() error {
	p.out.WriteByte('[')
	if p.peek() == '^' {
		p.i++
		p.out.WriteByte('^')
	}
	for first := true; ; first = false {
		if p.i >= len(p.src) {
			return badRegex("brackets [] not balanced")
		}
		r := p.src[p.i]
		if r == ']' && !first {
			p.i++
			p.out.WriteByte(']')
			return nil
		}
		if err := p.member(r, first); err != nil {
			return err
		}
	}
}

func (p *regexParser) member(r rune, first bool) error {
	p.i++
	if r == '[' && (p.peek() == ':' || p.peek() == '.' || p.peek() == '=') {
		return p.posixClass()
	}
	if r == '\\' {
		if p.i >= len(p.src) {
			return badRegex("brackets [] not balanced")
		}
		e := p.src[p.i]
		p.i++
		if strings.ContainsRune("dsw", e) {
			class := p.class(e)
			p.out.WriteString(class[1 : len(class)-1])
			if p.peek() == '-' && p.i+1 < len(p.src) && p.src[p.i+1] != ']' {
				return badRegex("invalid character range")
			}
			return nil
		}
		c, err := escapedChar(e)
		if err != nil {
			return err
		}
		r = c
	} else if r == '-' && !first && p.peek() != ']' {
		return badRegex("a - in brackets must be first or last")
	}
	high := r
	if p.peek() == '-' && p.i+1 < len(p.src) && p.src[p.i+1] != ']' {
		p.i++
		high = p.src[p.i]
		p.i++
		if high == '[' || high == '\\' {
			return badRegex("that range is not supported")
		}
		if high < r {
			return badRegex("invalid character range")
		}
		if r == '-' {
			return badRegex("that range is not supported")
		}
	}
	return p.span(r, high)
}

func (p *regexParser) posixClass() error {
	rest := string(p.src[p.i:])
	end := strings.Index(rest, ":]")
	if rest[0] != ':' || end < 0 {
		return badRegex("collating elements are not supported")
	}
	name := rest[1:end]
	class, ok := regexClasses[name]
	if !ok {
		return badRegex("invalid character class %q", name)
	}
	if p.fold && (name == "upper" || name == "lower") {
		class = regexClasses["alpha"]
	}
	p.localised()
	p.i += end + 2
	p.out.WriteString(class)
	if p.peek() == '-' && p.i+1 < len(p.src) && p.src[p.i+1] != ']' {
		return badRegex("invalid character range")
	}
	return nil
}

func (p *regexParser) span(low, high rune) error {
	write := func(low, high rune) {
		p.out.WriteString(`\x{` + strconv.FormatInt(int64(low), 16) + `}-\x{` + strconv.FormatInt(int64(high), 16) + `}`)
	}
	write(low, high)
	if !p.fold {
		return nil
	}
	if high >= utf8.RuneSelf && low != high && !p.ascii {
		return badRegex("a range outside of ASCII, without regard to case")
	}
	for r := low; r <= high && (r < utf8.RuneSelf || low == high); r++ {
		l, u, err := p.cases(r)
		if err != nil {
			return err
		}
		if l != u {
			write(l, l)
			write(u, u)
		}
	}
	return nil
}
