// Package pgcatalog knows what Postgres' own catalog says of types, casts, operators and functions, version by version, and resolves names and
// calls by the rules of the manual's chapter "Type Conversion", as the server's parser applies them. It knows nothing of values and of
// how a function works; it says which function Postgres would call.
//
// The tables come from the servers themselves (catalog.txt, written by scripts/wherecatalog). A Catalog is safe for concurrent use.
package pgcatalog

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

//go:embed catalog.txt
var source string

// The versions that the tables cover.
const (
	FirstMajor = 12
	LastMajor  = 18
)

// Type is a data type. Types are compared by pointer.
type Type struct {
	OID        uint32
	Name       string // typname
	Schema     string // "" for pg_catalog
	Category   byte   // typcategory
	Preferred  bool
	Kind       byte // typtype: b base, e enum, d domain, r range, m multirange, p pseudo-type, c composite
	Collatable bool
	Elem       *Type    // of an array type
	Array      *Type    // the array type of this one
	Base       *Type    // of a domain
	Subtype    *Type    // of a range or a multirange
	Range      *Type    // of a multirange; of a subtype it is not told
	Multirange *Type    // of a range
	Labels     []string // of an enum, in its order
	Delim      byte
}

// IsArray reports whether values are arrays proper; int2vector and oidvector are not.
func (t *Type) IsArray() bool { return t != nil && t.Elem != nil }

// BaseType is the type behind a domain.
func (t *Type) BaseType() *Type {
	for t != nil && t.Kind == 'd' {
		t = t.Base
	}
	return t
}

// Display is the name that Postgres prints for the type.
func (t *Type) Display() string {
	if t.IsArray() {
		return t.Elem.Display() + "[]"
	}
	if name, ok := displayNames[t.Name]; ok && t.Schema == "" {
		return name
	}
	return t.Name
}

var displayNames = map[string]string{
	"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision", "bpchar": "character",
	"varchar": "character varying", "varbit": "bit varying", "time": "time without time zone", "timetz": "time with time zone",
	"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "char": `"char"`,
}

// Proc is a function of Postgres.
type Proc struct {
	Name     string
	Args     []*Type
	Result   *Type
	Source   string // the name of its code: prosrc of internal functions, "sql:name" of those written in SQL
	Strict   bool
	Volatile byte // i immutable, s stable, v volatile
	Variadic bool
	Defaults int
	Set      bool
}

// Operator is an operator; Left is nil for prefix operators.
type Operator struct {
	Name        string
	Left, Right *Type
	Result      *Type
	Source      string
	Strict      bool
	Volatile    byte
}

// Cast is a row of pg_cast. Method is f for a function, b for binary coercible types, i for input and output functions.
type Cast struct {
	Method, Context byte
	Source          string
	Volatile        byte
}

type castKey struct{ from, to *Type }

// Catalog is the catalog of one major version, with the types that users made.
type Catalog struct {
	Major  int
	byName map[string]*Type
	byOID  map[uint32]*Type
	casts  map[castKey]Cast
	ops    map[string][]*Operator
	procs  map[string][]*Proc
	kinds  map[string]byte // aggregates and window functions

	// user holds the types of a database's users; nil in the shared catalog.
	user     map[uint32]*Type
	userName map[string]*Type
	ranges   []*Type

	Unknown *Type
}

var (
	catalogsMu sync.Mutex
	catalogs   = map[int]*Catalog{}
)

// For is the catalog of a major version. A version outside of what the tables cover is taken for the nearest.
func For(major int) *Catalog {
	major = min(max(major, FirstMajor), LastMajor)
	catalogsMu.Lock()
	defer catalogsMu.Unlock()
	c := catalogs[major]
	if c == nil {
		c = parse(major)
		catalogs[major] = c
	}
	return c
}

// With is the catalog and the given types beside. They must be complete: arrays, domains' bases and ranges' subtypes set.
func (c *Catalog) With(types []*Type) *Catalog {
	if len(types) == 0 {
		return c
	}
	with := *c
	with.user, with.userName = make(map[uint32]*Type, len(types)), make(map[string]*Type, len(types))
	for _, t := range types {
		if t.OID != 0 {
			with.user[t.OID] = t
		}
		with.userName[t.Name] = t
		if t.Kind == 'r' {
			with.ranges = append(append([]*Type(nil), with.ranges...), t)
		}
	}
	return &with
}

// Type is the type with that typname, nil if there is none.
func (c *Catalog) Type(name string) *Type {
	if t := c.byName[name]; t != nil {
		return t
	}
	return c.userName[name]
}

// ByOID is the type with the OID, nil if it is not known. The OIDs of built-in array types are not known here.
func (c *Catalog) ByOID(oid uint32) *Type {
	if t := c.byOID[oid]; t != nil {
		return t
	}
	return c.user[oid]
}

// Operators are the operators of a name.
func (c *Catalog) Operators(name string) []*Operator { return c.ops[name] }

// OperatorNames are the names of all operators, in no order.
func (c *Catalog) OperatorNames() []string {
	names := make([]string, 0, len(c.ops))
	for name := range c.ops {
		names = append(names, name)
	}
	return names
}

