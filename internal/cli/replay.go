package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

var replayColumns = []column{ //nolint:gochecknoglobals // a table
	{"SEQ", "seq"},
	{"ASKED", "at"},
	{"STATE", "state"},
	{"ATTEMPTS", "attempts"},
	{"NOT BEFORE", "not_visible_until"},
}

// span is which delivered messages a command is about, if they are not named.
type span struct{ from, until, table, key, where string }

func (f *span) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "all that were committed at this `time` or later: 2030-01-31T09:30:00Z")
	flags.StringVar(&f.until, "until", "", "all that were committed before this `time`")
	flags.StringVar(&f.table, "table", "", "all of this `table`: schema.table")
	flags.StringVar(&f.key, "key", "", "all of the row with this primary `key`")
	flags.StringVar(&f.where, "where", "", "all that meet this `condition` in SQL")
}

// described is what the API takes, and the same in words.
func (f *span) described() (body map[string]any, words string) {
	body, parts := map[string]any{}, []string{}
	for _, part := range [][2]string{{"from", f.from}, {"until", f.until}, {"table", f.table}, {"key", f.key}, {"where", f.where}} {
		if part[1] != "" {
			body[part[0]] = part[1]
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	return body, strings.Join(parts, ", ")
}

func (a *app) messagesReplay() *cobra.Command {
	var which span
	var dry, yes bool
	cmd := a.sinkCommand("replay SINK [SEQ...]", "Deliver messages once more that were delivered, out of order", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		body, words := which.described()
		if (len(args) > 1) == (len(body) > 0) {
			return usage("say which messages: name them by seq, or describe them with the flags")
		}
		if len(args) > 1 {
			named := choice{}
			bodies, err := named.bodies(args[1:])
			if err != nil {
				return err
			}
			if dry {
				return usage("--dry-run counts messages that are described; those that are named are %d", len(args)-1)
			}
			return a.settle(cmd, c, args[0], "replays", "on their way once more", bodies)
		}
		count, answer, err := a.countReplay(cmd, c, args[0], body)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("sink %q, %s: %s", args[0], words, count.String())
		if dry {
			return a.answer(answer, func() error { return a.write(text + "\n") })
		}
		question := text + "\ndeliver them once more? They come out of order, beside newer changes of the same rows."
		if err := a.certain(cmd.Context(), yes, question); err != nil {
			return err
		}
		delete(body, "dry_run")
		return a.settle(cmd, c, args[0], "replays", "on their way once more", []map[string]any{body})
	})
	cmd.Example = "  sequin messages replay orders 1041 1042\n  sequin messages replay orders --from 2030-01-30T00:00:00Z --until 2030-01-31T00:00:00Z --where 'total > 100'"
	which.bind(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell how many match")
	yesFlag(cmd, &yes)
	return cmd
}

// countReplay asks how many messages match.
func (a *app) countReplay(cmd *cobra.Command, c *client.Client, sink string, body map[string]any) (t moveTally, answer []byte, err error) {
	body["dry_run"] = true
	res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: sinkKind.path(sink, "replays"), Body: body, Timeout: connectTimeout})
	if err != nil {
		return t, nil, err
	}
	err = res.Decode(&t)
	return t, res.Body, err
}

func (a *app) messagesReplays() *cobra.Command {
	return a.sinkCommand("replays SINK", "List messages that are on their way once more", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		res, err := c.Do(cmd.Context(), client.Request{Path: sinkKind.path(args[0], "replays")})
		if err != nil {
			return err
		}
		return a.list(res.Body, replayColumns, "nothing is on its way once more", "")
	})
}

func (a *app) messagesCancelReplay() *cobra.Command {
	var all bool
	cmd := a.sinkCommand("cancel-replay SINK [SEQ...]", "Give up messages that are on their way once more", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		named := choice{all: all}
		bodies, err := named.bodies(args[1:])
		if err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], "replays/cancel", "cancelled", bodies)
	})
	cmd.Flags().BoolVar(&all, "all", false, "all of the sink")
	return cmd
}
