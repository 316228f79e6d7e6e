package pgvalue

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// ParseFloat reads a float4 (bits 32) or float8.
func ParseFloat(s string, bits int) (Value, error) {
	text := strings.Trim(s, " \t\n\r\f\v")
	typ := "double precision"
	if bits == 32 {
		typ = "real"
	}
	switch strings.ToLower(text) {
	case "nan":
		return Float(math.NaN()), nil
	case "infinity", "inf", "+infinity", "+inf":
		return Float(math.Inf(1)), nil
	case "-infinity", "-inf":
		return Float(math.Inf(-1)), nil
	}
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		if strings.ContainsAny(text, "xXnN_") {
			return Null, unsupported("%s %q", typ, shorten(s))
		}
		return Null, invalid(typ, s)
	}
	f, err := strconv.ParseFloat(text, bits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return Null, &Error{"22003", strconv.Quote(shorten(text)) + " is out of range for type " + typ}
	case err != nil:
		return Null, invalid(typ, s)
	case f == 0 && strings.ContainsAny(strings.SplitN(strings.ToLower(text), "e", 2)[0], "123456789"):
		return Null, &Error{"22003", strconv.Quote(shorten(text)) + " is out of range for type " + typ}
	}
	if bits == 64 && f != 0 && math.Abs(f) < 0x1p-1022 || bits == 32 && f != 0 && math.Abs(f) < 0x1p-126 {
		return Float(f), nil // denormal: the C library says "out of range" too, and Postgres lets it pass
	}
	return Float(f), nil
}

// FormatFloat prints the shortest text that reads back exactly.
func FormatFloat(v Value, bits int) string {
	f := v.Float()
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		if math.Signbit(f) {
			return "-0"
		}
		return "0"
	}
	e := shortest(f, bits)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	limit := 15
	if bits == 32 {
		limit = 6
	}
	if exp >= -4 && exp < limit {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return e
}

// shortest is the shortest text that lies between the neighbours' halves. Go takes a text that lies just on a half too, where rounding to even
// brings it back; Postgres does not.
func shortest(f float64, bits int) string {
	e := strconv.FormatFloat(f, 'e', -1, bits)
	certain := 0x1p50
	if bits == 32 {
		certain = 0x1p20
	}
	if math.Abs(f) < certain { // halves between smaller numbers have more digits than fit
		return e
	}
	if f < 0 {
		return "-" + shortest(-f, bits)
	}
	for digits := max(strings.IndexByte(e, 'e')-1, 1); digits < 20; digits++ {
		r, _ := new(big.Rat).SetString(e)
		if !onHalf(r, f, bits) {
			break
		}
		e = strconv.FormatFloat(f, 'e', digits, bits)
		if r, _ := new(big.Rat).SetString(e); !onHalf(r, f, bits) {
			break
		}
	}
	return e
}

// onHalf reports whether a number is midway between a float and a neighbour.
func onHalf(r *big.Rat, f float64, bits int) bool {
	for _, to := range []float64{math.Inf(1), math.Inf(-1)} {
		next := math.Nextafter(f, to)
		if bits == 32 {
			next = float64(math.Nextafter32(float32(f), float32(to)))
		}
		if math.IsInf(next, 0) {
			continue
		}
		sum := new(big.Rat).Add(new(big.Rat).SetFloat64(f), new(big.Rat).SetFloat64(next))
		if sum.Mul(sum, big.NewRat(1, 2)).Cmp(r) == 0 {
			return true
		}
	}
	return false
}

// CompareFloat compares as Postgres does: NaN equals itself and is the greatest.
func CompareFloat(a, b Value) int {
	x, y := a.Float(), b.Float()
	switch {
	case math.IsNaN(x):
		if math.IsNaN(y) {
			return 0
		}
		return 1
	case math.IsNaN(y):
		return -1
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// FloatToInt rounds halves to even.
func FloatToInt(v Value, low, high float64, typ string) (Value, error) {
	f := v.Float()
	if math.IsNaN(f) {
		return Null, OutOfRange(typ)
	}
	f = math.RoundToEven(f)
	if f < low || f >= high {
		return Null, OutOfRange(typ)
	}
	return Int(int64(f)), nil
}

// FloatToNumeric goes by the digits that the type is sure of: 15, or 6 for float4.
func FloatToNumeric(v Value, bits int) (Value, error) {
	f := v.Float()
	switch {
	case math.IsNaN(f):
		return NumericNaN, nil
	case math.IsInf(f, 0):
		return Null, unsupported("an infinite number as numeric") // an error before 14
	}
	digits := 15
	if bits == 32 {
		digits = 6
	}
	return ParseNumeric(strconv.FormatFloat(f, 'g', digits, 64))
}
