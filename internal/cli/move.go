package cli

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

var moveColumns = []column{ //nolint:gochecknoglobals // a table
	{"GENERATION", "generation"},
	{"AT", "at"},
	{"FROM", "from"},
	{"TO", "to"},
	{"SKIPPED", "skipped"},
	{"UNREAD", "unread"},
	{"UNDOES", "undoes"},
	{"UNDOABLE", "undoable"},
	{"REASON", "reason"},
}

// whereTo are the flags that say where a sink is to go.
type whereTo struct {
	beginning, end                         bool
	time, lsn, seq, where, key, table, why string
}

func (f *whereTo) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.time, "to-time", "", "to the first change that was committed at this `time` or later: 2030-01-31T09:30:00Z")
	flags.StringVar(&f.lsn, "to-lsn", "", "to the first change whose transaction committed at this `LSN` or later")
	flags.StringVar(&f.seq, "to-seq", "", "to this entry of the log, by its `seq`")
	flags.StringVar(&f.where, "to-where", "", "to the first message that meets this `condition` in SQL")
	flags.StringVar(&f.key, "to-key", "", "with --table: to the first change of the row with this primary `key`")
	flags.BoolVar(&f.beginning, "to-beginning", false, "to the oldest change that is retained")
	flags.BoolVar(&f.end, "to-end", false, "behind the newest change")
	flags.StringVar(&f.table, "table", "", "with --to-where and --to-key: this `table` alone: schema.table")
	flags.StringVar(&f.why, "reason", "", "a `text` for the audit log")
}

// target is what the API takes, and the same in words.
func (f *whereTo) target() (to any, words string, err error) {
	searched := f.where != "" || f.key != ""
	if f.table != "" && !searched {
		return nil, "", usage("--table goes with --to-where or --to-key")
	}
	if f.key != "" && f.table == "" {
		return nil, "", usage("--to-key needs --table: keys are those of a table")
	}
	given := 0
	for _, is := range []bool{f.beginning, f.end, f.time != "", f.lsn != "", f.seq != "", searched} {
		if is {
			given++
		}
	}
	if given > 1 {
		return nil, "", usage("say one place only; just --to-where and --to-key go together")
	}
	switch {
	case f.beginning:
		return "beginning", "the beginning", nil
	case f.end:
		return "end", "the end", nil
	case f.time != "":
		return map[string]any{"time": f.time}, "time " + f.time, nil
	case f.lsn != "":
		return map[string]any{"lsn": f.lsn}, "LSN " + f.lsn, nil
	case f.seq != "":
		n, err := strconv.ParseUint(f.seq, 10, 63)
		if err != nil {
			return nil, "", usage("--to-seq %q is not the number of an entry", f.seq)
		}
		return map[string]any{"seq": n}, "entry " + f.seq, nil
	case searched:
		search, parts := map[string]any{}, []string{}
		for _, part := range [][2]string{{"table", f.table}, {"key", f.key}, {"where", f.where}} {
			if part[1] != "" {
				search[part[0]] = part[1]
				parts = append(parts, part[0]+" "+part[1])
			}
		}
		return search, "the first message with " + strings.Join(parts, ", "), nil
	}
	return nil, "", usage("say where to: --to-time, --to-lsn, --to-seq, --to-where, --to-key, --to-beginning or --to-end")
}

// movePlan is the answer to a dry run.
type movePlan struct {
	Found       bool      `json:"found"`
	Next        *uint64   `json:"next"`
	From        *moveSpot `json:"from"`
	To          *moveSpot `json:"to"`
	Deliver     moveTally `json:"deliver"`
	Again       uint64    `json:"again"`
	Skip        moveTally `json:"skip"`
	InFlight    int       `json:"in_flight"`
	DeadLetters int64     `json:"dead_letters"`
	Status      string    `json:"status"`
}

type moveSpot struct {
	Seq             uint64     `json:"seq"`
	LSN             *string    `json:"lsn"`
	CommitTimestamp *time.Time `json:"commit_timestamp"`
	End             bool       `json:"end"`
}

func (s *moveSpot) String() string {
	if s.End {
		return fmt.Sprintf("the end (entry %d)", s.Seq)
	}
	text := fmt.Sprintf("entry %d", s.Seq)
	if s.LSN != nil && s.CommitTimestamp != nil {
		text += fmt.Sprintf(" (LSN %s, committed %s)", *s.LSN, s.CommitTimestamp.UTC().Format(time.RFC3339))
	}
	return text
}

type moveTally struct {
	Messages uint64     `json:"messages"`
	Bytes    int64      `json:"bytes"`
	AtLeast  bool       `json:"at_least"`
	First    *time.Time `json:"first"`
	Last     *time.Time `json:"last"`
}

func (t *moveTally) String() string {
	text := fmt.Sprintf("%d messages", t.Messages)
	if t.Messages == 1 {
		text = "1 message"
	}
	if t.AtLeast {
		text = "at least " + text
	}
	if t.Messages == 0 || t.First == nil || t.Last == nil {
		return text
	}
	return fmt.Sprintf("%s (%s, committed %s to %s)", text, bytesText(t.Bytes), t.First.UTC().Format(time.RFC3339), t.Last.UTC().Format(time.RFC3339))
}

// skips tells whether something would be passed over.
func (p *movePlan) skips() bool { return p.Skip.Messages > 0 || p.Skip.AtLeast }

