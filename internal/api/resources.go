package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/resource"
)

// kind is how one kind of resource is shown and changed: the routes of all kinds differ in nothing else.
type kind[T any] struct {
	name    string // control's word
	entity  entity
	section string // of a set: where its mistakes are
	base    string // of its routes
	created int    // status of a POST
	lenient bool   // unknown keys are ignored
	looked  bool   // the handler itself has looked at the source

	of     func(*resource.Set) *[]T
	meta   func(*T) (name *string, m *resource.Meta)
	update func(*T, []byte, config.BodyOptions) ([]config.Warning, error)
	form   func(*T, config.FormOptions) []byte

	refs    map[string]entity                             // paths that name something else, which is a 404 if it is missing
	users   func(set *resource.Set, name string) []string // what depends on it
	inUse   func(name string, users []string) error       // refuses to delete it then
	running func(a *API, r *request) func(x *T) []member  // what only a reply to GET has
	always  func(a *API, x *T) []member                   // what replies have beside what is declared
	deleted func(id string) []byte
}

// routes are those that every kind has.
func (k *kind[T]) routes(a *API) []entry {
	bind := func(f func(*API, http.ResponseWriter, *request) error) func(http.ResponseWriter, *request) error {
		return func(w http.ResponseWriter, r *request) error { return f(a, w, r) }
	}
	one := k.base + "/{id_or_name}"
	return guarded([]route{
		{http.MethodGet, k.base, bind(k.list)},
		{http.MethodPost, k.base, bind(k.create)},
		{http.MethodGet, one, bind(k.show)},
		{http.MethodPut, one, bind(k.change)},
		{http.MethodPatch, one, bind(k.change)},
		{http.MethodDelete, one, bind(k.remove)},
	})
}

// what is the line of a change in the list of revisions.
func (k *kind[T]) what(action, name string) string {
	return strings.TrimSpace(action + " " + k.name + " " + clip(name))
}

func (k *kind[T]) nameOf(x *T) string {
	name, _ := k.meta(x)
	return *name
}

// find is the place of a resource in a set: a version 4 UUID is an id, anything else a name.
func (k *kind[T]) find(set *resource.Set, idOrName string) (int, error) {
	byID := isUUIDv4(idOrName)
	id := strings.ToLower(idOrName)
	i := slices.IndexFunc(*k.of(set), func(x T) bool {
		name, meta := k.meta(&x)
		return byID && meta.ID == id || !byID && *name == idOrName
	})
	if i < 0 {
		return 0, k.entity.missing()
	}
	return i, nil
}

// current finds the resource in the path, as it is declared now.
func (k *kind[T]) current(a *API, r *request) (*T, error) {
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return nil, err
	}
	i, err := k.find(set, r.PathValue("id_or_name"))
	if err != nil {
		return nil, err
	}
	return &(*k.of(set))[i], nil
}

func (k *kind[T]) list(a *API, w http.ResponseWriter, r *request) error {
	p, err := pageOf(&r.params)
	if err != nil {
		return err
	}
	shown, err := r.clear()
	if err != nil {
		return err
	}
	set, _, err := a.control.Current(r.identity.Account)
	if err != nil {
		return err
	}
	all := make([]*T, len(*k.of(set)))
	for i := range all {
		all[i] = &(*k.of(set))[i]
	}
	all, next := cut(all, k.nameOf, p)
	form := k.shown(a, r, shown)
	forms := make([][]byte, len(all))
	for i, x := range all {
		forms[i] = form(x)
	}
	if shown {
		a.noteReveal(r, k.name, "")
	}
	return a.list(w, p, next, forms)
}

// shown makes the form in a reply to GET.
func (k *kind[T]) shown(a *API, r *request, inClear bool) func(x *T) []byte {
	o := config.FormOptions{API: true, Clear: inClear}
	if k.running == nil {
		return func(x *T) []byte { return k.formOf(a, x, o) }
	}
	more := k.running(a, r)
	return func(x *T) []byte { return withKeys(k.formOf(a, x, o), more(x)...) }
}

// formOf is the form in every reply.
func (k *kind[T]) formOf(a *API, x *T, o config.FormOptions) []byte {
	if k.always == nil {
		return k.form(x, o)
	}
	return withKeys(k.form(x, o), k.always(a, x)...)
}

func (k *kind[T]) show(a *API, w http.ResponseWriter, r *request) error {
	shown, err := r.clear()
	if err != nil {
		return err
	}
	x, err := k.current(a, r)
	if err != nil {
		return err
	}
	if shown {
		a.noteReveal(r, k.name, k.nameOf(x))
	}
	a.write(w, http.StatusOK, k.shown(a, r, shown)(x))
	return nil
}

