package lua

import (
	"math"
	"math/big"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
)

// maxBits bounds integers in arithmetic.
const maxBits = 1 << 15

// number is a number that a double does not hold.
type number struct {
	text    string
	double  float64
	integer *big.Int // nil for others
}

// exactly is the value for the text of a number; the same for the same text, so that it can be compared and be a key.
func (p *Program) exactly(text string, double float64, integer *big.Int) lua.LValue {
	if v, ok := p.exact[text]; ok {
		return v
	}
	v := &lua.LUserData{Value: &number{text, double, integer}, Env: p.world.nothing, Metatable: p.world.numbers}
	if p.exact == nil {
		p.exact = map[string]*lua.LUserData{}
	}
	p.exact[text] = v
	return v
}

// integral is the value of an integer: a plain number if a double holds it.
func (p *Program) integral(n *big.Int) lua.LValue {
	if n.BitLen() <= 53 {
		return lua.LNumber(n.Int64())
	}
	if n.BitLen() > maxBits {
		p.refuse("an integer of more than %d bits", maxBits)
	}
	double, _ := new(big.Float).SetInt(n).Float64()
	return p.exactly(n.String(), double, n)
}

func exactOf(v lua.LValue) *number {
	if data, ok := v.(*lua.LUserData); ok {
		n, _ := data.Value.(*number)
		return n
	}
	return nil
}

// operand is a value in arithmetic: a double, and an integer too if it is one.
type operand struct {
	double  float64
	integer *big.Int
}

func (p *Program) operand(v lua.LValue) (operand, bool) {
	switch x := v.(type) {
	case lua.LNumber:
		return plain(float64(x)), true
	case lua.LString:
		if n, ok := p.parse(string(x)); ok {
			return p.operand(n)
		}
	}
	if n := exactOf(v); n != nil {
		return operand{n.double, n.integer}, true
	}
	return operand{}, false
}

func plain(d float64) operand {
	if d == math.Trunc(d) && math.Abs(d) <= jsontext.MaxSafe {
		return operand{d, big.NewInt(int64(d))}
	}
	return operand{d, nil}
}

// parse reads a number as tonumber does; integers keep their digits.
func (p *Program) parse(text string) (lua.LValue, bool) {
	text = strings.Trim(text, " \t\n\v\f\r")
	if n, ok := integer(text); ok && n.Form == jsontext.Integer {
		if whole, ok := jsontext.ParseInteger([]byte(text)); ok {
			return p.exactly(text, n.Double, whole), true
		}
		return lua.LNumber(n.Double), true
	}
	return parseDouble(text)
}

// arithmetic makes the metamethods of numbers.
func (p *Program) arithmetic(event string) lua.LGFunction {
	return func(l *lua.LState) int {
		a, okA := p.operand(l.Get(1))
		b, okB := p.operand(l.Get(2))
		if !okA || !okB {
			l.RaiseError("cannot perform %s operation between %s and %s", event, typeName(l.Get(1)), typeName(l.Get(2)))
		}
		if a.integer != nil && b.integer != nil {
			if whole := wholeNumber(event, a.integer, b.integer); whole != nil {
				l.Push(p.integral(whole))
				return 1
			}
		}
		l.Push(lua.LNumber(double(event, a.double, b.double)))
		return 1
	}
}

// wholeNumber calculates with integers, nil where the result is none.
func wholeNumber(event string, a, b *big.Int) *big.Int {
	n := new(big.Int)
	switch event {
	case "add":
		return n.Add(a, b)
	case "sub":
		return n.Sub(a, b)
	case "mul":
		return n.Mul(a, b)
	case "div", "mod":
		if b.Sign() == 0 {
			return nil
		}
		quotient, rest := n.QuoRem(a, b, new(big.Int))
		switch {
		case event == "mod" && rest.Sign() != 0 && rest.Sign() != b.Sign(): // Lua rounds down
			return rest.Add(rest, b)
		case event == "mod":
			return rest
		case rest.Sign() == 0:
			return quotient
		}
	}
	return nil
}

func double(event string, a, b float64) float64 {
	switch event {
	case "add":
		return a + b
	case "sub":
		return a - b
	case "mul":
		return a * b
	case "div":
		return a / b
	case "mod":
		return modulo(a, b)
	default:
		return math.Pow(a, b)
	}
}

func modulo(a, b float64) float64 {
	rest := math.Mod(a, b)
	if rest != 0 && (rest < 0) != (b < 0) {
		rest += b
	}
	return rest
}

