"""What heretic 1.4.0 prints when COLAB_GPU is set: plain lines, and menus that end in a prompt without a newline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["proceed", "trial", "action", "folder", "export", "unknown"]

_PROMPTS = ("Enter number: ", "folder:: ")
_TITLES: tuple[tuple[str, Kind], ...] = (
    ("How would you like to proceed?", "proceed"),
    ("Which trial do you want to use?", "trial"),
    ("What do you want to do with the decensored model?", "action"),
    ("How do you want to export the model?", "export"),
    ("Path to the folder:", "folder"),
)
_CHOICE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)
_TRIAL = re.compile(r"\[Trial +(\d+)\]")
_COMPONENT = re.compile(r"^  \* (\S+): (\d+) modules? total")


@dataclass(frozen=True)
class Question:
    """A menu that waits for an answer; `choices` are its numbers and titles."""

    kind: Kind
    choices: dict[int, str]

    def number_of_trial(self, index: int) -> int | None:
        """The number under which heretic's trial `index` is offered."""
        for number, title in self.choices.items():
            if (match := _TRIAL.search(title)) and int(match[1]) == index:
                return number
        return None

    @property
    def last(self) -> int:
        """The last choice: leaves the program, or goes back."""
        return max(self.choices, default=1)


class Console:
    """Takes output as it comes and finds lines and questions in it."""

    def __init__(self) -> None:
        self._since_answer = ""
        self._line_start = 0
        self.saved = False
        """True once heretic said that it wrote the model; its exit code says nothing."""
        self.no_gpu = False
        self.trials_began = False
        self.components: dict[str, int] = {}
        self.components_known = False
        self.batch_size: int | None = None
        self.remaining: str | None = None
        self.phase = "load"
        self.lines = 0
        """Whole lines so far: grows exactly while something happens."""

    def feed(self, text: str) -> None:
        """Adds output. A chunk may end anywhere."""
        self._since_answer += text
        *lines, _ = self._since_answer[self._line_start :].split("\n")
        for line in lines:
            self._line_start += len(line) + 1
            self._take(line.rstrip("\r"))

    def question(self) -> Question | None:
        """The question that waits for an answer; None while heretic works."""
        text = self._since_answer
        if not text.endswith(_PROMPTS):
            return None
        found = max(((text.rfind(title), kind) for title, kind in _TITLES), default=(-1, "unknown"))
        kind: Kind = found[1] if found[0] >= 0 else "unknown"
        choices = {int(number): title for number, title in _CHOICE.findall(text[max(found[0], 0) :])}
        return Question(kind, choices)

    def answered(self) -> None:
        """The question was answered: what follows belongs to the next one."""
        self._since_answer = ""
        self._line_start = 0

    def _take(self, line: str) -> None:
        self.lines += 1
        self.saved = self.saved or "Model saved to" in line
        self.no_gpu = self.no_gpu or "No GPU or other accelerator detected" in line
        if match := _COMPONENT.match(line):
            self.components[match[1]] = int(match[2])
        elif self.components:
            self.components_known = True
        if match := re.match(r"\* Chosen batch size: (\d+)", line):
            self.batch_size = int(match[1])
        if match := re.match(r"Estimated remaining time: (.+)", line):
            self.remaining = match[1].strip()
        for start, phase in _PHASES:
            if line.startswith(start):
                self.phase = phase
        self.trials_began = self.trials_began or line.startswith("Running trial ")


_PHASES = (
    ("Loading model", "load"),
    ("Loading good prompts", "prompts"),
    ("Determining optimal batch size", "batch size"),
    ("Loading good evaluation prompts", "baseline"),
    ("Calculating per-layer refusal directions", "directions"),
    ("Running trial ", "trials"),
    ("Restoring model from trial", "export"),
)
