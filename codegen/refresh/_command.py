"""The command ``python -m codegen refresh``: read, compare, print, and write where asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen import _facts, _layers, _overlays
from codegen._facts import GeneratorError
from codegen.refresh import _document
from codegen.refresh._compare import CHANGES, Findings, differences, summary

_EXAMPLES = """\
examples:
  curl --output /tmp/api-spec.json https://www.mux.com/api-spec.json
  python -m codegen refresh /tmp/api-spec.json            what is new, gone, changed and confirmed; nothing is written
  python -m codegen refresh /tmp/api-spec.json --write    the facts brought up to date, and what is left to decide
  python -m codegen                                       the code written from them

One line for each difference: what became of it (new, gone, changed, confirmed), what it is (operation, parameter, field, enum value,
event), its name here, and what was and is. Nothing but names, types, values and bounds is taken from FILE. What needs a decision is
decided in codegen/overlays/names.toml. CONTRIBUTING.md has the whole of it.
"""
_HEADINGS = {"new": "New", "gone": "Gone", "changed": "Changed", "confirmed": "Now confirmed"}


def main(arguments: list[str]) -> int:
    """Run the command. Returns the exit status: 0, or 2 when the file or the facts cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m codegen refresh",
        description="Compare the OpenAPI description that Mux publishes (3.0 or 3.1, JSON) with our facts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the description, such as Mux's api-spec.json")
    parser.add_argument("--write", action="store_true", help="bring the facts up to date")
    parser.add_argument("--facts", type=Path, default=_facts.FACTS, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        return _run(options.file, options.facts, is_writing=options.write)
    except GeneratorError as error:
        print(f"codegen refresh: {error}", file=sys.stderr)
        return 2


def compare(description: _document.Document, folder: Path = _facts.FACTS) -> Findings:
    """Compare a description with the facts of a folder."""
    facts = _facts.read(folder)
    corrected = _layers.merge(facts)
    _overlays.correct(corrected, _overlays.load().corrections)
    return differences(_layers.merge(facts, is_loose=False), corrected, description)


def _run(file: Path, folder: Path, *, is_writing: bool) -> int:
    from codegen.refresh import _write

    theirs = _document.load(file)
    findings = compare(theirs, folder)
    found = findings.sorted()
    for change in CHANGES:
        if listed := [difference for difference in found if difference.change == change]:
            print(f"{_HEADINGS[change]}: {summary(listed)}")
            for difference in listed:
                print(f"  {difference}")
            print()
    for note in findings.notes:
        print(f"note: {note}")
    if not found:
        print("nothing differs from the facts")
        return 0
    result = _write.Writer(folder, findings, theirs).apply()
    if result.decisions:
        print("To decide:")
        for decision in result.decisions:
            print(f"  {decision}")
        print()
    if not is_writing:
        print(f"{len(found)} differences; nothing was written (--write brings the facts up to date)")
        return 0
    files = result.store()
    if files:
        print(
            f"written: {', '.join(files)}. Next: python -m codegen, then descriptions of what is new (codegen/overlays/descriptions)"
        )
    else:
        print("nothing was written: all that is left needs a decision")
    return 0
