package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeTimeout bounds what the shell waits for.
const completeTimeout = time.Second

// completeNames offers the names that the server has, for the first argument. A server that does not answer at once offers none.
func (a *app) completeNames(k *kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !strings.Contains(cmd.Use, "NAME...") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var d data
		if c.Get(ctx, k.path(), nil, &d) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return named(d.Data, begun, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// named are the names that begin so and were not given before.
func named(objects []any, begun string, given []string) []cobra.Completion {
	var names []cobra.Completion
	for _, o := range objects {
		if name := short(at(o, "name")); strings.HasPrefix(name, begun) && !slices.Contains(given, name) && name == clean(name, false) {
			names = append(names, name)
		}
	}
	return names
}

// completeContexts offers the contexts.
func (a *app) completeContexts(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	store, err := a.contexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := store.names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fit []cobra.Completion
	for _, name := range names {
		if strings.HasPrefix(name, begun) {
			fit = append(fit, name)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}
