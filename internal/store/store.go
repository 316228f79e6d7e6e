// Package store keeps on an engine's state store what is declared and who may act: accounts, the revisions of what each account declares,
// tokens, users, the audit log and the id that each name was given. It knows nothing of what a resource is: an object is a name, an id and
// sealed bytes.
//
// A change of what an account declares is a revision. Commit writes the objects that changed, then the list of all objects, both under a name
// that nobody has used before, and last moves the head by one compare-and-set. So a crash leaves the old head or the new one, whole; of two
// commits on the same base one wins and the other gets ErrConflict; and what a failed commit left behind is never read, only removed. KEYS.md
// beside the code tells the layout.
//
// A call that returned an error may have taken effect, as the engine says of its writes; reading tells. A Store is safe for concurrent use.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sequinstream/sequin/internal/engine"
)

// Errors that callers decide on.
var (
	// ErrNotFound reports an account or revision that is not there, or not any more.
	ErrNotFound = errors.New("not found")
	// ErrExists reports a name or e-mail address that is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict reports a commit whose base is not the head any more.
	ErrConflict = errors.New("the head has moved")
)

// Store reads and writes the records.
type Store struct {
	state engine.State

	mu     sync.Mutex
	audits map[string]*auditLog // by account
}

// New makes a store on state.
func New(state engine.State) *Store { return &Store{state: state, audits: map[string]*auditLog{}} }

// The first parts of the keys. Those of other packages are "consumer/" and "database/".
const (
	accountsPrefix = "accounts/" // a history: the accounts
	usersPrefix    = "users/"    // a history: the users
	accountPrefix  = "account/"  // then an account's id: a history of what it declares, and its audit log
	tokenPrefix    = "token/"
	deletingPrefix = "deleting/" // accounts whose deletion has begun
	setupKey       = "setup"
)

// history is where an account's revisions are.
func (s *Store) history(account string) (history, error) {
	if err := checkPart("account", account); err != nil {
		return history{}, err
	}
	return history{state: s.state, prefix: accountPrefix + account + "/"}, nil
}

func (s *Store) accounts() history { return history{state: s.state, prefix: accountsPrefix} }
func (s *Store) users() history    { return history{state: s.state, prefix: usersPrefix} }

// checkPart refuses what cannot be one part of a key.
func checkPart(what, part string) error {
	if part == "" || strings.Contains(part, "/") {
		return fmt.Errorf("%s %q cannot be part of a key", what, part)
	}
	return nil
}

// portionBytes bounds what is given to the engine in one call: writes of others get their turn in between.
const portionBytes = 256 << 10

// apply writes ops in order, in portions.
func apply(ctx context.Context, state engine.State, ops []engine.Op) error {
	for len(ops) > 0 {
		n, size := 0, 0
		for n < len(ops) && (n == 0 || size+len(ops[n].Value) <= portionBytes) {
			size += len(ops[n].Key) + len(ops[n].Value)
			n++
		}
		if err := state.Apply(ctx, ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// decodeJSON reads a record that we wrote.
func decodeJSON(entry engine.Entry, into any) error {
	if err := json.Unmarshal(entry.Value, into); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, entry.Key, err)
	}
	return nil
}
