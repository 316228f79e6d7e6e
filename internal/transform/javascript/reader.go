package javascript

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// maxNames is how many keys are remembered; columns and the members of jsonb documents repeat, but what is a dictionary does not.
const maxNames = 4096

// oddNumber is a number that was written in another way than the language would.
type oddNumber struct {
	key    string
	double float64
	text   string
}

// read makes the arguments that the code asks for.
func (p *Program) read(arguments *[parameters]goja.Value) error {
	for i, raw := range [parameters][]byte{p.message.Action, p.message.Record, p.message.Changes, p.message.Metadata} {
		arguments[i] = goja.Undefined()
		need := &p.code.needs[i]
		if !need.all && len(need.keys) == 0 {
			continue
		}
		if raw == nil {
			arguments[i] = goja.Null()
			continue
		}
		r := reader{p: p, Scanner: jsontext.Scanner{Data: raw}, repeats: i != 1 && i != 2}
		var err error
		if need.all || raw[0] != '{' {
			arguments[i], err = r.value()
		} else {
			r.Pos++
			arguments[i], err = r.object(need.keys)
		}
		if err == jsontext.ErrDepth { //nolint:errorlint // never wrapped
			return p.at(language.Errorf(language.KindMemory, "the message is nested deeper than %d levels", jsontext.MaxDepth))
		}
		if err != nil {
			return fmt.Errorf("message: %w", err)
		}
	}
	return nil
}

// reader makes values of JSON.
type reader struct {
	jsontext.Scanner
	p       *Program
	depth   int
	repeats bool   // its texts are likely to come again: action and metadata
	odd     string // the text of the number that was just read, when it is odd
}

// value reads a value.
func (r *reader) value() (goja.Value, error) {
	r.odd = ""
	switch c := r.Peek(); c {
	case '"':
		text, err := r.String()
		if err != nil {
			return nil, err
		}
		return r.text(text), nil
	case '{':
		r.Pos++
		return r.object(nil)
	case '[':
		r.Pos++
		return r.array()
	case 't':
		return r.p.realm.yes, r.Word("true")
	case 'f':
		return r.p.realm.no, r.Word("false")
	case 'n':
		return goja.Null(), r.Word("null")
	default:
		text, err := r.Number()
		if err != nil {
			return nil, err
		}
		return r.number(text), nil
	}
}

func (r *reader) enter() error {
	if r.depth++; r.depth > jsontext.MaxDepth {
		return jsontext.ErrDepth
	}
	return nil
}

// object reads an object whose brace was passed: all of it, or only the keys that are wanted.
func (r *reader) object(wanted map[string]bool) (goja.Value, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	o := r.p.realm.vm.NewObject()
	left := len(wanted)
	for first := true; ; first = false {
		more, err := r.More('}', first)
		if err != nil {
			return nil, err
		}
		if !more {
			r.depth--
			r.odd = ""
			return o, nil
		}
		text, err := r.Key()
		if err != nil {
			return nil, err
		}
		key, units := r.key(text)
		if wanted != nil && !wanted[key] {
			if err := r.Skip(); err != nil {
				return nil, err
			}
			continue
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		if r.odd != "" {
			r.p.remember(o, oddNumber{key, value.ToFloat(), r.odd})
			r.odd = ""
		}
		if err := r.p.realm.put(o, key, units, value); err != nil {
			return nil, err
		}
		if left--; left == 0 { // columns and the members of metadata do not come twice
			return o, nil
		}
	}
}

// put defines a member. Most keys can be set, which is quicker; those that Object.prototype knows must not reach it.
func (r *realm) put(o *goja.Object, key string, units, value goja.Value) error {
	switch {
	case units != nil: // a lone surrogate, which no Go string says
		_, err := r.define(goja.Undefined(), o, units, value)
		return err
	case inherited[key]:
		return o.DefineDataProperty(key, value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
	default:
		return o.Set(key, value)
	}
}

func (r *reader) array() (goja.Value, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	var values []any
	var odd []oddNumber
	for first := true; ; first = false {
		more, err := r.More(']', first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		if r.odd != "" {
			odd = append(odd, oddNumber{index(len(values)), value.ToFloat(), r.odd})
		}
		values = append(values, value)
	}
	r.depth--
	r.odd = ""
	o := r.p.realm.vm.NewArray(values...)
	if odd != nil {
		r.p.remember(o, odd...)
	}
	return o, nil
}

// remember keeps how numbers in o were written.
func (p *Program) remember(o *goja.Object, odd ...oddNumber) {
	if p.odd == nil {
		p.odd = map[*goja.Object][]oddNumber{}
	}
	p.odd[o] = append(p.odd[o], odd...)
}

// key is a key as a Go string, and as a value when it holds a lone surrogate.
func (r *reader) key(t jsontext.Text) (string, goja.Value) {
	raw := t.Raw
	if t.Escaped {
		var lone bool
		if raw, lone = t.Append(nil); lone {
			return string(raw), surrogates(raw)
		}
	}
	if name, ok := r.p.names[string(raw)]; ok {
		return name, nil
	}
	name := valid(raw)
	if len(r.p.names) < maxNames {
		r.p.names[name] = name
	}
	return name, nil
}

func (r *reader) text(t jsontext.Text) goja.Value {
	raw := t.Raw
	if t.Escaped {
		var lone bool
		if raw, lone = t.Append(nil); lone {
			return surrogates(raw)
		}
	}
	if !r.repeats || len(raw) > 64 {
		return r.p.realm.vm.ToValue(valid(raw))
	}
	if v, ok := r.p.texts[string(raw)]; ok {
		return v
	}
	if len(r.p.texts) >= maxNames {
		clear(r.p.texts)
	}
	name := valid(raw)
	v := r.p.realm.vm.ToValue(name)
	r.p.texts[name] = v
	return v
}

func valid(raw []byte) string {
	text := string(raw)
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

// surrogates makes a string of text in which surrogates stand alone, each as three bytes.
func surrogates(raw []byte) goja.Value {
	units := make([]uint16, 0, len(raw))
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		if r == utf8.RuneError && size == 1 && len(raw) >= 3 && raw[0] == 0xED {
			units = append(units, 0xD000|uint16(raw[1]&0x3F)<<6|uint16(raw[2]&0x3F))
			raw = raw[3:]
			continue
		}
		units = utf16.AppendRune(units, r)
		raw = raw[size:]
	}
	return goja.StringFromUTF16(units)
}

// number makes the value that holds every digit.
func (r *reader) number(text []byte) goja.Value {
	n := jsontext.ParseNumber(text)
	switch n.Form {
	case jsontext.Same:
	case jsontext.Integer:
		if big, ok := jsontext.ParseInteger(text); ok {
			return r.p.realm.vm.ToValue(big)
		}
		return r.p.exactly(string(text))
	case jsontext.Inexact:
		return r.p.exactly(string(text))
	case jsontext.Odd:
		r.odd = string(text)
	}
	return r.p.realm.vm.ToValue(n.Double)
}

// exactly makes the object that stands for a number which no double is.
func (p *Program) exactly(text string) goja.Value {
	o := p.realm.vm.CreateObject(p.realm.exactPrototype)
	_, _ = p.realm.freeze(goja.Undefined(), o) // a plain object can be frozen
	if p.exact == nil {
		p.exact = map[*goja.Object]string{}
	}
	p.exact[o] = text
	return o
}
