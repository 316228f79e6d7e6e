package upgrade_test

import (
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/sequinstream/sequin/internal/control"
)

// newer makes a FORMAT file say that it needs a version that reads format 99.
func newer(text string) []byte {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "format ") || strings.HasPrefix(line, "reader ") {
			lines[i] = line[:7] + "99"
		}
	}
	body, _, _ := strings.Cut(strings.Join(lines, "\n"), "crc32c ")
	return fmt.Appendf([]byte(body), "crc32c %08x\n", crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)))
}

// empty declares nothing.
func empty() *control.Document {
	return &control.Document{Name: "empty.yaml", Data: []byte("account: {name: test}\n")}
}
