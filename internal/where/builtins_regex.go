package where

import (
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

// compiled translates the pattern of a call, which must be a constant.
func compiled(g *building, at int, fold bool) (*pattern, error) {
	arg := g.args[at]
	if !arg.constant {
		return nil, refuse(arg.pos, "write the pattern as a literal", "the pattern of a regular expression must be a constant")
	}
	if arg.val.Null {
		return nil, nil //nolint:nilnil // a null pattern: the strict function is never called
	}
	ascii := g.coll.strength != none && g.coll.coll.ASCIICase
	p, err := translateRegex(arg.val.S, fold, ascii)
	if err != nil {
		return nil, refuse(arg.pos, "use LIKE, or a simpler expression", "%s", strings.TrimSuffix(err.Error(), ": "+pgvalue.ErrUnsupported.Error()))
	}
	return p, nil
}

func regex(fold, not bool) builtin {
	return builtin{need: needsCase, build: func(g *building) error {
		p, err := compiled(g, 1, fold)
		g.result.fn2 = func(a, _ value) (value, error) {
			if err := p.check(a.S); err != nil {
				return pgvalue.Null, err
			}
			return isBool(p.re.MatchString(a.S) != not)
		}
		return err
	}}
}

// whole makes sure that which part of a text matches is the same in both: the longest of the leftmost.
func whole(g *building, p *pattern) error {
	if p != nil && (p.lazy || p.captures || p.re.MatchString("")) {
		return refuse(g.args[1].pos, "use (?:…) for groups, and greedy quantifiers", "the parts that this regular expression matches are not certain")
	}
	if p != nil {
		p.re.Longest()
	}
	return nil
}

func buildRegexSubstring(g *building) error {
	p, err := compiled(g, 1, false)
	if err == nil {
		err = whole(g, p)
	}
	g.result.fn2 = func(a, _ value) (value, error) {
		if err := p.check(a.S); err != nil {
			return pgvalue.Null, err
		}
		at := p.re.FindStringIndex(a.S)
		if at == nil {
			return pgvalue.Null, nil
		}
		return pgvalue.Text(a.S[at[0]:at[1]]), nil
	}
	return err
}

func buildRegexReplace(g *building) error {
	global, fold := false, false
	if len(g.args) == 4 {
		flags := g.args[3]
		if !flags.constant || strings.Trim(flags.val.S, "gi") != "" {
			return refuse(flags.pos, "use g and i", "those flags are not supported")
		}
		global, fold = strings.Contains(flags.val.S, "g"), strings.Contains(flags.val.S, "i")
	}
	p, err := compiled(g, 1, fold)
	if err == nil {
		err = whole(g, p)
	}
	g.result.fnN = func(v []value) (value, error) {
		if err := p.check(v[0].S); err != nil {
			return pgvalue.Null, err
		}
		if strings.Contains(v[2].S, `\`) {
			return pgvalue.Null, errUnsupported("a replacement with a backslash")
		}
		if global {
			return pgvalue.Text(p.re.ReplaceAllLiteralString(v[0].S, v[2].S)), nil
		}
		at := p.re.FindStringIndex(v[0].S)
		if at == nil {
			return v[0], nil
		}
		return pgvalue.Text(v[0].S[:at[0]] + v[2].S + v[0].S[at[1]:]), nil
	}
	return err
}
