package lua

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// parameters is how many arguments a function gets: action, record, changes, metadata.
const parameters = 4

// code is what was compiled.
type code struct {
	proto *lua.FunctionProto // takes the operators and returns the entry
	line  int                // of the entry
	needs [parameters]need
	seen  *names
}

// need is how much of an argument the code can ask for.
type need struct {
	all  bool
	keys map[string]bool // the only members it names, when not all
}

func statements(s language.Source) ([]ast.Stmt, error) {
	if !utf8.Valid(s.Code) {
		return nil, language.Errorf(language.KindSyntax, "the code is not UTF-8")
	}
	list, err := parse.Parse(bytes.NewReader(s.Code), string(s.Entry))
	if err == nil {
		return list, nil
	}
	mistake, ok := errors.AsType[*parse.Error](err)
	if !ok {
		return nil, language.Errorf(language.KindSyntax, "%v", err)
	}
	message := strings.TrimSpace(mistake.Message)
	if mistake.Token != "" {
		message += " near " + mistake.Token
	}
	if mistake.Pos.Line == parse.EOF {
		message = strings.TrimSpace(mistake.Message) + " at the end"
		return nil, language.Errorf(language.KindSyntax, "%s", message).At(1+bytes.Count(bytes.TrimRight(s.Code, "\n"), []byte("\n")), 0)
	}
	return nil, language.Errorf(language.KindSyntax, "%s", message).At(mistake.Pos.Line, column(s.Code, mistake.Pos.Line, mistake.Pos.Column))
}

// column turns one that counts bytes into one that counts characters.
func column(text []byte, line, column int) int {
	for range line - 1 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return utf8.RuneCount(text[:min(max(column-1, 0), len(text))]) + 1
}

func load(s language.Source) (*code, error) {
	list, err := statements(s)
	if err != nil {
		return nil, err
	}
	entry := string(s.Entry)
	line := define(list, entry)
	if line == 0 {
		return nil, missing(list, s.Entry)
	}
	if n := len(list); n > 0 {
		if last, ok := list[n-1].(*ast.ReturnStmt); ok {
			return nil, language.Errorf(language.KindSyntax, "a return outside of a function: define %s instead", entry).At(last.Line(), 0)
		}
	}
	seen := &names{names: map[string]int{}, members: map[string]map[string]bool{}, written: map[string]bool{}}
	seen.walk(reflect.ValueOf(list))
	if seen.dots > 0 {
		return nil, language.Errorf(language.KindSyntax, "cannot use '...' outside a vararg function").At(seen.dots, 0)
	}
	c := &code{line: line, seen: seen}
	c.needs = seen.needs(list, entry)
	rewrite(reflect.ValueOf(&list).Elem())
	if c.proto, err = lua.Compile(enclose(list, entry), entry); err != nil {
		return nil, compileError(err)
	}
	return c, nil
}

func compileError(err error) *language.Error {
	mistake, ok := errors.AsType[*lua.CompileError](err)
	if !ok {
		return language.Errorf(language.KindSyntax, "%v", err)
	}
	return language.Errorf(language.KindSyntax, "%s", mistake.Message).At(mistake.Line, 0)
}

// operators are the names, which no code can say, of the functions that comparisons and big literals become.
var operators = []string{"<", "<=", ">", ">=", "#"}

// enclose makes the operators locals of the code and returns the entry behind it.
func enclose(list []ast.Stmt, entry string) []ast.Stmt {
	locals := &ast.LocalAssignStmt{Names: operators, Exprs: []ast.Expr{&ast.Comma3Expr{}}}
	result := &ast.ReturnStmt{Exprs: []ast.Expr{&ast.IdentExpr{Value: entry}}}
	all := append(append([]ast.Stmt{locals}, list...), result)
	for _, s := range []ast.PositionHolder{locals, locals.Exprs[0], result, result.Exprs[0]} {
		s.SetLine(1)
		s.SetLastLine(1)
	}
	return all
}

// define finds the line where the entry is defined outside of functions, 0 if it is not.
func define(list []ast.Stmt, entry string) (line int) {
	for _, statement := range list {
		switch s := statement.(type) {
		case *ast.FuncDefStmt:
			if name, ok := s.Name.Func.(*ast.IdentExpr); ok && name.Value == entry && s.Name.Method == "" {
				line = s.Line()
			}
		case *ast.LocalAssignStmt:
			for _, name := range s.Names {
				if name == entry {
					line = s.Line()
				}
			}
		case *ast.AssignStmt:
			for _, left := range s.Lhs {
				if name, ok := left.(*ast.IdentExpr); ok && name.Value == entry {
					line = s.Line()
				}
			}
		}
	}
	return line
}

// missing says what to write, and what there is instead.
func missing(list []ast.Stmt, wanted language.Entry) *language.Error {
	for _, other := range []language.Entry{language.Transform, language.Filter, language.Route} {
		if other != wanted && define(list, string(other)) > 0 {
			return language.Errorf(language.KindSyntax, "the code defines %s, but a function of this kind is named %s: function %s(action, record, changes, metadata) … end",
				other, wanted, wanted)
		}
	}
	return language.Errorf(language.KindSyntax, "the code does not define %s; begin with: function %s(action, record, changes, metadata) … end", wanted, wanted)
}

