package config

import (
	"errors"
	"fmt"
	"strings"
)

const maxNesting = 16

// interpolate fills in $VAR, ${VAR}, ${VAR-word}, ${VAR:-word}, ${VAR=word}, ${VAR:=word}, ${VAR+word} and ${VAR:+word} as a shell does; a
// word may hold variables again. $$ stands for a dollar sign, and a dollar sign before anything else for itself. unset hears of variables that
// do not exist and have no default.
func interpolate(text string, lookup LookupEnv, unset func(name string)) (string, error) {
	x := expander{lookup: lookup, unset: unset}
	return x.expand(text, 0)
}

type expander struct {
	lookup LookupEnv
	unset  func(string)
}

// The text itself may be a password and is never part of an error.
var (
	errBraces = errors.New("has ${ without a matching }")
	errName   = errors.New("has ${ that no variable's name follows")
)

func (x *expander) expand(text string, depth int) (string, error) {
	if depth > maxNesting {
		return "", fmt.Errorf("has ${…} nested more than %d deep", maxNesting)
	}
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			body, after, err := cutBraces(rest[1:])
			if err != nil {
				return "", err
			}
			value, err := x.substitute(body, depth)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			text = after
		default:
			name := variable(rest)
			if name == "" {
				b.WriteByte('$')
			} else {
				b.WriteString(x.value(name))
			}
			text = rest[len(name):]
		}
	}
}

// cutBraces splits text after the } that closes it.
func cutBraces(text string) (body, after string, err error) {
	open := 1
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '$' && strings.HasPrefix(text[i+1:], "{"):
			open++
			i++
		case text[i] == '}':
			open--
			if open == 0 {
				return text[:i], text[i+1:], nil
			}
		}
	}
	return "", "", errBraces
}

func (x *expander) substitute(body string, depth int) (string, error) {
	name := variable(body)
	if name == "" {
		return "", errName
	}
	rest := body[len(name):]
	if rest == "" {
		return x.value(name), nil
	}
	value, set := x.lookup(name)
	operator := rest[:1]
	rest = rest[1:]
	if operator == ":" && rest != "" {
		operator, rest = rest[:1], rest[1:]
		set = set && value != ""
	}
	switch {
	case (operator == "-" || operator == "=") && set:
		return value, nil
	case operator == "-" || operator == "=":
		return x.expand(rest, depth+1)
	case operator == "+" && set:
		return x.expand(rest, depth+1)
	case operator == "+":
		return "", nil
	}
	return "", fmt.Errorf("has ${%s in an unknown form; known: ${VAR}, ${VAR:-default}, ${VAR-default}, ${VAR:+alternative}, ${VAR+alternative}", name)
}

func (x *expander) value(name string) string {
	value, ok := x.lookup(name)
	if !ok {
		x.unset(name)
	}
	return value
}

// variable is the name that text begins with, or "".
func variable(text string) string {
	n := 0
	for n < len(text) && (text[n] == '_' || text[n] >= 'a' && text[n] <= 'z' || text[n] >= 'A' && text[n] <= 'Z' || n > 0 && text[n] >= '0' && text[n] <= '9') {
		n++
	}
	return text[:n]
}
