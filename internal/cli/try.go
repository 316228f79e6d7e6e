package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/server"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

// tryOptions are the flags of sequin functions test.
type tryOptions struct {
	kind, language, sinkType string // of a file
	message                  string
	sink, seq                string
	database, table          string
	last                     int
}

func (a *app) tryCommand() *cobra.Command {
	var o tryOptions
	cmd := &cobra.Command{
		Use: "test NAME|FILE", Short: "Try a function on messages, without delivering anything", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNames(functionKind),
		Long: "Try a function on a message from a file, on a message of a sink, or on the last changes of a table; with none of them on a sample. FILE is the function's\n" +
			"code, in the language of its extension (.js, .lua, .wasm, .ex, .sql): a file is tried on this machine, without a server, unless a sink or a table is asked\n" +
			"for. The exit code is 1 when the function failed on a message.",
		Example: "  sequin functions test shape --database shop --table orders --last 3\n  sequin functions test shape.js --message order.json\n" +
			"  sequin functions test shape --sink orders --seq 4711",
		RunE: func(cmd *cobra.Command, args []string) error { return a.try(cmd, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "type", "", "of a file: transform, filter, routing or enrichment; found out from what it defines")
	f.StringVar(&o.language, "language", "", "of a file, where the extension does not tell")
	f.StringVar(&o.sinkType, "sink-type", "webhook", "of a routing function in a file")
	f.StringVar(&o.message, "message", "", "a `file` with a whole message as JSON; - for the standard input")
	f.StringVar(&o.sink, "sink", "", "take a message of this sink, with --seq")
	f.StringVar(&o.seq, "seq", "", "which message: its seq or ack_id, as sequin messages list shows it")
	f.StringVar(&o.database, "database", "", "take changes of this database, with --table")
	f.StringVar(&o.table, "table", "", "the table, as schema.table")
	f.IntVar(&o.last, "last", 10, "how many of its last changes")
	completeWith(cmd, "type", "transform", "filter", "routing", "enrichment")
	a.outputFlag(cmd)
	return cmd
}

// languages are those of extensions.
var languages = map[string]resource.Language{ //nolint:gochecknoglobals // a table
	".js": resource.LanguageJavaScript, ".mjs": resource.LanguageJavaScript, ".lua": resource.LanguageLua, ".wasm": resource.LanguageGo, ".ex": resource.LanguageElixir,
	".exs": resource.LanguageElixir, ".sql": resource.LanguageSQL,
}

// try tries one function.
func (a *app) try(cmd *cobra.Command, name string, o *tryOptions) error {
	_, missing := os.Stat(name)
	_, known := languages[strings.ToLower(filepath.Ext(name))]
	if missing != nil && !known {
		return a.tryOnServer(cmd, name, o)
	}
	object, err := functionOfFile(name, o)
	if err != nil {
		return err
	}
	if o.sink != "" || o.database != "" || o.table != "" {
		return a.tryOnServer(cmd, object, o)
	}
	return a.tryHere(cmd.Context(), object, o)
}

// functionOfFile is a function as it would be declared.
func functionOfFile(name string, o *tryOptions) (map[string]any, error) {
	code, err := readCode(name)
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	language := resource.Language(o.language)
	if language == "" {
		language = languages[strings.ToLower(filepath.Ext(name))]
	}
	kind := o.kind
	if kind == "" {
		kind = kindOf(language, code)
	}
	object := map[string]any{"name": "test", "type": kind, "language": string(language), "code": string(code)}
	if kind == "routing" {
		object["sink_type"] = o.sinkType
	}
	return object, nil
}

var (
	defines = regexp.MustCompile(`(?m)\b(?:function|def|const|let|var)\s+(transform|filter|route)\b|^\s*(transform|filter|route)\s*=`)
	kinds   = map[string]string{"transform": "transform", "filter": "filter", "route": "routing"} //nolint:gochecknoglobals // a table
)

// kindOf finds out what a file's function is for.
func kindOf(language resource.Language, code []byte) string {
	if language == resource.LanguageSQL {
		return "enrichment"
	}
	if m := defines.FindSubmatch(code); m != nil {
		return kinds[string(m[1])+string(m[2])]
	}
	return "transform"
}

// tryHere tries a function in this program's own sandbox.
func (a *app) tryHere(ctx context.Context, object map[string]any, o *tryOptions) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var f resource.Function
	if _, err := config.UpdateFunction(&f, body, config.BodyOptions{Create: true}); err != nil {
		return &exitError{ExitInvalid, err}
	}
	message := server.SampleMessage
	if o.message != "" {
		if message, err = a.readMessage(ctx, o.message); err != nil {
			return err
		}
	}
	pool := sandbox.New(sandbox.Options{Workers: 1})
	tried, err := server.TryFunction(ctx, pool, &f, [][]byte{message})
	if closed := pool.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	answer, err := json.Marshal(map[string]any{"data": tried})
	if err != nil {
		return err
	}
	return a.showTried(answer)
}

func (a *app) readMessage(ctx context.Context, name string) (json.RawMessage, error) {
	text, err := a.readInput(ctx, name)
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	if !json.Valid(text) {
		return nil, &exitError{ExitInvalid, fmt.Errorf("%s is not JSON", name)}
	}
	return text, nil
}

// tryOnServer has the server try a function that it knows, or that is sent.
func (a *app) tryOnServer(cmd *cobra.Command, function any, o *tryOptions) error {
	return a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		body := map[string]any{"function": function, "last": o.last}
		for key, value := range map[string]string{"sink": o.sink, "seq": o.seq, "database": o.database, "table": o.table} {
			if value != "" {
				body[key] = value
			}
		}
		if o.message != "" {
			message, err := a.readMessage(cmd.Context(), o.message)
			if err != nil {
				return err
			}
			body["message"] = message
		}
		res, err := c.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("api", "functions", "test"), Body: body})
		if err != nil {
			return err
		}
		return a.showTried(res.Body)
	})(cmd, nil)
}

// showTried prints what became of each message.
func (a *app) showTried(answer []byte) error {
	var reply struct{ Data []api.Tried }
	if err := json.Unmarshal(answer, &reply); err != nil {
		return noAnswer("JSON")
	}
	err := a.answer(answer, func() error {
		t := &table{head: []string{"", "ACTION", "TABLE", "OUTPUT"}}
		for i := range reply.Data {
			tried := &reply.Data[i]
			var input struct {
				Action   string
				Metadata struct {
					Schema string `json:"table_schema"`
					Table  string `json:"table_name"`
				}
			}
			_ = json.Unmarshal(tried.Input, &input) // a message of the user's own may lack them
			output := string(tried.Output)
			if e := tried.Error; e != nil {
				output = "error: " + e.Text()
			}
			t.add(strconv.Itoa(i+1), input.Action, strings.TrimPrefix(input.Metadata.Schema+"."+input.Metadata.Table, "."), output)
		}
		return a.printTable(t)
	})
	if err != nil {
		return err
	}
	failed := 0
	for i := range reply.Data {
		if reply.Data[i].Error != nil {
			failed++
		}
	}
	if failed > 0 {
		return &exitError{ExitError, fmt.Errorf("the function failed on %d of %d messages", failed, len(reply.Data))}
	}
	return nil
}
