package replication

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// feedback sends standby status updates. It reads what is safe from Options.Confirmed at the moment of sending and never waits for the
// reader, the log or a consumer.
type feedback struct {
	wire *wire
	opts Options
	ask  chan struct{}
	last cdc.LSN
	buf  []byte
	// waits is since when the reader waits for input, in Unix nanoseconds; 0 while it does not.
	waits atomic.Int64
}

func newFeedback(w *wire, opts Options) *feedback {
	return &feedback{wire: w, opts: opts, ask: make(chan struct{}, 1)}
}

// request asks for a status update at once; it never blocks.
func (f *feedback) request() {
	select {
	case f.ask <- struct{}{}:
	default:
	}
}

// run sends an update at the start, at least every StatusInterval, at once when the server asked, and soon after Confirmed moved.
func (f *feedback) run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	var sent time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-f.ask:
		case <-f.opts.Advanced:
			if wait := statusGap - time.Since(sent); wait > 0 {
				tick.Reset(wait)
				continue
			}
			if f.opts.Confirmed() == f.last {
				continue
			}
		}
		if err := f.send(); err != nil {
			f.wire.interrupt()
			return fmt.Errorf("send standby status: %w", err)
		}
		sent = time.Now()
		tick.Reset(f.opts.StatusInterval)
	}
}

// send reports the confirmed LSN as written, flushed and applied: we have no other kind of safe.
func (f *feedback) send() error {
	lsn := f.opts.Confirmed()
	f.buf = appendStatus(f.buf[:0], lsn, time.Now(), f.silent())
	if err := f.wire.write(f.buf); err != nil {
		return err
	}
	f.last = lsn
	return nil
}

// silent reports whether the server has not said anything for so long that it should show a sign of life. An idle one need not speak by itself:
// it asks for our status only when it does not get one, and it always gets one.
func (f *feedback) silent() bool {
	since := f.waits.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= f.opts.StatusInterval
}

// farewell sends the last confirmed LSN and the end of the copy, so that the next start need not repeat what is safe. An error
// matters to nobody: the connection is about to close, and the LSN is a matter of economy, not of safety.
func (f *feedback) farewell() error {
	if err := f.send(); err != nil {
		return err
	}
	return f.wire.write([]byte{'c', 0, 0, 0, 4})
}

// appendStatus appends a CopyData message with a standby status update: 'r', written, flushed, applied, client time, whether to reply.
func appendStatus(dst []byte, lsn cdc.LSN, now time.Time, reply bool) []byte {
	dst = append(dst, 'd', 0, 0, 0, 4+34, 'r')
	for range 3 {
		dst = append64(dst, uint64(lsn))
	}
	dst = append64(dst, uint64(now.UnixMicro()-postgresEpochMicros)) //nolint:gosec // an Int64 on the wire; the bits are meant
	if reply {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// postgresEpochMicros is 2000-01-01 in microseconds since the Unix epoch.
const postgresEpochMicros = 946684800 * 1_000_000

func append64(dst []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(dst, v)
}
