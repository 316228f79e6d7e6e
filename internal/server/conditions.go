package server

import (
	"strings"
	"sync"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/where"
)

// conditions are what a sink asks of the changes of each table, in SQL. A program is compiled when the first change of a table comes, and again when
// more is known of the table.
type conditions struct {
	facts *tableFacts
	texts func(table resource.TableName) []string
	// compileOne compiles what is not SQL, in place of texts.
	compileOne func(table where.Table, o where.Options) ([]*where.Program, error)
	text       string
	since      uint64 // what is known from before is not enough to say that a condition does not fit

	mu       sync.Mutex
	programs map[programKey]*compiled
}

type programKey struct {
	oid   uint32
	table resource.TableName
}

// compiled is what became of the conditions on a table.
type compiled struct {
	fact     *tableFact
	programs []*where.Program
	err      error
}

// conditionsOf are a sink's own conditions; nil for none.
func conditionsOf(facts *tableFacts, s *resource.Sink) consumer.Conditions {
	if !s.Conditional() {
		return nil
	}
	var text strings.Builder
	text.WriteString(s.Where)
	for i := range s.Tables {
		if t := &s.Tables[i]; t.Where != "" {
			text.WriteString("\x00" + t.Name.String() + "\x00" + t.Where)
		}
	}
	declared := s.Clone()
	return newConditions(facts, text.String(), declared.Conditions)
}

func newConditions(facts *tableFacts, text string, texts func(resource.TableName) []string) *conditions {
	return &conditions{facts: facts, texts: texts, text: text, since: facts.now(), programs: map[programKey]*compiled{}}
}

// String is what was declared.
func (c *conditions) String() string { return c.text }

// Changed is closed when more is known of a table.
func (c *conditions) Changed() <-chan struct{} { return c.facts.Changed() }

// Of is the condition on the changes of a relation.
func (c *conditions) Of(rel *cdc.Relation) (consumer.Condition, error) {
	all, err := c.bind(rel)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// bind compiles the conditions on a relation.
func (c *conditions) bind(rel *cdc.Relation) (boundConditions, error) {
	name := resource.TableName{Schema: rel.Schema, Name: rel.Name}
	var texts []string
	if c.compileOne == nil {
		if texts = c.texts(name); len(texts) == 0 {
			return nil, nil
		}
	}
	programs, err := c.compile(rel, name, texts)
	if err != nil {
		return nil, err
	}
	if programs.err != nil {
		return boundConditions{{err: programs.err}}, nil //nolint:nilerr // the error of each change
	}
	var all boundConditions
	for _, p := range programs.programs {
		all = append(all, boundCondition{bound: p.Bind(rel)})
	}
	return all, nil
}

func (c *conditions) compile(rel *cdc.Relation, name resource.TableName, texts []string) (*compiled, error) {
	key := programKey{rel.OID, name}
	fact, options, err := c.facts.of(rel, 0)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.programs[key]; known != nil && known.fact == fact {
		return known, nil
	}
	made := c.compileAll(fact, options, texts)
	if made.err != nil { // perhaps the table has changed since
		if fact, options, err = c.facts.of(rel, c.since+1); err != nil {
			return nil, err
		}
		made = c.compileAll(fact, options, texts)
	}
	c.programs[key] = made
	return made, nil
}

func (c *conditions) compileAll(fact *tableFact, options where.Options, texts []string) *compiled {
	if c.compileOne != nil {
		programs, err := c.compileOne(fact.Table, options)
		return &compiled{fact: fact, programs: programs, err: err}
	}
	made := &compiled{fact: fact}
	for _, text := range texts {
		p, _, err := where.Compile(text, fact.Table, options)
		if err != nil {
			return &compiled{fact: fact, err: err}
		}
		made.programs = append(made.programs, p)
	}
	return made
}

// boundConditions must all hold. What comes behind one that does not is not asked.
type boundConditions []boundCondition

type boundCondition struct {
	bound *where.Bound
	err   error // it does not fit the table: every change fails
}

// Matches reports whether a change meets all of them.
func (b boundConditions) Matches(change *cdc.Change) (bool, error) {
	for _, one := range b {
		if one.err != nil {
			return false, one.err
		}
		if ok, err := one.bound.Matches(change); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
