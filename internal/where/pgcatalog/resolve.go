package pgcatalog

import "slices"

// Outcome is how a resolution ended.
type Outcome int

// The outcomes.
const (
	Found Outcome = iota
	NotFound
	Ambiguous
)

// Call is a resolved operator or function.
type Call struct {
	Source   string
	Strict   bool
	Volatile byte
	Args     []*Type // what the arguments must become; polymorphic types are replaced
	Result   *Type
	// Variadic is the number of trailing arguments that form an array, 0 for an ordinary call; Args has one type for each argument.
	Variadic int
	Set      bool
	Defaults int // trailing parameters that were not given
	Proc     *Proc
	Cast     bool // a function call that is a cast in disguise: text(x)
}

type candidate struct {
	args []*Type
	op   *Operator
	proc *Proc
	vari int
	def  int
}

// Operator resolves a binary operator, or with a nil left a prefix operator.
func (c *Catalog) Operator(name string, left, right *Type) (Call, Outcome) {
	ops := c.ops[name]
	var inputs []*Type
	var candidates []candidate
	if left == nil {
		inputs = []*Type{right}
	} else {
		inputs = []*Type{left, right}
	}
	if op := c.exactOperator(ops, left, right); op != nil {
		return c.operatorCall(op, inputs)
	}
	for _, op := range ops {
		if (op.Left == nil) != (left == nil) {
			continue
		}
		args := []*Type{op.Right}
		if left != nil {
			args = []*Type{op.Left, op.Right}
		}
		if c.CanCoerce(inputs, args, Implicit) {
			candidates = append(candidates, candidate{args: args, op: op})
		}
	}
	best, outcome := c.choose(candidates, inputs)
	if outcome != Found {
		return Call{}, outcome
	}
	return c.operatorCall(best.op, inputs)
}

// exactOperator is binary_oper_exact and its like for prefix operators.
func (c *Catalog) exactOperator(ops []*Operator, left, right *Type) *Operator {
	find := func(l, r *Type) *Operator {
		for _, op := range ops {
			if op.Left == l && op.Right == r {
				return op
			}
		}
		return nil
	}
	if left == nil {
		if right == c.Unknown {
			return nil
		}
		if op := find(nil, right); op != nil {
			return op
		}
		return find(nil, right.BaseType())
	}
	wasUnknown := false
	switch {
	case left == c.Unknown && right != c.Unknown:
		left, wasUnknown = right, true
	case right == c.Unknown && left != c.Unknown:
		right, wasUnknown = left, true
	}
	if left == c.Unknown {
		return nil
	}
	if op := find(left, right); op != nil {
		return op
	}
	if wasUnknown {
		if base := left.BaseType(); base != left {
			return find(base, base)
		}
	}
	return nil
}

func (c *Catalog) operatorCall(op *Operator, inputs []*Type) (Call, Outcome) {
	targets := []*Type{op.Right}
	if op.Left != nil {
		targets = []*Type{op.Left, op.Right}
	}
	call := Call{Source: op.Source, Strict: op.Strict, Volatile: op.Volatile}
	// An unknown literal beside a polymorphic operator takes the other side's type.
	args, result, ok := c.Actual(inputs, targets, op.Result)
	if !ok {
		return call, NotFound
	}
	call.Args, call.Result = args, result
	return call, Found
}

// Function resolves a call with positional arguments. isLiteral tells which arguments are literals of unknown type.
func (c *Catalog) Function(name string, inputs []*Type) (Call, Outcome) {
	var candidates []candidate
	for _, p := range c.procs[name] {
		if cand, ok := arrange(p, len(inputs)); ok {
			candidates = append(candidates, cand)
		}
	}
	candidates = dropVariadicTwins(candidates)
	for _, cand := range candidates {
		if slices.Equal(cand.args, inputs) {
			return c.procCall(cand, inputs)
		}
	}
	if len(inputs) == 1 {
		if call, ok := c.castCall(name, inputs[0]); ok {
			return call, Found
		}
	}
	var fitting []candidate
	for _, cand := range candidates {
		if c.CanCoerce(inputs, cand.args, Implicit) {
			fitting = append(fitting, cand)
		}
	}
	best, outcome := c.choose(fitting, inputs)
	if outcome != Found {
		return Call{}, outcome
	}
	return c.procCall(best, inputs)
}

// castCall is the functional notation of a cast that needs no function.
func (c *Catalog) castCall(name string, from *Type) (Call, bool) {
	to := c.byName[name]
	if to == nil || to.IsArray() || to.Kind == 'p' {
		return Call{}, false
	}
	if from == c.Unknown {
		return Call{Cast: true, Args: []*Type{from}, Result: to}, true
	}
	path := c.FindPath(from, to, Explicit)
	ok := path.Kind == PathSame || path.Kind == PathViaIO && (from.Kind != 'c' || to.Category != 'S')
	return Call{Cast: true, Args: []*Type{from}, Result: to}, ok
}

