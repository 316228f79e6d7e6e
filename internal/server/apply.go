package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// declaration is all that is declared, over all accounts.
type declaration struct {
	sets      []*resource.Set
	accounts  map[string]bool // by id
	databases map[string]bool // by id
	sinks     map[string]bool // by id, change retentions too
}

func declarationOf(sets []*resource.Set) declaration {
	d := declaration{sets: sets, accounts: map[string]bool{}, databases: map[string]bool{}, sinks: map[string]bool{}}
	for _, set := range sets {
		d.accounts[set.Account.ID] = true
		for i := range set.Databases {
			d.databases[set.Databases[i].ID] = true
		}
		for i := range set.Sinks {
			d.sinks[set.Sinks[i].ID] = true
		}
		for i := range set.ChangeRetentions {
			d.sinks[set.ChangeRetentions[i].ID] = true
		}
	}
	return d
}

// Apply makes what runs match what the accounts declare, in place: it starts, changes and stops what differs, and leaves everything else alone. What
// is not declared any more is removed with all that it has. It goes on after errors and returns them together.
func (s *Server) Apply(ctx context.Context, sets []*resource.Set) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.apply(ctx, declarationOf(sets))
	s.mu.Lock()
	if err != nil && s.applied == nil {
		s.unapplied = time.Now()
	}
	s.applied = err
	s.mu.Unlock()
	if s.limitMemory != nil {
		s.limitMemory(len(s.databases()))
	}
	select {
	case s.again <- struct{}{}: // Run finds out what is left to do
	default:
	}
	return err
}

func (s *Server) apply(ctx context.Context, want declaration) error {
	var errs []error
	for _, set := range want.sets {
		for i := range set.Databases {
			if err := s.applyDatabase(ctx, set, set.Databases[i]); err != nil {
				errs = append(errs, fmt.Errorf("database %q: %w", set.Databases[i].Name, err))
			}
		}
	}
	return errors.Join(append(errs, s.retire(ctx, want))...)
}

func (s *Server) applyDatabase(ctx context.Context, set *resource.Set, res resource.Database) error {
	_, first, err := s.registry.add(ctx, store.Database, registered{ID: res.ID, Name: res.Name, Account: set.Account.ID})
	if err != nil {
		return err
	}
	s.mu.RLock()
	db, there := s.dbs[res.ID]
	s.mu.RUnlock()
	var running map[string]declared
	if there {
		running = db.declared()
	}
	sinks, err := s.registerSinks(ctx, set, res, running, first)
	err = errors.Join(err, s.registerRetentions(ctx, set, res, sinks, running, first))
	if there {
		return errors.Join(err, db.apply(ctx, res, sinks))
	}
	db = newDatabase(s, set.Account.ID, res, sinks)
	db.task = start(db.logger, "database", db.run) //nolint:contextcheck // it outlives the call that starts it
	s.mu.Lock()
	s.dbs[res.ID] = db
	s.mu.Unlock()
	return err
}

// registerSinks finds out which of the declared sinks of a database are new. One sink's trouble leaves the others alone: they are returned beside
// the error. A sink that runs keeps running when it cannot be looked up. first says that the database is new, too: its sinks then begin where its
// slot stands. A slot that was there before holds what nobody has had yet, and whoever takes it over from another tool must not miss that.
func (s *Server) registerSinks(ctx context.Context, set *resource.Set, res resource.Database, running map[string]declared, first bool) (map[string]declared, error) {
	sinks := map[string]declared{}
	var errs []error
	for i := range set.Sinks {
		sk := set.Sinks[i]
		if sk.Database != res.Name {
			continue
		}
		was, created, err := s.registry.add(ctx, store.Sink, registered{ID: sk.ID, Name: sk.Name, Parent: res.ID, Account: set.Account.ID})
		if err != nil {
			errs = append(errs, err)
			if old, there := running[sk.Name]; there {
				sinks[sk.Name] = old
			}
			continue
		}
		if was.Parent != res.ID {
			errs = append(errs, problem.New("sink_of_another_database", "sink %q belongs to another database", sk.Name).
				WithDetail("its place in that one's changes means nothing in database %q", res.Name).WithHint("declare it under another name"))
			continue
		}
		d := declared{id: sk.ID, sink: sk, created: created && !first}
		if ep, ok := set.HTTPEndpoint(sk.Destination.Webhook.HTTPEndpoint); ok && sk.Destination.Type == resource.DestinationWebhook {
			d.endpoint = ep
		}
		for _, name := range sk.Functions() {
			if f, ok := set.Function(name); ok {
				if d.functions == nil {
					d.functions = map[string]*resource.Function{}
				}
				d.functions[name] = f
			}
		}
		if f := d.functions[sk.Enrichment]; f != nil {
			asked := askedDatabase(set, &res, f)
			d.asked = &asked
		}
		sinks[sk.Name] = d
	}
	return sinks, errors.Join(errs...)
}

