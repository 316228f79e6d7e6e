package config

import (
	"github.com/sequinstream/sequin/internal/resource"
)

// DocumentOptions says where a document comes from and what it is put upon.
type DocumentOptions struct {
	Lookup LookupEnv     // for ${VARIABLES}; nil: they stay as they are
	Base   *resource.Set // what is stored: what the document omits keeps its stored value, and references may be to it
	Files  bool          // secrets may be written as {file: /path}; for the file that the server starts with
	Local  bool          // files and programs of this machine may be named; for that file and the operator of this machine
}

// Document is what was read.
type Document struct {
	Set        *resource.Set // what the document declares and nothing else, put over Base's resources of the same names
	Sections   []string      // that the document has, in its order
	HasAccount bool          // one of them is account

	file   string
	places map[string]place
}

// Locate tells where the document says what the path names, or what holds it: "sinks[0].batch_size". The indices are those of Set.
func (d *Document) Locate(path string) (file string, line, column int) {
	at := (&decoder{places: d.places}).locate(path)
	return d.file, at.line, at.column
}

// sections are those that Document.Sections may name.
var sections = []string{"account", "users", "api_tokens", "databases", "change_retentions", "http_endpoints", "functions", "transforms", "sinks"}

// ParseDocument reads and checks a document. The name stands for it in messages. Mistakes give a *resource.InvalidError that holds all of them.
func ParseDocument(name string, data []byte, o DocumentOptions) (*Document, []Warning, error) {
	d := newDecoder(name)
	d.lookup, d.files, d.local = o.Lookup, o.Files, o.Local
	if o.Base != nil {
		d.base = o.Base
	}
	root := d.parse(data)
	doc := &Document{Set: d.set(root), file: name, places: d.places}
	if root != nil {
		for i := range root.entries {
			for _, s := range sections {
				if s == root.entries[i].key {
					doc.Sections = append(doc.Sections, s)
					doc.HasAccount = doc.HasAccount || s == "account"
				}
			}
		}
		d.add(doc.Set.ValidateOver(d.base))
	}
	warnings, err := d.outcome()
	if err != nil {
		return nil, warnings, err
	}
	return doc, warnings, nil
}

// AccountName is the name of the account that a document declares, or "" when it declares none. Nothing else in the document is looked at.
func AccountName(name string, data []byte, lookup LookupEnv) (string, error) {
	d := newDecoder(name)
	d.lookup = lookup
	root := d.parse(data)
	if root != nil && root.kind == mapping {
		if section := root.entry("account"); section != nil && section.kind == mapping {
			if n := section.entry("name"); n != nil && n.kind == scalar {
				return n.text, nil
			}
		}
	}
	_, err := d.outcome()
	return "", err
}
