"""HTTPS of the emulator: authorities, their files, the certificates that clients get, and clients that trust them."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio.to_thread
import attrs
import httpx2
import pytest
from aiohttp.abc import AbstractResolver
from cryptography import x509

from mux_async import Mux, TransportSettings
from mux_async.emulator import Emulator, EmulatorSettings, serve, serve_tls
from mux_async.emulator.tls import Authority, AuthorityFolder, ServerCertificates
from mux_async.errors import ConfigurationError
from tests.emulator.harness import Clock, basic

DAY = 24 * 3600.0
DOMAIN = "video.example.com"
NAMES = (
    "localhost",
    "127.0.0.1",
    "::1",
    "api.mux.com",
    "stream.mux.com",
    "image.mux.com",
    "a.stream.mux.com",
    "inferred.litix.io",
)


@pytest.fixture
def folder(tmp_path: Path) -> AuthorityFolder:
    return AuthorityFolder(tmp_path / "settings" / "ca")


def trusting(folder: AuthorityFolder) -> ssl.SSLContext:
    """A context of a client that trusts nothing else and is as strict as OpenSSL can be."""
    context = ssl.create_default_context(cafile=folder.bundle)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> bytes:
    """Shake hands in memory; return the server's certificate. Raises `ssl.SSLError`."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(8):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking.getpeercert(binary_form=True) or b""


def names_of(certificate: bytes) -> set[str]:
    found = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


@pytest.mark.parametrize("name", [*NAMES, DOMAIN, f"stream.{DOMAIN}", "direct-uploads.a-1.production.mux.com", "app.localhost"])
def test_trusted(folder: AuthorityFolder, name: str) -> None:
    """A client that trusts the folder's certificates accepts all names that are served, by strict rules."""
    server = folder.open([DOMAIN]).ssl_context()

    assert handshake(server, trusting(folder), name)


@pytest.mark.parametrize("name", ["example.com", "mux.com.evil.example", "10.0.0.1", f"a.b.c.{DOMAIN}.evil.example"])
def test_other_names_are_not_trusted(folder: AuthorityFolder, name: str) -> None:
    """A client that asks for any other name gets the usual certificate, and refuses it."""
    server = folder.open([DOMAIN]).ssl_context()

    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server, trusting(folder), name)


def test_without_a_name(folder: AuthorityFolder) -> None:
    """A client that sends no name gets a certificate for all of Mux's names and this machine."""
    client = trusting(folder_opened(folder))
    client.check_hostname = False

    found = handshake(folder.open().ssl_context(), client, None)

    assert names_of(found) == {"*.mux.com", "*.stream.mux.com", "*.litix.io", "localhost", "127.0.0.1", "::1"}


def folder_opened(folder: AuthorityFolder) -> AuthorityFolder:
    folder.open()
    return folder


