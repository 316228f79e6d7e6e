package consumer

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/filter"
)

// fate says how a change is ordered.
type fate uint8

const (
	fateSkip     fate = iota // not for this consumer
	fateFree                 // independent of all others
	fateGroup                // in one group
	fatePair                 // changes its key: in the old group and in the new one
	fateFence                // after everything before it in its table and before everything after it
	fateOversize             // wanted, but its data was not kept
	fateLost                 // cannot be read any more
)

// mark is what the window needs to know of a change.
type mark struct {
	seq  uint64
	oid  uint32
	fate fate
	a, b uint64 // hashes of the group and, for a pair, of the old group
}

// plan turns the declared filter and grouping into a decision per relation. A plan never changes; an update of the consumer makes another.
type plan struct {
	filter    *filter.Filter
	where     Conditions
	grouping  Grouping
	skipBelow cdc.LSN
	skipEpoch uint32

	mu   sync.Mutex
	rels map[*cdc.Relation]*relPlan
}

// maxCachedRelations bounds the decisions that are kept: decoded blocks bring relations of their own, so old ones are never asked for again.
const maxCachedRelations = 4096

func newPlan(cfg Config, place cursorRecord) (*plan, error) {
	f, err := filter.New(cfg.Source, cfg.Actions)
	if err != nil {
		return nil, err
	}
	return &plan{
		filter: f, where: cfg.Where, grouping: cfg.Grouping, skipBelow: place.skipBelow, skipEpoch: place.skipEpoch, rels: map[*cdc.Relation]*relPlan{},
	}, nil
}

// sight remembers the last relation, for one goroutine.
type sight struct {
	plan *plan
	rel  *cdc.Relation
	last *relPlan
}

func (s *sight) of(p *plan, rel *cdc.Relation) *relPlan {
	if s.plan == p && s.rel == rel && s.last != nil {
		return s.last
	}
	s.plan, s.rel, s.last = p, rel, p.relation(rel)
	return s.last
}

func (p *plan) relation(rel *cdc.Relation) *relPlan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.rels[rel]; r != nil {
		return r
	}
	if len(p.rels) >= maxCachedRelations {
		clear(p.rels)
	}
	r := newRelPlan(p, rel)
	p.rels[rel] = r
	return r
}

// keyPlan is a list of columns to group by.
type keyPlan struct {
	cols    []int
	inKey   bool // an old row of kind 'K' (replica identity columns only) has them all
	variant byte // keeps the hashes of different lists apart
}

// relPlan is the decision for one relation.
type relPlan struct {
	rel                              *cdc.Relation
	insert, update, delete, truncate bool
	read                             bool
	mode                             GroupMode
	where                            atomic.Pointer[relWhere]
	key                              keyPlan // as chosen, or row
	row                              keyPlan // what tells the rows of the table apart
}

// relWhere keeps the condition on a relation once it was told.
type relWhere struct{ condition Condition }

// condition is the condition on the relation's changes.
func (p *plan) condition(r *relPlan) (Condition, error) {
	if p.where == nil || r.rel == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	if known := r.where.Load(); known != nil {
		return known.condition, nil
	}
	c, err := p.where.Of(r.rel)
	if err != nil {
		return nil, err
	}
	r.where.Store(&relWhere{c})
	return c, nil
}

// matches judges a change that is wanted by its table and action. A change that was too big to keep has no row to judge by, and matches.
// unknown says that the condition itself cannot be told now, failure that it cannot be evaluated for this change.
func (p *plan) matches(r *relPlan, c *cdc.Change) (ok bool, failure, unknown error) {
	condition, err := p.condition(r)
	if err != nil {
		return false, nil, err
	}
	if condition == nil || c.TooBig {
		return true, nil, nil
	}
	ok, err = condition.Matches(c)
	return ok, err, nil
}

func newRelPlan(p *plan, rel *cdc.Relation) *relPlan {
	r := &relPlan{
		rel:      rel,
		insert:   p.filter.Match(rel, cdc.OpInsert),
		update:   p.filter.Match(rel, cdc.OpUpdate),
		delete:   p.filter.Match(rel, cdc.OpDelete),
		truncate: p.filter.Match(rel, cdc.OpTruncate),
		read:     p.filter.Match(rel, cdc.OpRead),
		mode:     p.grouping.Mode,
	}
	if rel == nil || r.mode != GroupByKey {
		return r
	}
	r.row = newKeyPlan(rel, rowColumns(rel), 0)
	r.key = r.row
	names := p.grouping.Columns[filter.TableRef{Schema: rel.Schema, Name: rel.Name}]
	if len(names) == 0 && rel.HoldsEvents() { // what happened to one row of another table keeps its order
		names = cdc.EventGroup()
	}
	if len(names) > 0 {
		var cols []int
		for _, name := range names {
			if i := rel.ColumnIndex(name); i >= 0 {
				cols = append(cols, i)
			}
		}
		if len(cols) == len(names) { // else a column was renamed or dropped, and the row's own key is the safe choice
			r.key = newKeyPlan(rel, cols, 1)
		}
	}
	return r
}

// rowColumns are the columns that tell rows apart: the primary key, or the replica identity index when that is what deletes carry.
func rowColumns(rel *cdc.Relation) []int {
	if rel.Identity == 'i' && (len(rel.PrimaryKey) == 0 || !within(rel.PrimaryKey, rel.IdentityKey)) {
		return rel.IdentityKey
	}
	return rel.PrimaryKey
}

func within(cols, set []int) bool {
	return !slices.ContainsFunc(cols, func(i int) bool { return !slices.Contains(set, i) })
}