// ProcNames are the names of all functions, in no order.
func (c *Catalog) ProcNames() []string {
	names := make([]string, 0, len(c.procs))
	for name := range c.procs {
		names = append(names, name)
	}
	return names
}

// Procs are the functions of a name.
func (c *Catalog) Procs(name string) []*Proc { return c.procs[name] }

// ProcKind is a for an aggregate, w for a window function, f for a function and 0 for a name that Postgres does not know.
func (c *Catalog) ProcKind(name string) byte {
	if len(c.procs[name]) > 0 {
		return 'f'
	}
	return c.kinds[name]
}

// lines calls f with the fields of each line that the version has.
func lines(major int, f func(fields []string)) {
	rest := source
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if at := strings.LastIndex(line, " @"); at > 0 {
			if from, to, ok := strings.Cut(line[at+2:], "-"); ok {
				a, errA := strconv.Atoi(from)
				b, errB := strconv.Atoi(to)
				if errA == nil && errB == nil {
					if major < a || major > b {
						continue
					}
					line = line[:at]
				}
			}
		}
		f(strings.Split(line, " "))
	}
}

func parse(major int) *Catalog {
	c := &Catalog{
		Major: major, byName: map[string]*Type{}, byOID: map[uint32]*Type{}, casts: map[castKey]Cast{}, ops: map[string][]*Operator{},
		procs: map[string][]*Proc{}, kinds: map[string]byte{},
	}
	lines(major, func(f []string) {
		switch f[0] {
		case "T":
			c.addType(f)
		case "A":
			c.kinds[f[1]] = f[2][0]
		}
	})
	lines(major, func(f []string) {
		switch f[0] {
		case "R":
			c.addRange(f)
		case "C":
			from, to := c.byName[f[1]], c.byName[f[2]]
			if from != nil && to != nil {
				c.casts[castKey{from, to}] = Cast{Method: f[3][0], Context: f[4][0], Source: f[5], Volatile: f[6][0]}
			}
		case "O":
			c.addOperator(f)
		case "P":
			c.addProc(f)
		}
	})
	c.Unknown = c.byName["unknown"]
	return c
}

func (c *Catalog) addType(f []string) {
	oid, _ := strconv.ParseUint(f[1], 10, 32)
	t := &Type{
		OID: uint32(oid), Name: f[2], Category: f[3][0], Preferred: f[4] == "t", Kind: f[5][0], Collatable: f[8] == "t", Delim: ',',
	}
	if t.Name == "box" {
		t.Delim = ';'
	}
	c.byName[t.Name] = t
	c.byOID[t.OID] = t
	if f[7] != "-" {
		t.Array = NewArray(t, 0, f[7])
		c.byName[f[7]] = t.Array
	}
}

// NewArray is the array type of an element type.
func NewArray(elem *Type, oid uint32, name string) *Type {
	return &Type{OID: oid, Name: name, Schema: elem.Schema, Category: 'A', Kind: 'b', Collatable: elem.Collatable, Elem: elem, Delim: ','}
}

func (c *Catalog) addRange(f []string) {
	r, sub := c.byName[f[1]], c.byName[f[2]]
	if r == nil || sub == nil {
		return
	}
	r.Subtype = sub
	c.ranges = append(c.ranges, r)
	if m := c.byName[strings.Replace(f[1], "range", "multirange", 1)]; m != nil {
		m.Subtype, m.Range, r.Multirange = sub, r, m
	}
}

func (c *Catalog) addOperator(f []string) {
	o := &Operator{Name: f[1], Right: c.byName[f[3]], Result: c.byName[f[4]], Source: f[5], Strict: f[6] == "s", Volatile: f[7][0]}
	if f[2] != "-" {
		if o.Left = c.byName[f[2]]; o.Left == nil {
			return
		}
	}
	if o.Right != nil && o.Result != nil {
		c.ops[o.Name] = append(c.ops[o.Name], o)
	}
}

func (c *Catalog) addProc(f []string) {
	if len(f) != 10 {
		return
	}
	p := &Proc{Name: f[1], Result: c.byName[f[3]], Source: f[4], Strict: f[5] == "s", Volatile: f[6][0], Variadic: f[7] == "v", Set: f[9] == "r"}
	p.Defaults, _ = strconv.Atoi(f[8])
	if f[2] != "-" {
		for name := range strings.SplitSeq(f[2], ",") {
			t := c.byName[name]
			if t == nil { // of a type that no expression can have
				return
			}
			p.Args = append(p.Args, t)
		}
	}
	if p.Result == nil {
		p.Result = c.byName["unknown"] // it is refused by name anyway
	}
	c.procs[p.Name] = append(c.procs[p.Name], p)
}

var (
	keywordsMu sync.Mutex
	keywords   = map[int]map[string]byte{}
)

// Keywords are the key words of a version with their class: U unreserved, C column name, T type or function name, R reserved.
func Keywords(major int) map[string]byte {
	keywordsMu.Lock()
	defer keywordsMu.Unlock()
	if k := keywords[major]; k != nil {
		return k
	}
	k := map[string]byte{}
	lines(major, func(f []string) {
		if f[0] == "K" {
			k[f[1]] = f[2][0] &^ 0x20
		}
	})
	keywords[major] = k
	return k
}
