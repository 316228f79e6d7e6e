package where

import "github.com/sequinstream/sequin/internal/where/syntax"

// walk calls f for a node and all below it.
func walk(n syntax.Node, f func(syntax.Node)) {
	if n == nil {
		return
	}
	f(n)
	all := func(nodes ...syntax.Node) {
		for _, n := range nodes {
			walk(n, f)
		}
	}
	switch n := n.(type) {
	case *syntax.Cast:
		all(n.Arg)
	case *syntax.Unary:
		all(n.Arg)
	case *syntax.Binary:
		all(n.Left, n.Right)
	case *syntax.Logic:
		all(n.Left, n.Right)
	case *syntax.Not:
		all(n.Arg)
	case *syntax.Is:
		all(n.Arg)
	case *syntax.Distinct:
		all(n.Left, n.Right)
	case *syntax.In:
		all(n.Arg)
		all(n.List...)
	case *syntax.Between:
		all(n.Arg, n.Low, n.High)
	case *syntax.Like:
		all(n.Arg, n.Pattern, n.Escape)
	case *syntax.AnyAll:
		all(n.Left, n.Right)
	case *syntax.Call:
		all(n.Args...)
	case *syntax.Special:
		all(n.Args...)
	case *syntax.Array:
		all(n.Elems...)
	case *syntax.Collate:
		all(n.Arg)
	case *syntax.Case:
		all(n.Arg)
		for _, w := range n.Whens {
			all(w.Cond, w.Result)
		}
		all(n.Else)
	case *syntax.Index:
		all(n.Base)
		for _, s := range n.Subs {
			all(s.Low, s.High)
		}
	}
}
