"""The command: ``python -m codegen [--check]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen import _api, _events, _facts, _models, _output, _overlays, _params, _reading, _resources, _spec
from codegen._facts import GeneratorError


def load_api(facts: Path = _facts.FACTS, overlays: Path = _overlays.OVERLAYS) -> _api.Api:
    """Read facts and overlays."""
    document = _facts.load(facts)
    overlay = _overlays.load(overlays)
    _overlays.correct(document, overlay.corrections)
    _overlays.add_errors(document, overlay.errors)
    return _reading.build(document, overlay)


def generate(api: _api.Api) -> dict[str, str]:
    """Return every file, formatted, by its path below the repository."""
    python = _output.formatted({**_models.write(api), **_params.write(api), **_resources.write(api), **_events.write(api)})
    return dict(sorted({**python, **_spec.write(api.document)}.items()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 when ``--check`` found drift, 2 when the input does not fit together."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["refresh"]:
        from codegen.refresh import _command

        return _command.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m codegen",
        description="Write mux_async/models, mux_async/params.py, mux_async/resources, mux_async/webhooks/events.py and "
        "mux_async/emulator/validation/spec.json "
        "from facts and overlays.",
        epilog="python -m codegen refresh FILE compares the facts with the description that Mux publishes; see its --help.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when what is stored is not what would be written"
    )
    options = parser.parse_args(arguments)
    try:
        api = load_api()
        files = generate(api)
    except GeneratorError as error:
        print(f"codegen: {error}", file=sys.stderr)
        return 2
    for name in (method.id for method in api.methods if "summary" not in api.words.operations.get(method.id, {})):
        print(f"codegen: no summary for {name}", file=sys.stderr)
    if options.check:
        drift = _output.compare(files)
        if drift:
            print(drift.summary())
            print(
                "codegen: what is stored is not what would be written; run `python -m codegen` and commit the result",
                file=sys.stderr,
            )
            return 1
        print(f"{len(files)} files are as generated")
        return 0
    drift = _output.store(files)
    print(f"{len(files)} files: {len(drift.missing)} new, {len(drift.changed)} changed, {len(drift.stale)} deleted")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
