package consumer

// SetBounds narrows the bounds of the window, before Run.
func (c *Consumer) SetBounds(ready, pages, backlog int, distance uint64) {
	c.limits = bounds{ready: ready, pages: pages, backlog: backlog, distance: distance, burials: c.limits.burials}
}
