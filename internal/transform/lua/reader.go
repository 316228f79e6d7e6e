package lua

import (
	"errors"
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// maxNames is how many keys are remembered; columns and the members of jsonb documents repeat, but what is a dictionary does not.
const maxNames = 4096

// read puts the arguments on the stack, those that the code asks for.
func (p *Program) read() error {
	for i, raw := range [parameters][]byte{p.message.Action, p.message.Record, p.message.Changes, p.message.Metadata} {
		need := &p.code.needs[i]
		if raw == nil || !need.all && len(need.keys) == 0 {
			p.world.state.Push(lua.LNil)
			continue
		}
		value, err := p.argument(raw, need)
		switch {
		case errors.Is(err, jsontext.ErrDepth):
			return p.at(language.Errorf(language.KindMemory, "the message is nested deeper than %d levels", jsontext.MaxDepth))
		case err != nil:
			return fmt.Errorf("message: %w", err)
		}
		if value == p.world.null { // changes of an insert
			value = lua.LNil
		}
		p.world.state.Push(value)
	}
	return nil
}

func (p *Program) argument(raw []byte, need *need) (lua.LValue, error) {
	r := reader{p: p, Scanner: jsontext.Scanner{Data: raw}}
	if need.all || raw[0] != '{' {
		return r.value()
	}
	r.Pos++
	return r.object(need.keys)
}

// reader makes values of JSON.
type reader struct {
	jsontext.Scanner
	p     *Program
	depth int
	odd   string // the text of the number that was just read, when it is odd
}

func (r *reader) value() (lua.LValue, error) {
	r.odd = ""
	switch c := r.Peek(); c {
	case '"':
		text, err := r.String()
		if err != nil {
			return nil, err
		}
		if text.Escaped {
			raw, _ := text.Append(nil)
			return lua.LString(raw), nil
		}
		return lua.LString(text.Raw), nil
	case '{':
		r.Pos++
		return r.object(nil)
	case '[':
		r.Pos++
		return r.array()
	case 't':
		return lua.LTrue, r.Word("true")
	case 'f':
		return lua.LFalse, r.Word("false")
	case 'n':
		return r.p.world.null, r.Word("null")
	default:
		text, err := r.Number()
		if err != nil {
			return nil, err
		}
		return r.number(text), nil
	}
}

func (r *reader) number(text []byte) lua.LValue {
	n := jsontext.ParseNumber(text)
	switch n.Form {
	case jsontext.Same:
	case jsontext.Integer:
		whole, _ := jsontext.ParseInteger(text) // nil if it is too long to calculate with
		return r.p.exactly(string(text), n.Double, whole)
	case jsontext.Inexact:
		return r.p.exactly(string(text), n.Double, nil)
	case jsontext.Odd:
		r.odd = string(text)
	}
	return lua.LNumber(n.Double)
}

func (r *reader) enter() error {
	if r.depth++; r.depth > jsontext.MaxDepth {
		return jsontext.ErrDepth
	}
	return nil
}

// object reads an object whose brace was passed: all of it, or only the keys that are wanted.
func (r *reader) object(wanted map[string]bool) (lua.LValue, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	t := r.p.world.state.CreateTable(0, 8)
	left := len(wanted)
	for first := true; ; first = false {
		more, err := r.More('}', first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		text, err := r.Key()
		if err != nil {
			return nil, err
		}
		key := r.key(text)
		if wanted != nil && !wanted[string(key)] {
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
			r.p.remember(t, oddNumber{key: string(key), double: value.(lua.LNumber), text: r.odd}) //nolint:forcetypeassert // odd numbers are plain ones
		}
		t.RawSetString(string(key), value)
		if left--; left == 0 { // columns and the members of metadata do not come twice
			break
		}
	}
	r.depth--
	r.odd = ""
	return t, nil
}

func (r *reader) array() (lua.LValue, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	t := r.p.world.state.CreateTable(4, 0)
	r.p.mark(t, isArray)
	for n := 1; ; n++ {
		more, err := r.More(']', n == 1)
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
			r.p.remember(t, oddNumber{index: n, double: value.(lua.LNumber), text: r.odd}) //nolint:forcetypeassert // odd numbers are plain ones
		}
		t.Append(value)
	}
	r.depth--
	r.odd = ""
	return t, nil
}

// remember keeps how a number in t was written.
func (p *Program) remember(t *lua.LTable, odd oddNumber) {
	if p.odd == nil {
		p.odd = map[*lua.LTable][]oddNumber{}
	}
	p.odd[t] = append(p.odd[t], odd)
}

func (r *reader) key(t jsontext.Text) lua.LString {
	raw := t.Raw
	if t.Escaped {
		raw, _ = t.Append(nil)
	}
	if name, ok := r.p.names[string(raw)]; ok {
		return name
	}
	name := lua.LString(raw)
	if len(r.p.names) < maxNames {
		r.p.names[string(raw)] = name
	}
	return name
}
