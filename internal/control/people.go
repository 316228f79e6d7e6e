package control

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// User is a member of an account as it is shown.
type User struct {
	ID         string
	Email      string
	Role       resource.Role
	InsertedAt time.Time
}

// Session is a user's sign-in.
type Session struct {
	ID      string
	Token   resource.Secret
	Account resource.Account
	Role    resource.Role
	Expires time.Time
}

// SessionTime is how long a sign-in lasts.
const SessionTime = 12 * time.Hour

// Users lists the members of an account by e-mail address.
func (p *Plane) Users(ctx context.Context, accountID string) ([]User, error) {
	records, err := p.store.Users(ctx)
	if err != nil {
		return nil, err
	}
	var all []User
	for i := range records {
		if u, role := memberOf(records, records[i].ID, accountID); u != nil {
			all = append(all, User{ID: u.ID, Email: u.Email, Role: role, InsertedAt: u.InsertedAt})
		}
	}
	slices.SortFunc(all, func(a, b User) int { return strings.Compare(a.Email, b.Email) })
	return all, nil
}

// AddUser makes somebody a member of an account. One who is known already keeps the password that they have.
func (p *Plane) AddUser(ctx context.Context, accountID string, actor Actor, u resource.User) (User, error) {
	if u.Role == "" {
		u.Role = resource.RoleOwner
	}
	if mistakes := u.Validate(""); len(mistakes) > 0 {
		for i := range mistakes {
			mistakes[i].Path = strings.TrimPrefix(mistakes[i].Path, ".")
		}
		return User{}, &resource.InvalidError{Mistakes: mistakes}
	}
	hash, err := p.passwords.Hash(ctx, u.Password.Reveal())
	if err != nil {
		return User{}, err
	}
	p.people.Lock()
	defer p.people.Unlock()
	records, err := p.store.Users(ctx)
	if err != nil {
		return User{}, err
	}
	r := store.UserRecord{ID: uuid.NewString(), Email: u.Email, PasswordHash: hash, InsertedAt: now()}
	if i := byEmail(records, u.Email); i >= 0 {
		r = records[i]
		if _, role := memberOf(records, r.ID, accountID); role != "" {
			return User{}, invalid("email", resource.CodeDuplicate, "has already been taken")
		}
	}
	r.Memberships = append(slices.Clone(r.Memberships), store.Membership{Account: accountID, Role: string(u.Role)})
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.store.PutUser(ctx, r) }); err != nil {
		return User{}, err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "create", ResourceType: "user", Resource: r.Email, Detail: "role: " + string(u.Role)})
	return User{ID: r.ID, Email: r.Email, Role: u.Role, InsertedAt: r.InsertedAt}, nil
}

func byEmail(records []store.UserRecord, email string) int {
	return slices.IndexFunc(records, func(r store.UserRecord) bool { return strings.EqualFold(r.Email, email) })
}

// UserChange is what can be changed of a member; nil leaves it as it is.
type UserChange struct {
	Role     *resource.Role
	Password *resource.Secret
}

// UpdateUser changes a member's role or password. The last owner stays one.
func (p *Plane) UpdateUser(ctx context.Context, accountID, idOrEmail string, actor Actor, change UserChange) (User, error) {
	var hash string
	if change.Password != nil {
		probe := resource.User{Email: "a@b", Password: *change.Password, Role: resource.RoleOwner}
		if mistakes := probe.Validate(""); len(mistakes) > 0 {
			return User{}, invalid("password", mistakes[0].Code, mistakes[0].What)
		}
		var err error
		if hash, err = p.passwords.Hash(ctx, change.Password.Reveal()); err != nil {
			return User{}, err
		}
	}
	if change.Role != nil && !slices.Contains(resource.Roles(), *change.Role) {
		return User{}, invalid("role", resource.CodeInvalid, fmt.Sprintf("is %q; accepted: %s", *change.Role, resource.List(resource.Roles())))
	}
	p.people.Lock()
	defer p.people.Unlock()
	records, i, err := p.findUser(ctx, accountID, idOrEmail)
	if err != nil {
		return User{}, err
	}
	r := records[i]
	r.Memberships = slices.Clone(r.Memberships)
	var changed []string
	if hash != "" {
		r.PasswordHash = hash
		changed = append(changed, "password")
	}
	if change.Role != nil {
		if *change.Role != resource.RoleOwner && onlyOwner(records, accountID, r.ID) {
			return User{}, errLastOwner(r.Email)
		}
		for j := range r.Memberships {
			if r.Memberships[j].Account == accountID {
				r.Memberships[j].Role = string(*change.Role)
			}
		}
		changed = append(changed, "role: "+string(*change.Role))
	}
	err = p.writeTokens(ctx, func(ctx context.Context) error {
		if err := p.store.PutUser(ctx, r); err != nil || hash == "" {
			return err
		}
		return p.endSessions(ctx, r.ID, "") // whoever knew the old password is out
	})
	if err != nil {
		return User{}, err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "update", ResourceType: "user", Resource: r.Email, Detail: strings.Join(changed, ", ")})
	records[i] = r
	_, role := memberOf(records, r.ID, accountID)
	return User{ID: r.ID, Email: r.Email, Role: role, InsertedAt: r.InsertedAt}, nil
}

