package api_test

import (
	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
)

// named shows that a consumer is a stream but for its name and the form of its messages.
type named struct{ *consumer.Consumer }

func (named) Name() string                                                   { return "" }
func (named) AppendMessage(dst []byte, _ *consumer.Delivery) ([]byte, error) { return dst, nil }

var _ api.Stream = named{}
