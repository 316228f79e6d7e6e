package pgvalue

import (
	"math"
	"strconv"
	"strings"
)

// InfiniteInterval is 1 or -1 for the infinities, which came with 17.
func InfiniteInterval(v Value) int {
	switch {
	case v.I == math.MaxInt64 && v.Months() == math.MaxInt32 && v.Days() == math.MaxInt32:
		return 1
	case v.I == math.MinInt64 && v.Months() == math.MinInt32 && v.Days() == math.MinInt32:
		return -1
	}
	return 0
}

// CompareInterval takes a month for 30 days and a day for 24 hours, as Postgres does.
func CompareInterval(a, b Value) int {
	da, ra := spread(a)
	db, rb := spread(b)
	if c := compareInt(da, db); c != 0 {
		return c
	}
	return compareInt(ra, rb)
}

func spread(v Value) (days, rest int64) {
	days, rest = Split(v.I)
	return days + int64(v.Months())*30 + int64(v.Days()), rest
}

var intervalUnits = map[string]struct {
	months, days int64
	micros       int64
}{
	"year": {months: 12}, "years": {months: 12}, "y": {months: 12}, "yr": {months: 12}, "yrs": {months: 12},
	"month": {months: 1}, "months": {months: 1}, "mon": {months: 1}, "mons": {months: 1},
	"week": {days: 7}, "weeks": {days: 7}, "w": {days: 7}, "day": {days: 1}, "days": {days: 1}, "d": {days: 1},
	"hour": {micros: Hour}, "hours": {micros: Hour}, "h": {micros: Hour}, "hr": {micros: Hour}, "hrs": {micros: Hour},
	"minute": {micros: Minute}, "minutes": {micros: Minute}, "min": {micros: Minute}, "mins": {micros: Minute},
	"second": {micros: Second}, "seconds": {micros: Second}, "sec": {micros: Second}, "secs": {micros: Second}, "s": {micros: Second},
	"millisecond": {micros: 1000}, "milliseconds": {micros: 1000}, "ms": {micros: 1000},
	"microsecond": {micros: 1}, "microseconds": {micros: 1}, "us": {micros: 1},
}

// ParseInterval reads what Postgres prints, and whole numbers with units such as 3 days or 1 year 2 mons. fields is the unit of a number without
// one (interval '3' day). Everything else is refused.
func ParseInterval(s, fields string) (Value, error) {
	text := strings.ToLower(strings.Trim(s, " \t\n\r\f\v"))
	switch text {
	case "infinity":
		return Interval(math.MaxInt32, math.MaxInt32, math.MaxInt64), nil
	case "-infinity":
		return Interval(math.MinInt32, math.MinInt32, math.MinInt64), nil
	}
	words := strings.Fields(text)
	refused := unsupported("interval %q: write whole numbers with units, such as 3 days 04:05:06", shorten(s))
	if len(words) == 0 {
		return Null, &Error{"22007", `invalid input syntax for type interval: ""`}
	}
	var months, days, micros int64
	seen := map[string]bool{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		if strings.Contains(w, ":") {
			t, ok := intervalClock(w)
			if !ok || i != len(words)-1 || seen["clock"] {
				return Null, refused
			}
			micros += t
			seen["clock"] = true
			continue
		}
		unit := fields
		if i+1 < len(words) {
			i++
			unit = words[i]
		} else if fields == "" {
			return Null, refused
		}
		u, ok := intervalUnits[unit]
		if !ok || seen[unit] || len(w) > 10 {
			return Null, refused
		}
		seen[unit] = true
		n, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			frac, ok := secondsWithFraction(w)
			if u.micros != Second || !ok {
				return Null, refused
			}
			micros += frac
			continue
		}
		months += n * u.months
		days += n * u.days
		micros += n * u.micros
	}
	if months != int64(int32(months)) || days != int64(int32(days)) {
		return Null, &Error{"22015", "interval field value out of range: " + strconv.Quote(shorten(s))}
	}
	return Interval(int32(months), int32(days), micros), nil
}

