package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/resource"
)

// quoteJSON appends text as a JSON string.
func quoteJSON(dst []byte, text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil { // cannot happen for a string
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// isDecimal reports whether text is a whole number as JSON writes it.
func isDecimal(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || (digits[0] == '0' && len(digits) > 1) {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// parseJSON returns the tree of a JSON text; nil when it is none. JSON is read as JSON, although it is nearly YAML: surrogate pairs, control
// characters and long keys are written differently there.
func (d *decoder) parseJSON(data []byte) *node {
	t := &jsonTree{decoder: d, data: data, line: 1, column: 1}
	if d.body && len(data) > maxFile {
		d.mistake("", place{1, 1}, resource.CodeJSON, "has %d bytes; at most %d are read", len(data), maxFile)
		return nil
	}
	if !utf8.Valid(data) {
		d.mistake("", place{1, 1}, resource.CodeJSON, "is not valid UTF-8")
		return nil
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			t.advance(int(syntax.Offset))
		}
		d.mistake("", place{t.line, t.column}, resource.CodeJSON, "is not valid JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
		return nil
	}
	t.reader = json.NewDecoder(bytes.NewReader(data))
	t.reader.UseNumber()
	root := t.value("", 0)
	if t.full {
		return nil
	}
	return root
}

// jsonTree builds nodes from JSON, with their places.
type jsonTree struct {
	*decoder
	data         []byte
	reader       *json.Decoder
	offset       int // of line and column
	line, column int
	nodes        int
	full         bool // too many of them
}

// maxBodyNodes bounds the values of one body, each of which takes more memory than its text.
const maxBodyNodes = 200_000

// grow counts a value. The first one too many ends the reading.
func (t *jsonTree) grow(at place) bool {
	t.nodes++
	if t.body && t.nodes > maxBodyNodes && !t.full {
		t.full = true
		t.mistake("", at, resource.CodeJSON, "has more than %d values", maxBodyNodes)
	}
	return !t.full
}

// advance moves line and column on to an offset.
func (t *jsonTree) advance(to int) {
	to = min(to, len(t.data))
	for t.offset < to {
		r, size := utf8.DecodeRune(t.data[t.offset:])
		t.offset += size
		t.column++
		if r == '\n' {
			t.line, t.column = t.line+1, 1
		}
	}
}

// next returns the next token, its text and its place.
func (t *jsonTree) next() (token json.Token, raw []byte, at place) {
	from := int(t.reader.InputOffset())
	for from < len(t.data) && strings.IndexByte(" \t\r\n,:", t.data[from]) >= 0 {
		from++
	}
	t.advance(from)
	at = place{t.line, t.column}
	token, err := t.reader.Token()
	if err != nil { // the text was checked before; only its end is left
		return io.EOF, nil, at
	}
	return token, t.data[from:int(t.reader.InputOffset())], at
}

func (t *jsonTree) value(path string, depth int) *node {
	token, raw, at := t.next()
	n := &node{kind: scalar, at: at}
	if !t.grow(at) {
		n.kind = null
		return n
	}
	switch v := token.(type) {
	case json.Delim:
		if depth > maxDepth {
			t.skip()
			t.mistake(path, at, resource.CodeJSON, "is nested too deeply")
			n.kind = null
			return n
		}
		if n.kind = mapping; v == '[' {
			n.kind = sequence
		}
		t.children(n, path, depth)
	case string:
		n.tag, n.text = "!!str", t.text(path, at, v, raw)
	case json.Number:
		n.tag, n.text, n.bare = "!!float", v.String(), true
		switch {
		case n.text == "-0":
			n.tag = "!!int 0"
		case isDecimal(n.text):
			n.tag = "!!int"
		}
	case bool:
		n.tag, n.text, n.bare = "!!bool", "false", true
		if v {
			n.text = "true"
		}
	default:
		n.kind = null
	}
	return n
}

func (t *jsonTree) children(n *node, path string, depth int) {
	seen := map[string]place{}
	for i := 0; !t.full && t.reader.More(); i++ {
		if n.kind == sequence {
			n.items = append(n.items, t.value(fmt.Sprintf("%s[%d]", path, i), depth+1))
			continue
		}
		token, raw, at := t.next()
		key, _ := token.(string)
		key = t.text(path, at, key, raw)
		sub := join(path, key)
		value := t.value(sub, depth+1)
		if first, ok := seen[key]; ok {
			t.mistake(sub, at, resource.CodeDuplicate, "is given twice; first in line %d", first.line)
			continue
		}
		seen[key] = at
		n.entries = append(n.entries, entry{key, at, value})
	}
	t.next() // the end of it
}

// skip passes over the rest of an object or a list that was begun.
func (t *jsonTree) skip() {
	for open := 1; open > 0; {
		token, _, _ := t.next()
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'), io.EOF:
			open--
		}
	}
}

// text refuses halves of surrogate pairs, which the standard decoder silently replaces.
func (t *jsonTree) text(path string, at place, text string, raw []byte) string {
	const replaced = "\uFFFD"
	if strings.Contains(text, replaced) && !bytes.Contains(raw, []byte(replaced)) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
		t.mistake(path, at, resource.CodeJSON, "holds half of a surrogate pair, which is no character")
	}
	return text
}
