package lua

import (
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// world is an interpreter with what all calls share.
type world struct {
	p         *Program
	state     *lua.LState
	operators []*lua.LFunction
	null      *lua.LUserData
	nothing   *lua.LTable
	numbers   *lua.LTable // metatable of numbers that a double does not hold
	strings   *lua.LTable // metatable of strings

	base      map[string]lua.LValue
	libraries map[string]map[string]lua.LValue

	given      []entry   // globals of every call
	copied     []library // of which every call gets a copy
	everything bool      // the code names _G and can reach all
}

func (p *Program) furnish() {
	l := lua.NewState(lua.Options{
		SkipOpenLibs: true, CallStackSize: maxCalls, MinimizeStackMemory: true, RegistrySize: 1 << 12, RegistryMaxSize: maxValues, RegistryGrowStep: 1 << 12,
	})
	w := &world{p: p, state: l, nothing: l.NewTable()}
	p.world = w
	l.SetContext(stop{p})
	function := func(f lua.LGFunction) lua.LValue { return l.NewFunction(f) }
	closed := function(index)
	w.numbers = w.metatable(map[string]lua.LValue{
		"__add": function(p.arithmetic("add")), "__sub": function(p.arithmetic("sub")), "__mul": function(p.arithmetic("mul")), "__div": function(p.arithmetic("div")),
		"__mod": function(p.arithmetic("mod")), "__pow": function(p.arithmetic("pow")), "__unm": function(p.negate), "__concat": function(p.concat),
		"__index": closed, "__newindex": closed,
	})
	w.null = &lua.LUserData{Env: w.nothing, Metatable: w.metatable(map[string]lua.LValue{"__index": closed, "__newindex": closed})}
	for _, name := range operators {
		f := p.comparison(name)
		if name == "#" {
			f = p.literal
		}
		w.operators = append(w.operators, l.NewFunction(f))
	}
	w.base = p.baseLibrary(l)
	w.libraries = map[string]map[string]lua.LValue{
		"string": functions(l, p.stringLibrary()), "table": functions(l, p.tableLibrary()), "math": p.mathLibrary(l), "os": functions(l, p.osLibrary()),
	}
	w.strings = w.metatable(map[string]lua.LValue{"__index": table(l, w.libraries["string"])})
	l.SetMetatable(lua.LString(""), w.strings)
	w.plan(p.code.seen)
}

// metatable makes one that code gets to see as false.
func (w *world) metatable(fields map[string]lua.LValue) *lua.LTable {
	t := table(w.state, fields)
	t.RawSetString("__metatable", lua.LFalse)
	return t
}

func table(l *lua.LState, fields map[string]lua.LValue) *lua.LTable {
	t := l.CreateTable(0, len(fields))
	for _, name := range sorted(fields) {
		t.RawSetString(name, fields[name])
	}
	return t
}

func functions(l *lua.LState, all map[string]lua.LGFunction) map[string]lua.LValue {
	values := make(map[string]lua.LValue, len(all))
	for name, f := range all {
		values[name] = l.NewFunction(f)
	}
	return values
}

// entry is a name in a table and what stands there.
type entry struct {
	name  string
	value lua.LValue
}

// library is one that the code names, and what of it the code can reach.
type library struct {
	name    string
	entries []entry
	methods bool // what the code adds to it are methods of strings
}

// plan works out, once, what the table of globals holds: of what there is, what the code can name.
func (w *world) plan(seen *names) {
	w.everything = seen.names["_G"] > 0 || seen.members["_G"] != nil
	for _, name := range sorted(w.base) {
		if w.everything || seen.names[name] > 0 || seen.members[name] != nil {
			w.given = append(w.given, entry{name, w.base[name]})
		}
	}
	for _, name := range sorted(w.libraries) {
		members := seen.members[name]
		whole := w.everything || seen.names[name] > 0 || seen.written[name]
		if !whole && members == nil {
			continue
		}
		lib := library{name: name, methods: whole && name == "string"}
		for _, member := range sorted(w.libraries[name]) {
			if whole || members[member] {
				lib.entries = append(lib.entries, entry{member, w.libraries[name][member]})
			}
		}
		w.copied = append(w.copied, lib)
	}
}

// index is what becomes of null.x.
func index(l *lua.LState) int {
	l.RaiseError("attempt to index a %s value with key '%s'", typeName(l.Get(1)), l.Get(2))
	return 0
}

// globals makes the table of globals of a call.
func (w *world) globals() *lua.LTable {
	env := w.state.CreateTable(0, 8)
	for _, e := range w.given {
		env.RawSetString(e.name, e.value)
	}
	for i := range w.copied {
		t := w.state.CreateTable(0, len(w.copied[i].entries))
		for _, e := range w.copied[i].entries {
			t.RawSetString(e.name, e.value)
		}
		env.RawSetString(w.copied[i].name, t)
		if w.copied[i].methods {
			w.strings.RawSetString("__index", t)
		}
	}
	if w.everything {
		env.RawSetString("_G", env)
	}
	return env
}

// baseLibrary takes what is harmless from the engine, and adds what has to know our numbers and null.
func (p *Program) baseLibrary(l *lua.LState) map[string]lua.LValue {
	lua.OpenBase(l)
	base := map[string]lua.LValue{"_VERSION": lua.LString("Lua 5.1"), "null": p.world.null}
	for _, name := range []string{"assert", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select", "setmetatable", "unpack", "xpcall"} {
		base[name] = l.GetGlobal(name)
	}
	for name, f := range map[string]lua.LGFunction{
		"error": raise, "array": p.marker(isArray), "object": p.marker(isObject), "getmetatable": getmetatable, "print": func(*lua.LState) int { return 0 },
		"tonumber": p.tonumber, "tostring": p.tostring, "type": luaType,
	} {
		base[name] = l.NewFunction(f)
	}
	return base
}

// marker makes array and object: the table given, or a new one, becomes that in JSON, whatever it holds.
func (p *Program) marker(m mark) lua.LGFunction {
	return func(l *lua.LState) int {
		t := l.OptTable(1, nil)
		if t == nil {
			t = l.NewTable()
		}
		p.mark(t, m)
		l.Push(t)
		return 1
	}
}

func (p *Program) mark(t *lua.LTable, m mark) {
	if p.marks == nil {
		p.marks = map[*lua.LTable]mark{}
	}
	p.marks[t] = m
}

// raise is error: the engine's own puts the place one level too low.
func raise(l *lua.LState) int {
	v, level := l.Get(1), l.OptInt(2, 1)
	if text, ok := v.(lua.LString); ok && level > 0 {
		if where := l.Where(level); !strings.HasPrefix(where, "[G]") && where != "" {
			v = lua.LString(where+" ") + text
		}
	}
	l.Error(v, 0)
	return 0
}

func getmetatable(l *lua.LState) int {
	v := l.CheckAny(1)
	if shown := l.GetMetaField(v, "__metatable"); shown != lua.LNil {
		l.Push(shown)
	} else {
		l.Push(l.GetMetatable(v))
	}
	return 1
}

func luaType(l *lua.LState) int {
	l.Push(lua.LString(typeName(l.CheckAny(1))))
	return 1
}

// typeName is the type of a value; numbers that a double does not hold are numbers, and null is a type of its own.
func typeName(v lua.LValue) string {
	if v.Type() == lua.LTUserData {
		if exactOf(v) != nil {
			return "number"
		}
		return "null"
	}
	return v.Type().String()
}

func (p *Program) tonumber(l *lua.LState) int {
	v := l.CheckAny(1)
	base := l.OptInt(2, 10)
	switch x := v.(type) {
	case lua.LNumber:
		l.Push(x)
		return 1
	case lua.LString:
		if n, ok := p.inBase(string(x), base); ok {
			l.Push(n)
			return 1
		}
	case *lua.LUserData:
		if exactOf(v) != nil {
			l.Push(v)
			return 1
		}
	}
	l.Push(lua.LNil)
	return 1
}

func (p *Program) inBase(text string, base int) (lua.LValue, bool) {
	if base == 10 {
		return p.parse(text)
	}
	if base < 2 || base > 36 {
		p.world.state.ArgError(2, "base out of range")
	}
	text = strings.Trim(text, " \t\n\v\f\r")
	if base == 16 {
		text = strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")
	}
	n, err := strconv.ParseInt(text, base, 64)
	return lua.LNumber(n), err == nil
}

// parseDouble reads a number in decimal, or in hexadecimal with 0x.
func parseDouble(text string) (lua.LValue, bool) {
	if strings.HasPrefix(text, "0x") || strings.HasPrefix(text, "0X") {
		n, err := strconv.ParseUint(text[2:], 16, 64)
		return lua.LNumber(n), err == nil
	}
	if text == "" || strings.Trim(text, "0123456789.eE+-") != "" { // no inf, nan or _
		return lua.LNil, false
	}
	d, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(d, 0) {
		return lua.LNil, false
	}
	return lua.LNumber(d), true
}

func (p *Program) tostring(l *lua.LState) int {
	l.Push(lua.LString(p.text(l, l.CheckAny(1))))
	return 1
}

// text is what tostring returns.
func (p *Program) text(l *lua.LState, v lua.LValue) string {
	switch x := v.(type) {
	case lua.LString:
		return string(x)
	case lua.LNumber:
		return x.String()
	}
	if n := exactOf(v); n != nil {
		return n.text
	}
	if v == p.world.null {
		return "null"
	}
	if method, ok := l.GetMetaField(v, "__tostring").(*lua.LFunction); ok {
		l.Push(method)
		l.Push(v)
		l.Call(1, 1)
		answer := l.Get(-1)
		l.Pop(1)
		if text, ok := answer.(lua.LString); ok {
			return string(text)
		}
		return p.text(l, answer)
	}
	switch v.Type() { //nolint:exhaustive // the others were above
	case lua.LTTable, lua.LTFunction:
		return v.Type().String() + ": " + strconv.Itoa(p.ordinal(v))
	}
	return v.String()
}

// ordinal stands in for the address of a value, which would be another one in every run.
func (p *Program) ordinal(v lua.LValue) int {
	if p.seen == nil {
		p.seen = map[lua.LValue]int{}
	}
	n, ok := p.seen[v]
	if !ok {
		n = len(p.seen) + 1
		p.seen[v] = n
	}
	return n
}

func (p *Program) concat(l *lua.LState) int {
	var text [2]string
	for i := range text {
		v := l.Get(i + 1)
		switch {
		case v.Type() == lua.LTString || isNumber(v):
			text[i] = p.text(l, v)
		default:
			l.RaiseError("attempt to concatenate a %s", typeName(v))
		}
	}
	p.bound(float64(len(text[0])+len(text[1])), "..")
	l.Push(lua.LString(text[0] + text[1]))
	return 1
}