func (p *Program) negate(l *lua.LState) int {
	n := exactOf(l.Get(1))
	switch {
	case n == nil:
		l.RaiseError("attempt to perform arithmetic on a %s", typeName(l.Get(1)))
	case n.integer != nil:
		l.Push(p.integral(new(big.Int).Neg(n.integer)))
	case strings.HasPrefix(n.text, "-"):
		l.Push(p.exactly(n.text[1:], -n.double, nil))
	default:
		l.Push(p.exactly("-"+n.text, -n.double, nil))
	}
	return 1
}

// comparison makes the function that an operator becomes. Two numbers, which most are, come first.
func (p *Program) comparison(operator string) lua.LGFunction {
	holds := map[string]func(int) bool{
		"<":  func(order int) bool { return order < 0 },
		"<=": func(order int) bool { return order <= 0 },
		">":  func(order int) bool { return order > 0 },
		">=": func(order int) bool { return order >= 0 },
	}[operator]
	return func(l *lua.LState) int {
		a, b := l.Get(1), l.Get(2)
		if x, ok := a.(lua.LNumber); ok {
			if y, ok := b.(lua.LNumber); ok {
				l.Push(lua.LBool(x == x && y == y && holds(sign(float64(x), float64(y))))) //nolint:gocritic // NaN is not itself
				return 1
			}
		}
		l.Push(lua.LBool(p.compare(l, operator, a, b, holds)))
		return 1
	}
}

func sign(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (p *Program) compare(l *lua.LState, operator string, a, b lua.LValue, holds func(int) bool) bool {
	if isNumber(a) && isNumber(b) {
		x, _ := p.operand(a)
		y, _ := p.operand(b)
		if x.integer != nil && y.integer != nil {
			return holds(x.integer.Cmp(y.integer))
		}
		return !math.IsNaN(x.double) && !math.IsNaN(y.double) && holds(p.order(a, b, x, y))
	}
	x, okX := a.(lua.LString)
	if y, okY := b.(lua.LString); okX && okY {
		return holds(strings.Compare(string(x), string(y)))
	}
	return p.meta(l, operator, a, b)
}

// order compares numbers of which one is no integer, exactly if a big one or a long one is among them.
func (p *Program) order(a, b lua.LValue, x, y operand) int {
	if math.IsInf(x.double, 0) || math.IsInf(y.double, 0) || x.double != y.double {
		return sign(x.double, y.double)
	}
	one, okA := rational(a, x)
	other, okB := rational(b, y)
	if !okA || !okB {
		return 0
	}
	return one.Cmp(other)
}

func rational(v lua.LValue, o operand) (*big.Rat, bool) {
	if n := exactOf(v); n != nil && n.integer == nil {
		if len(n.text) > 100 || strings.ContainsAny(n.text, "eE") {
			return nil, false
		}
		return new(big.Rat).SetString(n.text)
	}
	return new(big.Rat).SetFloat64(o.double), true
}

func isNumber(v lua.LValue) bool { return v.Type() == lua.LTNumber || exactOf(v) != nil }

// meta asks the metatables of the values, as Lua does: __lt and __le, with the operands the other way round for > and >=.
func (p *Program) meta(l *lua.LState, operator string, a, b lua.LValue) bool {
	if operator[0] == '>' {
		a, b = b, a
	}
	event := "__lt"
	if len(operator) == 2 {
		event = "__le"
	}
	method := l.GetMetaField(a, event)
	if a.Type() != b.Type() || method == lua.LNil || method != l.GetMetaField(b, event) {
		if event == "__le" && a.Type() == b.Type() {
			if method = l.GetMetaField(b, "__lt"); method != lua.LNil && method == l.GetMetaField(a, "__lt") {
				return !p.ask(l, method, b, a)
			}
		}
		l.RaiseError("attempt to compare %s with %s", typeName(a), typeName(b))
	}
	return p.ask(l, method, a, b)
}

func (p *Program) ask(l *lua.LState, method, a, b lua.LValue) bool {
	l.Push(method)
	l.Push(a)
	l.Push(b)
	l.Call(2, 1)
	answer := l.Get(-1)
	l.Pop(1)
	return lua.LVAsBool(answer)
}

// literal is the function that a big integer in the code becomes.
func (p *Program) literal(l *lua.LState) int {
	v, _ := p.parse(l.CheckString(1))
	l.Push(v)
	return 1
}
