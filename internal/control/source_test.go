package control_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// unreachable is a source whose first looks fail.
type unreachable struct {
	control.Source
	errs  []error
	looks int
}

func (u *unreachable) Check(context.Context, *resource.Database) error {
	u.looks++
	if len(u.errs) == 0 {
		return nil
	}
	err := u.errs[0]
	u.errs = u.errs[1:]
	return err
}

// lookError is what a look at a source says.
type lookError struct{ passes bool }

func (e lookError) Error() string   { return "it cannot be reached" }
func (e lookError) Temporary() bool { return e.passes }

// Whether a new database is waited for is said by the error that knows, however it is wrapped.
func TestNewDatabaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		err   error
		looks int
	}{
		{"it may pass", lookError{true}, 2},
		{"wrapped", fmt.Errorf("look at the server: %w", lookError{true}), 2},
		{"wrapped twice, beside another", fmt.Errorf("check: %w", errors.Join(errors.New("first"), fmt.Errorf("second: %w", lookError{true}))), 2},
		{"it will not pass", lookError{false}, 1},
		{"it will not pass, wrapped", fmt.Errorf("look at the server: %w", lookError{false}), 1},
		{"nobody knows", errors.New("something else"), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.boot("account: {name: acme}\n")
			source := &unreachable{errs: []error{tt.err}}
			plane, err := control.Open(t.Context(), control.Deps{Store: store.New(r.engine.State()), Vault: r.keys, Tokens: r.tokens, Source: source})
			require.NoError(t, err)
			_, err = plane.Apply(t.Context(), r.acme().ID, control.Edit{
				Actor: someone, What: "create database shop", CheckSource: true, Await: true,
				Change: func(set *resource.Set) error {
					db := resource.NewDatabase()
					db.Name, db.Hostname, db.Database = "shop", "localhost", "shop"
					db.Slot.Name, db.Publication.Name = "s", "p"
					db.AwaitDatabase = resource.Await{Timeout: 5 * time.Second, Interval: 10 * time.Millisecond}
					set.Databases = append(set.Databases, db)
					return nil
				},
			})
			if tt.looks == 1 {
				require.ErrorIs(t, err, tt.err)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, tt.looks, source.looks)
		})
	}
}
