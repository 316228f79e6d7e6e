package where

import (
	"crypto/md5" //nolint:gosec // md5() is a function of Postgres
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

const maxText = 64 << 20 // of results; Postgres' own limit is 1 GiB

func errTooLong() error { return errUnsupported("a text of more than %d bytes", maxText) }

func chars(s string) int64 { return int64(utf8.RuneCountInString(s)) }

func trimSpaces(s string) string { return strings.TrimRight(s, " ") }

func nameOf(s string) (value, error) {
	const limit = 63
	if len(s) > limit {
		cut := limit
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return pgvalue.Text(s), nil
}

func firstChars(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// padded is bpchar(n): cut, or filled with blanks.
func padded(s string, n int) string {
	s = firstChars(s, n)
	if missing := n - int(chars(s)); missing > 0 {
		s += strings.Repeat(" ", missing)
	}
	return s
}

func text1(f func(string) string) builtin {
	return builtin{fn1: func(a value) (value, error) { return pgvalue.Text(f(a.S)), nil }}
}

func text2(f func(a, b string) string) builtin {
	return builtin{fn2: func(a, b value) (value, error) { return pgvalue.Text(f(a.S, b.S)), nil }}
}

func int1(f func(string) int64) builtin {
	return builtin{fn1: func(a value) (value, error) { return pgvalue.Int(f(a.S)), nil }}
}

func texts() map[string]builtin {
	all := map[string]builtin{
		"textlen":         int1(chars),
		"bpcharlen":       int1(func(s string) int64 { return chars(trimSpaces(s)) }),
		"rtrim1":          text1(trimSpaces),
		"btrim1":          text1(func(s string) string { return strings.Trim(s, " ") }),
		"ltrim1":          text1(func(s string) string { return strings.TrimLeft(s, " ") }),
		"btrim":           text2(trimSet(true, true)),
		"ltrim":           text2(trimSet(true, false)),
		"rtrim":           text2(trimSet(false, true)),
		"textoctetlen":    int1(func(s string) int64 { return int64(len(s)) }),
		"bpcharoctetlen":  int1(func(s string) int64 { return int64(len(s)) }),
		"byteaoctetlen":   int1(func(s string) int64 { return int64(len(s)) }),
		"md5_text":        text1(md5Hex),
		"md5_bytea":       text1(md5Hex),
		"byteacat":        {fn2: concatenate},
		"textcat":         {fn2: concatenate},
		"text_reverse":    text1(reverse),
		"sql:textanycat":  {build: concatAny(1)},
		"sql:anytextcat":  {build: concatAny(0)},
		"lower":           {build: changeCase(unicode.ToLower), need: needsCase},
		"upper":           {build: changeCase(unicode.ToUpper), need: needsCase},
		"initcap":         {build: buildInitcap, need: needsCase},
		"text_concat":     {build: buildConcat},
		"text_concat_ws":  {build: buildConcatWS},
		"pg_num_nulls":    {fnN: countNulls(true)},
		"pg_num_nonnulls": {fnN: countNulls(false)},
		"ascii": {fn1: func(a value) (value, error) {
			r, size := utf8.DecodeRuneInString(a.S)
			if size == 0 {
				return pgvalue.Int(0), nil
			}
			return pgvalue.Int(int64(r)), nil
		}, bytes: true},
	}
	for _, name := range []string{"textoctetlen", "bpcharoctetlen", "md5_text"} {
		b := all[name]
		b.bytes = true
		all[name] = b
	}
	return all
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

func trimSet(left, right bool) func(s, set string) string {
	return func(s, set string) string {
		in := func(r rune) bool { return strings.ContainsRune(set, r) }
		if left {
			s = strings.TrimLeftFunc(s, in)
		}
		if right {
			s = strings.TrimRightFunc(s, in)
		}
		return s
	}
}

func concatenate(a, b value) (value, error) {
	if len(a.S)+len(b.S) > maxText {
		return pgvalue.Null, errTooLong()
	}
	return pgvalue.Text(a.S + b.S), nil
}

func reverse(s string) string {
	b := make([]byte, len(s))
	at := len(s)
	for _, r := range s {
		at -= utf8.RuneLen(r)
		utf8.EncodeRune(b[at:], r)
	}
	return string(b)
}

// concatAny is text || anything, and anything || text: the other side is cast to text.
func concatAny(other int) func(*building) error {
	return func(g *building) error {
		write := textOf(g.args[other])
		if write == nil {
			return refuse(g.args[other].pos, "cast it to text", "the text of type %s is not supported", g.args[other].typ.Display())
		}
		g.result.fn2 = func(a, b value) (value, error) {
			if other == 0 {
				a = pgvalue.Text(write(a))
			} else {
				b = pgvalue.Text(write(b))
			}
			return concatenate(a, b)
		}
		return nil
	}
}

// textOf is the cast to text.
func textOf(e *expr) pgvalue.Writer {
	switch e.typ.BaseType().Name {
	case "bool":
		return func(v value) string {
			if v.I != 0 {
				return "true"
			}
			return "false"
		}
	case "bpchar":
		return func(v value) string { return trimSpaces(v.S) }
	case "inet":
		return func(v value) string {
			a := *v.Inet()
			a.CIDR = true // the cast, unlike the output, always shows the length
			return pgvalue.FormatInet(value{P: &a})
		}
	}
	return pgvalue.WriterOf(e.typ)
}

func writers(g *building, args []*expr) ([]pgvalue.Writer, error) {
	out := make([]pgvalue.Writer, len(args))
	for i, a := range args {
		if out[i] = pgvalue.WriterOf(a.typ); out[i] == nil && a.typ != g.catalog.Unknown {
			return nil, refuse(a.pos, "cast it to text", "the text of type %s is not supported", a.typ.Display())
		}
		if a.typ == g.catalog.Unknown {
			out[i] = func(v value) string { return v.S }
		}
	}
	return out, nil
}

func buildConcat(g *building) error {
	write, err := writers(g, g.args)
	g.result.fnN = func(args []value) (value, error) {
		var b strings.Builder
		for i, a := range args {
			if !a.Null {
				b.WriteString(write[i](a))
			}
		}
		if b.Len() > maxText {
			return pgvalue.Null, errTooLong()
		}
		return pgvalue.Text(b.String()), nil
	}
	return err
}

func buildConcatWS(g *building) error {
	write, err := writers(g, g.args[1:])
	g.result.fnN = func(args []value) (value, error) {
		if args[0].Null {
			return pgvalue.Null, nil
		}
		var parts []string
		for i, a := range args[1:] {
			if !a.Null {
				parts = append(parts, write[i](a))
			}
		}
		return pgvalue.Text(strings.Join(parts, args[0].S)), nil
	}
	return err
}

func countNulls(null bool) func([]value) (value, error) {
	return func(args []value) (value, error) {
		n := int64(0)
		for _, a := range args {
			if a.Null == null {
				n++
			}
		}
		return pgvalue.Int(n), nil
	}
}

// plainCase holds the letters whose upper and lower case all libraries agree on: one letter each, the same in all versions of Unicode since 5 and
// in all languages but the Turkic ones, which are refused beforehand.
func plainCase(r rune) bool {
	switch {
	case r < 0x80:
		return true
	case r == 0xB5 || r == 0xDF || r == 0xFF || r == 0x130 || r == 0x131 || r == 0x149 || r == 0x178 || r == 0x17F || r == 0x1F0:
		return false
	case r < 0x180: // Latin-1 and Latin Extended-A
		return true
	case r == 0x390 || r == 0x3B0 || r == 0x3A3 || r == 0x3C2 || r == 0x3C3:
		return false // letters with no capital of their own, and sigma, which ends words in another shape
	case r >= 0x386 && r <= 0x3CE: // Greek
		return true
	case r >= 0x400 && r <= 0x45F: // Cyrillic
		return true
	case r >= 0x3041 && r <= 0x30FF, r >= 0x4E00 && r <= 0x9FA5, r >= 0xAC00 && r <= 0xD7A3, r >= 0x2010 && r <= 0x2027, r >= 0x5D0 && r <= 0x5EA,
		r >= 0x621 && r <= 0x64A: // no case: kana, Han, Hangul, punctuation, Hebrew, Arabic
		return true
	}
	return false
}

func errCase(r rune) error {
	return errUnsupported("upper and lower case of %q depend on the server's libraries", r)
}

func changeCase(change func(rune) rune) func(*building) error {
	return func(g *building) error {
		if g.coll.strength == none {
			g.result.fn1 = func(a value) (value, error) { return mapCase(a.S, change) }
			return nil
		}
		if g.coll.coll.ASCIICase {
			g.result.fn1 = func(a value) (value, error) { return pgvalue.Text(mapASCII(a.S, change)), nil }
			return nil
		}
		g.result.fn1 = func(a value) (value, error) { return mapCase(a.S, change) }
		return nil
	}
}

func mapASCII(s string, change func(rune) rune) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 {
			return change(r)
		}
		return r
	}, s)
}

func mapCase(s string, change func(rune) rune) (value, error) {
	for _, r := range s {
		if !plainCase(r) {
			return pgvalue.Null, errCase(r)
		}
	}
	return pgvalue.Text(strings.Map(change, s)), nil
}

// buildInitcap takes ASCII alone where words could begin elsewhere by another library.
func buildInitcap(g *building) error {
	ascii := g.coll.strength != none && g.coll.coll.ASCIICase
	g.result.fn1 = func(a value) (value, error) {
		inside := false
		var b strings.Builder
		for _, r := range a.S {
			if r >= 0x80 && !ascii {
				return pgvalue.Null, errCase(r)
			}
			alnum := r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r))
			switch {
			case !alnum:
				b.WriteRune(r)
			case inside:
				b.WriteRune(unicode.ToLower(r))
			default:
				b.WriteRune(unicode.ToUpper(r))
			}
			inside = alnum
		}
		return pgvalue.Text(b.String()), nil
	}
	return nil
}
