package config

import (
	"fmt"

	"github.com/sequinstream/sequin/internal/resource"
)

// initialBackfill reads which tables a new sink reads first: all of its source, or those of a list. A sink that exists is not asked again.
func (f *fields) initialBackfill(s *resource.Sink) {
	const key = "initial_backfill"
	if f.describing() {
		item := &shape{}
		f.initialTable(f.at(key)+"[]", &node{kind: mapping, asked: item})
		f.ask(key, &shape{kind: shapeEither, either: []*shape{{kind: shapeBoolean}, {kind: shapeList, item: item}}, def: false})
		return
	}
	n, ok := f.find(key)
	if !ok {
		return
	}
	var want resource.InitialBackfill
	switch all, isBool := parseBool(n.text); {
	case off(n):
	case n.kind == sequence:
		for i, item := range n.items {
			path := fmt.Sprintf("%s[%d]", f.at(key), i)
			f.d.places[path] = item.at
			want.Tables = append(want.Tables, f.initialTable(path, item))
		}
	case n.kind == scalar && isBool:
		want.All = all
	default:
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected true, false or a list of tables", n.describe())
	}
	if !f.updating {
		s.InitialBackfill = want
	}
}

// initialTable reads one table of the list.
func (f *fields) initialTable(path string, n *node) resource.InitialTable {
	t := f.d.fields(path, n)
	var one resource.InitialTable
	var name string
	t.name("table", &name)
	if name != "" {
		one.Table = resource.ParseTableName(name)
	} else if !t.describing() {
		t.d.mistake(path+".table", n.at, resource.CodeMissing, "is required")
	}
	kind := resource.BackfillFull
	choice(t, "type", &kind, resource.BackfillFull, resource.BackfillTypes())
	t.text("sort_column", &one.SortColumn, "")
	t.text("start_position", &one.Start, "")
	t.close()
	if t.describing() {
		return one
	}
	partial := kind == resource.BackfillPartial
	for _, k := range []struct{ key, value string }{{"sort_column", one.SortColumn}, {"start_position", one.Start}} {
		switch {
		case partial && k.value == "":
			t.d.mistake(path+"."+k.key, n.at, resource.CodeMissing, "is required for type: partial")
		case !partial && k.value != "":
			t.d.mistake(path+"."+k.key, n.at, resource.CodeConflict, "needs type: partial")
		}
	}
	if kind != resource.BackfillFull && !partial {
		t.d.mistake(path+".type", n.at, resource.CodeInvalid, "is %q; expected full or partial", kind)
	}
	return one
}
