package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// AuditLimit is how many entries of an account's audit log are kept.
const AuditLimit = 10_000

// auditSpare is how many more there may be before the oldest are removed, many at once.
const auditSpare = 64

// AuditEntry tells who did what. ID grows with time within an account.
type AuditEntry struct {
	ID           uint64
	At           time.Time
	Actor        Actor
	Action       string
	ResourceType string
	Resource     string
	Detail       string
	Outcome      string
}

// auditRecord is an AuditEntry as it is stored; the id is in the key too.
type auditRecord struct {
	ID           uint64    `json:"id"`
	At           time.Time `json:"at"`
	Actor        Actor     `json:"actor"`
	Action       string    `json:"action"`
	ResourceType string    `json:"resource_type,omitempty"`
	Resource     string    `json:"resource,omitempty"`
	Detail       string    `json:"detail,omitempty"`
	Outcome      string    `json:"outcome"`
}

// auditLog knows the number of an account's last entry.
type auditLog struct {
	mu     sync.Mutex
	loaded bool
	last   uint64
}

func auditPrefix(account string) string { return accountPrefix + account + "/audit/" }
func auditKey(account string, id uint64) string {
	return fmt.Sprintf("%s%016x", auditPrefix(account), id)
}

// audit finds the account's log, and reads once where it ends.
func (s *Store) audit(ctx context.Context, account string) (*auditLog, error) {
	if err := checkPart("account", account); err != nil {
		return nil, err
	}
	s.mu.Lock()
	log := s.audits[account]
	if log == nil {
		log = &auditLog{}
		s.audits[account] = log
	}
	s.mu.Unlock()
	log.mu.Lock()
	defer log.mu.Unlock()
	if log.loaded {
		return log, nil
	}
	for entry, err := range s.state.List(ctx, auditPrefix(account)) {
		if err != nil {
			return nil, fmt.Errorf("list the audit log: %w", err)
		}
		if log.last, err = strconv.ParseUint(strings.TrimPrefix(entry.Key, auditPrefix(account)), 16, 64); err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", engine.ErrCorrupt, entry.Key, err)
		}
	}
	log.loaded = true
	return log, nil
}

func (s *Store) forgetAudit(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.audits, account)
}

// next gives out a number, end tells the last one.
func (l *auditLog) next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	return l.last
}

func (l *auditLog) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// AppendAudit adds an entry to an account's audit log; ID is set here, At unless the caller did. It returns when the entry is durable.
func (s *Store) AppendAudit(ctx context.Context, account string, e AuditEntry) error {
	log, err := s.audit(ctx, account)
	if err != nil {
		return err
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC().Round(0)
	for {
		e.ID = log.next()
		value, err := json.Marshal(auditRecord(e))
		if err != nil {
			return fmt.Errorf("encode an audit entry: %w", err)
		}
		_, err = s.state.CompareAndSet(ctx, auditKey(account, e.ID), 0, value)
		if errors.Is(err, engine.ErrConflict) {
			continue // a write that was reported as failed was not, or another process wrote it
		}
		if err == nil && e.ID%auditSpare == 0 {
			_ = s.trimAudit(ctx, account, e.ID) // the next one does it
		}
		if err != nil {
			return fmt.Errorf("write an audit entry: %w", err)
		}
		return nil
	}
}

// trimAudit removes what is too old, from the front of the list: there are few of them.
func (s *Store) trimAudit(ctx context.Context, account string, last uint64) error {
	if last <= AuditLimit {
		return nil
	}
	oldest := auditKey(account, last-AuditLimit+1)
	var ops []engine.Op
	for entry, err := range s.state.List(ctx, auditPrefix(account)) {
		if err != nil {
			return err
		}
		if entry.Key >= oldest {
			break
		}
		ops = append(ops, engine.Delete(entry.Key))
	}
	return apply(ctx, s.state, ops)
}

// Audit lists an account's entries below before, newest first; before 0 begins with the newest, limit 0 goes on to the oldest.
func (s *Store) Audit(ctx context.Context, account string, before uint64, limit int) ([]AuditEntry, error) {
	log, err := s.audit(ctx, account)
	if err != nil {
		return nil, err
	}
	id := log.end()
	oldest := max(id, AuditLimit) - AuditLimit + 1
	if before > 0 {
		id = min(id, before-1)
	}
	var all []AuditEntry
	for ; id >= oldest && (limit <= 0 || len(all) < limit); id-- {
		entry, err := s.state.Get(ctx, auditKey(account, id))
		if errors.Is(err, engine.ErrNotFound) {
			continue // its write failed
		}
		if err != nil {
			return nil, fmt.Errorf("read an audit entry: %w", err)
		}
		var r auditRecord
		if err := decodeJSON(entry, &r); err != nil {
			return nil, err
		}
		all = append(all, AuditEntry(r))
	}
	return all, nil
}
