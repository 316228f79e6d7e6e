package javascript

import (
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// write appends the result as JSON.stringify would, except that every digit stays and that NaN and Infinity are mistakes.
func (p *Program) write(dst []byte, result goja.Value) ([]byte, error) {
	w := writer{p: p, dst: dst, limit: len(dst) + p.source.Output, strict: true}
	if p.source.Output <= 0 {
		w.limit = len(dst) + maxText
	}
	there := true
	exception := p.realm.vm.Try(func() { there = w.value(nil, "", result) })
	switch {
	case exception != nil:
		return dst, p.failure(exception)
	case w.err != nil:
		return dst, p.at(w.err)
	case !there:
		return dst, p.at(language.Errorf(language.KindResult, "%s returned %s, which is no JSON", p.source.Entry, describe(result)))
	case len(w.dst) > w.limit:
		return dst, p.at(w.tooBig())
	}
	return w.dst, nil
}

var (
	proxyType = reflect.TypeFor[goja.Proxy]()
	bigType   = reflect.TypeFor[*big.Int]()
)

// writer makes JSON of values.
type writer struct {
	p        *Program
	dst      []byte
	limit    int  // of len(dst)
	strict   bool // a result of a function, else of JSON.stringify
	err      *language.Error
	open     []*goja.Object // arrays and objects that are being written
	path     []string       // and the keys that lead from one to the next
	replacer goja.Callable
	keys     []string // the only ones to write, unless nil
	indent   string
}

// value appends a value, and tells whether there was something to append: undefined, functions and symbols are not. After an error nothing
// that was appended counts.
func (w *writer) value(holder *goja.Object, key string, v goja.Value) bool {
	if w.err != nil || w.full() {
		return true
	}
	if o, ok := v.(*goja.Object); ok || goja.IsBigInt(v) {
		v = w.own(o, v, key)
	}
	if w.replacer != nil {
		v = must(w.replacer(holder, fromWobbly(w.p.realm.vm, key), v))
	}
	switch x := v.(type) {
	case nil, *goja.Symbol:
		return false
	case goja.String:
		w.text(x)
	case *goja.Object:
		return w.object(key, x)
	default:
		return w.scalar(holder, key, v)
	}
	return true
}

// own asks an object for its toJSON.
func (w *writer) own(o *goja.Object, v goja.Value, key string) goja.Value {
	if o == nil {
		return v
	}
	if _, exact := w.p.exact[o]; exact {
		return v
	}
	if method, ok := goja.AssertFunction(o.Get("toJSON")); ok {
		return must(method(o, fromWobbly(w.p.realm.vm, key)))
	}
	return v
}

// must throws an error of the code on.
func must(v goja.Value, err error) goja.Value {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *writer) scalar(holder *goja.Object, key string, v goja.Value) bool {
	switch {
	case goja.IsUndefined(v):
		return false
	case goja.IsNull(v):
		w.dst = append(w.dst, "null"...)
	case v == w.p.realm.yes:
		w.dst = append(w.dst, "true"...)
	case v == w.p.realm.no:
		w.dst = append(w.dst, "false"...)
	case goja.IsBigInt(v):
		if n, ok := v.Export().(*big.Int); ok {
			w.dst = n.Append(w.dst, 10)
		}
	default:
		w.number(holder, key, v)
	}
	return true
}

func (w *writer) number(holder *goja.Object, key string, v goja.Value) {
	d := v.ToFloat()
	switch {
	case !goja.IsNaN(v) && !goja.IsInfinity(v):
		for i := range w.p.odd[holder] {
			if odd := &w.p.odd[holder][i]; odd.key == key && odd.double == d {
				w.dst = append(w.dst, odd.text...)
				return
			}
		}
		w.dst = jsontext.AppendDouble(w.dst, d)
	case w.strict:
		w.mistake(language.Errorf(language.KindResult, "%s is %s, which JSON cannot say", w.where(key), v))
	default:
		w.dst = append(w.dst, "null"...)
	}
}

// text appends a string. Go's text of it has U+FFFD for lone surrogates: only then the units are looked at one by one.
func (w *writer) text(s goja.String) {
	text := s.String()
	if len(text) > w.limit {
		w.dst = append(w.dst, make([]byte, w.limit+1)...) // too big whatever it holds
		return
	}
	if !strings.Contains(text, "\uFFFD") {
		w.dst = jsontext.AppendString(w.dst, text)
		return
	}
	w.dst = jsontext.AppendString(w.dst, wobbly(s))
}

// wobblyText is the text of a value that is a string; nil is none.
func wobblyText(v goja.Value) string {
	s, ok := v.(goja.String)
	if !ok {
		return ""
	}
	if text := s.String(); !strings.Contains(text, "\uFFFD") {
		return text
	}
	return wobbly(s)
}

// fromWobbly is the way back.
func fromWobbly(vm *goja.Runtime, text string) goja.Value {
	if utf8.ValidString(text) {
		return vm.ToValue(text)
	}
	return surrogates([]byte(text))
}

// wobbly is a string in UTF-8, lone surrogates as three bytes each.
func wobbly(s goja.String) string {
	n := s.Length()
	b := make([]byte, 0, 3*n)
	for i := 0; i < n; i++ {
		r := rune(s.CharAt(i))
		if !utf16.IsSurrogate(r) {
			b = append(b, string(r)...)
			continue
		}
		if i+1 < n {
			if pair := utf16.DecodeRune(r, rune(s.CharAt(i+1))); pair != '\uFFFD' {
				b = append(b, string(pair)...)
				i++
				continue
			}
		}
		b = jsontext.AppendSurrogate(b, r)
	}
	return string(b)
}

func (w *writer) object(key string, o *goja.Object) bool {
	if text, ok := w.p.exact[o]; ok {
		w.dst = append(w.dst, text...)
		return true
	}
	if _, callable := goja.AssertFunction(o); callable {
		return false
	}
	switch o.ClassName() {
	case "String":
		return w.value(nil, "", w.p.realm.vm.ToValue(o.String()))
	case "Number":
		w.number(nil, key, o.ToNumber())
		return true
	case "Boolean":
		w.dst = strconv.AppendBool(w.dst, o.Equals(w.p.realm.yes))
		return true
	}
	kind := o.ExportType()
	if kind == bigType {
		if n, ok := o.Export().(*big.Int); ok {
			w.dst = n.Append(w.dst, 10)
			return true
		}
	}
	if !w.enter(key, o) {
		return true
	}
	if o.ClassName() == "Array" || kind == proxyType && must(w.p.realm.isArray(goja.Undefined(), o)).ToBoolean() {
		w.array(o)
	} else {
		w.members(o)
	}
	w.open, w.path = w.open[:len(w.open)-1], w.path[:len(w.path)-1]
	return true
}

// enter goes one level down. A cycle is found at the latest where the depth ends.
func (w *writer) enter(key string, o *goja.Object) bool {
	if len(w.open) >= jsontext.MaxDepth || w.replacer != nil && slices.Contains(w.open, o) {
		if slices.Contains(w.open, o) {
			w.mistake(language.Errorf(language.KindResult, "the value contains itself at %s", w.loop(o, key)))
		} else {
			w.mistake(language.Errorf(language.KindMemory, "the value is nested deeper than %d levels", jsontext.MaxDepth))
		}
		return false
	}
	w.open, w.path = append(w.open, o), append(w.path, key)
	return true
}

func (w *writer) array(o *goja.Object) {
	w.dst = append(w.dst, '[')
	n := int(o.Get("length").ToInteger())
	if n > maxElements {
		where := "the result"
		if len(w.path) > 1 {
			where = dotted(w.path[1:])
		}
		w.mistake(language.Errorf(language.KindMemory, "%s is an array of more than %d elements", where, maxElements))
		return
	}
	for i := range n {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.newline()
		key := index(i)
		if v := o.Get(key); !w.value(o, key, v) {
			w.dst = append(w.dst, "null"...)
		}
		if w.err != nil || w.full() {
			return
		}
	}
	w.closing(']', n > 0)
}

func (w *writer) members(o *goja.Object) {
	w.dst = append(w.dst, '{')
	keys := w.keys
	if keys == nil {
		keys = o.Keys()
		for _, key := range keys {
			if strings.Contains(key, "\uFFFD") {
				w.closing('}', w.surrogateMembers(o))
				return
			}
		}
	}
	some := false
	for _, key := range keys {
		if some = w.member(o, key, o.Get(key), some); w.err != nil || w.full() {
			return
		}
	}
	w.closing('}', some)
}

// surrogateMembers writes the members of an object whose keys may hold lone surrogates, which do not survive in a Go string.
func (w *writer) surrogateMembers(o *goja.Object) (some bool) {
	keys := w.p.realm.vm.ToValue(must(w.p.realm.keys(goja.Undefined(), o))).(*goja.Object)
	for i := range int(keys.Get("length").ToInteger()) {
		key, ok := keys.Get(index(i)).(goja.String)
		if !ok {
			continue
		}
		value := must(w.p.realm.get(goja.Undefined(), o, key))
		if some = w.member(o, wobbly(key), value, some); w.err != nil || w.full() {
			return some
		}
	}
	return some
}

// member writes a member unless it is undefined, and tells whether there are any now.
func (w *writer) member(o *goja.Object, key string, value goja.Value, some bool) bool {
	before := len(w.dst)
	if some {
		w.dst = append(w.dst, ',')
	}
	w.newline()
	w.dst = append(jsontext.AppendString(w.dst, key), ':')
	if w.indent != "" {
		w.dst = append(w.dst, ' ')
	}
	if !w.value(o, key, value) {
		w.dst = w.dst[:before]
		return some
	}
	return true
}

func (w *writer) newline() {
	if w.indent != "" {
		w.dst = append(append(w.dst, '\n'), strings.Repeat(w.indent, len(w.open))...)
	}
}

func (w *writer) closing(c byte, some bool) {
	if w.indent != "" && some {
		w.dst = append(append(w.dst, '\n'), strings.Repeat(w.indent, len(w.open)-1)...)
	}
	w.dst = append(w.dst, c)
}

func (w *writer) mistake(e *language.Error) {
	if w.err == nil {
		w.err = e
	}
}

// full tells that it makes no sense to go on: too much was written, or the call is to end. A big result may be a small one that contains itself.
func (w *writer) full() bool {
	if len(w.dst) <= w.limit && !w.p.stopped.Load() {
		return false
	}
	for i, o := range w.open {
		if slices.Contains(w.open[:i], o) {
			w.mistake(language.Errorf(language.KindResult, "the value contains itself at %s", w.loop(o, "")))
		}
	}
	w.mistake(w.tooBig())
	return true
}

func (w *writer) tooBig() *language.Error {
	return language.Errorf(language.KindOutput, "the result has more than %d bytes", w.p.source.Output)
}

// where names a place in the result: items[3].price.
func (w *writer) where(key string) string {
	if len(w.open) == 0 {
		return "the result"
	}
	return dotted(append(w.path[1:len(w.path):len(w.path)], key))
}

// loop names the first place where o contains itself.
func (w *writer) loop(o *goja.Object, key string) string {
	first := slices.Index(w.open, o)
	second := slices.Index(w.open[first+1:], o)
	if second < 0 {
		return w.where(key)
	}
	return dotted(w.path[1 : first+second+2])
}

func dotted(path []string) string {
	var b strings.Builder
	for i, key := range path {
		switch _, err := strconv.Atoi(key); {
		case err == nil:
			b.WriteString("[" + key + "]")
		case i > 0:
			b.WriteString("." + key)
		default:
			b.WriteString(key)
		}
	}
	return b.String()
}

const fewIndexes = 1024

var indexes = func() (all [fewIndexes]string) {
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}()

// index is an array index as a key.
func index(i int) string {
	if i < fewIndexes {
		return indexes[i]
	}
	return strconv.Itoa(i)
}

// show is a value as an error shows it.
func (p *Program) show(v goja.Value) string {
	w := writer{p: p, limit: 4 * language.MaxValue}
	there := false
	if p.realm.vm.Try(func() { there = w.value(nil, "", v) }) != nil || !there || len(w.dst) == 0 {
		return describe(v)
	}
	return string(w.dst)
}

// describe names the type of a value.
func describe(v goja.Value) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case goja.String:
		return "a string"
	case *goja.Symbol:
		return "a symbol"
	case *goja.Object:
		if _, callable := goja.AssertFunction(x); callable {
			return "a function"
		}
		if x.ClassName() == "Array" {
			return "an array"
		}
		return "an object"
	}
	switch {
	case goja.IsUndefined(v):
		return "nothing"
	case goja.IsNull(v):
		return "null"
	case goja.IsBigInt(v):
		return "a BigInt"
	case goja.IsNumber(v):
		return "a number"
	}
	return "a boolean"
}
