"""The deployment files in ``examples/ingest_hosts``: their commands, options and variables exist, and what they start ingests a list."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import yaml

from mux_async.emulator import Emulator, EmulatorSettings
from tests._servers import postgres_server, redis_server, require
from tests.cli.commands import CREDENTIALS, check_options, command, environment, run, run_here, serve_here

FOLDER = Path(__file__).parents[2] / "examples" / "ingest_hosts"
COMPOSE: Mapping[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
KUBERNETES: Mapping[str, Mapping[str, Any]] = {
    each["kind"]: each for each in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
}
UNIT = (FOLDER / "mux-ingest-worker.service").read_text()
IMAGE = "mux-ingest"


@pytest.fixture(autouse=True)
def _shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variable that makes `ingest work` the command of many hosts, as the files do."""
    monkeypatch.setenv("MUX_INGEST_DATABASE", COMPOSE["x-mux"]["environment"]["MUX_INGEST_DATABASE"])


def unit(name: str) -> str:
    """Return the setting *name* of the systemd unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return cast("str", value)


@attrs.frozen
class Started:
    """A command of ``mux-async`` that a file starts: its arguments, and the seconds until it is killed."""

    name: str
    arguments: tuple[str, ...]
    grace: float | None = None


def started() -> Iterator[Started]:
    for name, service in COMPOSE["services"].items():
        if service["image"] == IMAGE:
            grace = service.get("stop_grace_period")
            yield Started(f"compose {name}", tuple(service["command"]), grace and float(grace.removesuffix("s")))
    for kind in ("Job", "Deployment"):
        pod = KUBERNETES[kind]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == IMAGE
        yield Started(f"kubernetes {kind}", tuple(container["args"]), pod.get("terminationGracePeriodSeconds"))
    yield Started("systemd", tuple(shlex.split(unit("ExecStart"))[1:]), float(unit("TimeoutStopSec")))


STARTED = {each.name: each for each in started()}


@pytest.mark.parametrize("name", STARTED)
def test_commands(name: str) -> None:
    """Each command that a file starts exists, and has the options."""
    check_options(STARTED[name].arguments)


def test_commands_in_comments() -> None:
    """So do those that comments name."""
    texts = [path.read_text() for path in FOLDER.iterdir()]
    found = {each for text in texts for each in re.findall(r"mux-async (ingest [a-z-]+)$", text, re.MULTILINE)}

    assert found >= {"ingest new-key", "ingest status"}
    for words in found:
        check_options(words.split())


@pytest.mark.parametrize("name", [name for name, each in STARTED.items() if "work" in each.arguments])
def test_time_to_drain(name: str) -> None:
    """Workers get the time that --drain takes, and 20 seconds to return their items."""
    arguments, grace = STARTED[name].arguments, STARTED[name].grace

    assert grace is not None
    assert grace >= float(arguments[arguments.index("--drain") + 1]) + 20


def test_variables(tmp_path: Path) -> None:
    """Every variable that the files set is one that `mux-async` reads."""
    checks = json.loads(run_here("doctor", "--json", env={**CREDENTIALS, "XDG_CONFIG_HOME": str(tmp_path)}).stdout)["checks"]
    known = {each["name"] for each in checks if each["topic"] == "variable"}
    example = dict(line.split("=", 1) for line in (FOLDER / "ingest.env.example").read_text().splitlines() if line[0] != "#")
    needed = {"MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_INGEST_KEY", "MUX_INGEST_DATABASE", "MUX_LIMITS_URL"}

    assert needed <= known
    assert set(COMPOSE["x-mux"]["environment"]) == set(KUBERNETES["Secret"]["stringData"]) == needed
    assert set(example) == needed | {"POSTGRES_PASSWORD"}
    assert set(re.findall(r"\$\{([A-Z_]+):\?\}", (FOLDER / "compose.yaml").read_text())) <= set(example)


def test_systemd_unit(tmp_path: Path) -> None:
    """systemd takes the unit. The program of its ExecStart is not installed here, so that another stands in for it."""
    place = tmp_path / "mux-ingest-worker.service"
    place.write_text(UNIT.replace(shlex.split(unit("ExecStart"))[0], "/bin/true"))
    verify = [require("systemd-analyze"), "verify", "--man=no", str(place)]
    done = subprocess.run(verify, check=False, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_compose_file_ingests_the_list(tmp_path: Path) -> None:
    """The commands of the compose file, with its variables, ingest a list; the worker ends with 0 on SIGTERM."""
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text("url,key\nhttps://example.com/a.mp4?token=1,a\nhttps://example.com/b.mp4,b\n")
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.2))

    def arguments(service: str) -> list[str]:
        return [each.replace("/list/catalogue.csv", str(catalogue)) for each in COMPOSE["services"][service]["command"]]

    with (
        postgres_server(tmp_path / "postgres.log") as database,
        redis_server(tmp_path / "redis.log") as limits,
        serve_here(emulator) as server,
        (tmp_path / "worker.log").open("wb") as log,
    ):
        values = {
            **CREDENTIALS,
            "MUX_INGEST_KEY": run("ingest", "new-key").stdout.strip(),
            "MUX_INGEST_DATABASE": database.url,
            "MUX_LIMITS_URL": limits.url,
        }
        env = {**{name: values[name] for name in COMPOSE["x-mux"]["environment"]}, "MUX_BASE_URL": server.origin}
        submitted = run(*arguments("submit"), env=env)
        assert submitted.stdout == "2 items submitted, 0 known before\n", submitted.stderr
        worker = subprocess.Popen(command(*arguments("worker")), env=environment(env), stdout=log, stderr=log)
        try:
            done = run(*arguments("status"), "--watch", env=env)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0, (tmp_path / "worker.log").read_text()
        finally:
            worker.kill()
            worker.wait()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ready"] == 2
    emulator.close()
