package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// permitted lists the licences (SPDX names) that ask for no more than to be passed on with the program.
var permitted = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "Unlicense", "Zlib"}

// covered is the part of a licence file, in percent, that has to be recognised; what remains are names and headings.
const covered = 75

// module is a third-party module and the licence files that apply to what is linked of it.
type module struct {
	path, version, dir string
	packages           map[string]bool // directories
	licences           []string        // SPDX names
	texts              []text
}

type text struct{ name, content string }

// linked returns the modules of which packages are linked into the program, on any platform that is built.
func linked(ctx context.Context, root, program string) ([]module, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	const standard = "Go standard library"
	found := map[string]*module{standard: {path: standard, dir: strings.TrimSpace(string(goroot)), packages: map[string]bool{}}}
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,Module", program)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list -deps %s: %w", program, err)
		}
		if err := collect(out, found); err != nil {
			return nil, err
		}
	}
	modules := make([]module, 0, len(found))
	for _, path := range slices.Sorted(maps.Keys(found)) {
		modules = append(modules, *found[path])
	}
	return modules, nil
}

func collect(list []byte, found map[string]*module) error {
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Module == nil || p.Module.Main {
			continue
		}
		m := found[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version, dir: p.Module.Dir, packages: map[string]bool{}}
			found[m.path] = m
		}
		m.packages[p.Dir] = true
	}
}

var (
	licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense|copyright)([-._].*)?$`)
	noticeName  = regexp.MustCompile(`(?i)^notice([-._].*)?$`)
)

// read collects the licence files of the module's root and of every directory above a linked package, and refuses what is not permitted.
func (m *module) read() error {
	dirs := map[string]bool{m.dir: true}
	for dir := range m.packages {
		for ; len(dir) > len(m.dir); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	names := map[string]bool{}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := m.readDir(dir, names); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	m.licences = slices.Sorted(maps.Keys(names))
	if len(m.licences) == 0 {
		return fmt.Errorf("%s: no licence found in %s", m.path, m.dir)
	}
	return nil
}

func (m *module) readDir(dir string, names map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		licence, notice := licenceName.MatchString(entry.Name()), noticeName.MatchString(entry.Name())
		if entry.IsDir() || filepath.Ext(entry.Name()) == ".go" || !licence && !notice {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		name, err := filepath.Rel(m.dir, filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		m.texts = append(m.texts, text{name: filepath.ToSlash(name), content: normalise(content)})
		if licence {
			if err := classify(content, names); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// readByPeople are permissive licences that the scanner does not know, by the SHA-256 of their words with single blanks in between. Names are SPDX's.
var readByPeople = map[string]string{
	"90992a65df976f3bd9e9287322c447ac49acf912ad09cb517620f295789d1da2": "dtoa", // David M. Gay's, of goja's conversion of numbers
}

// classify adds the names of the licences in a file.
func classify(content []byte, names map[string]bool) error {
	words := sha256.Sum256([]byte(strings.Join(strings.Fields(string(content)), " ")))
	if name, known := readByPeople[hex.EncodeToString(words[:])]; known {
		names[name] = true
		return nil
	}
	coverage := licensecheck.Scan(content)
	if coverage.Percent < covered {
		return fmt.Errorf("only %.0f%% of it is a known licence", coverage.Percent)
	}
	for _, match := range coverage.Match {
		if !slices.Contains(permitted, match.ID) {
			return fmt.Errorf("%s is not among the permitted licences %s", match.ID, strings.Join(permitted, ", "))
		}
		names[match.ID] = true
	}
	return nil
}

// normalise makes the text independent of line endings and trailing blanks.
func normalise(content []byte) string {
	lines := strings.Split(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}
