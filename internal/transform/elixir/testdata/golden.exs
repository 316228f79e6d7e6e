# Evaluates the corpus with Elixir itself and writes what comes out: make golden-elixir. Go's tests compare the converted functions with that.
defmodule Text do
  # JSON as the original wrote it: floats keep their fraction, dates and times are ISO 8601, keys that are atoms and texts are the same.
  def json(nil), do: "null"
  def json(b) when is_boolean(b), do: to_string(b)
  def json(n) when is_number(n), do: to_string(n)
  def json(a) when is_atom(a), do: json(to_string(a))
  def json(s) when is_binary(s), do: if(String.valid?(s), do: [?", s |> to_charlist() |> Enum.map(&char/1), ?"] |> IO.iodata_to_binary(), else: raise("no text"))
  def json(%DateTime{} = t), do: json(DateTime.to_iso8601(t))
  def json(%NaiveDateTime{} = t), do: json(NaiveDateTime.to_iso8601(t))
  def json(%Date{} = d), do: json(Date.to_iso8601(d))
  def json(l) when is_list(l), do: "[" <> Enum.map_join(l, ",", &json/1) <> "]"
  def json(%{} = m), do: "{" <> (m |> Enum.sort() |> Enum.map_join(",", fn {k, v} -> json(if(is_atom(k), do: Atom.to_string(k), else: k)) <> ":" <> json(v) end)) <> "}"

  defp char(c) when c in [?", ?\\], do: <<?\\, c>>
  defp char(c) when c < 32, do: "\\u" <> String.pad_leading(Integer.to_string(c, 16), 4, "0")
  defp char(c), do: <<c::utf8>>
end

directory = Path.dirname(__ENV__.file)
{samples, _} = Code.eval_file(Path.join(directory, "samples.exs"))
["" | parts] = Regex.split(~r/^-- (\S+) --\n/m, File.read!(Path.join(directory, "corpus.txtar")), include_captures: true, trim: false) |> Enum.drop(1) |> then(&["" | &1])
Code.put_compiler_option(:ignore_module_conflict, true)

results =
  for [head, code] <- Enum.chunk_every(parts, 2) do
    [_, name] = Regex.run(~r/^-- (\S+) --/, head)
    module = Module.concat(Corpus, Macro.camelize(String.replace(name, "-", "_")))
    Code.compile_string("defmodule #{inspect(module)} do\n#{code}\nend", name)
    entry = Enum.find([:transform, :filter, :route], &function_exported?(module, &1, 4))

    outputs =
      for {action, record, changes, metadata} <- samples do
        try do
          ~s({"value":) <> Text.json(apply(module, entry, [action, record, changes, metadata])) <> "}"
        rescue
          e -> ~s({"error":) <> Text.json(inspect(e.__struct__)) <> "}"
        end
      end

    "  " <> Text.json(name) <> ": [\n    " <> Enum.join(outputs, ",\n    ") <> "\n  ]"
  end

messages =
  for {action, record, changes, metadata} <- samples do
    "  " <> Text.json(%{action: action, record: record, changes: changes, metadata: metadata})
  end

File.write!(Path.join(directory, "messages.json"), "[\n" <> Enum.join(messages, ",\n") <> "\n]\n")
File.write!(Path.join(directory, "corpus.golden.json"), "{\n" <> Enum.join(results, ",\n") <> "\n}\n")
