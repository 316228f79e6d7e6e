package javascript

import (
	"slices"
	"strconv"
	"strings"

	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// jsonParse is JSON.parse with the digits that messages have.
func (g *guard) jsonParse(call goja.FunctionCall) goja.Value {
	text := wobblyText(must(g.stringOf(goja.Undefined(), call.Argument(0))))
	r := reader{p: g.p, Scanner: jsontext.Scanner{Data: []byte(text)}}
	value, err := r.value()
	if err == nil {
		err = r.End()
	}
	switch {
	case err == jsontext.ErrDepth: //nolint:errorlint // never wrapped
		g.refuse("the text is nested deeper than %d levels", jsontext.MaxDepth)
	case err != nil:
		object, failed := g.vm.New(g.vm.GlobalObject().Get("SyntaxError"), g.vm.ToValue(err.Error()))
		if failed != nil {
			panic(failed)
		}
		panic(g.vm.ToValue(object))
	}
	if revive, ok := goja.AssertFunction(call.Argument(1)); ok {
		holder := g.vm.NewObject()
		_ = holder.Set("", value) // a plain object takes any key
		return g.revive(revive, holder, "", 0)
	}
	return value
}

// rawJSON makes a number that is written as it is given, such as 10.0: the object that numbers of messages are which a double does not hold.
func (g *guard) rawJSON(call goja.FunctionCall) goja.Value {
	text := must(g.stringOf(goja.Undefined(), call.Argument(0))).String()
	s := jsontext.Scanner{Data: []byte(text)}
	if digits, err := s.Number(); err != nil || len(digits) != len(text) {
		object := must(g.vm.New(g.vm.GlobalObject().Get("SyntaxError"), g.vm.ToValue("rawJSON takes a number as JSON has it, not "+strconv.Quote(text))))
		panic(g.vm.ToValue(object))
	}
	return g.p.exactly(text)
}

// isRawJSON tells such numbers from other objects.
func (g *guard) isRawJSON(call goja.FunctionCall) goja.Value {
	o, ok := call.Argument(0).(*goja.Object)
	return g.vm.ToValue(ok && g.p.exact[o] != "")
}

// revive passes every value through the function of the caller, from the inside out.
func (g *guard) revive(revive goja.Callable, holder *goja.Object, key string, depth int) goja.Value {
	if depth > jsontext.MaxDepth {
		g.refuse("the value is nested deeper than %d levels", jsontext.MaxDepth)
	}
	value := holder.Get(key)
	if o, ok := value.(*goja.Object); ok && g.p.exact[o] == "" {
		for _, name := range o.Keys() {
			revived := g.revive(revive, o, name, depth+1)
			if goja.IsUndefined(revived) {
				must(nil, o.Delete(name))
			} else {
				must(nil, o.DefineDataProperty(name, revived, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
			}
		}
	}
	return must(revive(holder, g.vm.ToValue(key), value))
}

// jsonStringify is JSON.stringify, which writes a BigInt as a number with every digit.
func (g *guard) jsonStringify(call goja.FunctionCall) goja.Value {
	w := writer{p: g.p, limit: maxText}
	if replacer, ok := call.Argument(1).(*goja.Object); ok {
		if f, callable := goja.AssertFunction(replacer); callable {
			w.replacer = f
		} else if replacer.ClassName() == "Array" {
			w.keys = g.propertyList(replacer)
		}
	}
	w.indent = g.indent(call.Argument(2))
	holder := g.vm.NewObject()
	_ = holder.Set("", call.Argument(0)) // a plain object takes any key
	there := w.value(holder, "", call.Argument(0))
	switch {
	case w.err != nil && w.err.Kind == language.KindResult:
		panic(g.vm.NewTypeError(w.err.Message))
	case w.err != nil && w.err.Kind == language.KindMemory:
		g.refuse("%s", w.err.Message)
	case w.err != nil || len(w.dst) > w.limit:
		g.refuse("stringify would make a text of more than 64 MiB")
	case !there:
		return goja.Undefined()
	}
	return g.vm.ToValue(string(w.dst))
}

func (g *guard) propertyList(list *goja.Object) []string {
	n := length(list)
	g.count("stringify", n)
	keys := []string{}
	for i := range int(n) {
		switch v := list.Get(index(i)); {
		case v == nil, goja.IsUndefined(v), goja.IsNull(v):
		case goja.IsString(v) || goja.IsNumber(v):
			if key := v.String(); !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// indent is the third argument of JSON.stringify: up to ten spaces or characters.
func (g *guard) indent(v goja.Value) string {
	const most = 10
	if s, ok := v.(goja.String); ok {
		text := s.String()
		for i := range text {
			if len([]rune(text[:i])) == most {
				return text[:i]
			}
		}
		return text
	}
	if goja.IsNumber(v) {
		return strings.Repeat(" ", int(min(max(v.ToInteger(), 0), most)))
	}
	return ""
}
