package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sequinstream/sequin/internal/resource"
)

// Source is a document on its way from a file to a server: variables are filled in, and the files that functions name stand in their place.
// The server neither has the environment nor the files. It remembers where everything was written, because what is sent may differ.
type Source struct {
	Name     string
	Text     []byte // what to send
	Warnings []Warning

	spots map[string]spot
}

// SourceOptions say what goes into a document. What is nil is left as it is.
type SourceOptions struct {
	Lookup LookupEnv                         // the variables
	Read   func(file string) ([]byte, error) // the file that a function names
}

// spot is a place in the file.
type spot struct{ line, column int }

// Bounds on a source. Aliases multiply, so what is counted is what they stand for.
const (
	maxSpots    = 200_000
	maxCopied   = 100_000
	maxCodeFile = 1 << 20
)

// ReadSource fills in the variables and files of a document. A document that needs nothing is sent as it is. Mistakes give a
// *resource.InvalidError; what the document means is for the server to judge.
func ReadSource(name string, data []byte, o SourceOptions) (*Source, error) {
	s := &Source{Name: name, Text: data, spots: map[string]spot{}}
	root, err := parseNode(name, data)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return s, nil
	}
	f := &filler{source: s, options: o, plain: map[*yaml.Node]*yaml.Node{}, seen: map[*yaml.Node]bool{}, warned: map[string]bool{}}
	f.walk(root, false, "", 0)
	f.functions(root)
	s.record(root, "", 0)
	if len(f.mistakes) > 0 {
		for i := range f.mistakes {
			m := &f.mistakes[i]
			m.File, m.Line, m.Column = s.Position(m.Path)
		}
		return nil, &resource.InvalidError{Mistakes: f.mistakes}
	}
	if f.changed {
		s.Text, err = encodeNode(root)
	}
	return s, err
}

// Position is where a path such as "sinks[0].name" was written, or else what holds it.
func (s *Source) Position(path string) (file string, line, column int) {
	for ; path != ""; path = parent(path) {
		if at, ok := s.spots[path]; ok {
			return s.Name, at.line, at.column
		}
	}
	return s.Name, 1, 1
}

// parseNode reads one document; nil when it is empty.
func parseNode(name string, data []byte) (*yaml.Node, error) {
	bad := func(line int, format string, args ...any) error {
		m := resource.Mistake{Code: resource.CodeSyntax, What: fmt.Sprintf(format, args...), File: name, Line: line, Column: 1}
		return &resource.InvalidError{Mistakes: []resource.Mistake{m}}
	}
	if len(data) > maxFile {
		return nil, bad(1, "has %d bytes; at most %d are read", len(data), maxFile)
	}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := reader.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil //nolint:nilnil // an empty document is none
	case err != nil:
		if json.Valid(data) { // the parser does not know JSON's pairs of \u escapes
			return nodeFromJSON(data)
		}
		d := &decoder{file: name}
		d.syntax(data, err)
		return nil, &resource.InvalidError{Mistakes: d.mistakes}
	}
	if err := reader.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, bad(1, "holds more than one YAML document; put everything into one")
	}
	if len(doc.Content) != 1 {
		return nil, nil //nolint:nilnil // as above
	}
	return &doc, nil
}

// filler changes a tree in place.
type filler struct {
	source   *Source
	options  SourceOptions
	plain    map[*yaml.Node]*yaml.Node // anchored nodes as they were written
	seen     map[*yaml.Node]bool
	warned   map[string]bool
	mistakes []resource.Mistake
	changed  bool
	copied   int // nodes that took the place of aliases
}

func (f *filler) mistake(path, code, format string, args ...any) *resource.Mistake {
	f.mistakes = append(f.mistakes, resource.Mistake{Path: path, Code: code, What: fmt.Sprintf(format, args...)})
	return &f.mistakes[len(f.mistakes)-1]
}

