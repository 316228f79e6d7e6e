package jsontext

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is the inside of a string as it stands in the document.
type Text struct {
	Raw     []byte
	Escaped bool // it has escapes
}

// Append appends the characters of the text. Lone surrogates, which UTF-8 cannot say, become the three bytes that the same formula gives, as
// WTF-8 has it; lone says that there was one.
func (t Text) Append(dst []byte) (out []byte, lone bool) {
	b := t.Raw
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\\')
		if n < 0 {
			return append(dst, b...), lone
		}
		dst = append(dst, b[:n]...)
		if b[n+1] != 'u' {
			dst = append(dst, unescape(b[n+1]))
			b = b[n+2:]
			continue
		}
		r := hex4(b[n+2:])
		b = b[n+6:]
		if utf16.IsSurrogate(r) {
			pair := secondHalf(r, b)
			if pair < 0 {
				dst, lone = AppendSurrogate(dst, r), true
				continue
			}
			r, b = pair, b[6:]
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, lone
}

// AppendSurrogate appends a surrogate that stands alone, as three bytes.
func AppendSurrogate(dst []byte, r rune) []byte {
	return append(dst, 0xED, 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
}

// secondHalf is the character of a pair of surrogates: r and the escape that b begins with, or -1.
func secondHalf(r rune, b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	if pair := utf16.DecodeRune(r, hex4(b[2:])); pair != utf8.RuneError {
		return pair
	}
	return -1
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

func hex4(b []byte) rune {
	return hexDigit(b[0])<<12 | hexDigit(b[1])<<8 | hexDigit(b[2])<<4 | hexDigit(b[3])
}

const hexDigits = "0123456789abcdef"

// AppendString appends a string in quotes, escaped as little as JSON allows. Bytes that are no UTF-8 become U+FFFD, but surrogates in the form
// that Text.Append gives them become escapes.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				dst = appendEscape(append(dst, text[start:i]...), c)
				start = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, text[start:i]...)
			if s := surrogate(text[i:]); s >= 0 {
				dst = AppendUnicodeEscape(dst, uint16(s)) //nolint:gosec // a surrogate has 16 bits
				size = 3
			} else {
				dst = append(dst, "\uFFFD"...)
			}
			start = i + size
		}
		i += size
	}
	return append(append(dst, text[start:]...), '"')
}

// surrogate is the surrogate that the text begins with, three bytes long, or -1.
func surrogate(text string) rune {
	if len(text) < 3 || text[0] != 0xED || text[1]&0xE0 != 0xA0 || text[2]&0xC0 != 0x80 {
		return -1
	}
	return 0xD000 | rune(text[1]&0x3F)<<6 | rune(text[2]&0x3F)
}

// AppendUnicodeEscape appends a UTF-16 unit as \u and four digits.
func AppendUnicodeEscape(dst []byte, unit uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[unit>>12], hexDigits[unit>>8&0xF], hexDigits[unit>>4&0xF], hexDigits[unit&0xF])
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
	return AppendUnicodeEscape(dst, uint16(c))
}
