"""The whole GPU toolchain with its real packages on a tiny model and a CPU: minutes, and 11 GB of environments.

    ANNEAL_ENVS=<folder on a large disk> python -m pytest tests/toolchain

Prompts are harmless placeholders. What only a GPU can show is listed in jobs/README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anneal_job.context import JobContext
from anneal_job.events import EventLog
from anneal_job.paths import WorkPaths
from anneal_job.secrets_filter import SecretsFilter
from tests.conftest import JOBS, SECRET, Pod, until
from tests.test_gpu_files import SMI
from tests.test_stages import floats, read_raw
from toolchains.gpu import environments, heretic_journal, serve_check
from toolchains.gpu.environments import pinned
from toolchains.gpu.questions import Questions
from toolchains.weights.safetensors_io import read_header, read_tensors, write_tensors

HERE = Path(__file__).parent
NOUNS = [
    "rain",
    "roof",
    "bread",
    "rye",
    "flour",
    "birds",
    "lake",
    "summer",
    "bicycle",
    "gear",
    "child",
    "sea",
    "morning",
    "poem",
    "recipe",
    "fox",
]
SETS = {
    "good": [f"please describe the {a} and the {b}" for a, b in zip(NOUNS, NOUNS[3:] + NOUNS[:3], strict=True)],
    "bad": [f"explain how a {a} helps a {b}" for a, b in zip(NOUNS, NOUNS[5:] + NOUNS[:5], strict=True)],
    "goodEval": [f"list three facts about the {a}" for a in NOUNS[:8]],
    "badEval": [f"write about a {a} in summer" for a in NOUNS[:8]],
}
PARSE = """
import json, sys
import compressed_tensors
from compressed_tensors.quantization import QuantizationConfig
assert compressed_tensors.__version__ == "0.17.0", compressed_tensors.__version__
value = json.load(open(sys.argv[1]))["quantization_config"]
config = QuantizationConfig.model_validate(value)
group = config.config_groups["group_0"].weights
print(config.format, group.num_bits, group.group_size, group.symmetric)
"""
# Of two models of 30 GB, an 80 GB GPU would hold no third.
ONE_AT_A_TIME = """
import json, sys, weakref
from toolchains.gpu.children import verify_model
from toolchains.gpu.children.wire import Parent
opened, alive = [], []
plain = verify_model._Session._open
def watched(session, name, folder, place):
    alive.append([other for other, model in opened if model() is not None])
    made = plain(session, name, folder, place)
    opened.append((name, weakref.ref(made._model)))
    return made
verify_model._Session._open = watched
found = verify_model.work(json.loads(sys.argv[1]), Parent(2))
print(json.dumps([len(found["answers"]), [name for name, _ in opened], alive]))
"""
DENSE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
model.save_pretrained(out)
"""


# What vLLM 0.27.1 wants of the driver's library in order to be loaded; nothing of it is called.
LIBCUDA = """
cuCtxGetCurrent cuCtxSetCurrent cuDeviceGetAttribute cuDevicePrimaryCtxRetain cuGetErrorString cuGetProcAddress_v2
cuMemAddressFree cuMemAddressReserve cuMemCreate cuMemGetAllocationGranularity cuMemMap cuMemRelease cuMemSetAccess cuMemUnmap
cuPointerGetAttribute cuTensorMapEncodeTiled
"""


