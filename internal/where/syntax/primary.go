package syntax

import "strings"

// primary reads what the grammar calls c_expr.
func (p *parser) primary() Node {
	t := p.tok
	switch t.kind {
	case tInt, tFloat:
		p.advance()
		return &Const{At(t.pos), 'i', t.text}
	case tString:
		p.advance()
		return &Const{At(t.pos), 's', t.text}
	case tBits:
		p.advance()
		return &Const{At(t.pos), t.text[0], t.text[1:]}
	case tSelf:
		if t.text == "(" {
			return p.parenthesis()
		}
	case tIdent, tQuoted:
		return p.name()
	case tKeyword:
		return p.keyword()
	default:
	}
	p.unexpected()
	return nil
}

func (p *parser) parenthesis() Node {
	start := p.advance()
	p.refuseSubquery()
	node := p.expr(pLowest)
	if p.tok.isSelf(",") {
		p.fail(start.pos, "compare the columns one by one, joined by AND", "comparisons of rows are not supported")
	}
	p.expectSelf(")")
	if p.tok.isSelf(".") {
		p.fail(p.tok.pos, "", "fields of composite values are not supported")
	}
	return node
}

func (p *parser) class(word string) byte { return p.opt.Keywords[word] }

// keyword reads an expression that starts with a key word: one of the special forms, or a name after all.
func (p *parser) keyword() Node {
	t := p.tok
	next := p.look(1)
	switch t.text {
	case "true", "false":
		p.advance()
		return &Const{At(t.pos), 't', t.text}
	case "null":
		p.advance()
		return &Const{At(t.pos), 'n', ""}
	case "case":
		return p.caseExpr()
	case "array":
		if next.isSelf("(") {
			p.fail(t.pos, "write ARRAY[…]", "subqueries are not supported")
		}
		if next.isSelf("[") {
			p.advance()
			return p.array(At(t.pos))
		}
	case "cast":
		return p.castCall()
	case "exists", "row", "xmlelement", "xmlconcat", "xmlforest", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmlexists", "grouping", "treat",
		"json_object", "json_array", "json_objectagg", "json_arrayagg", "json_exists", "json_query", "json_value", "json", "json_scalar", "json_serialize",
		"json_table", "merge_action", "normalize", "xmltable", "xmlnamespaces":
		if next.isSelf("(") {
			p.fail(t.pos, "", "%s is not supported", strings.ToUpper(t.text))
		}
	case "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp":
		p.fail(t.pos, "compare with metadata.commit_timestamp, or with a literal", "%s changes while messages wait", t.text)
	case "current_user", "session_user", "user", "current_role", "current_catalog", "current_schema", "system_user":
		p.fail(t.pos, "", "%s depends on the session", t.text)
	}
	if n := p.specialCall(t, next); n != nil {
		return n
	}
	if n := p.typedLiteral(); n != nil {
		return n
	}
	switch p.class(t.text) {
	case 'U', 'C':
		return p.name()
	case 'T':
		if next.isSelf("(") {
			return p.name()
		}
	}
	p.unexpected()
	return nil
}

// name reads a column, a function call, or a literal that a type's name precedes.
func (p *parser) name() Node {
	if n := p.typedLiteral(); n != nil {
		return n
	}
	first := p.advance()
	parts, end := []string{first.text}, first.end
	for p.tok.isSelf(".") {
		p.advance()
		t := p.tok
		if t.isOp("*") {
			p.fail(t.pos, "name a column", "a whole row cannot be used")
		}
		if t.kind != tIdent && t.kind != tQuoted && t.kind != tKeyword {
			p.unexpected()
		}
		parts = append(parts, t.text)
		end = t.end
		p.advance()
	}
	if p.tok.isSelf("(") {
		return p.call(At(first.pos), parts)
	}
	if len(parts) > 3 {
		p.fail(first.pos, "", "the name has too many parts")
	}
	return &Column{At(first.pos), parts, end}
}