@pytest.mark.parametrize(
    ("authority", "name"),
    [("mux.com", "example.com"), ("mux.com", "10.0.0.1"), (DOMAIN, "example.com"), (DOMAIN, "127.0.0.1"), (DOMAIN, "mux.com")],
)
def test_stolen_key(folder: AuthorityFolder, authority: str, name: str) -> None:
    """What a stolen key signs for another name is refused, because it is not among the names of the authority."""
    folder.open([DOMAIN])
    stolen = next(each for each in folder.authorities() if each.name == authority)
    pem = stolen.issue([name], dt.datetime.now(dt.UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as place:
        Path(place, "pem").write_bytes(pem)
        server.load_cert_chain(Path(place, "pem"))

    with pytest.raises(ssl.SSLCertVerificationError, match=r"permitted subtree violation|excluded subtree violation"):
        handshake(server, trusting(folder), name)


def test_limits_of_an_authority(folder: AuthorityFolder) -> None:
    """Its limits are critical, it signs for servers only and no further authorities, and it lives for a year."""
    authority = folder.open().authorities[0]
    extensions = authority.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    basic_constraints = extensions.get_extension_for_class(x509.BasicConstraints)

    assert constraints.critical
    assert [str(name.value) for name in constraints.value.permitted_subtrees or ()] == [
        "mux.com",
        "litix.io",
        "localhost",
        "127.0.0.0/8",
        "::1/128",
    ]
    assert (basic_constraints.critical, basic_constraints.value.path_length) == (True, 0)
    assert authority.expires - dt.datetime.now(dt.UTC) < dt.timedelta(days=366)


def test_files(folder: AuthorityFolder) -> None:
    """Keys are private, the folder too; the file for clients has certificates only, and a second start changes nothing."""
    folder.open([DOMAIN])
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    again = folder.open([DOMAIN])

    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    assert sorted(before) == ["mux-async-ca.pem", "mux.com.mux-async-ca-key.pem", f"{DOMAIN}.mux-async-ca-key.pem"]
    assert b"PRIVATE" not in before["mux-async-ca.pem"]
    assert before["mux-async-ca.pem"].count(b"BEGIN CERTIFICATE") == 2
    assert not any(each.is_new for each in again.authorities)
    if os.name == "posix":
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert {
            stat.S_IMODE((folder.path / f"{name}.mux-async-ca-key.pem").stat().st_mode) for name in ("mux.com", DOMAIN)
        } == {0o600}


def test_another_domain_later(folder: AuthorityFolder) -> None:
    """Another domain gets an authority of its own: who trusts the file of before goes on trusting the same names."""
    folder.open()
    client = trusting(folder)
    later = folder.open([DOMAIN, f"stream.{DOMAIN}"])

    assert handshake(later.ssl_context(), client, "stream.mux.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(later.ssl_context(), client, DOMAIN)
    assert [each.name for each in later.authorities] == ["mux.com", DOMAIN]


@pytest.mark.parametrize(("days", "is_new"), [(0.0, False), (334.0, False), (336.0, True), (400.0, True), (-1.0, True)])
def test_renewal(folder: AuthorityFolder, days: float, is_new: bool) -> None:
    """An authority is replaced a month before it expires, after that, and when the clock is before its life."""
    clock = Clock()
    timed = AuthorityFolder(folder.path, clock)
    timed.open()
    clock.now += days * DAY
    (authority,) = timed.open().authorities

    assert authority.is_new == is_new
    assert timed.bundle.read_bytes() == authority.pem


def test_certificates_are_renewed_while_it_runs(folder: AuthorityFolder) -> None:
    """A server that runs for days issues new certificates before those that it has expire."""
    clock = Clock()
    server = AuthorityFolder(folder.path, clock).open().ssl_context()
    client = ssl.create_default_context(cafile=folder.bundle)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

    def served() -> x509.Certificate:
        return x509.load_der_x509_certificate(handshake(server, client, "stream.mux.com"))

    first = served()
    assert served() == first
    for _ in range(10):
        clock.now += 2 * DAY
        assert served().not_valid_after_utc.timestamp() > clock.now + DAY
    assert served() != first


@pytest.mark.parametrize(
    "name",
    [
        "STREAM.mux.com",
        "a_b.mux.com",
        "a" * 63 + ".mux.com",
        ".".join(["x" * 60] * 4),
        "*.mux.com",
        "-",
        ".",
        "..mux.com",
        "\n",
    ],
)
def test_odd_names(folder: AuthorityFolder, name: str) -> None:
    """Whatever name a client asks for, it gets a certificate, and the next client too."""
    server = folder.open().ssl_context()
    answering = server.wrap_bio(client_hello_for(name), out := ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLWantReadError):  # the server has answered, and waits for the client
        answering.do_handshake()

    assert out.pending > 500
    assert handshake(server, trusting(folder), "stream.mux.com")


def client_hello_for(name: str) -> ssl.MemoryBIO:
    """The first message of a client that asks for *name*, which may be one that the ssl module refuses to ask for."""
    stand_in = re.sub(r"[^.]", "s", name) if len(name) > 63 else "s" * len(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    asking = context.wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO(), server_hostname=stand_in)
    with pytest.raises(ssl.SSLWantReadError):
        asking.do_handshake()
    head = b"\0" + len(name).to_bytes(2, "big")  # a host name, and its length
    hello = out.read()
    assert hello.count(head + stand_in.encode()) == 1
    message = ssl.MemoryBIO()
    message.write(hello.replace(head + stand_in.encode(), head + name.encode("latin-1")))
    return message


def test_many_names(folder: AuthorityFolder) -> None:
    """A client that asks for one name after another does not fill the memory, and the usual names go on."""
    certificates = folder.open()
    server, client = certificates.ssl_context(), trusting(folder)
    for number in range(40):
        handshake(server, client, f"a{number}.b.mux.com")

    assert handshake(server, client, "stream.mux.com")
    assert len(vars(certificates)["_contexts"]) < 36


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "noise": lambda _: bytes(range(256)),
    "cut": lambda content: content[: len(content) // 2],
    "no key": lambda content: content.partition(b"-----BEGIN PRIVATE")[0],
    "no certificate": lambda content: b"-----BEGIN PRIVATE" + content.partition(b"-----BEGIN PRIVATE")[2],
    "key of another": lambda content: content.partition(b"-----BEGIN PRIVATE")[0] + another().partition(b"-----BEGIN")[2],
    "other names": lambda _: Authority.create("example.com", dt.datetime.now(dt.UTC)).pem_with_key,
}


def another() -> bytes:
    pem = Authority.create("mux.com", dt.datetime.now(dt.UTC)).pem_with_key
    return b"-----BEGIN" + b"-----BEGIN PRIVATE" + pem.partition(b"-----BEGIN PRIVATE")[2]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file(folder: AuthorityFolder, damage: str) -> None:
    """A damaged file is an error that names it and says how to mend it; removing works, and a new one is made."""
    folder.open()
    path = folder.path / "mux.com.mux-async-ca-key.pem"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))

    with pytest.raises(ConfigurationError, match=r"mux\.com\.mux-async-ca-key\.pem.*emulate-ca remove"):
        folder.open()
    assert {each.name for each in folder.remove()} == {"mux.com.mux-async-ca-key.pem", "mux-async-ca.pem"}
    assert not folder.path.exists()
    assert folder.open().authorities[0].is_new


def test_damaged_file_of_another_domain(folder: AuthorityFolder) -> None:
    """A damaged file of a domain that is not needed now is left out of the file for clients, and disturbs nothing."""
    folder.open([DOMAIN])
    (folder.path / f"{DOMAIN}.mux-async-ca-key.pem").write_bytes(b"nothing")

    assert folder.open().authorities
    assert folder.bundle.read_bytes().count(b"BEGIN CERTIFICATE") == 1


def test_files_of_others(folder: AuthorityFolder) -> None:
    """In a folder of another program, such as mkcert's, its files are neither read, nor changed, nor removed."""
    folder.path.mkdir(parents=True)
    others = {"rootCA.pem": b"theirs", "rootCA-key.pem": b"theirs", "mux.com.pem": b"theirs"}
    for name, content in others.items():
        (folder.path / name).write_bytes(content)
    folder.open()
    removed = folder.remove()

    assert len(removed) == 2
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == others


@pytest.mark.parametrize("name", ["mux-async-ca.pem", "mux.com.mux-async-ca-key.pem"])
def test_removed_file(folder: AuthorityFolder, name: str) -> None:
    """A file that was removed is made again."""
    folder.open()
    (folder.path / name).unlink()
    server = folder.open().ssl_context()

    assert handshake(server, trusting(folder), "stream.mux.com")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_key_that_others_may_read(folder: AuthorityFolder) -> None:
    """A key that others may read is refused, with the command that mends it."""
    folder.open()
    (folder.path / "mux.com.mux-async-ca-key.pem").chmod(0o644)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        folder.open()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be made is an error that names it."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file.*choose another folder"):
        AuthorityFolder(tmp_path / "file" / "ca").open()


