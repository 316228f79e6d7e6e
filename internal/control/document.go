package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Document is a declaration as somebody sent it.
type Document struct {
	Name   string // for messages: "sequin.yaml"
	Data   []byte
	Lookup config.LookupEnv // for ${VARIABLES}; nil: they stay as they are
	Local  bool             // from this machine's own operator: may name files and commands, an account, users and tokens
	Prune  bool             // delete what it does not declare
	Expect uint64           // the revision it was planned against; 0 for whatever there is
}

// Plan is what applying a document would do.
type Plan struct {
	Revision uint64
	Changes  []Change
	Effects  []string // what starting would create in source databases
	Warnings []string
}

// Plan works out what applying a document would do, and changes nothing.
func (p *Plane) Plan(ctx context.Context, accountID string, doc Document) (*Plan, error) {
	a, err := p.account(accountID)
	if err != nil {
		return nil, err
	}
	parsed, warnings, err := p.parse(a.now.Load().set, doc)
	if err != nil {
		return nil, err
	}
	var actor Actor
	if doc.Local {
		actor.Kind = ByLocal
	}
	result, next, err := p.prepare(ctx, a, Edit{Actor: actor, Expect: doc.Expect, Change: declare(parsed, doc.Prune), CheckSource: !doc.Local, Await: true})
	if err != nil {
		return nil, locate(err, result.Set, parsed)
	}
	plan := &Plan{Revision: result.Revision, Changes: result.Changes, Warnings: append(warnings, result.Warnings...)}
	for i := range result.Changes {
		c := &result.Changes[i]
		if c.Kind != KindDatabase || c.Action == ActionDelete || p.source == nil {
			continue
		}
		db, _ := next.Database(c.Name)
		effects, err := p.source.Effects(ctx, db)
		if err != nil {
			plan.Warnings = append(plan.Warnings, fmt.Sprintf("database %q could not be looked at: %v", c.Name, err))
		}
		plan.Effects = append(plan.Effects, effects...)
	}
	return plan, nil
}

// ApplyDocument makes what a document declares so: all of it or nothing.
func (p *Plane) ApplyDocument(ctx context.Context, accountID string, actor Actor, doc Document) (Result, error) {
	a, err := p.account(accountID)
	if err != nil {
		return Result{}, err
	}
	parsed, warnings, err := p.parse(a.now.Load().set, doc)
	if err != nil {
		return Result{}, err
	}
	if err := p.checkTokens(ctx, accountID, actor, parsed.Set.APITokens); err != nil {
		return Result{}, err
	}
	result, err := p.Apply(ctx, accountID, Edit{
		Actor: actor, What: "apply " + doc.Name, Expect: doc.Expect, CheckSource: !doc.Local, Await: true,
		Change: func(set *resource.Set) error {
			// Parsed again on what is there now: what the document leaves out keeps its value.
			again, _, err := p.parse(set, doc)
			if err != nil {
				return err
			}
			return declare(again, doc.Prune)(set)
		},
	})
	if err != nil {
		return Result{}, locate(err, result.Set, parsed)
	}
	result.Warnings = append(warnings, result.Warnings...)
	result.Undeclared = undeclared(result.Set, parsed.Set)
	result.Tokens, err = p.declarePeople(ctx, accountID, actor, parsed.Set)
	return result, err
}

// parse reads a document on top of what is declared.
func (p *Plane) parse(base *resource.Set, doc Document) (*config.Document, []string, error) {
	parsed, found, err := config.ParseDocument(doc.Name, doc.Data, config.DocumentOptions{Lookup: doc.Lookup, Base: base, Files: doc.Local, Local: doc.Local})
	warnings := make([]string, len(found))
	for i, w := range found {
		warnings[i] = w.String()
	}
	if err != nil {
		return nil, warnings, err
	}
	if parsed.HasAccount && !doc.Local {
		return nil, warnings, problem.New("account_in_document", "the document has an account section, and the token says which account it is for").
			WithHint("take the account section out; it belongs into the file that the server itself reads")
	}
	return parsed, warnings, nil
}

// declare puts a document's resources into a set, by name; with prune it removes the others.
func declare(doc *config.Document, prune bool) func(set *resource.Set) error {
	return func(set *resource.Set) error {
		d := doc.Set
		set.Databases = merged(set.Databases, d.Databases, prune, func(x *resource.Database) (string, *resource.Meta) { return x.Name, &x.Meta })
		set.ChangeRetentions = merged(set.ChangeRetentions, d.ChangeRetentions, prune, func(x *resource.ChangeRetention) (string, *resource.Meta) { return x.Name, &x.Meta })
		set.HTTPEndpoints = merged(set.HTTPEndpoints, d.HTTPEndpoints, prune, func(x *resource.HTTPEndpoint) (string, *resource.Meta) { return x.Name, &x.Meta })
		set.Functions = merged(set.Functions, d.Functions, prune, func(x *resource.Function) (string, *resource.Meta) { return x.Name, &x.Meta })
		set.Sinks = merged(set.Sinks, d.Sinks, prune, func(x *resource.Sink) (string, *resource.Meta) { return x.Name, &x.Meta })
		return nil
	}
}

