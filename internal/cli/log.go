package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
)

// logs looks into change logs: over the API, or with --data-dir over the operator's socket or in the directory itself.
type logs struct{ *admin }

func (a *app) logCommand() *cobra.Command {
	l := logs{&admin{app: a}}
	cmd := group("log", "The change log: what was captured, delivered or not",
		"Look into the change log of a database. Nothing is changed. With --data-dir no token is needed, and the server need not run.",
		l.show(), l.print(), l.verify())
	cmd.PersistentFlags().StringVar(&l.dataDir, "data-dir", "", "speak to the server of this data `directory`, or read it while none runs")
	return cmd
}

// reach is a command that reaches the log.
func (l logs) reach(run func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if l.dataDir != "" {
			return l.admin.call(run)(cmd, args)
		}
		return l.app.call(run)(cmd, args)
	}
}

// databases are those that are named, or all.
func (l logs) databases(cmd *cobra.Command, c *client.Client, args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	res, err := c.Do(cmd.Context(), client.Request{Path: databaseKind.path()})
	if err != nil {
		return nil, err
	}
	var list struct{ Data []struct{ Name string } }
	if err := json.Unmarshal(res.Body, &list); err != nil {
		return nil, noAnswer("a list of databases")
	}
	var names []string
	for _, d := range list.Data {
		names = append(names, d.Name)
	}
	if len(names) == 0 {
		return nil, problem.New("no_databases", "no database is declared, so there is no change log")
	}
	return names, nil
}

// one is the database that is named, or the only one.
func (l logs) one(cmd *cobra.Command, c *client.Client, args []string) (string, error) {
	names, err := l.databases(cmd, c, args)
	if err != nil {
		return "", err
	}
	if len(names) > 1 {
		return "", usage("there are several databases; name one of %s", strings.Join(names, ", "))
	}
	return names[0], nil
}

func (l logs) show() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [DATABASE]", Short: "Show what a change log holds, and of which tables", Args: cobra.MaximumNArgs(1), ValidArgsFunction: l.completeNames(databaseKind),
		Long: "Show the first and the last entry, times, bytes, and the entries of each table. Tables are counted in the newest 64 MiB, as they are stored; when\nthere is more, the counts are at least that.",
	}
	cmd.RunE = l.reach(func(cmd *cobra.Command, c *client.Client, args []string) error {
		names, err := l.databases(cmd, c, args)
		if err != nil {
			return err
		}
		var all []json.RawMessage
		for _, name := range names {
			described, err := c.Do(cmd.Context(), client.Request{Path: databaseKind.path(name, "log")})
			if err != nil {
				return err
			}
			counted, err := c.Do(cmd.Context(), client.Request{Path: databaseKind.path(name, "log", "tables")})
			if err != nil {
				return err
			}
			body, err := json.Marshal(map[string]json.RawMessage{"log": described.Body, "counted": counted.Body})
			if err != nil {
				return fmt.Errorf("put the answers together: %w", err)
			}
			all = append(all, body)
		}
		body, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("put the answers together: %w", err)
		}
		return l.answer(body, func() error { return l.tell(body) })
	})
	l.outputFlag(cmd)
	return cmd
}

// logSummary is what the two answers about a log have for people.
type logSummary struct {
	Log struct {
		Database string  `json:"database"`
		First    uint64  `json:"first_seq"`
		Last     uint64  `json:"last_seq"`
		Entries  uint64  `json:"entries"`
		Bytes    uint64  `json:"bytes"`
		Epoch    uint32  `json:"epoch"`
		FirstLSN string  `json:"first_lsn"`
		LastLSN  string  `json:"last_lsn"`
		Oldest   string  `json:"oldest_appended_at"`
		Newest   string  `json:"newest_commit_timestamp"`
		Damage   *damage `json:"damaged_end"`
	}
	Counted struct {
		From     uint64 `json:"from_seq"`
		Complete bool
		Tables   []struct {
			Table                                string
			Inserts, Updates, Deletes, Truncates uint64
			Bytes                                uint64
		}
		Damage []damage
	}
}

