package store

import (
	"context"
	"strings"
)

// Garbage lists the keys of an account's history that nothing leads to: neither the head nor a revision that is kept.
func (s *Store) Garbage(ctx context.Context, account string) ([]string, error) {
	h, err := s.history(account)
	if err != nil {
		return nil, err
	}
	return h.garbage(ctx)
}

// MemberGarbage does so for accounts and users.
func (s *Store) MemberGarbage(ctx context.Context) ([]string, error) {
	accounts, err := s.accounts().garbage(ctx)
	if err != nil {
		return nil, err
	}
	users, err := s.users().garbage(ctx)
	return append(accounts, users...), err
}

func (h history) garbage(ctx context.Context) ([]string, error) {
	head, _, err := h.head(ctx)
	if err != nil {
		return nil, err
	}
	floor, _, err := h.floor(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{h.headKey(): true, h.floorKey(): true, h.indexKey(head.Number): true}
	var whole []string
	for number := floor; number <= head.Number; number++ {
		known[h.indexKey(number)] = true
		at, err := h.find(ctx, number)
		if err != nil {
			return nil, err
		}
		m, err := h.manifest(ctx, at)
		if err != nil {
			return nil, err
		}
		for _, e := range m.Objects {
			known[h.object(m.place(e), e)] = true
		}
		whole = append(whole, h.commitPrefix(at)+manifestBlob, h.commitPrefix(at)+revisionBlob)
	}
	var garbage []string
	for entry, err := range h.state.List(ctx, h.prefix) {
		if err != nil {
			return nil, err
		}
		reached := known[entry.Key] || strings.HasPrefix(entry.Key, h.prefix+"audit/")
		for _, prefix := range whole {
			reached = reached || strings.HasPrefix(entry.Key, prefix)
		}
		if !reached {
			garbage = append(garbage, entry.Key)
		}
	}
	return garbage, nil
}