// walk fills in the variables below a node. Below a key named code nothing is filled in.
func (f *filler) walk(n *yaml.Node, code bool, path string, depth int) {
	if depth > maxDepth || f.copied > maxCopied {
		if !f.warned[""] {
			f.warned[""] = true
			f.mistake(path, resource.CodeSyntax, "is nested too deeply, or holds itself")
		}
		return
	}
	if n.Anchor != "" {
		f.plain[n] = clone(n)
		f.seen[n] = code
	}
	switch n.Kind {
	case yaml.DocumentNode:
		f.walk(n.Content[0], code, path, depth+1)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			f.walk(value, code || key.Value == "code", joinKey(path, key), depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			f.walk(item, code, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	case yaml.AliasNode:
		f.alias(n, code, path, depth)
	case yaml.ScalarNode:
		f.scalar(n, code, path)
	}
}

// alias puts a copy in the place of an alias that has to read differently from its anchor: one of the two is below a key named code.
func (f *filler) alias(n *yaml.Node, code bool, path string, depth int) {
	target := n.Alias
	was, done := f.seen[target]
	if !done || was == code || !holdsVariable(f.plain[target], 0) {
		return
	}
	copied := clone(f.plain[target])
	f.copied += count(copied)
	copied.Anchor = ""
	copied.Line, copied.Column = n.Line, n.Column
	*n = *copied
	f.changed = true
	f.walk(n, code, path, depth+1)
}

func (f *filler) scalar(n *yaml.Node, code bool, path string) {
	if code || f.options.Lookup == nil || n.ShortTag() != "!!str" {
		return
	}
	text, err := interpolate(n.Value, f.options.Lookup, func(name string) {
		if f.warned[name] {
			return
		}
		f.warned[name] = true
		f.source.Warnings = append(f.source.Warnings, Warning{
			File: f.source.Name, Line: n.Line, Column: n.Column, Path: path,
			Message: fmt.Sprintf("uses the environment variable %s, which is not set", name),
		})
	})
	if err != nil {
		f.mistake(path, resource.CodeInvalid, "%s", err.Error()).Hint = "write $$ for a dollar sign"
		return
	}
	if text != n.Value { // it stays a text, whatever it looks like now
		n.Value, n.Tag, f.changed = text, "!!str", true
	}
}

// functions replaces the key file of each function by code.
func (f *filler) functions(root *yaml.Node) {
	if f.options.Read == nil {
		return
	}
	for _, section := range []string{"functions", "transforms"} {
		list := follow(child(root.Content[0], section))
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for i, item := range list.Content {
			path := fmt.Sprintf("%s[%d]", section, i)
			item = follow(item)
			f.inline(item, path)
			for _, nested := range []string{"function", "transform"} {
				f.inline(follow(child(item, nested)), path+"."+nested)
			}
		}
	}
}

func (f *filler) inline(n *yaml.Node, path string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], follow(n.Content[i+1])
		if key.Value != "file" {
			continue
		}
		at := path + ".file"
		switch {
		case child(n, "code") != nil:
			f.mistake(at, resource.CodeConflict, "is given beside code; a function has one of them")
		case value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" || value.Value == "":
			f.mistake(at, resource.CodeInvalid, "is not the name of a file")
		default:
			text, ok := f.read(value.Value, at)
			if !ok {
				return
			}
			key.Value = "code"
			n.Content[i+1] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.LiteralStyle, Line: value.Line, Column: value.Column}
			f.changed = true
		}
		return
	}
}

func (f *filler) read(name, path string) (string, bool) {
	data, err := f.options.Read(name)
	switch {
	case err != nil:
		f.mistake(path, resource.CodeInvalid, "cannot be read: %s", err.Error())
	case len(data) > maxCodeFile:
		f.mistake(path, resource.CodeInvalid, "names a file of %d bytes; at most %d are read", len(data), maxCodeFile)
	case !utf8.Valid(data):
		f.mistake(path, resource.CodeInvalid, "names a file that is not text in UTF-8")
	default:
		return string(data), true
	}
	return "", false
}

