"""Direct uploads: the API half, and the storage half with its resumable protocol."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import pytest

from mux_async.emulator import Emulator, EmulatorSettings, Request, Response
from tests.emulator.harness import START, Account, Clock, target_of

GRANULE = 256 * 1024
"""Bytes that chunks are multiples of (facts/BEHAVIOUR.md, section 5.2)."""

DATA = Random(1).randbytes(3 * GRANULE + 1000)
TOTAL = len(DATA)


def test_object() -> None:
    """A new upload shows its signed, absolute URL, no creation time, and its settings in their plural form."""
    account = Account()
    upload = account.create_upload(
        cors_origin="*", new_asset_settings={"playback_policy": "public", "passthrough": "p"}, test=True
    )
    url: str = upload["url"]
    parts = urlsplit(url)

    assert (upload["status"], upload["timeout"], upload["cors_origin"], upload["test"]) == ("waiting", 3600, "*", True)
    assert upload["new_asset_settings"] == {"playback_policies": ["public"], "passthrough": "p"}
    assert not {"created_at", "asset_id", "error"} & set(upload)
    assert f"{parts.scheme}://{parts.netloc}" == "http://emulator.test"
    assert upload["id"] in parts.path
    assert parse_qs(parts.query)["Expires"] == [str(int(START) + 3600)]


def test_origin() -> None:
    """Upload URLs begin with where the client came, or with the origin that was set."""
    emulator = Emulator(EmulatorSettings(limits=None, public_origin="https://mux.example"), clock=Clock())
    account = Account()
    account.emulator = emulator

    assert account.create_upload()["url"].startswith("https://mux.example/_upload/")


@pytest.mark.parametrize("timeout", [59, 604_801, "60", 60.5, True])
def test_timeout_range(timeout: Any) -> None:
    """The timeout is a whole number of seconds from a minute to a week."""
    status, _, messages = Account().error("POST", "/video/v1/uploads", {"timeout": timeout})

    assert status == 400
    assert "timeout" in messages[0]


def test_single_shot() -> None:
    """One PUT of everything creates the asset at the last byte, with the upload's settings; the URL goes."""
    account = Account()
    upload = account.create_upload(
        new_asset_settings={"playback_policies": ["public"], "passthrough": "p", "meta": {"title": "t"}}
    )

    answer = account.put(upload["url"], DATA)
    after = account.upload(upload["id"])
    asset = account.asset(after["asset_id"])
    account.pass_time(1.0)

    assert answer.status == 200
    assert (after["status"], "url" in after) == ("asset_created", False)
    assert (asset["status"], asset["upload_id"], asset["ingest_type"]) == ("preparing", upload["id"], "on_demand_direct_upload")
    assert (asset["passthrough"], asset["meta"], len(asset["playback_ids"])) == ("p", {"title": "t"}, 1)
    assert account.asset(asset["id"])["status"] == "ready"
    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert (stored.size, stored.crc32, stored.is_complete) == (TOTAL, crc32(DATA), True)


def test_chunks() -> None:
    """Chunks are answered 308 with what is stored, the last one 200; no asset exists before."""
    account = Account()
    upload = account.create_upload()
    answers: list[Response] = []
    for first in range(0, TOTAL, 2 * GRANULE):
        assert account.data("GET", "/video/v1/assets") == []
        chunk = DATA[first : first + 2 * GRANULE]
        answer = account.put(upload["url"], chunk, f"bytes {first}-{first + len(chunk) - 1}/{TOTAL}")
        answers.append(answer)

    shown = [(answer.status, answer.headers.get("Range")) for answer in answers]
    assert shown == [(308, f"bytes=0-{2 * GRANULE - 1}"), (200, None)]
    assert account.upload(upload["id"])["status"] == "asset_created"
    assert not any("Location" in answer.headers for answer in answers)


@pytest.mark.parametrize("query", [f"bytes */{TOTAL}", "bytes */*"])
def test_query(query: str) -> None:
    """An offset query is answered without Range while nothing is stored, then with it, then 200."""
    account = Account()
    upload = account.create_upload()

    before = account.put(upload["url"], content_range=query)
    account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/{TOTAL}")
    between = account.put(upload["url"], content_range=query)
    account.put(upload["url"], DATA[GRANULE:], f"bytes {GRANULE}-{TOTAL - 1}/{TOTAL}")
    after = account.put(upload["url"], content_range=query)

    assert (before.status, before.headers.get("Range")) == (308, None)
    assert (between.status, between.headers.get("Range")) == (308, f"bytes=0-{GRANULE - 1}")
    assert after.status == 200
    assert len(account.data("GET", "/video/v1/assets")) == 1


