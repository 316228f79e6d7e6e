package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a plane on a real store in a directory; it can be opened again like a process that starts again.
type rig struct {
	t      *testing.T
	dir    string
	engine *embedded.Engine
	keys   *vault.Keyring
	tokens *auth.Tokens
	*control.Plane

	mu      sync.Mutex
	applied [][]*resource.Set
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(vault.Options{File: filepath.Join(r.dir, "vault.key")})
	t.Cleanup(func() { require.NoError(t, r.engine.Close()) })
	return r
}

func (r *rig) open(keys vault.Options) {
	r.t.Helper()
	var err error
	r.engine, err = embedded.Open(r.t.Context(), embedded.Options{Dir: filepath.Join(r.dir, "data"), AllowEphemeral: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(r.t, err)
	r.keys, err = vault.Open(keys)
	require.NoError(r.t, err)
	r.tokens = auth.NewTokens(nil)
	r.Plane, err = control.Open(r.t.Context(), control.Deps{
		Store: store.New(r.engine.State()), Vault: r.keys, Tokens: r.tokens,
		Runtime: func(_ context.Context, sets []*resource.Set) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.applied = append(r.applied, sets)
			return nil
		},
	})
	require.NoError(r.t, err)
}

// again closes everything and opens it anew.
func (r *rig) again(keys vault.Options) {
	r.t.Helper()
	require.NoError(r.t, r.engine.Close())
	r.open(keys)
}

func (r *rig) fileKeys() vault.Options { return vault.Options{File: filepath.Join(r.dir, "vault.key")} }

const yaml = `account: {name: acme}
api_tokens:
  - {name: workers, token: s3cret-of-the-workers, scopes: ["consume:orders"]}
  - {name: ci, token: s3cret-of-the-pipeline}
users:
  - {email: ada@example.com, password: correct horse}
databases:
  - {name: shop, hostname: localhost, database: shop, username: sequin, password: pw-of-the-database, slot: {name: s}, publication: {name: p}}
http_endpoints:
  - {name: hook, url: "https://example.com", encrypted_headers: {Authorization: header-secret-value}}
sinks:
  - {name: orders, database: shop, destination: {type: sequin_stream}}
  - {name: billing, database: shop, batch_size: 5, destination: {type: webhook, http_endpoint: hook}}
`

func (r *rig) boot(text string) control.Result {
	r.t.Helper()
	result, err := r.Boot(r.t.Context(), control.Document{Name: "sequin.yaml", Data: []byte(text)})
	require.NoError(r.t, err)
	return result
}

func (r *rig) acme() resource.Account {
	r.t.Helper()
	a, err := r.FindAccount("acme")
	require.NoError(r.t, err)
	return a
}

func (r *rig) current() *resource.Set {
	r.t.Helper()
	set, _, err := r.Current(r.acme().ID)
	require.NoError(r.t, err)
	return set
}

// may tells what a request with the token is allowed to do.
func (r *rig) may(token string) string {
	id, err := r.tokens.Check(map[string][]string{"Authorization": {"Bearer " + token}})
	if err != nil {
		return problem.Code(err)
	}
	var all []string
	for name, err := range map[string]error{"read": id.MayRead(), "change": id.MayChange(), "administer": id.MayAdminister(), "consume": id.MayConsume("orders")} {
		if err == nil {
			all = append(all, name)
		}
	}
	return strconv.Itoa(len(all))
}

var someone = control.Actor{Kind: control.ByToken, Name: "ci"}

func TestDocumentIsAppliedOnceAndKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.boot(yaml)
	require.Len(t, first.Changes, 4)
	require.Equal(t, uint64(1), first.Revision)
	before := r.current()
	require.Empty(t, r.boot(yaml).Changes, "it is so already")
	r.again(r.fileKeys())
	require.Equal(t, before, r.current(), "ids, times and secrets too")
	require.Empty(t, r.boot(yaml).Changes)
	require.Equal(t, "4", r.may("s3cret-of-the-pipeline"))
	require.Equal(t, "1", r.may("s3cret-of-the-workers"))

	changed := r.boot(strings.Replace(yaml, "batch_size: 5", "batch_size: 6", 1))
	require.Len(t, changed.Changes, 1)
	require.Equal(t, []string{"batch_size"}, changed.Changes[0].Changed)
	sink, _ := r.current().Sink("billing")
	old, _ := before.Sink("billing")
	require.Equal(t, old.ID, sink.ID)
	require.Equal(t, 6, sink.BatchSize)
}

func TestChangeIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	before := r.current()
	calls := len(r.applied)
	_, err := r.Apply(t.Context(), r.acme().ID, control.Edit{Actor: someone, What: "test", Change: func(set *resource.Set) error {
		set.Sinks[0].BatchSize = 7
		set.Sinks[1].Database = "nowhere"
		return nil
	}})
	require.ErrorContains(t, err, `is "nowhere"`)
	require.Same(t, before, r.current())
	require.Len(t, r.applied, calls, "the runtime hears of nothing")
	_, err = r.Boot(t.Context(), control.Document{Name: "bad.yaml", Data: []byte("account: {name: newcomer}\nsinks: [{name: x, database: none, destination: {type: sequin_stream}}]\n")})
	require.Error(t, err)
	_, err = r.FindAccount("newcomer")
	require.Error(t, err, "an account of a document that is not valid is not made")
}

func TestPlanChangesNothingAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	before := r.current()
	text := strings.NewReplacer("account: {name: acme}\n", "", "pw-of-the-database", "pw-of-the-datebase", "batch_size: 5", "batch_size: 9", "name: orders, database", "name: fresh, database",
		`scopes: ["consume:orders"]`, `scopes: ["consume:fresh"]`).Replace(yaml)
	for _, prune := range []bool{false, true} {
		plan, err := r.Plan(t.Context(), r.acme().ID, control.Document{Name: "plan", Data: []byte(text), Prune: prune})
		require.NoError(t, err)
		var lines []string
		for i := range plan.Changes {
			c := &plan.Changes[i]
			lines = append(lines, fmt.Sprint(c.Action, " ", c.Kind, " ", c.Name, " ", c.Changed))
			require.NotContains(t, string(c.Old())+string(c.New()), "pw-of-the")
			require.NotContains(t, string(c.Old())+string(c.New()), "header-secret-value")
		}
		want := []string{"create sink fresh []", "update database shop [password]", "update sink billing [batch_size]"}
		if prune {
			want = []string{"create sink fresh []", "delete sink orders []", "update database shop [password]", "update sink billing [batch_size]"}
		}
		require.Equal(t, want, lines)
	}
	require.Same(t, before, r.current())
	_, err := r.Plan(t.Context(), r.acme().ID, control.Document{Name: "plan", Data: []byte(yaml)})
	require.Equal(t, "account_in_document", problem.Code(err))
}

func TestExportPlansToNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	text, err := r.Export(r.acme().ID, true)
	require.NoError(t, err)
	require.Contains(t, string(text), "pw-of-the-database")
	plan, err := r.Plan(t.Context(), r.acme().ID, control.Document{Name: "export", Data: text, Prune: true})
	require.NoError(t, err)
	require.Empty(t, plan.Changes)
	masked, err := r.Export(r.acme().ID, false)
	require.NoError(t, err)
	require.NotContains(t, string(masked), "pw-of-the-database")
	require.NotContains(t, string(masked), "header-secret-value")
}

func TestRevisionsAreComparedAndRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	id := r.acme().ID
	first := r.current()
	r.boot(strings.Replace(yaml, "batch_size: 5", "batch_size: 6", 1))
	_, err := r.Apply(t.Context(), id, control.Edit{Actor: someone, What: "delete sink orders", Change: func(set *resource.Set) error {
		set.Sinks = set.Sinks[1:]
		return nil
	}})
	require.NoError(t, err)
	all, err := r.Revisions(t.Context(), id, 0, 10)
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, "delete sink orders", all[0].What)
	require.Equal(t, "ci", all[0].Actor.Name)
	changes, err := r.Compare(t.Context(), id, 1, 0)
	require.NoError(t, err)
	require.Len(t, changes, 2)
	result, err := r.Restore(t.Context(), id, 1, someone)
	require.NoError(t, err)
	require.Equal(t, uint64(4), result.Revision)
	restored := r.current()
	require.Equal(t, first.Sinks[0].ID, restored.Sinks[0].ID)
	require.Equal(t, 5, restored.Sinks[1].BatchSize)
	_, err = r.Restore(t.Context(), id, 99, someone)
	require.Equal(t, "revision_not_found", problem.Code(err))
	_, err = r.Apply(t.Context(), id, control.Edit{Actor: someone, Expect: 3, Change: func(*resource.Set) error { return nil }})
	require.Equal(t, "revision_conflict", problem.Code(err))
}

func TestTokensOfTheFileFollowTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	id := r.acme().ID
	_, secret, err := r.CreateToken(t.Context(), id, someone, control.TokenRequest{Name: "made"})
	require.NoError(t, err)
	require.Len(t, secret.Reveal(), 64)
	require.Equal(t, "4", r.may(secret.Reveal()))
	r.boot(strings.NewReplacer("s3cret-of-the-pipeline", "another-secret-of-the-pipeline", "  - {name: workers, token: s3cret-of-the-workers, scopes: [\"consume:orders\"]}\n", "").Replace(yaml))
	require.Equal(t, auth.CodeUnknownToken, r.may("s3cret-of-the-pipeline"))
	require.Equal(t, auth.CodeUnknownToken, r.may("s3cret-of-the-workers"))
	require.Equal(t, "4", r.may("another-secret-of-the-pipeline"))
	require.Equal(t, "4", r.may(secret.Reveal()), "what was made over the API stays")

	_, err = r.ApplyDocument(t.Context(), id, someone, control.Document{Name: "api", Data: []byte("api_tokens: [{name: ci, token: guessed-by-somebody}]")})
	require.Equal(t, "token_differs", problem.Code(err))
	_, rotated, err := r.RotateToken(t.Context(), id, "made", someone)
	require.NoError(t, err)
	require.Equal(t, auth.CodeUnknownToken, r.may(secret.Reveal()))
	require.Equal(t, "4", r.may(rotated.Reveal()))
	_, _, err = r.RotateToken(t.Context(), id, "ci", someone)
	require.Equal(t, "token_from_file", problem.Code(err))
	_, err = r.DeleteToken(t.Context(), id, "made", someone)
	require.NoError(t, err)
	require.Equal(t, auth.CodeUnknownToken, r.may(rotated.Reveal()))
	_, _, err = r.CreateToken(t.Context(), id, someone, control.TokenRequest{Name: "ci"})
	require.ErrorContains(t, err, "already been taken")
}

func TestPeopleSignIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	id := r.acme().ID
	ctx := t.Context()
	_, err := r.SignIn(ctx, "ada@example.com", "wrong horse", "", someone)
	require.Equal(t, "sign_in_failed", problem.Code(err))
	_, err = r.SignIn(ctx, "nobody@example.com", "correct horse", "", someone)
	require.Equal(t, "sign_in_failed", problem.Code(err))
	session, err := r.SignIn(ctx, "ADA@example.com", "correct horse", "", someone)
	require.NoError(t, err)
	require.Equal(t, "4", r.may(session.Token.Reveal()))

	bob, err := r.AddUser(ctx, id, someone, resource.User{Email: "bob@example.com", Password: "battery staple", Role: resource.RoleViewer})
	require.NoError(t, err)
	viewer, err := r.SignIn(ctx, "bob@example.com", "battery staple", "acme", someone)
	require.NoError(t, err)
	require.Equal(t, "1", r.may(viewer.Token.Reveal()))
	editor := resource.RoleEditor
	_, err = r.UpdateUser(ctx, id, bob.ID, someone, control.UserChange{Role: &editor})
	require.NoError(t, err)
	require.Equal(t, "3", r.may(viewer.Token.Reveal()), "at once")

	_, err = r.UpdateUser(ctx, id, "ada@example.com", someone, control.UserChange{Role: &editor})
	require.Equal(t, "last_owner", problem.Code(err))
	_, err = r.RemoveUser(ctx, id, "ada@example.com", someone)
	require.Equal(t, "last_owner", problem.Code(err))

	require.NoError(t, r.SetPassword(ctx, "ada@example.com", "another horse", control.Actor{Kind: control.ByLocal}))
	require.Equal(t, auth.CodeUnknownToken, r.may(session.Token.Reveal()), "whoever knew the old password is out")
	_, err = r.SignIn(ctx, "ada@example.com", "another horse", "", someone)
	require.NoError(t, err)
	_, err = r.RemoveUser(ctx, id, bob.ID, someone)
	require.NoError(t, err)
	require.Equal(t, auth.CodeUnknownToken, r.may(viewer.Token.Reveal()))
	require.NoError(t, r.SignOut(ctx, session.ID))
}

func TestSetupLinkWorksOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	needed, err := r.NeedsSetup(ctx)
	require.NoError(t, err)
	require.True(t, needed)
	old, err := r.NewSetupSecret(ctx)
	require.NoError(t, err)
	secret, err := r.NewSetupSecret(ctx)
	require.NoError(t, err)
	owner := resource.User{Email: "ada@example.com", Password: "correct horse"}
	_, err = r.SetUp(ctx, old, owner, someone)
	require.Equal(t, "setup_link_invalid", problem.Code(err))
	_, err = r.SetUp(ctx, secret, resource.User{Email: "ada@example.com", Password: "short"}, someone)
	require.ErrorContains(t, err, "8 to 72")
	var wins sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			u := owner
			u.Email = resource.User{Email: fmt.Sprintf("ada%d@example.com", i)}.Email
			if session, err := r.SetUp(ctx, secret, u, someone); err == nil {
				wins.Store(i, session)
			}
		})
	}
	wg.Wait()
	n := 0
	wins.Range(func(_, session any) bool {
		n++
		require.Equal(t, resource.DefaultAccount, session.(control.Session).Account.Name)
		return true
	})
	require.Equal(t, 1, n)
	needed, err = r.NeedsSetup(ctx)
	require.NoError(t, err)
	require.False(t, needed)
}

func TestAccountsAreApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	_, err := r.Boot(t.Context(), control.Document{Name: "other.yaml", Data: []byte(strings.NewReplacer("name: acme", "name: globex", "ada@", "bob@", "s3cret", "t3cret").Replace(yaml))})
	require.ErrorContains(t, err, "which another account reads on the same server")
	r.again(r.fileKeys())
	_, err = r.Boot(t.Context(), control.Document{Name: "other.yaml", Data: []byte(strings.NewReplacer("name: acme", "name: globex", "ada@", "bob@", "s3cret", "t3cret", "slot: {name: s}", "slot: {name: s2}").Replace(yaml))})
	require.NoError(t, err)
	globex, err := r.FindAccount("globex")
	require.NoError(t, err)
	mine, err := r.tokens.Check(map[string][]string{"Authorization": {"Bearer t3cret-of-the-pipeline"}})
	require.NoError(t, err)
	require.Equal(t, globex.ID, mine.Account)
	require.Equal(t, "account_in_use", problem.Code(r.DeleteAccount(t.Context(), globex.ID, someone)))
	_, err = r.Apply(t.Context(), globex.ID, control.Edit{Actor: someone, What: "empty", Change: func(set *resource.Set) error {
		*set = resource.Set{}
		return nil
	}})
	require.NoError(t, err)
	require.NoError(t, r.DeleteAccount(t.Context(), globex.ID, someone))
	require.Equal(t, auth.CodeUnknownToken, r.may("t3cret-of-the-pipeline"))
	require.Equal(t, "4", r.may("s3cret-of-the-pipeline"))
	renamed, err := r.RenameAccount(t.Context(), r.acme().ID, "initech", someone)
	require.NoError(t, err)
	require.Equal(t, "initech", renamed.Name)
	r.again(r.fileKeys())
	_, err = r.FindAccount("initech")
	require.NoError(t, err)
}

func TestReferencesFollowANewName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	before := r.current()
	result, err := r.Apply(t.Context(), r.acme().ID, control.Edit{Actor: someone, What: "rename", Change: func(set *resource.Set) error {
		set.Databases[0].Name, set.HTTPEndpoints[0].Name = "store", "bell"
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, "store", result.Set.Sinks[0].Database)
	require.Equal(t, "bell", result.Set.Sinks[1].Destination.Webhook.HTTPEndpoint)
	require.Equal(t, before.Databases[0].ID, result.Set.Databases[0].ID)
	_, err = r.Apply(t.Context(), r.acme().ID, control.Edit{Actor: someone, What: "move", Change: func(set *resource.Set) error {
		other := set.Databases[0].Clone()
		other.Meta, other.Name, other.Slot.Name = resource.Meta{}, "second", "s2"
		set.Databases = append(set.Databases, other)
		set.Sinks[0].Database = "second"
		return nil
	}})
	require.ErrorContains(t, err, "means nothing in those of another")
}

func TestVaultKeyIsRotated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	before := r.current()
	old := r.keys.Current()
	key, err := r.RotateKey(t.Context(), control.Actor{Kind: control.ByLocal})
	require.NoError(t, err)
	require.NotEqual(t, string(old), key)
	r.again(r.fileKeys())
	require.Equal(t, before, r.current())

	// From the file's key to one of the operator's, and on to the next.
	const first, second = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "MTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjA="
	file := filepath.Join(r.dir, "vault.key")
	r.again(vault.Options{Key: first, File: file})
	_, err = r.RotateKey(t.Context(), control.Actor{Kind: control.ByLocal})
	require.NoError(t, err)
	require.NoFileExists(t, file)
	r.again(vault.Options{Key: second, Previous: []string{first}, File: file})
	_, err = r.RotateKey(t.Context(), control.Actor{Kind: control.ByLocal})
	require.NoError(t, err)
	r.again(vault.Options{Key: second, File: file})
	require.Equal(t, before, r.current())
}

func TestAuditTellsWhoDidWhat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.boot(yaml)
	_, err := r.Apply(t.Context(), r.acme().ID, control.Edit{
		Actor: control.Actor{Kind: control.ByUser, Name: "ada@example.com", Address: "192.0.2.1", RequestID: "request-0123456789-abcdef"}, What: "pause",
		Change: func(set *resource.Set) error {
			set.Sinks[0].Status = resource.StatusPaused
			set.Databases[0].Password = "pw-of-tomorrow"
			return nil
		},
	})
	require.NoError(t, err)
	entries, err := r.AuditLog(t.Context(), r.acme().ID, 0, 2)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, e := range entries {
		require.Equal(t, "ada@example.com", e.Actor.Name)
		require.Equal(t, "update", e.Action)
		require.NotContains(t, fmt.Sprint(e), "pw-of-tomorrow")
	}
	require.ElementsMatch(t, []string{"changed: password", "changed: status"}, []string{entries[0].Detail, entries[1].Detail})
}
