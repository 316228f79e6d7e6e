package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// fields reads the keys of one mapping. Each key is asked for by its type; close reports those that nobody asked for.
type fields struct {
	d     *decoder
	path  string
	n     *node
	known []string
}

// fields starts reading a mapping. Anything else is a mistake and reads like an empty one.
func (d *decoder) fields(path string, n *node) *fields {
	d.places[path] = n.at
	if n.kind != mapping {
		d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a mapping of keys and values", n.describe())
		n = &node{kind: mapping, at: n.at}
	}
	return &fields{d: d, path: path, n: n}
}

func (f *fields) at(key string) string { return join(f.path, key) }

// find returns the key's value, unless it is absent or null.
func (f *fields) find(key string) (*node, bool) {
	f.known = append(f.known, key)
	for i := range f.n.entries {
		e := &f.n.entries[i]
		if e.key == key {
			f.d.places[f.at(key)] = e.value.at
			return e.value, e.value.kind != null
		}
	}
	return nil, false
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
	for i := range f.n.entries {
		e := &f.n.entries[i]
		if slices.Contains(f.known, e.key) {
			continue
		}
		m := f.d.mistake(f.at(e.key), e.at, resource.CodeUnknownKey, "is not a known key")
		if s := suggest(e.key, f.known); s != "" {
			m.Hint = "did you mean " + s + "?"
		}
	}
}

// scalar returns the key's text. What a variable left empty counts as absent where anything but a text is wanted.
func (f *fields) scalar(key, expected string) (*node, bool) {
	n, ok := f.find(key)
	if !ok {
		return nil, false
	}
	if n.kind != scalar {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected %s", n.describe(), expected)
		return nil, false
	}
	return n, true
}

func (f *fields) filled(key, expected string) (*node, bool) {
	n, ok := f.scalar(key, expected)
	if ok && strings.TrimSpace(n.text) == "" {
		f.d.warnOnce("empty "+f.at(key), f.at(key), n.at, "is empty, so the default is used")
		return nil, false
	}
	return n, ok
}

func (f *fields) text(key string, dst *string) bool {
	n, ok := f.scalar(key, "a text")
	if ok {
		*dst = n.text
	}
	return ok
}

func (f *fields) secret(key string, dst *resource.Secret) bool {
	n, ok := f.find(key)
	if ok && n.kind != scalar {
		f.mistake(key, n, resource.CodeInvalid, "is not a text")
		return false
	}
	if ok {
		*dst = resource.Secret(n.text)
	}
	return ok
}

func (f *fields) integer(key string, dst *int) bool {
	n, ok := f.filled(key, "a whole number")
	if !ok {
		return false
	}
	text := strings.TrimSpace(n.text)
	if _, number, ok := strings.Cut(n.tag, " "); ok {
		text = number
	}
	v, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected a whole number", n.describe())
		return false
	}
	*dst = int(v)
	return true
}

// millis reads a whole number of milliseconds.
func (f *fields) millis(key string, dst *time.Duration) {
	v := 0
	if f.integer(key, &v) {
		*dst = time.Duration(v) * time.Millisecond
	}
}

func (f *fields) duration(key string, dst *time.Duration) {
	n, ok := f.filled(key, "a duration")
	if !ok {
		return
	}
	v, err := ParseDuration(strings.TrimSpace(n.text))
	if err != nil {
		f.mistake(key, n, resource.CodeInvalid, "is %s; it %s", n.describe(), err.Error())
		return
	}
	*dst = v
}

func (f *fields) size(key string, dst *int64) {
	n, ok := f.filled(key, "a size")
	if !ok {
		return
	}
	v, err := ParseSize(strings.TrimSpace(n.text))
	if err != nil {
		f.mistake(key, n, resource.CodeInvalid, "is %s; it %s", n.describe(), err.Error())
		return
	}
	*dst = v
}

func (f *fields) boolean(key string, dst *bool) bool {
	n, ok := f.filled(key, "true or false")
	if !ok {
		return false
	}
	v, ok := parseBool(n.text)
	if !ok {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected true or false", n.describe())
		return false
	}
	*dst = v
	return true
}

