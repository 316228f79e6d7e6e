// Package jsontext reads and writes JSON for the runtimes of functions: straight between text and the values of an engine, every digit, the
// order of keys and lone surrogates included, which encoding/json loses. A Scanner walks over a document, and what it finds becomes a value
// where it is found; Skip passes over what nobody asks for. It checks the syntax of what it reads as RFC 8259 has it, except for bytes that
// are no UTF-8. A Scanner is not safe for concurrent use.
package jsontext

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// MaxDepth is how deep arrays and objects may nest. Messages nest less than 10,000 levels, and so do those that others can read.
const MaxDepth = 10_000

// ErrDepth is the error of a document that nests deeper than MaxDepth.
var ErrDepth = errors.New("nested deeper than 10,000 levels")

// SyntaxError is a mistake in a document.
type SyntaxError struct {
	Offset int
	End    bool // the document ends too soon
}

func (e *SyntaxError) Error() string {
	if e.End {
		return "unexpected end of JSON"
	}
	return fmt.Sprintf("unexpected character in JSON at position %d", e.Offset)
}

// Scanner reads a document. The zero value with Data is at its start.
type Scanner struct {
	Data []byte
	Pos  int
}

func (s *Scanner) mistake() error { return &SyntaxError{Offset: s.Pos, End: s.Pos >= len(s.Data)} }

// Peek passes over white space and returns the next byte, 0 at the end.
func (s *Scanner) Peek() byte {
	for s.Pos < len(s.Data) {
		switch c := s.Data[s.Pos]; c {
		case ' ', '\n', '\t', '\r':
			s.Pos++
		default:
			return c
		}
	}
	return 0
}

// Take passes over c, which has to be next.
func (s *Scanner) Take(c byte) error {
	if s.Peek() != c || s.Pos >= len(s.Data) {
		return s.mistake()
	}
	s.Pos++
	return nil
}

// Word passes over true, false or null.
func (s *Scanner) Word(word string) error {
	if !bytes.HasPrefix(s.Data[s.Pos:], []byte(word)) {
		return s.mistake()
	}
	s.Pos += len(word)
	return nil
}

// End is nil when nothing but white space is left.
func (s *Scanner) End() error {
	if s.Peek(); s.Pos < len(s.Data) {
		return s.mistake()
	}
	return nil
}

// More tells whether another member or element follows in an object or array whose closing byte is given, and passes over the comma or the
// closing byte. first is set right behind the opening one.
func (s *Scanner) More(closing byte, first bool) (bool, error) {
	c := s.Peek()
	switch {
	case c == closing:
		s.Pos++
		return false, nil
	case first:
		return true, nil
	case c == ',':
		s.Pos++
		return true, nil
	}
	return false, s.mistake()
}

// String reads a string.
func (s *Scanner) String() (Text, error) {
	if err := s.Take('"'); err != nil {
		return Text{}, err
	}
	start, escaped := s.Pos, false
	for {
		s.Pos += plain(s.Data[s.Pos:])
		if s.Pos >= len(s.Data) {
			return Text{}, s.mistake()
		}
		switch c := s.Data[s.Pos]; c {
		case '"':
			s.Pos++
			return Text{s.Data[start : s.Pos-1], escaped}, nil
		case '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return Text{}, err
			}
		default:
			return Text{}, s.mistake()
		}
	}
}

