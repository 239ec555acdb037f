"""The official Node client accepts and refuses the same deliveries: signed by us, signed by the emulator, and invalid ones."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import attrs
import pytest

from mux_async.emulator import sign_webhook
from mux_async.webhooks import SignatureError, sign, unwrap
from tests.emulator import official
from tests.webhooks.samples import body_of

pytestmark = pytest.mark.proof

SCRIPT = Path(__file__).parent / "node" / "verify.cjs"


@attrs.frozen
class Sent:
    """A delivery, and whether both are to accept it."""

    body: bytes
    header: str
    secret: str
    expected: str


def deliveries() -> list[Sent]:
    now = int(time.time())
    text = '{"type":"video.asset.ready","id":"1","data":{"meta":{"title":"\u00e9t\u00e9 \U0001f3ac / <b>"}},  "x":1.0}'.encode()
    right, ok = body_of(), "ok video.asset.ready"
    digest = sign(right, "s", at=now).partition(",v1=")[2]
    made = [
        Sent(body, sign(body, secret, at=now), secret, ok)
        for body in (right, text)
        for secret in ("s", "\u00e9\U0001f3ac", "x" * 200)
    ]
    made += [Sent(right, sign_webhook("emulated", now, right), "emulated", ok)]
    made += [
        Sent(right, f"t={now},v1={'0' * 64},v1={digest}", "s", ok),
        Sent(right, f"t={now},v2=abc,v1={digest}", "s", ok),
        Sent(right, sign(right, "s", at=now - 200), "s", ok),
        Sent(right, sign(right, "s", at=now - 400), "s", "no"),
        Sent(right, sign(right, "other", at=now), "s", "no"),
        Sent(right + b" ", sign(right, "s", at=now), "s", "no"),
        Sent(right, f"t={now},v1={digest[:-1]}0" if digest[-1] != "0" else f"t={now},v1={digest[:-1]}1", "s", "no"),
        Sent(right, f"t={now}", "s", "no"),
        Sent(right, f"v1={digest}", "s", "no"),
        Sent(right, "", "s", "no"),
    ]
    return made


@pytest.fixture(scope="module")
def verdicts() -> list[str]:
    """Return the result of the official client for each delivery."""
    folder = official.node_modules()
    copy = folder / SCRIPT.name
    copy.write_text(SCRIPT.read_text())
    lines = "".join(
        json.dumps({"body": each.body.decode(), "header": each.header, "secret": each.secret}) + "\n" for each in deliveries()
    )
    given = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        ["node", str(copy)], cwd=folder, env=given, input=lines, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_agreement(verdicts: list[str]) -> None:
    """Both accept the same deliveries and refuse the same."""
    ours: list[str] = []
    for each in deliveries():
        try:
            ours.append(f"ok {unwrap(each.body, {'Mux-Signature': each.header}, each.secret).type}")
        except SignatureError:
            ours.append("no")

    assert ours == [each.expected for each in deliveries()]
    assert verdicts == ours
