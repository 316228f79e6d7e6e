// Package where compiles and evaluates the conditions that sinks put on changes: Postgres expressions over the columns of the row that changed.
//
// An expression is parsed by Postgres' grammar, checked against the table's columns by Postgres' rules of types, and compiled once. It is then
// evaluated for each change on the row's wire form, where only the columns that it names are decoded. The result is what Postgres would answer
// for that row, true, false, null or an error; what cannot be answered as Postgres would is refused, when the condition is saved where that is
// possible, and as the message's error otherwise. Nothing is guessed.
//
// The order of evaluation is that of Postgres' executor: AND and OR from left to right, stopping when the result is known. What does not
// depend on the row is computed when the condition is compiled, and its errors are errors of the condition.
//
// A Program is safe for concurrent use.
package where

//go:generate go test -run TestReferenceListsEverything . -update

import (
	"sync"
	"sync/atomic"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// Table is what a condition must know of its table.
type Table struct {
	Schema   string
	Name     string
	Identity byte // replica identity: d default, n nothing, f full, i index
	Columns  []Column
	// IdentityColumns are the columns of the replica identity, by name; with identity full they need not be listed.
	IdentityColumns []string
	// Types are the types of the columns that are not Postgres' own, and the types that those are made of.
	Types []UserType
}

// Column is a column of a Table.
type Column struct {
	Name      string
	TypeOID   uint32
	Collation *Collation // nil: the database's default
}

// Collation is what matters of a collation: whether texts are ordered by their bytes, whether only equal bytes are equal, and whether the
// letters i and I belong together as in most languages (not so in Turkish and Azeri).
type Collation struct {
	Name             string
	Bytewise         bool // C, POSIX and, from 17 on, builtin C.UTF-8 and its like
	Nondeterministic bool
	// ASCIICase is true where upper and lower know the letters A to Z alone: the collations C and POSIX.
	ASCIICase bool
	// Turkic is true for languages with letters i of their own.
	Turkic bool
}

// C is the collation "C".
var C = Collation{Name: "C", Bytewise: true, ASCIICase: true}

// UserType is a type that is not Postgres' own. Kind is e for an enum, d for a domain, r for a range, m for a multirange, a for an array, and any
// other letter for what conditions can only test for null.
type UserType struct {
	OID    uint32
	Schema string
	Name   string
	Kind   byte
	Base   uint32   // of a domain
	Elem   uint32   // of an array; of a range or multirange the type of its bounds
	Range  uint32   // of a multirange
	Labels []string // of an enum, in its order
	Delim  byte     // of the type in arrays; 0 for a comma
}

// Options are what a condition must know of its database.
type Options struct {
	Major     int       // of the server; 0 for the oldest that is supported
	Collation Collation // the database's default
	// NotUTF8 is true for a database with another encoding: lengths in bytes, and orders of bytes, are then not known here.
	NotUTF8 bool
	// Insert, Update and Delete tell which changes the condition will see, for warnings; all, if none is set.
	Insert, Update, Delete bool
}

// Truth is the result of a condition in SQL's logic of three values.
type Truth byte

// The truth values. A change is wanted if its condition is True.
const (
	False Truth = iota
	True
	Unknown
)

func (t Truth) String() string {
	switch t {
	case True:
		return "true"
	case False:
		return "false"
	case Unknown:
	}
	return "null"
}

// Warning is something that a condition's author should know, and that is no mistake.
type Warning struct {
	Code    string // snake_case
	Message string
	Hint    string
}

// Program is a compiled condition.
type Program struct {
	text    string
	table   *Table
	options Options
	node    syntax.Node
	eval    evalFunc
	slots   []slot
	cells   int
	pool    sync.Pool
	bound   atomic.Pointer[Bound] // of the last relation

	versionsMu sync.Mutex
	versions   map[string]version // the condition for other types of the columns, by these
}

// slot is a column that a program reads.
type slot struct {
	column int // in the table
	old    bool
	bare   bool // without new. or old.: the old row of a delete
	typ    *pgcatalog.Type
}

// Compile checks a condition against a table and compiles it. The error is a *problem.Error that says where the mistake is.
func Compile(text string, table Table, o Options) (*Program, []Warning, error) {
	return compile(text, &table, o)
}

func compile(text string, table *Table, o Options) (*Program, []Warning, error) {
	c := newChecker(text, table, o)
	node, err := syntax.Parse(text, syntax.Options{Major: c.catalog.Major, Keywords: pgcatalog.Keywords(c.catalog.Major)})
	if err != nil {
		return nil, nil, c.problem(err)
	}
	e, err := c.condition(node)
	if err != nil {
		return nil, nil, c.problem(err)
	}
	p := &Program{text: text, table: table, options: o, node: node, eval: e.evaluator(), slots: c.slots, cells: c.cells}
	p.pool.New = func() any { return newFrame(len(p.slots), p.cells) }
	return p, c.warnings, nil
}

// CheckSyntax checks what can be told of a condition without its table: whether it is an expression at all. The error is like Compile's.
func CheckSyntax(text string) error {
	c := newChecker(text, &Table{}, Options{})
	if _, err := syntax.Parse(text, syntax.Options{Major: newestMajor, Keywords: pgcatalog.Keywords(newestMajor)}); err != nil {
		return c.problem(err)
	}
	return nil
}

// newestMajor is the version whose grammar allows the most.
const newestMajor = 18

// String is the condition as it was written; it compiles to the same program again.
func (p *Program) String() string { return p.text }

// Columns are the names of the columns that the condition reads, each once, in the table's order.
func (p *Program) Columns() []string {
	used := make([]bool, len(p.table.Columns))
	for _, s := range p.slots {
		used[s.column] = true
	}
	var names []string
	for i, u := range used {
		if u {
			names = append(names, p.table.Columns[i].Name)
		}
	}
	return names
}

// Matches reports whether a change is wanted: whether its condition is true.
func (p *Program) Matches(c *cdc.Change) (bool, error) {
	t, err := p.Eval(c)
	return t == True, err
}
