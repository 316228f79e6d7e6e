package message

// appendInt appends an integer with all its digits.
func appendInt(dst, text []byte) ([]byte, bool) {
	n, integral := scanNumber(text)
	if n != len(text) || !integral {
		return dst, false
	}
	return append(dst, text...), true
}

// appendFloat appends a float as Postgres prints it; one without point and exponent gets ".0", so that a float stays one in languages that
// tell them apart. NaN and the infinities are for the caller to write as strings.
func appendFloat(dst, text []byte) ([]byte, bool) {
	n, integral := scanNumber(text)
	if n == 0 || n != len(text) {
		return dst, false
	}
	dst = append(dst, text...)
	if integral {
		dst = append(dst, ".0"...)
	}
	return dst, true
}

// appendVector appends a pgvector value, "[1,2.5,-3e-05]", as an array of numbers.
func appendVector(dst, text []byte) ([]byte, bool) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return dst, false
	}
	rest := text[1:]
	for len(text) > len("[]") {
		n, _ := scanNumber(rest) // which ends before the closing bracket
		if n == 0 {
			return dst, false
		}
		if n == len(rest)-1 {
			break
		}
		if rest[n] != ',' {
			return dst, false
		}
		rest = rest[n+1:]
	}
	return append(dst, text...), true
}

// scanNumber is the length of the JSON number that b begins with, 0 for none, and whether it has neither fraction nor exponent.
func scanNumber(b []byte) (n int, integral bool) {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	d := digits(b[i:])
	if d == 0 || d > 1 && b[i] == '0' {
		return 0, false
	}
	i += d
	integral = true
	if i < len(b) && b[i] == '.' {
		d := digits(b[i+1:])
		if d == 0 {
			return 0, false
		}
		i += 1 + d
		integral = false
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		j := i + 1
		if j < len(b) && (b[j] == '+' || b[j] == '-') {
			j++
		}
		d := digits(b[j:])
		if d == 0 {
			return 0, false
		}
		i = j + d
		integral = false
	}
	return i, integral
}

// digits is the number of decimal digits that b begins with.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}
