"""Says what an environment sees: torch, CUDA, bfloat16, and whether its transformers knows an architecture.

Request: `modelType`, `device`.
"""

from __future__ import annotations

from importlib.metadata import version

from toolchains.gpu.children.wire import Json, Parent, serve


def work(request: Json, _parent: Parent) -> Json:
    """Loads the libraries and, on CUDA, runs one small bfloat16 product: a driver that does not fit shows only then."""
    import torch
    from transformers import CONFIG_MAPPING

    visible = bool(torch.cuda.is_available())
    found: Json = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": version("transformers"),
        "cudaVisible": visible,
        "bf16": False,
        "gpuCount": torch.cuda.device_count() if visible else 0,
        "knowsArchitecture": request["modelType"] is None or request["modelType"] in CONFIG_MAPPING,
    }
    if visible and request["device"] == "cuda":
        capability = torch.cuda.get_device_capability(0)
        square = torch.ones(64, 64, dtype=torch.bfloat16, device="cuda")
        works = float((square @ square).sum()) == 64.0**3
        found |= {"computeCapability": f"{capability[0]}.{capability[1]}", "bf16": capability[0] >= 8 and works}
    return found


if __name__ == "__main__":
    serve(work)
