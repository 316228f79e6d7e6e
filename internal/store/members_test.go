package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/store"
)

func accountNames(t *testing.T, s *store.Store) []string {
	t.Helper()
	all, err := s.Accounts(t.Context())
	require.NoError(t, err)
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	return names
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	require.Empty(t, accountNames(t, s))
	acme, err := s.CreateAccount(t.Context(), "acme")
	require.NoError(t, err)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, acme.ID)
	require.WithinDuration(t, time.Now(), acme.InsertedAt, time.Minute)
	_, err = s.CreateAccount(t.Context(), "acme")
	require.ErrorIs(t, err, store.ErrExists)
	able, err := s.CreateAccount(t.Context(), "able")
	require.NoError(t, err)
	require.Equal(t, []string{"able", "acme"}, accountNames(t, s))

	require.ErrorIs(t, s.RenameAccount(t.Context(), acme.ID, "able"), store.ErrExists)
	require.ErrorIs(t, s.RenameAccount(t.Context(), "nobody", "x"), store.ErrNotFound)
	require.NoError(t, s.RenameAccount(t.Context(), acme.ID, "acme"), "to its own name")
	require.NoError(t, s.RenameAccount(t.Context(), acme.ID, "aaa"))
	all, err := store.New(state).Accounts(t.Context())
	require.NoError(t, err)
	acme.Name = "aaa"
	require.Equal(t, []store.AccountRecord{acme, able}, all)
	_, err = s.CreateAccount(t.Context(), "acme")
	require.NoError(t, err, "the name is free again")
	garbage, err := s.MemberGarbage(t.Context())
	require.NoError(t, err)
	require.Empty(t, garbage)
}

