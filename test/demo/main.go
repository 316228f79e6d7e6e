// Command demo shows Sequin at work on a throwaway Postgres: it creates a sample table, starts bin/sequin with one consumer that pulls and one that
// is called by webhook, keeps changing rows at a human pace, and prints each message that is delivered. A third consumer is for whoever watches.
//
//	make demo                                   until Ctrl-C
//	make demo ARGS='-interval 200ms -for 1m'    faster, and for a minute
//
// Whatever way it ends, nothing is left behind: everything it writes lies in the directory of the throwaway server, whose watchdog removes it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGTTIN) // in the background, reading the terminal is an error and not a halt
	context.AfterFunc(ctx, stop)   // a second signal then ends the process at once
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	binary   string
	major    int
	interval time.Duration
	length   time.Duration
}

func parse(args []string, errs io.Writer) (options, error) {
	o := options{binary: "bin/sequin"}
	if self, err := os.Executable(); err == nil {
		o.binary = filepath.Join(filepath.Dir(self), "sequin")
	}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.StringVar(&o.binary, "sequin", o.binary, "the `program` to show")
	fs.IntVar(&o.major, "postgres", 0, "major `version` of Postgres (default: the first one found)")
	fs.DurationVar(&o.interval, "interval", 1200*time.Millisecond, "`time` between two changes")
	fs.DurationVar(&o.length, "for", 0, "end after this `time`; 0 for no end")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.interval <= 0 || o.length < 0 {
		return o, errors.New("-interval must be above 0, -for not negative")
	}
	return o, nil
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w; build it with: make build", err)
	}
	d := &demo{opts: o, out: &printer{w: out}, client: &http.Client{}, failed: make(chan error, 1)}
	defer func() {
		d.out.say("")
		d.out.say("Stopping …")
		if closeErr := d.close(ctx); closeErr != nil {
			err = errors.Join(err, closeErr)
			return
		}
		d.out.say("Stopped; nothing is left behind.")
	}()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // somebody changed their mind
		}
		return err
	}
	d.invite()
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	return d.play(ctx, in)
}
