package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// SocketName is the unix socket in the data directory. Whoever can open it is the operator on this machine, and may do everything: the file's
// permissions are the sign-in.
const SocketName = "admin.sock"

// listenLocal opens the operator's socket. A server without it serves all the same.
func (s *Server) listenLocal(ctx context.Context) net.Listener {
	if s.opts.DataDir == "" {
		return nil
	}
	path := filepath.Join(s.opts.DataDir, SocketName)
	// The data directory is locked by us: what is left there is of a process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.logger.Warn("the old socket for sequin admin could not be removed", "path", path, "reason", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if err != nil {
		s.logger.Warn("sequin admin cannot reach this server: its socket could not be opened", "path", path, "reason", err)
		return nil
	}
	return l
}

// localHandler serves the operator's socket: the API, as owner, and what only the operator may do.
func (s *Server) localHandler() http.Handler { return api.RequestID(s.routes.Local()) }

// offerSetup prints the link with which the first owner is made, while there is nobody who could sign in.
func (s *Server) offerSetup(ctx context.Context) {
	needed, err := s.plane.NeedsSetup(ctx)
	if err != nil || !needed {
		return
	}
	secret, err := s.plane.NewSetupSecret(ctx)
	if err != nil {
		s.logger.Warn("no set-up link could be made", "reason", err)
		return
	}
	s.logger.Warn("nobody can sign in yet: open this link once to make the first owner, or declare api_tokens", "link", s.setupLink(secret))
}

// setupLink leads to where the server listens, or will.
func (s *Server) setupLink(secret string) string {
	address := s.opts.Listen
	if s.api != nil {
		address = s.Addr()
	}
	return fmt.Sprintf("http://%s/setup?token=%s", address, secret)
}

// keepToken writes the secret of a token that was declared without one to a file of the operator's: a log is no place for it.
func (s *Server) keepToken(t *resource.APIToken) error {
	dir := filepath.Join(s.opts.DataDir, "tokens")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the secret of token %q: %w", t.Name, err)
	}
	path := filepath.Join(dir, t.Name)
	if err := os.WriteFile(path, []byte(t.Token.Reveal()+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the secret of token %q: %w", t.Name, err)
	}
	s.logger.Warn("a token was declared without a secret; one was made and written to a file: read it and remove the file", "token", t.Name, "file", path)
	return nil
}

// errSetupOver is what the set-up page says once somebody can sign in.
func errSetupOver() error {
	return problem.New("setup_over", "somebody can sign in already").WithHint("sign in with sequin login; an operator on the server's machine can make a new link: sequin admin setup-link")
}
