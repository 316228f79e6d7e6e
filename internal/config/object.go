package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// object writes a JSON object whose keys keep their order.
type object struct {
	text []byte
	o    FormOptions
}

func newObject(o FormOptions) *object { return &object{o: o} }

func (b *object) raw(key string, value []byte) {
	if len(b.text) == 0 {
		b.text = append(b.text, '{')
	} else {
		b.text = append(b.text, ',')
	}
	b.text = append(append(quoteJSON(b.text, key), ':'), value...)
}

// bytes ends the object.
func (b *object) bytes() []byte {
	if len(b.text) == 0 {
		return []byte("{}")
	}
	return append(b.text, '}')
}

func (b *object) string(key, value string) { b.raw(key, quoteJSON(nil, value)) }

// name is a text that is null when there is none.
func (b *object) name(key, value string) {
	if value == "" {
		b.null(key)
		return
	}
	b.string(key, value)
}

func (b *object) null(key string)             { b.raw(key, []byte("null")) }
func (b *object) integer(key string, v int64) { b.raw(key, strconv.AppendInt(nil, v, 10)) }
func (b *object) boolean(key string, v bool)  { b.raw(key, strconv.AppendBool(nil, v)) }

func (b *object) millis(key string, v time.Duration) { b.integer(key, v.Milliseconds()) }

// secret writes the text or its mask, as the options say.
func (b *object) secret(key string, s resource.Secret) { b.string(key, b.shown(s)) }

func (b *object) shown(s resource.Secret) string {
	if b.o.Clear {
		return s.Reveal()
	}
	return s.String()
}

// time writes whole seconds in UTC; null when it never was.
func (b *object) time(key string, t time.Time) {
	if t.IsZero() {
		b.null(key)
		return
	}
	b.string(key, t.UTC().Format(time.RFC3339))
}

// any writes a value that is JSON already; an empty object when there is none.
func (b *object) any(key string, raw json.RawMessage) {
	var compact bytes.Buffer
	if len(raw) == 0 || json.Compact(&compact, raw) != nil {
		b.raw(key, []byte("{}"))
		return
	}
	b.raw(key, compact.Bytes())
}

func list[T any](b *object, key string, items []T, each func(T) []byte) {
	text := []byte{'['}
	for i, item := range items {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, each(item)...)
	}
	b.raw(key, append(text, ']'))
}

func texts[T ~string](b *object, key string, items []T) {
	list(b, key, items, func(s T) []byte { return quoteJSON(nil, string(s)) })
}

func (b *object) tables(key string, names []resource.TableName) {
	list(b, key, names, func(t resource.TableName) []byte { return quoteJSON(nil, t.String()) })
}

func pairs[T any](b *object, key string, values map[string]T, text func(T) string) {
	below := newObject(b.o)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		below.string(name, text(values[name]))
	}
	b.raw(key, below.bytes())
}

// AppendKey adds a key to the end of a JSON object that one of the Form functions wrote.
func AppendKey(form []byte, key string, value []byte) []byte {
	b := object{text: slices.Clone(form[:max(0, len(form)-1)])}
	if len(form) <= len("{}") {
		b.text = nil
	}
	b.raw(key, value)
	return b.bytes()
}
