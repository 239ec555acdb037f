"""What does a token cost beside the RS256 signature in it, and does making keys and tokens ever hold up an event loop?

Method, cost: one process, CPU time, a loaded key of 2048 bits, contenders in turn within a round, medians of the ratios to the bare call of
``cryptography`` (PKCS#1 v1.5, SHA-256) over a text of a token's length within a round. *sign* is all of what a user calls: parameters
checked, claims made, encoded, signed.

Method, loop: asyncio; a task asks to be woken every millisecond while the work is done, and the most it was late beyond that is the time
that something held the loop. *idle* is the machine's own noise over the same time, and *as validated* what reading a key costs when
OpenSSL checks its primes, in a worker thread. Least and median of some runs, in turn: whatever else the machine does only ever adds.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from benchmarks._timing import Lateness, compare
from mux_async.signing import Signer, TokenCache, TokenRequest, verify

ID = "DS00Spx1CV902MCtPj5WknGlR102V5HFkDe"
KEY_ID = "Keyx01Zl2Lw8QTSq00cPLY2mbZTLKNvtGuhJkT1CaC5w"


async def lateness(work: Callable[[], Awaitable[object]]) -> float:
    """Return the most that the loop was held while *work* ran, in milliseconds."""
    with Lateness() as watched:
        await asyncio.sleep(0.01)
        watched.seen.clear()
        await work()
        await asyncio.sleep(0.005)
    return watched.worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    signer, cached = Signer(KEY_ID, key), Signer(KEY_ID, key, cache=TokenCache())
    token, public = signer.sign(ID), signer.public_keys
    text = token.rpartition(".")[0].encode()
    signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    claims = {"sub": ID, "aud": "v", "exp": int(time.time()) + 60, "kid": KEY_ID}
    contenders: dict[str, Callable[[], object]] = {
        "bare signature": lambda: key.sign(text, padding.PKCS1v15(), hashes.SHA256()),
        "PyJWT": lambda: jwt.encode(claims, key, algorithm="RS256", headers={"kid": KEY_ID}),
        "sign": lambda: signer.sign(ID),
        "sign, with parameters": lambda: signer.sign(
            ID, "thumbnail", params={"time": 2.5, "width": 640, "fit_mode": "preserve"}
        ),
        "sign, from the cache": lambda: cached.sign(ID),
        "bare verification": lambda: public[KEY_ID].verify(signature, text, padding.PKCS1v15(), hashes.SHA256()),
        "verify": lambda: verify(token, public, audience="v"),
        "a signer from PEM": lambda: Signer(KEY_ID, pem),
    }
    libraries = ", ".join(f"{name} {version(name)}" for name in ("cryptography", "PyJWT"))
    print(f"Python {platform.python_version()}, {platform.machine()}, {libraries}")
    compare(contenders, rounds=options.rounds, count=options.count)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.write_bytes(b64encode(pem))
        requests = [TokenRequest(f"{ID}{number}", "thumbnail", {"time": number}) for number in range(192)]
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "idle": lambda: asyncio.sleep(0.06),
            "load a key file": lambda: Signer.load(KEY_ID, path),
            "192 tokens": lambda: signer.sign_each(requests),
            "as validated": lambda: asyncio.to_thread(load_pem_private_key, pem, None),
        }
        runs = [{name: asyncio.run(lateness(work)) for name, work in works.items()} for _ in range(options.runs)]
        for name in works:
            held = sorted(one[name] for one in runs)
            print(f"loop held, {name:17} {held[0]:8.2f} ms at least, {statistics.median(held):8.2f} ms in the middle")


if __name__ == "__main__":
    main()
