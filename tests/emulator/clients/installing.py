"""Installs the clients of npm, in the versions of `pins`, once for all tests that use them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import which
from tempfile import gettempdir

from tests.emulator.clients.pins import NPM, OVERRIDES
from tests.emulator.official import missing

PATIENCE = 240.0
"""Seconds that npm may take for all of them; half a gigabyte, a minute and a half on a busy machine."""


@cache
def node_folder() -> Path:
    """Return a folder whose ``node_modules`` hold the clients. It is kept for the next run, and no script of a package is run.

    Workers of pytest that need it at once wait for the first one. Skips where Node.js or npm is absent.
    """
    npm = which("npm")
    if npm is None or which("node") is None:
        missing("Node.js and npm are not installed")
    # Peer dependencies (Next.js, React) are left out: what is tested does without.
    wanted = json.dumps({"private": True, "type": "module", "dependencies": NPM, "overrides": OVERRIDES}, indent=1)
    base = Path(os.environ.get("MUX_ASYNC_NODE_CACHE") or Path(gettempdir()) / "mux-async-node")
    folder = base / f"clients-{sha256(wanted.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            (folder / "package.json").write_text(wanted)
            command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--no-package-lock"]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
            except subprocess.TimeoutExpired:
                missing("npm did not install the clients in time")
            if done.returncode:
                missing(f"npm cannot install the clients: {done.stderr[-500:]}")
            (folder / "node_modules" / "@mux" / "cli-linux-x64" / "mux").chmod(0o755)
            (folder / "installed").touch()
    return folder