// arrange fits a function to a number of arguments: defaults fill up, variadic parameters repeat.
func arrange(p *Proc, n int) (candidate, bool) {
	params := len(p.Args)
	switch {
	case p.Variadic && n >= params:
		extra := n - params + 1
		last := p.Args[params-1]
		elem := last.Elem
		switch last.Name {
		case "any":
			elem = last
		case "anyarray", "anycompatiblearray":
			elem = nil // resolved below by the callers' tables: no such function is supported
		}
		if elem == nil {
			return candidate{}, false
		}
		args := slices.Clone(p.Args[:params-1])
		for range extra {
			args = append(args, elem)
		}
		return candidate{args: args, proc: p, vari: extra}, true
	case n == params:
		return candidate{args: p.Args, proc: p}, true
	case n < params && n >= params-p.Defaults && !p.Variadic:
		return candidate{args: p.Args[:n], proc: p, def: params - n}, true
	}
	return candidate{}, false
}

// dropVariadicTwins prefers, among candidates with the same arguments, those that are not variadic.
func dropVariadicTwins(all []candidate) []candidate {
	var out []candidate
	for i, cand := range all {
		twin := false
		for j, other := range all {
			if i != j && slices.Equal(cand.args, other.args) && cand.vari > 0 && other.vari == 0 {
				twin = true
			}
		}
		if !twin {
			out = append(out, cand)
		}
	}
	return out
}

func (c *Catalog) procCall(cand candidate, inputs []*Type) (Call, Outcome) {
	p := cand.proc
	call := Call{Source: p.Source, Strict: p.Strict, Volatile: p.Volatile, Variadic: cand.vari, Set: p.Set, Defaults: cand.def, Proc: p}
	args, result, ok := c.Actual(inputs, cand.args, p.Result)
	if !ok {
		return call, NotFound
	}
	call.Args, call.Result = args, result
	return call, Found
}

// choose is func_select_candidate: it discards candidates step by step until one is left.
func (c *Catalog) choose(candidates []candidate, given []*Type) (candidate, Outcome) {
	switch len(candidates) {
	case 0:
		return candidate{}, NotFound
	case 1:
		return candidates[0], Found
	}
	inputs := make([]*Type, len(given))
	unknowns := 0
	for i, t := range given {
		inputs[i] = t.BaseType()
		if t == c.Unknown {
			unknowns++
		}
	}
	candidates = c.most(candidates, inputs, func(target, input *Type) bool { return target == input })
	if len(candidates) > 1 {
		candidates = c.most(candidates, inputs, func(target, input *Type) bool {
			return target == input || target.Preferred && target.Category == input.Category
		})
	}
	if len(candidates) > 1 && unknowns > 0 {
		candidates = c.byUnknowns(candidates, inputs)
	}
	if len(candidates) > 1 && unknowns > 0 && unknowns < len(inputs) {
		candidates = c.lastGasp(candidates, inputs)
	}
	if len(candidates) == 1 {
		return candidates[0], Found
	}
	return candidate{}, Ambiguous
}

// most keeps the candidates with the most arguments that match.
func (c *Catalog) most(candidates []candidate, inputs []*Type, matches func(target, input *Type) bool) []candidate {
	best, kept := 0, []candidate(nil)
	for _, cand := range candidates {
		n := 0
		for i, input := range inputs {
			if input != c.Unknown && matches(cand.args[i], input) {
				n++
			}
		}
		switch {
		case kept == nil || n > best:
			best, kept = n, []candidate{cand}
		case n == best:
			kept = append(kept, cand)
		}
	}
	return kept
}

// byUnknowns lets the candidates vote on the category of each unknown argument; text wins a tie.
func (c *Catalog) byUnknowns(candidates []candidate, inputs []*Type) []candidate {
	type slot struct {
		category  byte
		preferred bool
	}
	slots := make([]slot, len(inputs))
	for i, input := range inputs {
		if input != c.Unknown {
			continue
		}
		conflict := false
		s := &slots[i]
		for _, cand := range candidates {
			t := cand.args[i]
			switch {
			case s.category == 0:
				*s = slot{t.Category, t.Preferred}
			case t.Category == s.category:
				s.preferred = s.preferred || t.Preferred
			case t.Category == 'S':
				*s = slot{'S', t.Preferred}
			default:
				conflict = true
			}
		}
		if conflict && s.category != 'S' {
			return candidates
		}
	}
	var kept []candidate
	for _, cand := range candidates {
		keep := true
		for i, input := range inputs {
			if input == c.Unknown && (cand.args[i].Category != slots[i].category || slots[i].preferred && !cand.args[i].Preferred) {
				keep = false
			}
		}
		if keep {
			kept = append(kept, cand)
		}
	}
	if kept == nil {
		return candidates
	}
	return kept
}

// lastGasp assumes that unknown arguments are of the type that all known ones have.
func (c *Catalog) lastGasp(candidates []candidate, inputs []*Type) []candidate {
	var known *Type
	for _, input := range inputs {
		if input == c.Unknown {
			continue
		}
		if known != nil && known != input {
			return candidates
		}
		known = input
	}
	assumed := make([]*Type, len(inputs))
	for i := range assumed {
		assumed[i] = known
	}
	var kept []candidate
	for _, cand := range candidates {
		if c.CanCoerce(assumed, cand.args, Implicit) {
			kept = append(kept, cand)
		}
	}
	if len(kept) == 1 {
		return kept
	}
	return candidates
}
