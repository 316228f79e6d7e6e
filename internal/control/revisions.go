package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/vault"
)

// Revisions lists revisions, the newest first: those before a number, or from the head when it is 0.
func (p *Plane) Revisions(ctx context.Context, accountID string, before uint64, limit int) ([]store.Revision, error) {
	if _, err := p.account(accountID); err != nil {
		return nil, err
	}
	return p.store.Revisions(ctx, accountID, before, limit)
}

// Revision returns one revision and what was declared then.
func (p *Plane) Revision(ctx context.Context, accountID string, number uint64) (store.Revision, *resource.Set, error) {
	a, err := p.account(accountID)
	if err != nil {
		return store.Revision{}, nil, err
	}
	revision, objects, err := p.store.Revision(ctx, accountID, number)
	if errors.Is(err, store.ErrNotFound) {
		return store.Revision{}, nil, problem.New("revision_not_found", "there is no revision %d", number).Because(err).
			WithHint("the last %d are kept; GET /api/revisions lists them", keepRevisions)
	}
	if err != nil {
		return store.Revision{}, nil, err
	}
	v, err := p.decode(store.AccountRecord{ID: accountID, Name: a.now.Load().set.Account.Name}, revision, objects)
	if err != nil {
		return store.Revision{}, nil, err
	}
	return revision, v.set, nil
}

// Compare tells what leads from one revision to another; 0 stands for the current one.
func (p *Plane) Compare(ctx context.Context, accountID string, from, to uint64) ([]Change, error) {
	var sets [2]*resource.Set
	for i, number := range []uint64{from, to} {
		set, current, err := p.Current(accountID)
		if err == nil && number != 0 && number != current {
			_, set, err = p.Revision(ctx, accountID, number)
		}
		if err != nil {
			return nil, err
		}
		sets[i] = set
	}
	return compare(sets[0], sets[1]), nil
}

// Restore declares again what an earlier revision did, as a new revision. Tokens and users stay as they are.
func (p *Plane) Restore(ctx context.Context, accountID string, number uint64, actor Actor) (Result, error) {
	_, then, err := p.Revision(ctx, accountID, number)
	if err != nil {
		return Result{}, err
	}
	return p.Apply(ctx, accountID, Edit{
		Actor: actor, What: fmt.Sprintf("restore revision %d", number),
		Change: func(set *resource.Set) error {
			account := set.Account
			*set = *then.Clone()
			set.Account = account
			return nil
		},
	})
}

// reseal seals everything that is stored with the current key.
func (p *Plane) reseal(ctx context.Context) error {
	for _, account := range p.Accounts() {
		err := p.store.Reseal(ctx, account.ID, func(kind, id string, data []byte) ([]byte, error) {
			key := objectKey{kind, id}
			plain, err := p.vault.Unseal(data, key.context())
			if err != nil {
				return nil, err
			}
			return p.vault.Seal(plain, key.context()), nil
		})
		if err != nil {
			return fmt.Errorf("seal what account %q declares with the new key: %w", account.Name, err)
		}
	}
	return nil
}

// holdAll keeps the accounts from being changed until the returned function is called. The locks are taken in the order of ids, so that two who
// do this do not wait for each other.
func holdAll(accounts []*account) (release func()) {
	slices.SortFunc(accounts, func(a, b *account) int { return strings.Compare(a.id, b.id) })
	for _, a := range accounts {
		a.changing.Lock()
	}
	return func() {
		for _, a := range accounts {
			a.changing.Unlock()
		}
	}
}

// RotateKey makes a new key, seals everything with it, and forgets the older ones. With a key of the operator's own it only seals again: the new
// one was given as the key, the old ones beside it.
func (p *Plane) RotateKey(ctx context.Context, actor Actor) (string, error) {
	p.mu.RLock()
	accounts := make([]*account, 0, len(p.accounts))
	for _, a := range p.accounts {
		accounts = append(accounts, a)
	}
	p.mu.RUnlock()
	defer holdAll(accounts)() // nothing is sealed with the old key meanwhile
	if _, err := p.vault.Rotate(); err != nil && problem.Code(err) != vault.CodeKeySupplied {
		return "", err
	}
	if err := p.reseal(ctx); err != nil {
		return "", err
	}
	if err := p.vault.Retire(); err != nil {
		return "", err
	}
	for _, a := range accounts {
		p.Audit(ctx, a.id, Entry{Actor: actor, Action: "rotate", ResourceType: "vault_key", Resource: string(p.vault.Current())})
	}
	return string(p.vault.Current()), nil
}
