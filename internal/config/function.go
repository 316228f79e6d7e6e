package config

import (
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// sinkTypes are the other names of types of sink.
var sinkTypes = map[string]string{"http_push": "webhook", "redis": "redis_stream"}

func (d *decoder) function(path string, n *node, stored *resource.Function) resource.Function {
	var fn resource.Function
	f := d.fields(path, n)
	if stored != nil {
		fn, f.updating = *stored, true
	}
	f.name("name", &fn.Name)
	f.text("description", &fn.Description, "")
	inner, wrapper := f.wrapped()
	if inner != nil {
		inner.text("description", &fn.Description, "")
		inner.functionKeys(&fn)
		inner.ignore("id")
		inner.close()
		for _, key := range functionKeys {
			f.d.renamed[f.at(key)] = inner.at(key)
			f.d.places[f.at(key)] = f.d.locate(inner.at(key))
			if other, ok := f.find(key); ok {
				f.mistake(key, other, resource.CodeConflict, "stands beside %s; give one of the two forms", wrapper)
			}
		}
	}
	if inner == nil {
		f.functionKeys(&fn)
	}
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	return fn
}

// functionKeys may stand in the function itself, or in a wrapper of the old form.
var functionKeys = []string{"type", "language", "sink_type", "path", "code", "database", "replica", "timeout_ms", "max_rows", "cache_ttl_ms"}

// wrapped finds the old form: function: {type: …}, or transform: {type: …}.
func (f *fields) wrapped() (inner *fields, wrapper string) {
	for _, key := range []string{"function", "transform"} {
		sub, ok := f.section(key)
		if !ok {
			continue
		}
		if f.describing() {
			sub.text("description", new(string), "")
			sub.functionKeys(new(resource.Function))
			sub.ignore("id")
			continue
		}
		if inner != nil {
			n, _ := f.find(key)
			f.mistake(key, n, resource.CodeConflict, "stands beside %s; give one of them", wrapper)
			continue
		}
		inner, wrapper = sub, key
	}
	return inner, wrapper
}

func (f *fields) functionKeys(fn *resource.Function) {
	before := *fn
	types := append(resource.FunctionTypes(), "function")
	if choice(f, "type", &fn.Type, "", types) && fn.Type == "function" {
		fn.Type = resource.FunctionTransform
	}
	f.drop(fn, before.Type)
	language := choice(f, "language", &fn.Language, "", resource.Languages())
	if f.text("sink_type", &fn.SinkType, "") {
		if now, ok := sinkTypes[fn.SinkType]; ok {
			fn.SinkType = now
		}
	}
	f.text("path", &fn.Path, "")
	f.text("code", &fn.Code, "")
	if !language && (before.Language == "" || fn.Code != before.Code || fn.Language == "") {
		if l := resource.LanguageOf(fn.Type, fn.Code); l != "" {
			fn.Language = l
		}
	}
	f.codeFile()
	f.query(&fn.Query)
}

// query reads how an enrichment's query is run.
func (f *fields) query(q *resource.Query) {
	f.text("database", &q.Database, "")
	if sub, ok := f.section("replica"); ok {
		q.ReplicaHost, q.ReplicaPort = "", 0
		sub.text("hostname", &q.ReplicaHost, "")
		sub.integer("port", &q.ReplicaPort, 0)
		sub.close()
	} else if f.cleared("replica") {
		q.ReplicaHost, q.ReplicaPort = "", 0
	}
	f.millis("timeout_ms", &q.Timeout, 0)
	f.integer("max_rows", &q.MaxRows, 0)
	f.millis("cache_ttl_ms", &q.CacheFor, 0)
}

// drop forgets what belongs to the type that a function no longer is of.
func (f *fields) drop(fn *resource.Function, before resource.FunctionType) {
	if before == "" || fn.Type == before {
		return
	}
	if fn.Type == resource.FunctionPath {
		fn.Code, fn.Language = "", ""
	} else {
		fn.Path = ""
	}
	if fn.Type != resource.FunctionRouting {
		fn.SinkType = ""
	}
	if fn.Type == resource.FunctionEnrichment || before == resource.FunctionEnrichment {
		fn.Language = ""
	}
	if fn.Type != resource.FunctionEnrichment {
		fn.Query = resource.Query{}
	}
}

// codeFile refuses the key that the command line replaces by the file's content before it sends a document.
func (f *fields) codeFile() {
	f.ask("file", &shape{kind: shapeText}) // in a document that the command line has not been over yet
	n, ok := f.find("file")
	if !ok {
		return
	}
	m := f.mistake("file", n, resource.CodeLocal, "names a file, and the server does not read the files of its clients")
	m.Hint = "put the content into code; sequin config plan and apply do so by themselves"
	f.d.silent[f.at("code")], f.d.silent[f.at("language")] = true, true
}

func (d *decoder) changeRetention(path string, n *node, stored *resource.ChangeRetention) resource.ChangeRetention {
	all := []resource.Action{resource.ActionInsert, resource.ActionUpdate, resource.ActionDelete}
	r := resource.ChangeRetention{Status: resource.RetentionActive, Actions: all}
	f := d.fields(path, n)
	if stored != nil {
		r, f.updating = *stored, true
	}
	f.name("name", &r.Name)
	choice(f, "status", &r.Status, resource.RetentionActive, resource.RetentionStatuses())
	f.text("source_database", &r.SourceDatabase, "")
	f.text("source_table_schema", &r.SourceTable.Schema, "")
	f.text("source_table_name", &r.SourceTable.Name, "")
	f.text("destination_database", &r.DestinationDatabase, "")
	f.text("destination_table_schema", &r.DestinationTable.Schema, "")
	f.text("destination_table_name", &r.DestinationTable.Name, "")
	if stored != nil {
		f.fixed("source_database", r.SourceDatabase, stored.SourceDatabase)
		f.fixed("destination_database", r.DestinationDatabase, stored.DestinationDatabase)
		f.fixed("destination_table_schema", r.DestinationTable.Schema, stored.DestinationTable.Schema)
		f.fixed("destination_table_name", r.DestinationTable.Name, stored.DestinationTable.Name)
	}
	words(f, "actions", &r.Actions, all, all)
	var filters []resource.ColumnFilter
	if f.list("filters", func(path string, n *node) { filters = append(filters, d.columnFilter(path, n)) }) || f.cleared("filters") {
		r.Filters = filters
	}
	f.ignore("id", "inserted_at", "updated_at", "account_id")
	f.close()
	return r
}

func (d *decoder) columnFilter(path string, n *node) resource.ColumnFilter {
	var c resource.ColumnFilter
	f := d.fields(path, n)
	f.text("column_name", &c.Column, "")
	f.text("field_path", &c.FieldPath, "")
	choice(f, "field_type", &c.FieldType, "", resource.FieldTypes())
	f.ask("operator", &shape{kind: shapeOperator})
	if f.text("operator", &c.Operator, "") {
		c.Operator = resource.ParseOperator(c.Operator)
	}
	f.comparison(&c)
	f.close()
	return c
}

// comparison reads what a column is compared with. A text beside in and not in is a list with commas, in brackets or not.
func (f *fields) comparison(c *resource.ColumnFilter) {
	const key = "comparison_value"
	f.ask(key, &shape{kind: shapeValue})
	n, ok := f.find(key)
	if !ok || n.kind == scalar && n.text == "" && resource.TakesNoValue(c.Operator) {
		return
	}
	if n.kind == scalar && resource.TakesList(c.Operator) {
		n = splitList(n)
	}
	const limit = 64 << 10
	c.Value = f.json(key, n, nil, limit)
	if len(c.Value) > limit {
		f.mistake(key, n, resource.CodeInvalid, "has more than %d bytes", limit)
		c.Value = nil
	}
}

// splitList makes a list of "a, b" and "[a, b]".
func splitList(n *node) *node {
	text := strings.TrimSpace(n.text)
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	list := &node{kind: sequence, at: n.at}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list.items = append(list.items, &node{kind: scalar, tag: "!!str", text: item, at: n.at})
		}
	}
	return list
}
