package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/consumer"
)

// auditNames is how many messages of those that were named the audit log tells.
const auditNames = 20

// selectionText says which messages were meant, for the audit log.
func selectionText(sel *consumer.Selection) string {
	if !sel.All {
		return namesText(sel.Seqs, sel.AckIDs)
	}
	var parts []string
	if sel.State != "" {
		parts = append(parts, "state "+string(sel.State))
	}
	return allText(append(parts, filterText(sel.MessageFilter, sel.After)...))
}

func filterText(f consumer.MessageFilter, after uint64) (parts []string) {
	if f.Table != "" {
		parts = append(parts, "table "+clip(f.Table))
	}
	if f.Key != "" {
		parts = append(parts, "key "+clip(f.Key))
	}
	if after > 0 {
		parts = append(parts, fmt.Sprintf("after seq %d", after))
	}
	return parts
}

func allText(parts []string) string {
	if len(parts) == 0 {
		return "all"
	}
	return "all with " + strings.Join(parts, ", ")
}

func namesText(seqs []uint64, ackIDs []string) string {
	names := make([]string, 0, auditNames+1)
	for _, seq := range seqs[:min(len(seqs), auditNames)] {
		names = append(names, strconv.FormatUint(seq, 10))
	}
	names = append(names, ackIDs[:min(len(ackIDs), auditNames-len(names))]...)
	if more := len(seqs) + len(ackIDs) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "among " + strings.Join(names, ", ")
}

// page reads the parameters of a list: after and before are the bounds, order says which way.
func (p *params) page() (after, before uint64, descending bool, limit int, err error) {
	limit, found, err := p.integer("limit", 1, maxListed)
	if !found {
		limit = defaultListed
	}
	if err == nil {
		after, _, err = p.seq("after")
	}
	if err != nil {
		return 0, 0, false, 0, err
	}
	before, found, err = p.seq("before")
	if err != nil {
		return 0, 0, false, 0, err
	}
	descending = found
	if v, ok := p.find("order"); ok {
		if v.text != "asc" && v.text != "desc" {
			return 0, 0, false, 0, badParameter("order", "is %s; it must be asc or desc", v.shown)
		}
		descending = v.text == "desc"
	}
	return after, before, descending, limit, nil
}

// seq reads the number of an entry.
func (p *params) seq(name string) (seq uint64, found bool, err error) {
	v, ok := p.find(name)
	if !ok {
		return 0, false, nil
	}
	seq, parseErr := strconv.ParseUint(v.text, 10, 63)
	if !v.scalar || parseErr != nil {
		return 0, true, badParameter(name, "is %s; expected the seq of a message", v.shown)
	}
	return seq, true, nil
}

func (p *params) messageFilter() (f consumer.MessageFilter, err error) {
	if f.Table, err = p.text("table"); err != nil {
		return f, err
	}
	f.Key, err = p.text("key")
	return f, err
}

func (p *params) text(name string) (string, error) {
	v, ok := p.find(name)
	if ok && !v.scalar {
		return "", badParameter(name, "is %s; it must be a text", v.shown)
	}
	return v.text, nil
}

// state reads the state of messages, if it is given.
func (p *params) state(allowed ...consumer.MessageState) (consumer.MessageState, error) {
	v, ok := p.find("state")
	if !ok || v.text == "" && v.scalar {
		return "", nil
	}
	state := consumer.MessageState(v.text)
	if !v.scalar || !slices.Contains(allowed, state) {
		return "", badParameter("state", "is %s; it must be one of %s", v.shown, joined(allowed))
	}
	return state, nil
}

// seqs reads a list of seqs.
func (p *params) seqs() (seqs []uint64, found bool, err error) {
	raw, ok := p.body["seqs"]
	if !ok {
		return nil, false, nil
	}
	if json.Unmarshal(raw, &seqs) != nil || len(seqs) == 0 || len(seqs) > maxNamed {
		return nil, true, badParameter("seqs", "must be a list of 1 to %d numbers", maxNamed)
	}
	return seqs, true, nil
}

// selection reads which messages are meant: those that are named, or all that are described.
func (p *params) selection(states ...consumer.MessageState) (sel consumer.Selection, err error) {
	var named, byAckID bool
	if sel.Seqs, named, err = p.seqs(); err != nil {
		return sel, err
	}
	if _, byAckID = p.body["ack_ids"]; byAckID {
		if sel.AckIDs, err = ackIDs(p); err != nil {
			return sel, err
		}
		if len(sel.AckIDs)+len(sel.Seqs) > maxNamed {
			return sel, badParameter("ack_ids", "is too long: a request may name %d messages", maxNamed)
		}
	}
	if sel.State, err = p.state(states...); err != nil {
		return sel, err
	}
	if sel.MessageFilter, err = p.messageFilter(); err != nil {
		return sel, err
	}
	described := sel.State != "" || sel.Table != "" || sel.Key != ""
	sel.All, sel.After, err = p.all(named || byAckID, described, "seqs or ack_ids", "all, state, table or key")
	return sel, err
}

// all tells whether all messages are meant that are described, and behind which seq. They must be either named or described.
func (p *params) all(named, described bool, names, descriptions string) (all bool, after uint64, err error) {
	if all, err = p.boolean("all"); err != nil {
		return false, 0, err
	}
	all = all || described
	switch {
	case named && all:
		return false, 0, badParameter("seqs", "cannot be combined: name messages with %s, or describe them with %s", names, descriptions)
	case !named && !all:
		return false, 0, badParameter("seqs", "is missing: name messages with %s, or describe them with %s", names, descriptions)
	}
	after, _, err = p.seq("after")
	return all, after, err
}

// deadSelection reads which dead letters are meant, likewise.
func (p *params) deadSelection() (sel consumer.DeadSelection, err error) {
	var named bool
	if sel.Seqs, named, err = p.seqs(); err != nil {
		return sel, err
	}
	if sel.DeadFilter, err = p.deadFilter(); err != nil {
		return sel, err
	}
	described := sel.DeadFilter != consumer.DeadFilter{}
	sel.All, sel.After, err = p.all(named, described, "seqs", "all, reason_code, table or key")
	return sel, err
}

func (p *params) deadFilter() (f consumer.DeadFilter, err error) {
	reason, err := p.text("reason_code")
	if err != nil {
		return f, err
	}
	f.Reason = consumer.Reason(reason)
	if reason != "" && !slices.Contains(consumer.Reasons(), f.Reason) {
		return f, badParameter("reason_code", "is %q; it must be one of %s", clip(reason), joined(consumer.Reasons()))
	}
	f.MessageFilter, err = p.messageFilter()
	return f, err
}

func joined[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// deadText says which dead letters were meant, for the audit log.
func deadText(sel *consumer.DeadSelection) string {
	if !sel.All {
		return namesText(sel.Seqs, nil)
	}
	var parts []string
	if sel.Reason != "" {
		parts = append(parts, "reason_code "+string(sel.Reason))
	}
	return allText(append(parts, filterText(sel.MessageFilter, sel.After)...))
}
