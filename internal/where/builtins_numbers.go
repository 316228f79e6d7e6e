package where

import (
	"math"
	"math/big"
	"strconv"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

type intType struct {
	name      string
	low, high int64
}

var (
	int2Type = intType{"smallint", math.MinInt16, math.MaxInt16}
	int4Type = intType{"integer", math.MinInt32, math.MaxInt32}
	int8Type = intType{"bigint", math.MinInt64, math.MaxInt64}
)

func (t intType) check(n int64) (value, error) {
	if n < t.low || n > t.high {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return pgvalue.Int(n), nil
}

func (t intType) add(a, b value) (value, error) {
	n := a.I + b.I
	if b.I > 0 && n < a.I || b.I < 0 && n > a.I {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return t.check(n)
}

func (t intType) sub(a, b value) (value, error) {
	n := a.I - b.I
	if b.I < 0 && n < a.I || b.I > 0 && n > a.I {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return t.check(n)
}

func (t intType) mul(a, b value) (value, error) {
	n := a.I * b.I
	if a.I != 0 && (n/a.I != b.I || a.I == -1 && b.I == math.MinInt64) {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return t.check(n)
}

func (t intType) div(a, b value) (value, error) {
	switch b.I {
	case 0:
		return pgvalue.Null, pgvalue.ErrDivisionByZero
	case -1:
		return t.neg(a)
	}
	return t.check(a.I / b.I)
}

func (t intType) mod(a, b value) (value, error) {
	switch b.I {
	case 0:
		return pgvalue.Null, pgvalue.ErrDivisionByZero
	case -1:
		return pgvalue.Int(0), nil
	}
	return pgvalue.Int(a.I % b.I), nil
}

func (t intType) neg(a value) (value, error) {
	if a.I == t.low {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return pgvalue.Int(-a.I), nil
}

func (t intType) abs(a value) (value, error) {
	if a.I < 0 {
		return t.neg(a)
	}
	return a, nil
}

func same(a value) (value, error) { return a, nil }

func integers() map[string]builtin {
	all := map[string]builtin{}
	for name, t := range map[string]intType{
		"int2": int2Type, "int4": int4Type, "int8": int8Type, "int24": int4Type, "int42": int4Type, "int28": int8Type, "int82": int8Type,
		"int48": int8Type, "int84": int8Type,
	} {
		all[name+"pl"] = builtin{fn2: t.add}
		all[name+"mi"] = builtin{fn2: t.sub}
		all[name+"mul"] = builtin{fn2: t.mul}
		all[name+"div"] = builtin{fn2: t.div}
	}
	for name, t := range map[string]intType{"int2": int2Type, "int4": int4Type, "int8": int8Type} {
		all[name+"mod"] = builtin{fn2: t.mod}
		all[name+"um"] = builtin{fn1: t.neg}
		all[name+"up"] = builtin{fn1: same}
		all[name+"abs"] = builtin{fn1: t.abs}
		all[name+"and"] = builtin{fn2: func(a, b value) (value, error) { return pgvalue.Int(a.I & b.I), nil }}
		all[name+"or"] = builtin{fn2: func(a, b value) (value, error) { return pgvalue.Int(a.I | b.I), nil }}
		all[name+"xor"] = builtin{fn2: func(a, b value) (value, error) { return pgvalue.Int(a.I ^ b.I), nil }}
		all[name+"not"] = builtin{fn1: func(a value) (value, error) { return pgvalue.Int(^a.I), nil }}
		all[name+"shl"] = builtin{fn2: shift(t, true)}
		all[name+"shr"] = builtin{fn2: shift(t, false)}
	}
	all["to_hex32"] = builtin{fn1: func(a value) (value, error) {
		return pgvalue.Text(strconv.FormatUint(uint64(uint32(a.I)), 16)), nil //nolint:gosec // the bits
	}}
	all["to_hex64"] = builtin{fn1: func(a value) (value, error) {
		return pgvalue.Text(strconv.FormatUint(uint64(a.I), 16)), nil //nolint:gosec // the bits
	}}
	for name, t := range map[string]intType{"int4": int4Type, "int8": int8Type} {
		all[name+"gcd"] = builtin{fn2: func(a, b value) (value, error) { return gcd(t, a.I, b.I) }}
	}
	return all
}

// shift refuses distances that the hardware of the server decides about.
func shift(t intType, left bool) func(a, b value) (value, error) {
	bits := map[string]int64{"smallint": 16, "integer": 32, "bigint": 64}[t.name]
	return func(a, b value) (value, error) {
		if b.I < 0 || b.I >= bits {
			return pgvalue.Null, errUnsupported("a shift by %d", b.I)
		}
		if !left {
			return pgvalue.Int(a.I >> uint(b.I)), nil
		}
		n := a.I << uint(b.I)
		switch bits {
		case 16:
			n = int64(int16(n)) //nolint:gosec // the bits
		case 32:
			n = int64(int32(n)) //nolint:gosec // the bits
		}
		return pgvalue.Int(n), nil
	}
}

func gcd(t intType, a, b int64) (value, error) {
	n := new(big.Int).GCD(nil, nil, new(big.Int).Abs(big.NewInt(a)), new(big.Int).Abs(big.NewInt(b)))
	if !n.IsInt64() {
		return pgvalue.Null, pgvalue.OutOfRange(t.name)
	}
	return t.check(n.Int64())
}

// checkFloat is Postgres' check of a result: overflow and underflow are errors unless an argument was infinite or zero.
func checkFloat(r float64, infOK, zeroOK bool) error {
	if math.IsInf(r, 0) && !infOK {
		return &pgvalue.Error{Code: "22003", Message: "value out of range: overflow"}
	}
	if r == 0 && !zeroOK {
		return &pgvalue.Error{Code: "22003", Message: "value out of range: underflow"}
	}
	return nil
}

func floatOp(op byte, bits int) func(a, b value) (value, error) {
	return func(a, b value) (value, error) {
		x, y := a.Float(), b.Float()
		var r float64
		zeroOK := true
		infOK := math.IsInf(x, 0) || math.IsInf(y, 0)
		switch op {
		case '+':
			r = x + y
		case '-':
			r = x - y
		case '*':
			r = x * y
			zeroOK = x == 0 || y == 0
		case '/':
			if y == 0 && !math.IsNaN(x) {
				return pgvalue.Null, pgvalue.ErrDivisionByZero
			}
			r = x / y
			infOK = math.IsInf(x, 0)
			zeroOK = x == 0 || math.IsInf(y, 0)
		}
		if bits == 32 {
			r = float64(float32(r))
		}
		if err := checkFloat(r, infOK, zeroOK); err != nil {
			return pgvalue.Null, err
		}
		return pgvalue.Float(r), nil
	}
}

func float1(f func(float64) float64) builtin {
	return builtin{fn1: func(a value) (value, error) { return pgvalue.Float(f(a.Float())), nil }}
}

func floats() map[string]builtin {
	all := map[string]builtin{}
	for name, bits := range map[string]int{"float4": 32, "float8": 64, "float48": 64, "float84": 64} {
		all[name+"pl"] = builtin{fn2: floatOp('+', bits)}
		all[name+"mi"] = builtin{fn2: floatOp('-', bits)}
		all[name+"mul"] = builtin{fn2: floatOp('*', bits)}
		all[name+"div"] = builtin{build: func(g *building) error {
			divide := floatOp('/', bits)
			g.result.fn2 = divide
			if g.catalog.Major < 14 { // then the result was taken for an underflow
				g.result.fn2 = func(a, b value) (value, error) {
					if math.IsInf(b.Float(), 0) || math.IsNaN(a.Float()) && b.Float() == 0 {
						return pgvalue.Null, errUnsupported("a division by infinity, or of NaN by zero")
					}
					return divide(a, b)
				}
			}
			return nil
		}}
	}
	for _, name := range []string{"float4", "float8"} {
		all[name+"um"] = float1(func(x float64) float64 { return -x })
		all[name+"up"] = builtin{fn1: same}
		all[name+"abs"] = float1(math.Abs)
	}
	all["dceil"] = float1(math.Ceil)
	all["dfloor"] = float1(math.Floor)
	all["dround"] = float1(math.RoundToEven)
	all["dtrunc"] = float1(math.Trunc)
	all["dsign"] = float1(func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		case math.IsNaN(x):
			return 0
		}
		return 0
	})
	all["dpow"] = builtin{fn2: power}
	all["dsqrt"] = builtin{fn1: func(a value) (value, error) {
		if a.Float() < 0 {
			return pgvalue.Null, &pgvalue.Error{Code: "2201F", Message: "cannot take square root of a negative number"}
		}
		return pgvalue.Float(math.Sqrt(a.Float())), nil
	}}
	return all
}

// power is exact or refused: libraries differ in the last digit of other results.
func power(a, b value) (value, error) {
	x, y := a.Float(), b.Float()
	const exact = 1 << 53
	if x != math.Trunc(x) || math.Abs(x) >= exact || y != math.Trunc(y) || y < 0 || y > 64 {
		return pgvalue.Null, errUnsupported("a power that is not that of a whole number by a small whole number")
	}
	r := 1.0
	for range int(y) {
		if r *= x; math.Abs(r) >= exact {
			return pgvalue.Null, errUnsupported("a power above 2^53")
		}
	}
	return pgvalue.Float(r), nil
}

func numeric1(f func(value) (value, error)) builtin { return builtin{fn1: f} }

func rounding(how pgvalue.Rounding) builtin {
	return numeric1(func(a value) (value, error) { return pgvalue.RoundNumeric(a, 0, how) })
}

func roundTo(how pgvalue.Rounding) builtin {
	return builtin{fn2: func(a, b value) (value, error) {
		const limit = 2000 // beyond, versions differ
		if b.I > limit || b.I < -limit {
			return pgvalue.Null, errUnsupported("round and trunc to %d digits", b.I)
		}
		return pgvalue.RoundNumeric(a, int(b.I), how)
	}}
}

func numerics() map[string]builtin {
	return map[string]builtin{
		"numeric_add":       {fn2: func(a, b value) (value, error) { return pgvalue.AddNumeric(a, b, false) }},
		"numeric_sub":       {fn2: func(a, b value) (value, error) { return pgvalue.AddNumeric(a, b, true) }},
		"numeric_mul":       {fn2: pgvalue.MulNumeric},
		"numeric_div":       {fn2: pgvalue.DivNumeric},
		"numeric_mod":       {fn2: pgvalue.ModNumeric},
		"numeric_div_trunc": {fn2: pgvalue.IntDivNumeric},
		"numeric_uminus":    numeric1(func(a value) (value, error) { return pgvalue.NegNumeric(a), nil }),
		"numeric_uplus":     {fn1: same},
		"numeric_abs": numeric1(func(a value) (value, error) {
			if pgvalue.SignNumeric(a) == -1 {
				return pgvalue.NegNumeric(a), nil
			}
			return a, nil
		}),
		"numeric_sign": numeric1(func(a value) (value, error) {
			if s := pgvalue.SignNumeric(a); s != 2 {
				return pgvalue.Int(int64(s)), nil
			}
			return a, nil
		}),
		"numeric_ceil":  rounding(pgvalue.Ceiling),
		"numeric_floor": rounding(pgvalue.Floor),
		"sql:round":     rounding(pgvalue.HalfAway),
		"sql:trunc":     rounding(pgvalue.Truncate),
		"numeric_round": roundTo(pgvalue.HalfAway),
		"numeric_trunc": roundTo(pgvalue.Truncate),
		"numeric_scale": numeric1(func(a value) (value, error) {
			if s, ok := pgvalue.NumericScale(a); ok {
				return pgvalue.Int(int64(s)), nil
			}
			return pgvalue.Null, nil
		}),
	}
}

// casts are the functions of casts between numbers, and of booleans and texts.
func casts() map[string]builtin {
	toNumeric := numeric1(func(a value) (value, error) { return pgvalue.Int(a.I), nil })
	intToFloat := builtin{fn1: func(a value) (value, error) { return pgvalue.Float(float64(a.I)), nil }}
	intToFloat4 := builtin{fn1: func(a value) (value, error) { return pgvalue.Float(float64(float32(a.I))), nil }}
	fromFloat := func(t intType) builtin {
		return builtin{fn1: func(a value) (value, error) {
			return pgvalue.FloatToInt(a, float64(t.low), float64(t.high)+float64(index(t != int8Type)), t.name)
		}}
	}
	fromNumeric := func(t intType) builtin {
		return builtin{fn1: func(a value) (value, error) { return pgvalue.NumericToInt(a, t.low, t.high, t.name) }}
	}
	narrow := func(t intType) builtin { return builtin{fn1: func(a value) (value, error) { return t.check(a.I) }} }
	return map[string]builtin{
		"i2toi4": {fn1: same}, "int28": {fn1: same}, "int48": {fn1: same}, "i4toi2": narrow(int2Type), "int82": narrow(int2Type), "int84": narrow(int4Type),
		"i8tooid":   {fn1: func(a value) (value, error) { return intType{"OID", 0, math.MaxUint32}.check(a.I) }},
		"oidtoi8":   {fn1: same},
		"i2tof":     intToFloat4,
		"i4tof":     intToFloat4,
		"i8tof":     intToFloat4,
		"i2tod":     intToFloat,
		"i4tod":     intToFloat,
		"i8tod":     intToFloat,
		"ftod":      {fn1: same},
		"dtof":      {fn1: doubleToFloat},
		"ftoi2":     fromFloat(int2Type),
		"ftoi4":     fromFloat(int4Type),
		"ftoi8":     fromFloat(int8Type),
		"dtoi2":     fromFloat(int2Type),
		"dtoi4":     fromFloat(int4Type),
		"dtoi8":     fromFloat(int8Type),
		"bool_int4": {fn1: same},
		"int4_bool": {fn1: func(a value) (value, error) { return isBool(a.I != 0) }},
		"booltext": {fn1: func(a value) (value, error) {
			if a.I != 0 {
				return pgvalue.Text("true"), nil
			}
			return pgvalue.Text("false"), nil
		}},
		"int2_numeric": toNumeric, "int4_numeric": toNumeric, "int8_numeric": toNumeric,
		"numeric_int2": fromNumeric(int2Type), "numeric_int4": fromNumeric(int4Type), "numeric_int8": fromNumeric(int8Type),
		"numeric_float4": {fn1: func(a value) (value, error) { return pgvalue.NumericToFloat(a, 32) }},
		"numeric_float8": {fn1: func(a value) (value, error) { return pgvalue.NumericToFloat(a, 64) }},
		"float4_numeric": {fn1: func(a value) (value, error) { return pgvalue.FloatToNumeric(a, 32) }},
		"float8_numeric": {fn1: func(a value) (value, error) { return pgvalue.FloatToNumeric(a, 64) }},
		"name_text":      {fn1: same}, "bpchar_name": {fn1: func(a value) (value, error) { return nameOf(trimSpaces(a.S)) }},
		"text_name": {fn1: func(a value) (value, error) { return nameOf(a.S) }},
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func doubleToFloat(a value) (value, error) {
	r := float64(float32(a.Float()))
	if err := checkFloat(r, math.IsInf(a.Float(), 0), a.Float() == 0); err != nil {
		return pgvalue.Null, err
	}
	return pgvalue.Float(r), nil
}
