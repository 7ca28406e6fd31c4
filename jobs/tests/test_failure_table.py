"""Every row of the failure table on lines that the tools really print."""

from __future__ import annotations

import signal

import pytest

from toolchains.gpu.failure_table import TABLE, diagnose
from toolchains.gpu.heretic_session import telling

# Recorded output, shortened; where the machine had no GPU or Hub, the text of the tool's source.
RECORDED = [
    (
        "OutOfMemory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    ),
    ("OutOfMemory", "RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ("OutOfMemory", "RuntimeError: CUDA driver error: out of memory"),
    ("OutOfMemory", "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ("DiskFull", "Error: I/O error: No space left on device (os error 28)"),
    ("DiskFull", "UserWarning: Not enough free disk space to download the file. The expected file size is: 4967.22 MB."),
    ("GatedModel", "Cannot access gated repo for url https://hub/meta/x/resolve/main/config.json."),
    ("GatedModel", "OSError: You are trying to access a gated repo.\nMake sure to have access to it."),
    ("HubForbidden", '403 Forbidden: You don\'t have the rights to create a model under the namespace "acme".'),
    ("RevisionNotFound", "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. Revision Not Found for url"),
    ("RepositoryNotFound", "401 Client Error. (Request ID: Root=1)\n\nRepository Not Found for url: https://hub/api/models/x."),
    ("PromptsMissing", "ConnectionError: Couldn't reach 'mlabonne/harmless_alpaca' on the Hub (OfflineModeIsEnabled)"),
    ("HubUnavailable", "OSError: We couldn't connect to the Hub to load the files, and couldn't find them in the cached files."),
    ("HubUnavailable", "httpx.ReadTimeout: The read operation timed out"),
    ("HubUnavailable", "429 Client Error: Too Many Requests for url"),
    ("OwnCode", "ValueError: The repository x contains custom code. Please pass the argument `trust_remote_code=True`."),
    ("UnknownArchitecture", "The checkpoint has model type `zz` but Transformers does not recognize this architecture."),
    ("UnknownArchitecture", "ValueError: Unrecognized configuration class <class 'X'> for this kind of AutoModel"),
    ("UnsupportedModel", "AttributeError: 'GPT2LMHeadModel' object has no attribute 'model'"),
    ("SystemRoleRefused", "* Failed (System role not supported)\nException: Failed to load model with all configured dtypes."),
    ("NonFiniteLogits", "RuntimeError: probability tensor contains either `inf`, `nan` or element < 0"),
    ("SettingsRefused", "Configuration contains 2 errors:\nn_trials: Input should be a valid integer"),
    (
        "JournalDamaged",
        '  File "optuna/storages/journal/_file.py"\njson.decoder.JSONDecodeError: Extra data: line 1 column 9',
    ),
    ("PromptMissed", "    selection = input('Enter number: ')\nEOFError: EOF when reading a line"),
    ("DriverTooOld", "RuntimeError: The NVIDIA driver on your system is too old (found version 12020)."),
    ("NoGpu", "No GPU or other accelerator detected. Operations will be slow."),
    ("NoGpu", "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    ("GpuFault", "RuntimeError: CUDA error: an illegal memory access was encountered"),
    ("GpuFault", "Failed to initialize NVML: Driver/library version mismatch"),
    ("GpuFault", "RuntimeError: CUDA error: unknown error\nCUDA kernel errors might be asynchronously reported"),
    ("GpuFault", "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution"),
    ("GpuFault", "RuntimeError: CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error"),
    ("GpuFault", "RuntimeError: CUDA error: hardware stack error"),
    ("NoGpu", "RuntimeError: CUDA error: no CUDA-capable device is detected"),
    ("NoGpu", "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu."),
    ("NoGpu", "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"),
    ("GpuBusy", "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    (
        "GpuBusy",
        "ValueError: Free memory on device (20.11/79.11 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2",
    ),
    ("GpuUnsupported", "RuntimeError: CUDA error: no kernel image is available for execution on the device"),
    ("GpuTooSmall", "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM"),
    (
        "GpuTooSmall",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the",
    ),
    ("GroupSizeMismatch", "RuntimeError: unflatten: Provided sizes [-1, 128] don't multiply up to the size of dim 1 (96)"),
    (
        "ServerFlagMismatch",
        "(compressed-tensors) does not match the quantization method specified in the argument (awq)",
    ),
    ("ServerTooOld", "pydantic_core.ValidationError: 1 validation error\nscale_dtype\n  Extra inputs are not permitted"),
    ("ContextTooLong", "Based on the available memory, the estimated maximum model length is 40960."),
    (
        "OutOfMemory",
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
    ),
]


@pytest.mark.parametrize(("expected", "fragment"), RECORDED)
def test_a_recorded_end_is_recognised(expected: str, fragment: str) -> None:
    noise = "\n".join(f"* line {number}" for number in range(150))
    found = diagnose(f"{noise}\n{fragment}\n", 1)
    assert found.failure_class == expected
    assert found.advice and "exit code 1" in found.message
    failure = found.failure()
    assert (failure.repeat, failure.change) == (found.repeat, found.change)


def test_every_row_is_reached_by_a_recorded_fragment() -> None:
    import re

    first = [next(row for row in TABLE if re.search(row.fragment, fragment)) for _, fragment in RECORDED]
    assert [row for row in TABLE if row not in first] == []
    assert all(row.change is not None for row in TABLE if row.repeat == "changed")
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", row.failure_class) for row in TABLE)


def test_a_generic_load_error_takes_the_cause_before_it() -> None:
    tail = "* Failed (CUDA out of memory.)\nException: Failed to load model with all configured dtypes."
    assert diagnose(tail, 1).change == "smallerBatch"


def test_what_heretic_gets_over_is_no_cause() -> None:
    probing = "* Trying batch size 128... Failed (CUDA out of memory. Tried to allocate 9 GiB)\n* Chosen batch size: 64"
    trials = "Running trial 4 of 9...\n* KL divergence: nan\nRunning trial 5 of 9..."
    fault = "CUDA error: an illegal memory access was encountered"
    assert diagnose(telling(f"{probing}\n{trials}\n{fault}"), 1).failure_class == "GpuFault"
    assert diagnose(telling("Running trial 4 of 9...\n* KL divergence: nan\nelse"), 1).failure_class == "NonFiniteLogits"
    assert diagnose(telling(probing.splitlines()[0]), 1).failure_class == "OutOfMemory"


def test_what_is_only_said_along_the_way_is_no_cause() -> None:
    warning = (
        "Failed to load CPU gemm_4bit_forward from kernels-community: Cannot find an appropriate cached snapshot folder for "
        "the specified revision on the local disk and outgoing traffic has been disabled."
    )
    assert diagnose(f"{warning}\nsomething else", 1).failure_class == "JobCrashed"
    assert diagnose("httpx.ReadTimeout: retrying\n* Evaluating...", -signal.SIGKILL).failure_class == "Killed"


@pytest.mark.parametrize("code", [137, -signal.SIGKILL])
def test_a_kill_without_a_trace_is_memory_only_where_the_kernel_says_so(code: int) -> None:
    assert diagnose("* Evaluating...", code, oom_kills=1).failure_class == "OutOfMemory"
    assert diagnose("* Evaluating...", code).failure_class == "Killed"
    assert diagnose("something else", 1).failure_class == "JobCrashed"