def test_started_at_once(folder: AuthorityFolder) -> None:
    """Emulators that start at the same time end up with the same authorities, and every one of them is trusted."""
    opened: list[ServerCertificates] = []
    ready = threading.Barrier(8)

    def start(number: int) -> None:
        ready.wait(10)
        opened.append(AuthorityFolder(folder.path).open([f"d{number % 2}.example"]))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len({each.authorities[0].fingerprint for each in opened}) == 1
    assert folder.bundle.read_bytes().count(b"BEGIN CERTIFICATE") == 3
    for certificates in opened:
        assert handshake(certificates.ssl_context(), trusting(folder), certificates.authorities[1].name)


def test_keys_are_not_shown(folder: AuthorityFolder) -> None:
    """No text of an authority has its key."""
    authority = folder.open().authorities[0]
    secret = authority.pem_with_key.partition(b"PRIVATE KEY-----\n")[2].partition(b"\n")[0].decode()

    assert secret not in f"{authority!r} {folder.open()!r} {folder!r}"


def test_without_cryptography() -> None:
    """Without the library for certificates the error names what to install."""
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import mux_async.emulator.server\n"
        "try:\n    import mux_async.emulator.tls\nexcept Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout == "TLS of the emulator needs cryptography: pip install 'mux-async[jwt]'\n"


@attrs.frozen
class Served:
    plain: str
    secure: str
    context: ssl.SSLContext

    @property
    def port(self) -> int:
        return urlsplit(self.secure).port or 0


