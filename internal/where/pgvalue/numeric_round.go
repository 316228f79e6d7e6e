package pgvalue

import (
	"math"
	"math/big"
)

// Rounding says what becomes of the digits that go.
type Rounding byte

// The ways to round.
const (
	HalfAway Rounding = iota
	Truncate
	Ceiling
	Floor
)

// RoundNumeric cuts or fills to a scale, which may be negative.
func RoundNumeric(v Value, scale int, how Rounding) (Value, error) {
	if special(v) != 0 {
		return v, nil
	}
	scale = max(scale, -maxNumericDigits)
	c, s := parts(v)
	if scale >= s {
		if scale > maxNumericScale {
			scale = maxNumericScale
		}
		return checkDigits(new(big.Int).Mul(c, pow10(scale-s)), scale)
	}
	if s-scale > len(c.String())+1 {
		var n int64
		switch {
		case how == Ceiling && c.Sign() > 0:
			n = 1
		case how == Floor && c.Sign() < 0:
			n = -1
		}
		if n == 0 || scale >= 0 {
			return NumericOf(big.NewInt(n), max(scale, 0)), nil
		}
	}
	unit := pow10(s - scale)
	var q *big.Int
	switch how {
	case HalfAway:
		q = divideRounded(c, unit)
	case Truncate:
		q = new(big.Int).Quo(c, unit)
	case Floor:
		q = new(big.Int).Div(c, unit)
	case Ceiling:
		q = new(big.Int).Neg(new(big.Int).Div(new(big.Int).Neg(c), unit))
	}
	if scale < 0 {
		q.Mul(q, pow10(-scale))
		scale = 0
	}
	return checkDigits(q, scale)
}

// NumericToInt rounds to an integer between the bounds.
func NumericToInt(v Value, low, high int64, typ string) (Value, error) {
	switch special(v) {
	case 'n':
		return Null, &Error{"0A000", "cannot convert NaN to " + typ}
	case 'p', 'm':
		return Null, &Error{"0A000", "cannot convert infinity to " + typ}
	}
	c, s := parts(v)
	if s > 0 {
		c = divideRounded(c, pow10(s))
	}
	if !c.IsInt64() || c.Int64() < low || c.Int64() > high {
		return Null, OutOfRange(typ)
	}
	return Int(c.Int64()), nil
}

// NumericToFloat gives the nearest float.
func NumericToFloat(v Value, bits int) (Value, error) {
	switch special(v) {
	case 'n':
		return Float(math.NaN()), nil
	case 'p':
		return Float(math.Inf(1)), nil
	case 'm':
		return Float(math.Inf(-1)), nil
	}
	return ParseFloat(FormatNumeric(v), bits)
}

// FitNumeric applies the modifiers of numeric(precision, scale).
func FitNumeric(v Value, precision, scale int) (Value, error) {
	switch special(v) {
	case 'n':
		return v, nil
	case 'p', 'm':
		return Null, &Error{"22003", "numeric field overflow"}
	}
	r, err := RoundNumeric(v, scale, HalfAway)
	if err != nil {
		return r, err
	}
	if scale < 0 {
		return Null, unsupported("a negative scale")
	}
	c, _ := parts(r)
	if c.Sign() != 0 && len(new(big.Int).Abs(c).String()) > precision {
		return Null, &Error{"22003", "numeric field overflow"}
	}
	return r, nil
}

// NumericScale is the scale, and false for special values.
func NumericScale(v Value) (int, bool) {
	if special(v) != 0 {
		return 0, false
	}
	_, s := parts(v)
	return s, true
}
