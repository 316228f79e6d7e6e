package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const isc = `Copyright (c) 2026 Somebody

Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above
copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES
WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF
MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR
ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF
OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`

const gpl = `This program is free software: you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation, either version 3 of the License, or
(at your option) any later version.

This program is distributed in the hope that it will be useful,
but WITHOUT ANY WARRANTY; without even the implied warranty of
MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
GNU General Public License for more details.

You should have received a copy of the GNU General Public License
along with this program.  If not, see <https://www.gnu.org/licenses/>.
`

func TestRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		want  string // in the error; "": the licence is accepted
	}{
		"permitted":         {map[string]string{"LICENSE": isc}, ""},
		"british":           {map[string]string{"LICENCE.md": isc}, ""},
		"none":              {map[string]string{"README": isc}, "no licence found"},
		"unknown text":      {map[string]string{"LICENSE": "All rights reserved by somebody, and nobody may do anything."}, "known licence"},
		"copyleft":          {map[string]string{"LICENSE": gpl}, "is not among the permitted"},
		"copyleft, one dir": {map[string]string{"LICENSE": isc, "linked/COPYING": gpl}, "is not among the permitted"},
		"not linked":        {map[string]string{"LICENSE": isc, "other/COPYING": gpl}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := module{path: "example.org/m", dir: t.TempDir(), packages: map[string]bool{}}
			for _, dir := range []string{"linked", "other"} {
				if err := os.Mkdir(filepath.Join(m.dir, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for file, content := range test.files {
				if err := os.WriteFile(filepath.Join(m.dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.packages[filepath.Join(m.dir, "linked")] = true
			err := m.read()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func TestRenderTellsATextOnce(t *testing.T) {
	t.Parallel()
	shared := []text{{"LICENSE", "the text"}}
	got := string(render([]module{
		{path: "a.example/a", version: "v1", licences: []string{"MIT"}, texts: shared},
		{path: "b.example/b", version: "v2", licences: []string{"MIT"}, texts: shared},
	}))
	if strings.Count(got, "the text") != 1 || !strings.Contains(got, "## a.example/a (LICENSE), b.example/b (LICENSE)") {
		t.Fatal(got)
	}
}