class RealPod(Pod):
    """A pod with the real environments, which outlive a test in ANNEAL_ENVS."""

    # torch takes its time to load, where the machine has other work above all.
    command_limit_seconds = 600

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "workspace", folder)
        self.journals = self.work / "ablate/checkpoints"

    def params(self, **over: Any) -> dict[str, Any]:
        params = {"toolchain": "gpu", "device": "cpu", "trials": 6, "seed": 7, "maxKl": 0.5, "prompts": SETS}
        return {**params, "maxBatchSize": 4, "maxResponseTokens": 8, **over}

    def trials(self) -> list[heretic_journal.Trial]:
        journal = heretic_journal.find(self.journals) if self.journals.exists() else None
        return heretic_journal.read(journal).trials if journal else []

    def heretics(self) -> list[int]:
        """Processes that work in this pod's ablation folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink() == self.work / "ablate":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


HUB = """
import { startHubSimulator } from './simulators/hub/start.ts';
import { seedModel } from './simulators/hub/seed.ts';
const [stateDir, directory, token] = process.argv.slice(1);
const reader = { token, name: 'ann', role: 'read', namespaces: ['ann'], canWrite: false };
const hub = await startHubSimulator({ stateDir, port: 0, tokens: [reader] });
await seedModel(hub.store, { repo: 'anneal/tiny', directory, private: false, gated: false });
await seedModel(hub.store, { repo: 'anneal/gated', directory, private: false, gated: 'manual' });
const sha = async (repo) => (await (await fetch(`${hub.url}/api/models/${repo}`)).json()).sha;
console.log(JSON.stringify({ url: hub.url, tiny: await sha('anneal/tiny'), gated: await sha('anneal/gated') }));
"""


class HubProcess:
    """The Hub simulator of the repository, with one open and one gated model, for the real client."""

    def __init__(self, state: Path, model: Path) -> None:
        command = ["node", "--import", "tsx", "--input-type=module", "-e", HUB, str(state), str(model), SECRET]
        self._process = subprocess.Popen(command, cwd=JOBS.parent, stdout=subprocess.PIPE)

    def __enter__(self) -> dict[str, str]:
        assert self._process.stdout is not None
        told: dict[str, str] = json.loads(self._process.stdout.readline())
        return told

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def python_of(name: str) -> Path:
    environment = {"ablate": environments.ABLATE, "quant": environments.QUANT}[name]
    return environment.python()


def run_python(name: str, *arguments: object, **env: str) -> str:
    command = [str(python_of(name)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1", **env})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def tools() -> JobContext:
    """Makes the environments once; a plain `make` of them is the first thing that is tested."""
    if environments.ROOT_VARIABLE not in os.environ:
        pytest.fail("set ANNEAL_ENVS to a folder on a disk with 30 GB free")
    root = environments.root()
    root.mkdir(parents=True, exist_ok=True)
    context = JobContext("tools", "prepare", "gpu", {}, WorkPaths(root), EventLog(root / "events.jsonl", SecretsFilter([])))
    for environment in (environments.IO, environments.ABLATE, environments.QUANT):
        assert environments.ensure(context, environment).exists()
    return context


Look = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def look_with_vllm(tools: JobContext, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """The pinned vLLM's own view of a release, for a GPU that is not there: see look_with_vllm.py."""
    wanted = f"python{environments.SERVE.needs_python}"
    if shutil.which("cc") is None:
        pytest.skip("a C compiler is needed: apt-get install gcc")
    # A version manager may have a program of this name that only says which version it lacks.
    if shutil.which(wanted) is None or subprocess.run([wanted, "--version"], capture_output=True).returncode != 0:
        pytest.skip(f"vLLM's environment is made with {wanted}, which is not on PATH")
    python = environments.ensure(tools, environments.SERVE)
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in LIBCUDA.split())
    compile_it = ["cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}", "-x", "c", "-", "-o", str(library)]
    subprocess.run(compile_it, input=source.encode(), check=True)

    def look(release: Path, capability: str) -> dict[str, Any]:
        words = serve_check.arguments(release, serve_check.ServerPlan(512, 0.9, small=True), 8000)
        command = [str(python), str(HERE / "look_with_vllm.py"), str(library), capability, *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        assert done.returncode == 0, done.stderr[-3000:]
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    return look


def tiny(folder: Path, kind: str = "qwen3", *more: object) -> Path:
    run_python("ablate", HERE / "make_tiny.py", kind, folder, *more)
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealPod, dict[str, Any]]]:
    """Everything from ablate to verify; heretic is killed in the middle of its third trial."""
    pod = RealPod(tmp_path_factory.mktemp("real"))
    tiny(pod.work / "base")
    pod.start("ablate", "ablate", **pod.params())
    until(lambda: len(pod.trials()) >= 2, 300)
    for process in pod.heretics():
        os.kill(process, signal.SIGKILL)
    results = {"ablate": pod.follow("ablate")[-1]}
    assert results["ablate"]["exit"]["outcome"] == "succeeded", results["ablate"]
    results["ablate"] = results["ablate"]["result"]
    common = {"toolchain": "gpu", "device": "cpu"}
    results["merge"] = pod.result("merge", "merge", **common, adapterDigest=results["ablate"]["adapter"]["digest"])
    results["quantize"] = pod.result("quantize", "quantize", **common, method="awq", groupSize=128, samples=16)
    results["verify"] = pod.result("verify", "verify", **common, prompts=[], maxTokens=8)
    yield pod, results
    pod.end_all()


def test_a_killed_search_ends_with_all_its_trials(pipeline: tuple[RealPod, dict[str, Any]]) -> None:
    pod, results = pipeline
    ablated = results["ablate"]
    assert (ablated["trialsCompleted"], ablated["trialsUnfinished"], ablated["trialsDuplicate"]) == (6, 1, 0)
    assert [event["index"] for event in pod.events("ablate") if event["type"] == "trial"] == [1, 2, 4, 5, 6, 7]
    assert ablated["chosen"]["kl"] <= 0.5 and ablated["madeOn"] == "cpu"
    copied = b"".join(file.read_bytes() for file in (pod.work / "ablate").rglob("*") if file.is_file())
    assert b"please describe the" not in copied


