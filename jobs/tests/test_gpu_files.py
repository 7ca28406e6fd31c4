"""The parts of the GPU toolchain that need neither GPU nor Hub: merge, what is written around weights, checks of a model."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.failures import JobFailure
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from hub.download import ignored
from preflight import machine
from stages.prepare import require_layout
from tests.conftest import Pod
from tests.test_stages import floats, read_raw
from toolchains.gpu import prompt_sets
from toolchains.gpu.children.verify_model import Room
from toolchains.gpu.driver import require_cuda
from toolchains.gpu.model_facts import facts_of, fitting_group_size
from toolchains.gpu.prepare import _bring_prompts, _require_fitting_gpu, _require_host_memory, data_set_of
from toolchains.gpu.quantize import finish, group_size_for, require_supported, widths_of
from toolchains.weights import checkpoint

QWEN3_14B = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 17408}
QWEN3_14B |= {"num_attention_heads": 40, "head_dim": 128, "num_hidden_layers": 40}


def write_adapter(folder: Path, base: Path, prefix: str = "") -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """A random adapter of rank 3 with alpha 6 on two matrices, and a third with a delta of zero."""
    source, pairs, tensors = np.random.default_rng(5), {}, {}
    for name, (_, shape, _) in read_raw(base).items():
        if name.endswith(("layers.1.self_attn.o_proj.weight", "layers.3.mlp.down_proj.weight", "layers.2.mlp.down_proj.weight")):
            row = source.normal(size=(3, shape[1])).astype(np.float32)
            column = (source.normal(size=(shape[0], 3)) * (0 if ".2." in name else 0.02)).astype(np.float32)
            pairs[name] = (column, row)
            module = prefix + name.removesuffix(".weight").removeprefix("model." if prefix else "")
            tensors[f"base_model.model.{module}.lora_A.weight"], tensors[f"base_model.model.{module}.lora_B.weight"] = row, column
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "bias": "none"}))
    return pairs


@pytest.mark.parametrize("prefix", ["", "model.language_model."])
def test_the_merge_equals_dense_arithmetic_in_double_precision(pod: Pod, base_model: Path, prefix: str) -> None:
    shutil.copytree(base_model, pod.work / "base")
    pairs = write_adapter(pod.work / "ablate/adapter", base_model, prefix)
    result = pod.result("m", "merge", toolchain="gpu", ablated=True)
    base, merged = read_raw(pod.work / "base"), read_raw(pod.work / "merged")
    changed = {name for name, (column, _) in pairs.items() if column.any()}
    assert result["changedTensors"] == sorted(changed) and len(changed) == 2
    for name, entry in base.items():
        if name not in changed:
            assert merged[name] == entry, name
            continue
        column, row = (half.astype(np.float64) for half in pairs[name])
        exact = floats(entry) + 2 * column @ row
        # bfloat16 keeps 8 bits: half a step is at most 2^-8 of the value; single precision adds next to nothing.
        assert np.all(np.abs(floats(merged[name]) - exact) <= np.abs(exact) * 2.0**-8 * 1.001 + 1e-6), name
    for file in (pod.work / "base").iterdir():
        if file.suffix != ".safetensors":
            assert (pod.work / "merged" / file.name).read_bytes() == file.read_bytes()


def test_a_merge_goes_on_with_the_shard_it_was_in(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "base")
    write_adapter(pod.work / "ablate/adapter", base_model)
    first = pod.result("m", "merge", toolchain="gpu")
    shards = sorted((pod.work / "merged").glob("*.safetensors"))
    before = [(shard.read_bytes(), shard.stat().st_mtime_ns) for shard in shards]
    shards[1].unlink()
    (pod.work / "merged" / f"{shards[1].name}.part").write_bytes(b"half")
    assert pod.result("n", "merge", toolchain="gpu") == first
    after = [(shard.read_bytes(), shard.stat().st_mtime_ns) for shard in shards]
    assert [data for data, _ in after] == [data for data, _ in before]
    assert [a[1] == b[1] for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert not list((pod.work / "merged").glob("*.part"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"use_dora": True}, "AdapterMismatch"), ({"bias": "all"}, "AdapterMismatch"), ({"peft_type": "LOHA"}, "AdapterMismatch")],
)
def test_other_adapters_are_refused(pod: Pod, base_model: Path, change: dict[str, Any], expected: str) -> None:
    shutil.copytree(base_model, pod.work / "base")
    write_adapter(pod.work / "ablate/adapter", base_model)
    file = pod.work / "ablate/adapter/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert pod.run("m", "merge", toolchain="gpu")["exit"]["failure"]["class"] == expected


def test_an_adapter_that_changes_nothing_is_refused(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "base")
    folder = pod.work / "ablate/adapter"
    write_adapter(folder, base_model)
    with safe_open(folder / "adapter_model.safetensors", "np") as file:
        zero = {name: file.get_tensor(name) * np.float32(".lora_A." in name) for name in file.keys()}  # noqa: SIM118
    save_file(zero, folder / "adapter_model.safetensors")
    failure = pod.run("m", "merge", toolchain="gpu")["exit"]["failure"]
    assert failure["class"] == "AdapterMismatch" and "nothing" in failure["message"]


def test_a_release_keeps_the_base_files_and_only_adds_the_quantization(tmp_path: Path, base_model: Path) -> None:
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    # As a newer transformers saves it: renamed fields, its own tokenizer files, weights in two shards.
    saved = {"rope_parameters": {"rope_theta": 1.0}, "quantization_config": {"quant_method": "compressed-tensors"}}
    (quantized / "config.json").write_text(json.dumps(saved))
    (quantized / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (quantized / "recipe.yaml").write_text("x")
    words = np.zeros((4, 2), dtype=np.int32)
    save_file({"model.layers.0.mlp.down_proj.weight_packed": words}, quantized / "model-00001-of-00002.safetensors")
    save_file({"model.norm.weight": np.ones(4, dtype=np.float32)}, quantized / "model-00002-of-00002.safetensors")
    base = json.loads((base_model / "config.json").read_text())
    finish(quantized, base_model, base)
    config = json.loads((quantized / "config.json").read_text())
    assert config.pop("quantization_config") == saved["quantization_config"] and config == base
    for file in base_model.iterdir():
        if file.suffix != ".safetensors" and file.name not in ("config.json", checkpoint.INDEX_NAME):
            assert (quantized / file.name).read_bytes() == file.read_bytes()
    assert not (quantized / "recipe.yaml").exists()
    index = json.loads((quantized / checkpoint.INDEX_NAME).read_text())
    assert index["metadata"]["total_size"] == 32 + 16 and len(index["weight_map"]) == 2


def test_a_release_without_packed_layers_is_refused(tmp_path: Path, base_model: Path) -> None:
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    (quantized / "config.json").write_text('{"quantization_config": {"quant_method": "compressed-tensors"}}')
    save_file({"model.norm.weight": np.ones(4, dtype=np.float32)}, quantized / "model.safetensors")
    with pytest.raises(JobFailure) as caught:
        finish(quantized, base_model, json.loads((base_model / "config.json").read_text()))
    assert (caught.value.failure_class, caught.value.change) == ("UnsupportedModel", None)


def test_a_release_whose_weights_are_cut_is_made_again(tmp_path: Path, base_model: Path) -> None:
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    (quantized / "config.json").write_text('{"quantization_config": {"quant_method": "compressed-tensors"}}')
    save_file({"a.weight_packed": np.zeros((4, 2), dtype=np.int32)}, quantized / "model.safetensors")
    shard = quantized / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(JobFailure) as caught:
        finish(quantized, base_model, json.loads((base_model / "config.json").read_text()))
    assert (caught.value.failure_class, caught.value.change) == ("DamagedWeights", "repeatStep")
    assert not quantized.exists()


def test_unquantized_is_a_hard_link_and_made_on_its_device(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "merged")
    result = pod.result("q", "quantize", toolchain="gpu", device="cpu", method="none")
    assert (result["format"], result["bits"], result["groupSize"], result["madeOn"]) == ("none", 16, 0, "cpu")
    for shard in (pod.work / "merged").glob("*.safetensors"):
        assert shard.samefile(pod.work / "release" / shard.name)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"num_experts": 8}, "experts"),
        ({"text_config": {"n_routed_experts": 4}}, "experts"),
        ({"vision_config": {"depth": 2}}, "vision"),
        ({"quantization_config": {"quant_method": "fp8"}}, "already"),
    ],
)
def test_what_cannot_be_quantized_is_refused_with_the_reason(
    pod: Pod, base_model: Path, change: dict[str, Any], word: str
) -> None:
    shutil.copytree(base_model, pod.work / "merged")
    file = pod.work / "merged/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    failure = pod.run("q", "quantize", toolchain="gpu", device="cpu", method="awq")["exit"]["failure"]
    assert failure["class"] == "UnsupportedModel" and word in failure["message"] and "none" in failure["advice"]


def test_the_group_size_falls_back_by_divisibility() -> None:
    assert [fitting_group_size((5120, 17408), wanted) for wanted in (128, 64, 32)] == [128, 64, 32]
    assert fitting_group_size((896, 4864), 128) == 128 and fitting_group_size((960, 2560), 128) == 64
    assert group_size_for((96, 256), 128) == 32 and fitting_group_size((48,), 128) is None
    with pytest.raises(JobFailure) as caught:
        group_size_for((48, 128), 128)
    assert caught.value.failure_class == "GroupSizeMismatch"


def test_widths_are_those_of_the_layers_that_are_packed(base_model: Path) -> None:
    config = json.loads((base_model / "config.json").read_text())
    assert widths_of(checkpoint.check(base_model)) == facts_of(config).widths


def test_facts_are_read_from_a_config() -> None:
    facts = facts_of(QWEN3_14B)
    assert facts.widths == (5120, 17408) and facts.experts == 0 and not facts.vision and facts.layers == 40
    require_supported(facts)
    moe = facts_of(
        {**QWEN3_14B, "text_config": {"num_local_experts": 16, "hidden_size": 64}, "vision_config": {}, "auto_map": {"a": "b"}}
    )
    assert moe.experts == 16 and moe.vision and moe.own_code and moe.widths == (64,)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"dataset": "mlabonne/harmful_behaviors", "revision": None, "split": "train[:400]", "column": "text"}),
        ("a/b", {"dataset": "a/b", "revision": None, "split": "train[:400]", "column": "text"}),
        (
            {"dataset": "a/b", "revision": "c", "split": None, "column": "q"},
            {"dataset": "a/b", "revision": "c", "split": "train[:400]", "column": "q"},
        ),
    ],
)
def test_a_prompt_set_names_a_data_set_with_defaults(value: object, expected: dict[str, Any]) -> None:
    assert data_set_of("bad", value) == expected


@pytest.mark.parametrize("value", ["no-owner", "../x/y", 7, {"dataset": "a/b", "rows": 3}])
def test_other_prompt_sets_are_refused(value: object) -> None:
    with pytest.raises(JobFailure) as caught:
        data_set_of("bad", value)
    assert caught.value.failure_class == "BadInput"


def test_a_prompt_with_line_breaks_stays_one_prompt(tmp_path: Path) -> None:
    context = JobContext("j", "ablate", "gpu", {}, WorkPaths(tmp_path), EventLog(tmp_path / "e", SecretsFilter([])))
    record = prompt_sets.store(context, "good", ["one\ntwo", "  ", "three"], {"source": "given"})
    assert prompt_sets.lines_of(prompt_sets.path_of(context, "good")) == ["one two", "three"] and record["prompts"] == 2


SMI = """#!/bin/sh
case "$1" in
--query-gpu*) echo "NVIDIA H100 80GB HBM3, 81559, 81008, {driver}" ;;
*) echo "| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda}     |" ;;
esac
"""


@pytest.mark.parametrize(("driver", "cuda", "refused"), [("570.86.15", "12.8", False), ("470.57.02", "11.4", True)])
def test_the_driver_is_read_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, cuda: str, refused: bool
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(SMI.format(driver=driver, cuda=cuda))
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = machine.preflight(tmp_path)
    assert (found["gpuName"], found["gpuCount"], found["driverCuda"]) == ("NVIDIA H100 80GB HBM3", 1, cuda)
    assert found["gpuFreeBytes"] == 81008 * 2**20
    if not refused:
        return require_cuda(found, 12, "torch", "Use another host.")
    with pytest.raises(JobFailure) as caught:
        require_cuda(found, 12, "torch", "Use another host.")
    assert caught.value.failure_class == "DriverTooOld" and "torch needs 12" in caught.value.message


def test_no_gpu_and_too_small_a_gpu_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.preflight(tmp_path)
    assert found["gpuCount"] == 0 and found["workspaceWritable"]
    with pytest.raises(JobFailure) as caught:
        require_cuda(found, 12, "torch", "Use another host.")
    assert caught.value.failure_class == "NoGpu"

    def context(**params: Any) -> JobContext:
        return JobContext("j", "prepare", "gpu", params, WorkPaths(tmp_path), EventLog(tmp_path / "e", SecretsFilter([])))

    large = {"gpuMemoryBytes": 80 * 10**9, "gpuFreeBytes": 79 * 10**9}
    _require_fitting_gpu(context(precision="bnb_4bit"), large, 141 * 10**9)
    with pytest.raises(JobFailure) as caught:
        _require_fitting_gpu(context(precision="bf16"), large, 141 * 10**9)
    assert caught.value.failure_class == "GpuTooSmall" and "bnb_4bit" in caught.value.advice
    with pytest.raises(JobFailure) as caught:
        _require_fitting_gpu(context(precision="bf16"), large | {"gpuFreeBytes": 20 * 10**9}, 60 * 10**9)
    assert (caught.value.failure_class, caught.value.change) == ("GpuBusy", "otherHost")

    host = {"memoryLimitBytes": 122 * 10**9}
    _require_host_memory(context(), host)
    _require_host_memory(context(needs={"hostMemoryBytes": 125 * 10**9}), host)
    with pytest.raises(JobFailure) as caught:
        _require_host_memory(context(needs={"hostMemoryBytes": 166 * 10**9}), host)
    assert (caught.value.failure_class, caught.value.change) == ("HostMemoryTooSmall", "otherHost")


def test_a_pod_that_only_quantizes_gets_the_harmless_sets(tmp_path: Path) -> None:
    def brought(**params: Any) -> set[str]:
        context = JobContext("j", "prepare", "gpu", params, WorkPaths(tmp_path), EventLog(tmp_path / "e", SecretsFilter([])))
        return set(_bring_prompts(context, None, ablated=False))

    sets = {name: [f"{name} text"] for name in prompt_sets.SETS}
    awq = {"quantize": {"method": "awq"}}
    assert brought(**awq, prompts=sets) == {"good", "goodEval"}
    assert brought(**awq, prompts=sets, calibration=["a text"]) == {"calibration"}
    assert brought(**awq) == brought(quantize={"method": "none"}, prompts=sets) == set()


@pytest.mark.parametrize("billions", [8.2, 32.8, 70.6, 72.7])
def test_a_host_as_planned_holds_what_the_gpu_cannot(billions: float) -> None:
    size = billions * 2
    # domain/model-memory.ts plans for this, and prepare takes a host of 0.97 of it; this program takes some itself.
    host = (math.ceil(size * 1.09 + 2) * 0.97 - 1.5) * 1e9
    assert Room(gpu=int(10e9), host=int(host), device="cuda").place(int(size * 1e9), packed=True) == {"": "cpu"}
    assert Room(gpu=int(10e9), host=int(size * 1e9), device="cuda").place(int(size * 1e9), packed=True) is None


# Files of a base that are not those of one model


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("model.safetensors", False),
        ("model-00001-of-00002.safetensors", False),
        ("tokenizer.json", False),
        ("consolidated.safetensors", True),
        ("consolidated-00001-of-00002.safetensors", True),
        ("fp16/model.safetensors", True),
        ("original/consolidated.00.pth", True),
        ("model.gguf", True),
    ],
)
def test_second_copies_of_the_weights_are_not_downloaded(path: str, left: bool) -> None:
    assert ignored(path) == left


def test_a_base_of_two_models_is_refused_before_any_work(tmp_path: Path, base_model: Path) -> None:
    shutil.copytree(base_model, tmp_path / "base")
    require_layout(tmp_path / "base")
    shutil.copy(tmp_path / "base/model-00001-of-00003.safetensors", tmp_path / "base/model.safetensors")
    with pytest.raises(JobFailure) as caught:
        require_layout(tmp_path / "base")
    assert caught.value.failure_class == "UnsupportedModel" and "and in" in caught.value.message


def test_an_index_without_a_total_size_is_an_index(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "base")
    file = pod.work / f"base/{checkpoint.INDEX_NAME}"
    file.write_text(json.dumps({"weight_map": json.loads(file.read_text())["weight_map"]}))
    assert pod.result("m", "merge", toolchain="gpu", ablated=False)["shards"] == 3


def test_what_this_stage_has_damaged_itself_is_made_again(tmp_path: Path, base_model: Path) -> None:
    for name in ("out", "given"):
        shutil.copytree(base_model, tmp_path / name)
        (tmp_path / name / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(JobFailure) as caught, checkpoint.made_here(tmp_path / "out"):
        checkpoint.check(tmp_path / "out")
    assert (caught.value.failure_class, caught.value.repeat, caught.value.change) == ("DamagedModel", "changed", "repeatStep")
    assert not (tmp_path / "out").exists()
    with pytest.raises(JobFailure) as caught:
        checkpoint.check(tmp_path / "given")
    assert caught.value.change is None and (tmp_path / "given").exists()
