package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sequinstream/sequin/internal/resource"
)

// kind is the shape of a node.
type kind int

const (
	null kind = iota
	scalar
	mapping
	sequence
)

// node is a document with aliases followed, merge keys applied and variables filled in. Nodes may be shared; nobody changes them.
type node struct {
	kind    kind
	tag     string // of a scalar: "!!str", "!!int", …
	text    string // of a scalar, as written
	bare    bool   // of a scalar in JSON: written without quotes
	entries []entry
	items   []*node
	at      place
	asked   *shape // while the decoder describes itself: where the questions go
}

type entry struct {
	key   string
	at    place
	value *node
}

func (n *node) describe() string {
	switch n.kind {
	case null:
		return "null"
	case mapping:
		return "a mapping"
	case sequence:
		return "a list"
	case scalar:
	}
	if n.bare {
		return n.text
	}
	return strconv.Quote(n.text)
}

// entry finds the value of a mapping's key, or nil.
func (n *node) entry(key string) *node {
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	return nil
}

// Bounds on what a document may grow to; aliases and merge keys multiply.
const (
	maxDepth = 64
	maxNodes = 2_000_000
)

var yamlError = regexp.MustCompile(`^yaml: (?:line \d+: )?(.*)$`)

// parse returns the document's tree; nil when it is empty or no YAML at all.
func (d *decoder) parse(data []byte) *node {
	if len(data) > maxFile {
		d.mistake("", place{1, 1}, resource.CodeSyntax, "has %d bytes; at most %d are read", len(data), maxFile)
		return nil
	}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := reader.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			d.syntax(data, err)
			return nil
		}
		return &node{kind: null, at: place{1, 1}}
	}
	if err := reader.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		if err != nil {
			d.syntax(data, err)
		} else {
			d.mistake("", place{1, 1}, resource.CodeSyntax, "holds more than one YAML document; put everything into one")
		}
		return nil
	}
	if len(doc.Content) != 1 {
		return &node{kind: null, at: place{1, 1}}
	}
	d.escaped = isEscaped(doc.Content[0])
	t := &tree{decoder: d, done: map[visit]*node{}, open: map[*yaml.Node]bool{}}
	return t.build(doc.Content[0], "", false, 0)
}

