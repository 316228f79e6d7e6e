package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sequinstream/sequin/internal/resource"
)

// JSONFromYAML turns one YAML document into JSON: keys in their order, numbers with every digit, aliases and merge keys followed. The name
// stands for the document in messages. Mistakes give a *resource.InvalidError.
func JSONFromYAML(name string, data []byte) ([]byte, error) {
	root, err := parseNode(name, data)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return []byte("null"), nil
	}
	w := &jsonWriter{name: name, open: map[*yaml.Node]bool{}}
	out := w.value(nil, root, "", 0)
	if w.err != nil {
		return nil, w.err
	}
	return out, nil
}

// maxConverted bounds one resource, which is what is converted; aliases multiply.
const maxConverted = 200_000

// jsonWriter turns nodes into JSON and stops at the first mistake.
type jsonWriter struct {
	name  string
	open  map[*yaml.Node]bool // being written: meeting one again is a cycle
	nodes int
	err   error
}

func (w *jsonWriter) mistake(n *yaml.Node, path, format string, args ...any) {
	if w.err == nil {
		m := resource.Mistake{Path: path, Code: resource.CodeSyntax, What: fmt.Sprintf(format, args...), File: w.name, Line: n.Line, Column: n.Column}
		w.err = &resource.InvalidError{Mistakes: []resource.Mistake{m}}
	}
}

func (w *jsonWriter) value(dst []byte, n *yaml.Node, path string, depth int) []byte {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	n = follow(n)
	w.nodes++
	if w.err != nil || w.open[n] || depth > maxDepth || w.nodes > maxConverted || len(dst) > maxFile {
		w.mistake(n, path, "is nested too deeply, holds itself, or grows too large when its aliases are followed")
		return dst
	}
	switch n.Kind {
	case yaml.MappingNode:
		w.open[n] = true
		dst = w.object(dst, n, path, depth)
		delete(w.open, n)
		return dst
	case yaml.SequenceNode:
		w.open[n] = true
		dst = append(dst, '[')
		for i, item := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.value(dst, item, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
		delete(w.open, n)
		return append(dst, ']')
	default:
		return w.scalar(dst, n, path)
	}
}

func (w *jsonWriter) object(dst []byte, n *yaml.Node, path string, depth int) []byte {
	dst = append(dst, '{')
	written := map[string]bool{}
	put := func(key, value *yaml.Node) {
		if len(written) > 0 {
			dst = append(dst, ',')
		}
		written[key.Value] = true
		dst = append(quoteJSON(dst, key.Value), ':')
		dst = w.value(dst, value, joinKey(path, key), depth+1)
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			w.mistake(key, path, "has a key that is not a plain text")
		case key.ShortTag() == "!!merge":
			merges = append(merges, value)
		case written[key.Value]:
			w.mistake(key, joinKey(path, key), "is given twice")
		default:
			put(key, value)
		}
	}
	for _, m := range merges {
		w.merge(m, path, depth, func(key, value *yaml.Node) {
			if !written[key.Value] {
				put(key, value)
			}
		})
	}
	return append(dst, '}')
}

// merge hands over the entries of a merge key's mappings; those of an earlier one come first.
func (w *jsonWriter) merge(n *yaml.Node, path string, depth int, put func(key, value *yaml.Node)) {
	n = follow(n)
	all := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		all = n.Content
	}
	for _, m := range all {
		m = follow(m)
		if m.Kind != yaml.MappingNode || depth > maxDepth {
			w.mistake(m, path, "merges something else than a mapping")
			return
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			key := follow(m.Content[i])
			if key.ShortTag() == "!!merge" {
				w.merge(m.Content[i+1], path, depth+1, put)
				continue
			}
			put(key, m.Content[i+1])
		}
	}
}

func (w *jsonWriter) scalar(dst []byte, n *yaml.Node, path string) []byte {
	switch n.ShortTag() {
	case "!!null":
		return append(dst, "null"...)
	case "!!bool":
		var v bool
		if n.Decode(&v) == nil {
			return strconv.AppendBool(dst, v)
		}
	case "!!int", "!!float":
		return w.number(dst, n, path)
	}
	return quoteJSON(dst, n.Value)
}

func (w *jsonWriter) number(dst []byte, n *yaml.Node, path string) []byte {
	if json.Valid([]byte(n.Value)) { // as JSON writes it: every digit stays
		return append(dst, n.Value...)
	}
	if n.ShortTag() == "!!int" {
		var i int64
		if n.Decode(&i) == nil {
			return strconv.AppendInt(dst, i, 10)
		}
		var u uint64
		if n.Decode(&u) == nil {
			return strconv.AppendUint(dst, u, 10)
		}
	}
	var f float64
	if n.Decode(&f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		w.mistake(n, path, "is %s, which JSON cannot express", n.Value)
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// YAMLFromJSON turns JSON into YAML with the keys in their order.
func YAMLFromJSON(data []byte) ([]byte, error) {
	root, err := nodeFromJSON(data)
	if err != nil {
		return nil, err
	}
	return encodeNode(root)
}

func nodeFromJSON(data []byte) (*yaml.Node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	n, err := readJSON(d, 0)
	if err == nil {
		if _, extra := d.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("something follows the value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{n}}, nil
}

func readJSON(d *json.Decoder, depth int) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for d.More() {
			item, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := d.Token()
		return n, err
	case string:
		return textNode(v), nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
}

// textNode quotes what older readers of YAML take for a truth value.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off":
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