// describe says in words what a move would do.
func (p *movePlan) describe(sink string) string {
	lines := []string{fmt.Sprintf("move sink %q from %s to %s:", sink, p.From, p.To), "  deliver " + p.Deliver.String()}
	if p.Again > 0 {
		lines[1] += fmt.Sprintf(", %d of them again", p.Again)
	}
	if p.skips() {
		lines = append(lines, "  pass over, though not delivered yet: "+p.Skip.String())
	}
	if p.InFlight > 0 {
		lines = append(lines, fmt.Sprintf("  out at the moment, and not counted when acknowledged: %d", p.InFlight))
	}
	if p.DeadLetters > 0 {
		lines = append(lines, fmt.Sprintf("  dead letters stay: %d", p.DeadLetters))
	}
	if p.Status == "paused" {
		lines = append(lines, "  the sink is paused, and delivers when it is resumed")
	}
	return strings.Join(lines, "\n")
}

func (a *app) sinksMove() *cobra.Command {
	var to whereTo
	var dry, skip, yes bool
	cmd := a.sinkCommand("move SINK", "Deliver again from a time, an LSN or a row on, or skip ahead", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		target, words, err := to.target()
		if err != nil {
			return err
		}
		if to.why != "" {
			words = to.why
		}
		plan, body, err := a.planMove(cmd, c, args[0], target)
		if err != nil {
			return err
		}
		if dry {
			return a.answer(body, func() error { return a.write(plan.describe(args[0]) + "\n") })
		}
		if plan.skips() && yes && !skip {
			return usage("the move would pass over what is not delivered yet: %s; allow it with --skip", plan.Skip.String())
		}
		if err := a.certain(cmd.Context(), yes, plan.describe(args[0])+"\ngo on?"); err != nil {
			return err
		}
		request := map[string]any{"to": map[string]any{"seq": plan.To.Seq}, "skip": skip || plan.skips(), "reason": words}
		return a.moved(cmd, c, client.Request{Method: http.MethodPost, Path: sinkKind.path(args[0], "move"), Body: request, Timeout: connectTimeout}, args[0])
	})
	cmd.Long = "Move a sink to another place of the change log. From there on everything is delivered again that the log retains; what may have been delivered before " +
		"says metadata.replay. It shows first what that means, and undo-move takes it back."
	cmd.Example = "  sequin sinks move orders --to-time 2030-01-31T00:00:00Z --dry-run\n  sequin sinks move orders --table public.orders --to-key 42"
	to.bind(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what it would do")
	cmd.Flags().BoolVar(&skip, "skip", false, "pass over messages that are not delivered yet")
	yesFlag(cmd, &yes)
	return cmd
}

// planMove asks what a move would do. The server searches a long log in parts.
func (a *app) planMove(cmd *cobra.Command, c *client.Client, sink string, target any) (plan movePlan, body []byte, err error) {
	for {
		request := map[string]any{"to": target, "dry_run": true}
		res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: sinkKind.path(sink, "move"), Body: request, Timeout: connectTimeout})
		if err != nil {
			return plan, nil, err
		}
		if err := res.Decode(&plan); err != nil {
			return plan, nil, err
		}
		search, searched := target.(map[string]any)
		switch {
		case plan.Found && plan.From != nil && plan.To != nil:
			return plan, res.Body, nil
		case plan.Next == nil || !searched:
			return plan, nil, noAnswer("to")
		}
		search["after"] = *plan.Next
	}
}

// moved sends a move and says what became of it.
func (a *app) moved(cmd *cobra.Command, c *client.Client, r client.Request, sink string) error {
	res, err := c.Do(cmd.Context(), r)
	if err != nil {
		return err
	}
	var move struct {
		Moved      bool   `json:"moved"`
		Generation uint64 `json:"generation"`
		From       uint64 `json:"from"`
		To         uint64 `json:"to"`
	}
	if err := res.Decode(&move); err != nil {
		return err
	}
	return a.answer(res.Body, func() error {
		if !move.Moved {
			return a.write(fmt.Sprintf("sink %q is there already; nothing was changed\n", sink))
		}
		return a.write(fmt.Sprintf("sink %q moved from entry %d to entry %d; this is generation %d\n", sink, move.From, move.To, move.Generation))
	})
}

func (a *app) sinksUndoMove() *cobra.Command {
	var yes bool
	var why string
	cmd := a.sinkCommand("undo-move SINK", "Take the last move of a sink back", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		question := fmt.Sprintf("take the last move of sink %q back? What was acknowledged before it or since is not delivered again.", args[0])
		if err := a.certain(cmd.Context(), yes, question); err != nil {
			return err
		}
		r := client.Request{Method: http.MethodPost, Path: sinkKind.path(args[0], "move", "undo"), Timeout: connectTimeout, Body: map[string]any{"reason": why}}
		return a.moved(cmd, c, r, args[0])
	})
	cmd.Flags().StringVar(&why, "reason", "", "a `text` for the audit log")
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) sinksMoves() *cobra.Command {
	return a.sinkCommand("moves SINK", "List the moves of a sink, the last first", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		res, err := c.Do(cmd.Context(), client.Request{Path: sinkKind.path(args[0], "moves")})
		if err != nil {
			return err
		}
		return a.list(res.Body, moveColumns, "the sink was never moved", "")
	})
}