def test_unknown_total() -> None:
    """The size may come last: chunks of ``/*``, then a query that names it."""
    account = Account()
    upload = account.create_upload()

    chunk = account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/*")
    final = account.put(upload["url"], content_range=f"bytes */{GRANULE}")

    assert (chunk.status, final.status) == (308, 200)
    assert account.upload(upload["id"])["status"] == "asset_created"


def test_odd_chunk() -> None:
    """Of a chunk that is no multiple of 256 KiB and not the last, the rest is not kept, and Range says so."""
    account = Account()
    upload = account.create_upload()

    answer = account.put(upload["url"], DATA[: GRANULE + 5], f"bytes 0-{GRANULE + 4}/{TOTAL}")

    assert (answer.status, answer.headers["Range"]) == (308, f"bytes=0-{GRANULE - 1}")


def test_sent_again() -> None:
    """Bytes below what is stored are ignored, even when they differ."""
    account = Account()
    upload = account.create_upload()
    account.put(upload["url"], DATA[: 2 * GRANULE], f"bytes 0-{2 * GRANULE - 1}/{TOTAL}")
    account.put(upload["url"], b"\0" * (2 * GRANULE) + DATA[2 * GRANULE :], f"bytes 0-{TOTAL - 1}/{TOTAL}")

    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert (stored.crc32, stored.is_complete) == (crc32(DATA), True)


def test_gap() -> None:
    """Bytes that leave a gap are refused as the real service does, with a 503."""
    account = Account()
    upload = account.create_upload()

    answer = account.put(upload["url"], DATA[GRANULE:], f"bytes {GRANULE}-{TOTAL - 1}/{TOTAL}")

    assert answer.status == 503
    assert account.upload(upload["id"])["status"] == "waiting"


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-9",
        "bytes 9-0/100",
        "bytes 0-100/100",
        "items 0-9/100",
        "bytes 0-99/100",
        "bytes -1-9/100",
        "bytes 0-" + "9" * 4400 + "/" + "9" * 4401,
    ],
)
def test_senseless_range(content_range: str) -> None:
    """A Content-Range that contradicts itself or the body is a 400, and nothing is stored."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"], b"0123456789", content_range).status == 400
    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert stored.size == 0


def test_changed_total() -> None:
    """A file that changes its size on the way is refused."""
    account = Account()
    upload = account.create_upload()
    account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/{TOTAL}")

    assert account.put(upload["url"], content_range=f"bytes */{TOTAL + 1}").status == 400


def test_short_body() -> None:
    """A body shorter than its range announced is refused, and only whole 256 KiB of it are kept."""
    account = Account()
    upload = account.create_upload()
    headers = {"Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}", "Transfer-Encoding": "chunked"}

    answer = account.emulator.handle(Request("PUT", target_of(upload["url"]), headers, DATA[: GRANULE + 7]))

    assert answer.status == 400
    assert account.put(upload["url"], content_range="bytes */*").headers["Range"] == f"bytes=0-{GRANULE - 1}"


def test_cut_chunk() -> None:
    """Of a chunk whose connection broke, only whole 256 KiB are kept, and the file can be finished from there."""
    account = Account()
    upload = account.create_upload()
    headers = {"Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}", "Content-Length": str(TOTAL)}
    exchange = account.emulator.begin(Request("PUT", target_of(upload["url"]), headers))
    exchange.feed(DATA[: 2 * GRANULE + 99])
    exchange.cut()

    where = account.put(upload["url"], content_range=f"bytes */{TOTAL}").headers["Range"]
    done = account.put(upload["url"], DATA[2 * GRANULE :], f"bytes {2 * GRANULE}-{TOTAL - 1}/{TOTAL}")

    assert where == f"bytes=0-{2 * GRANULE - 1}"
    assert done.status == 200
    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert stored.crc32 == crc32(DATA)
    assert account.emulator.arrivals[1].status is None


def test_taken_over() -> None:
    """A newer request takes the session over; what the older one still brings is dropped, and it is told 503."""
    account = Account()
    upload = account.create_upload()
    headers = {"Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}", "Content-Length": str(TOTAL)}
    older = account.emulator.begin(Request("PUT", target_of(upload["url"]), headers))
    older.feed(DATA[: GRANULE + 1])
    assert account.put(upload["url"], DATA[GRANULE + 1 :], f"bytes {GRANULE + 1}-{TOTAL - 1}/{TOTAL}").status == 503
    newer = account.put(upload["url"], DATA[GRANULE:], f"bytes {GRANULE}-{TOTAL - 1}/{TOTAL}")
    older.feed(b"\0" * 1000)

    assert newer.status == 200
    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert stored.crc32 == crc32(DATA)
    assert len(account.data("GET", "/video/v1/assets")) == 1


def test_completed_again() -> None:
    """A finished session answers 200 to whatever comes, and there is one asset."""
    account = Account()
    upload = account.create_upload()

    statuses = [account.put(upload["url"], DATA).status for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert len(account.data("GET", "/video/v1/assets")) == 1


def test_empty_file() -> None:
    """A file of no bytes makes an errored asset, and the upload is errored with it."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"]).status == 200
    account.pass_time(1.0)
    after = account.upload(upload["id"])

    assert (after["status"], after["error"]["type"]) == ("errored", "invalid_input")
    assert account.asset(after["asset_id"])["status"] == "errored"


