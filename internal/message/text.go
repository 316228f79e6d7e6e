package message

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const (
	ones     = 0x0101010101010101
	highBits = 0x8080808080808080
	hexChars = "0123456789abcdef"
)

// replacement is U+FFFD in UTF-8.
const replacement = "\ufffd"

// plain is the number of bytes at the start of b that stand for themselves in a JSON string and are ASCII. It looks at eight at a time: in
// each word the lowest byte that does not qualify is exact, those above it may be wrong through borrows and are not used.
func plain(b []byte) int {
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		special := (x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash | x
		if special &= highBits; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD, one for each.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plain(text)
		dst = append(dst, text[:n]...)
		text = text[n:]
		if len(text) == 0 {
			return append(dst, '"')
		}
		if text[0] < utf8.RuneSelf {
			dst = appendEscape(dst, text[0])
			text = text[1:]
			continue
		}
		n = foreign(text)
		dst = appendUTF8(dst, text[:n])
		text = text[n:]
	}
}

// foreign is the number of bytes at the start of b that are not ASCII.
func foreign(b []byte) int {
	for i, c := range b {
		if c < utf8.RuneSelf {
			return i
		}
	}
	return len(b)
}

// appendUTF8 appends text with every byte that is not UTF-8 replaced.
func appendUTF8(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return append(dst, text...)
	}
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, replacement...)
		} else {
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexChars[c>>4], hexChars[c&15])
}

// appendName appends a name as a JSON string. Names are short and nearly always plain.
func appendName(dst []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendString(dst, []byte(name))
		}
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"')
}

// appendHex appends bytes as Postgres prints bytea, as a JSON string.
func appendHex(dst, b []byte) []byte {
	dst = append(dst, '"', '\\')
	dst = hexText(dst, b)
	return append(dst, '"')
}

// hexText appends the text that Postgres prints for a bytea: a backslash, x and two digits for each byte.
func hexText(dst, b []byte) []byte {
	dst = append(dst, '\\', 'x')
	for _, c := range b {
		dst = append(dst, hexChars[c>>4], hexChars[c&15])
	}
	return dst
}
