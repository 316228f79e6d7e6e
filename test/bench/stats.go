package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// sample is the same measurement over several rounds.
type sample []float64

func (s sample) sorted() sample { return slices.Sorted(slices.Values(s)) }

// median of an even number of values is the mean of the two in the middle.
func (s sample) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	o := s.sorted()
	return (o[(len(o)-1)/2] + o[len(o)/2]) / 2
}

// spread renders the median with the smallest and the largest value.
func (s sample) spread(digits int) string {
	if len(s) == 0 {
		return "-"
	}
	f := func(v float64) string { return number(v, digits) }
	if len(s) == 1 {
		return f(s[0])
	}
	return fmt.Sprintf("%s (%s-%s)", f(s.median()), f(slices.Min(s)), f(slices.Max(s)))
}

// ratios divides pair by pair.
func ratios(a, b sample) sample {
	var all sample
	for i := range min(len(a), len(b)) {
		all = append(all, a[i]/b[i])
	}
	return all
}

// quantile of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// number renders a value with so many digits after the point and commas between the thousands.
func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	point := len(text)
	if digits > 0 {
		point -= digits + 1
	}
	for i := point - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
