// Package sdk is what a function in Go has at hand: its files are put beside the function, into package main, when a module is built. It knows
// only what is cheap in a module: no reflection, no fmt. Objects are views of the message, read no further than the function asks, and keep
// every digit and the order of keys.
package sdk

import (
	"slices"
	"strconv"
	"time"
	"unsafe"
)

// Object is a JSON object. A nil Object is empty and can be read, which is what changes is when there are none. Getters return the zero value for
// a key that is missing or null, and panic when the value is of another type; the panic becomes the message's error, with its line.
type Object struct {
	raw     []byte   // as it came; nil when something was set
	message []byte   // what index is about
	index   []uint32 // until it is scanned; see index.go
	fields  []field
	scanned bool
}

// field has a value of its own, or bytes of JSON.
type field struct {
	key   string
	raw   []byte
	value any
}

// Number is a number with all its digits.
type Number string

// Raw is JSON as it is to be written.
type Raw []byte

// NewObject makes an object of keys and values in turn.
func NewObject(keysAndValues ...any) *Object {
	o := newObject()
	o.scanned, o.fields = true, newFields(len(keysAndValues)/2)
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		key, ok := keysAndValues[i].(string)
		if !ok {
			panic("NewObject takes keys and values in turn; a key is a string")
		}
		o.fields = append(o.fields, field{key: key, value: keysAndValues[i+1]})
	}
	return o
}

func (o *Object) scan() {
	if o == nil || o.scanned {
		return
	}
	o.scanned = true
	o.fields = scanObject(o.raw)
	o.index = nil
}

// json returns the JSON of a value that is as it came, found without reading the whole object if there is an index.
func (o *Object) json(key string) []byte {
	if o == nil {
		return nil
	}
	if o.index != nil {
		return o.lookup(key)
	}
	if i := o.find(key); i >= 0 {
		return o.fields[i].raw
	}
	return nil
}

// find returns the place of a key. Of a key that is there twice the last counts.
func (o *Object) find(key string) int {
	o.scan()
	if o == nil {
		return -1
	}
	for i := range slices.Backward(o.fields) {
		if o.fields[i].key == key {
			return i
		}
	}
	return -1
}

// Len is how many keys there are.
func (o *Object) Len() int {
	o.scan()
	if o == nil {
		return 0
	}
	return len(o.fields)
}

// Keys are the keys, in order.
func (o *Object) Keys() []string {
	keys := make([]string, o.Len())
	for i := range keys {
		keys[i] = o.fields[i].key
	}
	return keys
}

// Has reports whether there is such a key, be it null.
func (o *Object) Has(key string) bool { return o.json(key) != nil || o.find(key) >= 0 }

// IsNull reports whether the key is there, and null.
func (o *Object) IsNull(key string) bool { return o.Has(key) && o.Get(key) == nil }

// Get returns a value: nil, bool, string, Number, *Object or []any, or what was set.
func (o *Object) Get(key string) any {
	if raw := o.json(key); len(raw) > 0 && raw[0] != '{' && raw[0] != '[' {
		return value(raw)
	}
	i := o.find(key)
	if i < 0 {
		return nil
	}
	f := &o.fields[i]
	if f.raw != nil {
		switch v := value(f.raw).(type) {
		case *Object: // what is changed in it is changed in this one
			f.value, f.raw = v, nil
			o.raw = nil
		case []any:
			f.value, f.raw = v, nil
			o.raw = nil
		default:
			return v
		}
	}
	return f.value
}

// Raw returns the JSON of a value, or nil.
func (o *Object) Raw(key string) Raw {
	if raw := o.json(key); raw != nil {
		return raw
	}
	i := o.find(key)
	if i < 0 {
		return nil
	}
	return appendValue(nil, o.fields[i].value)
}

// String returns a text. A number and a boolean have one too.
func (o *Object) String(key string) string {
	if raw := o.json(key); len(raw) > 0 && raw[0] == '"' {
		return unquote(raw)
	}
	switch v := o.Get(key).(type) {
	case nil:
		return ""
	case string:
		return v
	case Number:
		return string(v)
	case *Object, []any:
		panic(key + " is no text, but " + kind(v))
	default:
		return text(appendValue(nil, v))
	}
}

