package jsontext

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
)

// MaxSafe is the greatest integer up to which a double holds every one.
const MaxSafe = 1<<53 - 1

// Number is what a number in JSON is worth.
type Number struct {
	Double float64
	Form   Form
}

// Form says how far a double holds a number.
type Form int8

// The forms.
const (
	Same    Form = iota // the double holds it, and AppendDouble gives its text
	Odd                 // the double holds it, but AppendDouble writes it in another way: 1.10, 1e2
	Integer             // an integer in plain digits beyond MaxSafe
	Inexact             // another number that the double does not hold, such as 1e400 or 0.1234567890123456789
)

// plainDigits is how many significant digits a double always gives back.
const plainDigits = 15

// ParseNumber tells what a number is worth, given the text that Scanner.Number returns.
func ParseNumber(text []byte) Number {
	digits := text
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) <= plainDigits && isDigits(digits) {
		n := int64(0)
		for _, c := range digits {
			n = n*10 + int64(c-'0')
		}
		if len(digits) < len(text) {
			if n == 0 {
				return Number{math.Copysign(0, -1), Odd} // JavaScript writes 0 for -0
			}
			n = -n
		}
		return Number{float64(n), Same}
	}
	if d, ok := shortDecimal(digits); ok {
		if len(digits) < len(text) {
			d = -d
		}
		return Number{d, Same}
	}
	return parseLong(text, digits)
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// shortDecimal reads 0.1 to 12345678.9012345, without zeros at the end: those which one exact division gives, and which come back as they were.
func shortDecimal(digits []byte) (float64, bool) {
	if len(digits) > plainDigits+1 || digits[len(digits)-1] == '0' {
		return 0, false
	}
	n, fraction := int64(0), -1
	for i, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			n = n*10 + int64(c-'0')
		case c == '.':
			fraction = len(digits) - 1 - i
		default:
			return 0, false
		}
	}
	if fraction < 1 {
		return 0, false
	}
	d := float64(n) / powersOfTen[fraction]
	return d, d >= 1e-6
}

func parseLong(text, digits []byte) Number {
	d, err := strconv.ParseFloat(string(text), 64)
	if isDigits(digits) {
		if err == nil && math.Abs(d) <= MaxSafe {
			return Number{d, Same}
		}
		return Number{d, Integer}
	}
	if err != nil {
		return Number{d, Inexact}
	}
	var buffer [32]byte
	written := AppendDouble(buffer[:0], d)
	switch {
	case bytes.Equal(written, text):
		return Number{d, Same}
	case sameValue(written, text):
		return Number{d, Odd}
	}
	return Number{d, Inexact}
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// sameValue tells whether two texts say the same number.
func sameValue(a, b []byte) bool {
	digitsA, exponentA, okA := normal(a)
	digitsB, exponentB, okB := normal(b)
	return okA && okB && exponentA == exponentB && bytes.Equal(digitsA, digitsB) && (len(digitsA) == 0 || (a[0] == '-') == (b[0] == '-'))
}

// normal takes a number apart: its significant digits, without zeros on either side, and the power of ten of the last of them.
func normal(text []byte) (digits []byte, exponent int, ok bool) {
	mantissa, power, found := bytes.Cut(bytes.ToLower(text), []byte{'e'})
	if found {
		n, err := strconv.ParseInt(string(power), 10, 32)
		if err != nil {
			return nil, 0, false
		}
		exponent = int(n)
	}
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte{'-'}), []byte{'.'})
	digits = append(append([]byte(nil), whole...), fraction...)
	exponent -= len(fraction)
	trimmed := bytes.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	trimmed = bytes.TrimLeft(trimmed, "0")
	if len(trimmed) == 0 {
		exponent = 0
	}
	return trimmed, exponent, true
}

// AppendDouble appends a finite double as JavaScript writes it: the fewest digits that name it, in plain form from 1e-6 to 1e21.
func AppendDouble(dst []byte, d float64) []byte {
	if d == math.Trunc(d) && math.Abs(d) <= MaxSafe {
		return strconv.AppendInt(dst, int64(d), 10)
	}
	if abs := math.Abs(d); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, d, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, d, 'e', -1, 64)
	if n := len(dst); n-start >= 4 && dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') { // e-07 becomes e-7
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// maxInteger is how many digits an integer may have that is worked with; the time for it grows faster than their number.
const maxInteger = 10_000

// ParseInteger is the value of an integer in plain digits.
func ParseInteger(text []byte) (*big.Int, bool) {
	if len(text) > maxInteger {
		return nil, false
	}
	return new(big.Int).SetString(string(text), 10)
}