@asynccontextmanager
async def serving(folder: AuthorityFolder, host: str = "127.0.0.1") -> AsyncGenerator[Served, None]:
    emulator = Emulator(EmulatorSettings(limits=None, instant=True, domains=(DOMAIN,)))
    certificates = folder.open([DOMAIN])
    async with serve(emulator, host) as plain, serve_tls(emulator, certificates, host) as secure:
        yield Served(plain, secure, trusting(folder))


class Resolver(AbstractResolver):
    """Resolves every name to this machine, as ``curl --resolve`` does."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@pytest.mark.asyncio
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_own_client(folder: AuthorityFolder, transport: str) -> None:
    """This SDK with the authority as its trust: an upload, whose address is https as well, becomes an asset."""
    async with serving(folder) as served:
        settings = TransportSettings(ssl_context=served.context)
        async with Mux(
            token_id="test-token",
            token_secret="test-secret",
            base_url=served.secure,
            transport=transport,
            transport_settings=settings,
        ) as mux:
            upload = await mux.video.uploads.create(cors_origin="*", new_asset_settings={"playback_policies": ["public"]})
            asset = await mux.uploads.send(b"not much of a film", playback_policies=["public"])

    assert asset.status == "ready"
    assert upload.url is not None
    assert upload.url.startswith(f"{served.secure}/_upload/")


@pytest.mark.asyncio
async def test_mux_host_names(folder: AuthorityFolder) -> None:
    """A client that resolves Mux's names to this machine reaches API, uploads, playback and images by their own addresses."""
    async with serving(folder) as served:
        connector = aiohttp.TCPConnector(ssl=served.context, resolver=Resolver())
        port = served.port
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": basic()}) as session:
            body = {"new_asset_settings": {"playback_policies": ["public"]}}
            async with session.post(f"https://api.mux.com:{port}/video/v1/uploads", json=body) as response:
                upload = (await response.json())["data"]
            async with session.put(upload["url"], data=b"not much of a film") as response:
                assert response.status == 200
            async with session.get(f"https://api.mux.com:{port}/video/v1/assets") as response:
                playback_id = (await response.json())["data"][0]["playback_ids"][0]["id"]
            statuses: dict[str, int] = {}
            for host in ("stream.mux.com", f"stream.{DOMAIN}", "image.mux.com"):
                async with session.get(f"https://{host}:{port}/{playback_id}.m3u8") as response:
                    statuses[host] = response.status
            async with session.get(f"https://image.mux.com:{port}/{playback_id}/storyboard.vtt") as response:
                tiles = await response.text()

    assert upload["url"].startswith(f"https://api.mux.com:{port}/_upload/")
    assert statuses == {"stream.mux.com": 200, f"stream.{DOMAIN}": 200, "image.mux.com": 404}
    assert f"https://image.mux.com:{port}/{playback_id}/storyboard.jpg#xywh=" in tiles


@pytest.mark.asyncio
async def test_httpx(folder: AuthorityFolder) -> None:
    """httpx with the authority as its trust; a forwarded scheme changes nothing, and plain HTTP goes on beside."""
    async with serving(folder) as served, httpx2.AsyncClient(verify=served.context, trust_env=False) as client:
        made = [
            await client.post(
                f"{origin}/video/v1/uploads", json={}, headers={"Authorization": basic(), "X-Forwarded-Proto": scheme}
            )
            for origin in (served.secure, served.plain)
            for scheme in ("http", "https")
        ]

    assert [each.json()["data"]["url"].partition("/_upload/")[0] for each in made] == [served.secure] * 2 + [served.plain] * 2


@pytest.mark.asyncio
async def test_ipv6(folder: AuthorityFolder) -> None:
    """The certificate is good for this machine's address in IPv6, which clients send no name for."""
    try:
        async with serving(folder, "::1") as served, httpx2.AsyncClient(verify=served.context, trust_env=False) as client:
            found = await client.get(f"{served.secure}/_emulator/health")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")

    assert (served.secure.startswith("https://[::1]:"), found.status_code) == (True, 200)


@pytest.mark.asyncio
async def test_not_tls(folder: AuthorityFolder) -> None:
    """Noise and plain HTTP on the port for https are dropped, and the next client is served."""
    async with serving(folder) as served:
        for noise in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(500), bytes(range(256)), b""):
            await anyio.to_thread.run_sync(send, served.port, noise)
        async with httpx2.AsyncClient(verify=served.context, trust_env=False) as client:
            found = await client.get(f"{served.secure}/_emulator/health")

    assert found.status_code == 200


def send(port: int, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
