package auth_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
)

func TestThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		th := auth.NewThrottle(3, time.Minute)
		for range 3 {
			require.NoError(t, th.Allow("192.0.2.1:1000", "ada@example.com"))
			th.Failed("192.0.2.1:1000", "ada@example.com")
		}
		require.Equal(t, auth.CodeThrottled, problem.Code(th.Allow("192.0.2.1:2000", "bob@example.com")), "the address, whatever its port")
		require.Error(t, th.Allow("192.0.2.2:1", "ADA@example.com"), "the subject, from elsewhere and in capitals")
		require.NoError(t, th.Allow("192.0.2.2:1", "bob@example.com"), "somebody else, from elsewhere")
		var throttled *auth.ThrottledError
		require.ErrorAs(t, th.Allow("192.0.2.1:1", ""), &throttled)
		require.Equal(t, time.Minute, throttled.After)

		th.Succeeded("Ada@example.com")
		require.NoError(t, th.Allow("192.0.2.2:1", "ada@example.com"))
		require.Error(t, th.Allow("192.0.2.1:1", "ada@example.com"), "the address is still counted")
		time.Sleep(time.Minute + time.Second)
		require.NoError(t, th.Allow("192.0.2.1:1", "ada@example.com"))
		th.Failed("192.0.2.1:1", "")
		require.NoError(t, th.Allow("192.0.2.1:1", ""), "counting begins anew")
	})
}

func TestThrottleCountsNetworksOfIPv6(t *testing.T) {
	t.Parallel()
	th := auth.NewThrottle(1, time.Minute)
	th.Failed("[2001:db8::1]:1", "")
	require.Error(t, th.Allow("[2001:db8::ffff]:1", ""))
	require.NoError(t, th.Allow("[2001:db8:1::1]:1", ""))
}

func TestThrottleIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		th := auth.NewThrottle(1, time.Hour)
		for i := range 12_000 {
			th.Failed(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "")
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, th.Allow("10.0.0.0:1", ""), "the first is forgotten")
		require.Error(t, th.Allow("10.0.46.223:1", ""), "the last is not")
	})
}
