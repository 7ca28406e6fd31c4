"""Environments from a lock: made once, marked last, made again when the lock changes; every end of the installer named."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure, JobStopped
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from tests.conftest import JOBS, until
from toolchains.gpu import environments
from toolchains.gpu.environments import Environment, ensure, installation_failure, pinned

REQUIREMENTS = JOBS / "toolchains/gpu/requirements"

# Stands in for the installer: keeps its command line, does as the files beside it say.
FAKE_UV = f"""#!{sys.executable}
import pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
if sys.argv[1] == "venv":
    folder = pathlib.Path(sys.argv[-1])
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(sys.executable)
    sys.exit()
answers = here / "answers"
lines = answers.read_text().splitlines() if answers.exists() else []
answers.write_text("\\n".join(lines[1:]))
if lines and lines[0]:
    if lines[0] == "hang":
        (here / "hanging").touch()
        time.sleep(60)
    sys.exit(lines[0])
"""


class Place:
    """A folder for environments, a fake installer in front of PATH, and a job's context."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        uv = self.bin / "uv"
        uv.write_text(FAKE_UV)
        uv.chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("ANNEAL_ENVS", str(folder / "envs"))
        monkeypatch.setattr(environments, "_FIRST_PAUSE_SECONDS", 0.01)
        self.lock = folder / "tiny.txt"
        self.lock.write_text("tiny==1.0 \\\n    --hash=sha256:00\n")
        self.environment = Environment("tiny", self.lock, 1000)
        self.events = folder / "events.jsonl"
        self.context = JobContext("j", "prepare", "gpu", {}, WorkPaths(folder / "work"), EventLog(self.events, SecretsFilter([])))

    def answers(self, *lines: str) -> None:
        (self.bin / "answers").write_text("\n".join(lines))

    def installs(self) -> int:
        return (self.bin / "calls").read_text().count("pip install")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_an_environment_is_made_once_with_hashes(place: Place) -> None:
    python = ensure(place.context, place.environment)
    assert python.exists() and python.parent.parent.name == f"tiny-{place.environment.key}"
    call = (place.bin / "calls").read_text().splitlines()[1]
    assert "--require-hashes" in call and str(place.lock) in call
    ensure(place.context, place.environment)
    assert place.installs() == 1
    events = [json.loads(line) for line in place.events.read_text().splitlines()]
    assert events[-1]["phase"] == "install tiny" and events[-1]["done"] == events[-1]["total"] == 1000


def test_another_lock_makes_another_environment_and_removes_the_old_one(place: Place) -> None:
    old = ensure(place.context, place.environment)
    place.lock.write_text("tiny==1.1 \\\n    --hash=sha256:01\n")
    new = ensure(place.context, place.environment)
    assert new != old and new.exists() and not old.exists()


def test_one_that_needs_another_python_is_made_with_it(place: Place) -> None:
    other = replace(place.environment, needs_python="3.12")
    ensure(place.context, other)
    assert (place.bin / "calls").read_text().splitlines()[0].split()[-3:-1] == ["--python", "3.12"]
    assert replace(other, needs_python="3.13").key != other.key


def test_one_without_a_marker_is_made_anew(place: Place) -> None:
    python = ensure(place.context, place.environment)
    (python.parent.parent / environments.MARKER).unlink()
    (python.parent.parent / "half-installed").touch()
    ensure(place.context, place.environment)
    assert place.installs() == 2 and not (python.parent.parent / "half-installed").exists()


def test_an_unreachable_index_is_asked_again(place: Place) -> None:
    place.answers("error: Failed to fetch: `https://index/simple/tiny/`", "error: operation timed out", "")
    ensure(place.context, place.environment)
    assert place.installs() == 3


@pytest.mark.parametrize(
    ("said", "expected", "tries"),
    [
        ("error: error sending request for url", "PackageIndexUnavailable", 3),
        ("error: failed to write: No space left on device (os error 28)", "DiskFull", 1),
        ("error: Hash mismatch for `tiny==1.0`", "EnvironmentFailed", 1),
        ("x No solution found: tiny==1.0 has no wheels with a matching Python ABI tag", "EnvironmentFailed", 1),
    ],
)
def test_a_failed_install_leaves_nothing_and_names_its_cause(place: Place, said: str, expected: str, tries: int) -> None:
    place.answers(*[said] * 3)
    with pytest.raises(JobFailure) as caught:
        ensure(place.context, place.environment)
    assert caught.value.failure_class == expected and caught.value.advice
    assert place.installs() == tries
    assert not place.environment.folder().exists()


def test_a_stop_ends_the_installer(place: Place) -> None:
    place.answers("hang")

    def stop() -> None:
        until(lambda: (place.bin / "hanging").exists())
        place.context.stop.asked = True

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobStopped):
        ensure(place.context, place.environment)
    thread.join()
    assert not place.environment.ready()


def test_too_little_disk_is_said_before_anything_is_fetched(place: Place) -> None:
    huge = Environment("tiny", place.lock, 10**18)
    with pytest.raises(JobFailure) as caught:
        ensure(place.context, huge)
    assert caught.value.failure_class == "DiskFull" and not (place.bin / "calls").exists()


def test_the_locks_pin_what_was_measured_and_name_no_host() -> None:
    ablate, quant, io = (pinned(REQUIREMENTS / f"{name}.txt") for name in ("ablate", "quant", "io"))
    assert (ablate["heretic-llm"], ablate["torch"], ablate["transformers"]) == ("1.4.0", "2.9.1", "5.6.2")
    assert (ablate["peft"], ablate["bitsandbytes"], ablate["optuna"]) == ("0.19.1", "0.49.2", "4.8.0")
    assert (quant["llmcompressor"], quant["torch"]) == ("0.14.0.1", "2.10.0")
    assert quant["transformers"].split(".")[:2] in (["5", "15"], ["5", "16"], ["5", "17"])
    rehearsal = dict(line.split("==") for line in (JOBS / "locks/rehearsal.txt").read_text().splitlines() if "==" in line)
    same = {name.lower().replace("_", "-"): version.split(" ")[0] for name, version in rehearsal.items()}
    assert {name: same.get(name, version) for name, version in io.items()} == io
    for file in REQUIREMENTS.glob("*.txt"):
        text = file.read_text()
        assert "://" not in text and "index-url" not in text
        entries = re.findall(r"^[A-Za-z0-9._-]+==", text, re.M)
        assert len(entries) >= 1 and text.count("--hash=sha256:") >= len(entries)


def test_what_the_installer_says_is_shortened_to_its_end() -> None:
    failure = installation_failure("quant", "x\n" * 5000 + "error: Hash mismatch for `torch`")
    assert len(failure.message) < 700 and "Hash mismatch" in failure.message
