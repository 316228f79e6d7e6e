// Command sequin sends Postgres changes anywhere. This file owns the process: its streams, its signals, its exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sequinstream/sequin/internal/cli"
	"github.com/sequinstream/sequin/internal/transform/runtimes"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

func main() {
	if sandbox.IsWorker(os.Args) {
		sandbox.Main(runtimes.All)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second signal then ends the process at once
	signal.Ignore(syscall.SIGPIPE) // a reader of our output that goes away is an error of the write, so that commands clean up
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	os.Exit(cli.Main(ctx, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Reload: reload, OfflineHandler: cli.Offline}, os.Args[1:]))
}
