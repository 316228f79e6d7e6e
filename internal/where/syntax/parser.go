package syntax

import (
	"strings"
	"unicode/utf8"
)

// Precedences, from the manual's "Operator Precedence", weakest first.
const (
	pLowest = iota
	pOr
	pAnd
	pNot
	pIs
	pCompare
	pBetween // BETWEEN IN LIKE ILIKE SIMILAR
	pEscape
	pOp
	pAdd
	pMul
	pPower
	pAt
	pCollate
	pUnaryMinus
	pSubscript
	pTypecast
)

// Options of Parse.
type Options struct {
	Major    int             // of the server
	Keywords map[string]byte // its key words with their class: U, C, T or R
}

type parser struct {
	lex   lexer
	tok   token
	ahead []token
	depth int
	opt   Options
}

// bail carries a mistake up to Parse.
type bail struct{ err *Error }

// Parse reads an expression.
func Parse(text string, o Options) (node Node, err error) {
	if len(text) > MaxLength {
		return nil, errorAt(0, "", "the condition is longer than %d bytes", MaxLength)
	}
	if i := strings.IndexByte(text, 0); i >= 0 || !utf8.ValidString(text) {
		return nil, errorAt(max(i, 0), "", "the condition is not valid UTF-8")
	}
	p := &parser{lex: lexer{text: text, keywords: o.Keywords, newNumbers: o.Major >= 16}, opt: o}
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bail)
			if !ok {
				panic(r)
			}
			node, err = nil, b.err
		}
	}()
	p.advance()
	if p.tok.kind == tEOF {
		p.fail(0, `write an expression such as status = 'paid'`, "the condition is empty")
	}
	node = p.expr(pLowest)
	if p.tok.kind != tEOF {
		p.unexpected()
	}
	return node, nil
}

func (p *parser) fail(pos int, hint, format string, args ...any) {
	panic(bail{errorAt(pos, hint, format, args...)})
}

func (p *parser) unexpected() {
	hint := ""
	switch {
	case p.tok.kind == tSelf && p.tok.text == ";":
		hint = "a condition is one expression without a semicolon"
	case p.isWord("select"), p.isWord("with"):
		hint = "subqueries are not supported: a condition sees the row that changed"
	case p.isWord("where"):
		hint = "write the expression alone, without WHERE"
	case p.isWord("over"), p.isWord("filter"), p.isWord("within"):
		hint = "aggregates and window functions are not supported"
	}
	if p.tok.kind == tEOF {
		p.fail(p.tok.pos, hint, "the condition ends too early")
	}
	p.fail(p.tok.pos, hint, "syntax error at or near %q", p.lex.text[p.tok.pos:p.tok.end])
}

func (p *parser) scan() token {
	t, err := p.lex.next()
	if err != nil {
		panic(bail{err})
	}
	return t
}

func (p *parser) advance() token {
	old := p.tok
	if len(p.ahead) > 0 {
		p.tok, p.ahead = p.ahead[0], p.ahead[1:]
	} else {
		p.tok = p.scan()
	}
	return old
}

// look is the n-th token behind the current one, from 1.
func (p *parser) look(n int) token {
	for len(p.ahead) < n {
		p.ahead = append(p.ahead, p.scan())
	}
	return p.ahead[n-1]
}

func (t token) isWord(word string) bool { return t.kind == tKeyword && t.text == word }
func (t token) isSelf(s string) bool    { return t.kind == tSelf && t.text == s }
func (t token) isOp(s string) bool      { return t.kind == tOp && t.text == s }

func (p *parser) isWord(word string) bool { return p.tok.isWord(word) }

