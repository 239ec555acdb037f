"""Mux's host names and custom domains: what each serves, and which addresses responses have."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import orjson
import pytest

from mux_async.emulator import Emulator, EmulatorSettings, Request, Response
from mux_async.emulator.server import serve
from tests.emulator.harness import Account, basic, target_of

DOMAIN = "video.example.com"


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(domains=("example.com", DOMAIN, "Vidéo.example"))


@pytest.fixture(scope="module")
def paths(account: Account) -> Mapping[str, str]:
    """A path of each kind that succeeds where it is served."""
    playback_id = account.ready_asset(playback_policies=["public"])["playback_ids"][0]["id"]
    url: str = account.create_upload()["url"]
    return {
        "api": "/video/v1/assets",
        "stream": f"/{playback_id}.m3u8",
        "image": f"/{playback_id}/thumbnail.png",
        "storyboard": f"/{playback_id}/storyboard.vtt",
        "upload": target_of(url),
        "control": "/_emulator/health",
        "page": "/",
    }


def status(account: Account, host: str, path: str) -> int:
    method = "OPTIONS" if path.startswith("/_upload/") else "GET"
    return account.send(method, path, headers={"Host": host}).status


SERVED = {
    "api.mux.com": {"api", "upload"},
    "API.Mux.com:8443": {"api", "upload"},
    "api.mux.com.": {"api", "upload"},
    "stream.mux.com": {"stream"},
    "image.mux.com": {"image", "storyboard"},
    "direct-uploads.mux.com": {"upload"},
    "direct-uploads.oci-us-ashburn-1-vop1.production.mux.com": {"upload"},
    "license.mux.com": set[str](),
    "inferred.litix.io": set[str](),
    "other.mux.com": set[str](),
    "mux.com": set[str](),
    f"stream.{DOMAIN}": {"stream"},
    f"image.{DOMAIN}:443": {"image", "storyboard"},
    "stream.example.com": {"stream"},
    DOMAIN.upper(): {"stream", "image", "storyboard"},
    f"other.{DOMAIN}": set[str](),
    "stream.xn--vido-dpa.example": {"stream"},
}


@pytest.mark.parametrize("host", SERVED)
def test_hosts_serve_their_own(account: Account, paths: Mapping[str, str], host: str) -> None:
    """Each host serves its own routes and no others, in any case, with and without a port."""
    served = {kind for kind, path in paths.items() if status(account, host, path) == 200}

    assert served == SERVED[host]


@pytest.mark.parametrize(
    "host", ["localhost:8787", "127.0.0.1", "[::1]:8443", "emulator", "notmux.com", "mux.com.evil.example", ""]
)
def test_other_names_serve_everything(account: Account, paths: Mapping[str, str], host: str) -> None:
    """Under any other name all media and the API are on one origin, as without TLS."""
    assert {kind for kind in ("api", "stream", "image", "upload") if status(account, host, paths[kind]) == 200} == {
        "api",
        "stream",
        "image",
        "upload",
    }


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.mux.com", "/nothing", 404),
        ("api.mux.com", "/_emulator/arrivals", 404),
        ("api.mux.com", "/", 404),
        ("stream.mux.com", "/video/v1/assets", 400),
        ("stream.mux.com", "/_emulator/reset", 400),
        ("image.mux.com", "/somefakeid.m3u8", 400),
        ("stream.mux.com", "/somefakeid.m3u8", 400),
    ],
)
def test_refusals(account: Account, host: str, path: str, expected: int) -> None:
    """What a host does not serve is Mux's 404 on the API, and a 400 where playback ids belong; pages may read that one."""
    response = account.send("GET", path, headers={"Host": host})

    assert response.status == expected
    assert response.json()["error"]["messages"]
    assert ("Access-Control-Allow-Origin" in response.headers) == (host != "api.mux.com")


def test_stream_in_place_of_image(account: Account, paths: Mapping[str, str]) -> None:
    """A real playback id on the wrong host is a 404."""
    assert status(account, "image.mux.com", paths["stream"]) == status(account, "stream.mux.com", paths["image"]) == 404


