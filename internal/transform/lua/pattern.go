package lua

// The patterns of Lua, as its manual describes them. They backtrack, so that a few characters can take for ever: every step is counted, and
// what nests is bounded.

const (
	maxCaptures = 32
	maxNested   = 200 // pattern items that wait for what follows them
)

const (
	unclosed = -1 // length of a capture that is not closed yet
	position = -2 // of one that stands for its place
)

// matcher matches a pattern at a place of a text.
type matcher struct {
	p        *Program
	text     string
	pattern  string
	level    int // captures in use
	captures [maxCaptures]struct{ start, length int }
	nested   int
}

func (m *matcher) fail(message string) { m.p.world.state.RaiseError("%s", message) }

// match returns the end of the match of pattern[i:] at text[s:], or -1.
func (m *matcher) match(s, i int) int {
	if m.nested++; m.nested > maxNested {
		m.p.refuse("pattern too complex")
	}
	defer func() { m.nested-- }()
	for {
		m.p.step()
		if i == len(m.pattern) {
			return s
		}
		switch m.pattern[i] {
		case '(':
			if i+1 < len(m.pattern) && m.pattern[i+1] == ')' {
				return m.open(s, i+2, position)
			}
			return m.open(s, i+1, unclosed)
		case ')':
			return m.close(s, i+1)
		case '$':
			if i+1 == len(m.pattern) {
				if s == len(m.text) {
					return s
				}
				return -1
			}
		case '%':
			if end, next, done := m.special(s, i); done {
				if end < 0 {
					return -1
				}
				s, i = end, next
				continue
			}
		}
		end := m.classEnd(i)
		switch {
		case end < len(m.pattern) && m.pattern[end] == '?':
			if m.single(s, i, end) {
				if e := m.match(s+1, end+1); e >= 0 {
					return e
				}
			}
			i = end + 1
		case end < len(m.pattern) && m.pattern[end] == '+':
			if !m.single(s, i, end) {
				return -1
			}
			return m.longest(s, i, end)
		case end < len(m.pattern) && m.pattern[end] == '*':
			return m.longest(s, i, end)
		case end < len(m.pattern) && m.pattern[end] == '-':
			return m.shortest(s, i, end)
		case m.single(s, i, end):
			s, i = s+1, end
		default:
			return -1
		}
	}
}

// special handles %b, %f and back references; next is where the pattern goes on. done is false for what is a class of characters.
func (m *matcher) special(s, i int) (end, next int, done bool) {
	if i+1 == len(m.pattern) {
		m.fail("malformed pattern (ends with '%')")
	}
	switch c := m.pattern[i+1]; {
	case c == 'b':
		return m.balanced(s, i+2), i + 4, true
	case c == 'f':
		if i += 2; i >= len(m.pattern) || m.pattern[i] != '[' {
			m.fail("missing '[' after '%f' in pattern")
		}
		end := m.classEnd(i)
		before, after := byte(0), byte(0)
		if s > 0 {
			before = m.text[s-1]
		}
		if s < len(m.text) {
			after = m.text[s]
		}
		if m.inSet(before, i, end-1) || !m.inSet(after, i, end-1) {
			return -1, 0, true
		}
		return s, end, true
	case '0' <= c && c <= '9':
		n := int(c - '1')
		if n < 0 || n >= m.level || m.captures[n].length == unclosed {
			m.fail("invalid capture index")
		}
		start, length := m.captures[n].start, max(m.captures[n].length, 0)
		if len(m.text)-s < length || m.text[start:start+length] != m.text[s:s+length] {
			return -1, 0, true
		}
		return s + length, i + 2, true
	}
	return 0, 0, false
}

func (m *matcher) open(s, i, kind int) int {
	if m.level == maxCaptures {
		m.fail("too many captures")
	}
	m.captures[m.level].start, m.captures[m.level].length = s, kind
	m.level++
	end := m.match(s, i)
	if end < 0 {
		m.level--
	}
	return end
}

