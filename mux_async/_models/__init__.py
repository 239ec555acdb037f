"""How the generated classes of `mux_async.models` work: reading JSON lazily, keeping what is unknown, writing it back.

The modules, each importing only those above it:

- `json_reader`: the one reader of JSON text.
- `times`: times as Mux writes them, read and written.
- `plain_values`: values of other libraries in arguments.
- `struct_decoder`: the JSON text of one class of objects, decoded by msgspec.
- `model`: `Model`, the base class, and the way from values to JSON.
- `deferred_attrs`: classes of which attrs makes the constructor when it is first needed.
- `objects`: objects inside objects, for generated code.
- `interop`: pydantic and msgspec.
- `response_decoder`: the body of a response, decoded into what a call returns.

docs/decisions/decoding.md has the reasons and the measurements.
"""
