package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// Edit says how a change is to be made.
type Edit struct {
	Actor Actor
	What  string // "create sink orders"
	// Change edits the copy that it is given. Resources that it adds have no Meta.
	Change func(set *resource.Set) error
	// CheckSource has new and changed databases connected to, and the tables and columns of new and changed sinks looked up.
	CheckSource bool
	// Await has a new database that cannot be reached tried again, for as long as it asks.
	Await bool
	// Expect is the number of the revision that the change was thought out for; 0 for whatever there is.
	Expect uint64
}

// Result is what a change came to.
type Result struct {
	Set      *resource.Set // what is declared now
	Revision uint64
	Changes  []Change // none: everything was so already, and no revision was written
	Warnings []string
	Tokens   []resource.APIToken // those whose secret was made: it can be read nowhere else

	Undeclared []Name // of a document: what goes on although it does not declare it
}

// Apply makes a change: whole or not at all. When it returns without an error the change is durable and in force, as far as the runtime could
// bring it about.
func (p *Plane) Apply(ctx context.Context, accountID string, e Edit) (Result, error) {
	a, err := p.account(accountID)
	if err != nil {
		return Result{}, err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	result, next, err := p.prepare(ctx, a, e)
	if err != nil || len(result.Changes) == 0 {
		return result, err
	}
	if err := p.commit(ctx, a, e, result.Changes, next); err != nil {
		return Result{}, err
	}
	result.Set, result.Revision = a.now.Load().set, a.now.Load().revision.Number
	for _, c := range result.Changes {
		p.Audit(ctx, accountID, Entry{Actor: e.Actor, Action: c.Action, ResourceType: c.Kind, Resource: c.Name, Detail: detail(c)})
	}
	if err := p.Run(context.WithoutCancel(ctx)); err != nil {
		result.Warnings = append(result.Warnings, "it is declared, and not all of it could be brought about yet: "+err.Error())
	}
	return result, nil
}

// Check works out whether a change can be made, and makes none.
func (p *Plane) Check(ctx context.Context, accountID string, e Edit) error {
	a, err := p.account(accountID)
	if err != nil {
		return err
	}
	_, _, err = p.prepare(ctx, a, e)
	return err
}

// detail names what changed; never the values.
func detail(c Change) string {
	if len(c.Changed) == 0 {
		return ""
	}
	return "changed: " + strings.Join(c.Changed, ", ")
}

// Run makes what runs match what is declared.
func (p *Plane) Run(ctx context.Context) error {
	if p.runtime == nil {
		return nil
	}
	p.runs.Lock()
	defer p.runs.Unlock()
	return p.runtime(ctx, p.Sets())
}

// prepare works out what a change comes to, and changes nothing. a.changing is held, or the result may be out of date.
func (p *Plane) prepare(ctx context.Context, a *account, e Edit) (Result, *resource.Set, error) {
	was := a.now.Load()
	if e.Expect != 0 && e.Expect != was.revision.Number {
		return Result{}, nil, problem.New("revision_conflict", "what is declared has changed meanwhile").
			WithDetail("expected revision %d, there is %d", e.Expect, was.revision.Number).WithHint("plan again, look at what changed, and apply that")
	}
	next := was.set.Clone()
	if err := e.Change(next); err != nil {
		return Result{}, nil, err
	}
	next.Account, next.Users, next.APITokens = was.set.Account, nil, nil
	renames(was.set, next)
	changes := compare(was.set, next)
	p.stamp(ctx, next, changes)
	if mistakes := append(next.Validate(), moved(was.set, next)...); len(mistakes) > 0 {
		return Result{Set: next}, nil, &resource.InvalidError{Mistakes: mistakes}
	}
	if mistakes := localOnly(was.set, next, e.Actor); len(mistakes) > 0 {
		return Result{Set: next}, nil, &resource.InvalidError{Mistakes: mistakes}
	}
	if err := p.acrossAccounts(a.id, next); err != nil {
		return Result{Set: next}, nil, err
	}
	result := Result{Set: next, Revision: was.revision.Number, Changes: changes}
	warnings, err := p.checkShapes(ctx, next, changes)
	result.Warnings = warnings
	if err != nil {
		return result, nil, err
	}
	if e.CheckSource {
		warnings, err := p.checkSource(ctx, next, changes, e.Await)
		result.Warnings = append(result.Warnings, warnings...)
		if err != nil {
			return result, nil, err
		}
	}
	return result, next, nil
}

// stamp gives new resources an id and notes when the others changed.
func (p *Plane) stamp(ctx context.Context, next *resource.Set, changes []Change) {
	at := now()
	for i := range changes {
		c := &changes[i]
		meta := metaOf(next, c.Kind, c.Name)
		switch c.Action {
		case ActionCreate:
			if meta.ID == "" {
				meta.ID = p.newID(ctx, c.Kind, c.Name)
			}
			if meta.InsertedAt.IsZero() {
				meta.InsertedAt = at
			}
			meta.UpdatedAt = at
		case ActionUpdate:
			meta.UpdatedAt = at
		default:
			continue
		}
		c.ID, c.new = meta.ID, find(next, c.Kind, c.Name)
	}
}

// newID is the id that a data directory of an earlier release gave to the name, so that the resource keeps its state, or else a new one.
func (p *Plane) newID(ctx context.Context, kind, name string) string {
	known, err := p.store.List(ctx, store.Kind(kind))
	if err == nil {
		for _, id := range known {
			if id.Name == name && !p.taken(id.ID) {
				return id.ID
			}
		}
	}
	return uuid.NewString()
}

// taken tells whether any account has a resource of that id.
func (p *Plane) taken(id string) bool {
	for _, set := range p.Sets() {
		for _, kind := range Kinds() {
			for _, item := range list(set, kind) {
				if item.meta.ID == id {
					return true
				}
			}
		}
	}
	return false
}

// acrossAccounts refuses what two accounts cannot both have: a slot has one reader.
func (p *Plane) acrossAccounts(accountID string, next *resource.Set) error {
	for _, other := range p.Sets() {
		if other.Account.ID == accountID {
			continue
		}
		for i := range next.Databases {
			d := &next.Databases[i]
			same := func(o resource.Database) bool {
				return strings.EqualFold(o.Hostname, d.Hostname) && o.Port == d.Port && o.Slot.Name == d.Slot.Name
			}
			if slices.ContainsFunc(other.Databases, same) {
				return &resource.InvalidError{Mistakes: []resource.Mistake{{
					Path: fmt.Sprintf("databases[%d].slot.name", i), Code: resource.CodeConflict,
					What: fmt.Sprintf("is %q, which another account reads on the same server; a slot has one reader, and slots are named per server", d.Slot.Name),
					Hint: "give this database a slot of its own",
				}}}
			}
		}
	}
	return nil
}

// commit writes a revision and makes it the current one.
func (p *Plane) commit(ctx context.Context, a *account, e Edit, changes []Change, next *resource.Set) error {
	was := a.now.Load()
	objects, err := p.encode(next, was, changes)
	if err != nil {
		return err
	}
	revision := store.Revision{At: now(), Actor: e.Actor.stored(), What: e.What}
	for _, c := range changes {
		revision.Changes = append(revision.Changes, store.Change{Kind: c.Kind, Name: c.Name, Action: c.Action})
	}
	// Once begun it is finished: a caller who hangs up must not leave in doubt what is declared.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	committed, err := p.store.Commit(ctx, a.id, was.revision.Number, revision, objects)
	if err != nil {
		return p.afterFailedCommit(ctx, a, err)
	}
	record := store.AccountRecord{ID: a.id, Name: next.Account.Name}
	_, stored, err := p.store.Head(ctx, a.id)
	if err != nil {
		return fmt.Errorf("read back what was declared: %w", err)
	}
	v, err := p.decode(record, committed, stored)
	if err != nil {
		return fmt.Errorf("read back what was declared: %w", err)
	}
	a.now.Store(v)
	if err := p.store.PruneRevisions(ctx, a.id, keepRevisions); err != nil {
		p.logger.Warn("old revisions could not be removed; it is tried again with the next change", "reason", err)
	}
	return nil
}

// keepRevisions is how many revisions of an account can be shown and restored.
const keepRevisions = 100

// afterFailedCommit finds out what is declared now: a write that failed may turn out durable.
func (p *Plane) afterFailedCommit(ctx context.Context, a *account, cause error) error {
	record := store.AccountRecord{ID: a.id, Name: a.now.Load().set.Account.Name}
	if revision, objects, err := p.store.Head(ctx, a.id); err == nil && revision.Number != a.now.Load().revision.Number {
		if v, err := p.decode(record, revision, objects); err == nil {
			a.now.Store(v)
			if err := p.Run(ctx); err != nil {
				p.logger.Warn("not all of what is declared could be brought about", "reason", err)
			}
		}
	}
	if errors.Is(cause, store.ErrConflict) {
		return problem.New("revision_conflict", "what is declared has changed meanwhile").Because(cause).WithHint("try again")
	}
	return fmt.Errorf("write the declaration: %w", cause)
}
