"""Direct uploads: the API, and the storage with its resumable protocol."""

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
    """Upload URLs have the origin of the request, or the configured one."""
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
    """A single PUT creates the asset with the upload's settings; then the upload has no URL."""
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
    """The response to a chunk is a 308 with the stored range, to the last one a 200; only then the asset exists."""
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
    """The response to an offset query has no Range while nothing is stored, then has it, then is a 200."""
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
    """The size may come last: chunks of ``/*``, then a query with the size."""
    account = Account()
    upload = account.create_upload()

    chunk = account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/*")
    final = account.put(upload["url"], content_range=f"bytes */{GRANULE}")

    assert (chunk.status, final.status) == (308, 200)
    assert account.upload(upload["id"])["status"] == "asset_created"


def test_odd_chunk() -> None:
    """A chunk that is not the last one is kept up to a multiple of 256 KiB, as Range says."""
    account = Account()
    upload = account.create_upload()

    answer = account.put(upload["url"], DATA[: GRANULE + 5], f"bytes 0-{GRANULE + 4}/{TOTAL}")

    assert (answer.status, answer.headers["Range"]) == (308, f"bytes=0-{GRANULE - 1}")


def test_sent_again() -> None:
    """Bytes that are stored already are ignored, even if they differ."""
    account = Account()
    upload = account.create_upload()
    account.put(upload["url"], DATA[: 2 * GRANULE], f"bytes 0-{2 * GRANULE - 1}/{TOTAL}")
    account.put(upload["url"], b"\0" * (2 * GRANULE) + DATA[2 * GRANULE :], f"bytes 0-{TOTAL - 1}/{TOTAL}")

    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert (stored.crc32, stored.is_complete) == (crc32(DATA), True)


def test_gap() -> None:
    """A chunk after a gap is refused with a 503, as Mux does."""
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
    """An inconsistent Content-Range is a 400, and nothing is stored."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"], b"0123456789", content_range).status == 400
    stored = account.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert stored.size == 0


def test_changed_total() -> None:
    """A chunk with another total size is refused."""
    account = Account()
    upload = account.create_upload()
    account.put(upload["url"], DATA[:GRANULE], f"bytes 0-{GRANULE - 1}/{TOTAL}")

    assert account.put(upload["url"], content_range=f"bytes */{TOTAL + 1}").status == 400


def test_short_body() -> None:
    """A body that is shorter than its range is refused, and kept up to a multiple of 256 KiB."""
    account = Account()
    upload = account.create_upload()
    headers = {"Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}", "Transfer-Encoding": "chunked"}

    answer = account.emulator.handle(Request("PUT", target_of(upload["url"]), headers, DATA[: GRANULE + 7]))

    assert answer.status == 400
    assert account.put(upload["url"], content_range="bytes */*").headers["Range"] == f"bytes=0-{GRANULE - 1}"


def test_cut_chunk() -> None:
    """After a broken connection a chunk is kept up to a multiple of 256 KiB, and the upload can be continued."""
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
    """A newer request takes the session over; further bytes of the older one are dropped, and it gets a 503."""
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
    """A finished session responds with 200 to any request, and there is one asset."""
    account = Account()
    upload = account.create_upload()

    statuses = [account.put(upload["url"], DATA).status for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert len(account.data("GET", "/video/v1/assets")) == 1


def test_empty_file() -> None:
    """An empty file makes the asset and the upload errored."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"]).status == 200
    account.pass_time(1.0)
    after = account.upload(upload["id"])

    assert (after["status"], after["error"]["type"]) == ("errored", "invalid_input")
    assert account.asset(after["asset_id"])["status"] == "errored"


def test_timed_out() -> None:
    """After its timeout an upload is timed out and has no URL, and bytes that arrive later create no asset."""
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
    """A cancelled upload has no URL; it cannot be cancelled twice, nor after it is done."""
    account = Account()
    upload = account.create_upload()
    path = f"/video/v1/uploads/{upload['id']}/cancel"

    cancelled = account.data("PUT", path)

    assert (cancelled["status"], "url" in cancelled) == ("cancelled", False)
    assert account.put(upload["url"], DATA).status == 404
    assert account.error("PUT", path)[:2] == (400, "invalid_parameters")


def test_deleted_session() -> None:
    """DELETE ends the session with a 499; it does not exist any more."""
    account = Account()
    upload = account.create_upload()

    assert account.emulator.handle(Request("DELETE", target_of(upload["url"]))).status == 499
    assert account.put(upload["url"], DATA).status == 404


@pytest.mark.parametrize(
    "change", [("Signature=", "Signature=0"), ("Expires=1", "Expires=2"), ("?", "?x="), ("/_upload/", "/_upload/A")]
)
def test_forged_url(change: tuple[str, str]) -> None:
    """A modified URL is refused."""
    account = Account()
    upload = account.create_upload()

    assert account.put(upload["url"].replace(*change), DATA).status in {403, 404}
    assert account.upload(upload["id"])["status"] == "waiting"


def test_cors() -> None:
    """CORS allows pages of the upload's origin, which may read Range, and no others."""
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
    """With a folder, the bytes are files there, truncated after a broken connection, and deleted with a cancelled upload."""
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
