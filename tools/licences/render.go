package main

import (
	"bytes"
	"fmt"
	"strings"
)

// render writes a table of the modules and then each text once, below the names of all who use it.
func render(modules []module) []byte {
	var b bytes.Buffer
	b.WriteString("# Third-party licences\n\nThe program contains the following modules. Their licences follow.\n" +
		"This file is generated and checked by `make generate` and `make verify`.\n\n| module | version | licences |\n| --- | --- | --- |\n")
	users := map[string][]string{}
	var order []string
	for _, m := range modules {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.path, m.version, strings.Join(m.licences, ", "))
		for _, t := range m.texts {
			if users[t.content] == nil {
				order = append(order, t.content)
			}
			users[t.content] = append(users[t.content], m.path+" ("+t.name+")")
		}
	}
	for _, content := range order {
		fmt.Fprintf(&b, "\n## %s\n\n", strings.Join(users[content], ", "))
		for line := range strings.SplitSeq(content, "\n") {
			b.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		}
	}
	return b.Bytes()
}
