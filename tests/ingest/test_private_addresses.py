"""Private addresses in lists, which may be untrusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mux_async.ingest import Manifest, PlanError, make_plan
from tests.cli.commands import run_here

PRIVATE = [
    "http://127.0.0.1/film.mp4",
    "http://127.0.0.1:8787/film.mp4",
    "HTTP://LOCALHOST/film.mp4",
    "http://localhost./film.mp4",
    "http://app.localhost/film.mp4",
    "http://10.1.2.3/film.mp4",
    "http://172.16.0.1/film.mp4",
    "http://192.168.1.7/film.mp4",
    "http://169.254.169.254/latest/meta-data/film.mp4",
    "http://metadata.google.internal/film.mp4",
    "http://100.64.0.1/film.mp4",
    "http://0.0.0.0/film.mp4",
    "http://0/film.mp4",
    "http://127.1/film.mp4",
    "http://2130706433/film.mp4",
    "http://0x7f000001/film.mp4",
    "http://0x7f.0.0.1/film.mp4",
    "http://0177.0.0.1/film.mp4",
    "http://%31%32%37.0.0.1/film.mp4",
    "http://\uff11\uff12\uff17.0.0.1/film.mp4",
    "http://127\u30020\u30020\u30021/film.mp4",
    "http://[::1]/film.mp4",
    "http://[::]/film.mp4",
    "http://[::ffff:127.0.0.1]/film.mp4",
    "http://[::ffff:a00:1]/film.mp4",
    "http://[::127.0.0.1]/film.mp4",
    "http://[64:ff9b::7f00:1]/film.mp4",
    "http://[2002:7f00:1::]/film.mp4",
    "http://[fe80::1]/film.mp4",
    "http://[fd00::1]/film.mp4",
    "http://user:password@127.0.0.1/film.mp4",
    "http://example.com@127.0.0.1/film.mp4",
    "http://127.0.0.1\\@example.com/film.mp4",
    "http://nas/film.mp4",
    "http://nas.local/film.mp4",
    "http://wiki.corp/film.mp4",
    "sftp://192.168.1.7/film.mp4",
    "smb://nas/share/film.mp4",
    "file:///etc/film.mp4",
    "FILE:///etc/film.mp4",
    "local:///etc/film.mp4",
    "simplecache::file:///etc/film.mp4",
    "zip://film.mp4::file:///etc/films.zip",
    "zip://film.mp4::http://127.0.0.1/films.zip",
]
PUBLIC = [
    "https://example.com/film.mp4",
    "https://8.8.8.8/film.mp4",
    "https://[2606:4700::1111]/film.mp4",
    "https://example.com:8443/127.0.0.1/film.mp4?from=http://127.0.0.1/",
    "https://localhost.example.com/film.mp4",
    "https://xn--bcher-kva.example/film.mp4",
    "mux://assets/abc",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_refused_in_lists(address: str) -> None:
    """A list with a private address is refused before anything is read or sent, with the line and the way to allow it."""
    row = json.dumps({"url": address})
    for manifest in (Manifest(f"{address}\n"), Manifest(row, "jsonl"), Manifest(f'url\n"{address}"\n', "csv")):
        with pytest.raises(PlanError) as caught:
            make_plan(manifest=manifest)
        (problem,) = caught.value.problems
        assert "--allow-private" in problem.message
        assert problem.line == (2 if manifest.form == "csv" else 1)
        assert "password" not in problem.message


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    """Public names and addresses are accepted in lists, with any path."""
    assert len(make_plan(manifest=Manifest(f"{address}\n")).items) == 1


@pytest.mark.parametrize("member", ["tracks", "extra"])
def test_settings_are_looked_through(member: str) -> None:
    """A private address is refused in settings too: subtitles, tracks, and ``extra``."""
    track = {"url": "http://169.254.169.254/x.vtt", "type": "text", "text_type": "subtitles", "language_code": "en"}
    value: object = {"inputs": [{"url": "https://example.com/a.mp4"}, track]} if member == "extra" else [track]
    row = {"url": "https://example.com/a.mp4", member: value}

    with pytest.raises(PlanError) as caught:
        make_plan(manifest=Manifest(json.dumps(row), "jsonl"))

    assert any("169.254.169.254" in problem.message for problem in caught.value.problems), caught.value


def test_what_is_named_or_allowed_is_taken(tmp_path: Path) -> None:
    """Sources on the command line, and lists for which it is allowed, may be private; paths in lists are always accepted."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    local = Manifest(f"http://127.0.0.1/film.mp4\n{film.as_uri()}\n")

    assert len(make_plan(["http://127.0.0.1/film.mp4", film.as_uri()]).items) == 2
    assert len(make_plan(manifest=local, allow_private=True).items) == 2
    assert len(make_plan(manifest=Manifest(f"{film}\n")).items) == 1
    assert len(make_plan(manifest=Manifest("film.mp4\n", folder=tmp_path)).items) == 1


def test_command(tmp_path: Path) -> None:
    """The command refuses such a list with exit code 2, from a file and from standard input, and has a switch that allows it."""
    (tmp_path / "films.txt").write_text("http://192.168.1.7/film.mp4\n")

    refused = run_here("ingest", "films.txt", "--dry-run", cwd=tmp_path)
    named = run_here("ingest", "http://192.168.1.7/film.mp4", "--dry-run", cwd=tmp_path)
    taken = run_here("ingest", "films.txt", "--allow-private", "--dry-run", cwd=tmp_path)

    assert refused.returncode == 2
    assert "--allow-private" in refused.stderr
    assert named.returncode == taken.returncode == 0


@pytest.mark.parametrize("address", ["file:/etc/film.mp4", "simplecache::file:///etc/film.mp4"])
def test_message_names_the_address_as_written(address: str) -> None:
    """An address without ``//`` is quoted as it is in the list."""
    with pytest.raises(PlanError, match="private") as caught:
        make_plan(manifest=Manifest(json.dumps({"url": address}), "jsonl"))
    assert repr(address) in str(caught.value)
