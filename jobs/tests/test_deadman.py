"""The decisions of the dead-man switch, with clocks and files as plain values; and its record and lease as files."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

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
    assert (attempt["call"], attempt["api"]) == ("podTerminate", "graphql") and attempt["answer"].startswith("unreachable")
    assert "rpa_secret" not in text + "".join(capfd.readouterr())
    # Contact after all: it stands down.
    (tmp_path / "anneal" / "lease").touch()
    switch.round()
    assert json.loads((tmp_path / "anneal" / "deadman.json").read_text())["state"] == "armed"


Heard = list[tuple[str, str, object]]


class Provider(BaseHTTPRequestHandler):
    """Answers each API with its status in turn, the last one for ever, and notes what it was asked."""

    statuses: ClassVar[dict[str, list[int]]] = {}
    heard: ClassVar[Heard] = []

    def answer(self) -> None:
        api = "graphql" if self.path == "/graphql" else "v2"
        text = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.heard.append((api, self.command, json.loads(text) if text else None))
        left = self.statuses[api]
        status = left.pop(0) if len(left) > 1 else left[0]
        body = b"" if status == 204 else b"{}"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status < 400:
            self.send_header("location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[str]:
    Provider.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def due_switch(base: str, root: Path, api: str = "v2") -> Switch:
    """A switch whose boot deadline is over."""
    env = {"RUNPOD_POD_ID": "a pod", "RUNPOD_API_KEY": "rpa_secret", "RUNPOD_API_BASE_URL": base}
    own = {"ANNEAL_WORKSPACE": str(root), "ANNEAL_RUNPOD_API": api, "ANNEAL_BOOT_DEADLINE_SECONDS": "0.000001"}
    return Switch({**env, **own})


def keep_output(root: Path) -> None:
    folder = root / "anneal" / "work" / "ablate"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("trial")


TERMINATE = ("v2", "DELETE", None)
STOP = ("v2", "POST", {"action": "stop"})


@pytest.mark.parametrize("status", [301, 404, 405, 410])
def test_an_api_that_is_gone_is_followed_by_the_other_at_once(provider: str, tmp_path: Path, status: int) -> None:
    Provider.statuses = {"v2": [status], "graphql": [200]}
    due_switch(provider, tmp_path).round()
    assert Provider.heard[0] == TERMINATE
    assert [api for api, _, _ in Provider.heard] == ["v2", "graphql"]
    assert "podTerminate" in str(Provider.heard[1][2])
    Provider.heard = []
    Provider.statuses = {"graphql": [status], "v2": [204]}
    due_switch(provider, tmp_path, api="").round()
    assert [api for api, _, _ in Provider.heard] == ["graphql", "v2"]


@pytest.mark.parametrize("first", [503, 429, 204])
def test_an_api_that_fails_or_does_not_end_the_pod_is_joined_by_the_other(provider: str, tmp_path: Path, first: int) -> None:
    Provider.statuses = {"v2": [first], "graphql": [200]}
    switch = due_switch(provider, tmp_path)
    for _ in range(deadman.BOTH_FROM_ATTEMPT - 1):
        switch.round()
    assert {api for api, _, _ in Provider.heard} == {"v2"}
    switch.round()
    assert [api for api, _, _ in Provider.heard[-2:]] == ["v2", "graphql"]


def test_what_both_refuse_is_followed_by_a_stop_by_the_first(provider: str, tmp_path: Path) -> None:
    Provider.statuses = {"v2": [403, 200], "graphql": [403]}
    due_switch(provider, tmp_path).round()
    assert [(api, method) for api, method, _ in Provider.heard] == [("v2", "DELETE"), ("graphql", "POST"), ("v2", "POST")]
    assert Provider.heard[-1] == STOP


def test_an_api_out_of_order_does_not_keep_the_other_from_stopping(provider: str, tmp_path: Path) -> None:
    Provider.statuses = {"v2": [503], "graphql": [403]}
    switch = due_switch(provider, tmp_path)
    for _ in range(deadman.BOTH_FROM_ATTEMPT):
        switch.round()
    assert "podStop" in str(Provider.heard[-1][2])


def test_output_outlives_an_outage_beside_a_retired_api_and_a_refusal(provider: str, tmp_path: Path) -> None:
    for gone in (410, 403):
        Provider.statuses = {"v2": [503], "graphql": [gone]}
        keep_output(tmp_path / str(gone))
        switch = due_switch(provider, tmp_path / str(gone), api="graphql")
        for _ in range(2 * deadman.STOPS_BEFORE_TERMINATE):
            switch.round()
    assert not [sent for sent in Provider.heard if sent == TERMINATE or "podTerminate" in str(sent[2])]


def test_output_does_not_outlive_stops_that_both_refuse(provider: str, tmp_path: Path) -> None:
    Provider.statuses = {"v2": [409], "graphql": [410]}
    keep_output(tmp_path)
    switch = due_switch(provider, tmp_path)
    for _ in range(deadman.STOPS_BEFORE_TERMINATE):
        switch.round()
    assert TERMINATE not in Provider.heard
    switch.round()
    assert TERMINATE in Provider.heard


def test_the_program_fits_into_an_environment_variable() -> None:
    program = Path(deadman.__file__).read_text()
    # Comments and short docstrings stay behind (domain/pod-start.ts): a body must not consist of one alone.
    sent = [line for line in program.splitlines() if not re.fullmatch(r'\s*(#.*)?|\s+"""[^"]*"""', line)]
    assert len("\n".join(sent).encode()) < 12 * 1024
    compile("\n".join(sent), "sent", "exec")
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
