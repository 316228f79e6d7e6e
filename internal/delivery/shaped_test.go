package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/delivery"
	"github.com/sequinstream/sequin/internal/shape"
	"github.com/sequinstream/sequin/internal/sink"
)

var errFunction = errors.New("the function failed")

// shaped is what a letter makes of each message: a route, "!" a failure that is tried again, "x" one that is final, "." one that is not wanted.
func shaped(letters string) shape.Shaper {
	encoded := shape.Each(encode, nil)
	return func(ctx context.Context, b *shape.Batch) {
		encoded(ctx, b)
		for i, d := range b.Deliveries {
			switch it := &b.Items[i]; letters[d.Seq-1] {
			case '!':
				it.Err = errFunction
			case 'x':
				it.Err, it.Final = errFunction, true
			case '.':
				it.Skip = true
			case '-':
			default:
				it.Route.Key = letters[d.Seq-1 : d.Seq]
			}
		}
	}
}

// What goes to one place shares a delivery as far as the order in groups allows; what fails holds back its place and its groups, nothing else.
func TestShapedBatches(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		groups, shapes string
		fails          string // routes
		atomicity      sink.Atomicity
		calls          []string
		want           []string
	}{
		"one place":                      {"abc", "AAA", "", sink.Atomic, []string{"A[1 2 3]"}, []string{"1 done", "2 done", "3 done"}},
		"two places":                     {"abcd", "ABAB", "", sink.Atomic, []string{"A[1 3]", "B[2 4]"}, []string{"1 done", "3 done", "2 done", "4 done"}},
		"as configured, and elsewhere":   {"abc", "-A-", "", sink.Atomic, []string{"[1 3]", "A[2]"}, []string{"1 done", "3 done", "2 done"}},
		"the order of a group":           {"aab", "ABA", "", sink.Atomic, []string{"A[1 3]", "B[2]"}, []string{"1 done", "3 done", "2 done"}},
		"a group that comes back":        {"aaab", "ABAA", "", sink.Atomic, []string{"A[1]", "B[2]", "A[3 4]"}, []string{"1 done", "2 done", "3 done", "4 done"}},
		"two groups across":              {"abba", "ABAB", "", sink.Atomic, []string{"A[1]", "B[2 4]", "A[3]"}, []string{"1 done", "2 done", "4 done", "3 done"}},
		"one place fails":                {"abcd", "ABAB", "A", sink.Atomic, []string{"A[1 3]", "B[2 4]"}, []string{"1 retry", "3 retry", "2 done", "4 done"}},
		"a place fails, its groups wait": {"aabc", "ABAB", "A", sink.Atomic, []string{"A[1 3]", "B[4]"}, []string{"1 retry", "3 retry", "2 release", "4 done"}},
		"each alone":                     {"abc", "ABA", "", sink.PerMessage, []string{"A[1 3 2]"}, []string{"1 done", "3 done", "2 done"}},
		"not wanted":                     {"ab", ".-", "", sink.Atomic, []string{"[2]"}, []string{"1 done", "2 done"}},
		"none wanted":                    {"ab", "..", "", sink.Atomic, nil, []string{"1 done", "2 done"}},
		"a failure holds its group":      {"aab", "!--", "", sink.Atomic, []string{"[3]"}, []string{"1 retry", "2 release", "3 done"}},
		"not wanted behind a failure":    {"aab", "!.-", "", sink.Atomic, []string{"[3]"}, []string{"1 retry", "2 release", "3 done"}},
		"what can never be made":         {"aab", "x--", "", sink.Atomic, []string{"[2 3]"}, []string{"1 reject", "2 done", "3 done"}},
		"without a group":                {"---", "!--", "", sink.Atomic, []string{"[2 3]"}, []string{"1 retry", "2 done", "3 done"}},
		"all places fail, all are tried": {"abc", "ABC", "ABC", sink.Atomic, []string{"A[1]", "B[2]", "C[3]"}, []string{"1 retry", "2 retry", "3 retry"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(letters(test.groups)...)
				q.retryWait = time.Hour
				var calls []string
				_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{
					Atomicity: test.atomicity, BatchSize: 10, Workers: 1, Shape: shaped(test.shapes),
					Sink: to(func(_ context.Context, batch []sink.Message) error {
						var seqs []uint64
						for _, m := range batch {
							seqs = append(seqs, seqOf(m))
						}
						key := batch[0].Route.Key
						if len(calls) < len(test.calls) {
							calls = append(calls, fmt.Sprint(key, seqs))
						}
						if key != "" && slices.Contains([]byte(test.fails), key[0]) {
							return errDown
						}
						return nil
					}),
				}})
				synctest.Wait()
				require.NoError(t, stop())
				require.Equal(t, test.calls, calls)
				require.Equal(t, test.want, q.outcomes()[:len(test.want)])
			})
		})
	}
}

// A message whose condition cannot be evaluated is tried again without ever reaching a shaper.
func TestRefusedMessagesAreTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(letters("ab")...)
		q.waiting[0].Refused = errFunction
		q.retryWait = time.Hour
		_, stop := start(t, delivery.Options{Source: q, Settings: delivery.Settings{BatchSize: 10, Workers: 1, Sink: to(func(context.Context, []sink.Message) error { return nil })}})
		synctest.Wait()
		require.NoError(t, stop())
		require.Equal(t, []string{"1 retry", "2 done"}, q.outcomes())
		require.ErrorIs(t, q.results[0].Err, errFunction)
	})
}
