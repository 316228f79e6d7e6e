package syntax

import (
	"strconv"
	"strings"
)

// typeWords translates the names that the grammar itself knows.
var typeWords = map[string]string{
	"int": "int4", "integer": "int4", "smallint": "int2", "bigint": "int8", "real": "float4", "boolean": "bool", "decimal": "numeric", "dec": "numeric",
	"numeric": "numeric", "float": "float8", "bit": "bit", "character": "bpchar", "char": "bpchar", "varchar": "varchar", "time": "time",
	"timestamp": "timestamp", "interval": "interval", "double": "float8", "national": "", "nchar": "bpchar", "json": "json",
}

// typedLiteral reads date '2024-01-01', interval '1' day and their like; nil if the tokens are something else.
func (p *parser) typedLiteral() Node {
	t := p.tok
	at := At(t.pos)
	if t.kind == tKeyword {
		switch t.text {
		case "double":
			if !p.look(1).isWord("precision") || p.look(2).kind != tString {
				return nil
			}
		case "time", "timestamp", "interval", "bit", "character", "char", "varchar", "numeric", "decimal", "dec", "float", "nchar", "national":
			if !p.literalFollows() {
				return nil
			}
		case "int", "integer", "smallint", "bigint", "real", "boolean", "json":
			if p.look(1).kind != tString {
				return nil
			}
		default:
			if p.class(t.text) == 'R' || p.look(1).kind != tString {
				return nil
			}
		}
	} else {
		next := p.look(1)
		qualified := t.text == "pg_catalog" && next.isSelf(".") && p.look(3).kind == tString
		if next.kind != tString && !qualified && (!next.isSelf("(") || !p.modifierThenString(1)) {
			return nil
		}
	}
	if (t.kind == tKeyword || t.kind == tIdent) && p.look(1).kind == tString {
		if _, special := typeWords[t.text]; !special && p.class(t.text) == 'C' {
			return nil
		}
	}
	typ := p.typeNameIn(true)
	if p.tok.kind != tString {
		p.unexpected()
	}
	s := p.advance()
	if typ.Name == "interval" && typ.Schema == "" && !typ.Quoted {
		p.intervalFields(&typ)
	}
	return &Cast{At: at, Arg: &Const{At(s.pos), 's', s.text}, Type: typ, Literal: true}
}

// modifierThenString reports whether "( number ) 'string'" starts n tokens ahead.
func (p *parser) modifierThenString(n int) bool {
	if !p.look(n).isSelf("(") || p.look(n+1).kind != tInt {
		return false
	}
	for i := n + 2; i < n+5; i += 2 {
		switch {
		case p.look(i).isSelf(")"):
			return p.look(i+1).kind == tString
		case p.look(i).isSelf(",") && p.look(i+1).kind == tInt:
		default:
			return false
		}
	}
	return false
}

// literalFollows reports whether the key word at hand starts a type that a string follows.
func (p *parser) literalFollows() bool {
	n := 1
	if p.look(n).isWord("varying") {
		n++
	}
	if p.look(n).isWord("precision") {
		n++
	}
	if p.look(n).isSelf("(") {
		if p.modifierThenString(n) {
			return true
		}
		if p.look(n+1).kind != tInt || !p.look(n+2).isSelf(")") {
			return false
		}
		n += 3
	}
	if p.look(n).isWord("with") || p.look(n).isWord("without") {
		if !p.look(n+1).isWord("time") || !p.look(n+2).isWord("zone") {
			return false
		}
		n += 3
	}
	return p.look(n).kind == tString
}

func (p *parser) typeName() TypeName { return p.typeNameIn(false) }