// Number returns a number with all its digits; a text is taken for one if it reads as one, which is how numeric comes.
func (o *Object) Number(key string) Number {
	if raw := o.json(key); len(raw) > 0 && (raw[0] == '-' || raw[0]-'0' <= 9) {
		return Number(text(raw))
	}
	switch v := o.Get(key).(type) {
	case nil:
		return ""
	case Number:
		return v
	case string:
		if isNumber(v) {
			return Number(v)
		}
		panic(key + " is the text " + short(v) + ", which is no number")
	case int:
		return Number(strconv.Itoa(v))
	case int64:
		return Number(strconv.FormatInt(v, 10))
	case float64:
		return Number(text(appendValue(nil, v)))
	default:
		panic(key + " is no number, but " + kind(v))
	}
}

// Int returns a whole number.
func (o *Object) Int(key string) int64 {
	n := o.Number(key)
	if n == "" {
		return 0
	}
	i, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil {
		panic(key + " is " + short(string(n)) + ", which is no whole number of 64 bits")
	}
	return i
}

// Float returns a number as a floating-point number, which may round it.
func (o *Object) Float(key string) float64 {
	n := o.Number(key)
	if n == "" {
		return 0
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		panic(key + " is " + short(string(n)) + ", which is no number")
	}
	return f
}

// Bool returns a boolean.
func (o *Object) Bool(key string) bool {
	switch v := o.Get(key).(type) {
	case nil:
		return false
	case bool:
		return v
	default:
		panic(key + " is no boolean, but " + kind(v))
	}
}

// Object returns an object. What is set in it is set in this one.
func (o *Object) Object(key string) *Object {
	switch v := o.Get(key).(type) {
	case nil:
		return nil
	case *Object:
		return v
	default:
		panic(key + " is no object, but " + kind(v))
	}
}

// Array returns an array, of such values as Get returns.
func (o *Object) Array(key string) []any {
	switch v := o.Get(key).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		panic(key + " is no array, but " + kind(v))
	}
}

// Time returns a moment, written as timestamps in messages are.
func (o *Object) Time(key string) time.Time {
	s := o.String(key)
	if s == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	panic(key + " is " + short(s) + ", which is no time")
}

// Set sets a key: where it is, or at the end. The value is nil, a bool, string, number, time.Time, *Object, Raw, a slice or map of such, or what has
// a method MarshalJSON. It returns the object.
func (o *Object) Set(key string, value any) *Object {
	i := o.find(key)
	if i < 0 {
		o.fields = append(o.fields, field{key: key})
		i = len(o.fields) - 1
	}
	o.scanned, o.raw = true, nil
	o.fields[i].raw, o.fields[i].value = nil, value
	return o
}

// Delete removes keys. It returns the object.
func (o *Object) Delete(keys ...string) *Object {
	for _, key := range keys {
		for i := o.find(key); i >= 0; i = o.find(key) {
			o.raw = nil
			o.fields = append(o.fields[:i], o.fields[i+1:]...)
		}
	}
	return o
}

// Copy returns an object that can be changed without changing this one.
func (o *Object) Copy() *Object {
	if o == nil {
		return NewObject()
	}
	return &Object{raw: appendValue(nil, o)}
}

// MarshalJSON is for encoding/json, where a function uses it.
func (o *Object) MarshalJSON() ([]byte, error) { return appendValue(nil, o), nil }

// Int returns a whole number.
func (n Number) Int() (int64, error) { return strconv.ParseInt(string(n), 10, 64) }

// Float returns the nearest floating-point number.
func (n Number) Float() (float64, error) { return strconv.ParseFloat(string(n), 64) }

// MarshalJSON is for encoding/json.
func (n Number) MarshalJSON() ([]byte, error) { return appendValue(nil, n), nil }

// MarshalJSON is for encoding/json.
func (r Raw) MarshalJSON() ([]byte, error) { return appendValue(nil, r), nil }

func kind(v any) string {
	switch v.(type) {
	case *Object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "a text"
	case bool:
		return "a boolean"
	case nil:
		return "null"
	default:
		return "a number"
	}
}

func short(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strconv.Quote(s)
}

// text is a view of bytes that nobody changes any more.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
