package enrich

import (
	"sync"
	"time"
)

// maxCached bounds what a cache holds, in bytes of keys and objects.
const maxCached = 16 << 20

// cache keeps answers for a while; nil keeps none. When it is full it begins anew.
type cache struct {
	ttl time.Duration

	mu      sync.Mutex
	answers map[string]answer
	bytes   int
}

type answer struct {
	object []byte
	until  time.Time
}

func newCache(ttl time.Duration) *cache {
	if ttl <= 0 {
		return nil
	}
	return &cache{ttl: ttl, answers: map[string]answer{}}
}

func (c *cache) get(key string, now time.Time) (object []byte, ok bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[key]
	return a.object, ok && now.Before(a.until)
}

func (c *cache) put(key string, object []byte, now time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(key) + len(object)
	if c.bytes += size; c.bytes > maxCached {
		clear(c.answers)
		c.bytes = size
	}
	c.answers[key] = answer{object, now.Add(c.ttl)}
}
