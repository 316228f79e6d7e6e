package lua

import (
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/replay"
)

// sorted are the keys in order, so that tables are filled in the same order each time.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// tableLibrary is table.
func (p *Program) tableLibrary() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"concat": p.join, "insert": p.insert, "remove": p.remove, "sort": p.sort,
		"getn": func(l *lua.LState) int { l.Push(lua.LNumber(l.CheckTable(1).Len())); return 1 },
		"maxn": func(l *lua.LState) int { l.Push(lua.LNumber(l.CheckTable(1).MaxN())); return 1 },
	}
}

func (p *Program) join(l *lua.LState) int {
	t, separator := l.CheckTable(1), ""
	if l.Get(2) != lua.LNil {
		separator = p.check(l, 2)
	}
	var b strings.Builder
	first, last := place(l, 3, 1), place(l, 4, t.Len())
	for i := first; i <= last; i++ {
		p.step()
		v := t.RawGetInt(i)
		if v.Type() != lua.LTString && !isNumber(v) {
			l.RaiseError("invalid value (%s) at index %d in table for 'concat'", typeName(v), i)
		}
		b.WriteString(p.text(l, v))
		if i < last {
			b.WriteString(separator)
		}
		p.bound(float64(b.Len()), "concat")
	}
	l.Push(lua.LString(b.String()))
	return 1
}

func (p *Program) insert(l *lua.LState) int {
	t := l.CheckTable(1)
	switch l.GetTop() {
	case 2:
		t.RawSetInt(t.Len()+1, l.Get(2))
	case 3:
		at, n := place(l, 2, 1), t.Len()
		if at < 1 || at > n+1 {
			l.ArgError(2, "position out of bounds")
		}
		for i := n; i >= at; i-- {
			p.step()
			t.RawSetInt(i+1, t.RawGetInt(i))
		}
		t.RawSetInt(at, l.Get(3))
	default:
		l.RaiseError("wrong number of arguments to 'insert'")
	}
	return 0
}

func (p *Program) remove(l *lua.LState) int {
	t := l.CheckTable(1)
	n := t.Len()
	at := place(l, 2, n)
	if at < 1 || at > n {
		l.Push(lua.LNil)
		return 1
	}
	removed := t.RawGetInt(at)
	for i := at; i < n; i++ {
		p.step()
		t.RawSetInt(i, t.RawGetInt(i+1))
	}
	t.RawSetInt(n, lua.LNil)
	l.Push(removed)
	return 1
}

// sort is table.sort. It is stable, so that equal elements stay in their order in every version.
func (p *Program) sort(l *lua.LState) int {
	t := l.CheckTable(1)
	less := func(a, b lua.LValue) bool { return p.compare(l, "<", a, b, func(order int) bool { return order < 0 }) }
	if l.GetTop() > 1 && l.Get(2) != lua.LNil {
		f := l.CheckFunction(2)
		less = func(a, b lua.LValue) bool { return p.ask(l, f, a, b) }
	}
	values := make([]lua.LValue, t.Len())
	for i := range values {
		values[i] = t.RawGetInt(i + 1)
	}
	sort.SliceStable(values, func(i, j int) bool {
		p.step()
		return less(values[i], values[j])
	})
	for i, v := range values {
		t.RawSetInt(i+1, v)
	}
	return 0
}

// mathLibrary is math.
func (p *Program) mathLibrary(l *lua.LState) map[string]lua.LValue {
	all := map[string]lua.LValue{"pi": lua.LNumber(math.Pi), "huge": lua.LNumber(math.Inf(1))}
	for name, f := range map[string]func(float64) float64{
		"acos": math.Acos, "asin": math.Asin, "atan": math.Atan, "cos": math.Cos, "cosh": math.Cosh, "exp": math.Exp, "log10": math.Log10,
		"sin": math.Sin, "sinh": math.Sinh, "sqrt": math.Sqrt, "tan": math.Tan, "tanh": math.Tanh,
		"deg": func(x float64) float64 { return x * 180 / math.Pi }, "rad": func(x float64) float64 { return x * math.Pi / 180 },
	} {
		all[name] = l.NewFunction(func(l *lua.LState) int { l.Push(lua.LNumber(f(p.numeric(l, 1).double))); return 1 })
	}
	for name, f := range map[string]func(float64, float64) float64{
		"atan2": math.Atan2, "fmod": math.Mod, "pow": math.Pow, "ldexp": func(x, n float64) float64 { return x * math.Pow(2, n) },
	} {
		all[name] = l.NewFunction(func(l *lua.LState) int {
			l.Push(lua.LNumber(f(p.numeric(l, 1).double, p.numeric(l, 2).double)))
			return 1
		})
	}
	for name, f := range map[string]lua.LGFunction{
		"abs": p.round(math.Abs, func(n *big.Int) *big.Int { return new(big.Int).Abs(n) }), "ceil": p.round(math.Ceil, nil), "floor": p.round(math.Floor, nil),
		"max": p.extreme(1), "min": p.extreme(-1), "frexp": p.frexp, "modf": p.modf, "log": p.log, "random": p.randomNumber, "randomseed": p.seed,
	} {
		all[name] = l.NewFunction(f)
	}
	return all
}

// numeric is an argument that has to be a number.
func (p *Program) numeric(l *lua.LState, n int) operand {
	o, ok := p.operand(l.Get(n))
	if !ok {
		l.ArgError(n, "number expected, got "+typeName(l.Get(n)))
	}
	return o
}

