// Command sequin sends Postgres changes anywhere. This file owns the process: its streams, its signals, its exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sequinstream/sequin/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal then ends the process at once
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	os.Exit(cli.Main(ctx, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Reload: reload}, os.Args[1:]))
}
