package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"github.com/sequinstream/sequin/internal/problem"
)

// CodeTooManyLogins says that more people sign in at once than can be checked.
const CodeTooManyLogins = "too_many_logins"

// ErrPassword reports a password that is wrong, or a user who is not there: nobody can tell which.
var ErrPassword = errors.New("wrong password")

// cost are the parameters of argon2id.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// today is the cost of new hashes: OWASP's choice for argon2id with 19 MiB.
var today = cost{memory: 19 << 10, time: 2, threads: 1}

// What a stored hash may ask for.
const (
	mostMemory  = 64 << 10 // KiB
	mostTime    = 16
	mostThreads = 16
)

const (
	saltBytes = 16
	sumBytes  = 32
)

// mostAtOnce bounds the memory: so many times 19 MiB.
const mostAtOnce = 4

// mostWaiting is how many checks may wait for their turn.
const mostWaiting = 64

// Passwords hashes passwords with argon2id and checks them. Only few are worked on at once, so that many people who sign in, or pretend to,
// take neither the memory nor all processors. It is safe for concurrent use.
type Passwords struct {
	slots   chan struct{}
	waiting atomic.Int64
	nobody  password // what the password of an unknown user is compared with
}

// NewPasswords makes a hasher.
func NewPasswords() *Passwords {
	return &Passwords{
		slots:  make(chan struct{}, min(max(1, runtime.GOMAXPROCS(0)/2), mostAtOnce)),
		nobody: password{cost: today, salt: random(saltBytes), sum: random(sumBytes)},
	}
}

// password is a hash, taken apart.
type password struct {
	cost
	salt, sum []byte
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// Hash returns a PHC string for storage.
func (p *Passwords) Hash(ctx context.Context, plain string) (string, error) {
	h := password{cost: today, salt: random(saltBytes)}
	sum, err := p.derive(ctx, plain, h, sumBytes)
	if err != nil {
		return "", err
	}
	h.sum = sum
	return h.String(), nil
}

// Verify returns nil when the password is the hashed one, and ErrPassword when it is not. hash "" stands for a user who is not known: that is
// ErrPassword and takes as long.
func (p *Passwords) Verify(ctx context.Context, hash, plain string) error {
	known, err := p.nobody, error(nil)
	if hash != "" {
		known, err = parsePassword(hash)
	}
	if err != nil {
		return err
	}
	sum, err := p.derive(ctx, plain, known, len(known.sum))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(sum, known.sum) != 1 || hash == "" {
		return ErrPassword
	}
	return nil
}

// Outdated reports whether a hash costs less than a new one would, so that it is worth replacing when its password is at hand.
func (*Passwords) Outdated(hash string) bool {
	h, err := parsePassword(hash)
	return err == nil && h.cost != today
}

// derive waits for its turn and works.
func (p *Passwords) derive(ctx context.Context, plain string, h password, length int) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
	defer func() { <-p.slots }()
	return argon2.IDKey([]byte(plain), h.salt, h.time, h.memory, h.threads, uint32(length)), nil //nolint:gosec // at most 64
}

func (p *Passwords) wait(ctx context.Context) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > mostWaiting {
		return problem.New(CodeTooManyLogins, "too many passwords are being checked").WithHint("try again in a few seconds")
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// String is the PHC form: $argon2id$v=19$m=19456,t=2,p=1$salt$sum, in base64 without padding.
func (h password) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, b.EncodeToString(h.salt), b.EncodeToString(h.sum))
}

var errHash = errors.New("the stored password hash is damaged")

// parsePassword takes a PHC string apart, and refuses costs that nobody of us has asked for.
func parsePassword(hash string) (password, error) {
	var h password
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, fmt.Errorf("%w: it is not of argon2id, version %d", errHash, argon2.Version)
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return h, fmt.Errorf("%w: its cost: %w", errHash, err)
	}
	if h.memory > mostMemory || h.time == 0 || h.time > mostTime || h.threads == 0 || h.threads > mostThreads {
		return h, fmt.Errorf("%w: its cost %q is out of bounds", errHash, parts[3])
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return h, fmt.Errorf("%w: its salt", errHash)
	}
	if h.sum, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, fmt.Errorf("%w: its sum", errHash)
	}
	if h.String() != hash {
		return h, fmt.Errorf("%w: there is more in it than there should be", errHash)
	}
	return h, nil
}
