package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/sequinstream/sequin/internal/resource"
)

// RewriteOptions say how the functions of a document are rewritten.
type RewriteOptions struct {
	Read    func(file string) ([]byte, error)                          // the file that a function names
	Rewrite func(name, code string) (rewritten string, err error)      // the code of a function in another language
	From    func(kind resource.FunctionType, l resource.Language) bool // which functions are meant
	To      resource.Language                                          // the language of what comes out
}

// RewriteFunctions rewrites the code of functions in a document and leaves everything else as it is, variables and comments too. Code that
// stood in a file of its own stands in the document then. It tells how many functions were rewritten; mistakes of the document give a
// *resource.InvalidError, and an error of Rewrite is returned as it is. Without a function to rewrite the text is the same.
func RewriteFunctions(name string, data []byte, o RewriteOptions) (text []byte, rewritten int, err error) {
	root, err := parseNode(name, data)
	if err != nil || root == nil {
		return data, 0, err
	}
	w := rewriter{options: o, filler: filler{source: &Source{Name: name, spots: map[string]spot{}}, options: SourceOptions{Read: o.Read}}}
	for _, section := range []string{"functions", "transforms"} {
		list := follow(child(root.Content[0], section))
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for i, item := range list.Content {
			if err := w.function(follow(item), fmt.Sprintf("%s[%d]", section, i)); err != nil {
				return nil, 0, err
			}
		}
	}
	if len(w.filler.mistakes) > 0 {
		w.filler.source.record(root, "", 0)
		for i := range w.filler.mistakes {
			m := &w.filler.mistakes[i]
			m.File, m.Line, m.Column = w.filler.source.Position(m.Path)
		}
		return nil, 0, &resource.InvalidError{Mistakes: w.filler.mistakes}
	}
	if w.rewritten == 0 {
		return data, 0, nil
	}
	text, err = encodeNode(root)
	return text, w.rewritten, err
}

// rewriter changes a tree in place.
type rewriter struct {
	options   RewriteOptions
	filler    filler
	rewritten int
}

// function rewrites one function, whose keys may stand in a wrapper of the old form.
func (w *rewriter) function(n *yaml.Node, path string) error {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	name := scalarOf(n, "name")
	for _, wrapper := range []string{"function", "transform"} {
		if inner := follow(child(n, wrapper)); inner != nil && inner.Kind == yaml.MappingNode {
			n, path = inner, path+"."+wrapper
		}
	}
	code := scalarOf(n, "code")
	if file := scalarOf(n, "file"); file != "" && code == "" {
		text, ok := w.filler.read(file, path+".file")
		if !ok {
			return nil
		}
		code = text
	}
	kind, lang := resource.FunctionType(scalarOf(n, "type")), resource.Language(scalarOf(n, "language"))
	if kind == "function" { // the old name
		kind = resource.FunctionTransform
	}
	if lang == "" {
		lang = resource.LanguageOf(kind, code)
	}
	if !w.options.From(kind, lang) {
		return nil
	}
	text, err := w.options.Rewrite(name, code)
	if err != nil {
		return err
	}
	w.rewritten++
	put(n, "code", "file", text, yaml.LiteralStyle)
	put(n, "language", "", string(w.options.To), 0)
	return nil
}

// scalarOf is the text of a key, or "".
func scalarOf(n *yaml.Node, key string) string {
	value := follow(child(n, key))
	if value == nil || value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" {
		return ""
	}
	return value.Value
}

// put gives a key a text, in the place of another key if it is there, else before the last one.
func put(n *yaml.Node, key, instead, text string, style yaml.Style) {
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: style}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Value == key || instead != "" && k.Value == instead {
			k.Value = key
			n.Content[i+1] = value
			n.Style = 0 // code of several lines has no place in braces
			return
		}
	}
	last := max(len(n.Content)-2, 0)
	n.Content = append(n.Content[:last:last], append([]*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value}, n.Content[last:]...)...)
}
