package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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
		a.messagesList(), a.messagesShow(), a.messagesRedeliver(), a.messagesDiscard(), a.messagesDead(), a.messagesRedrive(),
		a.messagesReplay(), a.messagesReplays(), a.messagesCancelReplay())
	cmd.Aliases = []string{"message"}
	return cmd
}

// sinkCommand is a command whose first argument is a sink.
func (a *app) sinkCommand(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, ValidArgsFunction: a.completeNames(sinkKind), RunE: a.call(run)}
	a.outputFlag(cmd)
	return cmd
}

// pageFlags choose a part of a sink's messages or dead letters.
type pageFlags struct {
	limit         int
	after, before string
	newest        bool
	filters       map[string]*string // by the name of the flag and of the parameter
}

func (f *pageFlags) bind(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&f.limit, "limit", "n", 0, "how many at most (default what the server thinks fit)")
	cmd.Flags().StringVar(&f.after, "after", "", "only what comes after this `seq`")
	cmd.Flags().StringVar(&f.before, "before", "", "only what comes before this `seq`, the newest first")
	cmd.Flags().BoolVar(&f.newest, "newest", false, "the newest first")
	f.filters = map[string]*string{}
	f.filter(cmd, "table", "table", "only those of this `table`: schema.table")
	f.filter(cmd, "key", "key", "only those of the row with this primary `key`")
}

func (f *pageFlags) filter(cmd *cobra.Command, flag, parameter, help string) {
	f.filters[parameter] = cmd.Flags().String(flag, "", help)
}

func (f *pageFlags) query() url.Values {
	q := url.Values{}
	if f.limit > 0 {
		q.Set("limit", strconv.Itoa(f.limit))
	}
	for name, value := range f.filters {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	if f.after != "" {
		q.Set("after", f.after)
	}
	if f.before != "" {
		q.Set("before", f.before)
	}
	if f.newest {
		q.Set("order", "desc")
	}
	return q
}

// onwards is the parameter that takes the next of a page.
func (f *pageFlags) onwards() string {
	if f.newest || f.before != "" {
		return "before"
	}
	return "after"
}

// listPage lists one page. The server looks at a part of a long backlog at a time, so that a page without a match need not be the last one.
func (a *app) listPage(cmd *cobra.Command, c *client.Client, path string, page *pageFlags, columns []column, empty string) error {
	q := page.query()
	for {
		res, err := c.Do(cmd.Context(), client.Request{Path: path, Query: q})
		if err != nil {
			return err
		}
		d, err := readData(res.Body)
		if err != nil {
			return err
		}
		if len(d.Data) > 0 || d.Next == nil {
			return a.list(res.Body, columns, empty, "--"+page.onwards())
		}
		q.Set(page.onwards(), short(d.Next))
	}
}

func (a *app) messagesList() *cobra.Command {
	var page pageFlags
	cmd := a.sinkCommand("list SINK", "List messages that are not delivered yet", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		return a.listPage(cmd, c, sinkKind.path(args[0], "messages"), &page, messageColumns, "there are no such messages")
	})
	cmd.Aliases = []string{"ls"}
	page.bind(cmd)
	page.filter(cmd, "state", "state", "only those in this `state`: "+strings.Join(messageStates, ", "))
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

// choice is which messages a command is about: those that are named, or all that are described.
type choice struct {
	all                       bool
	state, reason, table, key string
}

// maxNamed is how many messages one request may name.
const maxNamed = 1000

// bodies are the requests that say so.
func (f *choice) bodies(names []string) ([]map[string]any, error) {
	described := f.described()
	if (len(names) > 0) == (len(described) > 0) {
		return nil, usage("say which messages: name them by seq or ack id, or describe them with --all or the other flags")
	}
	if len(names) == 0 {
		return []map[string]any{described}, nil
	}
	var seqs []json.Number
	var ids []string
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 63)
		switch {
		case err == nil:
			seqs = append(seqs, json.Number(strconv.FormatUint(n, 10)))
		case isUUID(name):
			ids = append(ids, name)
		default:
			return nil, usage("%q is neither a seq nor an ack id", name)
		}
	}
	var bodies []map[string]any
	for part := range slices.Chunk(seqs, maxNamed) {
		bodies = append(bodies, map[string]any{"seqs": part})
	}
	for part := range slices.Chunk(ids, maxNamed) {
		bodies = append(bodies, map[string]any{"ack_ids": part})
	}
	return bodies, nil
}

func (f *choice) described() map[string]any {
	body := map[string]any{}
	if f.all {
		body["all"] = true
	}
	for name, value := range map[string]string{"state": f.state, "reason_code": f.reason, "table": f.table, "key": f.key} {
		if value != "" {
			body[name] = value
		}
	}
	return body
}

func (f *choice) bind(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&f.all, "all", false, "all "+what+" of the sink")
	cmd.Flags().StringVar(&f.table, "table", "", "all of this `table`: schema.table")
	cmd.Flags().StringVar(&f.key, "key", "", "all of the row with this primary `key`")
}

func (f *choice) bindState(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.state, "state", "", "all in this `state`: "+strings.Join(messageStates[:4], ", "))
	completeWith(cmd, "state", messageStates[:4]...)
}

func (f *choice) bindReason(cmd *cobra.Command, when string) {
	cmd.Flags().StringVar(&f.reason, "reason", "", when+"all with this `code` as their reason")
}

