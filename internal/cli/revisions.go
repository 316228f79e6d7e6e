package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

func (a *app) revisionsCommand() *cobra.Command {
	cmd := group("revisions", "Revisions of what the account declares: list, compare, restore",
		"Every change to what an account declares makes a revision. Each can be shown, compared with another, and restored; restoring makes a new one.",
		a.revisionsList(), a.revisionsShow(), a.revisionsCompare(), a.revisionsRestore())
	cmd.Aliases = []string{"revision"}
	return cmd
}

func checkRevision(text string) error {
	if _, err := strconv.ParseUint(text, 10, 64); err != nil {
		return usage("%q is not the number of a revision", text)
	}
	return nil
}

func (a *app) revisionsList() *cobra.Command {
	var page limitFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the revisions, the newest first", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "revisions"), Query: page.query()})
			if err != nil {
				return err
			}
			return a.answer(res.Body, func() error { return a.printRevisions(res.Body) })
		}),
	}
	page.bind(cmd, "before", "number")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printRevisions(body []byte) error {
	d, err := readData(body)
	if err != nil {
		return err
	}
	if len(d.Data) == 0 {
		a.note("there are no revisions")
		return nil
	}
	t := table{head: []string{"NUMBER", "AT", "BY", "WHAT", "CHANGES"}}
	for _, r := range d.Data {
		t.add(short(at(r, "number")), short(at(r, "at")), actor(r), short(at(r, "what")), changeWords(at(r, "changes")))
	}
	if err := a.printTable(&t); err != nil {
		return err
	}
	if d.Next != nil {
		a.note("there is more: --before %s", short(d.Next))
	}
	return nil
}

// actor is who did something.
func actor(object any) string {
	if name, ok := at(object, "actor").(string); ok {
		return name
	}
	return strings.TrimSpace(short(at(object, "actor.kind")) + " " + short(at(object, "actor.name")))
}

// changeWords names the first few changes.
func changeWords(value any) string {
	all, _ := value.([]any)
	const most = 3
	var words []string
	for i, c := range all {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(all)-most))
			break
		}
		words = append(words, strings.Join([]string{sign(short(at(c, "action"))), short(at(c, "resource_type")), short(at(c, "name"))}, " "))
	}
	return strings.Join(words, ", ")
}

func (a *app) revisionsShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NUMBER", Short: "Show a revision whole, as YAML with masked secrets", Args: cobra.ExactArgs(1),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := checkRevision(args[0]); err != nil {
				return err
			}
			res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "revisions", args[0])})
			if err != nil {
				return err
			}
			return a.answer(res.Body, func() error {
				v, err := mapOf(res)
				if err != nil {
					return err
				}
				a.note("revision %s of %s by %s: %s", short(v["number"]), short(v["at"]), actor(v), short(v["what"]))
				return a.write(strings.TrimRight(short(v["yaml"]), "\n") + "\n")
			})
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) revisionsCompare() *cobra.Command {
	cmd := &cobra.Command{
		Use: "compare FROM TO", Short: "Show what changed between two revisions", Args: cobra.ExactArgs(2),
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			for _, n := range args {
				if err := checkRevision(n); err != nil {
					return err
				}
			}
			q := url.Values{"from": {args[0]}, "to": {args[1]}}
			res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "revisions", "compare"), Query: q})
			if err != nil {
				return err
			}
			return a.answer(res.Body, func() error {
				p, err := readPlan(res.Body)
				if err != nil {
					return err
				}
				if len(p.changes) == 0 {
					return a.write("nothing differs\n")
				}
				return a.write(a.renderChanges(p))
			})
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) revisionsRestore() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "restore NUMBER", Short: "Make what the account declares what it was then", Args: cobra.ExactArgs(1),
		Long: "Make what the account declares what it was in that revision, as a new revision. Tokens and users are no part of it. On a terminal what would change is shown first.",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if err := checkRevision(args[0]); err != nil {
				return err
			}
			if !yes && a.screen.asks() {
				if err := a.previewRestore(cmd, c, args[0]); err != nil {
					return err
				}
			}
			if err := a.certain(cmd.Context(), yes, fmt.Sprintf("restore revision %s? What was declared since is taken back.", args[0])); err != nil {
				return err
			}
			res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("api", "revisions", args[0], "restore"), Timeout: connectTimeout})
			if err != nil {
				return err
			}
			return a.answer(res.Body, func() error {
				v, err := mapOf(res)
				if err != nil {
					return err
				}
				line := fmt.Sprintf("revision %s is restored", args[0])
				if n := short(at(v, "number|revision")); n != "" {
					line += ", as revision " + n
				}
				return a.write(clean(line, false) + "\n")
			})
		}),
	}
	yesFlag(cmd, &yes)
	a.outputFlag(cmd)
	return cmd
}

// previewRestore shows what a restore would change.
func (a *app) previewRestore(cmd *cobra.Command, c *client.Client, number string) error {
	var head data
	if err := c.Get(cmd.Context(), client.Path("api", "revisions"), url.Values{"limit": {"1"}}, &head); err != nil {
		return err
	}
	if len(head.Data) == 0 {
		return nil
	}
	q := url.Values{"from": {short(at(head.Data[0], "number"))}, "to": {number}}
	res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "revisions", "compare"), Query: q})
	if err != nil {
		return err
	}
	p, err := readPlan(res.Body)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprint(a.streams.Err, a.renderChanges(p)) // for the person that is asked
	return nil
}

var auditColumns = []column{ //nolint:gochecknoglobals // a table
	{"AT", "at"},
	{"BY", "actor.kind"},
	{"NAME", "actor.name"},
	{"FROM", "actor.address"},
	{"ACTION", "action"},
	{"KIND", "resource_type"},
	{"RESOURCE", "resource"},
	{"OUTCOME", "outcome"},
	{"DETAIL", "detail"},
}

func (a *app) auditCommand() *cobra.Command {
	var page limitFlags
	list := &cobra.Command{
		Use: "list", Short: "List who changed what, the newest first", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Do(cmd.Context(), client.Request{Path: client.Path("api", "audit"), Query: page.query()})
			if err != nil {
				return err
			}
			return a.list(res.Body, auditColumns, "nothing was changed yet", "--before")
		}),
	}
	page.bind(list, "before", "id")
	a.outputFlag(list)
	return group("audit", "The audit log: who changed what", "", list)
}
