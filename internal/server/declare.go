package server

import (
	"context"
	"errors"
	"time"

	"github.com/sequinstream/sequin/internal/backoff"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/health"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// postponed is a document in which nothing is wrong, and which could not be written: the storage refused it. What was declared before stays in
// force until it can.
type postponed struct {
	doc   *control.Document // nil for none
	err   error
	since time.Time
}

// boot applies the document of the start, and brings about what is stored. A document that is not valid starts nothing; one that the storage
// refuses is tried again later, while what was declared before is served.
func (s *Server) boot(ctx context.Context, doc *control.Document) error {
	if doc != nil {
		changed, err := s.declare(ctx, doc)
		switch {
		case err != nil && (ctx.Err() != nil || mistaken(err)):
			return err
		case err != nil:
			s.postpone(doc, err)
			s.logger.Error("the declaration could not be written; what was declared before is served, and it is tried again", "reason", err)
		case changed:
			return nil
		}
	}
	if err := s.plane.Run(ctx); err != nil {
		s.logger.Error("part of what is declared could not be brought about", "reason", err)
	}
	return nil
}

// mistaken tells whether an error is a document's own, so that trying the same document again is of no use.
func mistaken(err error) bool {
	_, invalid := errors.AsType[*resource.InvalidError](err)
	return invalid
}

// postpone keeps a document to be tried again; nil for none.
func (s *Server) postpone(doc *control.Document, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.postponed.since
	if s.postponed.doc == nil {
		since = time.Now()
	}
	s.postponed = postponed{doc, err, since}
}

func (s *Server) waiting() postponed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.postponed
}

// Declare applies a document of the operator's while the server runs, like a reload.
func (s *Server) Declare(ctx context.Context, doc *control.Document) error {
	_, err := s.declare(ctx, doc)
	if err != nil {
		return err
	}
	return s.unfinished()
}

// declare applies a document of the operator's, and tells whether that changed anything.
func (s *Server) declare(ctx context.Context, doc *control.Document) (changed bool, err error) {
	result, err := s.plane.Boot(ctx, *doc)
	if err := errors.Join(err, s.keepTokens(result.Tokens)); err != nil {
		return false, err
	}
	for _, w := range result.Warnings {
		s.logger.Warn("about the declaration", "file", doc.Name, "warning", w)
	}
	for i := range result.Changes {
		c := &result.Changes[i]
		s.logger.Info("declared", "action", c.Action, "resource_type", c.Kind, "name", c.Name, "changed", c.Changed, "revision", result.Revision)
	}
	for _, r := range result.Undeclared {
		s.logger.Info("declared earlier or over the API, and not in this file: it goes on as it is", "resource_type", r.Kind, "name", r.Name, "file", doc.Name,
			"hint", "start with --prune to have the file remove what it does not declare")
	}
	return len(result.Changes) > 0, nil
}

// keepTokens writes the secrets of new tokens to files of the operator's, and those that could not be written before: nobody can read them
// anywhere else.
func (s *Server) keepTokens(made []resource.APIToken) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept = append(s.unkept, made...)
	for len(s.unkept) > 0 {
		if err := s.keepToken(&s.unkept[0]); err != nil {
			return err
		}
		s.unkept = s.unkept[1:]
	}
	return nil
}

// follow applies what is reloaded, and tries again what could not be written or brought about, until ctx ends or a listener fails.
func (s *Server) follow(ctx context.Context, reload <-chan *control.Document, servers *httpServers) error {
	var bringing, writing retry
	if s.waiting().doc != nil {
		writing.again()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-servers.failed:
			return err
		case doc := <-reload:
			writing = retry{}
			s.redeclare(ctx, doc, &writing)
		case <-writing.at:
			writing.at = nil
			s.redeclare(ctx, s.waiting().doc, &writing)
		case <-s.again:
			if s.unfinished() == nil {
				bringing = retry{}
				continue
			}
			s.logger.Error("part of what is declared could not be brought about", "reason", s.unfinished(), "again_in", bringing.again())
		case <-bringing.at:
			bringing.at = nil
			_ = s.plane.Run(ctx) // says itself how it went, by again
		}
	}
}

// redeclare applies a document while the server runs. It takes the place of one that waits.
func (s *Server) redeclare(ctx context.Context, doc *control.Document, r *retry) {
	_, err := s.declare(ctx, doc)
	switch {
	case err == nil:
		s.postpone(nil, nil)
	case ctx.Err() != nil: // asked to stop meanwhile
	case mistaken(err):
		s.postpone(nil, nil)
		s.logger.Error("the declaration was read again and could not be applied; the old one stays in force", "reason", err)
	default:
		s.postpone(doc, err)
		s.logger.Error("the declaration could not be written; the old one stays in force", "reason", err, "again_in", r.again())
	}
}

// retry is when something is tried again. Its zero value is never.
type retry struct {
	tries int
	at    <-chan time.Time
}

// again has it tried once more, after a while that grows, and tells how long that is.
func (r *retry) again() time.Duration {
	r.tries++
	wait := backoff.Schedule{Base: time.Second, Cap: 30 * time.Second}.Delay(r.tries, nil)
	r.at = time.After(wait)
	return wait
}

// unfinished is what the last Apply could not bring about.
func (s *Server) unfinished() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// undeclared is what keeps the declaration from being in force.
func (s *Server) undeclared() []health.Issue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []health.Issue
	report := func(what string, err error, since time.Time, hint string) {
		p := problem.New("declaration_not_applied", "%s", what).WithDetail("%s", err).WithHint("%s", hint)
		all = append(all, health.IssueOf(health.Error, p, since))
	}
	if w := s.postponed; w.doc != nil {
		report("the declaration could not be written, and an older one is in force", w.err, w.since,
			"it is tried again at intervals; make room on the data directory's file system, or mend what else the detail says")
	}
	if s.applied != nil {
		report("part of the declaration could not be applied", s.applied, s.unapplied, "it is tried again at intervals; mend what the detail says")
	}
	return all
}
