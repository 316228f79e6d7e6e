package pgvalue

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Numeric is a numeric that does not fit a Value's own fields: many digits, or one of the special values.
type Numeric struct {
	Special byte // 0, or n NaN, p infinity, m -infinity
	Coef    *big.Int
	Scale   int
}

const (
	maxNumericScale  = 16383
	maxNumericDigits = 131072
	maxDisplayScale  = 1000
)

var (
	bigTen = big.NewInt(10)
	// NumericNaN is the numeric NaN.
	NumericNaN = Value{P: &Numeric{Special: 'n'}}
	// NumericInf is the numeric infinity.
	NumericInf = Value{P: &Numeric{Special: 'p'}}
	// NumericMinusInf is its opposite.
	NumericMinusInf = Value{P: &Numeric{Special: 'm'}}
)

func pow10(n int) *big.Int { return new(big.Int).Exp(bigTen, big.NewInt(int64(n)), nil) }

var smallPow10 = [...]int64{1, 10, 100, 1000, 10000, 100000, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// NumericOf makes a numeric from its digits and scale.
func NumericOf(coef *big.Int, scale int) Value {
	if coef.IsInt64() && scale < 1<<30 {
		return Value{I: coef.Int64(), Aux: int64(scale)}
	}
	return Value{P: &Numeric{Coef: coef, Scale: scale}}
}

func special(v Value) byte {
	if n, ok := v.P.(*Numeric); ok {
		return n.Special
	}
	return 0
}

func parts(v Value) (coef *big.Int, scale int) {
	if n, ok := v.P.(*Numeric); ok {
		return n.Coef, n.Scale
	}
	return big.NewInt(v.I), int(v.Aux)
}

// ParseNumeric reads a numeric. Small plain ones allocate nothing.
func ParseNumeric(s string) (Value, error) {
	if v, ok := parseSmallNumeric(s); ok {
		return v, nil
	}
	text := strings.Trim(s, " \t\n\r\f\v")
	switch strings.ToLower(text) {
	case "nan":
		return NumericNaN, nil
	case "infinity", "inf", "+infinity", "+inf":
		return NumericInf, nil
	case "-infinity", "-inf":
		return NumericMinusInf, nil
	}
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e := text[i+1:]
		if e == "" || strings.Trim(e, "+-0123456789") != "" {
			return Null, oddNumber(s, text)
		}
		n, err := strconv.Atoi(e)
		if err != nil || n > 1<<20 || n < -(1<<20) {
			if _, bad := strconv.ParseFloat("1e"+e, 64); bad != nil && strings.Trim(strings.TrimLeft(e, "+-"), "0123456789") != "" {
				return Null, invalid("numeric", s)
			}
			return Null, unsupported("numeric %q", shorten(s))
		}
		mantissa, exponent = text[:i], n
	}
	negative := strings.HasPrefix(mantissa, "-")
	digits := strings.TrimPrefix(strings.TrimPrefix(mantissa, "-"), "+")
	if negative && strings.HasPrefix(mantissa, "-+") {
		return Null, invalid("numeric", s)
	}
	whole, frac, _ := strings.Cut(digits, ".")
	if whole+frac == "" || strings.Trim(whole+frac, "0123456789") != "" {
		return Null, oddNumber(s, text)
	}
	coef, _ := new(big.Int).SetString(whole+frac, 10)
	if negative {
		coef.Neg(coef)
	}
	scale := len(frac) - exponent
	if scale < 0 {
		coef.Mul(coef, pow10(-scale))
		scale = 0
	}
	if scale > maxNumericScale {
		return Null, unsupported("numeric %q", shorten(s))
	}
	return checkDigits(coef, scale)
}

// oddNumber tells texts that some version reads (0x10, 1_000) from those that none does.
func oddNumber(s, text string) error {
	if strings.ContainsAny(text, "_xXoObB") {
		return unsupported("numeric %q", shorten(s))
	}
	return invalid("numeric", s)
}

func parseSmallNumeric(s string) (Value, bool) {
	if s == "" || len(s) > 18 {
		return Null, false
	}
	i, negative := 0, false
	if s[0] == '-' {
		negative, i = true, 1
	}
	var n, scale int64
	point, digits := false, false
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			n, digits = n*10+int64(c-'0'), true
			if point {
				scale++
			}
		case c == '.' && !point:
			point = true
		default:
			return Null, false
		}
	}
	if negative {
		n = -n
	}
	return Value{I: n, Aux: scale}, digits
}

