// Command clireference writes docs/reference/cli.md from the commands themselves and the text of page.md.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sequinstream/sequin/internal/cli"
)

//go:embed page.md
var page string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clireference FILE")
		os.Exit(2)
	}
	text, err := render()
	if err == nil {
		err = os.WriteFile(os.Args[1], text, 0o644) //nolint:gosec // G703: where to write is the argument
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// render fills in the page.
func render() ([]byte, error) {
	r := &reference{root: cli.Commands(), shown: map[string]bool{}}
	t, err := template.New("page").Funcs(template.FuncMap{
		"overview": r.overview, "globalFlags": func() string { return flagTable(r.root.PersistentFlags()) }, "command": r.command, "words": r.words, "rest": r.rest,
	}).Parse(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("<!-- Written by make generate from scripts/clireference and the commands' own help; change those. -->\n\n")
	if err := t.Execute(&b, nil); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type reference struct {
	root  *cobra.Command
	shown map[string]bool
}

// overview lists the commands as the help does.
func (r *reference) overview() string {
	var b strings.Builder
	for _, g := range append(r.root.Groups(), &cobra.Group{}) {
		for _, c := range r.root.Commands() {
			if c.GroupID == g.ID && !c.Hidden && c.Name() != "help" {
				fmt.Fprintf(&b, "sequin %-11s %s\n", c.Name(), lower(c.Short))
			}
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// lower makes a sentence's beginning fit into a list, unless it begins with an abbreviation.
func lower(text string) string {
	if len(text) > 1 && text[1] >= 'A' && text[1] <= 'Z' {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}

func (r *reference) find(name string) (*cobra.Command, error) {
	for _, c := range r.root.Commands() {
		if c.Name() == name {
			r.shown[name] = true
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no command %q", name)
}

// words is the text of a command alone: its flags are elsewhere, or it has none.
func (r *reference) words(name string) (string, error) {
	c, err := r.find(name)
	if err != nil {
		return "", err
	}
	return description(c), nil
}

// command is everything about a command and those below it.
func (r *reference) command(name string) (string, error) {
	c, err := r.find(name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	write(&b, c, "##")
	return strings.TrimRight(b.String(), "\n"), nil
}

// rest is every command that had no place of its own before it.
func (r *reference) rest() string {
	var b strings.Builder
	for _, c := range r.root.Commands() {
		if !c.Hidden && !r.shown[c.Name()] && c.Name() != "help" && c.Name() != "completion" {
			write(&b, c, "##")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

func write(b *strings.Builder, c *cobra.Command, level string) {
	fmt.Fprintf(b, "%s `%s`\n\n%s\n\n", level, c.CommandPath(), description(c))
	if !c.HasSubCommands() {
		fmt.Fprintf(b, "```\n%s\n```\n\n", strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, "Also: `%s`.\n\n", strings.Join(c.Aliases, "`, `"))
	}
	if table := flagTable(c.LocalNonPersistentFlags(), c.PersistentFlags()); table != "" {
		b.WriteString(table + "\n\n")
	}
	if c.Example != "" {
		lines := strings.Split(c.Example, "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "  ")
		}
		fmt.Fprintf(b, "```sh\n%s\n```\n\n", strings.Join(lines, "\n"))
	}
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			write(b, sub, level+"#")
		}
	}
}

// description is the long text where there is one; its lines were broken for a terminal.
func description(c *cobra.Command) string {
	text := c.Long
	if text == "" {
		text = c.Short
	}
	text = strings.ReplaceAll(text, "\n", " ")
	text = strings.ReplaceAll(text, "<", "\\<")
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

func flagTable(sets ...*pflag.FlagSet) string {
	var b strings.Builder
	for _, set := range sets {
		set.VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" || f.Name == "version" {
				return
			}
			name, usage := pflag.UnquoteUsage(f)
			flag := "`--" + f.Name + "`"
			if name != "" {
				flag += " *" + name + "*"
			}
			if f.Shorthand != "" {
				flag += ", `-" + f.Shorthand + "`"
			}
			if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "0s" && d != "[]" {
				usage += " (default " + d + ")"
			}
			fmt.Fprintf(&b, "| %s | %s |\n", flag, strings.NewReplacer("|", "\\|", "<", "\\<").Replace(usage))
		})
	}
	if b.Len() == 0 {
		return ""
	}
	return "| Flag | |\n|---|---|\n" + strings.TrimRight(b.String(), "\n")
}
