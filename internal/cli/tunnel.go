package cli

import (
	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// newTunnel refuses what the original offered, with the reason.
func newTunnel() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tunnel", Short: "Not offered any more; tells what to do instead", Args: cobra.ArbitraryArgs, Hidden: true,
		Long: "The original connected local databases and endpoints to its cloud through a tunnel. The cloud is closed, and Sequin runs beside what it reads and\n" +
			"writes, so nothing needs a tunnel.",
		RunE: func(*cobra.Command, []string) error {
			return problem.New(resource.CodeRetired, "there is no tunnel any more").
				WithDetail("it connected this machine to the original's cloud, which is closed").
				WithHint("Sequin runs on your own machines: declare the database or endpoint with an address that the server can reach, such as localhost")
		},
	}
	cmd.Flags().String("ports", "", "taken and ignored: `port:name`,…")
	return cmd
}