func (p *parser) call(at At, parts []string) Node {
	if len(parts) > 2 || len(parts) == 2 && parts[0] != "pg_catalog" {
		p.fail(at.Pos(), "use a function of Postgres itself", "functions of users are not supported")
	}
	name := parts[len(parts)-1]
	p.advance()
	switch {
	case p.tok.isOp("*"), p.isWord("distinct"), p.isWord("all"):
		p.fail(p.tok.pos, "a condition sees one row", "aggregates are not supported")
	case p.isWord("variadic"):
		p.fail(p.tok.pos, "give the arguments one by one", "VARIADIC is not supported")
	}
	var args []Node
	if !p.tok.isSelf(")") {
		p.refuseSubquery()
		for {
			if p.isWord("variadic") {
				p.fail(p.tok.pos, "give the arguments one by one", "VARIADIC is not supported")
			}
			args = append(args, p.expr(pLowest))
			if !p.acceptSelf(",") {
				break
			}
		}
	}
	if p.isWord("order") {
		p.fail(p.tok.pos, "a condition sees one row", "aggregates are not supported")
	}
	if p.tok.isSelf(":") {
		p.fail(p.tok.pos, "give the arguments by position", "named arguments are not supported")
	}
	p.expectSelf(")")
	if p.isWord("over") || p.isWord("filter") && p.look(1).isSelf("(") || p.isWord("within") {
		p.fail(p.tok.pos, "a condition sees one row", "aggregates and window functions are not supported")
	}
	return &Call{At: at, Name: name, Args: args, Keyword: len(parts) == 2}
}

func (p *parser) caseExpr() Node {
	n := &Case{At: At(p.advance().pos)}
	if !p.isWord("when") {
		n.Arg = p.expr(pLowest)
	}
	for p.accept("when") {
		cond := p.expr(pLowest)
		p.expectWord("then")
		n.Whens = append(n.Whens, When{cond, p.expr(pLowest)})
	}
	if len(n.Whens) == 0 {
		p.unexpected()
	}
	if p.accept("else") {
		n.Else = p.expr(pLowest)
	}
	p.expectWord("end")
	return n
}

// array reads the brackets of ARRAY[…]; inner brackets need no word before them.
func (p *parser) array(at At) Node {
	defer p.enter()()
	p.expectSelf("[")
	n := &Array{At: at}
	for !p.tok.isSelf("]") {
		if p.tok.isSelf("[") {
			n.Elems = append(n.Elems, p.array(At(p.tok.pos)))
		} else {
			n.Elems = append(n.Elems, p.expr(pLowest))
		}
		if !p.acceptSelf(",") {
			break
		}
		if p.tok.isSelf("]") {
			p.unexpected()
		}
	}
	p.expectSelf("]")
	return n
}

func (p *parser) subscripts(base Node) Node {
	n := &Index{At: At(p.tok.pos), Base: base}
	for p.acceptSelf("[") {
		var s Subscript
		if !p.tok.isSelf(":") && p.tok.kind != tCast {
			s.Low = p.expr(pLowest)
		}
		if p.tok.kind == tCast {
			p.fail(p.tok.pos, "", `syntax error at or near "::"`)
		}
		if p.acceptSelf(":") {
			s.Slice = true
			if !p.tok.isSelf("]") {
				s.High = p.expr(pLowest)
			}
		} else if s.Low == nil {
			p.unexpected()
		}
		p.expectSelf("]")
		n.Subs = append(n.Subs, s)
	}
	return n
}

func (p *parser) castCall() Node {
	at := At(p.advance().pos)
	p.expectSelf("(")
	p.refuseSubquery()
	arg := p.expr(pLowest)
	p.expectWord("as")
	n := &Cast{At: at, Arg: arg, Type: p.typeName()}
	p.expectSelf(")")
	return n
}

