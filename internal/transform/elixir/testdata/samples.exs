# The messages that the corpus is run on, as functions of the original saw them: times are structs, keys of records are texts.
metadata = fn table, pks ->
  %{
    table_schema: "public",
    table_name: table,
    commit_timestamp: ~U[2026-11-22 10:11:12.345678Z],
    commit_lsn: 25_169_288,
    commit_idx: 3,
    database_name: "shop",
    transaction_annotations: %{"user" => "ann", "roles" => ["admin", "ops"]},
    idempotency_key: "MjUxNjkyODg6MA==",
    record_pks: pks,
    enrichment: nil,
    consumer: %{id: "c1", name: "orders", annotations: %{"team" => "core"}},
    database: %{id: "d1", name: "shop", annotations: %{}, database: "app", hostname: "db.internal"}
  }
end

full = %{
  "id" => 1234,
  "big" => 9_007_199_254_740_993,
  "small" => -7,
  "zero" => 0,
  "price" => 2.0,
  "ratio" => 0.125,
  "tiny" => 0.00002,
  "name" => "  Zoë Müller-SS  ",
  "email" => "Ann.Smith@Example.COM",
  "phone" => "+49 (30) 123-456",
  "status" => "paid",
  "empty" => "",
  "digits" => "0042",
  "emoji" => "👍🏽 e\u0301 🇩🇪🇫🇷 漢字",
  "active" => true,
  "deleted" => false,
  "note" => nil,
  "tags" => ["b", "a", "c", "a"],
  "scores" => [3, 1.0, 2, 10],
  "nothing" => [],
  "inserted_at" => ~N[2026-01-02 03:04:05.123456],
  "updated_at" => ~U[2026-03-04 05:06:07.000008Z],
  "born" => ~D[1999-12-31],
  "address" => %{"city" => "Berlin", "zip" => "10115", "geo" => %{"lat" => 52.5, "lon" => 13}},
  "items" => [
    %{"sku" => "x-1", "qty" => 2, "price" => 9.5, "tags" => ["red"]},
    %{"sku" => "y-2", "qty" => 1, "price" => 100, "tags" => []},
    %{"sku" => "x-3", "qty" => 5, "price" => 0.1, "tags" => ["blue", "red"], "gift" => true}
  ],
  "prefs" => %{"newsletter" => false, "theme" => nil, "count" => 0}
}

sparse = Map.new(full, fn {key, _} -> {key, nil} end) |> Map.merge(%{"id" => 7, "status" => "free", "small" => 9, "name" => "bob", "digits" => "abc"})

other =
  Map.merge(full, %{
    "id" => 99,
    "small" => 7,
    "price" => 19.99,
    "name" => "ÉCOLE straße",
    "status" => "open",
    "active" => false,
    "phone" => "030 99",
    "digits" => "17",
    "tags" => ["z"],
    "scores" => [1, 2, 3],
    "items" => [],
    "address" => nil,
    "email" => "x@y.z"
  })

[
  {"insert", full, nil, metadata.("orders", ["1234"])},
  {"update", full, %{"status" => "open", "price" => 1.0, "note" => "old", "small" => nil}, metadata.("orders", ["1234"])},
  {"update", other, %{}, metadata.("customers", ["99", "x y"])},
  {"delete", sparse, nil, metadata.("orders", ["7"])},
  {"read", other, nil, metadata.("customers", [])}
]
