package elixir

import (
	"slices"
)

// primary reads a value without what is hung on it.
func (p *parser) primary() *node {
	t := p.next()
	switch t.kind {
	case tokenInteger:
		text, ok := integerText(t.text)
		if !ok {
			p.fail(t.at, t.text, "is no number", "write it in decimal digits")
		}
		return &node{kind: nodeInteger, text: text, at: t.at}
	case tokenFloat:
		return &node{kind: nodeFloat, text: t.text, at: t.at}
	case tokenText:
		return p.textNode(&t)
	case tokenSigil:
		return &node{kind: nodeSigil, text: t.text, flags: t.flags, at: t.at, args: []*node{p.textNode(&t)}}
	case tokenAtom:
		return &node{kind: nodeAtom, text: t.text, at: t.at}
	case tokenCapture:
		return &node{kind: nodeArgument, text: t.text, at: t.at}
	case tokenAlias:
		return &node{kind: nodeModule, text: t.text, at: t.at}
	case tokenName:
		return p.callTail(&node{kind: nodeVariable, text: t.text, at: t.at})
	case tokenWord:
		switch t.text {
		case "true", "false", "nil":
			return &node{kind: nodeAtom, text: t.text, at: t.at}
		case "fn":
			return p.function(t.at)
		}
	case tokenPunct:
		if n := p.bracketed(&t); n != nil {
			return n
		}
	case tokenEnd, tokenLine, tokenKey, tokenOperator:
	}
	p.back(&t)
	p.unexpected("a value")
	return nil
}

// back returns to a token, which next does not go beyond if it is the last.
func (p *parser) back(t *token) {
	if p.peek().at != t.at || p.peek().kind != t.kind {
		p.i--
	}
}

// bracketed reads what begins with a bracket of any kind.
func (p *parser) bracketed(t *token) *node {
	switch t.text {
	case "(":
		var n *node
		p.enclosed(func() {
			n = p.blockUntil(func(t *token) bool { return t.kind == tokenPunct && t.text == ")" })
		})
		p.next()
		return n
	case "[":
		return p.list(t.at)
	case "{":
		return &node{kind: nodeTuple, at: t.at, args: p.arguments("}")}
	case "%":
		if p.peek().kind == tokenAlias || p.is(tokenName, "__MODULE__") {
			name := p.peek().text
			for p.peek().kind != tokenPunct || p.peek().text == "." {
				if p.next().kind == tokenEnd {
					p.unexpected("{")
				}
			}
			p.expect(tokenPunct, "{")
			p.mapNode(t.at)
			return p.refuse(t.at, "the struct %"+name+"{…}", "is not converted", "write a map, or use a function of its module")
		}
		p.expect(tokenPunct, "{")
		return p.mapNode(t.at)
	case "<<":
		p.arguments(">>")
		return p.refuse(t.at, "a binary <<…>>", "is not converted", "use String.slice, String.starts_with? or <>")
	}
	return nil
}

func (p *parser) list(at Position) *node {
	n := &node{kind: nodeList, at: at}
	n.args = p.arguments("]")
	if k := len(n.args) - 1; k >= 0 {
		switch last := n.args[k]; {
		case last.operator("|"):
			n.args, n.tail = append(n.args[:k:k], last.args[0]), last.args[1]
		case last.kind == nodeKeywords && k == 0:
			return last
		case last.kind == nodeKeywords:
			n.args = n.args[:k:k]
			for i := 0; i < len(last.args); i += 2 {
				n.args = append(n.args, &node{kind: nodeTuple, at: last.args[i].at, args: last.args[i : i+2]})
			}
		}
	}
	return n
}

func (p *parser) mapNode(at Position) *node {
	n := &node{kind: nodeMap, at: at}
	n.tail = p.updated()
	args := p.arguments("}")
	for _, a := range args {
		switch {
		case a.kind == nodeKeywords:
			n.args = append(n.args, a.args...)
		case a.operator("=>"):
			n.args = append(n.args, a.args...)
		default:
			p.fail(a.at, "this part of a map", "is no pair", `write key: value or "key" => value`)
		}
	}
	return n
}

