package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxPage is the most that one page of a list has.
const maxPage = 1000

// page is what limit and after choose of a list.
type page struct {
	limit int // 0: everything, as the original's lists do
	after string
}

func pageOf(p *params) (page, error) {
	limit, found, err := p.integer("limit", 1, maxPage)
	if err != nil {
		return page{}, err
	}
	after, given := p.find("after")
	if given && !after.scalar {
		return page{}, badParameter("after", "is %s; expected the next of the page before", after.shown)
	}
	if given && !found {
		limit = maxPage
	}
	return page{limit: limit, after: after.text}, nil
}

// cut returns the page of a list, and the key after which the next one begins. Every list is in the order of its keys, which are unique.
func cut[T any](all []T, key func(T) string, p page) (shown []T, next *string) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if p.after != "" {
		at, found := slices.BinarySearchFunc(all, p.after, func(x T, after string) int { return strings.Compare(key(x), after) })
		if found {
			at++
		}
		all = all[at:]
	}
	if p.limit == 0 || len(all) <= p.limit {
		return all, nil
	}
	last := key(all[p.limit-1])
	return all[:p.limit], &last
}

// list answers with forms as {"data":[…]}; next is there only if pages were asked for.
func (a *API) list(w http.ResponseWriter, p page, next *string, forms [][]byte) error {
	buf := getBuffer()
	defer putBuffer(buf)
	b := append(*buf, `{"data":[`...)
	for i, form := range forms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, form...)
	}
	b = append(b, ']')
	if p.limit > 0 {
		b = append(b, `,"next":`...)
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		b = append(b, text...)
	}
	b = append(b, '}')
	*buf = b
	a.write(w, http.StatusOK, b)
	return nil
}

// before reads the cursor of lists whose newest come first: a number, or 0 for the end.
func (p *params) before() (uint64, error) {
	v, ok := p.find("before")
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(v.text, 10, 64)
	if !v.scalar || err != nil || n == 0 {
		return 0, badParameter("before", "is %s; expected a number", v.shown)
	}
	return n, nil
}

// newestFirst reads limit and before.
func (p *params) newestFirst() (limit int, before uint64, err error) {
	const usual = 50
	limit, found, err := p.integer("limit", 1, maxPage)
	if err != nil {
		return 0, 0, err
	}
	if !found {
		limit = usual
	}
	before, err = p.before()
	return limit, before, err
}
