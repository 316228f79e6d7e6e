package elixir

import (
	"strings"
	"unicode/utf8"
)

// regex translates ~r/…/ into an expression of JavaScript that finds the same.
func (t *translator) regex(n *node, pattern string) value {
	for _, flag := range n.flags {
		if !strings.ContainsRune("isu", flag) {
			return t.refuse(n.at, "the option "+string(flag)+" of ~r", "is not converted", "write the expression without it")
		}
	}
	unicode := strings.Contains(n.flags, "u")
	r := rewriter{dotAll: strings.Contains(n.flags, "s"), unicode: unicode}
	code := r.rewrite(pattern)
	if r.refused != "" {
		return t.refuse(n.at, "~r: "+r.refused, "means something else in JavaScript, or nothing", "write the expression without it")
	}
	flags := "g"
	if strings.Contains(n.flags, "i") {
		flags = "gi"
	}
	if unicode {
		flags += "u"
	}
	literal := "/" + code + "/" + flags
	if !unicode && r.bytes {
		// Without u, Elixir goes through the bytes of a text.
		return value{"bytewise(" + literal + ")", strengthCall, regexType}
	}
	return value{literal, strengthCall, regexType}
}

// rewriter writes an expression of PCRE as one of JavaScript.
type rewriter struct {
	dotAll, unicode bool
	bytes           bool   // the expression can match a part of a character
	refused         string // what it cannot write
	groups          []int  // where the groups that are open begin
	captured        []int  // where groups begin that keep what they find
}

// open and shut follow the groups. JavaScript forgets what a group inside of a repeated one found in an earlier round, and PCRE does not.
func (r *rewriter) open(p string, i int) {
	r.groups = append(r.groups, i)
	if !strings.HasPrefix(p[i:], "(?") || strings.HasPrefix(p[i:], "(?<") && !strings.HasPrefix(p[i:], "(?<=") && !strings.HasPrefix(p[i:], "(?<!") {
		r.captured = append(r.captured, i)
	}
}

func (r *rewriter) shut(p string, i int) {
	last := len(r.groups) - 1
	if last < 0 {
		return
	}
	begin := r.groups[last]
	r.groups = r.groups[:last]
	repeated := i+1 < len(p) && (p[i+1] == '*' || p[i+1] == '+' || p[i+1] == '{' && quantifier(p[i+1:]))
	if n := len(r.captured); repeated && n > 0 && r.captured[n-1] > begin && r.refused == "" {
		r.refused = "a group inside of a repeated one, " + p[begin:i+2]
	}
}

func (r *rewriter) rewrite(p string) string {
	var b strings.Builder
	for i := 0; i < len(p) && r.refused == ""; {
		switch p[i] {
		case '(':
			r.open(p, i)
		case ')':
			r.shut(p, i)
		}
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			b.WriteString(r.escape(p[i+1], false))
			i += 2
		case c == '[':
			end := classEnd(p, i)
			b.WriteString(r.class(p[i:end]))
			i = end
		case c == '.':
			r.bytes = r.bytes || !r.unicode
			if b.WriteString("[^\\n]"); r.dotAll {
				s := b.String()
				b.Reset()
				b.WriteString(strings.TrimSuffix(s, "[^\\n]") + "[^]")
			}
			i++
		case c == '$':
			b.WriteString("(?=\\n?$)")
			i++
		case strings.HasPrefix(p[i:], "(?") && !isGroup(p[i:]):
			r.refused = p[i:min(i+4, len(p))]
		case strings.ContainsRune("*+?}", rune(c)) && i+1 < len(p) && p[i+1] == '+', c == '(' && i+1 < len(p) && p[i+1] == '*':
			r.refused = p[i : i+2]
		case c == '/':
			b.WriteString("\\/")
			i++
		case c == '{' && !quantifier(p[i:]), c == '}' && !strings.Contains(p[:i], "{"), c == ']':
			b.WriteString("\\" + string(c))
			i++
		case c == '\n':
			b.WriteString("\\n")
			i++
		default:
			r.literal(p[i:])
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

// literal refuses characters of several bytes in an expression that goes through bytes.
func (r *rewriter) literal(p string) {
	if p[0] >= utf8.RuneSelf && !r.unicode && r.refused == "" {
		c, _ := utf8.DecodeRuneInString(p)
		r.refused = string(c) + " without the option u"
	}
}

func isGroup(p string) bool {
	for _, kind := range []string{"(?:", "(?=", "(?!", "(?<=", "(?<!"} {
		if strings.HasPrefix(p, kind) {
			return true
		}
	}
	return strings.HasPrefix(p, "(?<") && plainName.MatchString(strings.SplitN(p[3:], ">", 2)[0])
}

func quantifier(p string) bool {
	end := strings.IndexByte(p, '}')
	return end > 1 && strings.Trim(p[1:end], "0123456789,") == "" && isDigit(rune(p[1]))
}

// classEnd is where a class [ ] ends.
func classEnd(p string, start int) int {
	i := start + 1
	if i < len(p) && p[i] == '^' {
		i++
	}
	if i < len(p) && p[i] == ']' {
		i++
	}
	for ; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case ']':
			return i + 1
		}
	}
	return len(p)
}

// class rewrites [ ].
func (r *rewriter) class(p string) string {
	if strings.Contains(p, "[:") {
		r.refused = p
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			i++
			b.WriteString(r.escape(p[i], true))
		case c == '[' && i > 0, c == ']' && i < len(p)-1, c == '/':
			b.WriteString("\\" + string(c))
		case c == '^' && i == 1:
			r.bytes = r.bytes || !r.unicode
			b.WriteByte(c)
		default:
			r.literal(p[i:])
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escape rewrites what stands behind a backslash.
func (r *rewriter) escape(c byte, class bool) string {
	switch {
	case strings.IndexByte("wdsWDS", c) >= 0 && r.unicode, strings.IndexByte("bB", c) >= 0 && (r.unicode || class):
		r.refused = "\\" + string(c) + " with the option u"
		return ""
	case c == 's' && class:
		return "\\t-\\r "
	case c == 's':
		return "[\\t-\\r ]"
	case c == 'S' && !class:
		r.bytes = true
		return "[^\\t-\\r ]"
	case c == 'W' || c == 'D':
		r.bytes = true
		return "\\" + string(c)
	case c == 'A' && !class:
		return "^"
	case c == 'z' && !class:
		return "$"
	case c == 'Z' && !class:
		return "(?=\\n?$)"
	case c == 'h':
		r.refused = "\\h"
		return ""
	case strings.IndexByte("wdbBntrf", c) >= 0:
		return "\\" + string(c)
	case isDigit(rune(c)) && c != '0' && !class:
		return "\\" + string(c)
	case c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(rune(c)):
		r.refused = "\\" + string(c)
		return ""
	case strings.IndexByte(`^$\.*+?()[]{}|/`, c) >= 0 || c == '-' && class:
		return "\\" + string(c)
	}
	return string(c)
}
