package javascript

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
	"github.com/dop251/goja/unistring"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// parameters is how many arguments a function gets: action, record, changes, metadata.
const parameters = 4

// code is what was compiled.
type code struct {
	program      *goja.Program // a function without parameters, around the whole code, that returns the entry
	text         string
	line, column int // of the entry
	needs        [parameters]need
	lone         bool // the code is the entry and nothing else, and the entry cannot reach itself: it need not be made anew for each call
}

// need is how much of an argument the code can ask for.
type need struct {
	all  bool
	keys map[string]bool // the only members it names, when not all
}

func parse(s language.Source) (*code, error) {
	text := string(s.Code)
	if !utf8.ValidString(text) {
		return nil, language.Errorf(language.KindSyntax, "the code is not UTF-8")
	}
	program, err := parser.ParseFile(nil, "", text, 0, parser.WithDisableSourceMaps) // a source map would be read from a file
	if err != nil {
		return nil, syntax(text, err)
	}
	c := &code{text: text}
	entry := find(program.Body, string(s.Entry))
	if !entry.found {
		return nil, missing(program.Body, s.Entry)
	}
	c.line, c.column = c.place(program.File, entry.at)
	if entry.never != "" {
		return nil, language.Errorf(language.KindSyntax, "%s is %s, not a function", s.Entry, entry.never).At(c.line, c.column)
	}
	seen := scan(program.Body)
	c.needs = seen.needs(string(s.Entry), entry.literal)
	c.lone = len(program.Body) == 1 && seen.names[string(s.Entry)] == 1 && seen.members[string(s.Entry)] == nil && lone(program.Body[0])
	if c.program, err = goja.CompileAST(enclose(program, s.Entry), true); err != nil {
		return nil, syntax(text, err)
	}
	return c, nil
}

// enclose puts a function around the program that returns the entry. It is made of nodes and not of text, so places stay what they are.
func enclose(program *ast.Program, entry language.Entry) *ast.Program {
	end := file.Idx(program.File.Base() + len(program.File.Source()))
	list := slices.Concat(program.Body, []ast.Statement{&ast.ReturnStatement{
		Return: end, Argument: &ast.Identifier{Name: unistring.NewFromString(string(entry)), Idx: end},
	}})
	function := &ast.FunctionLiteral{
		Function: 1, ParameterList: &ast.ParameterList{Opening: 1, Closing: 1},
		Body: &ast.BlockStatement{LeftBrace: 1, List: list, RightBrace: end}, DeclarationList: program.DeclarationList,
	}
	return &ast.Program{Body: []ast.Statement{&ast.ExpressionStatement{Expression: function}}, File: program.File}
}

// entry is what the code says of the function that is asked for.
type entry struct {
	found   bool
	at      file.Idx
	literal *ast.ParameterList // of a function that is written down there
	never   string             // what it is, when that is no function
}

func find(body []ast.Statement, name string) entry {
	var found entry
	for _, statement := range body {
		switch s := statement.(type) {
		case *ast.FunctionDeclaration:
			if s.Function.Name != nil && s.Function.Name.Name.String() == name {
				found = entry{found: true, at: s.Function.Idx0(), literal: s.Function.ParameterList}
			}
		case *ast.ClassDeclaration:
			if s.Class.Name != nil && s.Class.Name.Name.String() == name {
				found = entry{found: true, at: s.Class.Idx0(), never: "a class"}
			}
		case *ast.VariableStatement:
			found = findBinding(found, s.List, name)
		case *ast.LexicalDeclaration:
			found = findBinding(found, s.List, name)
		}
	}
	return found
}

func findBinding(found entry, list []*ast.Binding, name string) entry {
	for _, b := range list {
		if identifier, ok := b.Target.(*ast.Identifier); ok {
			if identifier.Name.String() == name {
				found = entry{found: true, at: identifier.Idx0(), literal: literal(b.Initializer), never: notFunction(b.Initializer)}
			}
			continue
		}
		if scan(b.Target).names[name] > 0 {
			found = entry{found: true, at: b.Idx0()}
		}
	}
	return found
}

func literal(e ast.Expression) *ast.ParameterList {
	switch f := e.(type) {
	case *ast.FunctionLiteral:
		return f.ParameterList
	case *ast.ArrowFunctionLiteral:
		return f.ParameterList
	}
	return nil
}

// lone tells of a statement that makes one function, which has no second name to call itself by.
func lone(statement ast.Statement) bool {
	switch s := statement.(type) {
	case *ast.FunctionDeclaration:
		return true
	case *ast.LexicalDeclaration:
		if len(s.List) == 1 {
			switch f := s.List[0].Initializer.(type) {
			case *ast.ArrowFunctionLiteral:
				return true
			case *ast.FunctionLiteral:
				return f.Name == nil
			}
		}
	}
	return false
}

func notFunction(e ast.Expression) string {
	switch e.(type) {
	case *ast.NumberLiteral:
		return "a number"
	case *ast.StringLiteral, *ast.TemplateLiteral:
		return "a string"
	case *ast.BooleanLiteral:
		return "a boolean"
	case *ast.ObjectLiteral:
		return "an object"
	case *ast.ArrayLiteral:
		return "an array"
	case *ast.NullLiteral:
		return "null"
	case *ast.RegExpLiteral:
		return "a regular expression"
	case *ast.ClassLiteral:
		return "a class"
	}
	return ""
}