// retire stops databases that are not declared any more, and removes what has been registered and is not declared.
func (s *Server) retire(ctx context.Context, want declaration) error {
	var errs []error
	for _, db := range s.databases() {
		if want.databases[db.id] {
			continue
		}
		s.mu.Lock()
		delete(s.dbs, db.id)
		s.mu.Unlock()
		errs = append(errs, db.task.stop(ctx))
		db.forgetMetrics()
	}
	return errors.Join(append(errs, s.removeSinks(ctx, want), s.removeDatabases(ctx, want))...)
}

// gone tells whether something registered was removed, rather than left by an earlier release: its account is there and does not declare it.
func (w declaration) gone(r registered) bool { return w.accounts[r.Account] }

func (s *Server) removeSinks(ctx context.Context, want declaration) error {
	known, err := s.registry.list(ctx, store.Sink)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range known {
		if want.sinks[r.ID] {
			continue
		}
		if !want.gone(r) && !s.opts.Prune {
			s.holdsOnce(r.kind(), r, "declare it again, or start with --prune to remove it and what it has not delivered")
			continue
		}
		if err := s.backfills.Remove(ctx, r.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		err := errors.Join(s.engine.State().DeletePrefix(ctx, "consumer/"+r.ID+"/"), s.engine.State().DeletePrefix(ctx, lifePrefix+r.ID))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := s.engine.DropLog(ctx, laneLog(r.ID)); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.forgetIdentity(ctx, store.Sink, r), s.registry.remove(ctx, store.Sink, r.ID))
		s.metrics.Forget(r.ID, r.Name)
		s.logger.Info("removed a consumer and what it has not delivered", r.kind(), r.Name)
	}
	return errors.Join(errs...)
}

func (s *Server) removeDatabases(ctx context.Context, want declaration) error {
	known, err := s.registry.list(ctx, store.Database)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range known {
		if want.databases[r.ID] {
			continue
		}
		if !want.gone(r) && !s.opts.Prune {
			s.holdsOnce("database", r, "declare it again; or start with --prune to remove its change log, and drop its slot: select pg_drop_replication_slot('…')")
			continue
		}
		errs = append(errs, s.engine.DropLog(ctx, r.ID), capture.Forget(ctx, s.engine.State(), r.ID), s.engine.State().DeletePrefix(ctx, factsPrefix(r.ID)),
			s.forgetIdentity(ctx, store.Database, r), s.registry.remove(ctx, store.Database, r.ID))
		s.logger.Warn("removed a database's change log; its replication slot is still there and holds WAL until it is dropped", "database", r.Name,
			"hint", "select pg_drop_replication_slot('…') on that server")
	}
	return errors.Join(errs...)
}

// forgetIdentity removes the name that an earlier release gave the id to, so that the name does not find an id without state.
func (s *Server) forgetIdentity(ctx context.Context, kind store.Kind, r registered) error {
	known, err := s.store.List(ctx, kind)
	if err != nil {
		return err
	}
	for _, id := range known {
		if id.ID == r.ID {
			return s.store.Forget(ctx, kind, id.Name)
		}
	}
	return nil
}

// holdsOnce says once a process that something is kept although nobody declares it.
func (s *Server) holdsOnce(kind string, r registered, hint string) {
	if s.held[r.ID] {
		return
	}
	s.held[r.ID] = true
	s.logger.Warn("an earlier start declared something that nobody declares now; it is held like a paused sink, and its messages are kept", kind, r.Name, "hint", hint)
}