type damage struct {
	From  uint64 `json:"from_seq"`
	To    uint64 `json:"to_seq"`
	Cause string
}

func (d damage) String() string {
	return fmt.Sprintf("entries %d to %d cannot be read: %s", d.From, d.To, d.Cause)
}

func (l logs) tell(body []byte) error {
	var all []logSummary
	if err := json.Unmarshal(body, &all); err != nil {
		return noAnswer("a change log")
	}
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		s := &all[i]
		fmt.Fprintf(&b, "change log of %s: %d entries, %d bytes\n", s.Log.Database, s.Log.Entries, s.Log.Bytes)
		if s.Log.Entries > 0 {
			fmt.Fprintf(&b, "  seq   %d to %d\n  lsn   %s to %s\n  time  appended %s, last commit %s\n", s.Log.First, s.Log.Last, s.Log.FirstLSN, s.Log.LastLSN, s.Log.Oldest, s.Log.Newest)
		}
		if s.Log.Epoch > 0 {
			fmt.Fprintf(&b, "  epoch %d\n", s.Log.Epoch)
		}
		atLeast := ""
		if !s.Counted.Complete {
			atLeast = "at least "
			fmt.Fprintf(&b, "  counted from entry %d on:\n", s.Counted.From)
		}
		for _, t := range s.Counted.Tables {
			fmt.Fprintf(&b, "  %s: %s%d inserts, %d updates, %d deletes, %d truncates, %d bytes\n", t.Table, atLeast, t.Inserts, t.Updates, t.Deletes, t.Truncates, t.Bytes)
		}
		if s.Log.Damage != nil {
			s.Counted.Damage = append(s.Counted.Damage, *s.Log.Damage)
		}
		for _, d := range s.Counted.Damage {
			fmt.Fprintf(&b, "  damaged: %s\n", d)
		}
	}
	return l.write(b.String())
}

func (l logs) print() *cobra.Command {
	var limit int
	flags := map[string]*string{}
	cmd := &cobra.Command{
		Use: "print [DATABASE]", Short: "Print changes as messages, one on each line", Args: cobra.MaximumNArgs(1), ValidArgsFunction: l.completeNames(databaseKind),
		Long: "Print changes in the form of messages, one JSON object on each line, in the order of the log: all of them, those of a table or of one row, of a time,\n" +
			"or of a part of the log. A change whose message cannot be built is a line with seq and data_error.",
		Example: "  sequin log print --table public.orders --key 42\n  sequin log print prod --from 2026-01-31T09:00:00Z --to 2026-01-31T10:00:00Z",
	}
	for _, f := range []struct{ name, parameter, help string }{
		{"table", "table", "only those of this `table`: schema.table"},
		{"key", "key", "only those of the row with this primary `key`; its columns with colons between them"},
		{"from", "from", "only what was committed at this `time` or later: 2026-01-31T09:30:00Z"},
		{"to", "to", "only what was committed before this `time`"},
		{"from-lsn", "from_lsn", "only commits at this `LSN` or behind it"},
		{"to-lsn", "to_lsn", "only commits up to this `LSN`"},
		{"after", "after", "only what comes after this `seq`"},
		{"before", "before", "only what comes before this `seq`"},
	} {
		flags[f.parameter] = cmd.Flags().String(f.name, "", f.help)
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "print so many at most; 0 for all")
	cmd.RunE = l.reach(func(cmd *cobra.Command, c *client.Client, args []string) error {
		database, err := l.one(cmd, c, args)
		if err != nil {
			return err
		}
		if limit < 0 {
			return usage("--limit is %d; it cannot be negative", limit)
		}
		q := url.Values{}
		for parameter, value := range flags {
			if *value != "" {
				q.Set(parameter, *value)
			}
		}
		return l.pages(cmd, c, database, q, limit)
	})
	return cmd
}

// pageSize is how many changes are asked for at a time.
const pageSize = 500

