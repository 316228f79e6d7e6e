package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"unicode/utf8"

	"github.com/sequinstream/sequin/internal/resource"
)

// secret reads a secret. What reads like the mask of the stored one leaves it as it is: clients send back what they were shown.
func (f *fields) secret(key string, dst *resource.Secret, def resource.Secret) {
	f.ask(key, &shape{kind: shapeSecret})
	n, ok := f.find(key)
	if !ok {
		if n != nil {
			*dst = def
		}
		return
	}
	v, ok := f.d.secret(f.at(key), n)
	if !ok {
		f.d.silent[f.at(key)] = true
		return
	}
	if f.updating && masks(v, *dst) {
		return
	}
	f.d.warnMasked(f.at(key), n, v)
	*dst = v
}

// secret reads a text that is never shown, or the file that holds it. What is wrong with it is said without its content.
func (d *decoder) secret(path string, n *node) (resource.Secret, bool) {
	switch {
	case n.kind == mapping && n.entry("file") != nil:
		return d.secretFile(path, n)
	case n.kind != scalar || d.body && n.bare:
		d.mistake(path, n.at, resource.CodeInvalid, "is not a text")
		return "", false
	}
	return resource.Secret(n.text), true
}

// masks reports whether given is what a client was shown in place of stored.
func masks(given, stored resource.Secret) bool {
	return given != "" && given != stored && given.Reveal() == stored.String()
}

// masked is what resource.Mask makes of a secret of six characters and more.
var masked = regexp.MustCompile(`^(.\*{4,7}.|.{3}\*{6,20}.)$`)

// warnMasked tells of what looks like a secret that an export has hidden.
func (d *decoder) warnMasked(path string, n *node, v resource.Secret) {
	if masked.MatchString(v.Reveal()) {
		d.warn(path, n.at, "looks like the masked form of a secret and is taken as it is; export with secrets to get the secret itself")
	}
}

// maxSecretFile bounds the file of a secret; a private key has a few thousand bytes.
const maxSecretFile = 64 << 10

func (d *decoder) secretFile(path string, n *node) (resource.Secret, bool) {
	f := d.fields(path, n)
	var name string
	ok := f.text("file", &name, "")
	f.close()
	if !ok {
		return "", false
	}
	if !d.files {
		f.mistake("file", n, resource.CodeLocal, "may not be given here: only the file that the server starts with may name other files").
			Hint = "send the secret itself, or let ${VARIABLES} fill it in before it is sent"
		return "", false
	}
	text, err := readSecret(name)
	if err != nil {
		f.mistake("file", n, resource.CodeInvalid, "cannot be read: %s", err.Error())
		return "", false
	}
	return resource.Secret(text), true
}

// readSecret returns a file's content without its last line end. Errors name the file and never what is in it.
func readSecret(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecretFile {
		return "", fmt.Errorf("%s has more than %d bytes", name, maxSecretFile)
	}
	data, _ = bytes.CutSuffix(data, []byte("\n"))
	data, _ = bytes.CutSuffix(data, []byte("\r"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", errors.New(name + " does not hold a text")
	}
	return string(data), nil
}

// secrets reads a list of secrets. A masked one stands for the stored one in the same place, or for the only one that it can mean.
func (f *fields) secrets(key string, dst *[]resource.Secret) {
	if f.shape != nil {
		f.ask(key, &shape{kind: shapeList, item: &shape{kind: shapeSecret}})
		return
	}
	var all []resource.Secret
	stored := *dst
	ok := f.list(key, func(path string, n *node) {
		v, ok := f.d.secret(path, n)
		if !ok {
			f.d.silent[path] = true
		} else if f.updating {
			v = f.d.unmask(path, n, v, stored, len(all), len(f.n.entry(key).items))
		}
		f.d.warnMasked(path, n, v)
		all = append(all, v)
	})
	if ok || f.cleared(key) {
		*dst = all
	}
}

// unmask finds the stored secret that the masked form v, one of a list, stands for.
func (d *decoder) unmask(path string, n *node, v resource.Secret, stored []resource.Secret, index, length int) resource.Secret {
	var meant []resource.Secret
	for _, s := range stored {
		if masks(v, s) {
			meant = append(meant, s)
		}
	}
	switch {
	case len(meant) == 0:
		return v
	case len(meant) == 1:
		return meant[0]
	case length == len(stored) && masks(v, stored[index]):
		return stored[index]
	}
	d.mistake(path, n.at, resource.CodeInvalid, "is masked, and more than one of the stored secrets looks like it").Hint = "send the secret itself"
	return v
}
