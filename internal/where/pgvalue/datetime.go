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

// scanner reads digits and signs of ISO 8601 texts.
type scanner struct {
	s string
	i int
}

func (c *scanner) peek() byte {
	if c.i < len(c.s) {
		return c.s[c.i]
	}
	return 0
}

func (c *scanner) accept(b byte) bool {
	if c.peek() == b {
		c.i++
		return true
	}
	return false
}

// number reads between low and high digits.
func (c *scanner) number(low, high int) (int, bool) {
	start, n := c.i, 0
	for c.i < len(c.s) && c.i-start < high && c.s[c.i] >= '0' && c.s[c.i] <= '9' {
		n = n*10 + int(c.s[c.i]-'0')
		c.i++
	}
	return n, c.i-start >= low
}

// fraction reads what follows the point of a second, in microseconds. More than six digits are refused: they would be rounded.
func (c *scanner) fraction() (int64, bool) {
	start := c.i
	n, ok := c.number(1, 6)
	if !ok || c.peek() >= '0' && c.peek() <= '9' {
		return 0, false
	}
	for k := c.i - start; k < 6; k++ {
		n *= 10
	}
	return int64(n), true
}

// clock reads HH:MM[:SS[.ffffff]].
func (c *scanner) clock() (int64, bool) {
	h, ok1 := c.number(2, 2)
	if !ok1 || !c.accept(':') {
		return 0, false
	}
	m, ok2 := c.number(2, 2)
	var s int
	var f int64
	if ok2 && c.accept(':') {
		if s, ok2 = c.number(2, 2); ok2 && c.accept('.') {
			f, ok2 = c.fraction()
		}
	}
	if !ok2 || h > 24 || m > 59 || s > 59 || h == 24 && (m > 0 || s > 0 || f > 0) {
		return 0, false
	}
	return int64(h)*Hour + int64(m)*Minute + int64(s)*Second + f, true
}

// zone reads Z, ±HH, ±HHMM, ±HH:MM or ±HH:MM:SS; the result is in seconds east.
func (c *scanner) zone() (east int64, given, ok bool) {
	switch c.peek() {
	case 'Z', 'z':
		c.i++
		return 0, true, true
	case '+', '-':
	default:
		return 0, false, true
	}
	sign := int64(1)
	if c.s[c.i] == '-' {
		sign = -1
	}
	c.i++
	h, ok := c.number(2, 2)
	var m, s int
	if ok && c.accept(':') {
		if m, ok = c.number(2, 2); ok && c.accept(':') {
			s, ok = c.number(2, 2)
		}
	} else if ok && c.peek() >= '0' && c.peek() <= '9' {
		m, ok = c.number(2, 2)
	}
	if !ok || h > 15 || m > 59 || s > 59 {
		return 0, true, false
	}
	return sign * int64(h*3600+m*60+s), true, true
}

// day reads YYYY-MM-DD; the era may follow at the end of the text.
func (c *scanner) day() (y, m, d int, ok bool) {
	y, ok = c.number(4, 7)
	if !ok || !c.accept('-') {
		return 0, 0, 0, false
	}
	if m, ok = c.number(2, 2); !ok || !c.accept('-') {
		return 0, 0, 0, false
	}
	d, ok = c.number(2, 2)
	return y, m, d, ok
}

// era reads the trailing BC.
func (c *scanner) era() (bc, ok bool) {
	switch strings.ToUpper(strings.TrimSpace(c.s[c.i:])) {
	case "":
		return false, true
	case "BC":
		return true, true
	case "AD":
		return false, true
	}
	return false, false
}

type moment struct {
	day    int64
	micros int64
	east   int64
	zoned  bool
}

func infinite(s string) int {
	switch {
	case len(s) > 9 || len(s) < 8:
		return 0
	case strings.EqualFold(s, "infinity"):
		return 1
	case strings.EqualFold(s, "-infinity"):
		return -1
	}
	return 0
}