// plain is how many bytes come before the next quote, backslash or control character. It looks at eight bytes at a time: subtracting from each
// byte borrows into its highest bit when the byte is too small, and XOR makes a byte zero, and so too small, when it is the one looked for.
func plain(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, slash := w^ones*'"', w^ones*'\\'
		if found := ((w-ones*' ') & ^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(b); n++ {
		if c := b[n]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return n
}

func (s *Scanner) escape() error {
	s.Pos++
	if s.Pos >= len(s.Data) {
		return s.mistake()
	}
	switch s.Data[s.Pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.Pos++
		return nil
	case 'u':
		s.Pos++
		for range 4 {
			if s.Pos >= len(s.Data) || hexDigit(s.Data[s.Pos]) < 0 {
				return s.mistake()
			}
			s.Pos++
		}
		return nil
	}
	return s.mistake()
}

func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// Number reads a number and returns its text.
func (s *Scanner) Number() ([]byte, error) {
	start := s.Pos
	if s.at('-') {
		s.Pos++
	}
	switch {
	case s.at('0'):
		s.Pos++
	case s.digits() == 0:
		return nil, s.mistake()
	}
	if s.at('.') {
		s.Pos++
		if s.digits() == 0 {
			return nil, s.mistake()
		}
	}
	if s.at('e') || s.at('E') {
		s.Pos++
		if s.at('+') || s.at('-') {
			s.Pos++
		}
		if s.digits() == 0 {
			return nil, s.mistake()
		}
	}
	return s.Data[start:s.Pos], nil
}

func (s *Scanner) at(c byte) bool { return s.Pos < len(s.Data) && s.Data[s.Pos] == c }

func (s *Scanner) digits() int {
	start := s.Pos
	for s.Pos < len(s.Data) && '0' <= s.Data[s.Pos] && s.Data[s.Pos] <= '9' {
		s.Pos++
	}
	return s.Pos - start
}

// Skip passes over the next value. It needs no stack: it counts what is open, and checks of objects and arrays only that they are closed.
func (s *Scanner) Skip() error {
	for depth := 0; ; {
		switch c := s.Peek(); c {
		case '"':
			if _, err := s.String(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			s.Pos++
			continue
		case '}', ']':
			depth--
			s.Pos++
		case ',', ':':
			s.Pos++
			if depth == 0 {
				return s.mistake()
			}
			continue
		default:
			if err := s.scalar(c); err != nil {
				return err
			}
		}
		if depth < 0 {
			return s.mistake()
		}
		if depth == 0 {
			return nil
		}
	}
}

func (s *Scanner) scalar(c byte) error {
	switch c {
	case 't':
		return s.Word("true")
	case 'f':
		return s.Word("false")
	case 'n':
		return s.Word("null")
	}
	_, err := s.Number()
	return err
}

// Raw passes over the next value and returns its text.
func (s *Scanner) Raw() ([]byte, error) {
	s.Peek()
	start := s.Pos
	err := s.Skip()
	return s.Data[start:s.Pos], err
}

// Message is a message in its parts, each the text of a JSON value, nil when missing.
type Message struct {
	Action, Record, Changes, Metadata []byte
}

// Split takes a message apart.
func Split(data []byte) (Message, error) {
	var m Message
	s := Scanner{Data: data}
	if err := s.Take('{'); err != nil {
		return m, err
	}
	err := s.Members(func(key Text) error {
		raw, err := s.Raw()
		switch string(key.Raw) {
		case "action":
			m.Action = raw
		case "record":
			m.Record = raw
		case "changes":
			m.Changes = raw
		case "metadata":
			m.Metadata = raw
		}
		return err
	})
	if err != nil {
		return m, err
	}
	return m, s.End()
}

// Members calls a function behind the colon of every member of an object whose brace has been passed. The function passes over the value.
func (s *Scanner) Members(member func(key Text) error) error {
	for first := true; ; first = false {
		more, err := s.More('}', first)
		if err != nil || !more {
			return err
		}
		key, err := s.Key()
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
	}
}

// Key reads the name of a member and the colon behind it.
func (s *Scanner) Key() (Text, error) {
	if s.Peek() != '"' {
		return Text{}, s.mistake()
	}
	key, err := s.String()
	if err != nil {
		return Text{}, err
	}
	return key, s.Take(':')
}

// Field returns the string that an object has under a name, or "".
func Field(object []byte, name string) string {
	s := Scanner{Data: object}
	if s.Take('{') != nil {
		return ""
	}
	var value []byte
	err := s.Members(func(key Text) error {
		if string(key.Raw) == name && s.Peek() == '"' {
			text, err := s.String()
			value, _ = text.Append(nil)
			return err
		}
		return s.Skip()
	})
	if err != nil {
		return ""
	}
	return string(value)
}