def test_timed_out() -> None:
    """After its timeout an upload is timed out, its URL gone, and bytes on their way create nothing."""
    account = Account()
    upload = account.create_upload(timeout=60)
    exchange = account.emulator.begin(Request("PUT", target_of(upload["url"]), {"Content-Length": str(TOTAL)}))
    exchange.feed(DATA[:GRANULE])
    account.pass_time(60)
    exchange.feed(DATA[GRANULE:])
    late = exchange.finish().response

    assert late is not None
    assert late.status == 404
    after = account.upload(upload["id"])
    assert (after["status"], "url" in after) == ("timed_out", False)
    assert account.put(upload["url"], DATA).status == 404
    assert account.data("GET", "/video/v1/assets") == []


def test_in_time() -> None:
    """A finished upload does not time out."""
    account = Account()
    upload = account.create_upload(timeout=60)
    account.put(upload["url"], DATA)
    account.pass_time(61)

    assert account.upload(upload["id"])["status"] == "asset_created"


def test_cancelled() -> None:
    """Cancelling takes the URL away; it cannot be done twice, nor to an upload that is done."""
    account = Account()
    upload = account.create_upload()
    path = f"/video/v1/uploads/{upload['id']}/cancel"

    cancelled = account.data("PUT", path)

    assert (cancelled["status"], "url" in cancelled) == ("cancelled", False)
    assert account.put(upload["url"], DATA).status == 404
    assert account.error("PUT", path)[:2] == (400, "invalid_parameters")


def test_deleted_session() -> None:
    """DELETE ends the session with a 499, and it is gone."""
    account = Account()
    upload = account.create_upload()

    assert account.emulator.handle(Request("DELETE", target_of(upload["url"]))).status == 499
    assert account.put(upload["url"], DATA).status == 404


@pytest.mark.parametrize(
    "change", [("Signature=", "Signature=0"), ("Expires=1", "Expires=2"), ("?", "?x="), ("/_upload/", "/_upload/A")]
)
def test_forged_url(change: tuple[str, str]) -> None:
    """A URL that was changed opens nothing."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"].replace(*change), DATA).status in {403, 404}
    assert account.upload(upload["id"])["status"] == "waiting"


def test_cors() -> None:
    """A browser from the upload's origin is let in and may read Range; one from elsewhere is not."""
    account = Account()
    upload = account.create_upload(cors_origin="https://site.example")
    preflight = {
        "Origin": "https://site.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-range",
    }

    asked = account.emulator.handle(Request("OPTIONS", target_of(upload["url"]), preflight))
    chunk = account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/{TOTAL}", Origin="https://site.example")
    foreign = account.put(upload["url"], content_range="bytes */*", Origin="https://other.example")

    assert asked.status == 200
    assert asked.headers["Access-Control-Allow-Origin"] == "https://site.example"
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Headers"] == "content-range"
    assert chunk.headers["Access-Control-Expose-Headers"] == "Range"
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_listed() -> None:
    """Uploads are listed newest first, in pages."""
    account = Account()
    made = [account.create_upload()["id"] for _ in range(3)]

    assert [upload["id"] for upload in account.data("GET", "/video/v1/uploads?limit=2")] == made[:0:-1]
    assert account.data("GET", "/video/v1/uploads?limit=2&page=3") == []


def test_stored_files(tmp_path: Path) -> None:
    """With a folder the bytes are kept there, cut back after a break, and removed with a cancelled upload."""
    account = Account(store=tmp_path / "store")
    upload, dropped = account.create_upload(), account.create_upload()
    exchange = account.emulator.begin(
        Request(
            "PUT", target_of(upload["url"]), {"Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}", "Content-Length": str(TOTAL)}
        )
    )
    exchange.feed(DATA[: GRANULE + 10])
    exchange.cut()
    partial = (tmp_path / "store" / upload["id"]).read_bytes()
    account.put(upload["url"], DATA[GRANULE:], f"bytes {GRANULE}-{TOTAL - 1}/{TOTAL}")
    account.put(dropped["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/{TOTAL}")
    account.data("PUT", f"/video/v1/uploads/{dropped['id']}/cancel")

    assert partial == DATA[:GRANULE]
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "store").iterdir()] == [(upload["id"], DATA)]
    (listed, *_) = account.ok("GET", "/_emulator/uploads")["uploads"]
    assert (listed["size"], listed["crc32"], listed["is_complete"]) == (TOTAL, f"{crc32(DATA):08x}", True)
