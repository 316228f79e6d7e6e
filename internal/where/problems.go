package where

import (
	"errors"
	"fmt"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where/syntax"
)

// The codes of what can be wrong with a condition, when it is saved and when it is evaluated.
const (
	CodeSyntax       = "where_syntax"
	CodeName         = "where_name_unknown"
	CodeType         = "where_type_mismatch"
	CodeUnsupported  = "where_unsupported"
	CodeEvaluation   = "where_evaluation"
	CodeUnknownValue = "where_value_unknown"
	CodeBackfill     = "where_not_for_backfill"
	CodeColumnFilter = "column_filter_invalid"
)

// mistake is an error at a place of the text.
type mistake struct {
	code    string
	pos     int
	message string
	hint    string
}

func (m *mistake) Error() string { return m.message }

func typeError(pos int, hint, format string, args ...any) error {
	return &mistake{CodeType, pos, fmt.Sprintf(format, args...), hint}
}

func nameError(pos int, hint, format string, args ...any) error {
	return &mistake{CodeName, pos, fmt.Sprintf(format, args...), hint}
}

func refuse(pos int, hint, format string, args ...any) error {
	return &mistake{CodeUnsupported, pos, fmt.Sprintf(format, args...), hint}
}

// problem gives an error its code, place and excerpt.
func (c *checker) problem(err error) error {
	var (
		s *syntax.Error
		m *mistake
	)
	switch {
	case errors.As(err, &s):
		m = &mistake{CodeSyntax, s.Pos, s.Message, s.Hint}
	case errors.As(err, &m):
	default:
		return problem.New(CodeType, "%s", err.Error()).Because(err)
	}
	line, column := syntax.Place(c.text, m.pos)
	e := problem.New(m.code, "where, line %d, column %d: %s", line, column, m.message).WithDetail("%s", syntax.Excerpt(c.text, m.pos))
	if m.hint != "" {
		e = e.WithHint("%s", m.hint)
	}
	return e
}
