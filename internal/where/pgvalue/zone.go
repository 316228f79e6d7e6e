package pgvalue

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // machines without a time zone database must answer as those with one
)

var zones sync.Map // string → *time.Location

// Zone is a time zone by its name in the IANA database, or UTC. Abbreviations and POSIX rules depend on the server's files and are refused.
func Zone(name string) (*time.Location, error) {
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location), nil //nolint:forcetypeassert // only locations are stored
	}
	switch name {
	case "UTC", "GMT", "Etc/UTC", "Z", "zulu":
		return time.UTC, nil
	}
	if !strings.Contains(name, "/") || strings.HasPrefix(name, "Etc/") || strings.HasPrefix(name, "/") || strings.Contains(name, "..") {
		return nil, unsupported("time zone %q: use a name such as Europe/Berlin, or UTC", shorten(name))
	}
	name = strings.Clone(name) // it may be a view of a row, and is kept
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, unsupported("time zone %q: use a name such as Europe/Berlin, or UTC", shorten(name))
	}
	zones.Store(name, location)
	return location, nil
}
