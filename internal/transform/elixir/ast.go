package elixir

import "fmt"

// Position is a place in the code, counted from 1.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// nodeKind says what a node of the tree is.
type nodeKind int

const (
	nodeInteger  nodeKind = iota // text
	nodeFloat                    // text
	nodeText                     // args: texts and interpolated expressions
	nodeLiteral                  // a piece of text without interpolation: text
	nodeAtom                     // text; nil, true and false too
	nodeVariable                 // text
	nodeCall                     // text is module.function or function; args; blocks
	nodeApply                    // args[0] is called with the others: fun.(x)
	nodeField                    // args[0].text
	nodeIndex                    // args[0][args[1]]
	nodeOperator                 // args[0] text args[1], or text args[0]
	nodeList                     // args, and tail
	nodeTuple                    // args
	nodeMap                      // args are keys and values in turn; tail is the map that is updated
	nodeKeywords                 // args are atoms and values in turn
	nodeFunction                 // clauses
	nodeCapture                  // args[0], or text/n for a named function
	nodeArgument                 // &1: text
	nodeBlock                    // args in order
	nodeSigil                    // text, flags, args[0] is the text
	nodeModule                   // text, a module that stands alone
	nodeRefused                  // what was refused already
)

// node is an expression.
type node struct {
	kind    nodeKind
	text    string
	flags   string
	at      Position
	args    []*node
	tail    *node
	clauses []clause
	blocks  []block // do, else and what else a call has
	bare    bool    // a call without parentheses or arguments: a variable, or a function
}

// clause is one of the ways that fn, case, cond or with can go.
type clause struct {
	at       Position
	patterns []*node
	guard    *node
	body     *node
}

// block is a part of a call: do …, else ….
type block struct {
	name    string
	body    *node
	clauses []clause
}

func (n *node) block(name string) *block {
	for i := range n.blocks {
		if n.blocks[i].name == name {
			return &n.blocks[i]
		}
	}
	return nil
}

// atom tells whether a node is the atom of that name.
func (n *node) atom(name string) bool { return n.kind == nodeAtom && n.text == name }

// call tells whether a node calls that function.
func (n *node) call(name string) bool { return n.kind == nodeCall && n.text == name }

// operator tells whether a node is that operator between two operands.
func (n *node) operator(name string) bool {
	return n.kind == nodeOperator && n.text == name && len(n.args) == 2
}