// SetPassword changes the password of a user of any account: for the operator on this machine.
func (p *Plane) SetPassword(ctx context.Context, email string, password resource.Secret, actor Actor) error {
	records, err := p.store.Users(ctx)
	if err != nil {
		return err
	}
	i := byEmail(records, email)
	if i < 0 || len(records[i].Memberships) == 0 {
		return errNoUser()
	}
	_, err = p.UpdateUser(ctx, records[i].Memberships[0].Account, records[i].ID, actor, UserChange{Password: &password})
	return err
}

// RemoveUser ends a membership; who has none left is forgotten.
func (p *Plane) RemoveUser(ctx context.Context, accountID, idOrEmail string, actor Actor) (User, error) {
	p.people.Lock()
	defer p.people.Unlock()
	records, i, err := p.findUser(ctx, accountID, idOrEmail)
	if err != nil {
		return User{}, err
	}
	r := records[i]
	if onlyOwner(records, accountID, r.ID) {
		return User{}, errLastOwner(r.Email)
	}
	if err := p.writeTokens(ctx, func(ctx context.Context) error { return p.leave(ctx, r, accountID) }); err != nil {
		return User{}, err
	}
	p.Audit(ctx, accountID, Entry{Actor: actor, Action: "delete", ResourceType: "user", Resource: r.Email})
	return User{ID: r.ID, Email: r.Email}, nil
}

// leave takes one membership away, with the sessions that rest on it.
func (p *Plane) leave(ctx context.Context, r store.UserRecord, accountID string) error {
	r.Memberships = slices.DeleteFunc(slices.Clone(r.Memberships), func(m store.Membership) bool { return m.Account == accountID })
	if err := p.endSessions(ctx, r.ID, accountID); err != nil {
		return err
	}
	if len(r.Memberships) == 0 {
		return p.store.DeleteUser(ctx, r.ID)
	}
	return p.store.PutUser(ctx, r)
}

