package resource

import (
	"slices"
	"strings"
)

// IsPEM tells whether a TLS setting is PEM text, and not the path of a file that holds it.
func IsPEM(value string) bool { return strings.Contains(value, "-----BEGIN ") }

// SystemRoots is the value of SSLRootCert that stands for the roots of the server's system.
const SystemRoots = "system"

const (
	notFromOutside = "may not be set from outside: it would have the server read files or run programs of its own machine"
	boundToPlace   = "may not be changed from outside while password_file or password_command is set: another server would be shown what this machine keeps for its own use"
	setItLocally   = "set it in the file that the server starts with, or through the unix socket in its data directory"
)

// PasswordIsLocal tells whether the password comes from a file or a program of the server's machine.
func (d *Database) PasswordIsLocal() bool { return d.PasswordFile != "" || len(d.PasswordCommand) > 0 }

// LocalOnly finds what only the operator of the server's machine may decide: which of its files are read and which program is run for a
// database, and to whom the password that comes of it is shown. was is what is declared already, nil for nothing; what was decided stays so.
// Paths begin at the database.
func (d *Database) LocalOnly(was *Database) []Mistake {
	known := was
	if known == nil {
		known = &Database{}
	}
	var found []Mistake
	refuse := func(path, what, hint string) {
		if slices.ContainsFunc(found, func(m Mistake) bool { return m.Path == path }) {
			return
		}
		found = append(found, Mistake{Path: path, Code: CodeLocal, What: what, Hint: hint})
	}
	if d.PasswordFile != "" && d.PasswordFile != known.PasswordFile {
		refuse("password_file", notFromOutside, setItLocally)
	}
	if len(d.PasswordCommand) > 0 && !slices.Equal(d.PasswordCommand, known.PasswordCommand) {
		refuse("password_command", notFromOutside, setItLocally)
	}
	for _, file := range []struct{ key, now, was string }{
		{"sslrootcert", d.SSLRootCert, known.SSLRootCert},
		{"sslcert", d.SSLCert, known.SSLCert},
		{"sslkey", d.SSLKey, known.SSLKey},
	} {
		if file.now != "" && file.now != file.was && !IsPEM(file.now) && (file.key != "sslrootcert" || file.now != SystemRoots) {
			refuse(file.key, notFromOutside, "send the PEM text itself; or "+setItLocally)
		}
	}
	if was == nil || !d.PasswordIsLocal() {
		return found
	}
	for _, place := range []struct {
		key  string
		same bool
	}{
		{"hostname", d.Hostname == was.Hostname},
		{"port", d.Port == was.Port},
		{"sslmode", d.SSLMode == was.SSLMode},
		{"sslrootcert", d.SSLRootCert == was.SSLRootCert},
	} {
		if !place.same {
			refuse(place.key, boundToPlace, "give the database a password of its own, with null for password_file and password_command; or "+setItLocally)
		}
	}
	return found
}
