package backfill

import (
	"regexp"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
)

// check refuses what would not stay in its place in the statement: a parenthesis too many in where could make it select from another table.
func (s *Spec) check() error {
	for _, part := range [][2]string{{"where", s.Where}, {"key_query", s.KeyQuery}} {
		if why := unclosed(part[1]); why != "" {
			return problem.New("backfill_query", "%s is not complete in itself", part[0]).WithDetail("%s", why).WithHint("mend %s", part[0])
		}
	}
	return nil
}

var dollarQuote = regexp.MustCompile(`^\$([A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

// unclosed says what of a piece of SQL is left open, or closed without having been open; "" for nothing. It knows no more than what hides a parenthesis.
func unclosed(sql string) string {
	depth, goesOn := 0, false
	for i := 0; i < len(sql); {
		escaped := escapes(sql, i)
		if goesOn && sql[i] == '\'' {
			return "a value with backslashes goes on after its quote, on another line"
		}
		n, what := quotation(sql[i:], i > 0 && isWord(sql[i-1]), escaped)
		if n < 0 {
			return what
		}
		if n > 0 {
			goesOn = sql[i] == '\'' && escaped || goesOn && sql[i] == '-'
			i += n
			continue
		}
		goesOn = goesOn && strings.IndexByte(" \t\r\n\f\v", sql[i]) >= 0
		switch sql[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			return "a parenthesis is closed that was not opened"
		}
		i++
	}
	if depth > 0 {
		return "a parenthesis is not closed"
	}
	return ""
}

// quotation is the length of the quoted text or comment at the start of sql; 0 for none, below 0 when it does not end.
func quotation(sql string, inWord, escaped bool) (n int, what string) {
	switch {
	case sql[0] == '\'':
		return quotedBy(sql, '\'', escaped), "a quoted value does not end"
	case sql[0] == '"':
		return quotedBy(sql, '"', false), "a quoted name does not end"
	case strings.HasPrefix(sql, "--"):
		if n := strings.IndexAny(sql, "\r\n"); n >= 0 {
			return n, ""
		}
		return len(sql), ""
	case strings.HasPrefix(sql, "/*"):
		return comment(sql), "a comment does not end"
	case sql[0] == '$' && !inWord:
		tag := dollarQuote.FindString(sql)
		if tag == "" {
			return 0, ""
		}
		if end := strings.Index(sql[len(tag):], tag); end >= 0 {
			return len(tag) + end + len(tag), ""
		}
		return -1, "a quoted value does not end"
	}
	return 0, ""
}

// quotedBy is the length of text in quotes. A doubled quote stands for itself; what begins anew after it ends all the same.
func quotedBy(sql string, quote byte, escaped bool) int {
	for i := 1; i < len(sql); i++ {
		switch {
		case escaped && sql[i] == '\\':
			i++
		case sql[i] != quote:
		case i+1 < len(sql) && sql[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// comment is the length of a comment, which may hold others.
func comment(sql string) int {
	depth := 0
	for i := 0; i < len(sql)-1; i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return -1
}

// escapes tells whether the quote at i begins a value with backslashes: E'…'.
func escapes(sql string, i int) bool {
	return i > 0 && (sql[i-1] == 'e' || sql[i-1] == 'E') && (i == 1 || !isWord(sql[i-2]))
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
