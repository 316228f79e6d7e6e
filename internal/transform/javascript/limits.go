package javascript

import (
	"slices"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/language"
)

const (
	maxText     = 64 << 20 // bytes that one call of a built-in function may make
	maxElements = 4 << 20  // elements that an array may have for a built-in function to work on it: 64 MiB of values
	maxSpread   = 1 << 16  // arguments that apply may take from an array
	maxJoins    = 1000     // arrays inside arrays that become text
	maxBits     = 1 << 20  // of BigInt.asIntN

	maxGenerators = 1000 // that run inside one another
)

// guard bounds the built-in functions that could work or allocate for long in one go, where no interrupt reaches them.
type guard struct {
	p  *Program
	vm *goja.Runtime

	stringOf, utc, parse goja.Callable
}

// host is what the prelude needs from Go.
func (g *guard) host() *goja.Object {
	h := g.vm.NewObject()
	for name, f := range map[string]func(goja.FunctionCall) goja.Value{
		"bound":         g.bound,
		"boundBuffer":   g.boundBuffer,
		"boundDepth":    g.boundDepth,
		"dateArguments": g.dateArguments,
		"dateParse":     g.dateParse,
		"dateText":      g.dateText,
		"digits":        g.digits,
	} {
		_ = h.Set(name, f) // a plain object takes any key
	}
	return h
}

// refuse throws a RangeError that counts as one of memory if nobody catches it.
func (g *guard) refuse(format string, args ...any) { g.throw(language.KindMemory, format, args...) }

func (g *guard) throw(kind language.Kind, format string, args ...any) {
	text := language.Errorf(kind, format, args...).Message
	object, err := g.vm.New(g.vm.GlobalObject().Get("RangeError"), g.vm.ToValue(text))
	if err != nil {
		panic(err)
	}
	g.p.refused, g.p.refusal = object, kind
	panic(g.vm.ToValue(object))
}

func (g *guard) text(bytes float64, what string) {
	if bytes > maxText {
		g.refuse("%s would make a text of more than 64 MiB", what)
	}
}

// digits is the text of a number that no double holds.
func (g *guard) digits(call goja.FunctionCall) goja.Value {
	o, _ := call.Argument(0).(*goja.Object)
	text, ok := g.p.exact[o]
	if !ok {
		panic(g.vm.NewTypeError("not a number"))
	}
	return g.vm.ToValue(text)
}

// bound puts a check before each function that needs one.
func (g *guard) bound(goja.FunctionCall) goja.Value {
	global := g.vm.GlobalObject()
	object := func(path ...string) *goja.Object {
		o := global
		for _, name := range path {
			o = o.Get(name).ToObject(g.vm)
		}
		return o
	}
	text := object("String", "prototype")
	for name, check := range map[string]func(string, goja.FunctionCall){
		"repeat": g.repeat, "padStart": g.pad, "padEnd": g.pad, "concat": g.concat, "replace": g.replace, "replaceAll": g.replace, "split": g.pieces,
		"match": g.pieces,
	} {
		g.before(text, name, check)
	}
	g.timed(object("RegExp", "prototype"))
	array := object("Array", "prototype")
	for _, name := range array.GetOwnPropertyNames() {
		switch name {
		case "constructor", "length", "push", "pop", "at", "values", "keys", "entries", "join", "toString", "toLocaleString":
		case "concat":
			g.before(array, name, g.concatArrays)
		case "flat":
			g.before(array, name, g.flat)
		default:
			g.before(array, name, g.elements)
		}
	}
	g.replaceWith(array, "join", 1, g.join)
	g.replaceWith(array, "toString", 0, g.join0)
	g.replaceWith(array, "toLocaleString", 0, g.join0)
	g.before(object("Array"), "from", g.arrayLike)
	g.before(object("Function", "prototype"), "apply", func(name string, call goja.FunctionCall) { g.spread(name, call.Argument(1)) })
	g.before(object("Reflect"), "apply", func(name string, call goja.FunctionCall) { g.spread(name, call.Argument(2)) })
	g.before(object("Reflect"), "construct", func(name string, call goja.FunctionCall) { g.spread(name, call.Argument(1)) })
	g.before(object("BigInt"), "asIntN", g.bits)
	g.before(object("BigInt"), "asUintN", g.bits)
	g.replaceWith(object("JSON"), "parse", 2, g.jsonParse)
	g.replaceWith(object("JSON"), "stringify", 3, g.jsonStringify)
	g.replaceWith(object("JSON"), "rawJSON", 1, g.rawJSON)
	g.replaceWith(object("JSON"), "isRawJSON", 1, g.isRawJSON)
	return goja.Undefined()
}

