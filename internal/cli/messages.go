package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

var (
	messageColumns = []column{ //nolint:gochecknoglobals // a table
		{"SEQ", "seq"},
		{"STATE", "state"},
		{"TABLE", "table"},
		{"ACTION", "action"},
		{"KEY", "key"},
		{"ATTEMPTS", "attempts"},
		{"COMMITTED", "commit_timestamp"},
		{"NOT BEFORE", "not_visible_until"},
		{"LAST ERROR", "last_error"},
	}
	deadColumns = []column{ //nolint:gochecknoglobals // a table
		{"SEQ", "seq"},
		{"REASON", "reason_code|reason"},
		{"SCHEMA", "schema"},
		{"TABLE", "table"},
		{"ACTION", "action"},
		{"ATTEMPTS", "attempts"},
		{"SINCE", "at"},
		{"REDRIVING", "redriving"},
		{"ERROR", "error"},
	}
	messageStates = []string{"available", "delivering", "backing_off", "pending_redelivery", "dead_letter"} //nolint:gochecknoglobals // the words of the API
)

func (a *app) messagesCommand() *cobra.Command {
	cmd := group("messages", "Messages of a sink: what waits, what fails, what is dead",
		"See what a sink still has to deliver and what it could not, and get it moving. A message is named by its seq in the log; ack ids are taken too.",
		a.messagesList(), a.messagesShow(), a.messagesRedeliver(), a.messagesDiscard(), a.messagesDead(), a.messagesRedrive())
	cmd.Aliases = []string{"message"}
	return cmd
}

// sinkCommand is a command whose first argument is a sink.
func (a *app) sinkCommand(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, ValidArgsFunction: a.completeNames(sinkKind), RunE: a.call(run)}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) messagesList() *cobra.Command {
	var page limitFlags
	var state, table, key string
	cmd := a.sinkCommand("list SINK", "List messages that are not delivered yet", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		q := page.query()
		for name, value := range map[string]string{"state": state, "table": table, "key": key} {
			if value != "" {
				q.Set(name, value)
			}
		}
		res, err := c.Do(cmd.Context(), client.Request{Path: sinkKind.path(args[0], "messages"), Query: q})
		if err != nil {
			return err
		}
		return a.list(res.Body, messageColumns, "there are no such messages", "--after")
	})
	cmd.Aliases = []string{"ls"}
	page.bind(cmd, "after", "seq")
	cmd.Flags().StringVar(&state, "state", "", "only those in this `state`: "+strings.Join(messageStates, ", "))
	cmd.Flags().StringVar(&table, "table", "", "only those of this `table`")
	cmd.Flags().StringVar(&key, "key", "", "only those of the row with this primary `key`")
	completeWith(cmd, "state", messageStates...)
	return cmd
}

func (a *app) messagesShow() *cobra.Command {
	return a.sinkCommand("show SINK SEQ", "Show a message as it would be delivered, and how its deliveries went", cobra.ExactArgs(2),
		func(cmd *cobra.Command, c *client.Client, args []string) error {
			return a.showMessage(cmd, c, sinkKind.path(args[0], "messages", args[1]))
		})
}

// showMessage prints what is known of a message, and the message itself as JSON below.
func (a *app) showMessage(cmd *cobra.Command, c *client.Client, path string) error {
	res, err := c.Do(cmd.Context(), client.Request{Path: path})
	if err != nil {
		return err
	}
	return a.answer(res.Body, func() error {
		var object struct {
			Data json.RawMessage `json:"data"`
		}
		if err := res.Decode(&object); err != nil {
			return err
		}
		all, err := properties(res.Body)
		if err != nil {
			return noAnswer("message")
		}
		t := table{}
		for _, p := range all {
			if p.path != "data" && !strings.HasPrefix(p.path, "data.") && !strings.HasPrefix(p.path, "data[") {
				t.add(p.path, short(p.value))
			}
		}
		if err := a.printTable(&t); err != nil || len(object.Data) == 0 {
			return err
		}
		pretty, err := json.MarshalIndent(object.Data, "", "  ")
		if err != nil {
			return noAnswer("message")
		}
		return a.write("\n" + clean(string(pretty), true) + "\n")
	})
}

// choice is which messages a command is about.
type choice struct {
	all                  bool
	state, reason, table string
}

// body reads the choice: exactly one of names, a state, a reason, or all.
func (f *choice) body(names []string) (map[string]any, error) {
	given := map[string]any{}
	if f.all {
		given["all"] = true
	}
	if f.state != "" {
		given["state"] = f.state
	}
	if f.reason != "" {
		given["reason_code"] = f.reason
	}
	if f.table != "" {
		given["table"] = f.table
	}
	var seqs []json.Number
	var ids []string
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 64); err == nil {
			seqs = append(seqs, json.Number(strings.TrimLeft(name[:len(name)-1], "0")+name[len(name)-1:]))
			continue
		}
		if !isUUID(name) {
			return nil, usage("%q is neither a seq nor an ack id", name)
		}
		ids = append(ids, name)
	}
	if len(seqs) > 0 {
		given["seqs"] = seqs
	}
	if len(ids) > 0 {
		given["ack_ids"] = ids
	}
	if len(given) != 1 {
		return nil, usage("say which messages, in one way: by seq, by ack id, with --all, or with --state, --reason or --table where the command has it")
	}
	return given, nil
}

