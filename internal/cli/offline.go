package cli

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/server"
)

// errNoDataDir says that there is no server and nothing that one has left.
var errNoDataDir = errors.New("no data directory")

// Offline opens a data directory whose server does not run, with the vault keys of the environment: the operator can see and change what is
// stored, and it takes effect with the next start. It makes no directory.
func Offline(dataDir string) (handler http.Handler, closeDir func() error, err error) {
	if _, err := os.Stat(filepath.Join(dataDir, "FORMAT")); errors.Is(err, os.ErrNotExist) {
		return nil, nil, errNoDataDir
	}
	settings := config.NewServer()
	flags := pflag.NewFlagSet("offline", pflag.ContinueOnError)
	config.BindFlags(flags, settings)
	if _, err := config.ApplyEnv(flags, settings, os.LookupEnv); err != nil {
		return nil, nil, err
	}
	return server.Offline(context.Background(), server.Options{
		Version: version(), DataDir: dataDir, Ephemeral: true, Listen: settings.Listen, // where it lies was decided by the server
		VaultKey: settings.VaultKey, VaultKeyPrevious: previousKeys(settings.VaultKeyPrevious),
	})
}
