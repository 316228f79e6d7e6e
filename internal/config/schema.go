package config

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// Schema is the JSON Schema, of the draft 2020-12, of sequin.yaml. It is made of the questions that the decoder asks, so it accepts what the
// decoder can make something of; references, bounds and what goes together are for the decoder alone.
func Schema() []byte { return slices.Clone(schema()) }

var schema = sync.OnceValue(func() []byte {
	b := newObject(FormOptions{})
	b.string("$schema", "https://json-schema.org/draft/2020-12/schema")
	b.string("title", "sequin.yaml")
	b.string("description", "What an account of Sequin declares: where changes come from, how they are shaped and where they go.")
	texts(b, "type", []string{"object", "null"})
	b.schemaObject("", documentShape(), true)
	var text bytes.Buffer
	if err := json.Indent(&text, b.bytes(), "", "  "); err != nil {
		panic("the schema is no JSON: " + err.Error()) // it was written key by key
	}
	text.WriteByte('\n')
	return text.Bytes()
})

// documentShape has the decoder ask all of its questions.
func documentShape() *shape {
	root := &shape{}
	newDecoder("").set(&node{kind: mapping, asked: root})
	return root
}

// schemaObject writes the keywords of an object. open allows keys that nobody asks for.
func (b *object) schemaObject(path string, s *shape, open bool) {
	properties := newObject(b.o)
	var required []string
	for _, q := range s.keys {
		below := newObject(b.o)
		below.describe(join(path, q.key), q.shape)
		properties.raw(q.key, below.bytes())
		if q.shape.required {
			required = append(required, q.key)
		}
	}
	b.raw("properties", properties.bytes())
	if len(required) > 0 {
		texts(b, "required", required)
	}
	b.boolean("additionalProperties", open)
}

// describe writes the schema of a key: what it is for, its default, and what may stand there.
func (b *object) describe(path string, s *shape) {
	if text := description(path, s); text != "" {
		b.string("description", text)
	}
	if def := defaultOf(s); def != nil {
		b.raw("default", def)
	}
	switch s.kind {
	case shapeIgnored:
	case shapeRetired:
		b.boolean("deprecated", true)
	case shapeObject:
		texts(b, "type", []string{"object", "null"})
		b.schemaObject(path, s, false)
	default:
		b.accept(path, s, !s.required)
	}
}

// accept writes what may stand in a place. null stands for an absent value and is no item of a list.
func (b *object) accept(path string, s *shape, nullable bool) {
	types := func(all ...string) {
		if nullable {
			all = append(all, "null")
		}
		texts(b, "type", all)
	}
	switch s.kind {
	case shapeText:
		types("string", "number", "boolean")
	case shapeInteger:
		types("integer", "string")
		b.string("pattern", `^\s*-?[0-9]*\s*$|\$`)
	case shapeDuration:
		types("integer", "string")
		b.string("pattern", `^\s*([0-9]+d)?(-?[0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*0?\s*$|\$`)
	case shapeSize:
		types("number", "string")
		b.string("pattern", `^\s*([0-9]+(\.[0-9]+)?\s*[KkMmGgTt]?[Ii]?[Bb]?)?\s*$|\$`)
	case shapeBoolean:
		types("boolean", "integer", "string")
		b.string("pattern", `^\s*(`+anyCase("true")+`|`+anyCase("false")+`|0|1)?\s*$|\$`)
		b.integer("minimum", 0)
		b.integer("maximum", 1)
	case shapeList:
		types("array")
		item := newObject(b.o)
		item.accept(path+"[]", s.item, false)
		b.raw("items", item.bytes())
	case shapeMap:
		types("object")
		item := newObject(b.o)
		item.accept(path+".*", s.item, true)
		b.raw("additionalProperties", item.bytes())
	case shapeObject:
		types("object")
		b.schemaObject(path, s, false)
	case shapeMasked:
		b.string("type", "string")
		b.string("pattern", maskedHeaders)
	case shapeNull:
		types()
	case shapeValue, shapeIgnored, shapeRetired:
	case shapeSecret, shapeWord, shapeOperator, shapeOff, shapeEither:
		list(b, "anyOf", b.alternatives(path, s, nullable), func(text []byte) []byte { return text })
	}
}

// alternatives are the schemas of which one must fit.
func (b *object) alternatives(path string, s *shape, nullable bool) [][]byte {
	var all [][]byte
	add := func(write func(o *object)) {
		o := newObject(b.o)
		write(o)
		all = append(all, o.bytes())
	}
	variable := func(o *object) { o.string("type", "string"); o.string("pattern", `\$`) }
	switch s.kind {
	case shapeSecret:
		add(func(o *object) { o.accept(path, &shape{kind: shapeText}, nullable) })
		add(func(o *object) {
			o.string("type", "object")
			file := &shape{kind: shapeObject, keys: []question{{"file", &shape{kind: shapeText, required: true}}}}
			o.schemaObject(path, file, false)
		})
		return all
	case shapeWord:
		add(func(o *object) { o.raw("enum", enumOf(s.words)) })
		add(variable)
	case shapeOperator:
		var patterns []string
		for _, word := range append(resource.FilterOperators(), "==", "not null") {
			patterns = append(patterns, anyCase(word))
		}
		add(func(o *object) {
			o.string("type", "string")
			o.string("pattern", `^\s*(`+strings.Join(patterns, "|")+`)\s*$`)
		})
		add(variable)
	case shapeOff:
		add(func(o *object) { o.raw("enum", []byte(`[false,0,{},[]]`)) })
		var patterns []string
		for _, word := range offWords {
			patterns = append(patterns, anyCase(word))
		}
		add(func(o *object) {
			o.string("type", "string")
			o.string("pattern", `^(`+strings.Join(patterns, "|")+`)$`)
		})
	default:
		for _, one := range s.either {
			add(func(o *object) { o.accept(path, one, false) })
		}
	}
	if nullable {
		add(func(o *object) { o.string("type", "null") })
	}
	return all
}

// enumOf lists words, and the values that YAML makes of true and false.
func enumOf(words []string) []byte {
	text := []byte{'['}
	for i, w := range words {
		if i > 0 {
			text = append(text, ',')
		}
		if w == "true" || w == "false" {
			text = append(append(text, w...), ',')
		}
		text = quoteJSON(text, w)
	}
	return append(text, ']')
}

// anyCase is a pattern that matches a word in upper and lower case, with spaces or underscores between its parts.
func anyCase(word string) string {
	var b strings.Builder
	for _, r := range word {
		upper := strings.ToUpper(string(r))
		switch {
		case r == ' ':
			b.WriteString(`[ _]+`)
		case upper != string(r):
			b.WriteString("[" + upper + string(r) + "]")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return b.String()
}

// defaultOf is a default as a document would write it; nil when there is none to speak of.
func defaultOf(s *shape) []byte {
	switch v := s.def.(type) {
	case bool:
		if v {
			return []byte("true")
		}
		return []byte("false")
	case int:
		if v != 0 {
			return strconv.AppendInt(nil, int64(v), 10)
		}
	case int64:
		if v != 0 {
			return quoteJSON(nil, FormatSize(v))
		}
	case time.Duration:
		return quoteJSON(nil, FormatDuration(v))
	case nil:
	default:
		if text, err := json.Marshal(v); err == nil && !slices.Contains([]string{`""`, "null", "[]"}, string(text)) {
			return text
		}
	}
	return nil
}
