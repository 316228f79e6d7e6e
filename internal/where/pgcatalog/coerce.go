package pgcatalog

// Context is how much a coercion may do: what happens by itself, on assignment, or when asked for.
type Context int

// The contexts of pg_cast.
const (
	Implicit Context = iota
	Assignment
	Explicit
)

// Path is how a value gets from one type to another.
type Path struct {
	Kind     PathKind
	Source   string // PathFunc: the function
	Volatile byte
	Elem     *Path // PathArray
}

// PathKind is the kind of a Path.
type PathKind int

// The kinds of paths.
const (
	PathNone   PathKind = iota
	PathSame            // the value stays as it is
	PathFunc            // by a cast function
	PathViaIO           // printed and read again
	PathArray           // element by element
	PathDomain          // to a domain: refused by callers, for its constraints would have to be checked
)

// FindPath is the server's find_coercion_pathway.
func (c *Catalog) FindPath(from, to *Type, context Context) Path {
	from, target := from.BaseType(), to.BaseType()
	if from == target {
		return Path{Kind: PathSame, Volatile: 'i'}
	}
	if cast, ok := c.casts[castKey{from, target}]; ok {
		if !allowed(cast.Context, context) {
			return Path{}
		}
		switch cast.Method {
		case 'b':
			return Path{Kind: PathSame, Volatile: 'i'}
		case 'i':
			return Path{Kind: PathViaIO, Volatile: 's'}
		default:
			return Path{Kind: PathFunc, Source: cast.Source, Volatile: cast.Volatile}
		}
	}
	if from.IsArray() && target.IsArray() {
		elem := c.FindPath(from.Elem, target.Elem, context)
		if elem.Kind == PathNone {
			return elem
		}
		if elem.Kind == PathSame {
			return elem
		}
		return Path{Kind: PathArray, Elem: &elem, Volatile: elem.Volatile}
	}
	if from.Kind == 'r' && target.Kind == 'm' && from.Multirange == target && context == Explicit {
		return Path{Kind: PathFunc, Source: "multirange_constructor1", Volatile: 'i'}
	}
	if (context >= Assignment && target.Category == 'S') || (context >= Explicit && from.Category == 'S') {
		return Path{Kind: PathViaIO, Volatile: 's'}
	}
	return Path{}
}

func allowed(cast byte, context Context) bool {
	switch cast {
	case 'i':
		return true
	case 'a':
		return context >= Assignment
	}
	return context >= Explicit
}

// Polymorphic reports whether the type stands for others.
func (t *Type) Polymorphic() bool {
	return t.Kind == 'p' && t.Name != "any" && t.Name != "unknown"
}

// CanCoerce is the server's can_coerce_type.
func (c *Catalog) CanCoerce(inputs, targets []*Type, context Context) bool {
	generic := false
	for i, from := range inputs {
		to := targets[i]
		switch {
		case from == to || to.Name == "any" && to.Kind == 'p':
		case to.Polymorphic():
			generic = true
		case from == c.Unknown:
		case c.FindPath(from, to, context).Kind != PathNone:
		default:
			return false
		}
		if to.Polymorphic() {
			generic = true
		}
	}
	return !generic || c.checkGeneric(inputs, targets)
}

// checkGeneric is check_generic_type_consistency: whether one assignment of types fits all polymorphic arguments.
func (c *Catalog) checkGeneric(inputs, targets []*Type) bool {
	_, ok := c.bindGeneric(inputs, targets)
	return ok
}

// generic is what the polymorphic names stand for in one call.
type generic struct {
	elem, array, rng, multi       *Type // anyelement and its family
	cElem, cArray, cRange, cMulti *Type // anycompatible and its family
}

func (c *Catalog) bindGeneric(inputs, targets []*Type) (generic, bool) {
	var (
		g          generic
		compatible []*Type
		sawCompat  bool
		nonArray   bool
		isEnum     bool
		cNonArray  bool
	)
	same := func(slot **Type, t *Type) bool {
		if *slot == nil {
			*slot = t
		}
		return *slot == t
	}
	for i, from := range inputs {
		to := targets[i]
		if !to.Polymorphic() {
			continue
		}
		base := from.BaseType()
		unknown := from == c.Unknown
		switch to.Name {
		case "anyelement", "anynonarray", "anyenum":
			nonArray = nonArray || to.Name == "anynonarray"
			isEnum = isEnum || to.Name == "anyenum"
			if !unknown && !same(&g.elem, from) {
				return g, false
			}
		case "anyarray":
			if !unknown && !same(&g.array, base) {
				return g, false
			}
		case "anyrange":
			if !unknown && !same(&g.rng, base) {
				return g, false
			}
		case "anymultirange":
			if !unknown && !same(&g.multi, base) {
				return g, false
			}
		case "anycompatible", "anycompatiblenonarray":
			sawCompat = true
			cNonArray = cNonArray || to.Name == "anycompatiblenonarray"
			if !unknown {
				compatible = append(compatible, from)
			}
		case "anycompatiblearray":
			sawCompat = true
			if !unknown {
				if !base.IsArray() {
					return g, false
				}
				compatible = append(compatible, base.Elem)
			}
		case "anycompatiblerange":
			sawCompat = true
			if !unknown {
				if base.Kind != 'r' || !same(&g.cRange, base) {
					return g, false
				}
				compatible = append(compatible, base.Subtype)
			}
		case "anycompatiblemultirange":
			sawCompat = true
			if !unknown {
				if base.Kind != 'm' || !same(&g.cMulti, base) {
					return g, false
				}
				compatible = append(compatible, base.Subtype)
			}
		default:
			return g, false
		}
	}
	if !c.settleElement(&g, nonArray, isEnum) {
		return g, false
	}
	return g, !sawCompat || c.settleCompatible(&g, compatible, cNonArray)
}

