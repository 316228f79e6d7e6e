package pgvalue

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Units of time, in microseconds.
const (
	Second = int64(1_000_000)
	Minute = 60 * Second
	Hour   = 60 * Minute
	Day    = 24 * Hour
)

// Infinite timestamps and dates.
const (
	TimestampInf      = int64(math.MaxInt64)
	TimestampMinusInf = int64(math.MinInt64)
	DateInf           = int64(math.MaxInt32)
	DateMinusInf      = int64(math.MinInt32)
)

const (
	epochJulian  = 2451545 // 2000-01-01
	minTimestamp = -211813488000000000
	endTimestamp = 9223371331200000000
	minDate      = -2451545             // 4714-11-24 BC
	endDate      = 2147483494 - 2451545 // 5874898-01-01
	unixEpochDay = -10957               // 1970-01-01
)

// ErrTimestampRange and ErrDateRange are Postgres' errors.
var (
	ErrTimestampRange error = &Error{"22008", "timestamp out of range"}
	ErrDateRange      error = &Error{"22008", "date out of range"}
	ErrIntervalRange  error = &Error{"22008", "interval out of range"}
)

// julian is the number of a day of the proleptic Gregorian calendar; years before 1 are 0, -1, ….
func julian(y, m, d int) int {
	if m > 2 {
		m++
		y += 4800
	} else {
		m += 13
		y += 4799
	}
	century := y / 100
	j := y*365 - 32167
	j += y/4 - century + century/4
	return j + 7834*m/256 + d
}

// DateOf is the day since 2000-01-01.
func DateOf(y, m, d int) int64 { return int64(julian(y, m, d) - epochJulian) }

// Civil is the year, month and day of a day since 2000-01-01.
func Civil(day int64) (y, m, d int) {
	j := uint32(day+epochJulian) + 32044 //nolint:gosec // in range
	quad := j / 146097
	extra := (j-quad*146097)*4 + 3
	j += 60 + quad*3 + extra/146097
	quad = j / 1461
	j -= quad * 1461
	yy := int(j * 4 / 1461)
	if yy != 0 {
		j = (j + 305) % 365
	} else {
		j = (j + 306) % 366
	}
	j += 123
	yy += int(quad) * 4
	y = yy - 4800
	quad = j * 2141 / 65536
	d = int(j - 7834*quad/256)
	m = int((quad+10)%12 + 1)
	return y, m, d
}

// Split cuts a timestamp into its day and the microseconds of that day.
func Split(ts int64) (day, micros int64) {
	day = ts / Day
	micros = ts % Day
	if micros < 0 {
		micros += Day
		day--
	}
	return day, micros
}

func daysInMonth(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// CheckTimestamp reports whether a finite timestamp is in range.
func CheckTimestamp(ts int64) bool { return ts >= minTimestamp && ts < endTimestamp }

// CheckDate reports whether a finite date is in range.
func CheckDate(d int64) bool { return d >= minDate && d < endDate }

func appendTwo(b []byte, n int64) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }

func appendClock(b []byte, t int64) []byte {
	b = appendTwo(b, t/Hour)
	b = append(b, ':')
	b = appendTwo(b, t/Minute%60)
	b = append(b, ':')
	b = appendTwo(b, t/Second%60)
	return appendFraction(b, t%Second)
}

func appendFraction(b []byte, f int64) []byte {
	if f == 0 {
		return b
	}
	digits := strconv.Itoa(int(f + Second))[1:]
	return append(append(b, '.'), strings.TrimRight(digits, "0")...)
}

func appendDay(b []byte, day int64) (out []byte, bc bool) {
	y, m, d := Civil(day)
	if y <= 0 {
		y, bc = 1-y, true
	}
	text := strconv.Itoa(y)
	for n := len(text); n < 4; n++ {
		b = append(b, '0')
	}
	b = append(append(b, text...), '-')
	b = appendTwo(b, int64(m))
	b = append(b, '-')
	return appendTwo(b, int64(d)), bc
}

// FormatDate prints a date.
func FormatDate(day int64) string {
	switch day {
	case DateInf:
		return "infinity"
	case DateMinusInf:
		return "-infinity"
	}
	b, bc := appendDay(nil, day)
	if bc {
		b = append(b, " BC"...)
	}
	return string(b)
}

// FormatTimestamp prints a timestamp, in UTC if it is zoned.
func FormatTimestamp(ts int64, zoned bool) string {
	switch ts {
	case TimestampInf:
		return "infinity"
	case TimestampMinusInf:
		return "-infinity"
	}
	day, micros := Split(ts)
	b, bc := appendDay(nil, day)
	b = appendClock(append(b, ' '), micros)
	if zoned {
		b = append(b, "+00"...)
	}
	if bc {
		b = append(b, " BC"...)
	}
	return string(b)
}

