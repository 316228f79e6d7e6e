package where

import (
	"github.com/sequinstream/sequin/internal/where/pgcatalog"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// strength is how sure a collation is, as in the manual's "Collation Support".
type strength byte

const (
	none strength = iota
	implicit
	conflict // of implicit collations: an error only where it matters
	explicit
)

type collState struct {
	strength strength
	coll     *Collation
}

// merge derives the collation of an expression from those of its parts.
func (c *checker) merge(pos int, parts []*expr) (collState, error) {
	var out collState
	for _, p := range parts {
		s := p.coll
		switch {
		case s.strength == none:
		case s.strength > out.strength:
			out = s
		case s.strength < out.strength:
		case s.strength == explicit && s.coll.Name != out.coll.Name:
			return out, typeError(pos, "", "collation mismatch between explicit collations %q and %q", out.coll.Name, s.coll.Name)
		case s.strength == implicit && s.coll.Name != out.coll.Name:
			// The database's default gives way.
			switch {
			case out.coll.Name == c.options.Collation.Name:
				out = s
			case s.coll.Name == c.options.Collation.Name:
			default:
				out.strength = conflict
			}
		}
	}
	return out, nil
}

func (c *checker) collate(n *syntax.Collate) (*expr, error) {
	e, err := c.expr(n.Arg)
	if err != nil {
		return nil, err
	}
	if e.typ == c.catalog.Unknown {
		if e, err = c.coerce(e, c.catalog.Type("text"), pgcatalog.Implicit); err != nil {
			return nil, err
		}
	}
	if !e.typ.Collatable {
		return nil, typeError(n.Pos(), "", "collations are not supported by type %s", e.typ.Display())
	}
	out := *e
	switch n.Name {
	case "C", "POSIX":
		coll := C
		coll.Name = n.Name
		out.coll = collState{explicit, &coll}
	case "default":
		out.coll = collState{explicit, &c.options.Collation}
	default:
		return nil, refuse(n.Pos(), `use COLLATE "C"`, "collation %q is not supported", n.Name)
	}
	return &out, nil
}

// What a function needs of its collation.
const (
	needsNothing  = iota
	needsEquality // equal means equal bytes
	needsOrder    // the order is that of the bytes
	needsCase     // upper and lower
)

// checkCollation refuses what depends on an order of texts that is not known here.
func (c *checker) checkCollation(pos, need int, s collState) error {
	if need == needsNothing || s.strength == none {
		return nil
	}
	if s.strength == conflict {
		return typeError(pos, "use the COLLATE clause to set the collation explicitly", "could not determine which collation to use")
	}
	switch {
	case need == needsOrder && !s.coll.Bytewise:
		return refuse(pos, `write COLLATE "C" behind one side to order by bytes, or compare with = and IN`,
			"the order of texts under collation %q depends on the server's libraries", s.coll.Name)
	case need == needsOrder && c.options.NotUTF8:
		return refuse(pos, "compare with = and IN", "the order of texts is not known: the database's encoding is not UTF-8")
	case s.coll.Nondeterministic:
		return refuse(pos, `write COLLATE "C" behind one side`, "collation %q takes different texts for equal", s.coll.Name)
	case need == needsCase && s.coll.Turkic:
		return refuse(pos, `write COLLATE "C" behind the text`, "upper and lower case under collation %q are not supported", s.coll.Name)
	}
	return nil
}
