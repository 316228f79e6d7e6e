package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// yamlWriter writes trees as YAML that every reader of YAML 1.1 and 1.2 understands alike: texts stand in quotes unless they can be nothing
// else than a text, and several lines of plain text as a block.
type yamlWriter struct {
	text []byte
}

func (w *yamlWriter) document(n *node) {
	if n.kind != mapping && n.kind != sequence || len(n.entries)+len(n.items) == 0 {
		w.inline(n, 0)
		w.text = append(w.text, '\n')
		return
	}
	w.block(n, 0)
}

// block writes a mapping or a list that has something in it, each line indented.
func (w *yamlWriter) block(n *node, indent int) {
	pad := strings.Repeat("  ", indent)
	for _, e := range n.entries {
		key := yamlKey(e.key)
		if len(key) > maxSimpleKey {
			w.text = append(w.text, pad+"? "+key+"\n"+pad+":"...)
		} else {
			w.text = append(w.text, pad+key+":"...)
		}
		w.below(e.value, indent+1)
	}
	for _, item := range n.items {
		if nested(item) { // the dash stands in the indentation of the first line
			from := len(w.text)
			w.block(item, indent+1)
			copy(w.text[from:], pad+"- ")
			continue
		}
		w.text = append(w.text, pad+"-"...)
		w.below(item, indent+1)
	}
}

// maxSimpleKey is how long a key may be before it needs a mark of its own; parsers look no further than 1024 bytes.
const maxSimpleKey = 512

func nested(n *node) bool {
	return (n.kind == mapping || n.kind == sequence) && len(n.entries)+len(n.items) > 0
}

// below writes what follows a key or a dash, to the end of its line or of the lines after it.
func (w *yamlWriter) below(n *node, indent int) {
	if nested(n) {
		w.text = append(w.text, '\n')
		w.block(n, indent)
		return
	}
	w.text = append(w.text, ' ')
	w.inline(n, indent)
	w.text = append(w.text, '\n')
}

func (w *yamlWriter) inline(n *node, indent int) {
	switch {
	case n.kind == null:
		w.text = append(w.text, "null"...)
	case n.kind == mapping:
		w.text = append(w.text, "{}"...)
	case n.kind == sequence:
		w.text = append(w.text, "[]"...)
	case n.bare:
		w.text = append(w.text, n.text...)
	case isBlock(n.text):
		w.lines(n.text, indent)
	default:
		w.text = append(w.text, yamlText(n.text)...)
	}
}

// lines writes a block of lines as they are.
func (w *yamlWriter) lines(text string, indent int) {
	body, ended := strings.CutSuffix(text, "\n")
	w.text = append(w.text, '|')
	if !ended {
		w.text = append(w.text, '-')
	}
	pad := "\n" + strings.Repeat("  ", indent)
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" {
			w.text = append(w.text, '\n')
			continue
		}
		w.text = append(w.text, pad+line...)
	}
}

// isBlock reports whether a text of several lines reads the same as a block.
func isBlock(text string) bool {
	if !strings.Contains(text, "\n") || strings.HasSuffix(text, "\n\n") || text[0] == ' ' || text[0] == '\n' {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && (strings.TrimSpace(line) == "" || line[0] == '\t') || strings.ContainsFunc(line, notInBlock) {
			return false
		}
	}
	return true
}

func notInBlock(r rune) bool { return r != '\t' && !printable(r) }

func printable(r rune) bool { return r == ' ' || unicode.IsPrint(r) && r != '\uFFFD' }

// plainText matches texts that need no quotes, words that mean something else aside.
var plainText = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+?=&%-]+)*$`)

// plainWords are read as something else than a text, by one version of YAML or another.
var plainWords = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"}

func yamlText(text string) string {
	if plainText.MatchString(text) && !slices.Contains(plainWords, strings.ToLower(text)) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case printable(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plainKey matches keys that need no quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func yamlKey(key string) string {
	if plainKey.MatchString(key) && !slices.Contains(plainWords, strings.ToLower(key)) {
		return key
	}
	quoted := yamlText(key)
	if quoted == key {
		return `"` + key + `"`
	}
	return quoted
}
