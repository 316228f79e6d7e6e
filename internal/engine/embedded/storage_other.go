//go:build !linux

package embedded

// ephemeralStorage is known only on Linux, where containers run.
func ephemeralStorage(string) (string, error) { return "", nil }
