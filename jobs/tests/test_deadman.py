"""The decisions of the dead-man switch, with clocks and files as plain values; and its record and lease as files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deadman import deadman
from deadman.deadman import (
    DAY,
    FARTHEST,
    Limits,
    Sight,
    State,
    Switch,
    choose,
    due,
    has_uncollected,
    observe,
    read_moment,
    resumed,
)
from tests.conftest import Pod

LIMITS = Limits(boot=100, lease=200, hard=1000)
NOW = 1_800_000_000.0


def start() -> State:
    return State(age=0, hard_age=LIMITS.hard)


def at(age: float, lease: str | None = None, deadline: str | None = None, epoch: float | None = None) -> Sight:
    return Sight(age, NOW + age if epoch is None else epoch, lease, deadline)


def seen(*sights: Sight) -> State:
    state = start()
    for sight in sights:
        state = observe(state, sight)
    return state


def test_boot_deadline_without_any_contact() -> None:
    assert due(seen(at(99.9)), LIMITS) is None
    assert due(seen(at(100)), LIMITS) == "boot"


def test_contact_replaces_the_boot_deadline_by_the_lease() -> None:
    assert due(seen(at(90, "a"), at(289, "a")), LIMITS) is None
    assert due(seen(at(90, "a"), at(290, "a")), LIMITS) == "lease"


def test_every_renewal_moves_the_lease_but_never_the_hard_deadline() -> None:
    sights = [at(age, f"mark{age}") for age in range(50, 1000, 50)]
    assert due(seen(*sights), LIMITS) is None
    assert due(seen(*sights, at(1000, "newest")), LIMITS) == "hard"


@pytest.mark.parametrize("text", [str(int(NOW + 3000)), "2027-01-15T08:50:00Z", "2027-01-15T08:50:00.000+00:00"])
def test_a_moved_deadline_counts_from_the_moment_it_is_seen(text: str) -> None:
    assert read_moment(text) == NOW + 3000
    state = seen(at(500, "a", text))
    assert state.hard_age == 3000
    assert due(observe(state, at(2999, "b", text)), LIMITS) is None
    assert due(observe(state, at(3000, "b", text)), LIMITS) == "hard"


def test_a_deadline_may_come_nearer_but_never_lie_in_the_past() -> None:
    assert seen(at(500, deadline=str(NOW + 600))).hard_age == pytest.approx(600)
    assert seen(at(500, deadline=str(NOW + 500))).hard_age == 1000
    assert seen(at(500, deadline="0")).hard_age == 1000


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf", "1e400", "\ufffd\ufffd", "{}", "1800003000000", "9999-99-99"])
def test_garbage_in_the_deadline_file_changes_nothing(text: str) -> None:
    assert seen(at(500, deadline=text)).hard_age == 1000


def test_a_good_value_after_garbage_counts_and_a_vanished_file_changes_nothing() -> None:
    state = seen(at(1, deadline="soon"), at(2, deadline=str(NOW + 5000)), at(3))
    assert state.hard_age == pytest.approx(5000)


@pytest.mark.parametrize("step", [-10 * DAY, 10 * DAY])
def test_a_clock_step_moves_no_deadline(step: float) -> None:
    text = str(NOW + 3000)
    before = seen(at(90, "a", text))
    after = observe(before, at(95, "a", text, epoch=NOW + step))
    assert (after.hard_age, after.contact_age) == (before.hard_age, before.contact_age)
    assert due(observe(after, at(289, "a", text, epoch=NOW + step)), LIMITS) is None
    assert due(observe(after, at(290, "a", text, epoch=NOW + step)), LIMITS) == "lease"


def test_age_never_goes_back() -> None:
    assert seen(at(50), at(40)).age == 50


def record(**changes: object) -> dict[str, object]:
    kept = {"age": 500.0, "hard_age": 3000.0, "contact_age": 450.0, "lease_mark": "a", "deadline_text": "x"}
    return {"podId": "p", "bootId": "b", "uptime": 10_000.0, "epoch": NOW, "kept": kept, **changes}


def test_a_container_started_again_goes_on_where_the_last_one_was() -> None:
    now = {"podId": "p", "bootId": "b", "uptime": 10_060.0, "epoch": NOW - 5 * DAY}
    expected = State(age=560, hard_age=3000, contact_age=450, lease_mark="a", deadline_text="x")
    assert resumed(record(), now, LIMITS) == expected
    # Another machine's uptime says nothing; the wall clock has to do, and never turns time back.
    moved = {**now, "bootId": "other", "epoch": NOW + 30}
    assert resumed(record(), moved, LIMITS) == replace(expected, age=530)
    assert resumed(record(), {**moved, "epoch": NOW - 30}, LIMITS) == replace(expected, age=500)


@pytest.mark.parametrize(
    "saved",
    [None, [], "text", {}, record(podId="another"), record(kept=None), record(kept={"age": "x"}), record(uptime=None)],
)
def test_a_record_that_is_garbage_or_another_pods_is_a_fresh_start(saved: object) -> None:
    now = {"podId": "p", "bootId": "b", "uptime": 10_060.0, "epoch": NOW}
    assert resumed(saved, now, LIMITS) == start()


def test_a_garbled_record_cannot_put_a_deadline_out_of_reach() -> None:
    kept = {"age": 500.0, "hard_age": 9e11, "contact_age": 9e11, "lease_mark": 7}
    state = resumed(record(kept=kept), {"podId": "p", "bootId": "b", "uptime": 10_000.0, "epoch": NOW}, LIMITS)
    assert state == State(age=500, hard_age=500 + FARTHEST, contact_age=500)


def test_uncollected_output_is_stopped_for_unless_stops_are_refused() -> None:
    assert choose(False, 0) == ["podTerminate", "podStop"]
    assert choose(True, 0) == ["podStop"]
    assert choose(True, deadman.STOPS_BEFORE_TERMINATE) == ["podTerminate", "podStop"]


def test_output_is_uncollected_while_a_file_is_newer_than_the_last_copy(tmp_path: Path) -> None:
    assert not has_uncollected(tmp_path)
    folder = tmp_path / "work" / "ablate" / "adapter"
    folder.mkdir(parents=True)
    assert not has_uncollected(tmp_path)
    (folder / "weights").write_text("w")
    assert has_uncollected(tmp_path)
    (tmp_path / "collected").touch()
    os.utime(folder / "weights", (1000, 1000))
    assert not has_uncollected(tmp_path)
    os.utime(folder / "weights", (2e9, 2e9))
    assert has_uncollected(tmp_path)


def test_garbled_settings_leave_the_switch_armed(tmp_path: Path) -> None:
    env = {"ANNEAL_BOOT_DEADLINE_SECONDS": "NaN", "ANNEAL_LEASE_SECONDS": "", "ANNEAL_HARD_DEADLINE_SECONDS": "-1"}
    switch = Switch({"ANNEAL_WORKSPACE": str(tmp_path), **env})
    assert switch.limits == Limits(2700, 7200, 7 * DAY)


def test_the_record_names_the_deadlines_and_never_the_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    env = {
        "ANNEAL_WORKSPACE": str(tmp_path),
        "RUNPOD_POD_ID": "pod",
        "RUNPOD_API_KEY": "rpa_secret",
        "RUNPOD_API_BASE_URL": "http://127.0.0.1:9",
        "ANNEAL_BOOT_DEADLINE_SECONDS": "0.000001",
    }
    (tmp_path / "anneal" / "hard-deadline").parent.mkdir(parents=True)
    (tmp_path / "anneal" / "hard-deadline").write_bytes(os.urandom(5000))
    (tmp_path / "anneal" / "deadman.json").write_bytes(b"\xff{")
    switch = Switch(env)
    assert 0 < switch.round() <= deadman.LONGEST_PAUSE
    text = (tmp_path / "anneal" / "deadman.json").read_text()
    written = json.loads(text)
    assert (written["state"], written["reason"], set(written["deadlines"])) == ("ending", "boot", {"boot", "hard"})
    [attempt] = written["lastAttempts"]
    assert attempt["call"] == "podTerminate" and attempt["answer"].startswith("unreachable")
    assert "rpa_secret" not in text + "".join(capfd.readouterr())
    # Contact after all: it stands down.
    (tmp_path / "anneal" / "lease").touch()
    switch.round()
    assert json.loads((tmp_path / "anneal" / "deadman.json").read_text())["state"] == "armed"


def test_the_program_fits_into_an_environment_variable() -> None:
    program = Path(deadman.__file__).read_text()
    assert len(program.encode()) < 14_000
    assert "{{" not in program


def test_commands_and_beats_renew_the_lease(pod: Pod) -> None:
    lease = pod.root / "lease"
    pod.command("hello")
    assert lease.exists()
    pod.start("leased", naps=20)
    os.utime(lease, (1000, 1000))
    pod.follow("leased")
    assert lease.stat().st_mtime > 1000
    lease.unlink()
    pod.command("follow", "--job", "unknown", "--from", "0", "--follower", "f")
    assert lease.exists()


def test_a_pod_that_was_stopped_and_started_again_gets_a_boot_deadline_to_be_spoken_to() -> None:
    now = {"podId": "p", "bootId": "other", "uptime": 5.0, "epoch": NOW + 20 * LIMITS.lease}
    state = resumed(record(), now, LIMITS)
    assert due(state, LIMITS) is None
    assert due(replace(state, age=state.age + LIMITS.boot), LIMITS) == "lease"
