package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// fields reads the keys of one mapping. Each key is asked for by its type; close reports those that nobody asked for.
type fields struct {
	d        *decoder
	path     string
	n        *node
	known    []string
	updating bool   // there is a stored resource: what is absent keeps its value
	shape    *shape // while the decoder describes itself: what was asked for so far
}

// fields starts reading a mapping. Anything else is a mistake and reads like an empty one.
func (d *decoder) fields(path string, n *node) *fields {
	if n.asked != nil {
		n.asked.kind = shapeObject
		return &fields{d: d, path: path, n: n, shape: n.asked}
	}
	d.places[path] = n.at
	if n.kind != mapping {
		d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a mapping of keys and values", n.describe())
		n = &node{kind: mapping, at: n.at}
	}
	return &fields{d: d, path: path, n: n}
}

func (f *fields) at(key string) string { return join(f.path, key) }

// find returns the key's value; absent or null gives false, absent a nil node too.
func (f *fields) find(key string) (*node, bool) {
	f.known = append(f.known, key)
	n := f.n.entry(key)
	if n == nil {
		return nil, false
	}
	f.d.places[f.at(key)] = n.at
	return n, n.kind != null
}

// cleared reports whether the key is there and null, which asks for the default again.
func (f *fields) cleared(key string) bool {
	n := f.n.entry(key)
	return n != nil && n.kind == null
}

// alias makes mistakes found at another path of this mapping point to key's value.
func (f *fields) alias(key, path string) {
	if at, ok := f.d.places[f.at(key)]; ok {
		f.d.places[f.at(path)] = at
	}
}

func (f *fields) mistake(key string, n *node, code, format string, args ...any) *resource.Mistake {
	return f.d.mistake(f.at(key), n.at, code, format, args...)
}

// close reports unknown keys.
func (f *fields) close() {
	if f.describing() {
		f.unasked()
		return
	}
	for i := range f.n.entries {
		e := &f.n.entries[i]
		if slices.Contains(f.known, e.key) {
			continue
		}
		if f.d.lenient && f.path == "" {
			f.d.warn(f.at(e.key), e.at, "is not a known key and is ignored")
			continue
		}
		m := f.d.mistake(f.at(e.key), e.at, resource.CodeUnknownKey, "is not a known key")
		if s := suggest(e.key, f.known); s != "" {
			m.Hint = "did you mean " + s + "?"
		}
	}
}

// list calls each for the items of a list.
func (f *fields) list(key string, each func(path string, n *node)) bool {
	if f.shape != nil {
		item := &shape{}
		f.ask(key, &shape{kind: shapeList, item: item})
		each(f.at(key)+"[]", &node{kind: mapping, asked: item})
		return false
	}
	n, ok := f.find(key)
	if !ok {
		return false
	}
	if n.kind != sequence {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected a list", n.describe())
		return false
	}
	section := f.at(key)
	if now, old := f.d.as[section]; old {
		section = now
	}
	for i, item := range n.items {
		path := fmt.Sprintf("%s[%d]", section, i)
		f.d.places[path] = item.at
		each(path, item)
	}
	return true
}

// section reads a mapping below this one.
func (f *fields) section(key string) (*fields, bool) {
	if f.shape != nil {
		below := &shape{kind: shapeObject}
		f.ask(key, below)
		return &fields{d: f.d, path: f.at(key), n: &node{kind: mapping}, shape: below}, true
	}
	n, ok := f.find(key)
	if !ok {
		return nil, false
	}
	sub := f.d.fields(f.at(key), n)
	sub.updating = f.updating
	return sub, true
}

// ignore accepts keys that the server itself writes and nobody sets.
func (f *fields) ignore(keys ...string) {
	for _, key := range keys {
		f.ask(key, &shape{kind: shapeIgnored})
		f.known = append(f.known, key)
	}
}

// retired warns of keys that mean nothing any more.
func (f *fields) retired(why string, keys ...string) {
	for _, key := range keys {
		f.ask(key, &shape{kind: shapeRetired})
		if n, ok := f.find(key); ok {
			kind, _, _ := strings.Cut(f.path, "[")
			f.d.warnOnce("retired "+kind+"."+key, f.at(key), n.at, "has no effect: %s", why)
		}
	}
}

// later refuses keys whose feature comes later, unless their value turns it off.
func (f *fields) later(feature string, keys ...string) {
	for _, key := range keys {
		f.ask(key, &shape{kind: shapeOff})
		if n, ok := f.find(key); ok && !off(n) {
			f.mistake(key, n, resource.CodeUnavailable, "belongs to a feature that this version does not have: %s", feature).Hint = "take the key out"
		}
	}
}

// offWords turn a feature off where its setting is named.
var offWords = []string{"none", "null", "nil", "false", "0"}

func off(n *node) bool {
	switch n.kind {
	case null:
		return true
	case mapping:
		return len(n.entries) == 0
	case sequence:
		return len(n.items) == 0
	case scalar:
	}
	return slices.Contains(offWords, strings.ToLower(n.text))
}
