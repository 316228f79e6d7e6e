package config

import "strings"

// description says what a key is for. What is only accepted for old times' sake says that instead.
func description(path string, s *shape) string {
	switch s.kind {
	case shapeIgnored:
		return "Written by the server; accepted and ignored."
	case shapeRetired:
		return "Has no effect any more."
	default:
		return descriptions[descriptionPath(path)]
	}
}

// descriptionPath is the path under which a key is described: old names and old forms have no descriptions of their own.
func descriptionPath(path string) string {
	if rest, ok := strings.CutPrefix(path, "transforms"); ok {
		path = "functions" + rest
	}
	for _, wrapper := range []string{"functions[].function.", "functions[].transform."} {
		if rest, ok := strings.CutPrefix(path, wrapper); ok {
			path = "functions[]." + rest
		}
	}
	if rest, ok := strings.CutPrefix(path, "http_endpoints[].encrypted_headers[]"); ok {
		path = "http_endpoints[].headers[]" + rest
	}
	if strings.HasSuffix(path, ".file") && path != "functions[].file" {
		return "file"
	}
	return path
}

// descriptions explains every key of a document, by its path.
var descriptions = map[string]string{ //nolint:gosec // it says what a password is, and holds none
	"file": "A file of the server's machine that holds the secret; its last line end is cut off. Only in the file that the server starts with.",

	"account":      "Which account the document is for. Only in the file that the server starts with.",
	"account.name": "Its name; it is made if there is none of that name.",

	"users":            "Who may sign in to the console. A user who exists already stays as he is.",
	"users[].email":    "The e-mail address, which a user is known by.",
	"users[].password": "The password, 8 to 72 characters. Only a hash is stored.",
	"users[].role":     "owner may do everything, editor may change what is declared, viewer may look.",

	"api_tokens":          "Tokens that open the HTTP API.",
	"api_tokens[].name":   "The token's name.",
	"api_tokens[].token":  "The secret itself; one is made when it is left out. At least 16 characters are wise. Only a hash is stored.",
	"api_tokens[].scopes": "What the token may do: admin, read, or consume:<sink>.",

	"databases":                                    "Postgres databases whose changes are captured, each through one slot and one publication.",
	"databases[].name":                             "The name that sinks refer to.",
	"databases[].url":                              "Where the database is, as postgres://user:password@host:5432/database?sslmode=…; instead of the keys one by one.",
	"databases[].hostname":                         "The server's host name or address, or the directory of its unix socket.",
	"databases[].port":                             "The server's port.",
	"databases[].database":                         "The database's name on the server.",
	"databases[].username":                         "The user to connect as; it needs the REPLICATION attribute.",
	"databases[].password":                         "The user's password.",
	"databases[].password_file":                    "A file that is read at each connect; wins over password. Only from the server's own machine.",
	"databases[].password_command":                 "A program and its arguments, run at each connect; the first line that it prints is the password. Only from the server's own machine.",
	"databases[].ssl":                              "The original's switch: true means sslmode require, false means disable.",
	"databases[].sslmode":                          "How the connection is encrypted and the server checked, as in libpq.",
	"databases[].sslrootcert":                      "The certificates of the authorities to trust: PEM text, system for those of the server's system, or a file of the server's machine, which can be named only there.",
	"databases[].sslcert":                          "The client's certificate: PEM text, or a file of the server's machine, which can be named only there.",
	"databases[].sslkey":                           "The client's key: PEM text, which is a secret, or a file of the server's machine, which can be named only there.",
	"databases[].ipv6":                             "Use IPv6 addresses only.",
	"databases[].use_local_tunnel":                 "Of the original's cloud; only false is accepted.",
	"databases[].pool_size":                        "Connections for everything but replication.",
	"databases[].slot":                             "The replication slot.",
	"databases[].slot.name":                        "Its name; up to 63 lower-case letters, digits and underscores.",
	"databases[].slot.create_if_not_exists":        "Create the slot when it is missing.",
	"databases[].slot_name":                        "The old form of slot.name.",
	"databases[].publication":                      "The publication.",
	"databases[].publication.name":                 "Its name.",
	"databases[].publication.create_if_not_exists": "Create the publication when it is missing.",
	"databases[].publication.init_sql":             "The CREATE PUBLICATION statement to use; without it every table is named that it cannot break.",
	"databases[].publication_name":                 "The old form of publication.name.",
	"databases[].primary":                          "The primary of a replica. Not in this version.",
	"databases[].annotations":                      "Copied into the metadata of every message; at most 8192 bytes as JSON.",
	"databases[].await_database":                   "How long to wait for a database that cannot be reached when it is declared first.",
	"databases[].await_database.timeout_ms":        "For how long, in milliseconds.",
	"databases[].await_database.interval_ms":       "How often it is tried, in milliseconds.",
	"databases[].retention":                        "What the change log keeps beyond what consumers need; whichever bound is met first.",
	"databases[].retention.max_age":                "The age of the oldest change, such as 24h or 7d.",
	"databases[].retention.max_size":               "The size of it all, such as 10GiB.",
	"databases[].max_disk":                         "What the change log may take; the smaller of 50GiB and 80 % of the file system by default.",
	"databases[].wal_budget":                       "The WAL that the slot may hold back while the log is full; half of max_slot_wal_keep_size, else 20GiB, by default.",
	"databases[].on_wal_budget":                    "What gives way then: release the sink furthest behind, or wait.",
	"databases[].max_change_bytes":                 "A larger change keeps its place but not its content.",
	"databases[].heartbeat_interval":               "How often a heartbeat is written; 0s for none.",

	"change_retentions":                              "Tables whose changes are kept as rows of another table.",
	"change_retentions[].name":                       "The change retention's name.",
	"change_retentions[].status":                     "Whether it runs.",
	"change_retentions[].source_database":            "The database of the table, by its name here.",
	"change_retentions[].source_table_schema":        "The table's schema.",
	"change_retentions[].source_table_name":          "The table's name.",
	"change_retentions[].destination_database":       "The database where the rows are written, by its name here.",
	"change_retentions[].destination_table_schema":   "The schema of the table where they are written.",
	"change_retentions[].destination_table_name":     "The name of that table.",
	"change_retentions[].actions":                    "Which kinds of change are kept.",
	"change_retentions[].filters":                    "Conditions on columns; a change is kept when all of them hold.",
	"change_retentions[].filters[].column_name":      "The column.",
	"change_retentions[].filters[].field_path":       "The path within a json column, such as type.name.",
	"change_retentions[].filters[].field_type":       "What the value is compared as; the column's type by default.",
	"change_retentions[].filters[].operator":         "How it is compared.",
	"change_retentions[].filters[].comparison_value": "What it is compared with; a list, or a text with commas, for in and not in.",

	"http_endpoints":                     "Where webhooks go. Any number of sinks may share one.",
	"http_endpoints[].name":              "The name that sinks refer to.",
	"http_endpoints[].url":               "The address, http or https.",
	"http_endpoints[].headers":           "Headers of every request, as a mapping or a list of {key, value}.",
	"http_endpoints[].headers[].key":     "The header's name.",
	"http_endpoints[].headers[].value":   "Its value.",
	"http_endpoints[].encrypted_headers": "The same, never shown.",
	"http_endpoints[].signing_secrets":   "One or two Standard Webhooks keys, whsec_ and base64; every request is signed with each.",
	"http_endpoints[].local":             "Of the original's cloud; only false is accepted.",
	"http_endpoints[].webhook.site":      "Of the original; only false is accepted.",
	"http_endpoints[].path":              "Of the original's tunnels; not accepted.",

	"functions":                    "Code and paths that filter, shape and route messages. They can be declared; this version does not attach them to sinks.",
	"functions[].name":             "The name that sinks refer to; not none, null or nil.",
	"functions[].description":      "What it is for.",
	"functions[].type":             "What it does: path takes a part of the message, transform makes another, filter says whether it is wanted, routing where it goes, enrichment adds what a query returns.",
	"functions[].language":         "What the code is written in; found out for the original's code and for enrichments.",
	"functions[].sink_type":        "Of a routing function: the type of sink that it routes for.",
	"functions[].path":             "Of a path function: record, changes, action or metadata, and names with dots between them.",
	"functions[].code":             "The code. Variables are not filled in here.",
	"functions[].database":         "Of an enrichment: the database that the query asks; the sink's own by default.",
	"functions[].replica":          "Of an enrichment: a standby of that database to ask instead.",
	"functions[].replica.hostname": "The standby's host name or address.",
	"functions[].replica.port":     "The standby's port; that of the database by default.",
	"functions[].timeout_ms":       "Of an enrichment: how long one query may take, in milliseconds.",
	"functions[].max_rows":         "Of an enrichment: how many rows the query may return for one batch.",
	"functions[].cache_ttl_ms":     "Of an enrichment: how old an answer may be, in milliseconds; 0 asks for each batch.",
	"functions[].file":             "A file with the code. The command line puts its content into code; the server does not accept it.",
	"functions[].function":         "The old form: the keys of the function one level down.",
	"functions[].transform":        "The old form: the keys of the function one level down.",

	"sinks":                                     "Consumers of changes: which changes, in which form, and where they go.",
	"sinks[].name":                              "The sink's name.",
	"sinks[].database":                          "The database, by its name here. Decided once.",
	"sinks[].status":                            "paused keeps messages and delivers none; disabled does neither.",
	"sinks[].source":                            "Which tables; everything that is published by default.",
	"sinks[].source.include_schemas":            "Only these schemas. An asterisk stands for any characters.",
	"sinks[].source.exclude_schemas":            "Not these schemas.",
	"sinks[].source.include_tables":             "Only these tables, as schema.table; without a schema it is public. An asterisk stands for any characters.",
	"sinks[].source.exclude_tables":             "Not these tables.",
	"sinks[].table":                             "The old form of source.include_tables with one table.",
	"sinks[].schema":                            "The old form of source.include_schemas with one schema.",
	"sinks[].tables":                            "What is different for single tables; selects nothing.",
	"sinks[].tables[].name":                     "The table, as schema.table.",
	"sinks[].tables[].group_column_names":       "The columns whose values make a group; the primary key by default.",
	"sinks[].message_grouping":                  "true: in order per primary key, or per the columns chosen; table: per table; false: in no order.",
	"sinks[].actions":                           "Which kinds of change.",
	"sinks[].destination":                       "Where the messages go.",
	"sinks[].destination.type":                  "The kind of destination.",
	"sinks[].destination.http_endpoint":         "The HTTP endpoint, by its name here.",
	"sinks[].destination.http_endpoint_path":    "Appended to the endpoint's URL; begins with /.",
	"sinks[].destination.batch":                 "Send {\"data\": […]} rather than one bare message.",
	"sinks[].destination.via_sqs":               "Of the original; not in this version.",
	"sinks[].batch_size":                        "Messages in one request, 1 to 1000.",
	"sinks[].batch_timeout_ms":                  "How long a batch may wait to fill, in milliseconds.",
	"sinks[].ack_wait_ms":                       "How long a request may take, and how long a received message is leased, in milliseconds.",
	"sinks[].max_ack_pending":                   "Messages in flight or waiting for a retry.",
	"sinks[].max_waiting":                       "Long polls at once.",
	"sinks[].concurrency":                       "Requests at once; chosen by the size of the machine by default.",
	"sinks[].load_shedding_policy":              "When the log reaches its budget: pause_on_full, or discard_on_full as a recorded gap.",
	"sinks[].ack_commit":                        "When an accepted delivery is recorded: within a window of 10 ms, or each before the next.",
	"sinks[].max_retry_count":                   "Attempts before a message becomes a dead letter; no limit by default.",
	"sinks[].max_deliver":                       "Another name of max_retry_count.",
	"sinks[].timestamp_format":                  "How timestamps are written in record and changes.",
	"sinks[].legacy_transform":                  "record_only sends the row alone.",
	"sinks[].compatibility":                     "Behaviour of the original, brought back.",
	"sinks[].compatibility.unchanged_toast":     "What stands for a TOAST value that Postgres did not send.",
	"sinks[].annotations":                       "Copied into the metadata of every message; at most 8192 bytes as JSON.",
	"sinks[].start":                             "Where a new sink begins: now, or at the beginning of what the log retains.",
	"sinks[].filter":                            "A function of the type filter, by its name: messages for which it returns false are not delivered.",
	"sinks[].transform":                         "A function of the type transform or path, by its name: what it returns is delivered.",
	"sinks[].enrichment":                        "A function of the type enrichment, by its name: what its query returns stands in metadata.enrichment.",
	"sinks[].routing":                           "A function of the type routing, by its name: it says where each message goes.",
	"sinks[].where":                             "A condition in SQL over the columns of the row: only changes for which it is true are wanted.",
	"sinks[].tables[].where":                    "A further condition on the changes of this table.",
	"sinks[].route":                             "Where messages go, by conditions in SQL: the first that is true counts; else as the destination says.",
	"sinks[].route[].where":                     "The condition; the last may go without, for all others.",
	"sinks[].route[].to":                        "What takes the place of the destination's own settings: method, endpoint_path and headers for a webhook.",
	"sinks[].initial_backfill":                  "What a new sink reads first: true for all tables of its source, or a list of tables. A sink that exists is not asked again.",
	"sinks[].initial_backfill[].table":          "A table of the source, schema.table.",
	"sinks[].initial_backfill[].type":           "Whether the whole table is read, or the part from start_position on.",
	"sinks[].initial_backfill[].sort_column":    "The column to read along.",
	"sinks[].initial_backfill[].start_position": "The lowest value of the column that is read.",
}
