package pgvalue

import (
	"strconv"
	"strings"
)

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
