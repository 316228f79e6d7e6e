package main

import (
	"context"
	"fmt"
)

// filled is a Sequin whose log holds a backlog that no sink has seen. Sinks come and go by reload.
type filled struct {
	*sequin
	b       *bench
	config  config
	changes int
}

// fill writes a backlog and lets Sequin capture it.
func (b *bench) fill(ctx context.Context, changes int) (*filled, error) {
	w := workloads()[1]
	end, err := b.backlog(ctx, w, changes)
	if err != nil {
		return nil, err
	}
	slot, err := b.copySlot(ctx)
	if err != nil {
		return nil, err
	}
	f := &filled{b: b, config: config{slot: slot, publication: publication}, changes: changes}
	if f.sequin, err = b.serve(ctx, f.config); err != nil {
		return nil, err
	}
	if _, err := b.drained(ctx, slot, end, f.child); err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

// with replaces all sinks.
func (f *filled) with(endpoint string, sinks ...string) error {
	c := f.config
	if endpoint != "" {
		c.endpoints = []string{fmt.Sprintf("{name: hook, url: %s}", endpoint)}
	}
	c.sinks = sinks
	return f.reload(f.b.yaml(c))
}

// end removes it all.
func (f *filled) end(ctx context.Context) error {
	f.remove()
	if err := f.b.dropSlot(ctx, f.config.slot); err != nil {
		return err
	}
	return f.b.clear(ctx)
}
