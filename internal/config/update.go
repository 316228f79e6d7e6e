package config

import (
	"github.com/sequinstream/sequin/internal/resource"
)

// BodyOptions says whose request a body is.
type BodyOptions struct {
	Create        bool // nothing is stored yet; the base is reset to the defaults first
	IgnoreUnknown bool // keys that nobody knows are no mistake
	Local         bool // from this machine's operator: may name files and programs of this machine
}

// UpdateSink reads a JSON object over a sink: what it leaves out keeps its value, null asks for the default. A mistake gives a
// *resource.InvalidError, and leaves the sink as it was. References and uniqueness are for the validation of the whole set.
func UpdateSink(base *resource.Sink, body []byte, o BodyOptions) ([]Warning, error) {
	return update(base, body, o, (*decoder).sink, (*resource.Sink).Validate, func(to, from *resource.Sink) { to.Meta = from.Meta })
}

// UpdateDatabase is UpdateSink for a database.
func UpdateDatabase(base *resource.Database, body []byte, o BodyOptions) ([]Warning, error) {
	return update(base, body, o, (*decoder).database, (*resource.Database).Validate, func(to, from *resource.Database) { to.Meta = from.Meta })
}

// UpdateEndpoint is UpdateSink for an HTTP endpoint.
func UpdateEndpoint(base *resource.HTTPEndpoint, body []byte, o BodyOptions) ([]Warning, error) {
	return update(base, body, o, (*decoder).endpoint, (*resource.HTTPEndpoint).Validate, func(to, from *resource.HTTPEndpoint) { to.Meta = from.Meta })
}

// UpdateFunction is UpdateSink for a function.
func UpdateFunction(base *resource.Function, body []byte, o BodyOptions) ([]Warning, error) {
	return update(base, body, o, (*decoder).function, (*resource.Function).Validate, func(to, from *resource.Function) { to.Meta = from.Meta })
}

// UpdateChangeRetention is UpdateSink for a change retention.
func UpdateChangeRetention(base *resource.ChangeRetention, body []byte, o BodyOptions) ([]Warning, error) {
	return update(base, body, o, (*decoder).changeRetention, (*resource.ChangeRetention).Validate,
		func(to, from *resource.ChangeRetention) { to.Meta = from.Meta })
}

func update[T any](base *T, body []byte, o BodyOptions, read func(*decoder, string, *node, *T) T, validate func(*T, string) []resource.Mistake, keep func(to, from *T)) ([]Warning, error) {
	d := newDecoder("")
	d.body, d.lenient, d.local = true, o.IgnoreUnknown, o.Local
	root := d.parseJSON(body)
	if root == nil {
		return d.outcome()
	}
	stored := base
	if o.Create {
		stored = nil
	}
	next := read(d, "", root, stored)
	if o.Create {
		keep(&next, base)
	}
	d.add(validate(&next, ""))
	warnings, err := d.outcome()
	if err == nil {
		*base = next
	}
	return warnings, err
}