// FormatTime prints a time of day.
func FormatTime(v Value, zoned bool) string {
	b := appendClock(nil, v.I)
	if !zoned {
		return string(b)
	}
	sign, z := byte('-'), v.Aux
	if z <= 0 {
		sign, z = '+', -z
	}
	b = appendTwo(append(b, sign), z/3600)
	if z%3600 != 0 {
		b = appendTwo(append(b, ':'), z/60%60)
	}
	if z%60 != 0 {
		b = appendTwo(append(b, ':'), z%60)
	}
	return string(b)
}

// DateToTimestamp is midnight of a date.
func DateToTimestamp(day int64) (Value, error) {
	switch day {
	case DateInf:
		return Int(TimestampInf), nil
	case DateMinusInf:
		return Int(TimestampMinusInf), nil
	}
	if day >= endTimestamp/Day {
		return Null, &Error{"22008", "date out of range for timestamp"}
	}
	return Int(day * Day), nil
}

// TimestampToDate is the day of a timestamp.
func TimestampToDate(ts int64) Value {
	switch ts {
	case TimestampInf:
		return Int(DateInf)
	case TimestampMinusInf:
		return Int(DateMinusInf)
	}
	day, _ := Split(ts)
	return Int(day)
}

// CompareTimeTZ orders by the instant, then by the zone.
func CompareTimeTZ(a, b Value) int {
	if c := compareInt(a.I+a.Aux*Second, b.I+b.Aux*Second); c != 0 {
		return c
	}
	return compareInt(a.Aux, b.Aux)
}

// AddInterval adds months, then days, then the rest, as Postgres does; sign is 1 or -1.
func AddInterval(ts int64, span Value, sign int64) (Value, error) {
	if InfiniteInterval(span) != 0 {
		return Null, unsupported("arithmetic with an infinite interval")
	}
	if ts == TimestampInf || ts == TimestampMinusInf {
		return Int(ts), nil
	}
	if months := int64(span.Months()) * sign; months != 0 {
		day, micros := Split(ts)
		y, m, d := Civil(day)
		total := int64(y)*12 + int64(m) - 1 + months
		ny, nm := total/12, total%12
		if nm < 0 {
			nm += 12
			ny--
		}
		if ny < -4713 || ny > 294277 {
			return Null, ErrTimestampRange
		}
		y, m = int(ny), int(nm)+1
		d = min(d, daysInMonth(y, m))
		ts = DateOf(y, m, d)*Day + micros
	}
	if days := int64(span.Days()) * sign; days != 0 {
		day, micros := Split(ts)
		day += days
		if day < minDate || day > endTimestamp/Day {
			return Null, ErrTimestampRange
		}
		ts = day*Day + micros
	}
	rest := span.I * sign
	if span.I == math.MinInt64 || rest > 0 && ts > math.MaxInt64-rest || rest < 0 && ts < math.MinInt64-rest {
		return Null, ErrTimestampRange
	}
	ts += rest
	if !CheckTimestamp(ts) {
		return Null, ErrTimestampRange
	}
	return Int(ts), nil
}

// InZone converts between an instant and the wall clock of a zone. toWall says in which direction.
func InZone(ts int64, name string, toWall bool) (Value, error) {
	if ts == TimestampInf || ts == TimestampMinusInf {
		return Int(ts), nil
	}
	location, err := Zone(name)
	if err != nil {
		return Null, err
	}
	if y := ts / (366 * Day); y > 37 || y < -60 {
		return Null, unsupported("AT TIME ZONE outside of the years 1940 to 2037")
	}
	const unixOffset = 946684800
	day, micros := Split(ts)
	seconds := day*86400 + micros/Second + unixOffset
	if toWall {
		_, offset := time.Unix(seconds, 0).In(location).Zone()
		return Int(ts + int64(offset)*Second), nil
	}
	return wallToInstant(ts, seconds, location)
}

// wallToInstant takes the offset before the nearest change of the zone where the wall clock has a gap or repeats, as Postgres' documentation of
// DetermineTimeZoneOffset says: in a gap standard time is meant, and of two equal hours that in standard time.
func wallToInstant(ts, wall int64, location *time.Location) (Value, error) {
	_, before := time.Unix(wall-86400, 0).In(location).Zone()
	_, after := time.Unix(wall+86400, 0).In(location).Zone()
	if before == after {
		return Int(ts - int64(before)*Second), nil
	}
	a, b := wall-int64(before), wall-int64(after)
	_, atA := time.Unix(a, 0).In(location).Zone()
	_, atB := time.Unix(b, 0).In(location).Zone()
	okA, okB := atA == before, atB == after
	switch {
	case okA && !okB:
		return Int(ts - int64(before)*Second), nil
	case okB && !okA:
		return Int(ts - int64(after)*Second), nil
	}
	return Null, unsupported("a wall clock time within a change of the zone's offset")
}
