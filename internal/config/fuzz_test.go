package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// Whatever the bytes are, reading ends with a valid set or with mistakes that have a place.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _, err := config.Parse("fuzz", data, testEnv)
		if err == nil {
			if left := set.Validate(); len(left) > 0 {
				t.Fatalf("accepted, but %v", left)
			}
			return
		}
		var invalid *resource.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Mistakes) == 0 {
			t.Fatalf("no mistakes in %v", err)
		}
		for _, m := range invalid.Mistakes {
			if m.Line < 1 || m.What == "" {
				t.Fatalf("a mistake without place or text: %+v", m)
			}
		}
	})
}
