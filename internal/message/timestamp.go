package message

import (
	"strconv"
	"time"
)

const (
	microsPerSecond = 1_000_000
	secondsPerDay   = 86400
)

// instant is a timestamp as Postgres prints it in ISO style, with its zone if it has one.
type instant struct {
	text             []byte // the timestamp without fraction and zone, "2025-01-02 03:04:05"
	year, month, day int
	seconds          int // of the day
	micros           int // of the second
	offset           int // of the zone, seconds east of UTC
}

// unixMicros is the instant in microseconds since the epoch.
func (t *instant) unixMicros() int64 {
	days := daysFromCivil(t.year, t.month, t.day)
	return (int64(days)*secondsPerDay+int64(t.seconds-t.offset))*microsPerSecond + int64(t.micros)
}

// appendISO appends the date and time of day with six digits of fraction, whatever the zone.
func (t *instant) appendISO(dst []byte) []byte {
	dst = append(dst, t.text[:10]...)
	dst = append(dst, 'T')
	dst = append(dst, t.text[11:]...)
	return appendFraction(dst, t.micros)
}

// appendTimestamp appends a timestamp without zone. Infinities, BC and years above 9999 are for the caller to write as text.
func appendTimestamp(dst, text []byte, f Format) ([]byte, bool) {
	t, rest, ok := parseInstant(text)
	if !ok || len(rest) > 0 {
		return dst, false
	}
	if f.UnixMicros {
		return strconv.AppendInt(dst, t.unixMicros(), 10), true
	}
	dst = append(dst, '"')
	dst = t.appendISO(dst)
	return append(dst, '"'), true
}

// appendTimestampTZ appends a timestamp with zone, in UTC. One that leaves the years 1 to 9999 on the way there is for the caller to write as
// text, like the others that are.
func appendTimestampTZ(dst, text []byte, f Format) ([]byte, bool) {
	t, rest, ok := parseInstant(text)
	if !ok {
		return dst, false
	}
	if t.offset, ok = parseOffset(rest); !ok {
		return dst, false
	}
	if t.offset == 0 && !f.UnixMicros {
		dst = append(dst, '"')
		dst = t.appendISO(dst)
		return append(dst, 'Z', '"'), true
	}
	micros := t.unixMicros()
	if micros < minISOMicros || micros > maxISOMicros {
		return dst, false
	}
	if f.UnixMicros {
		return strconv.AppendInt(dst, micros, 10), true
	}
	dst = append(dst, '"')
	dst = appendInstant(dst, micros)
	return append(dst, '"'), true
}

// parseInstant reads "2025-01-02 03:04:05.123456" with 0 to 6 digits of fraction and returns what follows.
func parseInstant(b []byte) (t instant, rest []byte, ok bool) {
	const form = "0000-00-00 00:00:00"
	if len(b) < len(form) {
		return t, nil, false
	}
	for i := range len(form) {
		if form[i] == '0' {
			if b[i] < '0' || b[i] > '9' {
				return t, nil, false
			}
		} else if b[i] != form[i] {
			return t, nil, false
		}
	}
	t.text = b[:len(form)]
	t.year, t.month, t.day = two(b)*100+two(b[2:]), two(b[5:]), two(b[8:])
	hour, minute, second := two(b[11:]), two(b[14:]), two(b[17:])
	if t.year == 0 || t.month < 1 || t.month > 12 || t.day < 1 || t.day > 31 || hour > 23 || minute > 59 || second > 59 {
		return t, nil, false
	}
	t.seconds = hour*3600 + minute*60 + second
	t.micros, rest, ok = parseFraction(b[len(form):])
	return t, rest, ok
}

// two is the value of two digits.
func two(b []byte) int { return int(b[0]-'0')*10 + int(b[1]-'0') }

// parseFraction reads an optional fraction of a second, a point and 1 to 6 digits, and returns what follows.
func parseFraction(b []byte) (micros int, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '.' {
		return 0, b, true
	}
	n := digits(b[1:])
	if n == 0 || n > 6 {
		return 0, nil, false
	}
	for i := range 6 {
		micros *= 10
		if i < n {
			micros += int(b[1+i] - '0')
		}
	}
	return micros, b[1+n:], true
}

// parseOffset reads a zone, "+00", "-03:30" or "+05:30:15", to its end.
func parseOffset(b []byte) (seconds int, ok bool) {
	if len(b) != 3 && len(b) != 6 && len(b) != 9 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	for i, unit := 0, 3600; i < len(b); i, unit = i+3, unit/60 {
		if i > 0 && b[i] != ':' || digits(b[i+1:i+3]) != 2 {
			return 0, false
		}
		seconds += two(b[i+1:]) * unit
	}
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// The years 1 to 9999, in microseconds since the epoch.
const (
	minISOMicros = -62135596800 * microsPerSecond
	maxISOMicros = 253402300800*microsPerSecond - 1
)

// appendInstant appends an instant in UTC: "2025-01-02T03:04:05.123456Z".
func appendInstant(dst []byte, micros int64) []byte {
	if micros < minISOMicros || micros > maxISOMicros {
		return time.UnixMicro(micros).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	}
	micros -= minISOMicros
	year, month, day := civilFromDays(int(micros/microsPerSecond/secondsPerDay) - daysToEpoch)
	seconds := int(micros / microsPerSecond % secondsPerDay)
	dst = appendTwo(dst, year/100)
	dst = appendTwo(dst, year%100)
	dst = append(dst, '-')
	dst = appendTwo(dst, month)
	dst = append(dst, '-')
	dst = appendTwo(dst, day)
	dst = append(dst, 'T')
	dst = appendTwo(dst, seconds/3600)
	dst = append(dst, ':')
	dst = appendTwo(dst, seconds/60%60)
	dst = append(dst, ':')
	dst = appendTwo(dst, seconds%60)
	return append(appendFraction(dst, int(micros%microsPerSecond)), 'Z')
}

// appendTwo appends two digits.
func appendTwo(dst []byte, v int) []byte {
	return append(dst, byte('0'+v/10), byte('0'+v%10)) //nolint:gosec // v is below 100
}

// appendFraction appends a point and six digits.
func appendFraction(dst []byte, micros int) []byte {
	dst = append(dst, '.')
	dst = appendTwo(dst, micros/10000)
	dst = appendTwo(dst, micros/100%100)
	return appendTwo(dst, micros%100)
}
