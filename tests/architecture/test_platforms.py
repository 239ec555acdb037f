"""What other systems lack, hidden here: the package works without it. Each program runs in an interpreter of its own.

The list is every use of something that is not on each system: `fcntl` (locks of journals, and of the emulator's authority), `resource` and
`os.nice` (its media worker), `os.register_at_fork`, `os.RWF_NOWAIT` and `os.preadv` (uploads). The locks of journals and forks are hidden
in `tests/ingest/test_journal.py`, and what the media worker uses in `tests/emulator/media/test_worker.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HIDE = """
import sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
"""

UPLOAD = """
import os
for name in ("RWF_NOWAIT", "preadv"):
    if hasattr(os, name):
        delattr(os, name)
import asyncio, sys
from pathlib import Path
from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport

async def main():
    store = Path(sys.argv[1]) / "store"
    film = Path(sys.argv[1]) / "film.mp4"
    film.write_bytes(os.urandom(700_000))
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0, store=store))
    async with Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator)) as mux:
        await mux.uploads.send(film, playback_policies=["public"])
    assert any(path.is_file() and path.read_bytes() == film.read_bytes() for path in store.rglob("*")), list(store.rglob("*"))

asyncio.run(main())
"""

AUTHORITY = """
import sys
from pathlib import Path
import cryptography.x509, mux_async.emulator
sys.platform = "win32"
sys.modules["fcntl"] = None
for name in [name for name in sys.modules if name.startswith("mux_async.emulator.tls")]:
    del sys.modules[name]
from mux_async.emulator.tls import AuthorityFolder

folder = AuthorityFolder(Path(sys.argv[1]) / "authority")
first = folder.open()
assert folder.bundle.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
before = folder.bundle.read_bytes()
AuthorityFolder(Path(sys.argv[1]) / "authority").open()
assert folder.bundle.read_bytes() == before
assert folder.remove()
assert not folder.bundle.exists()
"""

IMPORTS = (
    HIDE
    + """
import os
for name in ("register_at_fork", "RWF_NOWAIT", "preadv", "nice", "fork", "geteuid", "getuid"):
    if hasattr(os, name):
        delattr(os, name)
import asyncio, shutil, subprocess, tempfile
sys.platform = "win32"
sys.modules["msvcrt"] = type(sys)("msvcrt")
import mux_async.ingest, mux_async.testing, mux_async.emulator.state, mux_async.limits, mux_async.webhooks
"""
)


@pytest.mark.parametrize(
    "program",
    [UPLOAD, AUTHORITY, IMPORTS],
    ids=["page cache", "authority", "imports"],
)
def test_works_without_what_other_systems_lack(program: str, tmp_path: Path) -> None:
    """With the part hidden, what uses it does its work in the other way."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr


USES = {
    "fcntl": {"mux_async/_lease.py", "mux_async/emulator/tls/_folder.py"},
    "resource": {"mux_async/emulator/media/_child.py"},
    "msvcrt": {"mux_async/_lease.py"},
    "RWF_NOWAIT": {"mux_async/uploads/_source.py"},
    "register_at_fork": {"mux_async/_forks.py"},
}
ONLY_SOMEWHERE = re.compile(
    r"^\s*(?:import|from) (fcntl|resource|msvcrt|termios|tty|pty|pwd|grp|winreg|winsound|syslog|posix)\b(?! import)"
    r"|os\.(register_at_fork|RWF_NOWAIT|fork|posix_fadvise|posix_fallocate|sched_setaffinity|sched_getaffinity|sendfile|memfd_create|pipe2|getuid|setsid|killpg|mkfifo)\b",
    re.MULTILINE,
)


def test_list_is_complete() -> None:
    """Nothing else in the package is a module or function that a system lacks: a new one is added here, with a test of the other way."""
    found: dict[str, set[str]] = {}
    for path in (*ROOT.glob("mux_async/**/*.py"), *ROOT.glob("transports/**/*.py")):
        for names in ONLY_SOMEWHERE.findall(path.read_text("utf-8")):
            found.setdefault("".join(names), set()).add(path.relative_to(ROOT).as_posix())

    assert found == USES