// round applies a function to a number; big integers keep their digits.
func (p *Program) round(f func(float64) float64, whole func(*big.Int) *big.Int) lua.LGFunction {
	return func(l *lua.LState) int {
		o := p.numeric(l, 1)
		switch {
		case o.integer == nil:
			l.Push(lua.LNumber(f(o.double)))
		case whole != nil:
			l.Push(p.integral(whole(o.integer)))
		default:
			l.Push(p.integral(o.integer))
		}
		return 1
	}
}

func (p *Program) extreme(direction int) lua.LGFunction {
	return func(l *lua.LState) int {
		best := l.Get(1)
		o := p.numeric(l, 1)
		for i := 2; i <= l.GetTop(); i++ {
			other := p.numeric(l, i)
			order := sign(other.double, o.double)
			if other.integer != nil && o.integer != nil {
				order = other.integer.Cmp(o.integer)
			}
			if order == direction {
				best, o = l.Get(i), other
			}
		}
		l.Push(best)
		return 1
	}
}

func (p *Program) frexp(l *lua.LState) int {
	fraction, exponent := math.Frexp(p.numeric(l, 1).double)
	l.Push(lua.LNumber(fraction))
	l.Push(lua.LNumber(exponent))
	return 2
}

func (p *Program) modf(l *lua.LState) int {
	whole, fraction := math.Modf(p.numeric(l, 1).double)
	l.Push(lua.LNumber(whole))
	l.Push(lua.LNumber(fraction))
	return 2
}

func (p *Program) log(l *lua.LState) int {
	n := math.Log(p.numeric(l, 1).double)
	if l.GetTop() > 1 {
		n /= math.Log(p.numeric(l, 2).double)
	}
	l.Push(lua.LNumber(n))
	return 1
}

func (p *Program) randomNumber(l *lua.LState) int {
	low, high := 1.0, 0.0
	switch l.GetTop() {
	case 0:
		l.Push(lua.LNumber(p.dice().Float64()))
		return 1
	case 1:
		high = math.Floor(p.numeric(l, 1).double)
	default:
		low, high = math.Floor(p.numeric(l, 1).double), math.Floor(p.numeric(l, 2).double)
	}
	if !(low <= high) || math.IsInf(high-low, 0) { // NaN too
		l.ArgError(1, "interval is empty")
	}
	l.Push(lua.LNumber(low + math.Floor(p.dice().Float64()*(high-low+1))))
	return 1
}

// seed gives the dice another start, for the rest of the call.
func (p *Program) seed(l *lua.LState) int {
	p.random = replay.Seeded(p.check(l, 1))
	return 0
}

// osLibrary is what of os has to do with time.
func (p *Program) osLibrary() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"time": p.time, "date": p.date,
		"difftime": func(l *lua.LState) int {
			l.Push(lua.LNumber(p.numeric(l, 1).double - p.numeric(l, 2).double))
			return 1
		},
	}
}

// time is the commit of the change in seconds since 1970, or the date in a table.
func (p *Program) time(l *lua.LState) int {
	if l.Get(1) == lua.LNil {
		l.Push(lua.LNumber(p.now().Unix()))
		return 1
	}
	t := l.CheckTable(1)
	field := func(name string, otherwise int) int {
		v := t.RawGetString(name)
		if v == lua.LNil && otherwise >= 0 {
			return otherwise
		}
		o, ok := p.operand(v)
		if !ok || math.Abs(o.double) > 1e9 {
			l.RaiseError("field '%s' missing in date table", name)
		}
		return int(o.double)
	}
	at := time.Date(field("year", -1), time.Month(field("month", -1)), field("day", -1), field("hour", 12), field("min", 0), field("sec", 0), 0, time.UTC)
	l.Push(lua.LNumber(at.Unix()))
	return 1
}

// layouts are the conversions of os.date.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06", 'F': "2006-01-02", 'H': "15",
	'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006",
	'Z': "UTC", 'z': "+0000",
}

// date writes a time, the commit of the change if none is given, always in UTC.
func (p *Program) date(l *lua.LState) int {
	layout, at := "%c", p.now()
	if l.Get(1) != lua.LNil {
		layout = strings.TrimPrefix(p.check(l, 1), "!")
	}
	if l.Get(2) != lua.LNil {
		seconds := p.numeric(l, 2).double
		if !(math.Abs(seconds) < 1e13) { // NaN too
			l.ArgError(2, "time out of bounds")
		}
		at = time.Unix(int64(math.Floor(seconds)), 0).UTC()
	}
	if strings.HasPrefix(layout, "*t") {
		l.Push(dateTable(l, at))
		return 1
	}
	var b strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			b.WriteByte(layout[i])
			continue
		}
		i++
		form, ok := layouts[layout[i]]
		switch {
		case ok:
			b.WriteString(at.Format(form))
		case layout[i] == 'w':
			b.WriteString(strconv.Itoa(int(at.Weekday())))
		case layout[i] == '%':
			b.WriteByte('%')
		default:
			l.ArgError(1, "invalid conversion specifier '%"+layout[i:i+1]+"'")
		}
	}
	l.Push(lua.LString(b.String()))
	return 1
}

func dateTable(l *lua.LState, at time.Time) *lua.LTable {
	t := l.CreateTable(0, 9)
	for _, field := range []struct {
		name  string
		value int
	}{
		{"year", at.Year()},
		{"month", int(at.Month())},
		{"day", at.Day()},
		{"hour", at.Hour()},
		{"min", at.Minute()},
		{"sec", at.Second()},
		{"wday", int(at.Weekday()) + 1},
		{"yday", at.YearDay()},
	} {
		t.RawSetString(field.name, lua.LNumber(field.value))
	}
	t.RawSetString("isdst", lua.LFalse)
	return t
}
