package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// Every reader below takes the key, where its value goes, and the default, which null asks for again. It tells whether a value was given.

// read is what the readers of single values have in common.
func read[T any](f *fields, key string, want *shape, dst *T, def T, convert func(n *node) (T, bool)) bool {
	want.def = def
	f.ask(key, want)
	n, ok := f.find(key)
	if !ok {
		if n != nil {
			*dst = def
		}
		return false
	}
	if n.kind != scalar {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected %s", n.describe(), want.kind)
		return false
	}
	if want.kind != shapeText && strings.TrimSpace(n.text) == "" { // what a variable left empty counts as absent, except as a text
		f.d.warnOnce("empty "+f.at(key), f.at(key), n.at, "is empty, so the default is used")
		*dst = def
		return false
	}
	v, ok := convert(n)
	if ok {
		*dst = v
	}
	return ok
}

func (f *fields) text(key string, dst *string, def string) bool {
	return read(f, key, &shape{kind: shapeText}, dst, def, func(n *node) (string, bool) { return n.text, f.d.isText(f.at(key), n) })
}

// isText refuses numbers and booleans where the body of a request should have a text; YAML cannot tell them apart as well.
func (d *decoder) isText(path string, n *node) bool {
	if d.body && n.bare {
		d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a text", n.describe())
		return false
	}
	return true
}

// name reads what the resource is known by.
func (f *fields) name(key string, dst *string) {
	read(f, key, &shape{kind: shapeText, required: true}, dst, "", func(n *node) (string, bool) { return n.text, f.d.isText(f.at(key), n) })
}

func (f *fields) integer(key string, dst *int, def int) bool {
	return read(f, key, &shape{kind: shapeInteger}, dst, def, func(n *node) (int, bool) {
		text := strings.TrimSpace(n.text)
		if _, number, ok := strings.Cut(n.tag, " "); ok {
			text = number
		}
		v, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			f.mistake(key, n, resource.CodeInvalid, "is %s; expected a whole number", n.describe())
		}
		return int(v), err == nil
	})
}

// exact reads a whole number that the body of a request must not write as a text.
func (f *fields) exact(key string, dst *int, def int) bool {
	if n := f.n.entry(key); f.d.body && n != nil && n.kind == scalar && !n.bare {
		f.find(key)
		f.mistake(key, n, resource.CodeInvalid, "is %s, a text; expected a whole number", n.describe())
		return false
	}
	return f.integer(key, dst, def)
}

// millis reads a whole number of milliseconds.
func (f *fields) millis(key string, dst *time.Duration, def time.Duration) {
	v := int(dst.Milliseconds())
	before := v
	f.integer(key, &v, int(def.Milliseconds()))
	if v != before {
		*dst = time.Duration(v) * time.Millisecond
	}
}

func (f *fields) duration(key string, dst *time.Duration, def time.Duration) {
	read(f, key, &shape{kind: shapeDuration}, dst, def, func(n *node) (time.Duration, bool) {
		v, err := ParseDuration(strings.TrimSpace(n.text))
		if err != nil {
			f.mistake(key, n, resource.CodeInvalid, "is %s; it %s", n.describe(), err.Error())
		}
		return v, err == nil
	})
}

func (f *fields) size(key string, dst *int64, def int64) {
	read(f, key, &shape{kind: shapeSize}, dst, def, func(n *node) (int64, bool) {
		v, err := ParseSize(strings.TrimSpace(n.text))
		if err != nil {
			f.mistake(key, n, resource.CodeInvalid, "is %s; it %s", n.describe(), err.Error())
		}
		return v, err == nil
	})
}

func (f *fields) boolean(key string, dst *bool, def bool) bool {
	return read(f, key, &shape{kind: shapeBoolean}, dst, def, func(n *node) (value, ok bool) {
		if value, ok = parseBool(n.text); !ok {
			f.mistake(key, n, resource.CodeInvalid, "is %s; expected true or false", n.describe())
		}
		return value, ok
	})
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
func choice[T ~string](f *fields, key string, dst *T, def T, words []T) bool {
	want := &shape{kind: shapeWord}
	for _, w := range words {
		want.words = append(want.words, string(w))
	}
	return read(f, key, want, dst, def, func(n *node) (T, bool) { return T(strings.TrimSpace(n.text)), true })
}

// texts reads a list of texts. An empty list is not nil.
func (f *fields) texts(key string, dst *[]string, def []string) bool {
	if f.shape != nil {
		f.ask(key, &shape{kind: shapeList, item: &shape{kind: shapeText}, def: def})
		return false
	}
	all := []string{}
	ok := f.list(key, func(path string, n *node) {
		if n.kind != scalar {
			f.d.mistake(path, n.at, resource.CodeInvalid, "is %s; expected a text", n.describe())
			return
		}
		if f.d.isText(path, n) {
			all = append(all, n.text)
		}
	})
	if ok {
		*dst = all
	} else if f.cleared(key) {
		*dst = def
	}
	return ok
}

// words reads a list of texts as values of their type.
func words[T ~string](f *fields, key string, dst *[]T, def, accepted []T) bool {
	if f.shape != nil {
		item := &shape{kind: shapeWord}
		for _, w := range accepted {
			item.words = append(item.words, string(w))
		}
		f.ask(key, &shape{kind: shapeList, item: item, def: def})
		return false
	}
	var all []string
	if !f.texts(key, &all, nil) {
		if f.cleared(key) {
			*dst = def
		}
		return false
	}
	*dst = make([]T, len(all))
	for i, w := range all {
		(*dst)[i] = T(w)
	}
	return true
}

func (f *fields) tables(key string, dst *[]resource.TableName) {
	var all []string
	if !f.texts(key, &all, nil) {
		return
	}
	*dst = make([]resource.TableName, len(all))
	for i, name := range all {
		(*dst)[i] = resource.ParseTableName(name)
	}
}