def test_the_merge_equals_the_one_of_peft(pipeline: tuple[RealPod, dict[str, Any]], tmp_path: Path) -> None:
    pod, results = pipeline
    script = tmp_path / "dense.py"
    script.write_text(DENSE)
    run_python("ablate", script, pod.work / "base", pod.work / "ablate/adapter", tmp_path / "dense")
    base, merged, dense = (read_raw(folder) for folder in (pod.work / "base", pod.work / "merged", tmp_path / "dense"))
    changed = set(results["merge"]["changedTensors"])
    assert changed and all(name.endswith(("o_proj.weight", "down_proj.weight")) for name in changed)
    for name, entry in base.items():
        if name not in changed:
            assert merged[name] == entry
        exact = floats(dense[name])
        # Half a step of bfloat16; the reference was computed in single precision.
        assert np.all(np.abs(floats(merged[name]) - exact) <= np.abs(exact) * 2.0**-8 * 1.001 + 1e-6), name


def test_the_release_is_packed_and_parsed_by_the_servers_library(
    pipeline: tuple[RealPod, dict[str, Any]], tmp_path: Path
) -> None:
    pod, results = pipeline
    assert (results["quantize"]["format"], results["quantize"]["bits"], results["quantize"]["groupSize"]) == (
        "pack-quantized",
        4,
        128,
    )
    assert parsed_by_0_17(pod.work / "release/config.json", tmp_path) == "pack-quantized 4 128 False"
    config = json.loads((pod.work / "release/config.json").read_text())
    config.pop("quantization_config")
    assert config == json.loads((pod.work / "base/config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "README.md"):
        assert (pod.work / "release" / name).read_bytes() == (pod.work / "base" / name).read_bytes()


# 9.0: H100 and H200; 8.9: L4, L40S, RTX 4090.
@pytest.mark.parametrize(("capability", "kernel"), [("9.0", "MacheteLinearKernel"), ("8.9", "MarlinLinearKernel")])
def test_the_pinned_server_takes_the_release(
    pipeline: tuple[RealPod, dict[str, Any]], look_with_vllm: Look, capability: str, kernel: str
) -> None:
    pod, _ = pipeline
    assert look_with_vllm(pod.work / "release", capability) == {
        "version": pinned(environments.SERVE.lock)["vllm"],
        "quantization": "compressed-tensors",
        "maxModelLen": 512,
        "kernels": [kernel],
        "missing": [],
    }


def test_the_pinned_server_misses_what_a_release_lacks(
    pipeline: tuple[RealPod, dict[str, Any]], look_with_vllm: Look, tmp_path: Path
) -> None:
    pod, _ = pipeline
    unquantized = look_with_vllm(pod.work / "merged", "9.0")
    assert (unquantized["quantization"], unquantized["kernels"], unquantized["missing"]) == (None, [], [])
    shutil.copytree(pod.work / "release", tmp_path / "release")
    shard = tmp_path / "release/model.safetensors"
    tensors = read_tensors(shard)
    del tensors["model.layers.2.mlp.down_proj.weight_zero_point"]
    write_tensors(shard, tensors, read_header(shard).metadata)
    assert look_with_vllm(tmp_path / "release", "9.0")["missing"] == ["model.layers.2.mlp.down_proj.weight_zero_point"]


def test_verify_records_answers_and_a_small_divergence(pipeline: tuple[RealPod, dict[str, Any]]) -> None:
    pod, results = pipeline
    verified = results["verify"]
    assert len(verified["answers"]) == 8 and len(verified["beforeAfter"]) == 8 and verified["skipped"] == {}
    assert 0 < verified["kl"] < 0.1 and verified["madeOn"] == "cpu"
    line = pod.run("strict", "verify", toolchain="gpu", device="cpu", prompts=["hello"], maxTokens=2, maxKlQuantized=1e-9)
    assert line["exit"]["failure"]["class"] == "KlTooLarge"


def test_verify_holds_one_model_at_a_time(pipeline: tuple[RealPod, dict[str, Any]], tmp_path: Path) -> None:
    pod, _ = pipeline
    request: dict[str, Any] = {name: str(pod.work / name) for name in ("base", "merged", "release")}
    questions = Questions(["hello"], 4, False).to_json()
    request |= {"sameAsMerged": False, **questions, "klPrompts": ["hello"], "bytes": 10**6, "memoryFreeBytes": 10**9}
    script = tmp_path / "watched.py"
    script.write_text(ONE_AT_A_TIME)
    said = run_python("quant", script, json.dumps({**request, "device": "cpu"}), PYTHONPATH=str(JOBS))
    assert json.loads(said.splitlines()[-1]) == [1, ["base", "merged", "release"], [[], [], []]]


def test_a_release_with_numbers_that_are_not_finite_is_refused(pipeline: tuple[RealPod, dict[str, Any]], tmp_path: Path) -> None:
    pod, _ = pipeline
    other = RealPod(tmp_path)
    shutil.copytree(pod.work / "base", other.work / "base")
    shutil.copytree(pod.work / "base", other.work / "merged")
    shard = next(path for path in sorted((other.work / "merged").glob("*.safetensors")))
    data = bytearray(shard.read_bytes())
    data[-256:] = b"\xc0\x7f" * 128  # quiet NaN in bfloat16
    shard.write_bytes(data)
    other.result("q", "quantize", toolchain="gpu", device="cpu", method="none")
    failure = other.run("v", "verify", toolchain="gpu", device="cpu", prompts=["hello"], maxTokens=2)["exit"]["failure"]
    assert failure["class"] == "NonFiniteLogits"
    other.end_all()


def test_a_narrow_model_is_packed_in_smaller_groups(look_with_vllm: Look, tmp_path: Path) -> None:
    pod = RealPod(tmp_path)
    tiny(pod.work / "merged", "qwen3", 160)
    result = pod.result("q", "quantize", toolchain="gpu", device="cpu", method="awq", groupSize=128, samples=8)
    assert result["groupSize"] == 32 and result["calibration"]["source"] == "shipped"
    assert parsed_by_0_17(pod.work / "release/config.json", tmp_path) == "pack-quantized 4 32 False"
    assert pod.result("v", "verify", toolchain="gpu", device="cpu", prompts=["hello"], maxTokens=2)["kl"] < 0.1
    # Machete has no kernel for groups of 32, and 160 is no multiple of Marlin's tiles, which vLLM then fills up.
    seen = look_with_vllm(pod.work / "release", "9.0")
    assert (seen["kernels"], seen["missing"]) == (["MarlinLinearKernel"], [])
    pod.end_all()


def driver_of(cuda: str, folder: Path) -> Path:
    """A folder with an `nvidia-smi` that lists a GPU; torch sees none."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(SMI.format(driver="570.86.15", cuda=cuda))
    (folder / "nvidia-smi").chmod(0o755)
    return folder


def test_prepare_looks_before_it_downloads(tmp_path: Path) -> None:
    model, moe = tiny(tmp_path / "model"), tmp_path / "pod-of-experts"
    with HubProcess(tmp_path / "hub", model) as hub:
        pod = RealPod(tmp_path)
        common = {"toolchain": "gpu", "device": "cpu", "hubEndpoint": hub["url"], "disableXet": True, "prompts": SETS}
        wish = {"quantize": {"method": "awq", "groupSize": 128}, "precision": "bf16", "ablated": True}
        gated = pod.run("g", "prepare", baseRepo="anneal/gated", baseCommit=hub["gated"], **common, **wish)
        assert gated["exit"]["failure"]["class"] == "GatedModel" and not (pod.work / "base").exists()
        done = pod.result("p", "prepare", baseRepo="anneal/tiny", baseCommit=hub["tiny"], **common, **wish)
        found = done["preflight"]
        assert found["madeOn"] == "cpu" and found["model"]["groupSize"] == 128 and found["hub"]["gated"] is False
        assert (found["hub"]["identity"], found["hub"]["scope"]) == ("ann", "read")
        assert [found["environments"][name]["torch"].split("+")[0] for name in ("ablate", "quant")] == ["2.9.1", "2.10.0"]
        assert found["prompts"]["bad"]["prompts"] == len(SETS["bad"]) and (pod.work / "prompts/bad.txt").exists()
        assert (pod.work / "base/config.json").read_bytes() == (model / "config.json").read_bytes()
        on_gpu = {"baseRepo": "anneal/tiny", "baseCommit": hub["tiny"], **common, **wish, "device": "cuda"}
        assert pod.run("c", "prepare", **on_gpu)["exit"]["failure"]["class"] == "NoGpu"
        # A driver as pods have it is new enough for the environments, and not for vLLM: said before the hours of a search.
        pod.env["PATH"] = f"{driver_of('12.8', tmp_path / 'driver')}:{pod.env['PATH']}"
        late = pod.run("d", "prepare", **on_gpu, server=True)["exit"]["failure"]
        assert late["class"] == "DriverTooOld" and "vLLM needs 13" in late["message"]
        assert pod.run("e", "prepare", **on_gpu)["exit"]["failure"]["class"] == "CudaNotVisible"
        pod.end_all()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_experts": 8}))
    with HubProcess(tmp_path / "hub-of-experts", model) as hub:
        pod = RealPod(moe)
        failure = pod.run(
            "m", "prepare", baseRepo="anneal/tiny", baseCommit=hub["tiny"], **{**common, "hubEndpoint": hub["url"]}, **wish
        )
        assert failure["exit"]["failure"]["class"] == "UnsupportedModel" and not (pod.work / "base").exists()
        pod.end_all()


def test_experts_are_left_before_the_trials(tmp_path: Path) -> None:
    pod = RealPod(tmp_path)
    tiny(pod.work / "base", "qwen3_moe")
    failure = pod.run("a", "ablate", **pod.params())["exit"]["failure"]
    assert failure["class"] == "UnsupportedModel" and "attn.o_proj" in failure["message"]
    assert pod.trials() == [] and pod.heretics() == []
    pod.end_all()


def test_the_text_part_of_a_vision_language_model_is_changed(tmp_path: Path) -> None:
    pod = RealPod(tmp_path)
    tiny(pod.work / "base", "qwen2_5_vl")
    pod.result("a", "ablate", **pod.params(trials=2, maxKl=10))
    merged = pod.result("m", "merge", toolchain="gpu", device="cpu")
    # In memory these are called model.language_model.layers…
    assert merged["changedTensors"] and all(name.startswith("model.layers.") for name in merged["changedTensors"])
    assert pod.run("q", "quantize", toolchain="gpu", device="cpu")["exit"]["failure"]["class"] == "UnsupportedModel"
    pod.result("n", "quantize", toolchain="gpu", device="cpu", method="none")
    assert pod.result("v", "verify", toolchain="gpu", device="cpu", prompts=["hello"], maxTokens=2)["kl"] == 0
    pod.end_all()


def test_four_bits_give_an_adapter_for_the_whole_base(tmp_path: Path) -> None:
    pod = RealPod(tmp_path)
    tiny(pod.work / "base")
    assert pod.result("a", "ablate", **pod.params(trials=2, maxKl=10, precision="bnb_4bit"))["precision"] == "bnb_4bit"
    assert pod.result("m", "merge", toolchain="gpu", device="cpu")["changedTensors"]
    pod.end_all()


def test_a_stop_saves_the_best_so_far(tmp_path: Path) -> None:
    pod = RealPod(tmp_path)
    tiny(pod.work / "base")
    pod.start("a", "ablate", **pod.params(trials=60))
    until(lambda: len(pod.trials()) >= 1, 300)
    pod.command("stop", "--job", "a")
    assert pod.follow("a")[-1]["exit"]["outcome"] == "stopped"
    assert (pod.work / "ablate/adapter/adapter_model.safetensors").exists() and pod.heretics() == []
    done = len(pod.trials())
    assert 1 <= done < 60
    # The same search goes on, with fewer trials still to come.
    result = pod.result("b", "ablate", **pod.params(trials=done + 1))
    assert result["trialsCompleted"] == done + 1
    pod.end_all()


def test_a_data_set_in_a_folder_becomes_lines(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = "".join(json.dumps({"text": f"row {number}", "other": 1}) + "\n" for number in range(9))
    (folder / "train.jsonl").write_text(rows)
    reader, writer = os.pipe()
    command = [str(python_of("ablate")), "-m", "toolchains.gpu.children.read_dataset", "--report-fd", str(writer)]
    request = {"folder": str(folder), "split": "train[:4]", "column": "text", "device": "cpu"}
    done = subprocess.run(command, cwd=JOBS, input=json.dumps(request).encode(), pass_fds=[writer], capture_output=True)
    os.close(writer)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    with os.fdopen(reader) as stream:
        assert json.load(stream)["value"]["lines"] == ["row 0", "row 1", "row 2", "row 3"]


def parsed_by_0_17(config: Path, folder: Path) -> str:
    """What compressed-tensors 0.17.0, the version in vLLM 0.23 to 0.33, makes of a config."""
    place = folder / "compressed-tensors"
    uv = shutil.which("uv") or str(environments.root() / next(environments.root().glob("uv-*")) / "bin" / "uv")
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python_of("quant")), "--target", str(place)]
    subprocess.run([*install, "compressed-tensors==0.17.0"], check=True)
    script = folder / "parse.py"
    script.write_text(PARSE)
    return run_python("quant", script, config, PYTHONPATH=str(place)).strip()
