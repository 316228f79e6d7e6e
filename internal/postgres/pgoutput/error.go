package pgoutput

import "fmt"

// SyntaxError says where a message departs from its form. The message is not part of it: it may hold a row.
type SyntaxError struct {
	Kind   byte   // the kind that was asked for
	Offset int    // of the byte that does not fit, from the start of the message
	What   string // what was being read, and what is wrong with it
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("pgoutput %s message, byte %d: %s", KindName(e.Kind), e.Offset, e.What)
}
