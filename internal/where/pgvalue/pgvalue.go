// Package pgvalue holds values of Postgres' types: read from the text that the server prints or that people write, compared, computed with and
// printed as Postgres does, under the settings that every connection pins (DateStyle ISO, IntervalStyle postgres, TimeZone UTC, bytea_output
// hex, extra_float_digits 1). It is pure, and what it cannot do as Postgres does it refuses: ErrUnsupported, never a likely answer.
package pgvalue

import (
	"errors"
	"fmt"
	"math"
)

// Value is one value. What the fields hold depends on its type, which the compiled program knows:
//
//	bool I 0 or 1 · int2 int4 int8 oid I · float4 float8 I the bits of the float64 · date I days, time timetz timestamp timestamptz I
//	microseconds, since 2000-01-01; timetz Aux seconds west of Greenwich · interval I microseconds, Aux months<<32|days · numeric I the digits and
//	Aux the scale, or P *Numeric · text and its like, enum, uuid, bytea, json, jsonb, bit S · arrays P *Array · ranges P *Range · inet P *Inet
//
// It fits the registers of a call, so that passing one around allocates nothing.
type Value struct {
	Null bool
	Aux  int64
	I    int64
	S    string
	P    any
}

// Null is the null value.
var Null = Value{Null: true}

// Error is what Postgres reports when it evaluates an expression; Code is the SQLSTATE.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// ErrUnsupported is wrapped by errors about values that Postgres may accept and this package does not.
var ErrUnsupported = errors.New("not supported")

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnsupported)
}

func invalid(typ, text string) error {
	return &Error{"22P02", fmt.Sprintf("invalid input syntax for type %s: %q", typ, shorten(text))}
}

// shorten keeps long values out of messages.
func shorten(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

// OutOfRange is the error of a value too large for its type.
func OutOfRange(typ string) error { return &Error{"22003", typ + " out of range"} }

// ErrDivisionByZero is Postgres' error.
var ErrDivisionByZero error = &Error{"22012", "division by zero"}

// Bool makes a boolean.
func Bool(b bool) Value {
	if b {
		return Value{I: 1}
	}
	return Value{}
}

// Int makes an integer.
func Int(i int64) Value { return Value{I: i} }

// Text makes a text.
func Text(s string) Value { return Value{S: s} }

// Float makes a float8.
func Float(f float64) Value { return Value{I: int64(math.Float64bits(f))} } //nolint:gosec // bits, not a number

// Float is the number of a float4 or float8.
func (v Value) Float() float64 { return math.Float64frombits(uint64(v.I)) } //nolint:gosec // bits, not a number

// Truth is a boolean's value; null is not true.
func (v Value) Truth() bool { return !v.Null && v.I != 0 }

// Months are an interval's.
func (v Value) Months() int32 { return int32(v.Aux >> 32) } //nolint:gosec // packed so

// Days are an interval's.
func (v Value) Days() int32 { return int32(v.Aux) } //nolint:gosec // packed so

// Interval makes an interval.
func Interval(months, days int32, micros int64) Value {
	return Value{Aux: int64(months)<<32 | int64(uint32(days)), I: micros} //nolint:gosec // packed so
}
