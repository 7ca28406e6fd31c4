"""One run of the heretic program: an unmodified, separate program, driven through its numbered menus over pipes.

heretic is under the AGPL and stays a separate work: no import of its modules, only arguments, files, pipes and signals.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from anneal_job.context import JobContext
from anneal_job.failures import JobFailure, JobStopped
from toolchains.gpu.child import offline, visible_gpus
from toolchains.gpu.failure_table import known
from toolchains.gpu.heretic_console import Console, Question
from toolchains.gpu.heretic_journal import Trial
from toolchains.gpu.subprocesses import Tail, end, spawn

_TICK_SECONDS = 0.3


@dataclass
class Plan:
    """What a session may do. `command` starts heretic in `folder`, where its config.toml lies."""

    command: list[str]
    folder: Path
    export_to: str
    device: str
    has_experts: bool
    choose: Callable[[], Trial | None]
    """Which trial to export, asked when heretic offers them; None leaves without an export."""
    look: Callable[[Console], None]
    """Called a few times a second while heretic works."""


@dataclass(frozen=True)
class SessionEnd:
    """How a session ended. `saved`: heretic said that it wrote the adapter; `code` alone proves nothing."""

    saved: bool
    code: int
    tail: str
    chosen: Trial | None
    batch_size: int | None


@dataclass
class _State:
    context: JobContext
    plan: Plan
    process: subprocess.Popen[bytes]
    console: Console = field(default_factory=Console)
    tail: Tail = field(default_factory=Tail)
    chosen: Trial | None = None
    leaving: bool = False
    interrupted: bool = False


def run_session(context: JobContext, plan: Plan) -> SessionEnd:
    """Runs heretic until it has left its menus, or ended otherwise.

    A stop ends the running trial (SIGINT) and exports the best so far when a trial of this search is done, else it ends
    heretic at once and raises `JobStopped`. Raises `NoGpu` and `UnsupportedModel` before any time goes into trials.
    """
    environment = {
        **offline(),
        "COLAB_GPU": "1",  # numbered menus read from stdin instead of a terminal interface
        "COLUMNS": "200",
        "TERM": "dumb",
        "TQDM_DISABLE": "1",
        **visible_gpus(plan.device),
    }
    process = spawn(plan.command, environment, folder=plan.folder)
    state = _State(context, plan, process)
    try:
        _converse(state)
        code = process.wait()
    finally:
        end(process)
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
    return SessionEnd(state.console.saved, code, telling(state.tail.text()), state.chosen, state.console.batch_size)


def telling(tail: str) -> str:
    """The lines that may name a cause. heretic also prints what it gets over: batch sizes that do not fit while it looks
    for one, and that there is no GPU (where that is a fault, it has ended the session)."""
    lines = [line for line in tail.splitlines() if "No GPU or other accelerator detected" not in line]
    probed = max((number for number, line in enumerate(lines) if "Chosen batch size" in line), default=0)
    return "\n".join(lines[probed:])


def _converse(state: _State) -> None:
    assert state.process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    output = state.process.stdout
    ended_at: float | None = None
    looked_at = 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=_TICK_SECONDS):
                data = os.read(output.fileno(), 65536)
                if not data:
                    return
                state.tail.feed(data)
                state.console.feed(decoder.decode(data))
                _guard(state)
                if question := state.console.question():
                    state.plan.look(state.console)
                    _answer(state, question)
            if time.monotonic() - looked_at >= _TICK_SECONDS:
                looked_at = time.monotonic()
                state.plan.look(state.console)
                _mind_stop(state)
            if state.process.poll() is not None:
                # Workers of its libraries may hold the pipe open; they are not waited for.
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > 2.0:
                    return


def _guard(state: _State) -> None:
    """Ends what would cost money without an effect."""
    console = state.console
    if console.no_gpu and state.plan.device != "cpu":
        raise known(
            "NoGpu",
            "heretic sees no GPU and would go on without one",
            "The GPU was lost or the driver does not fit: use another pod.",
        )
    if console.components_known and state.plan.has_experts and "mlp.down_proj" not in console.components:
        raise JobFailure(
            "UnsupportedModel",
            f"the model has experts, and only {', '.join(sorted(console.components))} can be changed: refusals would stay",
            "Use a dense model: fused experts cannot be ablated by this version of the tool.",
        )


def _mind_stop(state: _State) -> None:
    if not state.context.stop_requested() or state.interrupted or state.leaving or state.chosen is not None:
        return
    if state.console.trials_began and state.plan.choose() is not None:
        # The running trial ends as pruned, and the menu opens with those that are done.
        state.interrupted = True
        state.process.send_signal(signal.SIGINT)
    else:
        raise JobStopped


def _answer(state: _State, question: Question) -> None:
    plan = state.plan
    match question.kind:
        case "proceed" | "export":
            _say(state, "1")
        case "trial":
            trial = None if state.leaving or state.chosen else plan.choose()
            number = question.number_of_trial(trial.index) if trial else None
            if trial and number is not None:
                state.chosen = trial
                _say(state, str(number))
            else:
                state.leaving = True
                _say(state, str(question.last))
        case "action":
            _say(state, "1" if not state.leaving else str(question.last))
        case "folder":
            # One try only: whether it worked is judged by the files.
            state.leaving = True
            _say(state, plan.export_to)
        case _:
            raise known(
                "PromptMissed",
                "heretic asked something unexpected",
                "Start the stage again; the journal is kept. If it repeats, the installed version is not 1.4.0.",
            )


def _say(state: _State, answer: str) -> None:
    state.console.answered()
    state.tail.feed(f"<< {answer}\n".encode())
    assert state.process.stdin is not None
    # A program that just died is noticed by its closed output.
    with contextlib.suppress(BrokenPipeError):
        state.process.stdin.write(f"{answer}\n".encode())
        state.process.stdin.flush()
