package where

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// like checks LIKE, ILIKE and SIMILAR TO.
func (c *checker) like(n *syntax.Like) (*expr, error) {
	pos := n.Pos()
	arg, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	pattern, err := c.expr(n.Pattern)
	if err != nil {
		return nil, err
	}
	if n.Similar {
		if pattern, err = c.similarPattern(n, pattern); err != nil {
			return nil, err
		}
		return c.operator(pos, n.Op, arg, pattern)
	}
	if n.Escape == nil {
		return c.operator(pos, n.Op, arg, pattern)
	}
	escape, err := c.expr(n.Escape)
	if err != nil {
		return nil, err
	}
	call, outcome := c.catalog.Function("like_escape", []*pgcatalog.Type{pattern.typ, escape.typ})
	if outcome != pgcatalog.Found {
		return nil, typeError(pos, "", "the pattern and its ESCAPE must be texts")
	}
	if pattern, err = c.apply(pos, "ESCAPE", call, []*expr{pattern, escape}); err != nil {
		return nil, err
	}
	return c.operator(pos, n.Op, arg, pattern)
}

// similarPattern turns the pattern of SIMILAR TO into a regular expression.
func (c *checker) similarPattern(n *syntax.Like, pattern *expr) (*expr, error) {
	text := c.catalog.Type("text")
	pattern, err := c.coerce(pattern, text, pgcatalog.Implicit)
	if err != nil {
		return nil, err
	}
	escape := `\`
	if n.Escape != nil {
		e, err := c.expr(n.Escape)
		if err != nil {
			return nil, err
		}
		if e, err = c.coerce(e, text, pgcatalog.Implicit); err != nil {
			return nil, err
		}
		if !e.constant || e.val.Null {
			return nil, refuse(e.pos, "write the escape as a literal", "the escape of SIMILAR TO must be a constant")
		}
		escape = e.val.S
	}
	if !pattern.constant {
		return nil, refuse(pattern.pos, "write the pattern as a literal", "the pattern of SIMILAR TO must be a constant")
	}
	if pattern.val.Null {
		return pattern, nil
	}
	re, err := similarToRegex(pattern.val.S, escape)
	if err != nil {
		return nil, refuse(pattern.pos, "use ~ with a regular expression", "%s", err.Error())
	}
	return c.constant(pattern.pos, text, pgvalue.Text(re)), nil
}

// similarToRegex is similar_to_escape, without the parts that only substring() needs.
func similarToRegex(pattern, escape string) (string, error) {
	if utf8.RuneCountInString(escape) > 1 {
		return "", &pgvalue.Error{Code: "22025", Message: "invalid escape string"}
	}
	var b strings.Builder
	b.WriteString("^(?:")
	bracket := false
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case escape != "" && string(r) == escape:
			i++
			if i >= len(runes) {
				return "", errUnsupported("a pattern that ends in its escape")
			}
			if runes[i] == '"' {
				return "", errUnsupported("a part marked for substring()")
			}
			if unicode.IsLetter(runes[i]) || unicode.IsDigit(runes[i]) {
				return "", errUnsupported("an escaped letter in SIMILAR TO")
			}
			b.WriteByte('\\')
			b.WriteRune(runes[i])
		case bracket:
			if r == '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
			bracket = r != ']'
		case r == '[':
			bracket = true
			b.WriteByte('[')
			if i+1 < len(runes) && (runes[i+1] == '^' || runes[i+1] == ']' || runes[i+1] == '[') {
				return "", errUnsupported("that bracket expression in SIMILAR TO")
			}
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteByte('.')
		case r == '(':
			b.WriteString("(?:")
		case r == '\\' || r == '.' || r == '^' || r == '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteString(")$")
	return b.String(), nil
}

// likeEscape rewrites a pattern to the escape character \.
func likeEscape(a, b value) (value, error) {
	pattern, escape := a.S, b.S
	if escape == "" {
		return pgvalue.Text(strings.ReplaceAll(pattern, `\`, `\\`)), nil
	}
	if utf8.RuneCountInString(escape) != 1 {
		return pgvalue.Null, &pgvalue.Error{Code: "22025", Message: "invalid escape string"}
	}
	if escape == `\` {
		return a, nil
	}
	var out strings.Builder
	after := false
	for _, r := range pattern {
		switch {
		case string(r) == escape && !after:
			out.WriteByte('\\')
			after = true
		case r == '\\':
			if !after {
				out.WriteByte('\\')
			}
			out.WriteByte('\\')
			after = false
		default:
			out.WriteRune(r)
			after = false
		}
	}
	return pgvalue.Text(out.String()), nil
}

var errLikeEscape = &pgvalue.Error{Code: "22025", Message: "LIKE pattern must not end with escape character"}

// matchLike reports whether a text matches a pattern whose escapes are \. It allocates nothing.
func matchLike(s, p string) (bool, error) {
	si, pi := 0, 0
	starP, starS := -1, 0
	for si < len(s) {
		if pi < len(p) {
			switch p[pi] {
			case '%':
				starP, starS = pi+1, si
				pi++
				continue
			case '_':
				_, n := utf8.DecodeRuneInString(s[si:])
				si, pi = si+n, pi+1
				continue
			case '\\':
				if pi+1 >= len(p) {
					return false, errLikeEscape
				}
				if p[pi+1] == s[si] {
					si, pi = si+1, pi+2
					continue
				}
			default:
				if p[pi] == s[si] {
					si, pi = si+1, pi+1
					continue
				}
			}
		}
		if starP < 0 {
			return false, nil
		}
		_, n := utf8.DecodeRuneInString(s[starS:])
		starS += n
		si, pi = starS, starP
	}
	for pi < len(p) && p[pi] == '%' {
		pi++
	}
	if pi == len(p)-1 && p[pi] == '\\' {
		return false, errLikeEscape
	}
	return pi == len(p), nil
}

func like(not bool) builtin {
	return builtin{need: needsEquality, fn2: func(a, b value) (value, error) {
		ok, err := matchLike(a.S, b.S)
		return pgvalue.Bool(ok != not), err
	}}
}

// ilike compares both sides in lower case.
func ilike(not bool) builtin {
	return builtin{need: needsCase, build: func(g *building) error {
		ascii := g.coll.strength != none && g.coll.coll.ASCIICase
		lower := func(s string) (value, error) {
			if ascii {
				return pgvalue.Text(mapASCII(s, unicode.ToLower)), nil
			}
			return mapCase(s, unicode.ToLower)
		}
		g.result.fn2 = func(a, b value) (value, error) {
			s, err := lower(a.S)
			if err != nil {
				return s, err
			}
			p, err := lower(b.S)
			if err != nil {
				return p, err
			}
			ok, err := matchLike(s.S, p.S)
			return pgvalue.Bool(ok != not), err
		}
		return nil
	}}
}

func bytesLike(not bool) builtin {
	b := like(not)
	b.need = needsNothing
	return b
}

// patterns are LIKE, ILIKE, regular expressions and what uses them.
func patterns() map[string]builtin {
	all := map[string]builtin{
		"like_escape": {fn2: likeEscape},
	}
	for _, t := range []string{"text", "bpchar", "name"} {
		all[t+"like"], all[t+"nlike"] = like(false), like(true)
		all[t+"iclike"], all[t+"icnlike"] = ilike(false), ilike(true)
		all[t+"regexeq"], all[t+"regexne"] = regex(false, false), regex(false, true)
		all[t+"icregexeq"], all[t+"icregexne"] = regex(true, false), regex(true, true)
	}
	all["bytealike"], all["byteanlike"] = bytesLike(false), bytesLike(true)
	all["regexp_like_no_flags"] = regex(false, false)
	all["textregexsubstr"] = builtin{build: buildRegexSubstring, need: needsCase}
	all["textregexreplace_noopt"] = builtin{build: buildRegexReplace, need: needsCase}
	all["textregexreplace"] = builtin{build: buildRegexReplace, need: needsCase}
	return all
}
