// Command bench measures Sequin beside pg_recvlogical, on a throwaway Postgres of its own, and prints what it found as tables.
//
//	make bench                                        everything; 40 minutes when nothing disturbs
//	make bench ARGS='-only capture -rounds 5'         one subject
//	make bench ARGS='-scale 0.05'                     a quick look: backlogs and durations are a twentieth
//	make bench ARGS='-markdown docs/explanation/performance.md'   also replace the tables in a page, between their markers
//
// What is compared is measured in turns, in alternating order, over several rounds, and the tables show the median with the smallest and the
// largest value. Each measurement also counts the CPU time that processes other than its own took; one that was disturbed is discarded and done
// again, and marked when that did not help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	only     []string
	backlogs []string // names of the workloads that capture drains
	scale    float64
	rounds   int
	markdown string
	dir      string
	binary   string
	major    int
	quiet    float64 // cores that others may take before a measurement counts as disturbed
	repeats  int
}

// subject is one group of measurements with its tables.
type subject struct {
	name string
	run  func(*bench, context.Context) error
}

func subjects() []subject {
	return []subject{
		{"capture", (*bench).capture},
		{"latency", (*bench).latency},
		{"pull", (*bench).pull},
		{"webhook", (*bench).webhooks},
		{"fanout", (*bench).fanout},
		{"functions", (*bench).functions},
		{"backfill", (*bench).backfills},
		{"memory", (*bench).memory},
		{"cost", (*bench).cost},
		{"load", (*bench).load},
	}
}

func parse(args []string, errs io.Writer) (options, error) {
	o := options{}
	var only, backlogs string
	var names []string
	for _, s := range subjects() {
		names = append(names, s.name)
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.StringVar(&only, "only", "", "comma-separated `subjects`: "+strings.Join(names, ", "))
	fs.StringVar(&backlogs, "backlogs", "", "comma-separated `workloads` of capture: "+strings.Join(workloadNames(), ", "))
	fs.Float64Var(&o.scale, "scale", 1, "`factor` for the sizes of backlogs and the length of runs")
	fs.IntVar(&o.rounds, "rounds", 3, "`number` of rounds")
	fs.StringVar(&o.markdown, "markdown", "", "`file` whose tables are replaced, between their markers")
	fs.StringVar(&o.dir, "dir", "", "parent `directory` of all data; not in memory (default: the temporary directory)")
	fs.StringVar(&o.binary, "binary", "bin/sequin", "the `program` to measure")
	fs.IntVar(&o.major, "postgres", 0, "major `version` of Postgres (default: the first one found)")
	fs.Float64Var(&o.quiet, "quiet", 0.25, "`cores` that other processes may take before a measurement counts as disturbed")
	fs.IntVar(&o.repeats, "repeats", 3, "how `often` a disturbed measurement is done again")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.scale <= 0 || o.rounds < 1 || o.repeats < 0 {
		return o, errors.New("-scale must be above 0, -rounds at least 1, -repeats not negative")
	}
	var err error
	if o.only, err = choose("only", only, names); err != nil {
		return o, err
	}
	o.backlogs, err = choose("backlogs", backlogs, workloadNames())
	return o, err
}

// choose reads a list of names; an empty one stands for all of them.
func choose(flag, list string, names []string) ([]string, error) {
	if list == "" {
		return names, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("-%s: there is no %q; there are: %s", flag, name, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	b, err := open(ctx, o, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	begun := time.Now()
	for _, s := range subjects() {
		if !slices.Contains(o.only, s.name) {
			continue
		}
		b.say("== %s", s.name)
		tables := len(b.report.sections)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, section := range b.report.sections[tables:] {
			section.explainMarks()
			fmt.Fprintf(out, "\n%s\n", section.text())
		}
	}
	b.say("took %s", time.Since(begun).Round(time.Second))
	if o.markdown == "" {
		return nil
	}
	return b.report.replaceIn(o.markdown)
}
