package where_test

import (
	"os"
	"testing"

	"github.com/sequinstream/sequin/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
