package elixir

import (
	_ "embed"
	"regexp"
	"strings"
	"sync"
)

//go:embed helpers.js
var helpersText string

// helper is a function of the prelude, with the comment above it.
type helper struct {
	name, code string
	needs      []string
}

var (
	helperStart = regexp.MustCompile(`(?m)^(?:function|const|class) (\w+)`)
	words       = regexp.MustCompile(`\w+`)
)

// helpers are in the order of the file.
var helpers = sync.OnceValue(func() []helper {
	var out []helper
	for part := range strings.SplitSeq(strings.TrimSpace(helpersText), "\n\n") {
		name := helperStart.FindStringSubmatch(part)[1]
		out = append(out, helper{name: name, code: part})
	}
	for i := range out {
		uses := called(withoutComments(out[i].code))
		for j := range out {
			if name := out[j].name; name != out[i].name && uses[name] {
				out[i].needs = append(out[i].needs, name)
			}
		}
	}
	return out
})

func withoutComments(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if !strings.HasPrefix(strings.TrimSpace(line), "//") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func helperNames() []string {
	var names []string
	for _, h := range helpers() {
		names = append(names, h.name)
	}
	return names
}

// called finds what is called or passed on, which are the helpers among it.
func called(body string) map[string]bool {
	used := map[string]bool{}
	for _, at := range words.FindAllStringIndex(body, -1) {
		before, after := byte(' '), byte(' ')
		if at[0] > 0 {
			before = body[at[0]-1]
		}
		if at[1] < len(body) {
			after = body[at[1]]
		}
		spread := strings.HasSuffix(body[:at[0]], "...")
		if (before != '.' || spread) && before != '"' && strings.IndexByte("(),}[", after) >= 0 {
			used[body[at[0]:at[1]]] = true
		}
	}
	return used
}

// prelude is the helpers that a function uses, directly or through others.
func prelude(body string) string {
	used := called(body)
	list := helpers()
	for changed := true; changed; {
		changed = false
		for _, h := range list {
			if !used[h.name] {
				continue
			}
			for _, need := range h.needs {
				if !used[need] {
					used[need], changed = true, true
				}
			}
		}
	}
	var b strings.Builder
	for _, h := range list {
		if used[h.name] {
			b.WriteString(h.code + "\n\n")
		}
	}
	return b.String()
}
