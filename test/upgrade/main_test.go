// Package upgrade_test holds promise P11: every data directory that an earlier version wrote is opened, and everything in it means what it
// meant; one that a newer version wrote is refused before anything in it is touched.
//
// testdata has whole data directories, each with what was seen in it by the version that wrote it. They are never written again. A change of
// any format on the disk brings one more: go test ./test/upgrade -update.
package upgrade_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/sequinstream/sequin/internal/pgtest"
)

var update = flag.Bool("update", false, "write one more golden data directory, by this version; those that are there stay as they are") //nolint:gochecknoglobals // a flag

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")))
}
