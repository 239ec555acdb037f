"""The files of .github and .pre-commit-config.yaml against their schemas, the Makefile and pyproject.toml. None of them runs here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.pythons import SUPPORTED

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def jobs_of(workflow: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return jobs


def steps_of(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs_of(workflow).values() for step in job["steps"]]


@pytest.mark.proof
def test_files_fit_their_schemas() -> None:
    """GitHub's schemas for workflows and issue forms accept the files."""
    for schema, files in {
        "vendor.github-workflows": WORKFLOWS,
        "vendor.github-issue-config": [ROOT / ".github/ISSUE_TEMPLATE/config.yml"],
        "vendor.github-issue-forms": [
            path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
        ],
    }.items():
        assert files
        assert accepts(schema, *files)


@pytest.mark.proof
def test_a_wrong_workflow_is_refused(tmp_path: Path) -> None:
    """A misspelt key is found."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on:", "run-on:"))

    assert not accepts("vendor.github-workflows", wrong)


def accepts(schema: str, *files: Path) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_commands_are_those_of_a_developer(workflow: Path) -> None:
    """Every command is a target of the Makefile, or .ci/run, and an expression is never put into a shell's text."""
    commands = [step["run"] for step in steps_of(workflow) if "run" in step]

    assert commands
    for command in commands:
        assert "${{" not in command
        assert command == ".ci/run" or command.split()[:1] == ["make"], command
        assert command == ".ci/run" or command.split()[1] in TARGETS, command


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow: Path) -> None:
    """Every action is named by a commit, with its version beside it, so that a moved tag changes nothing."""
    used = re.findall(r"uses: (.+)", workflow.read_text("utf-8"))

    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_are_bounded_and_may_do_little(workflow: Path) -> None:
    """Every job has a time limit; a workflow may read the repository, and only the jobs of a release may sign."""
    document = yaml.safe_load(workflow.read_text("utf-8"))

    assert document["permissions"] == {"contents": "read"}
    for job in jobs_of(workflow).values():
        assert job["timeout-minutes"] <= 90
        assert workflow.name == "publish.yml" or "permissions" not in job


def test_publishing_has_no_password_and_attests() -> None:
    """What was checked is what is attested and uploaded, by trusted publishing from an environment of its own."""
    jobs = jobs_of(ROOT / ".github/workflows/publish.yml")
    upload = jobs["upload"]

    assert "secrets." not in (ROOT / ".github/workflows/publish.yml").read_text("utf-8")
    assert upload["permissions"] == {"id-token": "write"}
    assert upload["environment"] == "pypi"
    assert upload["needs"] == "build"
    assert [step.get("run", "").split()[:2] for step in jobs["build"]["steps"] if "run" in step] == [
        ["make", "release-check"],
        ["make", "sbom"],
    ]


def test_pythons_are_the_same_everywhere() -> None:
    """The workflow, the tools and the metadata name the same versions of Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = jobs_of(ROOT / ".github/workflows/test.yml")["unit"]["strategy"]["matrix"]

    assert matrix["python"] == list(SUPPORTED)
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert set(classified) <= set(SUPPORTED)
    assert project["requires-python"] == f">={SUPPORTED[0]}"


def test_hooks_are_targets_of_the_makefile() -> None:
    """What runs before a commit is what `make` runs, with nothing else to install."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]

    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        make, target = hook["entry"].split()
        assert (make, hook["language"]) == ("make", "system")
        assert target in TARGETS
