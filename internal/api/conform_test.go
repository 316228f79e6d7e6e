package api_test

import (
	"context"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/shape"
)

// named shows that a consumer is a stream but for its name and the form of its messages.
type named struct{ *consumer.Consumer }

func (named) Name() string                        { return "" }
func (named) Shape(context.Context, *shape.Batch) {}

var _ api.Stream = named{}