// intervalClock reads [±]HH:MM[:SS[.ffffff]], where hours may have any number of digits.
func intervalClock(w string) (int64, bool) {
	sign := int64(1)
	switch w[0] {
	case '-':
		sign, w = -1, w[1:]
	case '+':
		w = w[1:]
	}
	c := scanner{s: w}
	h, ok := c.number(1, 10)
	if !ok || !c.accept(':') {
		return 0, false
	}
	m, ok := c.number(2, 2)
	var sec int
	var f int64
	if ok && c.accept(':') {
		if sec, ok = c.number(2, 2); ok && c.accept('.') {
			f, ok = c.fraction()
		}
	}
	if !ok || c.i < len(w) || m > 59 || sec > 59 || h > 2562047787 {
		return 0, false
	}
	return sign * (int64(h)*Hour + int64(m)*Minute + int64(sec)*Second + f), true
}

func secondsWithFraction(w string) (int64, bool) {
	whole, frac, ok := strings.Cut(w, ".")
	if !ok || frac == "" || len(frac) > 6 || strings.Trim(frac, "0123456789") != "" {
		return 0, false
	}
	sign := int64(1)
	if strings.HasPrefix(whole, "-") {
		sign, whole = -1, whole[1:]
	}
	n, err := strconv.ParseInt(whole, 10, 32)
	if err != nil || n < 0 {
		return 0, false
	}
	f, _ := strconv.ParseInt((frac + "000000")[:6], 10, 64)
	return sign * (n*Second + f), true
}

// FormatInterval prints in the style "postgres".
func FormatInterval(v Value) string {
	switch InfiniteInterval(v) {
	case 1:
		return "infinity"
	case -1:
		return "-infinity"
	}
	var b []byte
	before := false
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		if before && n > 0 {
			b = append(b, '+')
		}
		b = strconv.AppendInt(b, n, 10)
		b = append(append(b, ' '), unit...)
		if n != 1 {
			b = append(b, 's')
		}
		before = n < 0
	}
	part(int64(v.Months())/12, "year")
	part(int64(v.Months())%12, "mon")
	part(int64(v.Days()), "day")
	if v.I == 0 && len(b) > 0 {
		return string(b)
	}
	if len(b) > 0 {
		b = append(b, ' ')
	}
	t := uint64(v.I) //nolint:gosec // of a negative number the complement is taken next
	if v.I < 0 {
		b = append(b, '-')
		t = -t
	} else if before {
		b = append(b, '+')
	}
	hours := t / uint64(Hour)
	if hours < 10 {
		b = append(b, '0')
	}
	b = strconv.AppendUint(b, hours, 10)
	rest := int64(t % uint64(Hour))
	b = appendTwo(append(b, ':'), rest/Minute)
	b = appendTwo(append(b, ':'), rest/Second%60)
	return string(appendFraction(b, rest%Second))
}

// SumIntervals adds, or with sign -1 subtracts, field by field.
func SumIntervals(a, b Value, sign int64) (Value, error) {
	if InfiniteInterval(a) != 0 || InfiniteInterval(b) != 0 {
		return Null, unsupported("arithmetic with an infinite interval")
	}
	months := int64(a.Months()) + sign*int64(b.Months())
	days := int64(a.Days()) + sign*int64(b.Days())
	micros := a.I + sign*b.I
	overflow := sign > 0 && (b.I > 0 && micros < a.I || b.I < 0 && micros > a.I) || sign < 0 && (b.I > 0 && micros > a.I || b.I < 0 && micros < a.I)
	if months != int64(int32(months)) || days != int64(int32(days)) || overflow { //nolint:gosec // that is the check
		return Null, ErrIntervalRange
	}
	return Interval(int32(months), int32(days), micros), nil //nolint:gosec // checked
}
