package where

import (
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

func parsedJSON(v value) (*pgvalue.JSON, error) { return pgvalue.ParseJSON(v.S, true) }

// jsonGet makes -> and ->>: step finds the part.
func jsonGet(step func(*pgvalue.JSON, value) *pgvalue.JSON, asText bool) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		doc, err := parsedJSON(a)
		if err != nil {
			return pgvalue.Null, err
		}
		return jsonResult(step(doc, b), asText)
	}}
}

func jsonResult(part *pgvalue.JSON, asText bool) (value, error) {
	if part == nil {
		return pgvalue.Null, nil
	}
	if !asText {
		return pgvalue.Text(part.String()), nil
	}
	s, ok := part.AsText()
	if !ok {
		return pgvalue.Null, nil
	}
	return pgvalue.Text(s), nil
}

func byKey(doc *pgvalue.JSON, key value) *pgvalue.JSON { return doc.Field(key.S) }

// byIndex takes a scalar at the top for an array of one element, as jsonb stores it.
func byIndex(doc *pgvalue.JSON, i value) *pgvalue.JSON {
	if doc.Kind != '[' && doc.Kind != '{' && (i.I == 0 || i.I == -1) {
		return doc
	}
	return doc.Element(i.I)
}

func elementOfJSON(doc *pgvalue.JSON, i value) *pgvalue.JSON { return doc.Element(i.I) }

// jsonPath walks a path; a null in it leads nowhere.
func jsonPath(doc *pgvalue.JSON, steps []value) *pgvalue.JSON {
	for _, step := range steps {
		if doc == nil || step.Null {
			return nil
		}
		switch doc.Kind {
		case '{':
			doc = doc.Field(step.S)
		case '[':
			n, err := strconv.ParseInt(strings.TrimLeft(step.S, " \t\n\r\f\v"), 10, 32)
			if err != nil {
				return nil
			}
			doc = doc.Element(n)
		default:
			return nil
		}
	}
	return doc
}

func jsonExtract(asText bool) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		doc, err := parsedJSON(a)
		if err != nil {
			return pgvalue.Null, err
		}
		return jsonResult(jsonPath(doc, b.Array().Elems), asText)
	}, fnN: func(v []value) (value, error) {
		doc, err := parsedJSON(v[0])
		if err != nil {
			return pgvalue.Null, err
		}
		return jsonResult(jsonPath(doc, v[1:]), asText)
	}}
}

func jsonTypeOf(binary bool) func(value) (value, error) {
	names := map[byte]string{'n': "null", 't': "boolean", 'f': "boolean", '#': "number", '"': "string", '[': "array", '{': "object"}
	return func(v value) (value, error) {
		doc, err := pgvalue.ParseJSON(v.S, binary)
		if err != nil {
			return pgvalue.Null, err
		}
		return pgvalue.Text(names[doc.Kind]), nil
	}
}

func jsonTest(f func(a, b *pgvalue.JSON) bool) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		x, err := parsedJSON(a)
		if err != nil {
			return pgvalue.Null, err
		}
		y, err := parsedJSON(b)
		if err != nil {
			return pgvalue.Null, err
		}
		return isBool(f(x, y))
	}}
}

// jsonHas is the operator ?: a key of an object, or a string that is an element of an array or the whole.
func jsonHas(doc *pgvalue.JSON, key string) bool {
	switch doc.Kind {
	case '{':
		return doc.Field(key) != nil
	case '[':
		for _, item := range doc.Items {
			if item.Kind == '"' && item.Text == key {
				return true
			}
		}
	case '"':
		return doc.Text == key
	}
	return false
}

func jsonHasKeys(all bool) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		doc, err := parsedJSON(a)
		if err != nil {
			return pgvalue.Null, err
		}
		for _, key := range b.Array().Elems {
			if key.Null {
				continue
			}
			if jsonHas(doc, key.S) != all {
				return isBool(!all)
			}
		}
		return isBool(all)
	}}
}

