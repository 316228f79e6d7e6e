// Command licences lists the third-party modules that are linked into the product, checks that each may be passed on under terms as free as our
// own, and writes their licence texts to a file, as most of them ask of whoever passes the program on.
//
//	go run ./licences            write ../THIRD_PARTY_LICENSES.md
//	go run ./licences -check     fail if the file is not as it would be written
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	root := flag.String("root", "..", "the product's module")
	program := flag.String("program", "./cmd/sequin", "the package of the program")
	output := flag.String("output", "THIRD_PARTY_LICENSES.md", "the file to write, below root")
	check := flag.Bool("check", false, "write nothing, fail if the file is not fresh")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *root, *program, filepath.Join(*root, *output), *check)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, program, output string, check bool) error {
	modules, err := linked(ctx, root, program)
	if err != nil {
		return err
	}
	var refused []error
	for i := range modules {
		refused = append(refused, modules[i].read())
	}
	if err := errors.Join(refused...); err != nil {
		return err
	}
	content := render(modules)
	if !check {
		return os.WriteFile(output, content, 0o644)
	}
	old, err := os.ReadFile(output)
	if err != nil {
		return err
	}
	if !bytes.Equal(old, content) {
		return fmt.Errorf("%s is not fresh: run make generate", output)
	}
	return nil
}