func (p *parser) accept(word string) bool {
	if p.isWord(word) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expectWord(word string) {
	if !p.accept(word) {
		p.unexpected()
	}
}

func (p *parser) acceptSelf(s string) bool {
	if p.tok.isSelf(s) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expectSelf(s string) {
	if !p.acceptSelf(s) {
		p.unexpected()
	}
}

func (p *parser) enter() func() {
	p.depth++
	if p.depth > maxDepth {
		p.fail(p.tok.pos, "", "the condition nests deeper than %d levels", maxDepth)
	}
	return func() { p.depth-- }
}

// infix is what may follow an operand: its precedence, whether it binds to the left or not at all, and 0 if the token is no operator.
func (p *parser) infix(restricted bool) (prec int, nonassoc bool) {
	t := p.tok
	switch t.kind {
	case tCast:
		return pTypecast, false
	case tOp:
		return opPrecedence(t.text)
	case tSelf:
		if t.text == "[" {
			return pSubscript, false
		}
	case tKeyword:
		return p.wordPrecedence(t.text, restricted)
	default:
	}
	return 0, false
}

func opPrecedence(op string) (prec int, nonassoc bool) {
	switch op {
	case "<", ">", "=", "<=", ">=", "<>":
		return pCompare, true
	case "+", "-":
		return pAdd, false
	case "*", "/", "%":
		return pMul, false
	case "^":
		return pPower, false
	}
	return pOp, false
}

func (p *parser) wordPrecedence(word string, restricted bool) (prec int, nonassoc bool) {
	switch word {
	case "is":
		if restricted && !p.isDistinct() {
			return 0, false
		}
		return pIs, true
	case "operator":
		if p.look(1).isSelf("(") {
			return pOp, false
		}
		return 0, false
	}
	if restricted {
		return 0, false
	}
	switch word {
	case "or":
		return pOr, false
	case "and":
		return pAnd, false
	case "isnull", "notnull":
		return pIs, true
	case "between", "in", "like", "ilike", "similar":
		return pBetween, true
	case "not":
		switch next := p.look(1); {
		case next.isWord("between"), next.isWord("in"), next.isWord("like"), next.isWord("ilike"), next.isWord("similar"):
			return pBetween, true
		}
	case "at":
		if p.look(1).isWord("time") || p.look(1).isWord("local") {
			return pAt, false
		}
	case "collate":
		return pCollate, false
	}
	return 0, false
}

func (p *parser) isDistinct() bool {
	if p.look(1).isWord("distinct") {
		return true
	}
	return p.look(1).isWord("not") && p.look(2).isWord("distinct")
}

// expr reads an expression whose operators bind at least as strongly as min.
func (p *parser) expr(minimum int) Node { return p.operand(minimum, false) }

// operand is expr; restricted leaves out what the grammar calls a_expr but not b_expr, as between BETWEEN and AND.
func (p *parser) operand(minimum int, restricted bool) Node {
	defer p.enter()()
	left := p.prefix(restricted)
	for n := 0; ; n++ {
		if n > maxDepth*8 {
			p.fail(p.tok.pos, "", "the condition is too long a chain of operators")
		}
		prec, nonassoc := p.infix(restricted)
		if prec == 0 || prec < minimum {
			return left
		}
		var open bool
		left, open = p.continued(left, prec, nonassoc, restricted)
		if open && nonassoc {
			if again, _ := p.infix(restricted); again == prec {
				p.fail(p.tok.pos, "use parentheses", "syntax error at or near %q", p.lex.text[p.tok.pos:p.tok.end])
			}
		}
	}
}

func (p *parser) prefix(restricted bool) Node {
	t := p.tok
	switch {
	case t.isWord("not") && !restricted:
		p.advance()
		return &Not{At(t.pos), p.expr(pNot)}
	case t.isOp("-"), t.isOp("+"):
		p.advance()
		arg := p.operand(pUnaryMinus, restricted)
		if c, ok := arg.(*Const); ok && c.Kind == 'i' {
			if t.text == "+" {
				return c
			}
			if c.Text[0] == '-' {
				return &Const{At(t.pos), 'i', c.Text[1:]}
			}
			return &Const{At(t.pos), 'i', "-" + c.Text}
		}
		return &Unary{At(t.pos), t.text, arg}
	case t.kind == tOp:
		if prec, _ := opPrecedence(t.text); prec != pOp {
			p.unexpected()
		}
		p.advance()
		return &Unary{At(t.pos), t.text, p.operand(pOp+1, restricted)}
	case t.isWord("operator") && p.look(1).isSelf("("):
		op := p.qualifiedOperator()
		return &Unary{At(t.pos), op, p.operand(pOp+1, restricted)}
	}
	return p.primary()
}

// continued reads an operator and its right side. open is true when that side ends in an operand, where precedence matters.
func (p *parser) continued(left Node, prec int, nonassoc, restricted bool) (node Node, open bool) {
	t := p.tok
	switch {
	case t.kind == tCast:
		p.advance()
		return &Cast{At: At(t.pos), Arg: left, Type: p.typeName()}, false
	case t.isSelf("["):
		return p.subscripts(left), false
	case t.kind == tKeyword && t.text != "operator":
		return p.wordOperator(left, restricted)
	}
	var op string
	if t.kind == tOp {
		op = p.advance().text
	} else {
		op = p.qualifiedOperator()
		prec = pOp
	}
	if n, ok := p.anyAll(At(t.pos), op, left); ok {
		return n, false
	}
	right := prec + 1
	return &Binary{At(t.pos), op, left, p.operand(right, restricted)}, nonassoc
}

// qualifiedOperator reads OPERATOR(pg_catalog.+).
func (p *parser) qualifiedOperator() string {
	p.advance()
	p.expectSelf("(")
	if p.tok.kind == tIdent || p.tok.kind == tQuoted {
		if p.tok.text != "pg_catalog" {
			p.fail(p.tok.pos, "use an operator of Postgres itself", "operators of users are not supported")
		}
		p.advance()
		p.expectSelf(".")
	}
	if p.tok.kind != tOp {
		p.unexpected()
	}
	op := p.advance().text
	p.expectSelf(")")
	return op
}

// anyAll reads ANY, SOME or ALL with an array behind an operator.
func (p *parser) anyAll(at At, op string, left Node) (Node, bool) {
	all := p.isWord("all")
	if !all && !p.isWord("any") && !p.isWord("some") || !p.look(1).isSelf("(") {
		return nil, false
	}
	p.advance()
	p.advance()
	p.refuseSubquery()
	right := p.expr(pLowest)
	p.expectSelf(")")
	return &AnyAll{at, op, left, right, all}, true
}

func (p *parser) refuseSubquery() {
	if p.isWord("select") || p.isWord("with") || p.isWord("values") && p.look(1).isSelf("(") {
		p.fail(p.tok.pos, "compare with a list of literals: a condition sees only the row that changed", "subqueries are not supported")
	}
}

func (p *parser) wordOperator(left Node, restricted bool) (node Node, open bool) {
	t := p.advance()
	at := At(t.pos)
	switch t.text {
	case "or":
		return &Logic{at, true, left, p.expr(pOr + 1)}, true
	case "and":
		return &Logic{at, false, left, p.expr(pAnd + 1)}, true
	case "isnull":
		return &Is{at, left, "null", false}, false
	case "notnull":
		return &Is{at, left, "null", true}, false
	case "is":
		return p.is(at, left, restricted)
	case "collate":
		return &Collate{at, left, p.collation()}, false
	case "at":
		if p.accept("local") {
			p.fail(t.pos, "write AT TIME ZONE with the zone's name", "AT LOCAL depends on the session's time zone")
		}
		p.expectWord("time")
		p.expectWord("zone")
		zone := p.expr(pAt + 1)
		return &Call{at, "timezone", []Node{zone, left}, true}, true
	case "not":
		t = p.advance()
		return p.membership(at, left, t, true)
	}
	return p.membership(at, left, t, false)
}

func (p *parser) is(at At, left Node, restricted bool) (node Node, open bool) {
	not := p.accept("not")
	switch {
	case p.accept("distinct"):
		p.expectWord("from")
		return &Distinct{at, left, p.operand(pIs+1, restricted), not}, true
	case p.isWord("null"), p.isWord("true"), p.isWord("false"), p.isWord("unknown"):
		return &Is{at, left, p.advance().text, not}, false
	case p.isWord("json"), p.isWord("normalized"), p.isWord("nfc"), p.isWord("nfd"), p.isWord("nfkc"), p.isWord("nfkd"), p.isWord("document"), p.isWord("of"):
		p.fail(p.tok.pos, "", "IS %s is not supported", strings.ToUpper(p.tok.text))
	}
	p.unexpected()
	return nil, false
}

// membership reads what follows [NOT] BETWEEN, IN, LIKE, ILIKE and SIMILAR.
func (p *parser) membership(at At, left Node, word token, not bool) (node Node, open bool) {
	switch word.text {
	case "between":
		symmetric := p.accept("symmetric")
		if !symmetric {
			p.accept("asymmetric")
		}
		low := p.operand(pIs, true)
		p.expectWord("and")
		return &Between{at, left, low, p.expr(pBetween + 1), not, symmetric}, true
	case "in":
		p.expectSelf("(")
		p.refuseSubquery()
		list := p.list()
		p.expectSelf(")")
		return &In{at, left, list, not}, false
	case "similar":
		p.expectWord("to")
		n := &Like{At: at, Op: "~", Similar: true, Arg: left}
		if not {
			n.Op = "!~"
		}
		p.pattern(n)
		return n, true
	}
	op := map[string]string{"like": "~~", "ilike": "~~*"}[word.text]
	if not {
		op = "!" + op
	}
	if n, ok := p.anyAll(at, op, left); ok {
		return n, false
	}
	n := &Like{At: at, Op: op, Arg: left}
	p.pattern(n)
	return n, true
}

func (p *parser) pattern(n *Like) {
	n.Pattern = p.expr(pBetween + 1)
	if p.accept("escape") {
		n.Escape = p.expr(pBetween + 1)
	}
}

func (p *parser) list() []Node {
	nodes := []Node{p.expr(pLowest)}
	for p.acceptSelf(",") {
		nodes = append(nodes, p.expr(pLowest))
	}
	return nodes
}

// collation reads a collation's name; that of pg_catalog may be written out.
func (p *parser) collation() string {
	t := p.advance()
	if t.kind != tIdent && t.kind != tQuoted && t.kind != tKeyword {
		p.fail(t.pos, "", "COLLATE takes a collation's name")
	}
	if p.acceptSelf(".") {
		if t.text != "pg_catalog" {
			p.fail(t.pos, `use COLLATE "C"`, "collations of users are not supported")
		}
		t = p.advance()
	}
	return t.text
}
