"""What the pinned vLLM makes of a release, as far as that can be seen without a GPU; run by the `serve` environment's Python.

python look_with_vllm.py LIBCUDA CAPABILITY serve RELEASE [vllm's own arguments]

Its own parser takes the arguments, its own configuration reads the release, its own model is built in host memory for a GPU of
the given compute capability (such as 9.0), with the kernels it would choose there, and its own loader fills it. Prints one
JSON object: `version`, `quantization`, `maxModelLen`, `kernels`, `missing` (parameters that no tensor of the release filled;
without the scales of a quantized KV cache, which vLLM has values of its own for).
LIBCUDA stands in for the driver's library: vLLM's own need one to be loaded at all.
"""

# The library and the platform have to stand before the imports that look for them.
# ruff: noqa: E402

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
from importlib.metadata import version
from typing import Any

import torch

libcuda, capability, *arguments = sys.argv[1:]
ctypes.CDLL(libcuda, ctypes.RTLD_GLOBAL)

from vllm import platforms
from vllm.platforms.cuda import NonNvmlCudaPlatform
from vllm.platforms.interface import DeviceCapability


class Gpu(NonNvmlCudaPlatform):  # type: ignore[misc]
    """The GPU that is not there."""

    @classmethod
    def get_device_capability(cls, device_id: int = 0) -> Any:
        return DeviceCapability(*map(int, capability.split(".")))

    @classmethod
    def get_device_total_memory(cls, device_id: int = 0) -> int:
        return 80 * 2**30

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        return f"GPU of compute capability {capability}"


# Read once by every module that asks where it is: from here on all of them are on that GPU.
platforms._current_platform = Gpu()

from vllm.config import set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.cli_args import make_arg_parser
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.torch_utils import set_default_torch_dtype


def main() -> dict[str, Any]:
    command, *given = arguments
    assert command == "serve"
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(given)
    parsed.model = parsed.model_tag  # as `vllm serve` itself does
    config = AsyncEngineArgs.from_cli_args(parsed).create_engine_config(UsageContext.OPENAI_API_SERVER)
    with set_current_vllm_config(config):
        meeting = f"file://{tempfile.mkdtemp()}/meeting"
        init_distributed_environment(1, 0, meeting, 0, "gloo")
        initialize_model_parallel(1, 1)
        with set_default_torch_dtype(config.model_config.dtype), torch.device("cpu"):
            model = initialize_model(vllm_config=config)
        loader = DefaultModelLoader(config.load_config)
        filled = model.load_weights(loader.get_all_weights(config.model_config, model))
    unfilled = {name for name, _ in model.named_parameters()} - filled
    schemes = [module.scheme for module in model.modules() if hasattr(module, "scheme")]
    return {
        "version": version("vllm"),
        "quantization": config.model_config.quantization,
        "maxModelLen": config.model_config.max_model_len,
        "kernels": sorted({type(scheme.kernel).__name__ for scheme in schemes}),
        "missing": sorted(name for name in unfilled if not re.search(r"\.attn\.[qkv]_(scale|zero_point)$", name)),
    }


print(json.dumps(main()))