func newKeyPlan(rel *cdc.Relation, cols []int, variant byte) keyPlan {
	return keyPlan{cols: cols, inKey: within(cols, rel.IdentityKey), variant: variant}
}

func (r *relPlan) wants(op cdc.Op) bool {
	switch op {
	case cdc.OpInsert:
		return r.insert
	case cdc.OpUpdate:
		return r.update
	case cdc.OpDelete:
		return r.delete
	case cdc.OpTruncate:
		return r.truncate
	case cdc.OpRead:
		return r.read
	case cdc.OpMessage:
		return false
	}
	return false
}

// classify decides about one change. buf is scratch space. One whose condition fails is let through: it fails when it is handed out. The
// error says that there is no telling yet.
func (p *plan) classify(c *cdc.Change, s *sight, buf []byte) (mark, []byte, error) {
	m := mark{seq: c.Seq}
	if c.Relation == nil || (c.Position.LSN < p.skipBelow && c.Position.Epoch == p.skipEpoch) {
		return m, buf, nil
	}
	r := s.of(p, c.Relation)
	if !r.wants(c.Op) {
		return m, buf, nil
	}
	if p.where != nil {
		switch ok, failure, unknown := p.matches(r, c); {
		case unknown != nil:
			return m, buf, unknown
		case !ok && failure == nil:
			return m, buf, nil
		}
	}
	m.oid = c.Relation.OID
	switch {
	case c.TooBig:
		m.fate = fateOversize
	case r.mode == GroupByTable:
		m.fate = fateGroup
	case c.Op == cdc.OpTruncate:
		m.fate = fateFence
	case r.mode == GroupOff || len(r.key.cols) == 0:
		m.fate = fateFree
	default:
		buf = r.group(c, &m, buf)
	}
	return m, buf, nil
}

// group finds the group or groups of a row change. When the key cannot be known (the server did not send it), the change becomes a fence:
// slow, but in order.
func (r *relPlan) group(c *cdc.Change, m *mark, buf []byte) []byte {
	if c.Op == cdc.OpDelete {
		var k keyResult
		m.a, k, buf = r.hash(c, true, buf)
		m.fate = k.fate()
		return buf
	}
	var k keyResult
	m.a, k, buf = r.hash(c, false, buf)
	m.fate = k.fate()
	if c.Op != cdc.OpUpdate || c.OldKind == 0 || k == keyUnknown {
		return buf
	}
	var old keyResult
	m.b, old, buf = r.hash(c, true, buf)
	if old == keyKnown && m.b != m.a {
		if k == keyNone {
			m.a, m.fate = m.b, fateGroup // it leaves its group and joins none
		} else {
			m.fate = fatePair
		}
	}
	return buf
}

type keyResult uint8

const (
	keyKnown keyResult = iota
	keyNone            // nothing to group by: all NULL, and no other key
	keyUnknown
)

func (k keyResult) fate() fate {
	switch k {
	case keyKnown:
		return fateGroup
	case keyNone:
		return fateFree
	case keyUnknown:
		return fateFence
	}
	return fateFence
}

// hash is the hash of the change's group, from the old row or the new one. Rows whose chosen columns are all NULL have no group in common;
// each is its own group by the row's key.
func (r *relPlan) hash(c *cdc.Change, old bool, buf []byte) (uint64, keyResult, []byte) {
	buf, result := r.key.append(buf[:0], c, old)
	if result == keyNone && r.key.variant != r.row.variant && len(r.row.cols) > 0 {
		buf, result = r.row.append(buf[:0], c, old)
	}
	if result != keyKnown {
		return 0, result, buf
	}
	return xxhash.Sum64(buf), keyKnown, buf
}

// append builds the unambiguous form of the key: the variant, then for each column its kind, length and text.
func (k *keyPlan) append(dst []byte, c *cdc.Change, old bool) ([]byte, keyResult) {
	dst = append(dst, k.variant)
	result := keyNone
	for _, col := range k.cols {
		d, ok := k.value(c, col, old)
		switch {
		case !ok:
			return dst, keyUnknown
		case d.Null():
			dst = append(dst, 'n')
		default:
			result = keyKnown
			dst = binary.AppendUvarint(append(dst, 't'), uint64(len(d.Text)))
			dst = append(dst, d.Text...)
		}
	}
	return dst, result
}

// value is one column of the old or the new row, and false when the server did not send it.
func (k *keyPlan) value(c *cdc.Change, col int, old bool) (cdc.Datum, bool) {
	oldHas := c.OldKind == 'O' || (c.OldKind == 'K' && k.inKey)
	if !old {
		if d, ok := c.New.Column(col); ok && !d.Unchanged() {
			return d, true
		}
	}
	if !oldHas {
		return cdc.Datum{}, false
	}
	d, ok := c.Old.Column(col)
	return d, ok && !d.Unchanged()
}

// appendGroup appends the ordering key as text: the key's values with colons between them, as the original wrote it; the new key of a change
// of key. A key that is all NULL or was not sent is empty.
func (r *relPlan) appendGroup(dst []byte, c *cdc.Change) []byte {
	if r.mode == GroupByTable {
		dst = append(dst, r.rel.Schema...)
		dst = append(dst, '.')
		return append(dst, r.rel.Name...)
	}
	if r.mode == GroupOff || c.Op == cdc.OpTruncate || c.TooBig {
		return dst
	}
	start := len(dst)
	null := true
	for i, col := range r.key.cols {
		if i > 0 {
			dst = append(dst, ':')
		}
		d, ok := r.key.value(c, col, c.Op == cdc.OpDelete)
		if !ok {
			return dst[:start]
		}
		if !d.Null() {
			null = false
			dst = append(dst, d.Text...)
		}
	}
	if null {
		return dst[:start]
	}
	return dst
}
