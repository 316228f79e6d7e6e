package auth

import "sync"

// MostWaiting is how many checks may wait.
const MostWaiting = mostWaiting

// Occupy takes every slot until the function that it returns is called.
func (p *Passwords) Occupy() (release func()) {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	return sync.OnceFunc(func() {
		for range cap(p.slots) {
			<-p.slots
		}
	})
}

// Waiting is how many checks wait.
func (p *Passwords) Waiting() int64 { return p.waiting.Load() }
