"""What a follower is told, and how much of it: log, telemetry, floods, generations, versions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from anneal_job import telemetry
from anneal_job.events import EventLog
from anneal_job.follow import EventTail
from anneal_job.log_relay import LINE_LIMIT_BYTES, LogRelay
from anneal_job.log_tail import LogTail
from anneal_job.secrets_filter import SecretsFilter
from tests.conftest import SECRET, Pod, until

FLOODS = '''
"""Says too much, in a way of its own."""
import os, sys

def run(context):
    kind = context.params["kind"]
    if kind == "lines":
        line = ("x" * 79 + "\\n") * 1000
        for _ in range(1250):
            sys.stdout.write(line)
    if kind == "one line":
        for _ in range(1600):
            sys.stdout.write("y" * 65536)
    if kind == "events":
        for number in range(30000):
            context.events.emit("chatter", number=number, text="z" * 100)
    if kind == "raw events":
        path = os.environ["ANNEAL_WORKSPACE"] + "/anneal/jobs/" + context.job_id + "/events.jsonl"
        with open(path, "a") as stream:
            for number in range(200000):
                stream.write('{"type":"chatter","number":%d}\\n' % number)
            stream.write("w" * (3 << 20) + "\\n")
            stream.write('{"type":"chatter","number":-1}\\n')
    if kind == "word":
        for letter in "abc":
            print("say", letter, flush=True)
            context.wait(0.3)
    print("\\nthe last words" if kind == "one line" else "the last words", flush=True)
    return {}
'''


@pytest.fixture
def flood(pod: Pod, tmp_path: Path) -> Pod:
    (tmp_path / "extra" / "stages" / "flood.py").write_text(FLOODS)
    return pod


def log_of(lines: list[dict[str, Any]]) -> str:
    """The text of the log lines, which must follow each other without going back."""
    position = 0
    for line in (line for line in lines if line["type"] == "log"):
        assert position <= line["from"] < line["to"]
        assert len(line["text"].encode()) == line["to"] - line["from"]
        position = line["to"]
    return "".join(line["text"] for line in lines if line["type"] == "log")


def follow_log(pod: Pod, job_id: str, log_offset: int = 0) -> list[dict[str, Any]]:
    return pod.command("follow", "--job", job_id, "--from", "0", "--follower", "f", "--log-from", str(log_offset))[1]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def relay(path: Path, *pieces: bytes | float) -> tuple[str, str]:
    """What a relay writes for pieces of output (a number lets time pass), and the tail it remembers."""
    clock = Clock()
    path.unlink(missing_ok=True)
    made = LogRelay(path, SecretsFilter([SECRET]), clock)
    for piece in pieces:
        if isinstance(piece, bytes):
            made.feed(piece)
        else:
            clock.now += piece
    made.finish()
    return path.read_text(), made.tail()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_lines_pass_as_they_are(log: Path) -> None:
    assert relay(log, b"one\ntw", b"o\r\n\nfour")[0] == "one\ntwo\n\nfour\n"


def test_the_log_is_text_whatever_is_printed(log: Path) -> None:
    assert relay(log, b"a\xff\xfeb\n", "é\n".encode())[0] == "a\ufffd\ufffdb\né\n"


def test_a_long_line_is_cut_and_counted_however_it_arrives(log: Path) -> None:
    long = b"x" * 100_000
    for pieces in ([long + b"\nend\n"], [*(long[at : at + 700] for at in range(0, 100_000, 700)), b"\nend\n"]):
        text = relay(log, *pieces)[0]
        assert text.endswith("end\n")
        assert sum(int(part.split()[0]) for part in text.split("…[")[1:]) + text.count("x") == 100_000
        assert text.count("x") <= LINE_LIMIT_BYTES


def test_a_line_without_end_takes_no_memory_and_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    relay = LogRelay(path, SecretsFilter([SECRET]))
    for _ in range(3):
        relay.feed(b"y" * 50_000)
    assert path.read_text() == "y" * LINE_LIMIT_BYTES + "\n"
    relay.finish()
    assert path.read_text().endswith(f"…[{150_000 - LINE_LIMIT_BYTES} bytes of this line left out]\n")


@pytest.mark.parametrize("before", range(LINE_LIMIT_BYTES - 40, LINE_LIMIT_BYTES + 40, 7))
def test_a_secret_across_a_cut_is_not_halved(log: Path, before: int) -> None:
    text, tail = relay(log, b"x" * before, SECRET[:5].encode(), SECRET[5:].encode() + b"y" * 20_000, b"\n")
    for part in (SECRET, SECRET[:8], SECRET[-8:]):
        assert part not in text and part not in tail


def test_a_line_that_redraws_itself_is_shown_now_and_then(log: Path) -> None:
    text, _ = relay(log, *[piece for step in range(100) for piece in (f"\r{step} %".encode(), 0.1)], b"\r100 %\n")
    assert 2 <= text.count("%") <= 4 and text.endswith("100 %\n")


def test_a_flood_leaves_a_counted_gap_and_keeps_its_last_lines(log: Path) -> None:
    lines = [f"line {number:07d}\n".encode() for number in range(200_000)]
    text, tail = relay(log, *lines)
    gap = next(line for line in text.splitlines() if line.startswith("…"))
    assert len(text) + int(gap.split()[1]) - len(gap.encode()) - 1 == pytest.approx(13 * 200_000, abs=8)
    assert len(text) < 1_100_000
    assert text.endswith("line 0199999\n") and tail.endswith("line 0199999")


def test_after_a_flood_the_log_goes_on(log: Path) -> None:
    text, _ = relay(log, (b"f" * 99 + b"\n") * 20_000, 60.0, b"calm again\n")
    assert text.splitlines()[-1] == "calm again" and text.splitlines()[-2].startswith("… ")


def test_events_of_all_kinds_are_limited_and_say_so(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", SecretsFilter([]))
    for number in range(10_000):
        log.emit("chatter", number=number)
    time.sleep(0.1)
    log.emit("chatter", number=-1)
    log.close()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(events) < 3000
    assert len(events) + sum(event.get("leftOut", 0) for event in events) == 10_001


def test_a_tail_of_events_gives_the_newest_and_never_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(b'{"n":%d}\n' % number for number in range(50)))
    tail = EventTail(path, 0)
    found = tail.read_new(3)
    assert [event["n"] for _, event in found or []] == [47, 48, 49]
    assert found is not None and found[-1][0] == tail.offset == path.stat().st_size
    with path.open("ab") as stream:
        stream.write(b"w" * (3 << 20) + b'\n{"n":-1}\n')
    seen: list[Any] = []
    while (found := tail.read_new(3)) is not None:
        seen += found
    assert [event["n"] for _, event in seen] == [-1] and tail.offset == path.stat().st_size


def test_a_tail_of_the_log_skips_when_it_is_far_behind(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"0123456789\n" * 300_000)
    tail = LogTail(path, 5)
    piece = tail.read_piece()
    assert piece is not None and piece["from"] % 11 == 0 and piece["from"] > 2_900_000
    path.write_bytes(path.read_bytes() + b"bad \xff byte\nno newline")
    while (next_piece := tail.read_piece()) is not None:
        piece = next_piece
    assert piece["text"].endswith("bad ? byte\n")
    assert (tail.read_piece(whole=True) or {})["text"] == "no newline"


def test_the_log_is_followed_live_with_the_events_in_their_place(flood: Pod) -> None:
    flood.start("word", "flood", kind="word")
    lines = follow_log(flood, "word")
    text = log_of(lines)
    assert [line for line in text.splitlines() if not line.startswith("{")] == ["say a", "say b", "say c", "the last words"]
    events = [json.loads(line)["type"] for line in text.splitlines() if line.startswith("{")]
    assert events[0] == "started" and events[-1] == "succeeded"
    assert len([line for line in lines if line["type"] == "log"]) > 2
    # From any offset on, nothing is missing and nothing comes twice.
    for line in (line for line in lines if line["type"] == "log"):
        assert text.encode()[: line["to"]].decode() + log_of(follow_log(flood, "word", line["to"])) == text


def peak_kib(pid: int) -> int:
    """The most memory a process has had; 0 when it is gone."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rows if row.startswith("VmHWM")), 0)


