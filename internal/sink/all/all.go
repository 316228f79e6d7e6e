// Package all lists the sinks that this build knows.
package all

import (
	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

// Definitions returns every sink, one line each.
func Definitions() []sink.Definition {
	return []sink.Definition{
		webhook.Definition,
	}
}

// ByType finds the definition of a sink type.
func ByType(name string) (sink.Definition, bool) {
	for _, d := range Definitions() {
		if d.Type == name {
			return d, true
		}
	}
	return sink.Definition{}, false
}