// merged replaces what has the same name and appends the rest.
func merged[T any](have, want []T, prune bool, of func(*T) (string, *resource.Meta)) []T {
	at := map[string]int{}
	out := make([]T, 0, len(have)+len(want))
	declared := map[string]bool{}
	for i := range want {
		name, _ := of(&want[i])
		declared[name] = true
	}
	for i := range have {
		name, _ := of(&have[i])
		if prune && !declared[name] {
			continue
		}
		at[name] = len(out)
		out = append(out, have[i])
	}
	for i := range want {
		name, meta := of(&want[i])
		if j, there := at[name]; there {
			_, old := of(&out[j])
			*meta = *old
			out[j] = want[i]
			continue
		}
		at[name] = len(out)
		out = append(out, want[i])
	}
	return out
}

// locate gives mistakes that were found in the whole the place in the document where the resource was written, if it is there, and the path that
// it has there.
func locate(err error, whole *resource.Set, doc *config.Document) error {
	invalid, ok := errors.AsType[*resource.InvalidError](err)
	if !ok || whole == nil {
		return err
	}
	for i := range invalid.Mistakes {
		m := &invalid.Mistakes[i]
		if m.Line != 0 {
			continue
		}
		if path, ok := pathIn(doc.Set, whole, m.Path); ok {
			m.Path = path
			m.File, m.Line, m.Column = doc.Locate(path)
		}
	}
	return err
}

// sections are the lists of a set, as paths begin.
var sections = map[string]string{
	"databases": KindDatabase, "change_retentions": KindChangeRetention, "http_endpoints": KindEndpoint, "functions": KindFunction, "sinks": KindSink,
}

var indexed = regexp.MustCompile(`^([a-z_]+)\[(\d+)\](.*)$`)

// pathIn translates a path in one set to the path of the resource of the same name in another.
func pathIn(to, from *resource.Set, path string) (string, bool) {
	parts := indexed.FindStringSubmatch(path)
	if len(parts) != 4 || sections[parts[1]] == "" {
		return "", false
	}
	kind := sections[parts[1]]
	at, err := strconv.Atoi(parts[2])
	all := list(from, kind)
	if err != nil || at >= len(all) {
		return "", false
	}
	for i, x := range list(to, kind) {
		if x.name == all[at].name {
			return fmt.Sprintf("%s[%d]%s", parts[1], i, parts[3]), true
		}
	}
	return "", false
}

// Boot applies what the server was started with: to the account that it names, which is made if need be.
func (p *Plane) Boot(ctx context.Context, doc Document) (Result, error) {
	doc.Local = true
	name, err := config.AccountName(doc.Name, doc.Data, doc.Lookup)
	if err != nil {
		return Result{}, err
	}
	actor := Actor{Kind: ByFile, Name: doc.Name}
	if accounts := p.Accounts(); name == "" && len(accounts) == 1 {
		name = accounts[0].Name
	} else if name == "" {
		name = resource.DefaultAccount
	}
	// A document that is not valid must not leave an account behind.
	if _, err := p.FindAccount(name); err != nil {
		if _, _, err := p.parse(&resource.Set{Account: resource.Account{Name: name}}, doc); err != nil {
			return Result{}, err
		}
	}
	account, err := p.EnsureAccount(ctx, name, actor)
	if err != nil {
		return Result{}, err
	}
	return p.ApplyDocument(ctx, account.ID, actor, p.harmless(doc))
}

// harmless takes the order to remove everything out of a document that declares nothing: it is more likely a file that was not found.
func (p *Plane) harmless(doc Document) Document {
	if doc.Prune && strings.TrimSpace(string(doc.Data)) == "" {
		p.logger.Error("nothing at all is declared; --prune removes nothing then", "hint", "delete resources one by one, or remove the data directory yourself")
		doc.Prune = false
	}
	return doc
}

// Export writes what is declared as YAML, in clear with its secrets.
func (p *Plane) Export(accountID string, inClear bool) ([]byte, error) {
	set, _, err := p.Current(accountID)
	if err != nil {
		return nil, err
	}
	return config.Export(set, inClear)
}

// Resources returns the forms of everything that the account declares, secrets masked.
func Resources(set *resource.Set) []json.RawMessage {
	var all []json.RawMessage
	for _, kind := range Kinds() {
		for _, x := range list(set, kind) {
			all = append(all, form(x.value, false))
		}
	}
	return all
}

// Name is a resource by kind and name.
type Name struct{ Kind, Name string }

// undeclared lists what a set has that a document does not declare.
func undeclared(set, doc *resource.Set) []Name {
	var all []Name
	for _, kind := range Kinds() {
		for _, x := range list(set, kind) {
			if find(doc, kind, x.name) == nil {
				all = append(all, Name{kind, x.name})
			}
		}
	}
	return all
}
