package circuit

import "sync"

// Group hands out one breaker per destination to all who send there. The zero value is ready; it is safe for concurrent use.
type Group struct {
	mu       sync.Mutex
	breakers map[string]*member
}

type member struct {
	breaker *Breaker
	users   int
}

// Join returns the destination's breaker and a function to call, once, when the caller no longer sends there. The first to join decides
// the options. A nil group makes a breaker of the caller's own.
func (g *Group) Join(destination string, o Options) (*Breaker, func()) {
	if g == nil {
		return New(o), func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.breakers[destination]
	if m == nil {
		if g.breakers == nil {
			g.breakers = make(map[string]*member)
		}
		m = &member{breaker: New(o)}
		g.breakers[destination] = m
	}
	m.users++
	return m.breaker, sync.OnceFunc(func() { g.leave(destination, m) })
}

func (g *Group) leave(destination string, m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.users--
	if m.users == 0 {
		delete(g.breakers, destination)
	}
}

// Status reports every destination's state, by its name.
func (g *Group) Status() map[string]Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[string]Status, len(g.breakers))
	for name, m := range g.breakers {
		all[name] = m.breaker.Status()
	}
	return all
}
