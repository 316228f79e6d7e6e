package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// ParseURL reads a libpq connection URL: postgres://user:password@host:port,host2:port2/database?sslmode=verify-full. The host may be left
// out and given as ?host=/path/of/socket/directory. Parameters that are not known are errors. Errors do not repeat the URL.
func ParseURL(text string) (Config, error) {
	c, err := parseURL(text)
	if err != nil {
		return Config{}, problem.New("database_url_invalid", "the database URL cannot be read").WithDetail("%v", err).Because(err).
			WithHint("write it like postgres://user:password@host:5432/database?sslmode=verify-full, with special characters " +
				"in the password percent-encoded")
	}
	return c, nil
}

func parseURL(text string) (Config, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || (scheme != "postgres" && scheme != "postgresql") {
		return Config{}, errors.New("it must begin with postgres:// or postgresql://")
	}
	var c Config
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := c.setUser(authority[:i]); err != nil {
			return Config{}, err
		}
		authority = authority[i+1:]
	}
	if err := c.setHosts(authority); err != nil {
		return Config{}, err
	}
	var err error
	if c.Database, err = url.PathUnescape(database); err != nil {
		return Config{}, errors.New("the database name has a bad percent-encoding")
	}
	if err := c.setParams(query); err != nil {
		return Config{}, err
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []Host{{Name: "localhost"}}
	}
	if c.Database == "" {
		c.Database = c.User
	}
	return c, nil
}

func (c *Config) setUser(userinfo string) error {
	user, password, given := strings.Cut(userinfo, ":")
	var err error
	if c.User, err = url.PathUnescape(user); err != nil {
		return errors.New("the user name has a bad percent-encoding")
	}
	if !given {
		return nil
	}
	if password, err = url.PathUnescape(password); err != nil {
		return errors.New("the password has a bad percent-encoding")
	}
	c.Password = StaticPassword(password)
	return nil
}

func (c *Config) setHosts(authority string) error {
	if authority == "" {
		return nil
	}
	for part := range strings.SplitSeq(authority, ",") {
		name, port, err := splitHost(part)
		if err != nil {
			return err
		}
		c.Hosts = append(c.Hosts, Host{Name: name, Port: port})
	}
	return nil
}

// splitHost reads name, name:port, [v6]:port or %2Fpath:port.
func splitHost(text string) (string, uint16, error) {
	name, port := text, ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", 0, errors.New("an IPv6 address lacks its closing bracket")
		}
		name, port = text[1:end], strings.TrimPrefix(text[end+1:], ":")
	} else if i := strings.LastIndexByte(text, ':'); i >= 0 {
		name, port = text[:i], text[i+1:]
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return "", 0, errors.New("a host name has a bad percent-encoding")
	}
	if name == "" {
		name = "localhost"
	}
	number, err := parsePort(port)
	return name, number, err
}

func parsePort(text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("a port must be a number from 1 to 65535")
	}
	return uint16(n), nil
}

func (c *Config) setParams(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters after ? cannot be read")
	}
	if host := values.Get("host"); host != "" {
		c.Hosts = nil
		for name := range strings.SplitSeq(host, ",") {
			c.Hosts = append(c.Hosts, Host{Name: name})
		}
	}
	for key, all := range values {
		if err := c.setParam(key, all[len(all)-1]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) setParam(key, value string) error {
	switch key {
	case "host": // read before the ports
	case "port":
		return c.setPorts(value)
	case "dbname":
		c.Database = value
	case "user":
		c.User = value
	case "password":
		c.Password = StaticPassword(value)
	case "sslmode":
		c.SSLMode = SSLMode(value)
		if !slices.Contains(SSLModes(), c.SSLMode) {
			return fmt.Errorf("sslmode must be one of %v", SSLModes())
		}
	case "ssl":
		return c.setSSL(value)
	case "sslrootcert":
		c.SSLRootCert = value
	case "sslcert":
		c.SSLCert = value
	case "sslkey":
		c.SSLKey = value
	case "application_name":
		c.AppName = value
	case "target_session_attrs":
		c.TargetSessionAttrs = value
	case "connect_timeout":
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 0 {
			return errors.New("connect_timeout must be a number of seconds")
		}
		c.ConnectTimeout = time.Duration(seconds) * time.Second
	case "options":
		c.Options = map[string]string{"options": value}
	default:
		return fmt.Errorf("parameter %q is not known; known are host, port, dbname, user, password, sslmode, sslrootcert, sslcert, sslkey, "+
			"application_name, target_session_attrs, connect_timeout and options", key)
	}
	return nil
}

func (c *Config) setSSL(value string) error {
	switch value {
	case "true":
		c.SSLMode = SSLRequire
	case "false":
		c.SSLMode = SSLDisable
	default:
		return errors.New("ssl must be true or false")
	}
	return nil
}

func (c *Config) setPorts(value string) error {
	ports := strings.Split(value, ",")
	if len(c.Hosts) == 0 {
		c.Hosts = []Host{{Name: "localhost"}}
	}
	if len(ports) != 1 && len(ports) != len(c.Hosts) {
		return fmt.Errorf("%d ports for %d hosts", len(ports), len(c.Hosts))
	}
	for i := range c.Hosts {
		port, err := parsePort(ports[min(i, len(ports)-1)])
		if err != nil {
			return err
		}
		c.Hosts[i].Port = port
	}
	return nil
}