// before puts a check before a function.
func (g *guard) before(object *goja.Object, name string, check func(string, goja.FunctionCall)) {
	original, ok := object.Get(name).(*goja.Object)
	if !ok {
		return // an older engine does not have it
	}
	run, ok := goja.AssertFunction(original)
	if !ok {
		return
	}
	g.replaceWith(object, name, int(original.Get("length").ToInteger()), func(call goja.FunctionCall) goja.Value {
		check(name, call)
		return must(run(call.This, call.Arguments...))
	})
}

// timed makes a match that took too long an error. The engine would go on as if nothing had matched. All that matches goes through exec or test:
// for a changed exec the engine has no short cuts.
func (g *guard) timed(prototype *goja.Object) {
	for _, name := range [...]string{"exec", "test"} {
		run, _ := goja.AssertFunction(prototype.Get(name))
		g.replaceWith(prototype, name, 1, func(call goja.FunctionCall) goja.Value {
			start := time.Now()
			found := must(run(call.This, call.Arguments...))
			if time.Since(start) >= matchTimeout {
				g.throw(language.KindTimeout, "a regular expression took longer than %s", matchTimeout)
			}
			return found
		})
	}
}

func (g *guard) replaceWith(object *goja.Object, name string, length int, run func(goja.FunctionCall) goja.Value) {
	f := g.vm.ToValue(run).ToObject(g.vm)
	_ = f.DefineDataProperty("name", g.vm.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	_ = f.DefineDataProperty("length", g.vm.ToValue(length), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	_ = object.DefineDataProperty(name, f, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE) // nothing is frozen yet
}

// size is the length of a string or of what becomes one; asking an object twice for its text is left to the function itself.
func size(v goja.Value) float64 {
	if s, ok := v.(goja.String); ok {
		return float64(s.Length())
	}
	return 0
}

func (g *guard) repeat(name string, call goja.FunctionCall) {
	g.text(size(g.string(call.This))*call.Argument(0).ToFloat(), name)
}

// string is the text of a value, as the functions of String.prototype take it.
func (g *guard) string(v goja.Value) goja.Value {
	if _, ok := v.(*goja.Object); ok {
		return must(g.stringOf(goja.Undefined(), v))
	}
	switch v.(type) {
	case goja.String:
		return v
	case *goja.Symbol:
		panic(g.vm.NewTypeError("Cannot convert a Symbol value to a string"))
	}
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	return g.vm.ToValue(v.String())
}

func (g *guard) pad(name string, call goja.FunctionCall) { g.text(call.Argument(0).ToFloat(), name) }

func (g *guard) concat(name string, call goja.FunctionCall) {
	sum := size(call.This)
	for _, v := range call.Arguments {
		sum += size(v)
	}
	g.text(sum, name)
}

// replace counts what would be replaced before it is, when a small text could become a big one.
func (g *guard) replace(name string, call goja.FunctionCall) {
	with, ok := call.Argument(1).(goja.String)
	if !ok {
		g.pieces(name, call)
		return
	}
	subject := size(g.string(call.This))
	each := float64(with.Length())
	if dollars := strings.Count(with.String(), "$"); dollars > 0 {
		each += float64(dollars) * subject // $` and $' stand for all that is before and behind
	}
	if subject+(subject+1)*each <= maxText {
		return
	}
	g.text(subject+float64(g.matches(name, call))*each, name)
}

// matches counts the places where a pattern is found.
func (g *guard) matches(name string, call goja.FunctionCall) int {
	switch pattern := call.Argument(0).(type) {
	case *goja.Object:
		if pattern.ClassName() != "RegExp" {
			return 1
		}
		global := pattern.Get("global").ToBoolean()
		if !global {
			return 1
		}
		g.pieces(name, call)
		match, _ := goja.AssertFunction(pattern.GetSymbol(goja.SymMatch))
		found, ok := must(match(pattern, g.string(call.This))).(*goja.Object)
		if !ok {
			return 0
		}
		return int(found.Get("length").ToInteger())
	case goja.String:
		if name == "replace" {
			return 1
		}
		return strings.Count(g.string(call.This).String(), pattern.String())
	}
	return 1
}

// pieces refuses to cut a text that could fall into too many.
func (g *guard) pieces(name string, call goja.FunctionCall) {
	s := g.string(call.This)
	if size(s) <= maxElements {
		return
	}
	if separator, ok := call.Argument(0).(goja.String); ok && separator.Length() > 0 {
		if strings.Count(s.String(), separator.String()) < maxElements {
			return
		}
	}
	if goja.IsUndefined(call.Argument(0)) {
		return
	}
	g.refuse("%s on a text of more than %d characters", name, maxElements)
}

// length is the length that an array or what looks like one claims.
func length(v goja.Value) float64 {
	o, ok := v.(*goja.Object)
	if !ok {
		return size(v)
	}
	n := o.Get("length")
	if n == nil {
		return 0
	}
	if f := n.ToFloat(); f > 0 { // false for NaN
		return f
	}
	return 0
}

func (g *guard) elements(name string, call goja.FunctionCall) { g.count(name, length(call.This)) }

func (g *guard) arrayLike(name string, call goja.FunctionCall) {
	g.count(name, length(call.Argument(0)))
}

func (g *guard) count(name string, n float64) {
	if n > maxElements {
		g.refuse("%s on more than %d elements", name, maxElements)
	}
}

func (g *guard) concatArrays(name string, call goja.FunctionCall) {
	sum := length(call.This)
	for _, v := range call.Arguments {
		if o, ok := v.(*goja.Object); ok {
			sum += length(o)
		}
	}
	g.count(name, sum)
}

// flat counts one level; what is flattened deeper is in memory several times already or refused by the limit of memory.
func (g *guard) flat(name string, call goja.FunctionCall) {
	g.elements(name, call)
	o, ok := call.This.(*goja.Object)
	if !ok {
		return
	}
	sum := 0.0
	for i := range int(length(o)) {
		if inner, ok := o.Get(index(i)).(*goja.Object); ok && inner.ClassName() == "Array" {
			sum += length(inner)
		}
	}
	g.count(name, sum)
}

func (g *guard) spread(name string, list goja.Value) {
	if _, ok := list.(*goja.Object); ok && length(list) > maxSpread {
		g.refuse("%s with more than %d arguments", name, maxSpread)
	}
}

func (g *guard) bits(name string, call goja.FunctionCall) {
	if call.Argument(0).ToFloat() > maxBits {
		g.refuse("%s with more than %d bits", name, maxBits)
	}
}

// boundBuffer refuses more than 64 MiB. It is told the argument of the constructor, a length or something with one.
func (g *guard) boundBuffer(call goja.FunctionCall) goja.Value {
	n := 0.0
	if o, ok := call.Argument(0).(*goja.Object); ok {
		n = length(o)
	} else {
		n = call.Argument(0).ToFloat()
	}
	if n*call.Argument(1).ToFloat() > maxText {
		g.refuse("%s of more than 64 MiB", call.Argument(2))
	}
	return goja.Undefined()
}

// boundDepth counts how many generators are inside one another: the engine does not take them for calls.
func (g *guard) boundDepth(call goja.FunctionCall) goja.Value {
	prototype := call.Argument(0).ToObject(g.vm)
	for _, name := range [...]string{"next", "return", "throw"} {
		run, ok := goja.AssertFunction(prototype.Get(name))
		if !ok {
			continue
		}
		g.replaceWith(prototype, name, 1, func(call goja.FunctionCall) goja.Value {
			if g.p.generators >= maxGenerators {
				g.refuse("more than %d generators inside one another", maxGenerators)
			}
			depth := g.p.generators
			g.p.generators++
			defer func() { g.p.generators = depth }()
			return must(run(call.This, call.Arguments...))
		})
	}
	return goja.Undefined()
}

// join0 is toString of an array.
func (g *guard) join0(call goja.FunctionCall) goja.Value {
	return g.join(goja.FunctionCall{This: call.This})
}

// join makes one text of an array and of the arrays in it, which may hold the same ones many times over, or themselves.
func (g *guard) join(call goja.FunctionCall) goja.Value {
	o := call.This.ToObject(g.vm)
	n := length(o)
	g.count("join", n)
	separator := ","
	if v := call.Argument(0); !goja.IsUndefined(v) {
		separator = wobblyText(g.string(v))
	}
	if slices.Contains(g.p.joining, o) {
		return g.vm.ToValue("") // as browsers do
	}
	if len(g.p.joining) >= maxJoins {
		g.refuse("arrays are nested deeper than %d levels", maxJoins)
	}
	depth := len(g.p.joining)
	g.p.joining = append(g.p.joining, o)
	defer func() { g.p.joining = g.p.joining[:depth] }()
	var b strings.Builder
	for i := range int(n) {
		if i > 0 {
			b.WriteString(separator)
		}
		v := o.Get(index(i))
		if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
			continue
		}
		b.WriteString(wobblyText(g.string(v)))
		g.text(float64(b.Len()), "join")
	}
	return fromWobbly(g.vm, b.String())
}
