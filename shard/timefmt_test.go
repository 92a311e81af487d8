package shard

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimeIsRFC3339(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000Z"
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(ms int64) {
		require.Equal(t, time.UnixMilli(ms).UTC().Format(layout), string(appendTime(nil, ms)), "%d", ms)
	}
	for _, ms := range []int64{0, 1, 951782399999, 951782400000, 951868800000, 1709164800000, 4107542400000, maxTimeMs} {
		check(ms)
	}
	for day := int64(0); day < 200*366; day++ {
		check(day*86_400_000 + rng.Int64N(86_400_000))
	}
	for range 20_000 {
		check(rng.Int64N(maxTimeMs + 1))
	}
	require.Equal(t, "1970-01-01T00:00:00.000Z", string(appendTime(nil, math.MinInt64)))
	require.Equal(t, "9999-12-31T23:59:59.999Z", string(appendTime(nil, math.MaxInt64)))
}
