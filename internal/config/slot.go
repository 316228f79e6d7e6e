package config

import (
	"github.com/sequinstream/sequin/internal/resource"
)

// slotAndPublication reads through which slot and which publication the database is read: nested, in the old flat form, or as the API's list
// of one slot. Another slot can be chosen
// in place: that is how a database goes on whose slot was lost.
func (f *fields) slotAndPublication(db, stored *resource.Database) {
	slot, publication := db.Slot.Name, db.Publication.Name
	f.slot(&db.Slot)
	f.publication(&db.Publication)
	nestedSlot, nestedPublication := db.Slot.Name, db.Publication.Name
	switch {
	case f.d.body && f.replicationSlots(db):
		f.contradiction("slot.name", nestedSlot, slot, db.Slot.Name)
		f.contradiction("publication.name", nestedPublication, publication, db.Publication.Name)
	case stored != nil && slot != db.Slot.Name:
		f.d.warn(f.at("slot.name"), f.d.locate(f.at("slot.name")), "was %s: the change log goes on with what the other slot holds, and what lies between the two is a recorded gap", slot)
	}
}

// contradiction refuses a name that differs from the one in replication_slots and is not just sent back.
func (f *fields) contradiction(key, nested, before, now string) {
	if nested != before && nested != now {
		f.d.mistake(f.at(key), f.d.locate(f.at(key)), resource.CodeConflict, "is %q, and replication_slots says %q; give one of them", nested, now)
	}
}

// fixed refuses another value than the stored one.
func (f *fields) fixed(key, now, before string) {
	if now == before {
		return
	}
	f.d.mistake(f.at(key), f.d.locate(f.at(key)), resource.CodeFixed, "cannot become %q: it is %q, and what was read so far belongs to that", now, before).
		Hint = "declare it anew under another name, and delete the old one"
}

func (f *fields) slot(s *resource.Slot) {
	sub, nested := f.section("slot")
	if nested {
		sub.text("name", &s.Name, "")
		sub.boolean("create_if_not_exists", &s.CreateIfNotExists, false)
		sub.ignore("id", "status")
		sub.close()
	}
	f.flat("slot_name", "slot", nested, &s.Name)
}

func (f *fields) publication(p *resource.Publication) {
	sub, nested := f.section("publication")
	if nested {
		sub.text("name", &p.Name, "")
		sub.boolean("create_if_not_exists", &p.CreateIfNotExists, false)
		sub.text("init_sql", &p.InitSQL, "")
		sub.ignore("id")
		sub.close()
	}
	f.flat("publication_name", "publication", nested, &p.Name)
}

// flat reads the old form of a nested name; both together contradict each other.
func (f *fields) flat(key, section string, nested bool, dst *string) {
	if n, ok := f.find(key); ok && nested {
		f.mistake(key, n, resource.CodeConflict, "is the old form of %s.name; give one of them", section)
		return
	}
	if f.text(key, dst, *dst) {
		f.alias(key, section+".name")
	}
}

// replicationSlots reads the API's list: one slot, on an update with the id that says which. It tells whether there is one.
func (f *fields) replicationSlots(db *resource.Database) bool {
	const key = "replication_slots"
	n, ok := f.find(key)
	if !ok {
		return false
	}
	if n.kind != sequence {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected a list", n.describe())
		return false
	}
	if len(n.items) == 0 && f.updating {
		return false
	}
	if len(n.items) != 1 {
		f.mistake(key, n, resource.CodeInvalid, "has %d items; a database is read through exactly one slot", len(n.items))
		f.silence([]string{"slot", "publication"})
		return true
	}
	s := f.d.fields(f.at(key), n.items[0])
	s.updating = f.updating
	s.checkSlotID(db)
	s.text("slot_name", &db.Slot.Name, db.Slot.Name)
	s.text("publication_name", &db.Publication.Name, db.Publication.Name)
	status := ""
	if s.text("status", &status, "") && f.updating && status != "active" {
		m, _ := s.find("status")
		code, why := resource.CodeInvalid, "accepted: active"
		if status == "disabled" {
			code, why = resource.CodeUnavailable, "this version reads every slot that is declared; pause the sinks, or delete the database"
		}
		s.mistake("status", m, code, "is %q; %s", status, why)
	}
	s.ignore("inserted_at", "updated_at")
	s.close()
	for inner, outer := range map[string]string{"slot.name": "slot_name", "publication.name": "publication_name"} {
		f.d.renamed[f.at(inner)] = s.at(outer)
		f.d.places[f.at(inner)] = f.d.locate(s.at(outer))
	}
	return true
}

// checkSlotID checks that an update means the slot that there is.
func (f *fields) checkSlotID(db *resource.Database) {
	var id string
	given := f.text("id", &id, "")
	switch {
	case !f.updating:
	case !given:
		f.d.mistake(f.at("id"), f.n.at, resource.CodeMissing, "is required: it says which slot is meant")
	case db.ID != "" && id != db.SlotID():
		n, _ := f.find("id")
		f.mistake("id", n, resource.CodeInvalid, "is not the id of this database's slot, which is %s", db.SlotID())
	}
}
