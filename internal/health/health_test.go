package health_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/health"
)

func TestWorst(t *testing.T) {
	t.Parallel()
	warning, failure := health.Issue{Severity: health.Warning}, health.Issue{Severity: health.Error}
	for name, test := range map[string]struct {
		base   health.Status
		issues []health.Issue
		want   health.Status
	}{
		"nothing":                       {health.OK, nil, health.OK},
		"a warning":                     {health.OK, []health.Issue{warning}, health.Warning},
		"an error after a warning":      {health.OK, []health.Issue{warning, failure}, health.Error},
		"an error before a warning":     {health.OK, []health.Issue{failure, warning}, health.Error},
		"paused, with a warning":        {health.Paused, []health.Issue{warning}, health.Warning},
		"starting":                      {health.Initializing, nil, health.Initializing},
		"starting does not yet deliver": {health.Initializing, []health.Issue{warning}, health.Initializing},
		"failing to start":              {health.Initializing, []health.Issue{warning, failure}, health.Error},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, health.Worst(test.base, test.issues))
		})
	}
}