func checkDigits(coef *big.Int, scale int) (Value, error) {
	if coef.BitLen() > 1<<18 && len(coef.String())-scale > maxNumericDigits {
		return Null, &Error{"22003", "value overflows numeric format"}
	}
	return NumericOf(coef, scale), nil
}

// FormatNumeric prints a numeric with its scale.
func FormatNumeric(v Value) string {
	switch special(v) {
	case 'n':
		return "NaN"
	case 'p':
		return "Infinity"
	case 'm':
		return "-Infinity"
	}
	coef, scale := parts(v)
	s := new(big.Int).Abs(coef).String()
	if scale > 0 {
		if len(s) <= scale {
			s = strings.Repeat("0", scale-len(s)+1) + s
		}
		s = s[:len(s)-scale] + "." + s[len(s)-scale:]
	}
	if coef.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// rank orders the special values around the numbers: NaN is the greatest.
func rank(s byte) int {
	switch s {
	case 'm':
		return -1
	case 'p':
		return 1
	case 'n':
		return 2
	}
	return 0
}

// CompareNumeric compares two numerics.
func CompareNumeric(a, b Value) int {
	if a.P == nil && b.P == nil {
		if a.Aux == b.Aux {
			return compareInt(a.I, b.I)
		}
		if c, ok := compareScaled(a, b); ok {
			return c
		}
	}
	if ra, rb := rank(special(a)), rank(special(b)); ra != 0 || rb != 0 {
		return compareInt(int64(ra), int64(rb))
	}
	ca, sa := parts(a)
	cb, sb := parts(b)
	switch {
	case sa < sb:
		ca = new(big.Int).Mul(ca, pow10(sb-sa))
	case sb < sa:
		cb = new(big.Int).Mul(cb, pow10(sa-sb))
	}
	return ca.Cmp(cb)
}

// compareScaled compares without allocating, where nothing overflows.
func compareScaled(a, b Value) (int, bool) {
	d := b.Aux - a.Aux
	if d < 0 {
		c, ok := compareScaled(b, a)
		return -c, ok
	}
	if d >= int64(len(smallPow10)) {
		return 0, false
	}
	p := smallPow10[d]
	if a.I > math.MaxInt64/p || a.I < math.MinInt64/p {
		return 0, false
	}
	return compareInt(a.I*p, b.I), true
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// aligned gives both numbers one scale.
func aligned(a, b Value) (ca, cb *big.Int, scale int) {
	ca, sa := parts(a)
	cb, sb := parts(b)
	if sa < sb {
		ca, sa = new(big.Int).Mul(ca, pow10(sb-sa)), sb
	} else if sb < sa {
		cb = new(big.Int).Mul(cb, pow10(sa-sb))
	}
	return ca, cb, sa
}

// AddNumeric adds, or with negative true subtracts.
func AddNumeric(a, b Value, negative bool) (Value, error) {
	sa, sb := special(a), special(b)
	if negative {
		switch sb {
		case 'p':
			sb = 'm'
		case 'm':
			sb = 'p'
		}
	}
	switch {
	case sa == 'n' || sb == 'n':
		return NumericNaN, nil
	case sa != 0 && sb != 0 && sa != sb:
		return NumericNaN, nil
	case sa != 0:
		return a, nil
	case sb == 'p':
		return NumericInf, nil
	case sb == 'm':
		return NumericMinusInf, nil
	}
	ca, cb, scale := aligned(a, b)
	if negative {
		return checkDigits(new(big.Int).Sub(ca, cb), scale)
	}
	return checkDigits(new(big.Int).Add(ca, cb), scale)
}

// SignNumeric is -1, 0 or 1; 2 for NaN.
func SignNumeric(v Value) int {
	switch special(v) {
	case 'n':
		return 2
	case 'p':
		return 1
	case 'm':
		return -1
	}
	c, _ := parts(v)
	return c.Sign()
}

func signedInf(sign int) Value {
	if sign < 0 {
		return NumericMinusInf
	}
	return NumericInf
}

// MulNumeric multiplies.
func MulNumeric(a, b Value) (Value, error) {
	sa, sb := SignNumeric(a), SignNumeric(b)
	if sa == 2 || sb == 2 {
		return NumericNaN, nil
	}
	if special(a) != 0 || special(b) != 0 {
		if sa*sb == 0 {
			return NumericNaN, nil
		}
		return signedInf(sa * sb), nil
	}
	ca, na := parts(a)
	cb, nb := parts(b)
	if na+nb > maxNumericScale {
		return Null, unsupported("a product with %d digits behind the point", na+nb)
	}
	return checkDigits(new(big.Int).Mul(ca, cb), na+nb)
}

// leading is the weight of the first digit in base 10000, and that digit.
func leading(coef *big.Int, scale int) (weight int, digit int64) {
	if coef.Sign() == 0 {
		return 0, 0
	}
	s := new(big.Int).Abs(coef).String()
	top := len(s) - 1 - scale
	weight = top / 4
	if top < 0 && top%4 != 0 {
		weight--
	}
	n := top - 4*weight + 1
	for len(s) < n {
		s += "0"
	}
	digit, _ = strconv.ParseInt(s[:n], 10, 64)
	return weight, digit
}

// DivNumeric divides with the scale that Postgres selects: at least 16 significant digits.
func DivNumeric(a, b Value) (Value, error) {
	sa, sb := SignNumeric(a), SignNumeric(b)
	switch {
	case sa == 2 || sb == 2:
		return NumericNaN, nil
	case special(a) != 0 && special(b) != 0:
		return NumericNaN, nil
	case special(a) != 0:
		if sb == 0 {
			return Null, ErrDivisionByZero
		}
		return signedInf(sa * sb), nil
	case special(b) != 0:
		return Value{}, nil
	case sb == 0:
		return Null, ErrDivisionByZero
	}
	ca, na := parts(a)
	cb, nb := parts(b)
	wa, da := leading(ca, na)
	wb, db := leading(cb, nb)
	q := wa - wb
	if da <= db {
		q--
	}
	scale := min(max(16-q*4, na, nb, 0), maxDisplayScale)
	// ca/10^na ÷ cb/10^nb, with scale digits behind the point
	num := new(big.Int).Mul(ca, pow10(nb+scale))
	den := new(big.Int).Mul(cb, pow10(na))
	return checkDigits(divideRounded(num, den), scale)
}

// divideRounded divides; halves go away from zero.
func divideRounded(num, den *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(num, den, new(big.Int))
	if r.Sign() == 0 {
		return q
	}
	twice := new(big.Int).Abs(r)
	twice.Lsh(twice, 1)
	if twice.Cmp(new(big.Int).Abs(den)) >= 0 {
		if num.Sign()*den.Sign() < 0 {
			q.Sub(q, big.NewInt(1))
		} else {
			q.Add(q, big.NewInt(1))
		}
	}
	return q
}

// ModNumeric is the remainder with the sign of a.
func ModNumeric(a, b Value) (Value, error) {
	sa, sb := SignNumeric(a), SignNumeric(b)
	switch {
	case sa == 2 || sb == 2:
		return NumericNaN, nil
	case special(a) != 0:
		if sb == 0 {
			return Null, ErrDivisionByZero
		}
		return NumericNaN, nil
	case special(b) != 0:
		return a, nil
	case sb == 0:
		return Null, ErrDivisionByZero
	}
	ca, cb, scale := aligned(a, b)
	return checkDigits(new(big.Int).Rem(ca, cb), scale)
}

// IntDivNumeric is div(a, b): the quotient without its fraction.
func IntDivNumeric(a, b Value) (Value, error) {
	if special(a) != 0 || special(b) != 0 || SignNumeric(b) == 0 {
		return DivNumeric(a, b)
	}
	ca, cb, _ := aligned(a, b)
	return checkDigits(new(big.Int).Quo(ca, cb), 0)
}

// NegNumeric changes the sign.
func NegNumeric(v Value) Value {
	switch special(v) {
	case 'n':
		return v
	case 'p':
		return NumericMinusInf
	case 'm':
		return NumericInf
	}
	c, s := parts(v)
	return NumericOf(new(big.Int).Neg(c), s)
}