// pages prints page after page, so that memory does not depend on how much there is.
func (l logs) pages(cmd *cobra.Command, c *client.Client, database string, q url.Values, limit int) error {
	damaged := false
	for printed := 0; ; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-printed)
		}
		q.Set("limit", strconv.Itoa(size))
		res, err := c.Do(cmd.Context(), client.Request{Path: databaseKind.path(database, "log", "changes"), Query: q, Timeout: 2 * time.Minute})
		if err != nil {
			return err
		}
		var page struct {
			Data []struct {
				Seq   uint64          `json:"seq"`
				Data  json.RawMessage `json:"data"`
				Error string          `json:"data_error"`
			}
			Damage []damage
			Next   *uint64
		}
		if err := json.Unmarshal(res.Body, &page); err != nil {
			return noAnswer("a list of changes")
		}
		var b strings.Builder
		for i := range page.Data {
			m := &page.Data[i]
			line := m.Data
			if m.Error != "" {
				if line, err = json.Marshal(map[string]any{"seq": m.Seq, "data_error": m.Error}); err != nil {
					return fmt.Errorf("write what is wrong with a change: %w", err)
				}
			}
			b.Write(line)
			b.WriteByte('\n')
		}
		if err := l.write(b.String()); err != nil {
			return err
		}
		for _, d := range page.Damage {
			damaged = true
			l.note("damaged: %s", d)
		}
		printed += len(page.Data)
		if page.Next == nil || limit > 0 && printed >= limit {
			break
		}
		q.Set("after", strconv.FormatUint(*page.Next, 10))
	}
	if damaged {
		return &exitError{ExitError, errors.New("part of the change log cannot be read: sequin log verify tells what")}
	}
	return nil
}

func (l logs) verify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify [DATABASE]", Short: "Check every block of a change log", Args: cobra.MaximumNArgs(1), ValidArgsFunction: l.completeNames(databaseKind),
		Long: "Read every block from storage and check its checksums, that it follows its predecessor, that it decodes, and that positions ascend. What is damaged\nis named, and the exit code is then 1.",
	}
	cmd.RunE = l.reach(func(cmd *cobra.Command, c *client.Client, args []string) error {
		names, err := l.databases(cmd, c, args)
		if err != nil {
			return err
		}
		damaged := 0
		for _, name := range names {
			n, err := l.check(cmd, c, name)
			if err != nil {
				return err
			}
			damaged += n
		}
		if damaged > 0 {
			return &exitError{ExitError, problem.New("log_damaged", "%d parts of the change log cannot be read", damaged).
				WithHint("check the storage; sinks that need these entries have a recorded gap: resync the tables concerned")}
		}
		return nil
	})
	return cmd
}

// check verifies one log and returns how many parts of it are damaged.
func (l logs) check(cmd *cobra.Command, c *client.Client, database string) (damaged int, err error) {
	q := url.Values{}
	var entries, blocks, from, to uint64
	for first := true; ; first = false {
		res, err := c.Do(cmd.Context(), client.Request{Path: databaseKind.path(database, "log", "verify"), Query: q, Timeout: 2 * time.Minute})
		if err != nil {
			return damaged, err
		}
		var part struct {
			From            uint64 `json:"from_seq"`
			To              uint64 `json:"to_seq"`
			Entries, Blocks uint64
			Damage          []damage
			Next            *uint64
		}
		if err := json.Unmarshal(res.Body, &part); err != nil {
			return damaged, noAnswer("what became of checking a change log")
		}
		if first {
			from = part.From
		}
		entries, blocks, to, damaged = entries+part.Entries, blocks+part.Blocks, part.To, damaged+len(part.Damage)
		for _, d := range part.Damage {
			if err := l.write(fmt.Sprintf("%s: damaged: %s\n", database, d)); err != nil {
				return damaged, err
			}
		}
		if part.Next == nil {
			break
		}
		q.Set("after", strconv.FormatUint(*part.Next, 10))
	}
	if to < from {
		return damaged, l.write(database + ": the change log is empty\n")
	}
	return damaged, l.write(fmt.Sprintf("%s: entries %d to %d: %d entries in %d blocks are as they were written\n", database, from, to, entries, blocks))
}