// specialCall reads the calls that have key words instead of commas, or rules of their own for types.
func (p *parser) specialCall(t, next token) Node {
	if !next.isSelf("(") {
		return nil
	}
	at := At(t.pos)
	switch t.text {
	case "coalesce", "nullif", "greatest", "least":
		p.advance()
		p.advance()
		p.refuseSubquery()
		args := p.list()
		p.expectSelf(")")
		if t.text == "nullif" && len(args) != 2 {
			p.fail(t.pos, "", "NULLIF takes two arguments")
		}
		return &Special{at, t.text, args}
	case "extract":
		return p.extract(at)
	case "position":
		p.advance()
		p.advance()
		needle := p.operand(pIs, true)
		p.expectWord("in")
		haystack := p.operand(pIs, true)
		p.expectSelf(")")
		return &Call{at, "position", []Node{haystack, needle}, true}
	case "substring":
		return p.substring(at)
	case "overlay":
		return p.overlay(at)
	case "trim":
		return p.trim(at)
	}
	return nil
}

func (p *parser) extract(at At) Node {
	p.advance()
	p.advance()
	field := p.advance()
	switch field.kind {
	case tIdent, tQuoted, tString:
	case tKeyword:
	default:
		p.fail(field.pos, "write EXTRACT(year FROM …)", "EXTRACT takes a field's name")
	}
	p.expectWord("from")
	arg := p.expr(pLowest)
	p.expectSelf(")")
	name := "extract"
	if p.opt.Major < 14 {
		name = "date_part"
	}
	return &Call{at, name, []Node{&Const{At(field.pos), 's', field.text}, arg}, true}
}

func (p *parser) substring(at At) Node {
	p.advance()
	p.advance()
	args := []Node{p.expr(pLowest)}
	switch {
	case p.isWord("similar"):
		p.fail(p.tok.pos, "", "SUBSTRING with a pattern is not supported")
	case p.isWord("from"), p.isWord("for"):
		var from, length Node
		for p.isWord("from") || p.isWord("for") {
			word := p.advance().text
			value := p.expr(pLowest)
			switch {
			case word == "from" && from == nil:
				from = value
			case word == "for" && length == nil:
				length = value
			default:
				p.unexpected()
			}
		}
		if from == nil { // the grammar casts the length, so that it is not taken for a pattern
			from = &Const{at, 'i', "1"}
			length = &Cast{At: at, Arg: length, Type: TypeName{Pos: at.Pos(), Name: "int4"}}
		}
		args = append(args, from)
		if length != nil {
			args = append(args, length)
		}
	default:
		for p.acceptSelf(",") {
			args = append(args, p.expr(pLowest))
		}
	}
	p.expectSelf(")")
	return &Call{at, "substring", args, true}
}

func (p *parser) overlay(at At) Node {
	p.advance()
	p.advance()
	args := []Node{p.expr(pLowest)}
	if p.tok.isSelf(",") {
		for p.acceptSelf(",") {
			args = append(args, p.expr(pLowest))
		}
		p.expectSelf(")")
		return &Call{at, "overlay", args, false}
	}
	p.expectWord("placing")
	args = append(args, p.expr(pLowest))
	p.expectWord("from")
	args = append(args, p.expr(pLowest))
	if p.accept("for") {
		args = append(args, p.expr(pLowest))
	}
	p.expectSelf(")")
	return &Call{at, "overlay", args, true}
}

func (p *parser) trim(at At) Node {
	p.advance()
	p.advance()
	name := "btrim"
	switch {
	case p.accept("both"):
	case p.accept("leading"):
		name = "ltrim"
	case p.accept("trailing"):
		name = "rtrim"
	}
	var args []Node
	if p.accept("from") {
		args = p.list()
	} else {
		first := p.expr(pLowest)
		if p.accept("from") {
			args = append(p.list(), first)
		} else {
			args = []Node{first}
			for p.acceptSelf(",") {
				args = append(args, p.expr(pLowest))
			}
		}
	}
	p.expectSelf(")")
	return &Call{at, name, args, true}
}