// noteReveal notes who saw secrets in clear.
func (a *API) noteReveal(r *request, kind, name string) {
	a.control.Audit(r.Context(), r.identity.Account, control.Entry{Actor: r.actor(), Action: "reveal", ResourceType: kind, Resource: name})
}

// changed is what became of a POST, PUT or PATCH.
type changed struct {
	place    int
	name     string
	warnings []string
}

func (c *changed) warn(found []config.Warning) {
	for _, w := range found {
		c.warnings = append(c.warnings, strings.TrimPrefix(w.Path+" "+w.Message, " "))
	}
}

func (k *kind[T]) create(a *API, w http.ResponseWriter, r *request) error {
	body := r.declaration()
	var c changed
	name, _ := r.params.find("name")
	return k.apply(a, w, r, k.created, &c, k.what("create", name.text), func(set *resource.Set) error {
		all := k.of(set)
		c = changed{place: len(*all)}
		var x T
		found, err := k.update(&x, body, config.BodyOptions{Create: true, IgnoreUnknown: k.lenient, Local: r.identity.Local})
		if err != nil {
			return err
		}
		c.warn(found)
		if c.name = k.nameOf(&x); k.taken(set, c.name, -1) {
			return errTaken()
		}
		*all = append(*all, x)
		return nil
	})
}

// taken tells whether another resource has the name.
func (k *kind[T]) taken(set *resource.Set, name string, but int) bool {
	all := *k.of(set)
	for i := range all {
		if i != but && k.nameOf(&all[i]) == name {
			return true
		}
	}
	return false
}

func (k *kind[T]) change(a *API, w http.ResponseWriter, r *request) error {
	body := r.declaration()
	var c changed
	return k.apply(a, w, r, http.StatusOK, &c, k.what("update", r.PathValue("id_or_name")), func(set *resource.Set) error {
		i, err := k.find(set, r.PathValue("id_or_name"))
		if err != nil {
			return err
		}
		c = changed{place: i}
		x := &(*k.of(set))[i]
		was := k.nameOf(x)
		found, err := k.update(x, body, config.BodyOptions{IgnoreUnknown: k.lenient, Local: r.identity.Local})
		if err != nil {
			return err
		}
		c.warn(found)
		c.name = k.nameOf(x)
		if c.name != was && k.taken(set, c.name, i) {
			return errTaken()
		}
		return nil
	})
}

// apply makes a change and answers with what the resource is then.
func (k *kind[T]) apply(a *API, w http.ResponseWriter, r *request, status int, c *changed, what string, edit func(*resource.Set) error) error {
	result, err := a.control.Apply(r.Context(), r.identity.Account, control.Edit{
		Actor: r.actor(), What: what, CheckSource: !k.looked, Await: r.params.has("await_database"), Change: edit,
	})
	if err != nil {
		return k.refused(err, c.place)
	}
	all := *k.of(result.Set)
	i := slices.IndexFunc(all, func(x T) bool { return k.nameOf(&x) == c.name })
	if i < 0 {
		return errInternal()
	}
	form := k.formOf(a, &all[i], config.FormOptions{API: true})
	if c.warnings = append(c.warnings, result.Warnings...); len(c.warnings) > 0 {
		form = withKeys(form, member{"warnings", c.warnings})
	}
	a.write(w, status, form)
	return nil
}

// refused renders why a change was not made, as the fault of the one resource that the request is about.
func (k *kind[T]) refused(err error, place int) error {
	err = ofResource(err, fmt.Sprintf("%s[%d]", k.section, place))
	return sourceTrouble(missingReference(err, k.refs), http.StatusUnprocessableEntity)
}

func (k *kind[T]) remove(a *API, w http.ResponseWriter, r *request) error {
	id, err := k.delete(a, r, r.PathValue("id_or_name"))
	if err != nil {
		return err
	}
	a.write(w, http.StatusOK, k.deleted(id))
	return nil
}

func (k *kind[T]) delete(a *API, r *request, idOrName string) (id string, err error) {
	_, err = a.control.Apply(r.Context(), r.identity.Account, control.Edit{
		Actor: r.actor(), What: k.what("delete", idOrName),
		Change: func(set *resource.Set) error {
			all := k.of(set)
			i, err := k.find(set, idOrName)
			if err != nil {
				return err
			}
			name, meta := k.meta(&(*all)[i])
			id = meta.ID
			if k.users != nil {
				if users := k.users(set, *name); len(users) > 0 {
					return k.inUse(*name, users)
				}
			}
			*all = slices.Delete(*all, i, i+1)
			return nil
		},
	})
	return id, err
}

// deletedID is the reply to most deletions.
func deletedID(id string) []byte { return []byte(`{"id":"` + id + `","deleted":true}`) }

// successID is the reply to the deletion of a database.
func successID(id string) []byte { return []byte(`{"success":true,"id":"` + id + `"}`) }
