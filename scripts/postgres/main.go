// Command postgres sees to it that PostgreSQL servers are there for tests, the demonstration and benchmarks.
//
//	go run ./scripts/postgres            one of any supported major version; fetched if none is installed
//	go run ./scripts/postgres 12 17      these major versions; fetched where they are not installed
//	go run ./scripts/postgres all        all supported major versions
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	majors, err := parse(args)
	if err != nil {
		return err
	}
	for _, major := range majors {
		found, err := throwaway.Ensure(ctx, major, out)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "PostgreSQL %-8s %s\n", found.Version, found.Bin)
	}
	return nil
}

func parse(args []string) ([]int, error) {
	if len(args) == 0 {
		return []int{0}, nil
	}
	if len(args) == 1 && args[0] == "all" {
		return throwaway.Supported, nil
	}
	majors := make([]int, len(args))
	for i, arg := range args {
		major, err := strconv.Atoi(arg)
		if err != nil {
			return nil, fmt.Errorf("%q is not a major version: %w", arg, err)
		}
		majors[i] = major
	}
	return majors, nil
}
