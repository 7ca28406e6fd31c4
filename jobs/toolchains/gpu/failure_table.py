"""What the last lines of a tool mean: data, so that every row can be tested on a recorded fragment."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal

from anneal_job.failures import JobFailure, keep_end

Repeat = Literal["same", "changed", "person", "never"]
"""May the stage be started again: as it is, after `change`, after a person acted, or not at all."""

Change = Literal[
    "smallerBatch",
    "moreHostMemory",
    "largerDisk",
    "floatType",
    "restoreJournal",
    "restartDriver",
    "otherPod",
    "otherHost",
    "largerGpu",
    "smallerGroup",
    "repeatStep",
    "dropServerFlag",
    "newerServer",
    "shorterContext",
]
"""The one bounded change that may help; the caller limits how often."""


@dataclass(frozen=True)
class Row:
    """One known cause. `fragment` is a regular expression searched in the last lines."""

    fragment: str
    failure_class: str
    repeat: Repeat
    advice: str
    change: Change | None = None


@dataclass(frozen=True)
class Diagnosis:
    """A recognised end of a program."""

    failure_class: str
    repeat: Repeat
    change: Change | None
    advice: str
    message: str

    def failure(self) -> JobFailure:
        return JobFailure(self.failure_class, self.message, self.advice, repeat=self.repeat, change=self.change)


# Order decides: the first row that matches is taken, so causes stand before what merely follows from them.
TABLE: tuple[Row, ...] = (
    Row(
        r"CUDA out of memory|CUDA (?:driver )?error: out of memory|torch\.OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
        r"|HIP out of memory",
        "OutOfMemory",
        "changed",
        "Use a GPU with more memory; an ablation also gets by with a smaller batch, or `precision: bnb_4bit`.",
        "smallerBatch",
    ),
    Row(
        r"No space left on device|os error 28|Not enough free disk space to download the file|Disk quota exceeded",
        "DiskFull",
        "changed",
        "Use a larger volume, or remove what is not needed, and start the stage again; finished parts are kept.",
        "largerDisk",
    ),
    Row(
        r"Cannot access gated repo|You are trying to access a gated repo|GatedRepoError",
        "GatedModel",
        "person",
        "Accept the model's terms on the Hub and give the token the right to read it.",
    ),
    Row(
        r"You don't have the rights to create a model under the namespace|403 Forbidden|403 Client Error",
        "HubForbidden",
        "person",
        "Use a token that may write to this owner's repositories.",
    ),
    Row(
        r"Revision Not Found|RevisionNotFoundError",
        "RevisionNotFound",
        "person",
        "Check the revision.",
    ),
    Row(
        r"401 Client Error|RepositoryNotFoundError|Repository Not Found",
        "RepositoryNotFound",
        "person",
        "Check the id and the token: a private repository without a token looks like a missing one.",
    ),
    Row(
        r"Couldn't reach '[^']*' on the Hub",
        "PromptsMissing",
        "same",
        "Run prepare: it brings the prompt sets to the pod, and the later stages work without the Hub.",
    ),
    Row(
        r"couldn't find them in the cached files|outgoing traffic has been disabled|OfflineModeIsEnabled",
        "HubUnavailable",
        "same",
        "Run prepare again: a file of the model is missing on the pod.",
    ),
    Row(
        r"\b429 (?:Client Error|Too Many Requests)"
        r"|\b50[0234] (?:Server Error|Internal|Bad Gateway|Service Unavailable|Gateway Time-?out)"
        r"|ReadTimeout|ConnectionError|IncompleteRead|CAS service error|xet.*(?:error|timed out)",
        "HubUnavailable",
        "same",
        "Retry later; downloads and uploads continue where they were.",
    ),
    Row(
        r"trust_remote_code=True",
        "OwnCode",
        "person",
        "The repository brings its own code, which is not run. Use a model that transformers knows.",
    ),
    Row(
        r"does not recognize this architecture|Unrecognized configuration class",
        "UnknownArchitecture",
        "person",
        "This version of transformers does not know the architecture. Use another model, or a newer lock.",
    ),
    Row(
        r"has no attribute 'model'|has no attribute 'layers'|No abliterable modules found",
        "UnsupportedModel",
        "never",
        "The ablation needs a decoder with attention and MLP layers. Use another model.",
    ),
    Row(
        r"System role not supported",
        "SystemRoleRefused",
        "person",
        "The chat template refuses a system turn, and the ablation sends one. Use a model whose template takes one.",
    ),
    Row(
        r"contains either `?inf`?, `?nan`?|KL divergence: nan(?![\s\S]*Running trial)",
        "NonFiniteLogits",
        "changed",
        "Use bfloat16, never float16; check that the base model itself answers. Then try float32 for a small model.",
        "floatType",
    ),
    Row(
        r"Configuration contains \d+ errors?",
        "SettingsRefused",
        "never",
        "The tool refused the settings written for it: this is a fault of Anneal, please report it with log.txt.",
    ),
    Row(
        r"(?s)journal.*JSONDecodeError|JSONDecodeError.*journal",
        "JournalDamaged",
        "changed",
        "Start the stage again: the torn line is cut, or the backup of the journal is taken.",
        "restoreJournal",
    ),
    Row(
        r"EOFError",
        "PromptMissed",
        "changed",
        "A question of the tool was not answered. Start the stage again; the journal is kept.",
        "restartDriver",
    ),
    Row(
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "DriverTooOld",
        "changed",
        "Use a host with a newer driver: CUDA 12.8 is needed (`minCudaVersion`).",
        "otherHost",
    ),
    Row(
        r"No GPU or other accelerator detected|Found no NVIDIA driver|No CUDA GPUs are available"
        r"|no CUDA-capable device is detected|CUDA driver initialization failed|Unexpected error from cudaGetDeviceCount",
        "NoGpu",
        "changed",
        "The program sees no GPU. Use another pod.",
        "otherPod",
    ),
    Row(
        # Texts of the CUDA runtime (cudaGetErrorString of 12.8) and of the driver's log.
        r"CUDA error: (an illegal memory access|an illegal instruction|misaligned address|unknown error|hardware stack error)"
        r"|\bXid\b|Driver/library version mismatch|CUDA unknown error|unspecified launch failure|the launch timed out"
        r"|uncorrectable (ECC|NVLink) error|access of peer GPU memory over nvlink or a hardware error"
        r"|GPU has fallen off the bus",
        "GpuFault",
        "changed",
        "The host's GPU is at fault. Continue on another host.",
        "otherHost",
    ),
    Row(
        r"CUDA-capable device\(s\) is/are busy or unavailable"
        r"|Free memory on device .* is less than desired GPU memory utilization",
        "GpuBusy",
        "changed",
        "Something else uses the host's GPU. Continue on another host.",
        "otherHost",
    ),
    Row(
        r"no kernel image is available for execution on the device",
        "GpuUnsupported",
        "person",
        "The locked packages hold no code for this GPU. Choose another type under compute.gpus.",
    ),
    Row(
        r"Some modules are dispatched on the CPU or the disk",
        "GpuTooSmall",
        "changed",
        "The model does not fit on the GPU even in 4 bits. Use a GPU with more memory.",
        "largerGpu",
    ),
    Row(
        r"unflatten: Provided sizes \[-1, \d+\]",
        "GroupSizeMismatch",
        "changed",
        "Use group size 64 or 32: the present one does not divide every layer's width.",
        "smallerGroup",
    ),
    Row(
        r"does not match the quantization method specified",
        "ServerFlagMismatch",
        "changed",
        "Leave the server's quantization setting empty: the files say themselves what they are.",
        "dropServerFlag",
    ),
    Row(
        r"Extra inputs are not permitted",
        "ServerTooOld",
        "changed",
        "This server cannot read the files. Use vLLM 0.27 or newer.",
        "newerServer",
    ),
    Row(
        r"estimated maximum model length is",
        "ContextTooLong",
        "changed",
        "The GPU cannot hold a context of this length. Lower `serve.maxModelLen`.",
        "shorterContext",
    ),
    Row(
        # The weights barely fit: a shorter context would not help.
        r"No available memory for the cache blocks",
        "GpuTooSmall",
        "changed",
        "The weights leave no room for a context on this GPU. Use a GPU with more memory.",
        "largerGpu",
    ),
    Row(
        r"MemoryError|DefaultCPUAllocator: can't allocate memory|Cannot allocate memory",
        "OutOfMemory",
        "changed",
        "Use a pod with more host memory, and start the stage again.",
        "moreHostMemory",
    ),
)

_TRACES = ("Traceback (most recent call last)", "OutOfMemoryError")

# Optional kernels are looked for on the Hub at run time; offline that is said, and the work goes on without them.
_HARMLESS = r"^Failed to load .* from kernels-community"


def known(failure_class: str, message: str, advice: str) -> JobFailure:
    """A failure that was seen before a tool had to say it, with what the table says may be done about its class."""
    row = next((row for row in TABLE if row.failure_class == failure_class), None)
    repeat, change = (row.repeat, row.change) if row else (None, None)
    return JobFailure(failure_class, message, advice, repeat=repeat, change=change)


def diagnose(tail: str, code: int, *, oom_kills: int = 0) -> Diagnosis:
    """What ended a program. `tail`: its last lines; `code`: exit code, or minus the signal; `oom_kills`: how often the
    kernel's out-of-memory killer struck in this control group meanwhile.

    "Failed to load model with all configured dtypes" is no cause and has no row: the lines before it name one.
    """
    message = _message(tail, code)
    if code in (-signal.SIGKILL, 137) and not any(trace in tail for trace in _TRACES):
        # Whoever is killed says nothing: what stands in the log before is not the cause.
        if oom_kills > 0 or "Killed" in tail:
            advice = "The pod's memory limit was reached. Use a pod with more host memory; the stage continues from its files."
            return Diagnosis("OutOfMemory", "changed", "moreHostMemory", advice, message)
        advice = "Something outside the job ended it. Start the stage again; it resumes from its files."
        return Diagnosis("Killed", "same", None, advice, message)
    said = "\n".join(line for line in tail.splitlines() if not re.search(_HARMLESS, line))
    for row in TABLE:
        if match := re.search(row.fragment, said):
            cause = _around(said, match)
            return Diagnosis(row.failure_class, row.repeat, row.change, row.advice, _message(tail, code, cause))
    advice = "The message holds the last lines of the log; log.txt on the pod holds all of them."
    return Diagnosis("JobCrashed", "person", None, advice, message)


def _message(tail: str, code: int, cause: str = "") -> str:
    """The last lines, and once more the one that was recognised when others came after it and it would be cut off."""
    message = keep_end(f"{tail}\n({_how(code)})".strip())
    return message if cause in message else keep_end(f"{tail}\n…\n{cause}\n({_how(code)})")


def _around(said: str, match: re.Match[str]) -> str:
    """The line in which a match ends, or the part of it around that."""
    start = max(said.rfind("\n", 0, match.end()) + 1, match.end() - 300)
    stop = said.find("\n", match.end())
    return said[start : min(stop if stop >= 0 else len(said), match.end() + 200)].strip()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