func (c *Catalog) settleElement(g *generic, nonArray, isEnum bool) bool {
	agree := func(t *Type) bool {
		if g.elem == nil {
			g.elem = t
		}
		return g.elem == t
	}
	if g.array != nil {
		if !g.array.IsArray() || !agree(g.array.Elem) {
			return false
		}
	}
	if g.multi != nil {
		if g.multi.Kind != 'm' || g.rng != nil && g.rng != g.multi.Range {
			return false
		}
		g.rng = g.multi.Range
	}
	if g.rng != nil {
		if g.rng.Kind != 'r' || !agree(g.rng.Subtype) {
			return false
		}
		g.multi = g.rng.Multirange
	}
	if g.elem != nil && nonArray && g.elem.BaseType().IsArray() {
		return false
	}
	if g.elem != nil && isEnum && g.elem.BaseType().Kind != 'e' {
		return false
	}
	if g.elem != nil && g.array == nil {
		g.array = g.elem.Array
	}
	return true
}

func (c *Catalog) settleCompatible(g *generic, types []*Type, nonArray bool) bool {
	if len(types) == 0 {
		g.cElem = c.byName["text"]
	} else {
		common, ok := c.CommonType(types)
		if !ok {
			return false
		}
		for _, t := range types {
			if !c.CanCoerce([]*Type{t}, []*Type{common}, Implicit) {
				return false
			}
		}
		g.cElem = common
	}
	if nonArray && g.cElem.BaseType().IsArray() {
		return false
	}
	if g.cRange != nil && g.cRange.Subtype != g.cElem || g.cMulti != nil && g.cMulti.Subtype != g.cElem {
		return false
	}
	g.cArray = g.cElem.Array
	return true
}

// Actual replaces the polymorphic types of a call that CanCoerce accepts by what they stand for. ok is false if that cannot be known.
func (c *Catalog) Actual(inputs, targets []*Type, result *Type) (args []*Type, ret *Type, ok bool) {
	g, ok := c.bindGeneric(inputs, targets)
	if !ok {
		return nil, nil, false
	}
	args = make([]*Type, len(targets))
	for i, to := range targets {
		if args[i] = g.actual(to); args[i] == nil {
			return nil, nil, false
		}
		if to.Name == "any" && to.Kind == 'p' {
			args[i] = inputs[i]
		}
	}
	ret = g.actual(result)
	return args, ret, ret != nil
}

func (g *generic) actual(t *Type) *Type {
	if !t.Polymorphic() {
		return t
	}
	switch t.Name {
	case "anyelement", "anynonarray", "anyenum":
		return g.elem
	case "anyarray":
		return g.array
	case "anyrange":
		return g.rng
	case "anymultirange":
		return g.multi
	case "anycompatible", "anycompatiblenonarray":
		return g.cElem
	case "anycompatiblearray":
		return g.cArray
	case "anycompatiblerange":
		return g.cRange
	case "anycompatiblemultirange":
		return g.cMulti
	}
	return nil
}

// CommonType is select_common_type: the type of CASE, COALESCE, ARRAY, IN and their like. ok is false if there is none.
func (c *Catalog) CommonType(types []*Type) (*Type, bool) {
	first := types[0]
	if first != c.Unknown {
		all := true
		for _, t := range types[1:] {
			all = all && t == first
		}
		if all {
			return first, true
		}
	}
	p := first.BaseType()
	for _, n := range types[1:] {
		n = n.BaseType()
		if n == c.Unknown || n == p {
			continue
		}
		switch {
		case p == c.Unknown:
			p = n
		case n.Category != p.Category:
			return nil, false
		case !p.Preferred && c.CanCoerce([]*Type{p}, []*Type{n}, Implicit) && !c.CanCoerce([]*Type{n}, []*Type{p}, Implicit):
			p = n
		}
	}
	if p == c.Unknown {
		p = c.byName["text"]
	}
	return p, true
}