func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// choice reads one of a few words; whether it is one of them is for the validation to say.
func choice[T ~string](f *fields, key string, dst *T) bool {
	n, ok := f.filled(key, "a text")
	if ok {
		*dst = T(strings.TrimSpace(n.text))
	}
	return ok
}

// list calls each for the items of a list.
func (f *fields) list(key string, each func(path string, n *node)) bool {
	n, ok := f.find(key)
	if !ok {
		return false
	}
	if n.kind != sequence {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected a list", n.describe())
		return false
	}
	for i, item := range n.items {
		path := fmt.Sprintf("%s[%d]", f.at(key), i)
		f.d.places[path] = item.at
		each(path, item)
	}
	return true
}

// texts reads a list of texts. An empty list is not nil.
func (f *fields) texts(key string, dst *[]string) bool {
	all := []string{}
	ok := f.list(key, func(path string, n *node) {
		if n.kind != scalar {
			f.d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a text", n.describe())
			return
		}
		all = append(all, n.text)
	})
	if ok {
		*dst = all
	}
	return ok
}

func (f *fields) tables(key string, dst *[]resource.TableName) {
	var all []string
	if !f.texts(key, &all) {
		return
	}
	*dst = make([]resource.TableName, len(all))
	for i, name := range all {
		(*dst)[i] = resource.ParseTableName(name)
	}
}

// section reads a mapping below this one.
func (f *fields) section(key string) (*fields, bool) {
	n, ok := f.find(key)
	if !ok {
		return nil, false
	}
	return f.d.fields(f.at(key), n), true
}

// ignore accepts keys that the server itself writes and nobody sets.
func (f *fields) ignore(keys ...string) { f.known = append(f.known, keys...) }

// retired warns of keys that mean nothing any more.
func (f *fields) retired(why string, keys ...string) {
	for _, key := range keys {
		if n, ok := f.find(key); ok {
			kind, _, _ := strings.Cut(f.path, "[")
			f.d.warnOnce("retired "+kind+"."+key, f.at(key), n.at, "has no effect: %s", why)
		}
	}
}

// later refuses keys whose feature comes later, unless their value turns it off.
func (f *fields) later(feature string, keys ...string) {
	for _, key := range keys {
		if n, ok := f.find(key); ok && !off(n) {
			f.mistake(key, n, resource.CodeUnavailable, "belongs to a feature that this version does not have: %s", feature).Hint = "take the key out"
		}
	}
}

func off(n *node) bool {
	switch n.kind {
	case null:
		return true
	case mapping:
		return len(n.entries) == 0
	case sequence:
		return len(n.items) == 0
	default:
		return slices.Contains([]string{"none", "null", "nil", "false", "0"}, strings.ToLower(n.text))
	}
}

// json renders a node for annotations, as far as limit.
func (f *fields) json(key string, n *node, dst []byte, limit int) []byte {
	if len(dst) > limit {
		return dst
	}
	switch n.kind {
	case null:
		return append(dst, "null"...)
	case mapping:
		dst = append(dst, '{')
		for i := range n.entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(quoteJSON(dst, n.entries[i].key), ':')
			dst = f.json(key, n.entries[i].value, dst, limit)
		}
		return append(dst, '}')
	case sequence:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = f.json(key, item, dst, limit)
		}
		return append(dst, ']')
	default:
		return f.jsonScalar(key, n, dst)
	}
}

func (f *fields) jsonScalar(key string, n *node, dst []byte) []byte {
	tag, number, _ := strings.Cut(n.tag, " ")
	switch tag {
	case "!!int":
		if number != "" {
			return append(dst, number...)
		}
		if isDecimal(n.text) {
			return append(dst, n.text...)
		}
	case "!!bool":
		if v, ok := parseBool(n.text); ok {
			return strconv.AppendBool(dst, v)
		}
	case "!!float":
		v, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			f.mistake(key, n, resource.CodeInvalid, "holds %s, which JSON cannot express", n.text)
			return append(dst, "null"...)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case "!!binary":
		if _, err := base64.StdEncoding.DecodeString(n.text); err != nil {
			f.mistake(key, n, resource.CodeInvalid, "holds !!binary that is not base64")
		}
	}
	return quoteJSON(dst, n.text)
}
