package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// A frame is a kind (one byte), the length of its body (four bytes, little endian) and the body. Texts and bytes within a body have their
// length, in four bytes, in front of them. The pool sends a function, which is answered by compiled or rejected, or a batch: the hash of the
// function, a byte of flags, how many messages, the messages. A batch is answered by one frame for each message, in order. In place of the
// first may stand unknown, when the worker has no such function (any more), and in place of any other one yield: the rest was not run.
const (
	frameFunction = 'f'
	frameBatch    = 'b'

	frameHello    = 'h'
	frameCompiled = 'c'
	frameRejected = 'e'
	frameUnknown  = 'u'
	frameResult   = 'r'
	frameFailed   = 'x'
	frameBegin    = 's'
	frameYield    = 'y'
)

// flagCareful asks for each result to be sent before the next call begins, so that it is certain which message ends the worker.
const flagCareful = 1

// version is the only one: both ends are the same binary.
const version = "1"

const (
	headSize  = 5
	batchHead = len(hash{}) + 5
	maxFrame  = 1 << 30 // of a body; a message and a module are far smaller
)

var errFrame = errors.New("malformed frame")

// beginFrame appends the head of a frame whose length endFrame fills in.
func beginFrame(dst []byte, kind byte) []byte { return append(dst, kind, 0, 0, 0, 0) }

// endFrame completes the frame that begins at start.
func endFrame(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-headSize)) //nolint:gosec // bounded by maxFrame
	return dst
}

func appendBytes[T []byte | string](dst []byte, b T) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(b))), b...) //nolint:gosec // bounded by maxFrame
}

// appendHead appends the head of a frame whose body follows.
func appendHead(dst []byte, kind byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, kind), uint32(n)) //nolint:gosec // bounded by maxFrame
}

// readHead reads kind and length of the next frame.
func readHead(r *bufio.Reader) (kind byte, n int, err error) {
	head, err := r.Peek(headSize)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	kind, n = head[0], int(binary.LittleEndian.Uint32(head[1:]))
	if n > maxFrame {
		return 0, 0, fmt.Errorf("%w of %d bytes", errFrame, n)
	}
	_, err = r.Discard(headSize)
	return kind, n, err
}

// cutBytes takes bytes with their length off the front of a body.
func cutBytes(body []byte) (b, rest []byte, err error) {
	n, rest, err := cutUint32(body)
	if err != nil || n > len(rest) {
		return nil, nil, errFrame
	}
	return rest[:n:n], rest[n:], nil
}

func cutUint32(body []byte) (n int, rest []byte, err error) {
	if len(body) < 4 {
		return 0, nil, errFrame
	}
	return int(binary.LittleEndian.Uint32(body)), body[4:], nil
}

// cutTexts takes as many texts off the front of a body as there are places for them.
func cutTexts(body []byte, texts ...*string) (rest []byte, err error) {
	for _, text := range texts {
		var b []byte
		if b, body, err = cutBytes(body); err != nil {
			return nil, err
		}
		*text = string(b)
	}
	return body, nil
}

func appendError(dst []byte, e *language.Error) []byte {
	dst = appendBytes(dst, string(e.Kind))
	dst = appendBytes(dst, language.Cut(e.Message, language.MaxMessage))
	dst = appendBytes(dst, language.Cut(e.Value, language.MaxValue))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(max(e.Line, 0)))    //nolint:gosec // a line of a bounded text
	return binary.LittleEndian.AppendUint32(dst, uint32(max(e.Column, 0))) //nolint:gosec // as above
}

func decodeError(body []byte) (*language.Error, error) {
	var e language.Error
	var kind string
	rest, err := cutTexts(body, &kind, &e.Message, &e.Value)
	if err != nil {
		return nil, err
	}
	e.Kind = language.Kind(kind)
	if e.Line, rest, err = cutUint32(rest); err != nil {
		return nil, err
	}
	if e.Column, _, err = cutUint32(rest); err != nil {
		return nil, err
	}
	return &e, nil
}
