"""The folder of the authorities: one private file for each, and ``mux-async-ca.pem`` with the certificates of all, for clients.

Several emulators may share it. An authority is made when a name first needs it, and replaced shortly before it expires.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from mux_async.emulator.http._addresses import domain_name
from mux_async.emulator.tls._authority import MUX_AUTHORITY, RENEWED_BEFORE, Authority, read_authority, utc
from mux_async.emulator.tls._certificates import ServerCertificates
from mux_async.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

BUNDLE = "mux-async-ca.pem"
KEY_ENDING = ".mux-async-ca-key.pem"
"""Of the files with keys, after the name of the authority. No other program's files end so: `AuthorityFolder.remove` deletes them."""


class AuthorityFolder:
    """The authorities of a user.

    Args:
        path: The folder; created if missing, and then for its owner only.
        clock: Gives epoch seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock

    @property
    def bundle(self) -> Path:
        """The file that clients trust: the certificates of all authorities, without their keys."""
        return self.path / BUNDLE

    def open(self, domains: Iterable[str] = ()) -> ServerCertificates:
        """Return certificates for Mux's hosts, this machine and *domains*, with the names below them.

        Each domain has an authority of its own, so that another domain later changes nothing for those who trust the first.

        Raises:
            ConfigurationError: A file is damaged, may be read by others, or cannot be written.
            ValueError: One of *domains* is not a domain name.
        """
        names = [domain_name(domain, labels=1) for domain in domains]
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock():
                found = [self._open(MUX_AUTHORITY)]
                for name in names:
                    if not any(authority.permits(name) for authority in found):
                        found.append(self._open(name))
                self._write_bundle()
        except OSError as error:
            raise ConfigurationError(
                f"the certificate authority in {str(self.path)!r} cannot be opened ({error.strerror}): choose another folder (--ca-folder)"
            ) from error
        return ServerCertificates(found, self._clock)

    def authorities(self) -> list[Authority]:
        """Return the authorities that the folder has, whether or not they have expired.

        Raises:
            ConfigurationError: A file is damaged, or may be read by others.
        """
        try:
            return [self._read(path) for path in self._files()]
        except OSError as error:
            raise ConfigurationError(
                f"the certificate authority in {str(self.path)!r} cannot be read ({error.strerror})"
            ) from error

    def remove(self) -> list[Path]:
        """Delete the files of the authorities, damaged ones too, and return their paths. Other files stay.

        Raises:
            ConfigurationError: A file cannot be deleted.
        """
        removed: list[Path] = []
        try:
            for path in [*self._files(), self.bundle]:
                with suppress(FileNotFoundError):
                    path.unlink()
                    removed.append(path)
        except OSError as error:
            raise ConfigurationError(f"{error.filename!r} cannot be deleted ({error.strerror})") from error
        with suppress(OSError):  # it holds other files, or is missing
            self.path.rmdir()
        return removed

    def _files(self) -> list[Path]:
        return sorted(self.path.glob(f"*{KEY_ENDING}"))

    @contextmanager
    def _lock(self) -> Generator[None, None, None]:
        """Keep other processes from opening the folder meanwhile, where folders can be locked."""
        if sys.platform == "win32":
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> Authority:
        path, now = self.path / f"{name}{KEY_ENDING}", utc(self._clock())
        with suppress(FileNotFoundError):
            found = self._read(path)
            if found.certificate.not_valid_before_utc <= now < found.expires - RENEWED_BEFORE:
                return found
        made = Authority.create(name, now)
        _replace(path, made.pem_with_key, 0o600)
        return made

    def _read(self, path: Path) -> Authority:
        with path.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigurationError(
                    f"{str(path)!r} is the key of a certificate authority, and others may read or change it: chmod 600 {str(path)!r}"
                )
            content = file.read()
        try:
            return read_authority(path.name.removesuffix(KEY_ENDING), content)
        except ValueError as error:
            raise ConfigurationError(
                f"{str(path)!r} is not a certificate authority of the emulator ({error}): `mux-async emulate-ca remove`, and the "
                "next start makes a new one"
            ) from error

    def _write_bundle(self) -> None:
        """Write the certificates of all authorities, if they differ from what is there. A damaged one is left out."""
        pems: list[bytes] = []
        for path in self._files():
            with suppress(ConfigurationError):
                pems.append(self._read(path).pem)
        content = b"".join(pems)
        with suppress(FileNotFoundError):
            if self.bundle.read_bytes() == content:
                return
        _replace(self.bundle, content, 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file as a whole: others see the old content or the new one. It is private until it has its mode."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
