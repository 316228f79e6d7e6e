package sandbox

import "github.com/sequinstream/sequin/internal/transform/language"

// Batch is what a function is run on, and what comes out. It keeps its buffers from one use to the next. The zero value is ready.
type Batch struct {
	in      [][]byte
	results []result
	out     []byte // the JSON of all results
	done    int    // how many messages have a result
}

// result is JSON in out, or an error.
type result struct {
	from, to int
	err      *language.Error
}

// Reset makes the batch empty. The results that it had are no longer valid.
func (b *Batch) Reset() {
	clear(b.in) // they belong to the caller, who wants the memory back
	b.in = b.in[:0]
	b.begin()
}

// keep is how much memory an empty batch holds on to.
const keep = 1 << 20

func (b *Batch) begin() {
	clear(b.results)
	b.results, b.out, b.done = b.results[:0], b.out[:0], 0
	if cap(b.out) > keep {
		b.out = nil
	}
}

// Add adds a message, which must stay as it is until Run has returned.
func (b *Batch) Add(message []byte) { b.in = append(b.in, message) }

// Len is how many messages were added.
func (b *Batch) Len() int { return len(b.in) }

// Result is what the function returned for message i, as JSON, or what went wrong. The JSON is valid until the next Run or Reset.
func (b *Batch) Result(i int) ([]byte, *language.Error) {
	r := b.results[i]
	if r.err != nil {
		return nil, r.err
	}
	return b.out[r.from:r.to:r.to], nil
}

func (b *Batch) fail(err *language.Error) {
	b.results = append(b.results, result{err: err})
	b.done++
}

// room makes a place of n bytes for the result of the next message.
func (b *Batch) room(n int) []byte {
	from := len(b.out)
	if free := cap(b.out) - from; free < n {
		grown := make([]byte, from, max(2*cap(b.out), from+n))
		copy(grown, b.out)
		b.out = grown
	}
	b.out = b.out[:from+n]
	return b.out[from:]
}

// commit makes the place that room gave last the result of the next message.
func (b *Batch) commit(n int) {
	b.results = append(b.results, result{from: len(b.out) - n, to: len(b.out)})
	b.done++
}