func jsonArrayLength(v value) (value, error) {
	doc, err := parsedJSON(v)
	if err != nil {
		return pgvalue.Null, err
	}
	if doc.Kind != '[' {
		return pgvalue.Null, &pgvalue.Error{Code: "22023", Message: "cannot get array length of a non-array"}
	}
	return pgvalue.Int(int64(len(doc.Items))), nil
}

// jsonScalar makes the casts from jsonb; a JSON null became NULL with 18 and is refused everywhere.
func jsonScalar(typ, kinds string, convert func(*pgvalue.JSON) (value, error)) builtin {
	return builtin{fn1: func(v value) (value, error) {
		doc, err := parsedJSON(v)
		if err != nil {
			return pgvalue.Null, err
		}
		if doc.Kind == 'n' {
			return pgvalue.Null, errUnsupported("the cast of a JSON null to %s", typ)
		}
		if !strings.ContainsRune(kinds, rune(doc.Kind)) {
			return pgvalue.Null, &pgvalue.Error{Code: "22023", Message: "cannot cast jsonb value to type " + typ}
		}
		return convert(doc)
	}}
}

func jsons() map[string]builtin {
	all := map[string]builtin{
		"jsonb_object_field": jsonGet(byKey, false), "jsonb_object_field_text": jsonGet(byKey, true),
		"jsonb_array_element": jsonGet(byIndex, false), "jsonb_array_element_text": jsonGet(byIndex, true),
		"json_object_field_text": jsonGetJSON(byKey), "json_array_element_text": jsonGetJSON(elementOfJSON),
		"jsonb_extract_path": jsonExtract(false), "jsonb_extract_path_text": jsonExtract(true),
		"jsonb_contains":     jsonTest(func(a, b *pgvalue.JSON) bool { return a.Contains(b) }),
		"jsonb_contained":    jsonTest(func(a, b *pgvalue.JSON) bool { return b.Contains(a) }),
		"jsonb_exists":       {fn2: jsonExists},
		"jsonb_exists_any":   jsonHasKeys(false),
		"jsonb_exists_all":   jsonHasKeys(true),
		"jsonb_array_length": {fn1: jsonArrayLength},
		"jsonb_bool":         jsonScalar("boolean", "tf", func(d *pgvalue.JSON) (value, error) { return isBool(d.Kind == 't') }),
		"jsonb_numeric":      jsonScalar("numeric", "#", func(d *pgvalue.JSON) (value, error) { return d.Number, nil }),
		"jsonb_float4":       jsonScalar("real", "#", func(d *pgvalue.JSON) (value, error) { return pgvalue.NumericToFloat(d.Number, 32) }),
		"jsonb_float8":       jsonScalar("double precision", "#", func(d *pgvalue.JSON) (value, error) { return pgvalue.NumericToFloat(d.Number, 64) }),
	}
	for name, t := range map[string]intType{"jsonb_int2": int2Type, "jsonb_int4": int4Type, "jsonb_int8": int8Type} {
		all[name] = jsonScalar(t.name, "#", func(d *pgvalue.JSON) (value, error) { return pgvalue.NumericToInt(d.Number, t.low, t.high, t.name) })
	}
	return all
}

func jsonExists(a, b value) (value, error) {
	doc, err := parsedJSON(a)
	if err != nil {
		return pgvalue.Null, err
	}
	return isBool(jsonHas(doc, b.S))
}

// jsonGetJSON is ->> of json, where the text of an object or array is that of the document: only scalars are certain.
func jsonGetJSON(step func(*pgvalue.JSON, value) *pgvalue.JSON) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		doc, err := pgvalue.ParseJSON(a.S, false)
		if err != nil {
			return pgvalue.Null, err
		}
		part := step(doc, b)
		switch {
		case part == nil || part.Kind == 'n':
			return pgvalue.Null, nil
		case part.Kind == '{' || part.Kind == '[':
			return pgvalue.Null, errUnsupported("the text of an object or array within json; cast to jsonb first")
		case part.Kind == '"' || part.Kind == '#':
			return pgvalue.Text(part.Text), nil
		}
		return pgvalue.Text(part.String()), nil
	}}
}
