package shape

import (
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/problem"
)

// Form says how message bodies look before functions see them.
type Form struct {
	Format     message.Format
	Tail       *message.Tail
	RecordOnly bool // legacy_transform: record_only
}

// Encode is the Encoder of a form. A redriven message whose change is gone goes out as it was kept, with the mark that it is out of order.
func (f Form) Encode(dst []byte, d *consumer.Delivery) ([]byte, error) {
	if f.RecordOnly && d.Change != nil {
		return message.AppendRecordOnly(dst, d.Change, f.Format)
	}
	return f.whole(dst, d, nil)
}

// whole appends the whole message, with what an enrichment found.
func (f Form) whole(dst []byte, d *consumer.Delivery, enrichment []byte) ([]byte, error) {
	switch {
	case d.Change == nil && len(d.Payload) > 0 && f.RecordOnly:
		return append(dst, d.Payload...), nil
	case d.Change == nil && len(d.Payload) > 0:
		return message.AppendKept(dst, d.Payload), nil
	case d.Change == nil:
		return dst, problem.New("message_lost", "the change behind the message is no longer retained, and its body was not kept")
	}
	return message.Append(dst, d.Change, f.Format, f.Tail, message.Flags{Replay: d.Replay, Redriven: d.Redriven, Enrichment: enrichment})
}
