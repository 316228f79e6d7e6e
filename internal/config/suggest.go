package config

import "strings"

// suggest finds the known word that was probably meant, or "".
func suggest(word string, known []string) string {
	best, distance := "", max(1, min(3, len(word)/3))+1
	word = strings.ToLower(strings.ReplaceAll(word, "-", "_"))
	for _, k := range known {
		if n := editDistance(word, k, distance); n < distance {
			best, distance = k, n
		}
	}
	return best
}

// editDistance counts the letters to insert, remove, replace or swap with a neighbour; it gives up at limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
