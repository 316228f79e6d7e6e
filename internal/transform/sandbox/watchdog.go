package sandbox

import (
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// tick is how often the watchdog looks while a batch is under way. Without one it sleeps.
const tick = time.Millisecond

// lingering is how many ticks without a batch it stays awake, so that a stream of small batches does not wake it each time.
const lingering = 20

// sight is what the watchdog knows of the call that it saw last.
type sight struct {
	call        uint64
	since       time.Time
	heap        uint64    // when it was first seen
	interrupted time.Time // zero if it was not
	cause       int       // the exit code if interrupting does not help
}

// watch looks after the calls: it interrupts one that takes too long or too much memory, ends the process if that does not help, sends what is
// finished while a call lasts, and makes a batch give way when it has had its time.
func (w *worker) watch() {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	ticker := time.NewTicker(tick)
	ticker.Stop()
	for range w.wake {
		ticker.Reset(tick)
		var last sight
		begun, idle := time.Now(), 0
		for idle < lingering {
			<-ticker.C
			select {
			case <-w.wake: // another batch
				begun, idle = time.Now(), 0
			default:
			}
			metrics.Read(heap)
			if w.look(&last, begun, heap[0].Value.Uint64()) {
				idle = 0
			} else {
				idle++
			}
		}
		ticker.Stop()
	}
}

// look is one tick. It reports whether a batch is under way.
func (w *worker) look(last *sight, begun time.Time, heap uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy {
		return false
	}
	now, limits := time.Now(), &w.settings.Limits
	if now.Sub(begun) > limits.Time {
		w.stopped = true
	}
	if w.running == nil || w.call != last.call {
		*last = sight{call: w.call, since: now, heap: heap}
		return true
	}
	w.flushLocked()
	grown := w.grown(last, heap)
	switch {
	case !last.interrupted.IsZero():
		if now.Sub(last.interrupted) > limits.Grace/2 {
			exit(last.cause) // holding the lock, so that nothing is sent after what was
		}
		if grown > 4*uint64(limits.Memory) { //nolint:gosec // positive
			exit(exitMemory)
		}
	case now.Sub(last.since) > limits.Time:
		w.interrupt(last, now, exitTimeout, language.Errorf(language.KindTimeout, "it took longer than %s", limits.Time))
	case grown > uint64(limits.Memory): //nolint:gosec // positive
		w.interrupt(last, now, exitMemory, language.Errorf(language.KindMemory, "it took more than %d MiB of memory", limits.Memory>>20))
	}
	return true
}

// grown is by how much the heap is larger than when the call was first seen. What looks too much is looked at again without the garbage, unless it
// is so much that there is no time for that.
func (w *worker) grown(last *sight, heap uint64) uint64 {
	limit := uint64(w.settings.Limits.Memory) //nolint:gosec // positive
	if heap <= last.heap+limit {
		return 0
	}
	if heap > last.heap+3*limit {
		return heap - last.heap
	}
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if heap = sample[0].Value.Uint64(); heap <= last.heap {
		return 0
	}
	return heap - last.heap
}

func (w *worker) interrupt(last *sight, now time.Time, code int, cause *language.Error) {
	last.interrupted, last.cause, w.stopped = now, code, true
	w.running.Interrupt(cause)
}
