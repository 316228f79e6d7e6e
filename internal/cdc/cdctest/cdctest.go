// Package cdctest builds rows in their wire form for tests, so that a test reads like the row that it is about.
package cdctest

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sequinstream/sequin/internal/cdc"
)

type unchanged struct{}

// Unchanged stands for a TOAST value that an update did not touch and the server did not send.
var Unchanged = unchanged{}

// Binary is a value in the binary format.
type Binary []byte

// Tuple builds a row: a string or []byte is a text value, nil is NULL, Unchanged a TOAST value that was not sent, Binary a binary value.
// It panics on anything else.
func Tuple(vals ...any) cdc.Tuple {
	if len(vals) > math.MaxUint16 {
		panic(fmt.Sprintf("cdctest: %d columns do not fit a tuple", len(vals)))
	}
	t := binary.BigEndian.AppendUint16(nil, uint16(len(vals))) //nolint:gosec // bounded above
	for i, v := range vals {
		switch v := v.(type) {
		case nil:
			t = append(t, 'n')
		case unchanged:
			t = append(t, 'u')
		case string:
			t = datum(t, 't', []byte(v))
		case []byte:
			t = datum(t, 't', v)
		case Binary:
			t = datum(t, 'b', v)
		default:
			panic(fmt.Sprintf("cdctest: value %d has type %T; want string, []byte, nil, Unchanged or Binary", i, v))
		}
	}
	return t
}

func datum(t []byte, kind byte, text []byte) []byte {
	t = append(t, kind)
	t = binary.BigEndian.AppendUint32(t, uint32(len(text))) //nolint:gosec // test values are small
	return append(t, text...)
}
