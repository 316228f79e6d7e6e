package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Message is a logical message, written by pg_logical_emit_message. Content aliases the message.
type Message struct {
	Transactional bool // part of the transaction around it; otherwise sent when it was written
	LSN           cdc.LSN
	Prefix        string
	Content       []byte
}

// ParseMessage reads a Message message.
func ParseMessage(b []byte) (Message, error) {
	r := open(b, KindMessage)
	m := Message{
		Transactional: r.uint8("the flags are cut off")&1 != 0,
		LSN:           r.lsn("the LSN is cut off"),
		Prefix:        r.text("the prefix has no end"),
		Content:       r.bytes("the content's length is cut off", "the content is cut off"),
	}
	return m, r.close()
}
