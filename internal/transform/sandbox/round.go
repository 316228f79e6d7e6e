package sandbox

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// Check compiles a function in a worker. What is wrong with the function is a *language.Error.
func (p *Pool) Check(ctx context.Context, f *Function) error {
	r := round{pool: p, function: f}
	for !r.loaded {
		failed, err := p.withWorker(ctx, f, func(w *process) (*language.Error, error) { return r.load(ctx, w) })
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// Run runs a function on the messages of a batch, in order. What goes wrong in the function is a result like any other; the error is for trouble
// that is not the function's, and leaves the batch without a meaning.
func (p *Pool) Run(ctx context.Context, f *Function, b *Batch) error {
	b.begin()
	r := round{pool: p, function: f, batch: b}
	for b.done < len(b.in) {
		failed, err := p.withWorker(ctx, f, func(w *process) (*language.Error, error) { return r.run(ctx, w) })
		if err != nil {
			return err
		}
		for failed != nil && b.done < len(b.in) { // it cannot be compiled: that is every message's error
			b.fail(failed)
		}
	}
	return nil
}

// round is the way of one function and one batch through as many workers as it takes.
//
// Results come in groups, so when a worker ends without having said why, it is not known how far it had got. Then the messages without a result
// run in a fresh worker that tells before each call that it begins: who dies now is the one that has begun. That also keeps a message from
// being blamed for a worker that was killed from outside, unless it happens to the same one twice.
type round struct {
	pool     *Pool
	function *Function
	batch    *Batch

	loaded  bool
	careful bool
	began   bool // careful: a call has begun and has no result
	deaths  int  // that nothing was blamed for
}

// maxDeaths is how often a worker may end for no reason, one after the other, before that is an error.
const maxDeaths = 5

// A part of a batch is what is sent at once.
const (
	maxPart      = 256
	maxPartBytes = 1 << 20
)

// run works off as much of the batch as is one worker's turn. The *language.Error is for a function that cannot be compiled.
func (r *round) run(ctx context.Context, w *process) (*language.Error, error) {
	for turn := time.Now(); r.batch.done < len(r.batch.in); {
		if failed, err := r.load(ctx, w); failed != nil || err != nil || w.dead {
			return failed, err
		}
		l := &r.pool.options.Limits
		goOn := false
		err := w.exchange(ctx, l.Time+l.Grace, func() (err error) {
			goOn, err = r.part(w)
			return err
		})
		if err != nil {
			return nil, r.died(ctx, w, err)
		}
		if !goOn || time.Since(turn) > l.Time {
			return nil, nil // the rest waits for another turn
		}
	}
	return nil, nil
}

// load makes sure that the worker has the function.
func (r *round) load(ctx context.Context, w *process) (*language.Error, error) {
	f := r.function
	if _, known := w.known[f.hash]; known {
		r.loaded = true
		return nil, nil
	}
	var failed *language.Error
	err := w.exchange(ctx, r.pool.options.Limits.Compile, func() (err error) {
		failed, err = w.compile(f)
		return err
	})
	if err == nil {
		if failed == nil {
			w.known[f.hash] = struct{}{}
		}
		r.loaded = failed == nil
		return failed, nil
	}
	if err := r.buried(ctx, w, err); err != nil {
		return nil, err
	}
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if r.deaths++; r.deaths < 2 && !late {
		return nil, nil
	}
	failed = w.cause(late, r.pool.options.Limits.Compile)
	failed = language.Errorf(failed.Kind, "while it was being compiled: %s", failed.Message)
	r.pool.condemn(f.hash, failed)
	return failed, nil
}

// part sends as many messages as go at once, and takes the results. It tells whether this worker can go on.
func (r *round) part(w *process) (goOn bool, err error) {
	b := r.batch
	end, size := b.done, 0
	for end < len(b.in) && end-b.done < maxPart && (size == 0 || size+len(b.in[end]) <= maxPartBytes) {
		size += len(b.in[end])
		end++
	}
	r.began = false
	if err := w.sendBatch(r.function.hash, r.careful, b.in[b.done:end]); err != nil {
		return false, err
	}
	for b.done < end {
		kind, n, err := w.head()
		if err != nil {
			return false, err
		}
		switch kind {
		case frameResult:
			if n > r.pool.options.Limits.Output {
				return false, errFrame
			}
			if err := w.full(b.room(n)); err != nil {
				return false, err
			}
			b.commit(n)
			r.began, r.deaths = false, 0
		case frameFailed:
			failed, err := w.failure(n)
			if err != nil {
				return false, err
			}
			b.fail(failed)
			r.began, r.deaths = false, 0
		case frameBegin:
			r.began = true
		case frameYield:
			return false, nil
		case frameUnknown:
			delete(w.known, r.function.hash)
			return true, nil
		default:
			return false, errFrame
		}
	}
	return true, nil
}

// died sorts out what it means that a worker ended, or was ended, before it had answered.
func (r *round) died(ctx context.Context, w *process, reason error) error {
	if err := r.buried(ctx, w, reason); err != nil {
		return err
	}
	late := errors.Is(reason, os.ErrDeadlineExceeded)
	switch {
	case r.began || w.confessed(): // the watchdog sends what there is before it ends the process
		r.batch.fail(w.cause(late, r.pool.options.Limits.Time))
		r.deaths = 0
	case r.careful:
		if r.deaths++; r.deaths >= maxDeaths {
			return problem.New(CodeUnavailable, "function workers end before they have begun").WithDetail("%s", w.cause(late, 0).Message).WithHint(hintUnavailable)
		}
	}
	r.careful = true
	return nil
}

// buried ends a worker whose exchange failed, and returns an error if that was nobody's fault.
func (r *round) buried(ctx context.Context, w *process, reason error) error {
	w.bury()
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-r.pool.closing:
		return ErrClosed
	default:
	}
	if errors.Is(reason, errFrame) {
		r.pool.options.Logger.Error("a function worker does not keep to the protocol", "function", r.function.Name(), "error", reason)
	}
	return nil
}