// parseMoment reads a date with or without time and zone, as ISO 8601 and Postgres' output have it. Everything else that Postgres would read is
// refused rather than guessed.
func parseMoment(typ, s string) (moment, error) {
	var m moment
	c := scanner{s: strings.Trim(s, " \t\n\r\f\v")}
	if c.s == "" {
		return m, &Error{"22007", "invalid input syntax for type " + typ + `: ""`}
	}
	y, mo, d, ok := c.day()
	if !ok {
		return m, unsupported("%s %q: only ISO 8601 is read, such as 2024-05-31 or 2024-05-31 10:20:30+00", typ, shorten(s))
	}
	if (c.peek() == ' ' || c.peek() == 'T') && c.i+1 < len(c.s) && c.s[c.i+1] >= '0' && c.s[c.i+1] <= '9' {
		c.i++
		m.micros, ok = c.clock()
	}
	if ok {
		if c.peek() == ' ' && c.i+1 < len(c.s) && strings.IndexByte("+-Zz", c.s[c.i+1]) >= 0 && m.micros >= 0 {
			c.i++
		}
		m.east, m.zoned, ok = c.zone()
	}
	bc, eraOK := c.era()
	if !ok || !eraOK {
		return m, unsupported("%s %q: only ISO 8601 is read, such as 2024-05-31 or 2024-05-31 10:20:30+00", typ, shorten(s))
	}
	if y == 0 || mo < 1 || mo > 12 || d < 1 {
		return m, fieldRange(s)
	}
	if bc {
		y = 1 - y
	}
	if d > daysInMonth(y, mo) || y > 6_000_000 {
		return m, fieldRange(s)
	}
	if y < -4713 || y == -4713 && mo < 11 {
		return m, ErrDateRange
	}
	m.day = DateOf(y, mo, d)
	return m, nil
}

func fieldRange(s string) error {
	return &Error{"22008", "date/time field value out of range: " + strconv.Quote(shorten(s))}
}

// ParseDate reads a date; a time behind it is passed over, as Postgres does.
func ParseDate(s string) (Value, error) {
	switch infinite(s) {
	case 1:
		return Int(DateInf), nil
	case -1:
		return Int(DateMinusInf), nil
	}
	m, err := parseMoment("date", s)
	if err != nil {
		return Null, err
	}
	if !CheckDate(m.day) {
		return Null, ErrDateRange
	}
	return Int(m.day), nil
}

// ParseTimestamp reads a timestamp. With a zone, an instant is read; a text without one is taken as UTC. Without, a zone in the text is
// ignored, as Postgres does.
func ParseTimestamp(s string, zoned bool) (Value, error) {
	switch infinite(s) {
	case 1:
		return Int(TimestampInf), nil
	case -1:
		return Int(TimestampMinusInf), nil
	}
	typ := "timestamp"
	if zoned {
		typ = "timestamp with time zone"
	}
	m, err := parseMoment(typ, s)
	if err != nil {
		return Null, err
	}
	if m.day > endTimestamp/Day {
		return Null, ErrTimestampRange
	}
	ts := m.day*Day + m.micros
	if zoned {
		ts -= m.east * Second
	}
	if !CheckTimestamp(ts) {
		return Null, ErrTimestampRange
	}
	return Int(ts), nil
}

// ParseTime reads a time of day.
func ParseTime(s string, zoned bool) (Value, error) {
	c := scanner{s: strings.Trim(s, " \t\n\r\f\v")}
	t, ok := c.clock()
	if !ok {
		return Null, unsupported("time %q: only HH:MM[:SS[.ffffff]] is read", shorten(s))
	}
	var east int64
	if c.i < len(c.s) {
		var given bool
		if east, given, ok = c.zone(); !ok || c.i < len(c.s) || !given {
			return Null, unsupported("time %q: only HH:MM[:SS[.ffffff]] is read, with a zone such as +02", shorten(s))
		}
	}
	if !zoned {
		return Int(t), nil
	}
	return Value{I: t, Aux: -east}, nil
}

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
