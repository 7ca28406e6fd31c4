"""The dead-man switch of a pod: ends the pod from inside when nobody else does.

Passed as text in ANNEAL_DEADMAN and run by the start command before sshd. Standard library only. Ages are seconds since
the pod's first start, counted by a clock that nobody can set; wall time is read where a file names a moment, once.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

DAY = 86400.0
# A moved deadline beyond this is a mistake of units, not a wish.
FARTHEST = 366 * DAY
WRITE_EVERY = 60.0
LONGEST_PAUSE = 60.0
# A container that crashes is back sooner; one that was away longer was stopped.
LONGEST_RESTART = 300.0
# A stop that is clearly refused this often will not come; an endless bill is worse than an ablation made again.
STOPS_BEFORE_TERMINATE = 3
# From this attempt on both APIs are asked, whatever the first has said: the pod is still here.
BOTH_FROM_ATTEMPT = 3


@dataclass(frozen=True)
class Limits:
    """Seconds: until first contact, since last contact, in all."""

    boot: float
    lease: float
    hard: float


@dataclass(frozen=True)
class State:
    age: float
    hard_age: float
    contact_age: float | None = None
    lease_mark: str | None = None
    deadline_text: str | None = None


@dataclass(frozen=True)
class Sight:
    """What one look at the clocks and files saw."""

    age: float
    epoch: float
    lease_mark: str | None = None
    deadline_text: str | None = None


def seconds(text: str | None, otherwise: float) -> float:
    """A positive number of seconds, or `otherwise`: a garbled value must not disarm the switch."""
    try:
        value = float(text or "")
    except ValueError:
        return otherwise
    return value if math.isfinite(value) and value > 0 else otherwise


def read_moment(text: str) -> float | None:
    """Epoch seconds of a number or an ISO time (UTC when it names no zone); None for anything else."""
    try:
        value = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            value = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        except (ValueError, OverflowError):
            return None
    return value if math.isfinite(value) else None


def observe(state: State, sight: Sight) -> State:
    """The state after a look. A changed lease file is contact; a new text in the deadline file counts when it lies ahead."""
    after = replace(state, age=max(state.age, sight.age))
    if sight.lease_mark is not None and sight.lease_mark != state.lease_mark:
        after = replace(after, lease_mark=sight.lease_mark, contact_age=after.age)
    if sight.deadline_text is not None and sight.deadline_text != state.deadline_text:
        after = replace(after, deadline_text=sight.deadline_text)
        moment = read_moment(sight.deadline_text)
        if moment is not None and 0 < moment - sight.epoch <= FARTHEST:
            after = replace(after, hard_age=after.age + moment - sight.epoch)
    return after


def deadlines(state: State, limits: Limits) -> dict[str, float]:
    """Ages at which the pod must end, by reason."""
    contact = {"boot": limits.boot} if state.contact_age is None else {"lease": state.contact_age + limits.lease}
    return {**contact, "hard": state.hard_age}


def due(state: State, limits: Limits) -> str | None:
    """Why the pod must end now, if it must."""
    return next((why for why, age in deadlines(state, limits).items() if state.age >= age), None)


def resumed(saved: object, now: Mapping[str, object], limits: Limits) -> State:
    """The state a container starts with: what an earlier one of the same pod left on the volume, plus the time between."""
    fresh = State(age=0.0, hard_age=limits.hard)
    if not isinstance(saved, dict) or saved.get("podId") != now["podId"]:
        return fresh
    clock = "uptime" if saved.get("bootId") == now["bootId"] else "epoch"
    kept = saved.get("kept")
    if not isinstance(kept, dict):
        return fresh
    age, hard_age, then, present = (number(v) for v in (kept.get("age"), kept.get("hard_age"), saved.get(clock), now[clock]))
    if age is None or hard_age is None or then is None or present is None:
        return fresh
    marks = {name: kept.get(name) for name in ("lease_mark", "deadline_text")}
    texts = {name: mark if isinstance(mark, str) else None for name, mark in marks.items()}
    contact_age = number(kept.get("contact_age"))
    contact_age = None if contact_age is None else min(contact_age, age)
    hard_age = min(hard_age, age + FARTHEST)
    paused = max(0.0, present - then)
    age += paused
    if paused > LONGEST_RESTART and contact_age is not None:
        # Somebody stopped the pod and started it again: they have a boot deadline to speak to it and to move the hard one.
        contact_age = max(contact_age, age + limits.boot - limits.lease)
        hard_age = max(hard_age, age + limits.boot)
    return State(age=age, hard_age=hard_age, contact_age=contact_age, **texts)


def number(value: object) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if ok else None  # type: ignore[arg-type]


def choose(uncollected: bool, refused_stops: int) -> list[str]:
    """The calls of one attempt, in order; the next is made when the one before was refused by every API."""
    if uncollected and refused_stops < STOPS_BEFORE_TERMINATE:
        return ["podStop"]
    return ["podTerminate", "podStop"]


def has_uncollected(root: Path) -> bool:
    """True while a file of the ablation is newer than the worker's last copy of it (`collected`), or cannot be judged."""
    try:
        collected = (root / "collected").stat().st_mtime_ns
    except OSError:
        collected = -1
    for path in (root / "work" / "ablate").rglob("*"):
        try:
            if path.is_file() and path.stat().st_mtime_ns > collected:
                return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def request_for(call: str, api: str, pod_id: str, base: str) -> urllib.request.Request:
    """The call as the API has it: a GraphQL mutation, or REST v2's DELETE and action."""
    if api == "v2":
        url = base + "/v2/pods/" + quote(pod_id, safe="")
        if call == "podTerminate":
            return urllib.request.Request(url, method="DELETE")
        return urllib.request.Request(url + "/action", b'{"action": "stop"}', method="POST")
    fields = " { id }" if call == "podStop" else ""
    query = "mutation { %s(input: { podId: %s })%s }" % (call, json.dumps(pod_id), fields)  # noqa: UP031 (no double braces)
    return urllib.request.Request(base + "/graphql", json.dumps({"query": query}).encode())


