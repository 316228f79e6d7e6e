// Package control is the one way to change what is declared: files, the HTTP API and the command line all come through it. A change is made on a
// copy of what the account declares, validated as a whole, looked up in the source databases where that is asked for, written as one revision,
// and then applied in place. It takes effect whole or not at all, and every earlier revision can be shown, compared and restored.
//
// Tokens and users are kept beside the revisions: restoring what was declared last week must not let last week's tokens in again.
//
// A Plane is safe for concurrent use. Changes of one account happen one after another; reading never waits for them.
package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
	"github.com/sequinstream/sequin/internal/vault"
)

// Deps is what a plane works with.
type Deps struct {
	Store  *store.Store
	Vault  *vault.Keyring
	Tokens *auth.Tokens // kept in step with the stored tokens
	Source Source
	Shapes Shapes
	// Runtime makes what runs match what is declared: one set for each account. It is called after a change was written; what it cannot do at
	// once is its own to report and to try again.
	Runtime func(ctx context.Context, sets []*resource.Set) error
	Logger  *slog.Logger
}

// Source looks at source databases. It changes nothing there.
type Source interface {
	// Check tries to reach the database with what is declared, and tells what would keep changes from flowing.
	Check(ctx context.Context, db *resource.Database) error
	// Tables lists the tables with their columns.
	Tables(ctx context.Context, db *resource.Database) ([]Table, error)
	// CheckConditions compiles conditions for the tables as they are now. There is a verdict for each.
	CheckConditions(ctx context.Context, db *resource.Database, conditions []Condition) ([]Verdict, error)
	// CheckEnrichment has the database that a sink's enrichment asks read its query.
	CheckEnrichment(ctx context.Context, set *resource.Set, sink *resource.Sink) error
	// Effects tells what starting to read the database would create in it.
	Effects(ctx context.Context, db *resource.Database) ([]string, error)
}

// Table is a table of a source database.
type Table struct {
	Name      resource.TableName
	Columns   []string
	Published bool // by the database's publication
	Partition bool // of another table, under whose name its changes usually come
}

// Shapes checks what is to be done with messages, as far as no database is needed for that.
type Shapes interface {
	// CheckSink checks where a sink's messages go and what they become. The paths of mistakes begin at the sink.
	CheckSink(set *resource.Set, sink *resource.Sink) []resource.Mistake
	// CheckFunction compiles a function. The error is a *problem.Error if the mistake is the function's.
	CheckFunction(ctx context.Context, f *resource.Function) (warnings []string, err error)
}

// Plane holds what every account declares.
type Plane struct {
	store   *store.Store
	vault   *vault.Keyring
	tokens  *auth.Tokens
	source  Source
	shapes  Shapes // nil for no checks
	runtime func(ctx context.Context, sets []*resource.Set) error
	logger  *slog.Logger

	mu       sync.RWMutex
	accounts map[string]*account // by id

	people sync.Mutex // one change of tokens and users at a time
	setup  sync.Mutex // one use of the set-up link at a time

	passwords *auth.Passwords

	runs sync.Mutex // one call of runtime at a time
}

// account is one account with what it declares.
type account struct {
	id string

	changing sync.Mutex // one change at a time
	now      atomic.Pointer[version]
}

// version is one revision, decoded. Nobody changes it.
type version struct {
	set      *resource.Set
	revision store.Revision
	objects  map[objectKey]store.Object
}

