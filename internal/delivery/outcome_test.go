package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

var errDown = errors.New("down")

func failed(of map[int]error) error { return &sink.BatchError{Failed: of} }

// One batch, one answer: what becomes of each message.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	away := &sink.UnavailableError{Cause: errDown, After: time.Hour}
	for name, test := range map[string]struct {
		groups    string
		atomicity sink.Atomicity
		err       error
		want      []string
	}{
		"all accepted":                    {"abc", sink.PerMessage, nil, []string{"1 done", "2 done", "3 done"}},
		"each: one fails":                 {"abc", sink.PerMessage, failed(map[int]error{1: errDown}), []string{"1 done", "2 retry", "3 done"}},
		"each: one is refused":            {"abc", sink.PerMessage, failed(map[int]error{2: sink.Reject(errDown)}), []string{"1 done", "2 done", "3 reject"}},
		"each: all refused":               {"abc", sink.PerMessage, sink.Reject(errDown), []string{"1 reject", "2 reject", "3 reject"}},
		"each: one not tried":             {"ab", sink.PerMessage, failed(map[int]error{1: away}), []string{"1 done", "2 release"}},
		"each: broken index":              {"ab", sink.PerMessage, failed(map[int]error{2: errDown}), []string{"1 retry", "2 retry"}},
		"each: nothing named":             {"ab", sink.PerMessage, failed(nil), []string{"1 retry", "2 retry"}},
		"each: named without an error":    {"ab", sink.PerMessage, failed(map[int]error{0: nil}), []string{"1 retry", "2 done"}},
		"all: failed":                     {"abc", sink.Atomic, errDown, []string{"1 retry", "2 retry", "3 retry"}},
		"all: failed, groups":             {"abaab", sink.Atomic, errDown, []string{"1 retry", "2 retry", "3 release", "4 release", "5 release"}},
		"all: failed, ungrouped":          {"---", sink.Atomic, errDown, []string{"1 retry", "2 retry", "3 retry"}},
		"all: one named":                  {"ab", sink.Atomic, failed(map[int]error{1: errDown}), []string{"1 retry", "2 retry"}},
		"all: several refused together":   {"aab", sink.Atomic, sink.Reject(errDown), []string{"1 retry", "2 release", "3 retry"}},
		"all: one refused alone":          {"a", sink.Atomic, sink.Reject(errDown), []string{"1 reject"}},
		"all: not tried":                  {"aab", sink.Atomic, away, []string{"1 release", "2 release", "3 release"}},
		"prefix: fails in the middle":     {"abcab", sink.Prefix, failed(map[int]error{2: errDown}), []string{"1 done", "2 done", "3 retry", "4 release", "5 release"}},
		"prefix: several named":           {"abc", sink.Prefix, failed(map[int]error{2: errDown, 1: errDown}), []string{"1 done", "2 retry", "3 release"}},
		"prefix: refused in the middle":   {"abc", sink.Prefix, failed(map[int]error{1: sink.Reject(errDown)}), []string{"1 done", "2 reject", "3 release"}},
		"prefix: nothing accepted":        {"aab", sink.Prefix, errDown, []string{"1 retry", "2 release", "3 retry"}},
		"the error of a cancelled sink":   {"a", sink.Atomic, context.Canceled, []string{"1 retry"}},
		"the timeout of one request only": {"a", sink.Atomic, context.DeadlineExceeded, []string{"1 retry"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(letters(test.groups)...)
				q.retryWait = time.Hour
				calls := 0
				_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
					Atomicity: test.atomicity, BatchSize: 10, Workers: 1,
					Sink: to(func(context.Context, []sink.Message) error {
						calls++
						if calls > 1 {
							return away
						}
						return test.err
					}),
				}})
				synctest.Wait()
				require.NoError(t, stop())
				require.Equal(t, test.want, q.outcomes()[:len(test.want)])
			})
		})
	}
}

func TestDestinationsWishIsPassedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("a")...)
		var at []time.Time
		_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Sink: to(func(context.Context, []sink.Message) error {
			if at = append(at, time.Now()); len(at) == 1 {
				return sink.RetryAfter(errDown, 42*time.Second)
			}
			return nil
		})}})
		pass(time.Minute)
		require.NoError(t, stop())
		require.Equal(t, 42*time.Second, q.results[0].After)
		require.ErrorIs(t, q.results[0].Err, errDown)
		require.Equal(t, 42*time.Second, at[1].Sub(at[0]))
	})
}

func TestMessagesThatCannotBeBuiltAreRejected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("aaaa")...)
		var log bytes.Buffer
		var delivered []uint64
		_, stop := start(t, delivery.Options{Source: q, Logger: slog.New(slog.NewTextHandler(&log, nil)), Settings: delivery.Settings{
			Atomicity: sink.Atomic, BatchSize: 10,
			Shape: shape.Each(func(dst []byte, d *consumer.Delivery) ([]byte, error) {
				switch d.Seq {
				case 2:
					return append(dst, "half of it"...), errDown
				case 3:
					panic("a bug")
				}
				return encode(dst, d)
			}, slog.New(slog.NewTextHandler(&log, nil))),
			Sink: to(func(_ context.Context, batch []sink.Message) error {
				for _, m := range batch {
					delivered = append(delivered, seqOf(m))
				}
				return nil
			}),
		}})
		synctest.Wait()
		require.NoError(t, stop())
		require.Equal(t, []uint64{1, 4}, delivered)
		require.Len(t, q.dead, 2)
		require.ErrorIs(t, q.dead[0].Err, errDown)
		require.ErrorContains(t, q.dead[1].Err, "a bug")
		require.Nil(t, q.dead[0].Payload)
		require.Contains(t, log.String(), "outcome_test.go") // the stack is in the log
	})
}

func TestRejectedMessagesKeepTheirBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("abcdefgh")...)
		_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
			BatchSize: 2, Workers: 1,
			Sink: to(func(context.Context, []sink.Message) error {
				return failed(map[int]error{1: sink.Reject(errDown)})
			}),
		}})
		synctest.Wait()
		require.NoError(t, stop())
		require.Len(t, q.dead, 4)
		for i, r := range q.dead {
			require.Equal(t, uint64(2*i+2), r.Delivery.Seq)
			require.JSONEq(t, string(mustEncode(t, r.Delivery)), string(r.Payload), "not overwritten by later batches")
		}
	})
}

func mustEncode(t *testing.T, d *consumer.Delivery) []byte {
	t.Helper()
	body, err := encode(nil, d)
	require.NoError(t, err)
	return body
}

func TestPanicOfASinkIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("ab")...)
		q.retryWait = time.Second
		calls := 0
		_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{Workers: 1, Sink: to(func(context.Context, []sink.Message) error {
			calls++
			if calls == 1 {
				panic("index out of range")
			}
			return nil
		})}})
		pass(time.Minute)
		require.NoError(t, stop())
		require.Equal(t, []string{"1 retry", "2 done", "1 done"}, q.outcomes())
		require.ErrorContains(t, q.results[0].Err, "index out of range")
	})
}

// A message that spoils its batch is soon alone, and the others are delivered.
func TestOneBadMessageDoesNotSpoilItsBatchForLong(t *testing.T) {
	t.Parallel()
	for _, atomicity := range []sink.Atomicity{sink.Atomic, sink.Prefix} {
		synctest.Test(t, func(t *testing.T) {
			all := letters(string(bytes.Repeat([]byte{'-'}, 1000)))
			q := newQueue(all...)
			q.retryWait = time.Second
			_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
				Atomicity: atomicity, BatchSize: 100, Workers: 4,
				Sink: to(func(_ context.Context, batch []sink.Message) error {
					for _, m := range batch {
						if s := seqOf(m); s == 77 || s == 500 {
							return sink.Reject(errDown)
						}
					}
					return nil
				}),
			}})
			pass(time.Minute)
			require.NoError(t, stop())
			require.Len(t, q.done, 998)
			require.Len(t, q.dead, 2)
			for _, d := range all {
				require.LessOrEqual(t, d.Attempt, 3)
			}
		})
	}
}