@pytest.mark.parametrize("kind", ["lines", "one line", "events", "raw events"])
def test_a_flood_harms_neither_supervisor_nor_follower(flood: Pod, kind: str) -> None:
    flood.start("flood", "flood", kind=kind)
    supervisor = flood.supervisor("flood")["pid"]
    follower = flood.popen("follow", "--job", "flood", "--from", "0", "--follower", "f", "--log-from", "0")
    assert follower.stdout is not None
    lines: list[dict[str, Any]] = []
    peaks = [0]
    for text in follower.stdout:
        lines.append(json.loads(text))
        if len(lines) % 20 == 0 or lines[-1]["type"] == "beat":
            peaks += [peak_kib(supervisor), peak_kib(follower.pid)]
    assert follower.wait() == 0
    assert lines[-1]["exit"]["outcome"] == "succeeded"
    assert log_of(lines).splitlines()[-2] == "the last words"
    assert max(peaks) < 60_000
    assert len(lines) < 4000 and sum(len(json.dumps(line)) for line in lines) < 4_000_000
    assert flood.file("flood", "log.txt").stat().st_size < 4_000_000
    offsets = [line["offset"] for line in lines if line["type"] == "event"]
    assert offsets == sorted(offsets) and offsets[-1] == flood.file("flood", "events.jsonl").stat().st_size


