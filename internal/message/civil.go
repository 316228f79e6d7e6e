package message

const (
	daysToEpoch = 719162 // from 0001-01-01 to 1970-01-01
	daysPerEra  = 146097 // 400 years
)

// daysFromCivil is the number of days from 1970-01-01 to a date of the Gregorian calendar, year 1 or later. It counts years from March, so that
// the leap day is a year's last.
func daysFromCivil(year, month, day int) int {
	if month <= 2 {
		year--
	}
	era, yearOfEra := year/400, year%400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*daysPerEra + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - daysToEpoch - 306
}

// civilFromDays is the inverse of daysFromCivil.
func civilFromDays(days int) (year, month, day int) {
	days += daysToEpoch + 306
	era, dayOfEra := days/daysPerEra, days%daysPerEra
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	fromMarch := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*fromMarch+2)/5 + 1
	month = (fromMarch+2)%12 + 1
	year = era*400 + yearOfEra
	if month <= 2 {
		year++
	}
	return year, month, day
}
