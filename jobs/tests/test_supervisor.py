"""The promises of start, follow, status, stop and prove, kept against real processes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anneal_job import process_identity
from tests.conftest import SECRET, Pod, until


def kinds(lines: list[dict[str, object]]) -> list[object]:
    return [line["type"] for line in lines]


def test_two_starts_at_once_give_one_supervisor(pod: Pod) -> None:
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: pod.start("one", naps=10)["state"], range(4)))
    assert sorted(states) == ["already", "already", "already", "started"]
    assert pod.follow("one")[-1]["exit"]["outcome"] == "succeeded"
    assert [event["type"] for event in pod.events("one")].count("started") == 1
    assert pod.start("one", naps=10)["state"] == "already"


def test_follow_gives_events_beats_and_the_exit(pod: Pod) -> None:
    pod.start("seen", naps=6)
    lines = pod.follow("seen")
    assert lines[-1]["type"] == "exit" and lines[-1]["result"]["naps"] == 6
    events = [line["event"]["type"] for line in lines if line["type"] == "event"]
    assert events[0] == "started" and events[-1] == "succeeded" and "progress" in events
    beats = [line for line in lines if line["type"] == "beat"]
    assert beats and beats[0]["alive"] is True and beats[0]["rssBytes"] > 0 and beats[0]["progressAgeSeconds"] >= 0


def test_follow_resumes_at_an_offset(pod: Pod) -> None:
    pod.run("again", "nap", naps=4)
    whole = [line for line in pod.follow("again") if line["type"] == "event"]
    size = pod.file("again", "events.jsonl").stat().st_size
    assert whole[-1]["offset"] == size
    for position, line in enumerate(whole):
        rest = [later for later in pod.follow("again", line["offset"]) if later["type"] == "event"]
        assert rest == whole[position + 1 :]
    code, lines = pod.command("follow", "--job", "again", "--from", str(size + 1), "--follower", "f")
    assert code == 2 and lines[0]["code"] == "BadInput"


def test_a_newer_follower_fences_the_older_one(pod: Pod) -> None:
    pod.start("fenced", naps=40)
    older = pod.popen("follow", "--job", "fenced", "--from", "0", "--follower", "older")
    until(lambda: pod.file("fenced", "follower").exists())
    newer = pod.follow("fenced", follower="newer")
    out, _ = older.communicate(timeout=10)
    assert json.loads(out.splitlines()[-1]) == {"type": "fenced"}
    assert newer[-1]["type"] == "exit"


def test_a_follower_whose_reader_is_gone_ends_quietly(pod: Pod) -> None:
    pod.start("quiet", naps=40)
    follower = pod.popen("follow", "--job", "quiet", "--from", "0", "--follower", "f")
    assert follower.stdout is not None and follower.stderr is not None
    follower.stdout.readline()
    follower.stdout.close()
    assert follower.wait(timeout=10) == 0
    assert follower.stderr.read() == b""


def test_a_killed_supervisor_is_lost_takes_its_program_along_and_restarts(pod: Pod) -> None:
    pod.start("lost", naps=60)
    record = pod.supervisor("lost")
    program = process_identity.from_json(record["program"])
    assert program is not None and program.alive()
    os.kill(record["pid"], signal.SIGKILL)
    assert pod.follow("lost")[-1] == {"type": "lost"}
    until(lambda: not program.alive())
    assert pod.command("status", "--job", "lost")[1][0]["state"] == "lost"
    answer = pod.start("lost", naps=60)
    assert (answer["state"], answer["attempt"]) == ("restarted", 2)
    until(lambda: [e.get("attempt") for e in pod.events("lost") if e["type"] == "started"] == [1, 2])
    assert pod.command("status", "--job", "lost")[1][0]["state"] == "running"


def test_a_reused_pid_is_not_taken_for_the_supervisor(pod: Pod) -> None:
    pod.start("reused", naps=60)
    os.kill(pod.supervisor("reused")["pid"], signal.SIGKILL)
    record = pod.supervisor("reused") | {"pid": os.getpid()}
    pod.file("reused", "supervisor.json").write_text(json.dumps(record))
    until(lambda: pod.command("status", "--job", "reused")[1][0]["state"] == "lost")


def test_stop_ends_as_stopped_and_is_repeatable(pod: Pod) -> None:
    pod.start("stop", naps=400)
    until(lambda: len(pod.events("stop")) > 1)
    assert pod.command("stop", "--job", "stop")[1] == [{"type": "stopping"}]
    line = pod.follow("stop")[-1]
    assert line["exit"]["outcome"] == "stopped" and line["exit"]["failure"] is None
    assert pod.command("stop", "--job", "stop")[1][0] == {"type": "exited", "exit": line["exit"]}
    assert pod.events("stop")[-1]["type"] == "stopped"


def test_a_program_that_ignores_the_stop_is_killed_after_the_grace(pod: Pod) -> None:
    pod.start("deaf", naps=1, mode="deaf")
    until(lambda: len(pod.events("deaf")) > 1)
    pod.command("stop", "--job", "deaf", "--grace-seconds", "0.3")
    end = pod.follow("deaf")[-1]["exit"]
    assert (end["outcome"], end["signal"]) == ("stopped", "SIGKILL")


def test_a_stop_ends_a_library_call_at_once(pod: Pod) -> None:
    pod.start("call", naps=1, mode="library call")
    until(lambda: len(pod.events("call")) > 1)
    pod.command("stop", "--job", "call", "--grace-seconds", "30")
    end = pod.follow("call")[-1]["exit"]
    assert (end["outcome"], end["exitCode"], end["signal"]) == ("stopped", 75, None)


def test_a_stop_at_the_very_beginning_still_ends_as_stopped(pod: Pod) -> None:
    for number in range(5):
        pod.start(f"early{number}", naps=400)
        os.kill(pod.supervisor(f"early{number}")["pid"], signal.SIGTERM)
        assert pod.follow(f"early{number}")[-1]["exit"]["outcome"] == "stopped"


@pytest.mark.parametrize(
    ("mode", "failure_class"),
    [("crash", "JobCrashed"), ("disk", "DiskFull"), ("killed", "Killed"), ("exit", "JobCrashed")],
)
def test_failures_are_classified(pod: Pod, mode: str, failure_class: str) -> None:
    line = pod.run("fails", "nap", mode=mode)
    assert line["exit"]["outcome"] == "failed" and line["result"] is None
    failure = line["exit"]["failure"]
    assert failure["class"] == failure_class and failure["advice"]
    assert len(failure["message"].encode()) <= 2048
    if mode == "crash":
        assert "broken with ***" in failure["message"]


def test_what_may_help_against_a_failure_reaches_the_caller(pod: Pod) -> None:
    failure = pod.run("remedied", "nap", mode="remedied")["exit"]["failure"]
    assert failure == {
        "class": "OutOfMemory",
        "message": "too large with ***",
        "advice": "less",
        "repeat": "changed",
        "change": "smallerBatch",
    }
    assert "repeat" not in pod.run("unremedied", "nap", mode="exit")["exit"]["failure"]


def test_secrets_are_nowhere_on_disk_nor_in_process_lists(pod: Pod) -> None:
    pod.start("secret", naps=20)
    record = pod.supervisor("secret")
    for pid in (record["pid"], record["program"]["pid"]):
        for name in ("cmdline", "environ"):
            assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    lines = pod.follow("secret")
    assert SECRET not in json.dumps(lines)
    assert lines[-1]["result"]["token"] == "***"
    assert "token in the log: ***" in pod.file("secret", "log.txt").read_text()
    pod.run("secret2", "nap", mode="crash")
    for file in pod.root.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def test_callers_at_fault_get_one_error_line(pod: Pod) -> None:
    request = pod.request("bad", "nap", {})
    cases = [
        ({**request, "protocol": 2}, "ProtocolMismatch"),
        ({**request, "job": {**request["job"], "jobId": "../up"}}, "BadInput"),
        ({**request, "job": {**request["job"], "stage": "unheard"}}, "BadInput"),
        ([], "BadInput"),
    ]
    for stdin, expected in cases:
        code, lines = pod.command("start", stdin=stdin)
        assert (code, lines[0]["type"], lines[0]["code"]) == (2, "error", expected)
    for command in (["status"], ["stop"], ["follow", "--follower", "f"]):
        code, lines = pod.command(*command, "--job", "nobody")
        assert (code, lines[0]["code"]) == (2, "UnknownJob")
    code, lines = pod.command("dance")
    assert (code, lines[0]["code"]) == (2, "BadInput")


def test_the_same_id_with_other_params_is_refused(pod: Pod) -> None:
    pod.run("same", "nap", naps=1)
    code, lines = pod.command("start", stdin=pod.request("same", "nap", {"naps": 2}))
    assert (code, lines[0]["code"]) == (2, "BadInput")


def test_a_torn_event_line_is_cut_before_the_next_attempt(pod: Pod) -> None:
    pod.start("torn", naps=60)
    os.kill(pod.supervisor("torn")["pid"], signal.SIGKILL)
    until(lambda: pod.command("status", "--job", "torn")[1][0]["state"] == "lost")
    whole = pod.file("torn", "events.jsonl").read_bytes()
    whole = whole[: whole.rindex(b"\n") + 1]
    pod.file("torn", "events.jsonl").write_bytes(whole + b'{"type":"prog')
    pod.start("torn", naps=60)
    until(lambda: len(pod.file("torn", "events.jsonl").read_bytes()) > len(whole) + 20)
    assert pod.file("torn", "events.jsonl").read_bytes().startswith(whole + b'{"type":"started"')


def test_prove_answers_with_the_mac_of_every_host_key(pod: Pod, tmp_path: Path) -> None:
    keys = tmp_path / "ssh"
    keys.mkdir()
    blobs = {"ssh-ed25519": os.urandom(51), "ssh-rsa": os.urandom(279)}
    for kind, blob in blobs.items():
        name = kind.removeprefix("ssh-")
        (keys / f"ssh_host_{name}_key.pub").write_text(f"{kind} {base64.b64encode(blob).decode()} root@pod\n")
    pod.env["ANNEAL_SSH_DIR"] = str(keys)
    assert pod.command("prove")[1][0]["code"] == "NoBootValue"
    pod.root.mkdir(parents=True, exist_ok=True)
    (pod.root / "boot-value").write_text("one-use value\n")
    proof = pod.command("prove")[1][0]
    expected = {kind: hmac.new(b"one-use value", blob, hashlib.sha256).hexdigest() for kind, blob in blobs.items()}
    assert proof == {"type": "proof", "protocol": 1, "macs": expected}


def test_hello_names_the_protocol(pod: Pod) -> None:
    code, lines = pod.command("hello")
    assert code == 0 and lines[0]["type"] == "hello" and lines[0]["protocol"] == 1