def generation_of(pod: Pod, job_id: str) -> object:
    return json.loads(pod.file(job_id, "follower").read_text())["generation"]


def test_a_follower_of_an_older_generation_is_fenced_and_fences_nobody(pod: Pod) -> None:
    pod.start("gen", naps=60)
    follow = ("follow", "--job", "gen", "--from", "0", "--follower")
    newer = pod.popen(*follow, "newer", "--generation", "2")
    until(lambda: pod.file("gen", "follower").exists())
    for _ in range(3):
        assert pod.command(*follow, "older", "--generation", "1")[1] == [{"type": "fenced"}]
        assert pod.command(*follow, "nobody")[1] == [{"type": "fenced"}]
    assert generation_of(pod, "gen") == 2
    # The same follower on a new channel, and a newer one, take over.
    again = pod.popen(*follow, "newer", "--generation", "2")
    out, _ = newer.communicate(timeout=10)
    assert json.loads(out.splitlines()[-1]) == {"type": "fenced"}
    assert pod.command(*follow, "newest", "--generation", "3")[1][-1]["type"] == "exit"
    out, _ = again.communicate(timeout=10)
    assert json.loads(out.splitlines()[-1]) == {"type": "fenced"}


@pytest.mark.parametrize("protocol", [0, 2, "1", None])
def test_a_job_of_another_protocol_is_refused_with_both_versions(pod: Pod, protocol: object) -> None:
    pod.start("other", naps=60)
    job = json.loads(pod.file("other", "job.json").read_text()) | {"protocol": protocol}
    pod.file("other", "job.json").write_text(json.dumps(job))
    answers = [
        pod.command("follow", "--job", "other", "--from", "0", "--follower", "f"),
        pod.command("status", "--job", "other"),
        pod.command("stop", "--job", "other"),
        pod.command("start", stdin=pod.request("other", "nap", {"naps": 60})),
    ]
    for code, lines in answers:
        assert (code, lines[0]["code"]) == (2, "ProtocolMismatch")
        assert f"with protocol {protocol!r}, this worker reads 1" in lines[0]["message"]
    os.kill(pod.supervisor("other")["pid"], 0)


def fake_smi(pod: Pod, tmp_path: Path, script: str) -> None:
    path = tmp_path / "bin" / "nvidia-smi"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    pod.env["PATH"] = f"{path.parent}:{pod.env['PATH']}"


def beats(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == "beat"]


def test_a_beat_tells_what_the_job_uses(pod: Pod, tmp_path: Path) -> None:
    row = "NVIDIA H100 80GB HBM3, 90, 1024, 81559"
    fake_smi(pod, tmp_path, f"echo '{row}'; echo '{row.replace('90', '100')}'")
    pod.start("used", naps=20)
    last = beats(pod.follow("used"))[-1]
    assert last["gpu"] == {
        "name": "NVIDIA H100 80GB HBM3",
        "count": 2,
        "utilizationPercent": 95.0,
        "memoryUsedBytes": 2 << 30,
        "memoryTotalBytes": 2 * 81559 << 20,
    }
    assert 1_000_000 < last["rssBytes"] < last["memoryLimitBytes"]
    assert last["diskFreeBytes"] > 0


def test_a_gpu_that_does_not_answer_delays_no_beat(pod: Pod, tmp_path: Path) -> None:
    fake_smi(pod, tmp_path, "exec sleep 60")
    pod.start("mute", naps=20)
    lines = beats(pod.follow("mute"))
    assert len(lines) >= 4 and all(line["gpu"] is None for line in lines)
    # Nobody is left waiting for it.
    assert not any(row.startswith(b"sleep\x0060") for row in marked(pod))


def marked(pod: Pod) -> list[bytes]:
    """Command lines of the processes that this workspace's environment was given to."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if pod.env["ANNEAL_WORKSPACE"].encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("text", ["", "no devices were found", "H100, [N/A], 1, 2", "H100"])
def test_an_unreadable_answer_of_the_gpu_is_none(text: str) -> None:
    assert telemetry.parse_gpus(text) is None


def test_memory_of_children_counts(pod: Pod) -> None:
    own = telemetry.resident_bytes(os.getsid(0))
    assert own is not None and own > 0
    assert telemetry.resident_bytes(2**22 + 1) is None