// syntax reports what the parser could not read. The parser names the line where the enclosing construct began, if any; the shortest beginning
// of the document with the same error ends where the trouble is.
func (d *decoder) syntax(data []byte, err error) {
	text := yamlErrorText(err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	ends := make([]int, len(lines)+1)
	for i, line := range lines {
		ends[i+1] = ends[i] + len(line)
	}
	line := sort.Search(len(lines), func(n int) bool { return yamlErrorText(readAll(data[:ends[n]])) == text })
	d.mistake("", place{max(1, line), 1}, resource.CodeSyntax, "is not valid YAML: %s", text)
}

func yamlErrorText(err error) string {
	if err == nil {
		return ""
	}
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return err.Error()
}

// readAll parses every document and returns the first error.
func readAll(data []byte) error {
	reader := yaml.NewDecoder(bytes.NewReader(data))
	for {
		err := reader.Decode(new(yaml.Node))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tree builds nodes from YAML.
type tree struct {
	*decoder
	done  map[visit]*node     // an aliased node is built once
	open  map[*yaml.Node]bool // being built: meeting one again is a cycle
	nodes int
	full  bool
}

// visit tells apart the two readings of a node: variables are not filled in below a key named code.
type visit struct {
	node *yaml.Node
	code bool
}

func (t *tree) build(y *yaml.Node, path string, code bool, depth int) *node {
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	at := place{y.Line, y.Column}
	v := visit{y, code}
	if n, ok := t.done[v]; ok {
		return n
	}
	if t.open[y] || depth > maxDepth || !t.grow(1, at) {
		if !t.full {
			t.mistake(path, at, resource.CodeSyntax, "is nested too deeply, or holds itself")
		}
		return &node{kind: null, at: at}
	}
	t.open[y] = true
	n := &node{at: at}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = mapping
		t.mapping(n, y, path, code, depth)
	case yaml.SequenceNode:
		n.kind = sequence
		n.items = make([]*node, len(y.Content))
		for i, item := range y.Content {
			n.items[i] = t.build(item, fmt.Sprintf("%s[%d]", path, i), code, depth+1)
		}
	default:
		t.scalar(n, y, path, code)
	}
	delete(t.open, y)
	t.done[v] = n
	return n
}

// grow counts what was built and stops a document that multiplies without end.
func (t *tree) grow(by int, at place) bool {
	t.nodes += by
	if t.nodes <= maxNodes {
		return true
	}
	if !t.full {
		t.full = true
		t.mistake("", at, resource.CodeSyntax, "grows beyond %d values when its aliases are followed", maxNodes)
	}
	return false
}

func (t *tree) mapping(n *node, y *yaml.Node, path string, code bool, depth int) {
	seen := map[string]place{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := place{key.Line, key.Column}
		switch {
		case key.Kind != yaml.ScalarNode:
			t.mistake(path, at, resource.CodeSyntax, "has a key that is not a plain text")
			continue
		case key.ShortTag() == "!!merge":
			merges = append(merges, value)
			continue
		}
		sub := join(path, key.Value)
		if first, ok := seen[key.Value]; ok {
			t.mistake(sub, at, resource.CodeDuplicate, "is given twice; first in line %d", first.line)
			continue
		}
		seen[key.Value] = at
		n.entries = append(n.entries, entry{key.Value, at, t.build(value, sub, code || key.Value == "code", depth+1)})
	}
	for _, m := range merges {
		t.merge(n, m, seen, path, code, depth)
	}
}

// merge adds the entries of a merge key's mappings that n does not have; an earlier mapping wins over a later one.
func (t *tree) merge(n *node, y *yaml.Node, seen map[string]place, path string, code bool, depth int) {
	m := t.build(y, path, code, depth+1)
	mappings := []*node{m}
	if m.kind == sequence {
		mappings = m.items
	}
	for _, m := range mappings {
		if m.kind != mapping {
			if !t.full && m.kind != null {
				t.mistake(path, place{y.Line, y.Column}, resource.CodeSyntax, "merges %s; << takes a mapping or a list of them", m.describe())
			}
			continue
		}
		if !t.grow(len(m.entries), n.at) {
			return
		}
		for _, e := range m.entries {
			if _, ok := seen[e.key]; !ok {
				seen[e.key] = e.at
				n.entries = append(n.entries, e)
			}
		}
	}
}

func (t *tree) scalar(n *node, y *yaml.Node, path string, code bool) {
	n.tag, n.text, n.kind = y.ShortTag(), y.Value, scalar
	switch n.tag {
	case "!!null":
		n.kind = null
	case "!!str":
		if !code {
			t.fillIn(n, path)
		}
	case "!!int":
		var i int64
		if y.Decode(&i) == nil && strconv.FormatInt(i, 10) != y.Value {
			n.tag = "!!int " + strconv.FormatInt(i, 10) // 0x10, 1_000: the number beside what was written
		}
	case "!!bool", "!!float", "!!timestamp", "!!binary":
	default:
		t.mistake(path, n.at, resource.CodeSyntax, "has the tag %s, which means nothing here", y.Tag)
	}
}

// isEscaped reports whether the document says of itself that a dollar sign is written $$ in it.
func isEscaped(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == dollarKey {
			return root.Content[i+1].Value == dollarEscaped
		}
	}
	return false
}

// fillIn puts the values of variables into a text.
func (t *tree) fillIn(n *node, path string) {
	if t.lookup == nil {
		if t.escaped {
			n.text = strings.ReplaceAll(n.text, dollarEscaped, "$")
		}
		return
	}
	text, err := interpolate(n.text, t.lookup, func(name string) {
		t.warnOnce("env "+name, path, n.at, "uses the environment variable %s, which is not set", name)
	})
	switch {
	case err != nil:
		t.mistake(path, n.at, resource.CodeInvalid, "%s", err.Error()).Hint = "write $$ for a dollar sign"
	case !utf8.ValidString(text):
		t.mistake(path, n.at, resource.CodeInvalid, "holds bytes that are not valid UTF-8, from an environment variable")
		text = ""
	}
	n.text = text
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
