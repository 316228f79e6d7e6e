package cdc

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log (PostgreSQL manual, "pg_lsn Type").
type LSN uint64

// ParseLSN reads the textual form, two hexadecimal numbers of up to 8 digits with a slash between them: "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok || !isHex8(hi) || !isHex8(lo) {
		return 0, fmt.Errorf("LSN %q: want two hexadecimal numbers of up to 8 digits separated by a slash, like 16/B374D848", s)
	}
	h, _ := strconv.ParseUint(hi, 16, 32)
	l, _ := strconv.ParseUint(lo, 16, 32)
	return LSN(h<<32 | l), nil
}

func isHex8(s string) bool {
	if s == "" || len(s) > 8 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// String is the form that Postgres prints.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l>>32), uint64(l)&0xFFFFFFFF) }
