package lua

import (
	"math"
	"slices"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// write appends the result as JSON.
func (p *Program) write(dst []byte, result lua.LValue) ([]byte, error) {
	w := writer{p: p, dst: dst, limit: len(dst) + p.source.Output}
	if p.source.Output <= 0 {
		w.limit = len(dst) + maxText
	}
	w.value(nil, "", 0, result)
	w.full()
	if w.err != nil {
		return dst, p.at(w.err)
	}
	return w.dst, nil
}

// writer makes JSON of values. After an error nothing that was appended counts.
type writer struct {
	p     *Program
	dst   []byte
	limit int // of len(dst)
	err   *language.Error
	open  []*lua.LTable // tables that are being written
	path  []string      // and the keys that lead from one to the next
}

// value appends a value, which is in holder under the key, or the index if that is not 0.
func (w *writer) value(holder *lua.LTable, key string, index int, v lua.LValue) {
	if w.full() {
		return
	}
	switch x := v.(type) {
	case lua.LBool:
		w.dst = strconv.AppendBool(w.dst, bool(x))
	case lua.LNumber:
		w.number(holder, key, index, x)
	case lua.LString:
		w.dst = jsontext.AppendString(w.dst, string(x))
	case *lua.LTable:
		w.enter(key, index, x)
	case *lua.LUserData:
		if n := exactOf(x); n != nil {
			w.dst = append(w.dst, n.text...)
		} else {
			w.dst = append(w.dst, "null"...)
		}
	default:
		if v == lua.LNil {
			w.dst = append(w.dst, "null"...)
			return
		}
		w.mistake(language.Errorf(language.KindResult, "%s is a %s, which JSON cannot say", w.where(key, index), typeName(v)))
	}
}

func (w *writer) number(holder *lua.LTable, key string, index int, n lua.LNumber) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		w.mistake(language.Errorf(language.KindResult, "%s is %s, which JSON cannot say", w.where(key, index), n))
		return
	}
	for i := range w.p.odd[holder] {
		if odd := &w.p.odd[holder][i]; odd.index == index && odd.key == key && odd.double == n {
			w.dst = append(w.dst, odd.text...)
			return
		}
	}
	w.dst = jsontext.AppendDouble(w.dst, float64(n))
}

// enter writes a table, one level down. A cycle is found at the latest where the depth ends.
func (w *writer) enter(key string, index int, t *lua.LTable) {
	if len(w.open) >= jsontext.MaxDepth {
		if slices.Contains(w.open, t) {
			w.mistake(language.Errorf(language.KindResult, "the value contains itself at %s", w.loop(t)))
		} else {
			w.mistake(language.Errorf(language.KindMemory, "the value is nested deeper than %d levels", jsontext.MaxDepth))
		}
		return
	}
	w.open, w.path = append(w.open, t), append(w.path, name(key, index))
	first, _ := t.Next(lua.LNil)
	switch m := w.p.marks[t]; {
	case m == isArray || m == 0 && first.Type() == lua.LTNumber:
		w.array(t, m == isArray)
	default:
		w.object(t, m == isObject)
	}
	w.open, w.path = w.open[:len(w.open)-1], w.path[:len(w.path)-1]
}

func name(key string, index int) string {
	if index > 0 {
		return "[" + strconv.Itoa(index) + "]"
	}
	return key
}

// array writes what is at 1 to n. What is marked as one may have holes, which are null.
func (w *writer) array(t *lua.LTable, marked bool) {
	w.dst = append(w.dst, '[')
	n := t.MaxN()
	for i := 1; i <= n && w.err == nil; i++ {
		v := t.RawGetInt(i)
		if v == lua.LNil && !marked {
			w.strange("has nothing at " + strconv.Itoa(i))
			return
		}
		if i > 1 {
			w.dst = append(w.dst, ',')
		}
		w.value(t, "", i, v)
	}
	w.dst = append(w.dst, ']')
	if w.err != nil {
		return
	}
	last := lua.LNil
	if n > 0 {
		last = lua.LNumber(n)
	}
	if key, _ := t.Next(last); key != lua.LNil {
		w.strange("has the key " + w.p.show(key))
	}
}

// object writes what is under strings. What is marked as one may have numbers for keys.
func (w *writer) object(t *lua.LTable, marked bool) {
	w.dst = append(w.dst, '{')
	some := false
	for key, v := t.Next(lua.LNil); key != lua.LNil && w.err == nil; key, v = t.Next(key) {
		text := ""
		switch x := key.(type) {
		case lua.LString:
			text = string(x)
		default:
			if !isNumber(key) || !marked {
				w.strange("has the key " + w.p.show(key))
				return
			}
			text = w.p.text(w.p.world.state, key)
		}
		if some {
			w.dst = append(w.dst, ',')
		}
		some = true
		w.dst = append(jsontext.AppendString(w.dst, text), ':')
		w.value(t, text, 0, v)
	}
	w.dst = append(w.dst, '}')
}

// strange is the mistake of a table that is neither an array nor an object.
func (w *writer) strange(what string) {
	where := "the result"
	if len(w.path) > 1 {
		where = dotted(w.path[1:])
	}
	w.mistake(language.Errorf(language.KindResult, "%s %s beside others, so that it is neither an array nor an object: say array{…} or object{…}", where, what))
}

func (w *writer) mistake(e *language.Error) {
	if w.err == nil {
		w.err = e
	}
}

// full tells that it makes no sense to go on: too much was written, or the call is to end. A big result may be a small one that contains itself.
func (w *writer) full() bool {
	if w.err != nil {
		return true
	}
	if len(w.dst) <= w.limit && !w.p.stopped.Load() {
		return false
	}
	for i, t := range w.open {
		if slices.Contains(w.open[:i], t) {
			w.mistake(language.Errorf(language.KindResult, "the value contains itself at %s", w.loop(t)))
		}
	}
	w.mistake(language.Errorf(language.KindOutput, "the result has more than %d bytes", w.p.source.Output))
	return true
}

// where names a place in the result: items[3].price.
func (w *writer) where(key string, index int) string {
	if len(w.open) == 0 {
		return "the result"
	}
	return dotted(append(slices.Clone(w.path[1:]), name(key, index)))
}

// loop names the first place where t contains itself.
func (w *writer) loop(t *lua.LTable) string {
	first := slices.Index(w.open, t)
	second := slices.Index(w.open[first+1:], t)
	if second < 0 {
		return dotted(w.path[first+1:])
	}
	return dotted(w.path[first+1 : first+second+2])
}

func dotted(path []string) string {
	var b strings.Builder
	for i, key := range path {
		if i > 0 && !strings.HasPrefix(key, "[") {
			b.WriteByte('.')
		}
		b.WriteString(key)
	}
	return b.String()
}

// show is a value as an error shows it.
func (p *Program) show(v lua.LValue) string {
	w := writer{p: p, limit: 4 * language.MaxValue}
	if w.value(nil, "", 0, v); w.err != nil {
		return describe(v)
	}
	return string(w.dst)
}

// describe names the type of a value.
func describe(v lua.LValue) string {
	switch typeName(v) {
	case "nil":
		return "nothing"
	case "null":
		return "null"
	}
	return "a " + typeName(v)
}
