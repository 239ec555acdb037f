"""HTTPS of ``mux-async emulate``: its options, what it prints for clients, and ``mux-async emulate-ca``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import urlsplit

import attrs
import typer

from mux_async.cli._examples import make_group

if TYPE_CHECKING:
    from mux_async.emulator import EmulatorSettings
    from mux_async.emulator.tls import AuthorityFolder, ServerCertificates

DEFAULT_TLS_PORT = 8443
_HTTPS = 443
_HOSTS = tuple(f"{label}.mux.com" for label in ("api", "stream", "image", "license", "stats", "master"))
_PANEL = "HTTPS"

TlsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--tls",
        rich_help_panel=_PANEL,
        help="Serve https too, under Mux's host names, and print how clients trust it. No trust store is changed.",
    ),
]
TlsPortOption: TypeAlias = Annotated[
    int, typer.Option(min=0, max=65535, rich_help_panel=_PANEL, help="Port for https; 0 picks a free one.")
]
DomainOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DOMAIN",
        rich_help_panel=_PANEL,
        help="A custom domain for playback: stream.DOMAIN, image.DOMAIN and DOMAIN; may be repeated.",
    ),
]
CaFolderOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        envvar="MUX_CA_FOLDER",
        file_okay=False,
        rich_help_panel=_PANEL,
        help="Folder of the certificate authority; default: ca in the user's configuration folder.",
    ),
]


def authority_folder(path: Path | None) -> AuthorityFolder:
    """Return the folder of the authority. Raises `MissingExtraError` if the library for certificates is missing."""
    from mux_async.emulator.tls import AuthorityFolder

    return AuthorityFolder(path or Path(typer.get_app_dir("mux-async", roaming=False), "ca"))


@attrs.frozen
class Secure:
    """Where https is served, and the folder of its authority."""

    folder: AuthorityFolder
    port: int

    def open(self, settings: EmulatorSettings, host: str) -> ServerCertificates:
        """Open the authority for Mux's names, custom domains, and the names, but not addresses, under which the server is used."""
        names = filter(_is_name, (host, *settings.allowed_hosts))
        try:
            return self.folder.open([*settings.domains, *names])
        except ValueError as error:
            raise typer.BadParameter(f"no certificate for --allow-host or --host: {error}") from error


def _is_name(host: str) -> bool:
    return host not in {"", "localhost"} and ":" not in host and not host.replace(".", "").isdigit()


def tls_lines(folder: AuthorityFolder, certificates: ServerCertificates, origin: str, domains: Sequence[str]) -> list[str]:
    """Say where https is, and what a browser, Node.js, Python and other programs need for it."""
    place = urlsplit(origin)
    authorities = certificates.authorities
    own = [name for authority in authorities[1:] for name in authority.names]
    lines = [f"  https on {origin} for {', '.join(['localhost', '*.mux.com', '*.litix.io', *own])}"]
    if any(authority.is_new for authority in authorities):
        lines.append(f"  new certificate authority, valid until {min(each.expires for each in authorities):%Y-%m-%d}")
    lines += [f"  export {name}={folder.bundle}" for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "MUX_CA_FILE")]
    mapped = ["*.mux.com", "*.litix.io", *(pattern for domain in domains for pattern in (domain, f"*.{domain}"))]
    rules = ", ".join(f"MAP {pattern} {place.netloc}" for pattern in mapped)
    keys = ",".join(authority.spki for authority in authorities)
    lines.append(
        "  chromium --user-data-dir=/tmp/mux-chromium"
        f' --ignore-certificate-errors-spki-list={keys} --host-resolver-rules="{rules}"'
    )
    named = [*_HOSTS, *(f"{prefix}{domain}" for domain in domains for prefix in ("", "stream.", "image."))]
    needs = "" if place.port in {None, _HTTPS} else f" (needs --tls-port {_HTTPS})"
    lines.append(f"  hosts file{needs}: {place.hostname} {' '.join(named)}")
    return lines


def make_emulate_ca_app() -> typer.Typer:
    """Return the group of commands."""
    explained = "Show or remove the certificate authority of `mux-async emulate --tls`."
    return make_group("emulate-ca", explained, {"show": show, "remove": remove})


def show(ca_folder: CaFolderOption = None) -> None:
    """Print where the certificate authority is, what it may certify and until when, and how programs trust it."""
    folder = authority_folder(ca_folder)
    found = folder.authorities()
    if not found:
        typer.echo(f"there is no certificate authority in {folder.path}; mux-async emulate --tls makes one")
        return
    typer.echo(f"certificates for clients: {folder.bundle}")
    for authority in found:
        typer.echo(f"{authority.name}: certifies {', '.join(authority.names)}; valid until {authority.expires:%Y-%m-%d}")
        typer.echo(f"  SHA-256 {authority.fingerprint}")
        typer.echo(f"  key for --ignore-certificate-errors-spki-list: {authority.spki}")
    typer.echo(f"remove it with mux-async emulate-ca remove; export NODE_EXTRA_CA_CERTS={folder.bundle} lets Node.js trust it")


def remove(ca_folder: CaFolderOption = None) -> None:
    """Delete the certificate authority. The next `emulate --tls` makes another, which clients have to trust anew."""
    folder = authority_folder(ca_folder)
    removed = folder.remove()
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo(f"there is no certificate authority in {folder.path}")
    else:
        typer.echo("where you imported its certificate into a browser or a system, remove it there as well")