func (m *matcher) close(s, i int) int {
	for n := m.level - 1; n >= 0; n-- {
		if m.captures[n].length == unclosed {
			m.captures[n].length = s - m.captures[n].start
			end := m.match(s, i)
			if end < 0 {
				m.captures[n].length = unclosed
			}
			return end
		}
	}
	m.fail("invalid pattern capture")
	return -1
}

// balanced is %bxy: from an x to the y that closes it.
func (m *matcher) balanced(s, i int) int {
	if i+1 >= len(m.pattern) {
		m.fail("unbalanced pattern")
	}
	if s == len(m.text) || m.text[s] != m.pattern[i] {
		return -1
	}
	opening, closing, depth := m.pattern[i], m.pattern[i+1], 1
	for e := s + 1; e < len(m.text); e++ {
		m.p.step()
		switch m.text[e] {
		case closing:
			if depth--; depth == 0 {
				return e + 1
			}
		case opening:
			depth++
		}
	}
	return -1
}

func (m *matcher) longest(s, i, end int) int {
	n := 0
	for m.single(s+n, i, end) {
		m.p.step()
		n++
	}
	least := 0
	if m.pattern[end] == '+' {
		least = 1
	}
	for ; n >= least; n-- {
		if e := m.match(s+n, end+1); e >= 0 {
			return e
		}
	}
	return -1
}

func (m *matcher) shortest(s, i, end int) int {
	for {
		if e := m.match(s, end+1); e >= 0 {
			return e
		}
		if !m.single(s, i, end) {
			return -1
		}
		s++
	}
}

// classEnd is where the class of characters that begins at i ends.
func (m *matcher) classEnd(i int) int {
	c := m.pattern[i]
	i++
	if c == '%' {
		if i == len(m.pattern) {
			m.fail("malformed pattern (ends with '%')")
		}
		return i + 1
	}
	if c != '[' {
		return i
	}
	if i < len(m.pattern) && m.pattern[i] == '^' {
		i++
	}
	for first := true; first || i < len(m.pattern) && m.pattern[i] != ']'; first = false {
		if i == len(m.pattern) {
			break
		}
		if m.pattern[i] == '%' {
			i++
		}
		i++
	}
	if i >= len(m.pattern) {
		m.fail("malformed pattern (missing ']')")
	}
	return i + 1
}

// single tells whether the character at s is in the class pattern[i:end].
func (m *matcher) single(s, i, end int) bool {
	if s >= len(m.text) {
		return false
	}
	c := m.text[s]
	switch m.pattern[i] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[i+1])
	case '[':
		return m.inSet(c, i, end-1)
	}
	return m.pattern[i] == c
}

// inSet tells whether c is in the set from the bracket at i to the one at end.
func (m *matcher) inSet(c byte, i, end int) bool {
	i++
	wanted := true
	if m.pattern[i] == '^' {
		wanted = false
		i++
	}
	for ; i < end; i++ {
		switch {
		case m.pattern[i] == '%':
			i++
			if inClass(c, m.pattern[i]) {
				return wanted
			}
		case i+2 < end && m.pattern[i+1] == '-':
			if m.pattern[i] <= c && c <= m.pattern[i+2] {
				return wanted
			}
			i += 2
		case m.pattern[i] == c:
			return wanted
		}
	}
	return !wanted
}

// inClass tells whether c is in a class such as %a; %A is what %a is not, and other characters stand for themselves.
func inClass(c, class byte) bool {
	lower := class | 0x20
	letter := 'a' <= c|0x20 && c|0x20 <= 'z'
	digit := '0' <= c && c <= '9'
	var in bool
	switch lower {
	case 'a':
		in = letter
	case 'c':
		in = c < ' ' || c == 0x7F
	case 'd':
		in = digit
	case 'g':
		in = ' ' < c && c < 0x7F
	case 'l':
		in = 'a' <= c && c <= 'z'
	case 'p':
		in = ' ' < c && c < 0x7F && !letter && !digit
	case 's':
		in = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		in = 'A' <= c && c <= 'Z'
	case 'w':
		in = letter || digit
	case 'x':
		in = digit || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	return in != (class < 'a') // an upper-case letter: the others
}