// describe says in words what is meant.
func (f *choice) describe(names []string, what string) string {
	if len(names) == 1 {
		return "message " + names[0]
	}
	if len(names) > 1 {
		return fmt.Sprintf("%d messages", len(names))
	}
	words := []string{"all", what}
	for _, part := range [][2]string{{"in state", f.state}, {"with reason", f.reason}, {"of table", f.table}, {"with key", f.key}} {
		if part[1] != "" {
			words = append(words, part[0], part[1])
		}
	}
	return strings.Join(words, " ")
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

// missingText is one that was named and not settled, with the reason if there is one.
func missingText(m any) string {
	name, reason := short(at(m, "seq|ack_id")), short(at(m, "reason|error"))
	if name == "" {
		return short(m)
	}
	return strings.TrimSuffix(name+": "+reason, ": ")
}

// settled is what became of a choice.
type settled struct {
	Success bool  `json:"success"`
	Count   int64 `json:"count"`
	Missing []any `json:"missing"`
}

// settle sends a choice to a route and tells how many it was. The server takes a long one in parts, and says where the next begins.
func (a *app) settle(cmd *cobra.Command, c *client.Client, sink, route, done string, bodies []map[string]any) error {
	path := sinkKind.path(append([]string{sink}, strings.Split(route, "/")...)...)
	total := settled{Success: true, Missing: []any{}}
	var err error
	for _, body := range bodies {
		if err = total.send(cmd, c, path, body); err != nil {
			break
		}
	}
	if err != nil {
		if total.Count > 0 {
			a.note("%d were %s before this:", total.Count, done)
		}
		return err
	}
	text, err := json.Marshal(total)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if err := a.answer(text, func() error { return a.write(fmt.Sprintf("%d %s\n", total.Count, done)) }); err != nil {
		return err
	}
	if len(total.Missing) == 0 {
		return nil
	}
	for _, m := range total.Missing {
		a.note("not %s", missingText(m))
	}
	return &exitError{ExitNotFound, fmt.Errorf("%d of those that were named were not %s", len(total.Missing), done)}
}

// send sends one body as often as there is a next part.
func (s *settled) send(cmd *cobra.Command, c *client.Client, path string, body map[string]any) error {
	for {
		res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: path, Body: body, Timeout: connectTimeout})
		if err != nil {
			return err
		}
		var part struct {
			Count   *int64 `json:"count"`
			Missing []any  `json:"missing"`
			Next    any    `json:"next"`
		}
		if err := res.Decode(&part); err != nil {
			return err
		}
		if part.Count == nil {
			return noAnswer("count")
		}
		s.Count += *part.Count
		s.Missing = append(s.Missing, part.Missing...)
		if part.Next == nil {
			return nil
		}
		body["after"] = part.Next
	}
}

func (a *app) messagesRedeliver() *cobra.Command {
	var which choice
	cmd := a.sinkCommand("redeliver SINK [SEQ...]", "Deliver now what waits for a retry", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		bodies, err := which.bodies(args[1:])
		if err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], "messages/redeliver", "redelivered", bodies)
	})
	which.bind(cmd, "messages")
	which.bindState(cmd)
	return cmd
}

func (a *app) messagesDiscard() *cobra.Command {
	var which choice
	var yes, dead bool
	cmd := a.sinkCommand("discard SINK [SEQ...]", "Give up messages, or with --dead dead letters, for good", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		bodies, err := which.bodies(args[1:])
		if err != nil {
			return err
		}
		route, what := "messages/discard", "messages"
		switch {
		case dead && which.state != "":
			return usage("dead letters have no state; choose by seq or the other flags")
		case dead:
			route, what = "dead_letters/discard", "dead letters"
		case which.reason != "":
			return usage("--reason chooses dead letters; add --dead")
		}
		if err := a.certain(cmd.Context(), yes, fmt.Sprintf("discard %s of sink %q? They are never delivered.", which.describe(args[1:], what), args[0])); err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], route, "discarded", bodies)
	})
	which.bind(cmd, "messages")
	which.bindState(cmd)
	which.bindReason(cmd, "with --dead: ")
	cmd.Flags().BoolVar(&dead, "dead", false, "dead letters rather than messages that wait")
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) messagesDead() *cobra.Command {
	var page pageFlags
	cmd := a.sinkCommand("dead SINK [SEQ]", "List the dead letters of a sink, or show one", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, c *client.Client, args []string) error {
		path := sinkKind.path(args[0], "dead_letters")
		if len(args) == 2 {
			return a.showMessage(cmd, c, path+client.Path(args[1]))
		}
		return a.listPage(cmd, c, path, &page, deadColumns, "there are no dead letters")
	})
	page.bind(cmd)
	page.filter(cmd, "reason", "reason_code", "only those with this `code` as their reason")
	return cmd
}

func (a *app) messagesRedrive() *cobra.Command {
	var which choice
	cmd := a.sinkCommand("redrive SINK [SEQ...]", "Deliver dead letters again, out of order", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		bodies, err := which.bodies(args[1:])
		if err != nil {
			return err
		}
		return a.settle(cmd, c, args[0], "dead_letters/redrive", "redriven", bodies)
	})
	which.bind(cmd, "dead letters")
	which.bindReason(cmd, "")
	return cmd
}
