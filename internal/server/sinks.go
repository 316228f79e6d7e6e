package server

import "github.com/sequinstream/sequin/internal/api"

// SinkByName finds a running sink of any type by name.
func (f streams) SinkByName(_, name string) (api.Sink, bool) {
	return f.consumer(func(_, named string) bool { return named == name })
}

// SinkByID finds a running sink of any type by id.
func (f streams) SinkByID(_, id string) (api.Sink, bool) {
	return f.consumer(func(identified, _ string) bool { return identified == id })
}

func (f streams) consumer(match func(id, name string) bool) (api.Sink, bool) {
	for _, d := range f.s.databases() {
		if r := d.running(match); r != nil {
			c, _ := r.now()
			return c, true
		}
	}
	return nil, false
}

// running finds a sink of this database that runs.
func (d *database) running(match func(id, name string) bool) *sinkRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == nil {
		return nil
	}
	for _, r := range d.live.sinks {
		if match(r.id, r.name) {
			return r
		}
	}
	return nil
}
