package config

import (
	"errors"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// dollarKey tells, in an export in which a dollar sign is written $$, whether variables have been filled in since: its value is $$ before and $
// after. So the document means the same through the command line, which fills them in, and straight to the API, which does not.
const (
	dollarKey     = "x-dollar"
	dollarEscaped = "$$"
)

// Export writes a set as a document that reads back as the same set: in clear with its secrets, or else with masks in their place.
func Export(set *resource.Set, inClear bool) ([]byte, error) {
	o := FormOptions{Clear: inClear}
	doc := newObject(o)
	forms(doc, "databases", set.Databases, FormDatabase)
	forms(doc, "change_retentions", set.ChangeRetentions, FormChangeRetention)
	forms(doc, "http_endpoints", set.HTTPEndpoints, FormEndpoint)
	forms(doc, "functions", set.Functions, FormFunction)
	forms(doc, "sinks", set.Sinks, FormSink)
	root, err := treeOf(doc.bytes())
	if err != nil {
		return nil, err
	}
	var w yamlWriter
	if escapeDollars(root, false) {
		w.text = append(w.text, "# A dollar sign is written $$ here.\n"...)
		marker := entry{key: dollarKey, value: &node{kind: scalar, tag: "!!str", text: dollarEscaped}}
		root.entries = append([]entry{marker}, root.entries...)
	}
	w.document(root)
	return w.text, nil
}

func forms[T any](doc *object, section string, items []T, form func(*T, FormOptions) []byte) {
	if len(items) == 0 {
		return
	}
	text := []byte{'['}
	for i := range items {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, form(&items[i], doc.o)...)
	}
	doc.raw(section, append(text, ']'))
}

// escapeDollars doubles each dollar sign in texts where variables are filled in: everywhere but below a key named code. It tells whether there
// was any.
func escapeDollars(n *node, code bool) bool {
	found := false
	switch n.kind {
	case mapping:
		for _, e := range n.entries {
			found = escapeDollars(e.value, code || e.key == "code") || found
		}
	case sequence:
		for _, item := range n.items {
			found = escapeDollars(item, code) || found
		}
	case scalar:
		if found = !code && !n.bare && strings.Contains(n.text, "$"); found {
			n.text = strings.ReplaceAll(n.text, "$", dollarEscaped)
		}
	case null:
	}
	return found
}

// treeOf gives the tree of a JSON text.
func treeOf(data []byte) (*node, error) {
	d := newDecoder("")
	root := d.parseJSON(data)
	if _, err := d.outcome(); err != nil {
		return nil, err
	}
	if root == nil {
		return nil, errors.New("no JSON text")
	}
	return root, nil
}
