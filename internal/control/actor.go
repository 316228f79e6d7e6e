package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// Actor is who changes something.
type Actor struct {
	Kind      string // one of the kinds below
	Name      string // a token's name, a user's e-mail address, a file
	Address   string // where the request came from
	RequestID string
}

// The kinds of actor.
const (
	ByToken  = "token"
	ByUser   = "user"
	ByFile   = "file"
	ByLocal  = "local" // the operator on this machine
	ByServer = "server"
)

func (a Actor) String() string { return strings.TrimSuffix(a.Kind+" "+a.Name, " ") }

func (a Actor) stored() store.Actor {
	return store.Actor{Kind: a.Kind, Name: a.Name, Address: a.Address, RequestID: a.RequestID}
}

// Entry is a line of the audit log.
type Entry struct {
	Actor                          Actor
	Action, ResourceType, Resource string
	Detail                         string
	Outcome                        string // "" for ok
}

// Audit writes a line of the audit log. What was done is done: a line that cannot be written is logged instead.
func (p *Plane) Audit(ctx context.Context, account string, e Entry) {
	if e.Outcome == "" {
		e.Outcome = "ok"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	err := p.store.AppendAudit(ctx, account, store.AuditEntry{
		At: time.Now().UTC(), Actor: e.Actor.stored(), Action: e.Action, ResourceType: e.ResourceType, Resource: e.Resource, Detail: e.Detail, Outcome: e.Outcome,
	})
	about := []any{
		"account", account, "by", e.Actor.String(), "action", e.Action, "resource_type", e.ResourceType, "resource", e.Resource, "outcome", e.Outcome,
		"request_id", e.Actor.RequestID,
	}
	if err != nil {
		p.logger.Error("a line of the audit log could not be written", append(about, "reason", err)...)
		return
	}
	p.logger.Debug("audit", about...)
}

// writeTime bounds what has to be written although the caller has gone.
const writeTime = 5 * time.Second

// AuditLog returns lines of the audit log, the newest first: those before an id, or from the end when it is 0.
func (p *Plane) AuditLog(ctx context.Context, account string, before uint64, limit int) ([]store.AuditEntry, error) {
	return p.store.Audit(ctx, account, before, limit)
}

func validAccount(name string) error {
	set := resource.Set{Account: resource.Account{Name: name}}
	for _, m := range set.Validate() {
		if strings.HasPrefix(m.Path, "account") {
			m.Path = strings.TrimPrefix(m.Path, "account.")
			return &resource.InvalidError{Mistakes: []resource.Mistake{m}}
		}
	}
	return nil
}

func accountError(err error, name string) error {
	if errors.Is(err, store.ErrExists) {
		return problem.New("account_exists", "there is an account %q already", name).Because(err).WithHint("choose another name")
	}
	return err
}
