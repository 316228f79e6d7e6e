package where

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
)

// ColumnFilter is a condition on one column in the form of the original's filters: a column, or a field of a json column, an operator and a value.
type ColumnFilter struct {
	Column    string
	FieldPath string // within a json or jsonb column: "type.name"
	FieldType string // string, cistring, number, boolean, datetime, list; "" to infer it
	Operator  string // = == != > < >= <= in, not in, is null, is not null, not null; any case, with _ for blanks
	Value     json.RawMessage
}

// FromColumnFilters compiles filters, which must all hold, to a program. They have the semantics of SQL: a comparison with null is not true, and
// numbers compare as numbers. A field that is missing, or of another type than the filter's, is null.
func FromColumnFilters(filters []ColumnFilter, table Table, o Options) (*Program, []Warning, error) {
	text, err := ColumnFilterSQL(filters, table, o)
	if err != nil {
		return nil, nil, err
	}
	return Compile(text, table, o)
}

// ColumnFilterSQL is the condition that filters stand for; "true" for none.
func ColumnFilterSQL(filters []ColumnFilter, table Table, o Options) (string, error) {
	if len(filters) == 0 {
		return "true", nil
	}
	c := newChecker("", &table, o)
	parts := make([]string, len(filters))
	for i := range filters {
		part, err := c.columnFilter(&filters[i])
		if err != nil {
			return "", err
		}
		parts[i] = "(" + part + ")"
	}
	return strings.Join(parts, " AND "), nil
}

func badFilter(f *ColumnFilter, hint, format string, args ...any) error {
	e := problem.New(CodeColumnFilter, "the filter on column %q is not valid", f.Column).WithDetail(format, args...)
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	return e
}

var filterOperators = map[string]string{
	"=": "=", "==": "=", "!=": "<>", "<>": "<>", ">": ">", "<": "<", ">=": ">=", "<=": "<=", "in": "IN", "not in": "NOT IN", "is null": "IS NULL",
	"is not null": "IS NOT NULL", "not null": "IS NOT NULL",
}

func (c *checker) columnFilter(f *ColumnFilter) (string, error) {
	at := slices.IndexFunc(c.table.Columns, func(column Column) bool { return column.Name == f.Column })
	if at < 0 {
		return "", badFilter(f, c.similar(f.Column), "the table has no such column")
	}
	op, ok := filterOperators[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(f.Operator)), "_", " ")]
	if !ok {
		return "", badFilter(f, "use = != > < >= <= in, not in, is null, is not null", "%q is no operator", f.Operator)
	}
	typ := c.columns[at].BaseType()
	isJSON := typ.Name == "jsonb" || typ.Name == "json"
	left := quoteName(f.Column)
	if f.FieldPath != "" {
		if !isJSON {
			return "", badFilter(f, "leave field_path out", "field_path is for json and jsonb, the column is %s", typ.Display())
		}
		if typ.Name == "json" {
			left += "::jsonb"
		}
		return c.fieldFilter(f, left, op)
	}
	if strings.HasSuffix(op, "NULL") {
		return left + " " + op, nil
	}
	kind := f.FieldType
	if kind == "" || kind == "list" {
		kind = columnKind(typ)
	}
	return c.comparison(f, left, op, kind)
}

// columnKind is the type of value that a column's filters have.
func columnKind(t *pgcatalog.Type) string {
	switch {
	case t.Category == 'N':
		return "number"
	case t.Name == "bool":
		return "boolean"
	case t.Name == "timestamp" || t.Name == "timestamptz" || t.Name == "date":
		return "datetime"
	}
	return "own" // a literal of the column's own type
}