// typeNameIn reads a type. In front of a literal, brackets and the fields of an interval do not belong to it.
func (p *parser) typeNameIn(literal bool) TypeName {
	t := p.advance()
	typ := TypeName{Pos: t.pos, Name: t.text, Quoted: t.kind == tQuoted}
	switch t.kind {
	case tIdent, tQuoted:
	case tKeyword:
		if t.text == "setof" {
			p.fail(t.pos, "", "SETOF is not supported")
		}
		if p.class(t.text) == 'R' {
			p.fail(t.pos, "", "syntax error at or near %q", t.text)
		}
	default:
		p.fail(t.pos, "write a type's name", "a type is missing")
	}
	word := t.kind == tKeyword && typeWords[t.text] != ""
	if word {
		p.typeWord(&typ, t.text, literal)
	} else if p.tok.isSelf(".") {
		p.advance()
		name := p.advance()
		if name.kind != tIdent && name.kind != tQuoted && name.kind != tKeyword {
			p.fail(name.pos, "write a type's name", "a type is missing")
		}
		typ.Schema, typ.Name, typ.Quoted = typ.Name, name.text, true
	}
	if !word && p.tok.isSelf("(") {
		typ.Mods = p.modifiers()
	}
	if p.tok.isOp("%") && p.look(1).isWord("type") {
		p.fail(p.tok.pos, "write the type", "%%TYPE is not supported")
	}
	if literal {
		return typ
	}
	if typ.Name == "interval" && word {
		p.intervalFields(&typ)
	}
	for p.tok.isSelf("[") {
		p.advance()
		if p.tok.kind == tInt {
			p.advance()
		}
		p.expectSelf("]")
		typ.Dims++
	}
	if typ.Dims == 0 && p.isWord("array") {
		p.advance()
		typ.Dims = 1
		if p.acceptSelf("[") {
			if p.tok.kind != tInt {
				p.unexpected()
			}
			p.advance()
			p.expectSelf("]")
		}
	}
	return typ
}

// typeWord reads the rest of a type that the grammar knows by its words.
func (p *parser) typeWord(typ *TypeName, word string, literal bool) {
	typ.Name = typeWords[word]
	switch word {
	case "double":
		p.expectWord("precision")
		return
	case "bit", "character", "char", "nchar":
		if p.accept("varying") {
			typ.Name = map[string]string{"bit": "varbit"}[word]
			if typ.Name == "" {
				typ.Name = "varchar"
			}
		} else if !p.tok.isSelf("(") {
			if !literal { // a literal keeps its own length
				typ.Mods = []int{1}
			}
			return
		}
	case "int", "integer", "smallint", "bigint", "real", "boolean", "json":
		return
	}
	if p.tok.isSelf("(") {
		pos := p.tok.pos
		typ.Mods = p.modifiers()
		if word == "float" {
			switch n := typ.Mods[0]; {
			case len(typ.Mods) != 1 || n < 1 || n > 53:
				p.fail(pos, "", "the precision of float is from 1 to 53")
			case n <= 24:
				typ.Name = "float4"
			}
			typ.Mods = nil
		}
	}
	if word == "time" || word == "timestamp" {
		switch {
		case p.isWord("with") && p.look(1).isWord("time"):
			p.advance()
			p.advance()
			p.expectWord("zone")
			typ.Name += "tz"
		case p.isWord("without") && p.look(1).isWord("time"):
			p.advance()
			p.advance()
			p.expectWord("zone")
		}
	}
}

func (p *parser) modifiers() []int {
	p.expectSelf("(")
	var mods []int
	for {
		sign := 1
		if p.tok.isOp("-") {
			p.advance()
			sign = -1
		}
		if p.tok.kind != tInt {
			p.unexpected()
		}
		t := p.advance()
		n, err := strconv.Atoi(t.text)
		if err != nil || n > 100_000_000 {
			p.fail(t.pos, "", "the number is too large")
		}
		mods = append(mods, sign*n)
		if !p.acceptSelf(",") {
			break
		}
	}
	p.expectSelf(")")
	return mods
}

// intervalFields reads DAY, DAY TO SECOND(3) and their like.
func (p *parser) intervalFields(typ *TypeName) {
	fields := []string{"year", "month", "day", "hour", "minute", "second"}
	index := func() int {
		for i, f := range fields {
			if p.isWord(f) {
				return i
			}
		}
		return -1
	}
	from := index()
	if from < 0 {
		return
	}
	if typ.Mods != nil {
		p.unexpected()
	}
	words := []string{p.advance().text}
	last := from
	if p.isWord("to") {
		p.advance()
		to := index()
		ok := from == 0 && to == 1 || from >= 2 && to > from
		if !ok {
			p.unexpected()
		}
		words = append(words, "to", p.advance().text)
		last = to
	}
	if last == 5 && p.tok.isSelf("(") {
		typ.Mods = p.modifiers()
	}
	typ.Fields = strings.Join(words, " ")
}