// missing says what to write, and what there is instead.
func missing(body []ast.Statement, wanted language.Entry) *language.Error {
	for _, other := range []language.Entry{language.Transform, language.Filter, language.Route} {
		if other != wanted && find(body, string(other)).found {
			return language.Errorf(language.KindSyntax, "the code defines %s, but a function of this kind is named %s: function %s(action, record, changes, metadata) { … }",
				other, wanted, wanted)
		}
	}
	return language.Errorf(language.KindSyntax, "the code does not define %s; begin with: function %s(action, record, changes, metadata) { … }", wanted, wanted)
}

// inherited are the keys of Object.prototype: what every object answers to.
var inherited = map[string]bool{
	"__defineGetter__": true, "__defineSetter__": true, "__lookupGetter__": true, "__lookupSetter__": true, "__proto__": true, "constructor": true,
	"hasOwnProperty": true, "isPrototypeOf": true, "propertyIsEnumerable": true, "toLocaleString": true, "toString": true, "valueOf": true,
}

// names is what a piece of code mentions.
type names struct {
	names   map[string]int             // how often a name stands by itself
	members map[string]map[string]bool // what is read or written behind a name and a dot
}

// scan collects names by reflection: the syntax tree has some seventy kinds of nodes, of which three matter.
func scan(tree any) *names {
	n := &names{names: map[string]int{}, members: map[string]map[string]bool{}}
	n.walk(reflect.ValueOf(tree))
	return n
}

func (n *names) walk(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // what remains has no nodes inside
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		switch node := v.Interface().(type) {
		case *ast.DotExpression:
			n.dot(node)
			return
		case *file.File:
			return
		}
		n.walk(v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			n.walk(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			n.walk(v.Index(i))
		}
	case reflect.Struct:
		if identifier, ok := reflect.TypeAssert[ast.Identifier](v); ok {
			n.names[identifier.Name.String()]++
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "DeclarationList" { // it repeats what stands in the body
				n.walk(v.Field(i))
			}
		}
	}
}

// dot counts the member of a name, which may come with ?. as well.
func (n *names) dot(node *ast.DotExpression) {
	member := node.Identifier.Name.String()
	left := node.Left
	if optional, ok := left.(*ast.Optional); ok {
		left = optional.Expression
	}
	identifier, ok := left.(*ast.Identifier)
	if !ok {
		n.walk(reflect.ValueOf(left))
		return
	}
	name := identifier.Name.String()
	if n.members[name] == nil {
		n.members[name] = map[string]bool{}
	}
	n.members[name][member] = true
}

// needs tells how much of each argument the entry can see, given its parameters. Any doubt means all: a name that is used without a dot, that
// stands for something else too, an entry that is called, assigned or made by other code.
func (n *names) needs(entry string, list *ast.ParameterList) (needs [parameters]need) {
	doubt := list == nil || list.Rest != nil || n.names[entry] != 1 || n.members[entry] != nil || n.names["arguments"] > 0 || n.members["arguments"] != nil || n.names["eval"] > 0
	for i := range needs {
		switch {
		case doubt:
			needs[i].all = true
		case i >= len(list.List):
		default:
			identifier, ok := list.List[i].Target.(*ast.Identifier)
			if !ok {
				needs[i].all = true
				continue
			}
			name := identifier.Name.String()
			needs[i] = need{all: n.names[name] != 1, keys: n.members[name]}
			for member := range needs[i].keys {
				needs[i].all = needs[i].all || inherited[member] // record.hasOwnProperty("x") looks at others
			}
		}
	}
	return needs
}

// syntax turns what the parser or the compiler says into an error with a place.
func syntax(text string, err error) error {
	var list parser.ErrorList
	var compiler *goja.CompilerSyntaxError
	switch {
	case errors.As(err, &list) && len(list) > 0:
		first := list[0]
		e := language.Errorf(language.KindSyntax, "SyntaxError: %s", first.Message)
		return e.At(first.Position.Line, characters(text, first.Position.Line, first.Position.Column))
	case errors.As(err, &compiler):
		e := language.Errorf(language.KindSyntax, "SyntaxError: %s", strings.TrimPrefix(compiler.Message, "SyntaxError: "))
		if compiler.File != nil {
			position := compiler.File.Position(compiler.Offset)
			e = e.At(position.Line, characters(text, position.Line, position.Column))
		}
		return e
	}
	return language.Errorf(language.KindSyntax, "SyntaxError: %v", err)
}

// place is the line and column of a node.
func (c *code) place(f *file.File, at file.Idx) (line, column int) {
	position := f.Position(int(at) - f.Base())
	return position.Line, characters(c.text, position.Line, position.Column)
}

// characters turns a column that counts bytes into one that counts characters.
func characters(text string, line, column int) int {
	for range line - 1 {
		n := strings.IndexAny(text, "\n\r\u2028\u2029")
		if n < 0 {
			return column
		}
		_, size := utf8.DecodeRuneInString(text[n:])
		if strings.HasPrefix(text[n:], "\r\n") {
			size = 2
		}
		text = text[n+size:]
	}
	return utf8.RuneCountInString(text[:min(max(column-1, 0), len(text))]) + 1
}