def ask(call: str, api: str, pod_id: str, key: str, base: str) -> str:
    """Makes one call: `accepted`, `refused: ...`, `gone: ...` (no such address) or `unreachable: ...`. The key is in the
    header and nowhere else."""
    if not pod_id or not key:
        return "refused: RUNPOD_POD_ID or RUNPOD_API_KEY is not set"
    request = request_for(call, api, pod_id, base)
    request.add_header("authorization", "Bearer " + key)
    request.add_header("content-type", "application/json")
    # Edges in front of APIs turn Python's default agent away.
    request.add_header("user-agent", "anneal-deadman/1")
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=15) as answer:
            body = json.loads(answer.read(1 << 20) or b"{}")
        errors = body.get("errors")
        said = "accepted" if not errors else "refused: " + str(errors[0].get("message"))
    except urllib.error.HTTPError as error:
        moved = error.code in (404, 405, 410) or error.code < 400
        word = "unreachable" if error.code in (408, 429) or error.code >= 500 else "gone" if moved else "refused"
        said = "%s: HTTP %d" % (word, error.code)  # noqa: UP031
    except (OSError, HTTPException, ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
        said = "unreachable: " + type(error).__name__
    return said.replace(key, "***")[:200]


def uptime() -> float:
    """Seconds since the machine booted, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def text_of(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(64).decode("utf-8", "replace").strip()
    except OSError:
        return None


class Switch:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.root = Path(env.get("ANNEAL_WORKSPACE") or "/workspace") / "anneal"
        self.pod_id = env.get("RUNPOD_POD_ID", "")
        self.key = env.get("RUNPOD_API_KEY", "")
        self.base = (env.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io").rstrip("/")
        # The one that the worker speaks first; RunPod may have retired either since.
        self.apis = ("v2", "graphql") if env.get("ANNEAL_RUNPOD_API") == "v2" else ("graphql", "v2")
        self.check = seconds(env.get("ANNEAL_DEADMAN_CHECK_SECONDS"), 5.0)
        self.limits = Limits(
            boot=seconds(env.get("ANNEAL_BOOT_DEADLINE_SECONDS"), 2700.0),
            lease=seconds(env.get("ANNEAL_LEASE_SECONDS"), 7200.0),
            hard=seconds(env.get("ANNEAL_HARD_DEADLINE_SECONDS"), 7 * DAY),
        )
        self.boot_id = text_of(Path("/proc/sys/kernel/random/boot_id")) or ""
        self.file = self.root / "deadman.json"
        self.started = uptime()
        self.state = resumed(self.saved(), self.now(), self.limits)
        self.base_age = self.state.age
        self.attempts = 0
        self.refused_stops = 0
        self.recent: list[dict[str, object]] = []
        self.written: object = None

    def now(self) -> dict[str, object]:
        return {"podId": self.pod_id, "bootId": self.boot_id, "uptime": uptime(), "epoch": time.time()}

    def saved(self) -> object:
        try:
            value: object = json.loads(self.file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return value

    def look(self) -> Sight:
        try:
            mark: str | None = str((self.root / "lease").stat().st_mtime_ns)
        except OSError:
            mark = None
        age = self.base_age + uptime() - self.started
        return Sight(age, time.time(), mark, text_of(self.root / "hard-deadline"))

    def round(self) -> float:
        """One look, and one attempt when the pod must end; returns how long to wait."""
        self.state = observe(self.state, self.look())
        why = due(self.state, self.limits)
        if why is None:
            self.attempts = self.refused_stops = 0
            self.write("armed", None)
            return self.check
        self.attempts += 1
        for call in choose(has_uncollected(self.root), self.refused_stops):
            said = [answer.split(":")[0] for answer in self.answers(call, why)]
            if "accepted" in said or set(said) == {"unreachable"}:
                break
            self.refused_stops += call == "podStop" and "unreachable" not in said
        return float(min(LONGEST_PAUSE, self.check * 2 ** min(self.attempts, 10)))

    def answers(self, call: str, why: str) -> Iterator[str]:
        """Makes one call by the first API, and by the other when that has no such call, refuses it, or did not end the pod."""
        for api in self.apis:
            asked: dict[str, object] = {"at": iso(time.time()), "call": call, "api": api, "attempt": self.attempts}
            # Written before asking too: the answer may be the end of this process.
            before = self.recent[-5:]
            self.recent = [*before, {**asked, "answer": None}]
            self.write("ending", why)
            said = ask(call, api, self.pod_id, self.key, self.base)
            self.recent = [*before, {**asked, "answer": said}]
            sys.stderr.write("anneal dead-man switch: %s deadline, %s (%s): %s\n" % (why, call, api, said))  # noqa: UP031
            self.write("ending", why)
            yield said
            if said.startswith(("accepted", "unreachable")) and self.attempts < BOTH_FROM_ATTEMPT:
                return

    def write(self, word: str, why: str | None) -> None:
        """Leaves a record for people and for the next container; on change, and once a minute."""
        state = self.state
        key = (word, why, self.attempts, str(self.recent), state.hard_age, state.contact_age is None, state.age // WRITE_EVERY)
        if key == self.written:
            return
        now = time.time()
        record = {
            "state": word,
            "reason": why,
            "deadlines": {name: iso(now + age - state.age) for name, age in deadlines(state, self.limits).items()},
            "lastAttempts": self.recent,
            "kept": asdict(state),
            **self.now(),
        }
        temporary = self.root / ".deadman.tmp"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(record, indent=1) + "\n")
            temporary.replace(self.file)
            self.written = key
        except OSError:
            pass  # A full or missing volume must not keep the pod alive.


def iso(epoch: float) -> str:
    try:
        return datetime.fromtimestamp(epoch, timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(epoch)


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    switch = Switch(os.environ)
    while True:
        time.sleep(switch.round())


if __name__ == "__main__":
    main()