func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, r := range text {
		switch i {
		case 8, 13, 18, 23:
			if r != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
				return false
			}
		}
	}
	return true
}

func (f *choice) describe(names []string) string {
	switch {
	case f.all:
		return "all messages"
	case f.state != "":
		return "all messages in state " + f.state
	case f.reason != "":
		return "all dead letters with reason " + f.reason
	case f.table != "":
		return "all dead letters of table " + f.table
	case len(names) == 1:
		return "message " + names[0]
	}
	return fmt.Sprintf("%d messages", len(names))
}

// missingText is one that was named and not settled, with the reason if there is one.
func missingText(m any) string {
	name, reason := short(at(m, "seq|ack_id")), short(at(m, "reason|error"))
	if name == "" {
		return short(m)
	}
	return strings.TrimSuffix(name+": "+reason, ": ")
}

// settle sends a choice to a route and tells how many it was.
func (a *app) settle(cmd *cobra.Command, c *client.Client, sink, route, done string, body map[string]any) error {
	parts := append([]string{sink}, strings.Split(route, "/")...)
	res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: sinkKind.path(parts...), Body: body, Timeout: connectTimeout})
	if err != nil {
		return err
	}
	return a.answer(res.Body, func() error {
		v, err := mapOf(res)
		if err != nil {
			return err
		}
		missing, _ := v["missing"].([]any)
		count := short(v["count"])
		if named, ok := body["seqs"].([]json.Number); ok && count == "" { // an answer without a count names those that are missing
			count = strconv.Itoa(len(named) - len(missing))
		}
		if err := a.write(clean(strings.TrimSpace(count+" "+done), false) + "\n"); err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		for _, m := range missing {
			a.note("not: %s", missingText(m))
		}
		return &exitError{ExitNotFound, fmt.Errorf("%d of those named were not %s", len(missing), done)}
	})
}

func (a *app) messagesRedeliver() *cobra.Command {
	var which choice
	cmd := a.sinkCommand("redeliver SINK [SEQ...]", "Deliver now what waits for a retry", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		body, err := which.body(args[1:])
		if err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], "messages/redeliver", "redelivered", body)
	})
	which.bindStates(cmd)
	return cmd
}

func (f *choice) bindStates(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.all, "all", false, "all messages of the sink")
	cmd.Flags().StringVar(&f.state, "state", "", "all in this `state`: "+strings.Join(messageStates, ", "))
	completeWith(cmd, "state", messageStates...)
}

func (a *app) messagesDiscard() *cobra.Command {
	var which choice
	var yes, dead bool
	cmd := a.sinkCommand("discard SINK [SEQ...]", "Give up messages, or with --dead dead letters, for good", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		body, err := which.body(args[1:])
		if err != nil {
			return err
		}
		route := "messages/discard"
		switch {
		case dead && which.state != "":
			return usage("dead letters have no state; choose by seq, --reason or --all")
		case dead:
			route = "dead_letters/discard"
		case which.reason != "" || which.table != "":
			return usage("--reason and --table choose dead letters; add --dead")
		}
		if err := a.certain(cmd.Context(), yes, fmt.Sprintf("discard %s of sink %q? They are never delivered.", which.describe(args[1:]), args[0])); err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], route, "discarded", body)
	})
	which.bindStates(cmd)
	cmd.Flags().BoolVar(&dead, "dead", false, "dead letters rather than messages that wait")
	cmd.Flags().StringVar(&which.reason, "reason", "", "with --dead: all with this `code` as their reason")
	cmd.Flags().StringVar(&which.table, "table", "", "with --dead: all of this `table`")
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) messagesDead() *cobra.Command {
	var page limitFlags
	cmd := a.sinkCommand("dead SINK [SEQ]", "List the dead letters of a sink, or show one", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		path := sinkKind.path(args[0], "dead_letters")
		if len(args) == 2 {
			return a.showMessage(cmd, c, path+client.Path(args[1]))
		}
		res, err := c.Do(cmd.Context(), client.Request{Path: path, Query: page.query()})
		if err != nil {
			return err
		}
		return a.list(res.Body, deadColumns, "there are no dead letters", "--after")
	})
	page.bind(cmd, "after", "seq")
	return cmd
}

func (a *app) messagesRedrive() *cobra.Command {
	var which choice
	cmd := a.sinkCommand("redrive SINK [SEQ...]", "Deliver dead letters again, out of order", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		body, err := which.body(args[1:])
		if err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], "dead_letters/redrive", "redriven", body)
	})
	cmd.Flags().BoolVar(&which.all, "all", false, "all dead letters of the sink")
	cmd.Flags().StringVar(&which.reason, "reason", "", "all with this `code` as their reason")
	cmd.Flags().StringVar(&which.table, "table", "", "all of this `table`")
	return cmd
}
