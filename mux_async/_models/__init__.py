"""How the generated classes of `mux_async.models` work.

A response is decoded once by msgspec, which checks that it is JSON, finds the objects in it and skips their text. A received model holds
the text of its object until an attribute is first used (`model.materialize`). Then:

1. The `StructDecoder` of its class decodes the text into a msgspec struct of the expected fields. Text that does not fit is decoded as a
   dictionary, which takes anything, and the decoder is rebuilt to include what it refused.
2. Values are converted: nested objects become models that hold their own text, times become ``datetime``.
3. Every value is stored in its slot, and after all of them the `WireState`: unknown fields, and the overrides (what stands on the wire
   where a field's value would not give it back). A slot is empty or final, so threads need no lock, and no object changes its class.

All of this is computed from one table for each class (`FieldTable`), which codegen writes: the decoder, the slots, the way back to JSON,
and the JSON schema. A program's subclass with fields of its own gets a table that has them too.

The modules, each importing only those above it:

- `fields`: the table of fields of a class.
- `times`: times as Mux writes them, read and written.
- `json_reader`: the one reader of JSON text.
- `plain_values`: values of other libraries in arguments.
- `serialization`: from values to what JSON can hold.
- `struct_decoder`: the JSON text of one class of objects, decoded by msgspec.
- `interop`: pydantic and msgspec.
- `model`: `Model`, the base class.
- `variants`: objects of one of several classes.
- `deferred_attrs`: classes of which attrs makes the constructor on first use.
- `response_decoder`: the body of a response, decoded into what a call returns.
- `cattrs_converter`: models inside the classes of programs that build on cattrs.

docs/decisions/decoding.md has the reasons and the measurements.
"""
