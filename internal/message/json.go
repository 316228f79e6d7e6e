package message

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxJSONDepth is how deep a document may nest to be passed through. Common parsers refuse more than 10,000 levels, the message's included.
const maxJSONDepth = 9000

// appendJSON appends a document verbatim: digits, order and duplicates of keys, and white space stay. Postgres has checked it, but not in a
// database with encoding SQL_ASCII, and a message that does not parse helps nobody: so it is checked here again, at little cost. Bytes that
// are not UTF-8 can only be inside its strings and become U+FFFD.
func appendJSON(dst, text []byte) ([]byte, bool) {
	i, ok := scanValue(text, skipSpace(text, 0), maxJSONDepth)
	if !ok || skipSpace(text, i) != len(text) {
		return dst, false
	}
	return appendUTF8(dst, text), true
}

// scanValue is the offset after the value that starts at b[i].
func scanValue(b []byte, i, depth int) (end int, ok bool) {
	if i >= len(b) || depth == 0 {
		return i, false
	}
	switch b[i] {
	case '"':
		return scanString(b, i)
	case '{':
		return scanMembers(b, i, depth)
	case '[':
		return scanElements(b, i, depth)
	case 't':
		return scanWord(b, i, "true")
	case 'f':
		return scanWord(b, i, "false")
	case 'n':
		return scanWord(b, i, "null")
	}
	n, _ := scanNumber(b[i:])
	return i + n, n > 0
}

func scanWord(b []byte, i int, word string) (end int, ok bool) {
	end = i + len(word)
	return end, end <= len(b) && string(b[i:end]) == word
}

func scanMembers(b []byte, i, depth int) (end int, ok bool) {
	i = skipSpace(b, i+1)
	if at(b, i, '}') {
		return i + 1, true
	}
	for {
		if !at(b, i, '"') {
			return i, false
		}
		if i, ok = scanString(b, i); !ok {
			return i, false
		}
		if i = skipSpace(b, i); !at(b, i, ':') {
			return i, false
		}
		if i, ok = scanValue(b, skipSpace(b, i+1), depth-1); !ok {
			return i, false
		}
		i = skipSpace(b, i)
		if at(b, i, '}') {
			return i + 1, true
		}
		if !at(b, i, ',') {
			return i, false
		}
		i = skipSpace(b, i+1)
	}
}

func scanElements(b []byte, i, depth int) (end int, ok bool) {
	i = skipSpace(b, i+1)
	if at(b, i, ']') {
		return i + 1, true
	}
	for {
		if i, ok = scanValue(b, i, depth-1); !ok {
			return i, false
		}
		i = skipSpace(b, i)
		if at(b, i, ']') {
			return i + 1, true
		}
		if !at(b, i, ',') {
			return i, false
		}
		i = skipSpace(b, i+1)
	}
}

func at(b []byte, i int, c byte) bool { return i < len(b) && b[i] == c }

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// scanString is the offset after the string that starts with the quote at b[i].
func scanString(b []byte, i int) (end int, ok bool) {
	i++
	for {
		i += unescaped(b[i:])
		switch {
		case i >= len(b) || b[i] < 0x20:
			return i, false
		case b[i] == '"':
			return i + 1, true
		}
		if i, ok = scanEscape(b, i); !ok {
			return i, false
		}
	}
}

// scanEscape is the offset after the escape that starts with the backslash at b[i].
func scanEscape(b []byte, i int) (end int, ok bool) {
	if i+1 >= len(b) {
		return i, false
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, true
	case 'u':
		if len(b) < i+6 {
			return i, false
		}
		for _, c := range b[i+2 : i+6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return i, false
			}
		}
		return i + 6, true
	}
	return i, false
}

// unescaped is the number of bytes at the start of b that neither end nor escape nor break a JSON string; see plain for how.
func unescaped(b []byte) int {
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		special := (x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash
		if special &= highBits; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// Compact appends JSON without the white space between its tokens, so that it fits on a line. Text that is not JSON comes out as something
// that is not JSON either.
func Compact(dst, json []byte) []byte {
	for i := 0; i < len(json); {
		start := i
		for i < len(json) && json[i] != '"' && !isSpace(json[i]) {
			i++
		}
		dst = append(dst, json[start:i]...)
		switch {
		case i == len(json):
		case json[i] == '"':
			end := stringEnd(json, i)
			dst = append(dst, json[i:end]...)
			i = end
		default:
			i = skipSpace(json, i)
		}
	}
	return dst
}

// stringEnd is the offset after the string that starts at b[i], or the end of b.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		i += unescaped(b[i:])
		switch {
		case i >= len(b):
			return len(b)
		case b[i] == '"':
			return i + 1
		case b[i] == '\\':
			i++
		}
	}
	return len(b)
}

// Valid reports whether b is one JSON value in UTF-8.
func Valid(b []byte) bool {
	i, ok := scanValue(b, skipSpace(b, 0), maxJSONDepth)
	return ok && skipSpace(b, i) == len(b) && utf8.Valid(b)
}