// updated reads the map before the bar of %{map | key: value}, if there is a bar.
func (p *parser) updated() *node {
	p.lines()
	for i := p.i; i < len(p.tokens); i++ {
		switch t := &p.tokens[i]; {
		case t.kind == tokenPunct && slices.Contains([]string{"(", "[", "{", "<<"}, t.text), t.kind == tokenWord && (t.text == "fn" || t.text == "do"):
			i = p.matching(i)
		case t.kind == tokenOperator && t.text == "|":
			var n *node
			p.enclosed(func() { n = p.expression(precedence["|"] + 1) })
			p.lines()
			p.expect(tokenOperator, "|")
			return n
		case t.kind == tokenKey, t.kind == tokenOperator && t.text == "=>", t.text == "," || t.text == "}", t.kind == tokenEnd:
			return nil
		}
	}
	return nil
}

func (p *parser) textNode(t *token) *node {
	n := &node{kind: nodeText, at: t.at}
	for _, part := range t.parts {
		if part.tokens == nil {
			n.args = append(n.args, &node{kind: nodeLiteral, text: part.text, at: part.at})
			continue
		}
		inner := parser{tokens: part.tokens, refusals: p.refusals, depth: p.depth}
		n.args = append(n.args, inner.blockUntil(func(t *token) bool { return t.kind == tokenEnd }))
	}
	return n
}

// function reads fn … end.
func (p *parser) function(at Position) *node {
	n := &node{kind: nodeFunction, at: at}
	p.enclosed(func() {
		p.lines()
		n.clauses = p.clauses(func(t *token) bool { return t.kind == tokenWord && t.text == "end" })
	})
	p.expect(tokenWord, "end")
	return n
}

// clauses reads patterns -> body, ….
func (p *parser) clauses(ends func(*token) bool) []clause {
	var out []clause
	p.lines()
	for !ends(p.peek()) {
		c := clause{at: p.peek().at}
		if p.accept(tokenPunct, "(") {
			if p.is(tokenPunct, ")") && p.after().text == "->" {
				p.next()
			} else {
				p.i--
				p.head(&c)
			}
		} else if !p.is(tokenOperator, "->") {
			p.head(&c)
		}
		p.lines()
		p.expect(tokenOperator, "->")
		c.body = p.blockUntil(func(t *token) bool { return ends(t) || p.headFollows() })
		out = append(out, c)
		p.lines()
	}
	return out
}

// head reads the patterns of a clause and its guard.
func (p *parser) head(c *clause) {
	if p.peek().kind == tokenPunct && p.peek().text == "(" && p.parenthesized() {
		p.next()
		c.patterns = p.arguments(")")
	} else {
		for {
			if p.peek().kind == tokenKey {
				c.patterns = append(c.patterns, p.keywords())
				break
			}
			c.patterns = append(c.patterns, p.expression(precedence["when"]+1))
			if !p.accept(tokenPunct, ",") {
				break
			}
			p.lines()
		}
	}
	if p.is(tokenWord, "when") {
		p.next()
		p.lines()
		c.guard = p.expression(precedence["when"])
	}
}

// matching finds what closes the bracket or the block that opens at i.
func (p *parser) matching(i int) int {
	depth := 0
	for ; i < len(p.tokens); i++ {
		switch t := &p.tokens[i]; {
		case t.kind == tokenPunct && slices.Contains([]string{"(", "[", "{", "<<"}, t.text), t.kind == tokenWord && (t.text == "do" || t.text == "fn"):
			depth++
		case t.kind == tokenPunct && slices.Contains([]string{")", "]", "}", ">>"}, t.text), t.kind == tokenWord && t.text == "end":
			if depth--; depth <= 0 {
				return i
			}
		}
	}
	return len(p.tokens) - 1
}

// parenthesized tells whether all patterns of a clause stand in one pair of parentheses: fn (a, b) -> ….
func (p *parser) parenthesized() bool {
	t := &p.tokens[min(p.matching(p.i)+1, len(p.tokens)-1)]
	return t.text == "->" || t.text == "when"
}

// headFollows tells whether the line that begins here is the head of the next clause: an arrow comes before the line ends.
func (p *parser) headFollows() bool {
	if p.i == 0 || p.tokens[p.i-1].kind != tokenLine {
		return false
	}
	for i := p.i; i < len(p.tokens); i++ {
		switch t := &p.tokens[i]; {
		case t.kind == tokenOperator && t.text == "->":
			return true
		case t.kind == tokenPunct && slices.Contains([]string{"(", "[", "{", "<<"}, t.text), t.kind == tokenWord && (t.text == "fn" || t.text == "do"):
			i = p.matching(i)
		case t.kind == tokenLine && i+1 < len(p.tokens) && p.continues(i):
		case t.kind == tokenLine, t.kind == tokenEnd, t.kind == tokenWord && t.text == "end":
			return false
		}
	}
	return false
}