// fieldFilter filters by a field of a document: null unless it is there and of the filter's type.
func (c *checker) fieldFilter(f *ColumnFilter, document, op string) (string, error) {
	keys := strings.Split(f.FieldPath, ".")
	for i, key := range keys {
		keys[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
	}
	path := quoteText("{"+strings.Join(keys, ",")+"}") + "::text[]"
	text := "(" + document + " #>> " + path + ")"
	if strings.HasSuffix(op, "NULL") {
		return text + " " + op, nil
	}
	kind := f.FieldType
	if kind == "" || kind == "list" {
		kind = valueKind(f.Value)
	}
	typed := func(jsonType, cast string) string {
		return "CASE WHEN jsonb_typeof(" + document + " #> " + path + ") = '" + jsonType + "' THEN " + text + cast + " END"
	}
	switch kind {
	case "number":
		return c.comparison(f, typed("number", "::numeric"), op, kind)
	case "boolean":
		return c.comparison(f, typed("boolean", "::boolean"), op, kind)
	case "datetime":
		return c.comparison(f, typed("string", "::timestamptz"), op, kind)
	case "string", "cistring":
		return c.comparison(f, text, op, kind)
	}
	return "", badFilter(f, "use string, cistring, number, boolean, datetime or list", "%q is no field_type", f.FieldType)
}

// valueKind infers a field's type from the value; that of a list from its first member.
func valueKind(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return "string"
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	switch v.(type) {
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "string"
}

func (c *checker) comparison(f *ColumnFilter, left, op, kind string) (string, error) {
	values, err := filterValues(f, op)
	if err != nil {
		return "", err
	}
	for i, v := range values {
		if values[i], err = filterLiteral(f, v, kind); err != nil {
			return "", err
		}
	}
	if kind == "cistring" {
		left = "lower(" + left + ")"
	}
	if kind == "string" && f.FieldPath == "" {
		left += "::text"
	}
	if strings.HasSuffix(op, "IN") {
		return left + " " + op + " (" + strings.Join(values, ", ") + ")", nil
	}
	return left + " " + op + " " + values[0], nil
}

// filterValues are the texts of the value, or of a list's members: a JSON array, or a text with commas in optional brackets.
func filterValues(f *ColumnFilter, op string) ([]string, error) {
	var members []json.RawMessage
	list := strings.HasSuffix(op, "IN")
	if list && json.Unmarshal(f.Value, &members) == nil {
		var out []string
		for _, m := range members {
			text, err := scalarText(f, m)
			if err != nil {
				return nil, err
			}
			out = append(out, text)
		}
		if len(out) == 0 {
			return nil, badFilter(f, "", "the list is empty")
		}
		return out, nil
	}
	text, err := scalarText(f, f.Value)
	if err != nil || !list {
		return []string{text}, err
	}
	text = strings.TrimSpace(text)
	if n := len(text); n >= 2 && (text[0] == '[' && text[n-1] == ']' || text[0] == '{' && text[n-1] == '}') {
		text = text[1 : n-1]
	}
	var out []string
	for member := range strings.SplitSeq(text, ",") {
		out = append(out, strings.TrimSpace(member))
	}
	return out, nil
}

func scalarText(f *ColumnFilter, raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
		return s, nil
	}
	text := strings.TrimSpace(string(raw))
	if text == "" || text == "null" {
		return "", badFilter(f, "give a value, or use is null", "a value is missing")
	}
	if text[0] == '[' || text[0] == '{' {
		return "", badFilter(f, "use in or not in with a list", "the value must be a text, a number, true or false")
	}
	return text, nil
}

func filterLiteral(f *ColumnFilter, text, kind string) (string, error) {
	switch kind {
	case "number":
		if _, err := strconv.ParseFloat(text, 64); err != nil || strings.Trim(text, "0123456789.eE+-") != "" {
			return "", badFilter(f, "", "%q is no number", text)
		}
		return quoteText(text) + "::numeric", nil
	case "boolean":
		switch strings.ToLower(text) {
		case "true", "false":
			return strings.ToLower(text), nil
		}
		return "", badFilter(f, "use true or false", "%q is no boolean", text)
	case "datetime":
		return quoteText(text) + "::timestamptz", nil
	case "cistring":
		return "lower(" + quoteText(text) + ")", nil
	}
	return quoteText(text), nil
}

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
