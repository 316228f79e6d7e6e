package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/transform/elixir"
)

// converted is what became of a function.
type converted struct {
	Name     string           `json:"name,omitempty"`
	Type     string           `json:"type,omitempty"`
	Language string           `json:"language,omitempty"`
	Code     string           `json:"code,omitempty"`
	Notes    []elixir.Note    `json:"notes,omitempty"`
	Refused  []elixir.Refusal `json:"refused,omitempty"`
}

func (a *app) functionsConvert() *cobra.Command {
	var name, write string
	cmd := &cobra.Command{
		Use: "convert [FILE|-]", Short: "Translate a function from the original's Elixir to JavaScript", Args: cobra.MaximumNArgs(1),
		Long: "Translate a function that is written in Elixir, as the original ran them, to JavaScript that gives the same answers. FILE is the function's code, or a\n" +
			"sequin.yaml (.yaml, .yml), of which every function in Elixir is translated and the rest stays as it is; - is code from the standard input. With --name\n" +
			"the function is one that the server keeps. What has no translation is listed with its place, the reason, and what to write instead, everything at\n" +
			"once; then nothing is written, and the exit code is 3. Notes tell where an answer depends on a column's type.",
		Example: "  sequin functions convert shape.ex --write shape.js\n  sequin functions convert sequin.yaml --write sequin.js.yaml\n  sequin functions convert --name shape",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case name != "" && len(args) > 0:
				return usage("give FILE or --name, not both")
			case name != "":
				return a.convertStored(cmd, name, write)
			case len(args) == 0:
				return usage("give a FILE, - for the standard input, or --name")
			}
			return a.convertFile(cmd, args[0], write)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "a function that the server keeps, by `name` or id")
	cmd.Flags().StringVar(&write, "write", "", "write to this `file` instead of the standard output")
	complete(cmd, "name", a.completeNames(functionKind))
	a.outputFlag(cmd)
	return cmd
}

// convertStored translates a function of the server.
func (a *app) convertStored(cmd *cobra.Command, name, write string) error {
	return a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Do(cmd.Context(), client.Request{Path: functionKind.path(name)})
		if err != nil {
			return err
		}
		var f struct{ Name, Language, Code string }
		if err := json.Unmarshal(res.Body, &f); err != nil {
			return noAnswer("JSON")
		}
		if f.Language != string(resource.LanguageElixir) {
			return &exitError{ExitInvalid, problem.New(elixir.CodeNotConverted, "function %q is not in Elixir", f.Name).WithHint("only functions in Elixir are converted")}
		}
		return a.showConverted([]converted{convert(f.Name, f.Code)}, write, "")
	})(cmd, nil)
}

// convertFile translates the code, or the document, in a file.
func (a *app) convertFile(cmd *cobra.Command, file, write string) error {
	text, err := a.readInput(cmd.Context(), file)
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	if extension := strings.ToLower(filepath.Ext(file)); extension != ".yaml" && extension != ".yml" {
		return a.showConverted([]converted{convert("", string(text))}, write, file)
	}
	var all []converted
	document, _, err := config.RewriteFunctions(file, text, config.RewriteOptions{
		Read: func(name string) ([]byte, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(file), name)
			}
			return os.ReadFile(name)
		},
		Rewrite: func(name, code string) (string, error) {
			c := convert(name, code)
			all = append(all, c)
			return c.Code, nil
		},
		From: func(kind resource.FunctionType, l resource.Language) bool {
			return l == resource.LanguageElixir && slices.Contains([]resource.FunctionType{resource.FunctionTransform, resource.FunctionFilter, resource.FunctionRouting}, kind)
		},
		To: resource.LanguageJavaScript,
	})
	if err != nil {
		return &exitError{ExitInvalid, err}
	}
	if a.output != formatTable {
		return a.showConverted(all, write, file)
	}
	if err := a.refusals(all, file); err != nil {
		return err
	}
	a.note("%d functions converted", len(all))
	return a.writeConverted(string(document), write)
}

// convert translates one function.
func convert(name, code string) converted {
	result, err := elixir.Convert(code)
	if refused, ok := errors.AsType[*elixir.Error](err); ok {
		return converted{Name: name, Refused: refused.Refusals}
	}
	return converted{Name: name, Type: kinds[result.Entry], Language: string(resource.LanguageJavaScript), Code: result.Code, Notes: result.Notes}
}

// showConverted prints code, or all that is known of it as data.
func (a *app) showConverted(all []converted, write, file string) error {
	if a.output != formatTable {
		answer, err := json.Marshal(map[string]any{"data": all})
		if err != nil {
			return err
		}
		if err := a.answer(answer, nil); err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(c converted) bool { return c.Refused != nil }) {
			return &exitError{ExitInvalid, errSaid}
		}
		return nil
	}
	if err := a.refusals(all, file); err != nil {
		return err
	}
	return a.writeConverted(all[0].Code, write)
}

// refusals tells what was not translated, and the notes on what was.
func (a *app) refusals(all []converted, file string) error {
	var lines []string
	for _, c := range all {
		place := strings.TrimPrefix(c.Name+":", ":")
		if c.Name == "" && file != "" && file != "-" {
			place = file + ":"
		}
		for _, r := range c.Refused {
			lines = append(lines, place+r.String())
		}
		for _, n := range c.Notes {
			a.note("note: %s%s", place, n)
		}
	}
	if lines == nil {
		return nil
	}
	e := problem.New(elixir.CodeNotConverted, "the function is not converted")
	if len(all) > 1 {
		e = problem.New(elixir.CodeNotConverted, "not all functions are converted, and nothing is written")
	}
	return &exitError{ExitInvalid, e.WithDetail("%s", strings.Join(lines, "\n")).
		WithHint("rewrite these places in Elixir as they say, and convert again; or write the function in JavaScript (docs/how-to/convert-functions.md)")}
}

func (a *app) writeConverted(text, write string) error {
	if write == "" {
		return a.write(text)
	}
	if err := os.WriteFile(write, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	a.note("written to %s", write)
	return nil
}