// Open reads what is stored.
func Open(ctx context.Context, deps Deps) (*Plane, error) {
	p := &Plane{
		store: deps.Store, vault: deps.Vault, tokens: deps.Tokens, source: deps.Source, shapes: deps.Shapes, runtime: deps.Runtime, logger: deps.Logger,
		accounts: map[string]*account{}, passwords: auth.NewPasswords(),
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	records, err := p.store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	for i := range records {
		if err := p.load(ctx, records[i]); err != nil {
			return nil, err
		}
	}
	if err := p.refreshTokens(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads an account's head.
func (p *Plane) load(ctx context.Context, record store.AccountRecord) error {
	revision, objects, err := p.store.Head(ctx, record.ID)
	if err != nil {
		return fmt.Errorf("read what account %q declares: %w", record.Name, err)
	}
	v, err := p.decode(record, revision, objects)
	if err != nil {
		return fmt.Errorf("read what account %q declares: %w", record.Name, err)
	}
	a := &account{id: record.ID}
	a.now.Store(v)
	p.mu.Lock()
	p.accounts[record.ID] = a
	p.mu.Unlock()
	return nil
}

// Accounts lists the accounts by name.
func (p *Plane) Accounts() []resource.Account {
	var all []resource.Account
	for _, set := range p.Sets() {
		all = append(all, set.Account)
	}
	return all
}

// Sets returns what every account declares, by the account's name. Nobody may change it.
func (p *Plane) Sets() []*resource.Set {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make([]*resource.Set, 0, len(p.accounts))
	for _, a := range p.accounts {
		all = append(all, a.now.Load().set)
	}
	slices.SortFunc(all, func(a, b *resource.Set) int { return strings.Compare(a.Account.Name, b.Account.Name) })
	return all
}

// Current returns what an account declares, and the number of that revision. Nobody may change it.
func (p *Plane) Current(accountID string) (*resource.Set, uint64, error) {
	a, err := p.account(accountID)
	if err != nil {
		return nil, 0, err
	}
	v := a.now.Load()
	return v.set, v.revision.Number, nil
}

// FindAccount finds an account by id or name.
func (p *Plane) FindAccount(idOrName string) (resource.Account, error) {
	for _, a := range p.Accounts() {
		if a.ID == idOrName || a.Name == idOrName {
			return a, nil
		}
	}
	return resource.Account{}, errNoAccount(idOrName)
}

func (p *Plane) account(id string) (*account, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if a, ok := p.accounts[id]; ok {
		return a, nil
	}
	return nil, errNoAccount(id)
}

func errNoAccount(name string) error {
	return problem.New("account_not_found", "there is no account %q", name).WithHint("sequin admin accounts list shows them")
}

// EnsureAccount finds the named account, or makes it.
func (p *Plane) EnsureAccount(ctx context.Context, name string, actor Actor) (resource.Account, error) {
	if a, err := p.FindAccount(name); err == nil && a.Name == name {
		return a, nil
	}
	return p.CreateAccount(ctx, name, actor)
}

// CreateAccount makes an account.
func (p *Plane) CreateAccount(ctx context.Context, name string, actor Actor) (resource.Account, error) {
	if err := validAccount(name); err != nil {
		return resource.Account{}, err
	}
	record, err := p.store.CreateAccount(ctx, name)
	if err != nil {
		return resource.Account{}, accountError(err, name)
	}
	if err := p.load(ctx, record); err != nil {
		return resource.Account{}, err
	}
	p.Audit(ctx, record.ID, Entry{Actor: actor, Action: "create", ResourceType: "account", Resource: name})
	return resource.Account{ID: record.ID, Name: name}, nil
}

// RenameAccount gives an account another name.
func (p *Plane) RenameAccount(ctx context.Context, id, name string, actor Actor) (resource.Account, error) {
	if err := validAccount(name); err != nil {
		return resource.Account{}, err
	}
	a, err := p.account(id)
	if err != nil {
		return resource.Account{}, err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if err := p.store.RenameAccount(ctx, id, name); err != nil {
		return resource.Account{}, accountError(err, name)
	}
	v := *a.now.Load()
	set := *v.set
	was := set.Account.Name
	set.Account.Name = name
	v.set = &set
	a.now.Store(&v)
	p.Audit(ctx, id, Entry{Actor: actor, Action: "update", ResourceType: "account", Resource: name, Detail: "was " + was})
	return set.Account, nil
}

// DeleteAccount removes an account that declares nothing any more, with its tokens and memberships.
func (p *Plane) DeleteAccount(ctx context.Context, id string, actor Actor) error {
	a, err := p.account(id)
	if err != nil {
		return err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	set := a.now.Load().set
	if n := len(set.Databases) + len(set.Sinks) + len(set.HTTPEndpoints) + len(set.Functions) + len(set.ChangeRetentions); n > 0 {
		return problem.New("account_in_use", "account %q still declares %d resources", set.Account.Name, n).
			WithHint("delete them first: an account's databases and sinks are never removed with it unasked")
	}
	if err := p.forgetPeople(ctx, id); err != nil {
		return err
	}
	if err := p.store.DeleteAccount(ctx, id); err != nil {
		return fmt.Errorf("delete account %q: %w", set.Account.Name, err)
	}
	p.mu.Lock()
	delete(p.accounts, id)
	p.mu.Unlock()
	p.logger.Info("an account was deleted", "account", set.Account.Name, "by", actor.String())
	return nil
}

// now is the time as it is stored: UTC, whole seconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
