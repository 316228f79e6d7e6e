package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/config"
)

// maxInput bounds what is read from a file or the standard input: a request may have 8 MB.
const maxInput = 8_000_000

// bodyFlags are where the object of a create or an update comes from.
type bodyFlags struct {
	file string
	set  []string
}

func (f *bodyFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "read the object from this `file`, YAML or JSON; - for the standard input")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set one `key=value`, over the file: destination.type=webhook; the value is JSON if it reads as JSON, else a text; may be repeated")
}

func (f *bodyFlags) empty() bool { return f.file == "" && len(f.set) == 0 }

// read makes the object.
func (f *bodyFlags) read(ctx context.Context, a *app) (map[string]any, error) {
	object := map[string]any{}
	if f.file != "" {
		text, err := a.readInput(ctx, f.file)
		if err != nil {
			return nil, &exitError{ExitUsage, err}
		}
		if object, err = readObject(f.file, text); err != nil {
			return nil, err
		}
	}
	for _, s := range f.set {
		if err := setValue(object, s); err != nil {
			return nil, usage("--set %s", err.Error())
		}
	}
	return object, nil
}

// readInput reads a file, or the standard input for "-".
func (a *app) readInput(ctx context.Context, name string) ([]byte, error) {
	if name == "-" {
		return a.readAll(ctx)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxInput)
	}
	return text, nil
}

// readAll reads the standard input. An interrupt ends the wait.
func (a *app) readAll(ctx context.Context) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(a.streams.In, maxInput+1))
		read <- result{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-read:
		if len(r.text) > maxInput {
			return nil, fmt.Errorf("the standard input has more than %d bytes", maxInput)
		}
		return r.text, r.err
	}
}

// readObject reads one JSON or YAML object; numbers keep their digits.
func readObject(name string, text []byte) (map[string]any, error) {
	if name == "-" {
		name = "stdin"
	}
	if !json.Valid(text) {
		converted, err := config.JSONFromYAML(name, text)
		if err != nil {
			return nil, err
		}
		text = converted
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &exitError{ExitInvalid, fmt.Errorf("%s holds no mapping of keys and values", name)}
	}
	return object, nil
}

// setValue sets one key=value in an object, making what is missing on the way. The key is a dotted path; \. is a dot within a name; a number
// is a place in a list, or its end; 0 begins one.
func setValue(object map[string]any, text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q has no =; it is key=value", text)
	}
	path, err := splitPath(key)
	if err != nil {
		return err
	}
	if _, err := put(object, path, jsonValue(value), key); err != nil {
		return err
	}
	return nil
}

const maxSetDepth = 20

func splitPath(key string) ([]string, error) {
	var path []string
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			b.WriteByte(key[i])
		case key[i] == '.':
			path = append(path, b.String())
			b.Reset()
		default:
			b.WriteByte(key[i])
		}
	}
	path = append(path, b.String())
	if slices.Contains(path, "") {
		return nil, fmt.Errorf("%q has an empty name in its path", key)
	}
	if len(path) > maxSetDepth {
		return nil, fmt.Errorf("%q is nested too deeply", key)
	}
	return path, nil
}

// jsonValue reads a value as JSON, else as a text.
func jsonValue(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return text
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return text
	}
	return value
}

// put returns container with the value at the path. A list may have grown, so the result takes the container's place.
func put(container any, path []string, value any, key string) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch c := container.(type) {
	case nil:
		if path[0] == "0" {
			return put([]any{}, path, value, key)
		}
		return put(map[string]any{}, path, value, key)
	case map[string]any:
		below, err := put(c[path[0]], path[1:], value, key)
		if err != nil {
			return nil, err
		}
		c[path[0]] = below
		return c, nil
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(c) {
			return nil, fmt.Errorf("%q: %q is no place in a list of %d", key, path[0], len(c))
		}
		if i == len(c) {
			c = append(c, nil)
		}
		below, err := put(c[i], path[1:], value, key)
		if err != nil {
			return nil, err
		}
		c[i] = below
		return c, nil
	default:
		return nil, fmt.Errorf("%q goes through %q, which holds a value already", key, path[0])
	}
}

// inlineCode replaces the key file of a function by its code. The file is named relative to the one that names it.
func inlineCode(object map[string]any, from string) error {
	file, ok := object["file"].(string)
	if !ok {
		return nil
	}
	if _, both := object["code"]; both {
		return &exitError{ExitInvalid, errors.New("the function has both file and code; it has one of them")}
	}
	if !filepath.IsAbs(file) && from != "" && from != "-" {
		file = filepath.Join(filepath.Dir(from), file)
	}
	code, err := readCode(file)
	if err != nil {
		return &exitError{ExitInvalid, fmt.Errorf("read the function's code: %w", err)}
	}
	delete(object, "file")
	object["code"] = string(code)
	return nil
}
