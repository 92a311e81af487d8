package shard

// maxTimeMs is 9999-12-31T23:59:59.999Z, the last time RFC 3339 can write.
const maxTimeMs = 253402300799999

const timeLen = len("2025-01-24T12:00:15.120Z")

// appendTime appends ms (Unix, 0 to maxTimeMs) as RFC 3339 in UTC with milliseconds. It runs for every
// append, so it is written out: the days-to-date step is H. Hinnant's civil_from_days
// (https://howardhinnant.github.io/date_algorithms.html) for days >= 1970.
func appendTime(dst []byte, ms int64) []byte {
	ms = min(max(ms, 0), maxTimeMs)
	days := uint32(ms / 86_400_000)
	rest := uint32(ms % 86_400_000)

	z := days + 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	year := yoe + era*400
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := doy - (153*mp+2)/5 + 1
	month := mp + 3
	if month > 12 {
		month -= 12
		year++
	}

	var b [timeLen]byte
	digits(b[0:4], year)
	b[4] = '-'
	digits(b[5:7], month)
	b[7] = '-'
	digits(b[8:10], day)
	b[10] = 'T'
	digits(b[11:13], rest/3_600_000)
	b[13] = ':'
	digits(b[14:16], rest/60_000%60)
	b[16] = ':'
	digits(b[17:19], rest/1000%60)
	b[19] = '.'
	digits(b[20:23], rest%1000)
	b[23] = 'Z'
	return append(dst, b[:]...)
}

func digits(b []byte, n uint32) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}