// One of those who want a name gets it, and nobody's account is lost.
func TestAccountsAreCreatedAtOnce(t *testing.T) {
	t.Parallel()
	state := start(t)
	const each = 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := map[string]int{}
	for range each {
		wg.Go(func() {
			s := store.New(state)
			for n := range each {
				name := fmt.Sprint("account ", n)
				_, err := s.CreateAccount(t.Context(), name)
				if err != nil && !errors.Is(err, store.ErrExists) {
					t.Errorf("%s: %v", name, err)
				}
				if err == nil {
					mu.Lock()
					created[name]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[string]int{"account 0": 1, "account 1": 1, "account 2": 1, "account 3": 1}, created)
	require.Len(t, accountNames(t, store.New(state)), each)
}

func TestUsers(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	users := func() []store.UserRecord {
		t.Helper()
		all, err := store.New(state).Users(t.Context())
		require.NoError(t, err)
		return all
	}
	require.Empty(t, users())
	ann := store.UserRecord{
		ID: "1", Email: "Ann@Acme.test", PasswordHash: "$argon2id$x", InsertedAt: day,
		Memberships: []store.Membership{{Account: "a", Role: "owner"}, {Account: "b", Role: "viewer"}},
	}
	bob := store.UserRecord{ID: "2", Email: "bob@acme.test", PasswordHash: "$argon2id$y", InsertedAt: day}
	require.NoError(t, s.PutUser(t.Context(), bob))
	require.NoError(t, s.PutUser(t.Context(), ann))
	require.Equal(t, []store.UserRecord{ann, bob}, users(), "by address, without case")

	other := store.UserRecord{ID: "3", Email: "aNN@acme.TEST"}
	require.ErrorIs(t, s.PutUser(t.Context(), other), store.ErrExists)
	bob.Email = "ann@acme.test"
	require.ErrorIs(t, s.PutUser(t.Context(), bob), store.ErrExists)
	ann.Email, ann.PasswordHash, ann.Memberships = "ann@acme.test", "$argon2id$z", ann.Memberships[:1]
	require.NoError(t, s.PutUser(t.Context(), ann), "it is their own")
	bob.Email = "bob@acme.test"
	require.Equal(t, []store.UserRecord{ann, bob}, users())

	require.NoError(t, s.PutToken(t.Context(), store.TokenRecord{ID: "session", Account: "a", Origin: "session", User: "1"}))
	require.NoError(t, s.PutToken(t.Context(), store.TokenRecord{ID: "other", Account: "a", Origin: "session", User: "2"}))
	require.NoError(t, s.PutToken(t.Context(), store.TokenRecord{ID: "api", Account: "a", Origin: "api"}))
	require.NoError(t, s.DeleteUser(t.Context(), "1"))
	require.NoError(t, s.DeleteUser(t.Context(), "1"), "it is gone already")
	require.Equal(t, []store.UserRecord{bob}, users())
	require.Equal(t, []string{"api", "other"}, tokenIDs(t, s), "with their sessions")
	require.NoError(t, s.PutUser(t.Context(), other), "the address is free again")
	garbage, err := s.MemberGarbage(t.Context())
	require.NoError(t, err)
	require.Empty(t, garbage, "no password hash of the past is kept")
}

// A user who is gone has no session, wherever a crash comes.
func TestSessionsGoBeforeTheirUser(t *testing.T) {
	t.Parallel()
	done := false
	for cut := 0; !done; cut++ {
		state := memory(t)
		s := store.New(state)
		require.NoError(t, s.PutUser(t.Context(), store.UserRecord{ID: "1", Email: "ann@acme.test"}))
		require.NoError(t, s.PutToken(t.Context(), store.TokenRecord{ID: "session", Account: "a", User: "1"}))
		done = !stopped(t, store.New(&crashing{State: state, left: cut}).DeleteUser(t.Context(), "1"))
		users, err := s.Users(t.Context())
		require.NoError(t, err)
		require.True(t, len(users) == 1 || len(tokenIDs(t, s)) == 0)
	}
}

func tokenIDs(t *testing.T, s *store.Store) []string {
	t.Helper()
	all, err := s.Tokens(t.Context())
	require.NoError(t, err)
	var ids []string
	for _, token := range all {
		ids = append(ids, token.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestTokens(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	young := store.TokenRecord{
		ID: "a", Account: "acme", Name: "ci", Hash: [32]byte{1, 2, 31: 3}, Scopes: []string{"read", "consume:orders"}, Origin: "api",
		InsertedAt: day, ExpiresAt: day.Add(time.Hour),
	}
	old := store.TokenRecord{ID: "b", Account: "other", Origin: "session", User: "u", InsertedAt: day.Add(-time.Hour)}
	for _, token := range []store.TokenRecord{young, old} {
		require.NoError(t, s.PutToken(t.Context(), token))
	}
	all, err := store.New(state).Tokens(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.TokenRecord{old, young}, all, "the oldest first")
	require.True(t, all[0].ExpiresAt.IsZero())

	young.Hash = [32]byte{9}
	require.NoError(t, s.PutToken(t.Context(), young))
	require.NoError(t, s.DeleteToken(t.Context(), "b"))
	require.NoError(t, s.DeleteToken(t.Context(), "b"))
	all, err = s.Tokens(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.TokenRecord{young}, all)

	require.Error(t, s.PutToken(t.Context(), store.TokenRecord{Account: "acme"}))
	require.Error(t, s.PutToken(t.Context(), store.TokenRecord{ID: "a/b", Account: "acme"}))
	require.Error(t, s.PutToken(t.Context(), store.TokenRecord{ID: "c"}))
	require.NoError(t, state.Apply(t.Context(), engine.Put("token/x", []byte(`{"sha256":"AAAA"}`))))
	_, err = s.Tokens(t.Context())
	require.ErrorIs(t, err, engine.ErrCorrupt, "half a hash would let others in")
}

func TestSetupLink(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	_, there, err := s.SetupHash(t.Context())
	require.NoError(t, err)
	require.False(t, there)
	require.NoError(t, s.DeleteSetupHash(t.Context()))
	for _, hash := range [][32]byte{{1}, {31: 2}} {
		require.NoError(t, s.PutSetupHash(t.Context(), hash))
		got, there, err := store.New(state).SetupHash(t.Context())
		require.NoError(t, err)
		require.True(t, there)
		require.Equal(t, hash, got)
	}
	require.NoError(t, s.DeleteSetupHash(t.Context()))
	_, there, err = s.SetupHash(t.Context())
	require.NoError(t, err)
	require.False(t, there)
	require.NoError(t, state.Apply(t.Context(), engine.Put("setup", []byte("short"))))
	_, there, err = s.SetupHash(t.Context())
	require.ErrorIs(t, err, engine.ErrCorrupt)
	require.False(t, there)
}

// inhabit makes two accounts with everything that there can be, and returns their ids.
func inhabit(t *testing.T, s *store.Store) (gone, stays string) {
	t.Helper()
	var ids []string
	for _, name := range []string{"gone", "stays"} {
		a, err := s.CreateAccount(t.Context(), name)
		require.NoError(t, err)
		ids = append(ids, a.ID)
		for n := range uint64(3) {
			_, err := s.Commit(t.Context(), a.ID, n, store.Revision{}, []store.Object{object("a", "x")})
			require.NoError(t, err)
		}
		require.NoError(t, s.AppendAudit(t.Context(), a.ID, store.AuditEntry{Action: "x"}))
		require.NoError(t, s.PutToken(t.Context(), store.TokenRecord{ID: "token of " + name, Account: a.ID}))
	}
	require.NoError(t, s.PutUser(t.Context(), store.UserRecord{ID: "1", Email: "ann@acme.test", Memberships: []store.Membership{
		{Account: ids[0], Role: "owner"}, {Account: ids[1], Role: "viewer"},
	}}))
	return ids[0], ids[1]
}

func requireGone(t *testing.T, state engine.State, gone, stays string) {
	t.Helper()
	s := store.New(state)
	require.Equal(t, []string{"stays"}, accountNames(t, s))
	require.Equal(t, []string{"token of stays"}, tokenIDs(t, s))
	users, err := s.Users(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.Membership{{Account: stays, Role: "viewer"}}, users[0].Memberships)
	head, _, err := s.Head(t.Context(), stays)
	require.NoError(t, err)
	require.Equal(t, uint64(3), head.Number)
	entries, err := s.Audit(t.Context(), stays, 0, 0)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	for key, value := range dump(t, state) {
		require.NotContains(t, key+value, gone)
	}
}

func TestADeletedAccountLeavesNothing(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	gone, stays := inhabit(t, s)
	require.ErrorIs(t, s.DeleteAccount(t.Context(), "nobody"), store.ErrNotFound)
	require.Error(t, s.DeleteAccount(t.Context(), ""), "or everything would go")
	require.NoError(t, s.DeleteAccount(t.Context(), gone))
	requireGone(t, state, gone, stays)
	require.ErrorIs(t, s.DeleteAccount(t.Context(), gone), store.ErrNotFound)
	require.NoError(t, s.Tidy(t.Context()))
	requireGone(t, state, gone, stays)
}

// A deletion that is interrupted at any write has either not begun or is finished at the next start, and never lets anybody in meanwhile who had
// been shut out.
func TestADeletionThatACrashInterruptsIsFinished(t *testing.T) {
	t.Parallel()
	done := false
	for cut := 0; !done; cut++ {
		require.Less(t, cut, 1000)
		state := memory(t)
		gone, stays := inhabit(t, store.New(state))
		broken := stopped(t, store.New(&crashing{State: state, left: cut}).DeleteAccount(t.Context(), gone))
		s := store.New(state)
		if ids := tokenIDs(t, s); len(accountNames(t, s)) == 1 {
			require.NotContains(t, ids, "token of gone")
		}
		_ = stopped(t, store.New(&crashing{State: state, left: cut % 5}).Tidy(t.Context()))
		require.NoError(t, s.Tidy(t.Context()))
		if cut == 0 {
			require.Equal(t, []string{"gone", "stays"}, accountNames(t, s))
		} else {
			requireGone(t, state, gone, stays)
		}
		garbage, err := s.MemberGarbage(t.Context())
		require.NoError(t, err)
		for _, key := range garbage {
			require.Contains(t, key, "/commit/")
		}
		done = !broken
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	state := start(t)
	s := store.New(state)
	entry := store.AuditEntry{
		At: day, Actor: store.Actor{Kind: "user", Name: "ann", Address: "::1", RequestID: "r"}, Action: "sink.update", ResourceType: "sink",
		Resource: "orders", Detail: "status", Outcome: "ok",
	}
	require.NoError(t, s.AppendAudit(t.Context(), "acme", entry))
	require.NoError(t, s.AppendAudit(t.Context(), "acme", store.AuditEntry{Action: "second"}))
	s = store.New(state) // after a restart it goes on
	require.NoError(t, s.AppendAudit(t.Context(), "acme", store.AuditEntry{Action: "third"}))
	require.NoError(t, s.AppendAudit(t.Context(), "other", store.AuditEntry{Action: "elsewhere"}))
	all, err := s.Audit(t.Context(), "acme", 0, 0)
	require.NoError(t, err)
	require.Len(t, all, 3)
	entry.ID = 1
	require.Equal(t, entry, all[2])
	require.WithinDuration(t, time.Now(), all[0].At, time.Minute)
	for name, test := range map[string]struct {
		before uint64
		limit  int
		want   []uint64
	}{
		"all":        {0, 0, []uint64{3, 2, 1}},
		"first page": {0, 2, []uint64{3, 2}},
		"next page":  {2, 2, []uint64{1}},
		"no more":    {1, 2, nil},
		"too far":    {99, 1, []uint64{3}},
	} {
		got, err := s.Audit(t.Context(), "acme", test.before, test.limit)
		require.NoError(t, err)
		var ids []uint64
		for _, e := range got {
			ids = append(ids, e.ID)
		}
		require.Equal(t, test.want, ids, name)
	}
	none, err := s.Audit(t.Context(), "nobody", 0, 0)
	require.NoError(t, err)
	require.Empty(t, none)
	require.Error(t, s.AppendAudit(t.Context(), "", entry))
}

// Many write at once, through two stores on the same state: every entry is there, under a number of its own.
func TestAuditOfManyAtOnce(t *testing.T) {
	t.Parallel()
	state := start(t)
	stores := []*store.Store{store.New(state), store.New(state)}
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if err := stores[w%2].AppendAudit(t.Context(), "acme", store.AuditEntry{Action: fmt.Sprint(w, n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := store.New(state).Audit(t.Context(), "acme", 0, 0)
	require.NoError(t, err)
	seen := map[string]bool{}
	for i, e := range all {
		seen[e.Action] = true
		require.True(t, i == 0 || e.ID < all[i-1].ID)
	}
	require.Len(t, seen, writers*each)
}

func TestAuditKeepsTheNewest(t *testing.T) {
	t.Parallel()
	state := memory(t)
	var ops []engine.Op
	for id := range store.AuditLimit {
		ops = append(ops, engine.Put(fmt.Sprintf("account/acme/audit/%016x", id+1), fmt.Appendf(nil, `{"id":%d}`, id+1)))
	}
	require.NoError(t, state.Apply(t.Context(), ops...))
	s := store.New(state)
	for range 200 {
		require.NoError(t, s.AppendAudit(t.Context(), "acme", store.AuditEntry{}))
	}
	all, err := s.Audit(t.Context(), "acme", 0, 0)
	require.NoError(t, err)
	require.Len(t, all, store.AuditLimit)
	require.Equal(t, uint64(store.AuditLimit+200), all[0].ID)
	require.Equal(t, uint64(201), all[len(all)-1].ID)
	stored := 0
	for key := range dump(t, state) {
		if strings.HasPrefix(key, "account/acme/audit/") {
			stored++
		}
	}
	require.LessOrEqual(t, stored, store.AuditLimit+64)
}

// An entry whose write failed leaves a number free, or takes it late: neither hides the others.
func TestAuditWritesThatFail(t *testing.T) {
	t.Parallel()
	state := start(t)
	for _, late := range []bool{false, true} {
		account := strconv.FormatBool(late)
		cut := &crashing{State: state, left: 1, late: late}
		s := store.New(&recovering{crashing: cut})
		require.NoError(t, s.AppendAudit(t.Context(), account, store.AuditEntry{Action: "1"}))
		require.ErrorIs(t, s.AppendAudit(t.Context(), account, store.AuditEntry{Action: "2"}), errCrash)
		require.NoError(t, s.AppendAudit(t.Context(), account, store.AuditEntry{Action: "3"}))
		all, err := s.Audit(t.Context(), account, 0, 0)
		require.NoError(t, err)
		var actions []string
		for _, e := range all {
			actions = append(actions, e.Action)
		}
		if late {
			require.Equal(t, []string{"3", "2", "1"}, actions)
		} else {
			require.Equal(t, []string{"3", "1"}, actions)
		}
	}
}

// recovering fails one write and goes on.
type recovering struct{ *crashing }

func (r *recovering) CompareAndSet(ctx context.Context, key string, revision uint64, value []byte) (uint64, error) {
	next, err := r.crashing.CompareAndSet(ctx, key, revision, value)
	if errors.Is(err, errCrash) {
		r.off, r.left = false, 1<<30
	}
	return next, err
}