// names is what the code mentions.
type names struct {
	names   map[string]int             // how often a name stands by itself
	members map[string]map[string]bool // what is read or written behind a name
	written map[string]bool            // names of which a member is assigned
	inside  int                        // functions around the place
	dots    int                        // line of a ... outside of functions
}

func (n *names) walk(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // what remains has no nodes inside
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		switch node := v.Interface().(type) {
		case *ast.IdentExpr:
			n.names[node.Value]++
			return
		case *ast.AttrGetExpr:
			if n.member(node) {
				return
			}
		case *ast.FunctionExpr:
			n.inside++
			defer func() { n.inside-- }()
		case *ast.Comma3Expr:
			if n.inside == 0 && n.dots == 0 {
				n.dots = node.Line()
			}
		case *ast.AssignStmt:
			for _, left := range node.Lhs {
				n.write(left)
			}
		case *ast.FuncDefStmt:
			n.write(node.Name.Func)
			n.write(node.Name.Receiver)
		}
		n.walk(v.Elem())
	case reflect.Interface:
		n.walk(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			n.walk(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n.walk(v.Field(i))
			}
		}
	}
}

// member notes name.key, and says whether the expression is one.
func (n *names) member(node *ast.AttrGetExpr) bool {
	name, ok := node.Object.(*ast.IdentExpr)
	if !ok {
		return false
	}
	key, ok := node.Key.(*ast.StringExpr)
	if !ok {
		return false
	}
	if n.members[name.Value] == nil {
		n.members[name.Value] = map[string]bool{}
	}
	n.members[name.Value][key.Value] = true
	return true
}

func (n *names) write(left ast.Expr) {
	switch e := left.(type) {
	case *ast.AttrGetExpr:
		if name, ok := e.Object.(*ast.IdentExpr); ok {
			n.written[name.Value] = true
		}
	case *ast.IdentExpr:
		n.written[e.Value] = true
	}
}

// needs tells how much of each argument the entry can see. Any doubt means all: a name that stands by itself, an entry that is defined twice, is
// called by other code, or is no function that is written down outside of others.
func (n *names) needs(list []ast.Stmt, entry string) (needs [parameters]need) {
	function, defined, mentioned := literal(list, entry)
	for i := range needs {
		switch {
		case function == nil || defined != 1 || n.names[entry] != mentioned || n.members[entry] != nil || function.ParList.HasVargs:
			needs[i].all = true
		case i < len(function.ParList.Names):
			name := function.ParList.Names[i]
			needs[i] = need{all: n.names[name] > 0, keys: n.members[name]}
		}
	}
	return needs
}

// literal is the function that the code gives the name of the entry, how many there are, and how often defining them mentions the name.
func literal(list []ast.Stmt, entry string) (function *ast.FunctionExpr, defined, mentioned int) {
	for _, statement := range list {
		if define([]ast.Stmt{statement}, entry) == 0 {
			continue
		}
		defined++
		switch s := statement.(type) {
		case *ast.FuncDefStmt:
			function = s.Func
			mentioned++
		case *ast.LocalAssignStmt:
			if len(s.Names) == 1 && len(s.Exprs) == 1 {
				function, _ = s.Exprs[0].(*ast.FunctionExpr)
			}
		case *ast.AssignStmt:
			mentioned++
			if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
				function, _ = s.Rhs[0].(*ast.FunctionExpr)
			}
		}
	}
	return function, defined, mentioned
}

var exprType = reflect.TypeFor[ast.Expr]()

// rewrite makes calls of comparisons, which Lua refuses between a number and a userdata, and of literals that no double holds. It goes through
// every place that holds an expression.
func rewrite(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // what remains has no nodes inside
	case reflect.Pointer:
		if !v.IsNil() {
			rewrite(v.Elem())
		}
	case reflect.Interface:
		if v.IsNil() {
			return
		}
		rewrite(v.Elem())
		if v.Type() == exprType {
			if call := replacement(v.Interface()); call != nil {
				v.Set(reflect.ValueOf(call))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			rewrite(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				rewrite(v.Field(i))
			}
		}
	}
}

func replacement(e any) ast.Expr {
	switch e := e.(type) {
	case *ast.RelationalOpExpr:
		switch e.Operator {
		case "<", "<=", ">", ">=":
			return operation(e, e.Operator, e.Lhs, e.Rhs)
		}
	case *ast.NumberExpr:
		if number, ok := integer(e.Value); ok && number.Form == jsontext.Integer {
			return operation(e, "#", &ast.StringExpr{Value: e.Value})
		}
	}
	return nil
}

// integer reads plain digits.
func integer(text string) (jsontext.Number, bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || digits[0] == '0' && len(digits) > 1 {
		return jsontext.Number{}, false
	}
	return jsontext.ParseNumber([]byte(text)), true
}

func operation(at ast.Expr, name string, args ...ast.Expr) ast.Expr {
	function := &ast.IdentExpr{Value: name}
	call := &ast.FuncCallExpr{Func: function, Args: args, AdjustRet: true}
	for _, e := range append([]ast.Expr{function, call}, args...) {
		if e.Line() == 0 || e == function || e == ast.Expr(call) {
			e.SetLine(at.Line())
			e.SetLastLine(at.LastLine())
		}
	}
	return call
}
