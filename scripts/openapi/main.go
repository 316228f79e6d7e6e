// Command openapi makes what is made of openapi/openapi.yaml: the JSON that the server tells, and the reference page.
//
//	go generate ./openapi
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string) error {
	source, err := os.ReadFile(filepath.Join(root, "openapi", "openapi.yaml"))
	if err != nil {
		return err
	}
	text, err := contract(source)
	if err != nil {
		return err
	}
	var doc document
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	page, err := doc.page()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "openapi", "openapi.json"), append(text, '\n'), 0o644); err != nil { //nolint:gosec // of this repository
		return err
	}
	return os.WriteFile(filepath.Join(root, "docs", "reference", "management-api.md"), page, 0o644)
}

// contract is the document as JSON, with the order of its keys, without its shorthands.
func contract(source []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(source, &root); err != nil {
		return nil, err
	}
	top := root.Content[0]
	var kept []*yaml.Node
	for i := 0; i < len(top.Content); i += 2 {
		if !strings.HasPrefix(top.Content[i].Value, "x-") {
			kept = append(kept, top.Content[i], top.Content[i+1])
		}
	}
	top.Content = kept
	var b bytes.Buffer
	if err := write(&b, top); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// write puts a node as JSON, aliases and merged keys resolved.
func write(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.AliasNode:
		return write(b, n.Alias)
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := write(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case yaml.MappingNode:
		return writeMapping(b, n)
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			return err
		}
		if n.Tag == "!!timestamp" {
			v = n.Value
		}
		return encode(b, v)
	case yaml.DocumentNode:
	}
	return fmt.Errorf("line %d: a node that is not expected here", n.Line)
}

func encode(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	b.Truncate(len(bytes.TrimRight(b.Bytes(), "\n")))
	return err
}

func writeMapping(b *bytes.Buffer, n *yaml.Node) error {
	b.WriteByte('{')
	for i, p := range flat(n) {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(b, p.key); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := write(b, p.value); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// pair is one key of a mapping.
type pair struct {
	key   string
	value *yaml.Node
}

// flat lists the keys of a mapping, those merged into it first unless the mapping has them itself.
func flat(n *yaml.Node) []pair {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var merged, own []pair
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "<<" {
			merged = append(merged, flat(n.Content[i+1])...)
		} else {
			own = append(own, pair{n.Content[i].Value, n.Content[i+1]})
		}
	}
	out := own
	if len(merged) > 0 {
		out = nil
		for _, m := range merged {
			for j, o := range own {
				if o.key == m.key {
					m = o
					own = append(own[:j:j], own[j+1:]...)
					break
				}
			}
			out = append(out, m)
		}
		out = append(out, own...)
	}
	return out
}