def test_files_of_the_api(account: Account) -> None:
    """A viewer on the stream host does not change where the API says that files are."""
    asset = account.ready_asset(playback_policies=["public"])
    account.ok("POST", f"/video/v1/assets/{asset['id']}/shots")
    path, headers = f"/{asset['playback_ids'][0]['id']}.m3u8", {"Host": "stream.mux.com"}
    assert account.emulator.handle(Request("GET", path, headers, origin="https://stream.mux.com")).status == 200
    account.pass_time(60.0)

    shots = account.data("GET", f"/video/v1/assets/{asset['id']}/shots")
    assert shots["shots_manifest_url"].startswith("http://emulator.test/_emulator/shots/")


@pytest.mark.parametrize(
    "name", ["", "com", "a b.example", "https://a.example", "a.example:1", "1.2.3.4", "*.a.example", "-a.example"]
)
def test_no_domain(name: str) -> None:
    """What is not a domain name is refused with an example of one."""
    with pytest.raises(ValueError, match="not a domain name"):
        EmulatorSettings(domains=(name,))


def test_refused_domains() -> None:
    """Mux's own domains are served anyway, and letters that browsers map otherwise are refused."""
    with pytest.raises(ValueError, match="Mux's own"):
        EmulatorSettings(domains=("stream.mux.com",))
    with pytest.raises(ValueError, match="xn--"):
        EmulatorSettings(domains=("straße.example",))


ORIGINS: list[tuple[Mapping[str, str], str]] = [
    ({}, "http://OWN"),
    ({"Host": "mux.test"}, "http://mux.test"),
    ({"Host": "mux.test:81"}, "http://mux.test:81"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "https"}, "https://mux.test"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "HTTPS, http"}, "https://mux.test"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "http, https"}, "http://mux.test"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "ftp"}, "http://mux.test"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mux.test"}, "https://mux.test"),
    ({"Host": "mux.test", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.test"}, "http://mux.test"),
    ({"Host": "mux.test", "Forwarded": 'for=10.0.0.1;proto=https;host="mux.test", proto=http'}, "https://mux.test"),
    ({"Host": "mux.test", "Forwarded": "for=10.0.0.1;proto=https;host=other.test"}, "http://mux.test"),
    ({"Host": "mux.test", "Forwarded": ";;;=,"}, "http://mux.test"),
    ({"Host": "OWN", "X-Forwarded-Proto": "https"}, "http://OWN"),
    ({"Host": "bad host/path"}, "http://OWN"),
    ({"Host": ""}, "http://OWN"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "expected", "version"),
    [(*each, "HTTP/1.0") for each in ORIGINS] + [(*each, "HTTP/1.1") for each in ORIGINS if each[0]],
    ids=str,
)
async def test_origin(headers: Mapping[str, str], expected: str, version: str) -> None:
    """Upload URLs have the host of the request, and https where a proxy that kept the host says so."""
    async with serve(Emulator(EmulatorSettings(limits=None))) as origin:
        own = urlsplit(origin).netloc
        given = {name: value.replace("OWN", own) for name, value in headers.items()}
        made = await anyio.to_thread.run_sync(create_upload, own, given, version)

    assert made["url"].partition("/_upload/")[0] == expected.replace("OWN", own)


def create_upload(address: str, headers: Mapping[str, str], version: str) -> Any:
    connection = http.client.HTTPConnection(address, timeout=10)
    vars(connection).update(_http_vsn_str=version, _http_vsn=int(version[-3] + version[-1]))
    connection.putrequest("POST", "/video/v1/uploads", skip_host=True, skip_accept_encoding=True)
    for name, value in {**headers, "Authorization": basic(), "Content-Length": "2"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"{}")
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 201, content
    return orjson.loads(content)["data"]


def test_stub_is_told_apart_too() -> None:
    """A stub has the same hosts."""
    stub = Account(EmulatorSettings(limits=None, stub=True))

    def ask(host: str) -> Response:
        return stub.send("GET", "/video/v1/assets", headers={"Host": host})

    assert (ask("api.mux.com").status, ask("stream.mux.com").status) == (200, 400)
