package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/transform/gobuild"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

// readCode reads the code of a function. A module becomes the text that it travels as.
func readCode(file string) ([]byte, error) {
	code, err := os.ReadFile(file)
	if err == nil && bytes.HasPrefix(code, []byte("\x00asm")) {
		code = []byte(wasm.Encode(code))
	}
	return code, err
}

func (a *app) functionsBuild() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "build FILE.go", Short: "Build a function written in Go, here, into the module that a function's file names", Args: cobra.ExactArgs(1),
		Long: "Build a Go file that defines Transform, Filter or Route into a WebAssembly module. This needs a Go toolchain (1.24 or newer) on this machine and\n" +
			"no network; the server builds nothing. Name the module as the file of a function with language: go. - as output writes it to the standard output,\n" +
			"as the text that code can hold.",
		Example: "  sequin functions build shape.go -o shape.wasm",
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := os.ReadFile(args[0])
			if err != nil {
				return &exitError{ExitInvalid, fmt.Errorf("read the function: %w", err)}
			}
			module, err := gobuild.Build(cmd.Context(), args[0], source)
			if problem.Code(err) == gobuild.CodeSourceInvalid {
				return &exitError{ExitInvalid, err}
			}
			if err != nil {
				return err
			}
			text := wasm.Encode(module)
			if output == "-" {
				return a.write(text + "\n")
			}
			if output == "" {
				output = strings.TrimSuffix(filepath.Base(args[0]), ".go") + ".wasm"
			}
			if err := os.WriteFile(output, module, 0o644); err != nil { //nolint:gosec // where the user wants it
				return fmt.Errorf("write the module: %w", err)
			}
			a.note("written to %s: %d KiB, %d KiB as it is declared", output, len(module)>>10, len(text)>>10)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file`; default the name of the Go file with .wasm")
	return cmd
}