// continues tells whether the head of a clause goes on behind a line end.
func (p *parser) continues(i int) bool {
	before, after := &p.tokens[i-1], &p.tokens[i+1]
	return before.text == "," || before.kind == tokenOperator && before.text != "->" || before.text == "when" || before.text == "and" || before.text == "or" ||
		after.kind == tokenWord && slices.Contains([]string{"when", "and", "or"}, after.text) || after.kind == tokenOperator && after.text == "->"
}

// callTail reads the arguments of a call, if there are any.
func (p *parser) callTail(n *node) *node {
	t := p.peek()
	remote := n.kind == nodeCall
	switch {
	case t.kind == tokenPunct && t.text == "(" && !t.spaced:
		p.next()
		n.kind, n.args = nodeCall, p.arguments(")")
	case p.beginsArgument(t):
		n.kind, n.args = nodeCall, p.bareArguments()
	case remote:
		n.bare = true
	}
	if p.is(tokenWord, "do") && !p.bare && (n.kind == nodeCall || p.startsBlock(n)) {
		n.kind = nodeCall
		p.doBlocks(n)
	}
	if n.kind == nodeCall {
		inlineBlocks(n)
	}
	return n
}

// startsBlock tells whether a lone name takes a do: cond do, with do.
func (p *parser) startsBlock(n *node) bool { return n.kind == nodeVariable }

// beginsArgument tells whether a token begins the first argument of a call without parentheses.
func (p *parser) beginsArgument(t *token) bool {
	if !t.spaced {
		return false
	}
	switch t.kind {
	case tokenName, tokenAlias, tokenInteger, tokenFloat, tokenText, tokenAtom, tokenSigil, tokenCapture, tokenKey:
		return true
	case tokenWord:
		return slices.Contains([]string{"true", "false", "nil", "fn"}, t.text) || t.text == "not" && p.after().text != "in"
	case tokenPunct:
		return slices.Contains([]string{"(", "[", "{", "%", "<<"}, t.text)
	case tokenOperator:
		return t.text == "!" || t.text == "^" || t.text == "&" || (t.text == "-" || t.text == "+") && t.tight
	case tokenEnd, tokenLine:
	}
	return false
}

func (p *parser) bareArguments() []*node {
	bare := p.bare
	p.bare = true
	defer func() { p.bare = bare }()
	var args []*node
	for {
		if p.peek().kind == tokenKey {
			return append(args, p.keywords())
		}
		args = append(args, p.expression(precedence["<-"]))
		if !p.is(tokenPunct, ",") {
			return args
		}
		p.next()
		p.lines()
	}
}

// doBlocks reads do … else … end.
func (p *parser) doBlocks(n *node) {
	p.enclosed(func() {
		ends := func(t *token) bool {
			return t.kind == tokenWord && slices.Contains([]string{"end", "else", "after", "rescue", "catch"}, t.text)
		}
		for !p.is(tokenWord, "end") {
			b := block{name: p.next().text}
			p.lines()
			if p.headHere() {
				b.clauses = p.clauses(ends)
			} else {
				b.body = p.blockUntil(ends)
			}
			n.blocks = append(n.blocks, b)
		}
	})
	p.expect(tokenWord, "end")
}

// headHere tells whether a block holds clauses.
func (p *parser) headHere() bool {
	return p.headFollows() || p.i > 0 && p.tokens[p.i-1].kind == tokenWord && p.arrowFirst()
}

// arrowFirst is headFollows for a clause on the line of its do.
func (p *parser) arrowFirst() bool {
	tokens := p.tokens
	defer func() { p.tokens = tokens }()
	p.tokens = slices.Clone(tokens)
	p.tokens[p.i-1] = token{kind: tokenLine}
	return p.headFollows()
}

// inlineBlocks takes the keywords do: and else: of a call for its blocks.
func inlineBlocks(n *node) {
	k := len(n.args) - 1
	if k < 0 || n.args[k].kind != nodeKeywords || len(n.blocks) > 0 {
		return
	}
	keywords := n.args[k].args
	rest := &node{kind: nodeKeywords, at: n.args[k].at}
	for i := 0; i < len(keywords); i += 2 {
		if name := keywords[i].text; name == "do" || name == "else" {
			n.blocks = append(n.blocks, block{name: name, body: keywords[i+1]})
		} else {
			rest.args = append(rest.args, keywords[i], keywords[i+1])
		}
	}
	if n.blocks != nil {
		n.args = n.args[:k:k]
		if rest.args != nil {
			n.args = append(n.args, rest)
		}
	}
}