// record remembers where each path was written, through aliases and merge keys.
func (s *Source) record(n *yaml.Node, path string, depth int) {
	if n == nil || depth > maxDepth || len(s.spots) > maxSpots {
		return
	}
	switch n.Kind {
	case yaml.DocumentNode:
		s.record(n.Content[0], path, depth+1)
	case yaml.AliasNode:
		s.record(n.Alias, path, depth+1)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.ShortTag() == "!!merge" {
				continue
			}
			sub := joinKey(path, key)
			s.note(sub, key)
			s.record(value, sub, depth+1)
		}
		for i := 0; i+1 < len(n.Content); i += 2 { // what is written beside a merge key wins over it
			if n.Content[i].ShortTag() == "!!merge" {
				s.merged(n.Content[i+1], path, depth)
			}
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			sub := fmt.Sprintf("%s[%d]", path, i)
			s.note(sub, item)
			s.record(item, sub, depth+1)
		}
	case yaml.ScalarNode:
	}
}

func (s *Source) merged(n *yaml.Node, path string, depth int) {
	n = follow(n)
	if n.Kind != yaml.SequenceNode {
		s.record(n, path, depth+1)
		return
	}
	for _, item := range n.Content {
		s.record(item, path, depth+1)
	}
}

func (s *Source) note(path string, n *yaml.Node) {
	if _, ok := s.spots[path]; !ok {
		s.spots[path] = spot{n.Line, n.Column}
	}
}

func joinKey(path string, key *yaml.Node) string {
	if path == "" {
		return key.Value
	}
	return path + "." + key.Value
}

// follow is what an alias stands for. An alias never stands for another one.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// child is the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// clone copies a node and what is below, without the anchors below: one name must not be defined twice.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	if n.Kind == yaml.AliasNode {
		return &c
	}
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		c.Content[i] = clone(item)
		c.Content[i].Anchor = ""
	}
	return &c
}

func count(n *yaml.Node) int {
	total := 1
	for _, item := range n.Content {
		total += count(item)
	}
	return total
}

func holdsVariable(n *yaml.Node, depth int) bool {
	if n == nil || depth > maxDepth {
		return false
	}
	if n.Kind == yaml.ScalarNode {
		return bytes.IndexByte([]byte(n.Value), '$') >= 0
	}
	for _, item := range n.Content {
		if holdsVariable(item, depth+1) {
			return true
		}
	}
	return false
}

// encodeNode writes a tree. Where the encoder's choice of a style would change a text, all are quoted.
func encodeNode(n *yaml.Node) ([]byte, error) {
	text, err := writeNode(n)
	if err == nil && readsAs(text, n) {
		return text, nil
	}
	quoted := quoteAll(n)
	if text, err = writeNode(quoted); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if !readsAs(text, quoted) {
		return nil, errors.New("the document cannot be written as YAML without changing it")
	}
	return text, nil
}

func writeNode(n *yaml.Node) (text []byte, err error) {
	var b bytes.Buffer
	w := yaml.NewEncoder(&b)
	w.SetIndent(2)
	if err := w.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

func readsAs(text []byte, want *yaml.Node) bool {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) != 1 {
		return false
	}
	if want.Kind == yaml.DocumentNode {
		want = want.Content[0]
	}
	return sameNode(doc.Content[0], want)
}

func sameNode(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) || a.Anchor != b.Anchor {
		return false
	}
	if a.Kind == yaml.AliasNode {
		return a.Value == b.Value
	}
	if a.Kind == yaml.ScalarNode && (a.Value != b.Value || a.ShortTag() != b.ShortTag()) {
		return false
	}
	for i := range a.Content {
		if !sameNode(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// quoteAll is a copy with every text in double quotes and without comments, which could end up in the middle of something.
func quoteAll(n *yaml.Node) *yaml.Node {
	c := *n
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	if c.Kind == yaml.ScalarNode && c.ShortTag() == "!!str" {
		c.Style = yaml.DoubleQuotedStyle
	}
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		c.Content[i] = quoteAll(item)
	}
	return &c
}