// forgetPeople ends every membership and token of an account.
func (p *Plane) forgetPeople(ctx context.Context, accountID string) error {
	p.people.Lock()
	defer p.people.Unlock()
	return p.writeTokens(ctx, func(ctx context.Context) error {
		users, err := p.store.Users(ctx)
		if err != nil {
			return err
		}
		for i := range users {
			if u, _ := memberOf(users, users[i].ID, accountID); u != nil {
				if err := p.leave(ctx, *u, accountID); err != nil {
					return err
				}
			}
		}
		tokens, err := p.store.Tokens(ctx)
		if err != nil {
			return err
		}
		for i := range tokens {
			if tokens[i].Account == accountID {
				if err := p.store.DeleteToken(ctx, tokens[i].ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (p *Plane) findUser(ctx context.Context, accountID, idOrEmail string) ([]store.UserRecord, int, error) {
	records, err := p.store.Users(ctx)
	if err != nil {
		return nil, 0, err
	}
	for i := range records {
		if records[i].ID == idOrEmail || strings.EqualFold(records[i].Email, idOrEmail) {
			if u, _ := memberOf(records, records[i].ID, accountID); u != nil {
				return records, i, nil
			}
		}
	}
	return nil, 0, errNoUser()
}

func errNoUser() error {
	return problem.New("user_not_found", "Not found: No `user` found matching the provided ID").WithHint("GET /api/users lists them")
}

func errLastOwner(email string) error {
	return problem.New("last_owner", "%s is the only owner of the account", email).WithHint("make somebody else an owner first")
}

func onlyOwner(records []store.UserRecord, accountID, id string) bool {
	owners, is := 0, false
	for i := range records {
		if _, role := memberOf(records, records[i].ID, accountID); role == resource.RoleOwner {
			owners++
			is = is || records[i].ID == id
		}
	}
	return is && owners == 1
}

// SignIn checks a password and opens a session. Every way to fail looks the same and takes as long.
func (p *Plane) SignIn(ctx context.Context, email string, password resource.Secret, account string, actor Actor) (Session, error) {
	records, err := p.store.Users(ctx)
	if err != nil {
		return Session{}, err
	}
	var r store.UserRecord
	if i := byEmail(records, email); i >= 0 {
		r = records[i]
	}
	err = p.passwords.Verify(ctx, r.PasswordHash, password.Reveal())
	if errors.Is(err, auth.ErrPassword) || (err == nil && len(r.Memberships) == 0) {
		return Session{}, errSignIn()
	}
	if err != nil {
		return Session{}, err
	}
	m := r.Memberships[0]
	if account != "" {
		i := slices.IndexFunc(r.Memberships, func(m store.Membership) bool {
			a, err := p.FindAccount(m.Account)
			return err == nil && (a.ID == account || a.Name == account)
		})
		if i < 0 {
			return Session{}, errSignIn()
		}
		m = r.Memberships[i]
	}
	a, err := p.FindAccount(m.Account)
	if err != nil {
		return Session{}, errSignIn()
	}
	secret := resource.Secret(NewSecret())
	t := store.TokenRecord{
		ID: uuid.NewString(), Account: m.Account, Hash: auth.HashToken(secret.Reveal()), Origin: fromSession, User: r.ID,
		InsertedAt: now(), ExpiresAt: now().Add(SessionTime),
	}
	p.people.Lock()
	defer p.people.Unlock()
	err = p.writeTokens(ctx, func(ctx context.Context) error { return errors.Join(p.dropExpired(ctx), p.store.PutToken(ctx, t)) })
	if err != nil {
		return Session{}, err
	}
	p.Audit(ctx, m.Account, Entry{Actor: Actor{Kind: ByUser, Name: r.Email, Address: actor.Address, RequestID: actor.RequestID}, Action: "sign_in", ResourceType: "session", Resource: r.Email})
	return Session{ID: t.ID, Token: secret, Account: a, Role: resource.Role(m.Role), Expires: t.ExpiresAt}, nil
}

func errSignIn() error {
	return problem.New("sign_in_failed", "the e-mail address or the password is wrong").
		WithHint("an operator on the server's machine can set a new password: sequin admin users set-password <e-mail>")
}

// SignOut ends the session with this id.
func (p *Plane) SignOut(ctx context.Context, tokenID string) error {
	p.people.Lock()
	defer p.people.Unlock()
	return p.writeTokens(ctx, func(ctx context.Context) error { return p.store.DeleteToken(ctx, tokenID) })
}

// endSessions ends a user's sessions, in one account or in all.
func (p *Plane) endSessions(ctx context.Context, userID, accountID string) error {
	tokens, err := p.store.Tokens(ctx)
	if err != nil {
		return err
	}
	for i := range tokens {
		t := &tokens[i]
		if t.Origin == fromSession && t.User == userID && (accountID == "" || t.Account == accountID) {
			if err := p.store.DeleteToken(ctx, t.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropExpired removes sessions that have ended.
func (p *Plane) dropExpired(ctx context.Context) error {
	tokens, err := p.store.Tokens(ctx)
	if err != nil {
		return err
	}
	for i := range tokens {
		t := &tokens[i]
		if t.Origin == fromSession && !t.ExpiresAt.IsZero() && time.Now().After(t.ExpiresAt) {
			if err := p.store.DeleteToken(ctx, t.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// declarePeople makes the users and tokens of a document, and returns the tokens whose secret was made. A user who exists is left as they are.
func (p *Plane) declarePeople(ctx context.Context, accountID string, actor Actor, set *resource.Set) ([]resource.APIToken, error) {
	records, err := p.store.Users(ctx)
	if err != nil {
		return nil, err
	}
	for i := range set.Users {
		if byEmail(records, set.Users[i].Email) >= 0 {
			continue
		}
		if _, err := p.AddUser(ctx, accountID, actor, set.Users[i]); err != nil {
			return nil, fmt.Errorf("user %s: %w", set.Users[i].Email, err)
		}
	}
	return p.declareTokens(ctx, accountID, actor, set.APITokens)
}

// NeedsSetup tells whether nobody can get in yet: there is no user and no token.
func (p *Plane) NeedsSetup(ctx context.Context) (bool, error) {
	users, err := p.store.Users(ctx)
	if err != nil || len(users) > 0 {
		return false, err
	}
	tokens, err := p.store.Tokens(ctx)
	return len(tokens) == 0, err
}

// NewSetupSecret makes the secret of a set-up link, which replaces an earlier one.
func (p *Plane) NewSetupSecret(ctx context.Context) (string, error) {
	secret := NewSecret()
	return secret, p.store.PutSetupHash(ctx, auth.HashToken(secret))
}

// SetUp makes the first owner, with the secret of the set-up link, which is used up by it.
func (p *Plane) SetUp(ctx context.Context, secret string, u resource.User, actor Actor) (Session, error) {
	p.setup.Lock()
	defer p.setup.Unlock()
	hash, there, err := p.store.SetupHash(ctx)
	if err != nil {
		return Session{}, err
	}
	given := auth.HashToken(secret)
	if !there || subtle.ConstantTimeCompare(hash[:], given[:]) != 1 {
		return Session{}, problem.New("setup_link_invalid", "the set-up link is not valid, or was used already").
			WithHint("make a new one on the server's machine: sequin admin setup-link")
	}
	account, err := p.EnsureAccount(ctx, p.firstAccount(), actor)
	if err != nil {
		return Session{}, err
	}
	u.Role = resource.RoleOwner
	if _, err := p.AddUser(ctx, account.ID, actor, u); err != nil {
		return Session{}, err
	}
	if err := p.store.DeleteSetupHash(ctx); err != nil {
		return Session{}, err
	}
	return p.SignIn(ctx, u.Email, u.Password, account.ID, actor)
}

// firstAccount is the name of the account that the first owner gets.
func (p *Plane) firstAccount() string {
	if accounts := p.Accounts(); len(accounts) > 0 && !slices.ContainsFunc(accounts, func(a resource.Account) bool { return a.Name == resource.DefaultAccount }) {
		return accounts[0].Name
	}
	return resource.DefaultAccount
}
