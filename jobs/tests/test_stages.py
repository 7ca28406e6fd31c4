"""The stages one after another on the tiny model, checked by arithmetic that does not use the decoder."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from tests.conftest import JOBS, Pod, until

Raw = dict[str, tuple[str, list[int], bytes]]


def read_raw(folder: Path) -> Raw:
    """Every tensor of a folder as dtype, shape and bytes, parsed here independently of the product."""
    found: Raw = {}
    for file in sorted(folder.glob("*.safetensors")):
        data = file.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end])
    return found


def floats(entry: tuple[str, list[int], bytes]) -> NDArray[np.float64]:
    dtype, shape, data = entry
    if dtype == "BF16":
        values = [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
        return np.array(values).reshape(shape)
    assert dtype == "F32"
    return np.frombuffer(data, dtype="<f4").astype(np.float64).reshape(shape)


class Pipeline:
    """A pod on which everything up to verify has run."""

    def __init__(self, pod: Pod, base: Path) -> None:
        self.pod, self.work = pod, pod.work
        shutil.copytree(base, pod.work / "base")
        self.ablated = pod.result("ablate", "ablate", trials=12, seed=3, maxKl=0.5, prompts=None)
        self.merged = pod.result("merge", "merge")
        self.quantized = pod.result("quantize", "quantize", method="awq", groupSize=128)
        self.verified = pod.result("verify", "verify", prompts=[], maxTokens=16)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    pod = Pod(folder / "workspace", folder)
    yield Pipeline(pod, base_model)
    pod.end_all()


def test_the_base_is_the_same_bytes_twice_and_a_real_model(base_model: Path, tmp_path: Path) -> None:
    from toolchains.rehearsal.make_base import make_base

    make_base(tmp_path / "again", 1)
    make_base(tmp_path / "other", 2)
    names = sorted(file.name for file in base_model.iterdir())
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (base_model / name).read_bytes(), name
    shard = "model-00001-of-00003.safetensors"
    assert (tmp_path / "other" / shard).read_bytes() != (base_model / shard).read_bytes()
    with safe_open(base_model / shard, "np") as file:
        assert "model.embed_tokens.weight" in set(file.keys())
    assert 400 <= json.loads((base_model / "config.json").read_text())["vocab_size"] <= 600


def test_the_ablation_lowers_the_projection_within_the_limit(pipeline: Pipeline) -> None:
    chosen = pipeline.ablated["chosen"]
    assert chosen["projection"] < 0.5 * chosen["baseProjection"]
    assert 0 < chosen["kl"] <= 0.5
    lines = [json.loads(line) for line in (pipeline.work / "ablate/journal.jsonl").read_text().splitlines()]
    trials = [line for line in lines if line["type"] == "trial"]
    assert [trial["index"] for trial in trials] == list(range(12))
    allowed = [trial for trial in trials if trial["kl"] <= 0.5]
    assert chosen["index"] == min(allowed, key=lambda trial: trial["projection"])["index"]


def test_the_merge_removes_the_direction_and_nothing_else(pipeline: Pipeline) -> None:
    base, merged = read_raw(pipeline.work / "base"), read_raw(pipeline.work / "merged")
    direction = floats(read_raw(pipeline.work / "ablate/adapter")["direction"])
    assert abs(float(np.linalg.norm(direction)) - 1) < 1e-5
    strength = pipeline.ablated["chosen"]["strength"]
    changed = set(pipeline.merged["changedTensors"])
    assert changed and all(name.endswith(("o_proj.weight", "down_proj.weight")) for name in changed)
    assert base.keys() == merged.keys()
    for name, entry in base.items():
        if name not in changed:
            assert merged[name] == entry, name
            continue
        before, after = direction @ floats(entry), direction @ floats(merged[name])
        # bfloat16 keeps 8 bits: rounding moves every weight by at most 2^-9 of itself.
        allowed = 2.0**-8 * (np.abs(direction) @ np.abs(floats(entry))) + 1e-6
        assert np.all(np.abs(after - (1 - strength) * before) <= allowed), name
        assert merged[name][2] != entry[2]


def test_other_files_are_copied_and_a_repeated_merge_changes_nothing(pipeline: Pipeline) -> None:
    for file in (pipeline.work / "base").iterdir():
        if file.suffix != ".safetensors":
            assert (pipeline.work / "merged" / file.name).read_bytes() == file.read_bytes()
    before = {file.name: file.stat().st_mtime_ns for file in (pipeline.work / "merged").glob("*.safetensors")}
    assert pipeline.pod.result("merge-again", "merge") == pipeline.merged
    assert {file.name: file.stat().st_mtime_ns for file in (pipeline.work / "merged").glob("*.safetensors")} == before


def test_packed_weights_lie_within_half_a_step(pipeline: Pipeline) -> None:
    """Unpacks bit by bit, by the layout's description, without the product's code."""
    merged, release = read_raw(pipeline.work / "merged"), read_raw(pipeline.work / "release")
    modules = [name.removesuffix(".weight_packed") for name in release if name.endswith(".weight_packed")]
    assert len(modules) == 5 * 7
    for module in modules[:6]:
        rows, columns = struct.unpack("<2q", release[f"{module}.weight_shape"][2])
        scale = floats(release[f"{module}.weight_scale"])
        words = np.frombuffer(release[f"{module}.weight_packed"][2], "<u4").reshape(rows, columns // 8)
        zero_words = np.frombuffer(release[f"{module}.weight_zero_point"][2], "<u4").reshape(rows // 8, -1)
        original = floats(merged[f"{module}.weight"])
        for row in range(0, rows, 37):
            for column in range(columns):
                group = column // 128
                code = (int(words[row, column // 8]) >> (4 * (column % 8))) & 15
                zero = (int(zero_words[row // 8, group]) >> (4 * (row % 8))) & 15
                value = (code - zero) * scale[row, group]
                assert abs(value - original[row, column]) <= scale[row, group] / 2 * 1.0001
    untouched = {name for name in release if not any(name.startswith(module + ".") for module in modules)}
    assert all(release[name] == merged[name] for name in untouched)
    config = json.loads((pipeline.work / "release/config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((pipeline.work / "base/config.json").read_text())
    assert (quantization["quant_method"], quantization["format"]) == ("compressed-tensors", "pack-quantized")
    assert quantization["config_groups"]["group_0"]["weights"]["group_size"] == 128


def test_quantizing_twice_gives_the_same_bytes(pipeline: Pipeline) -> None:
    def hashes() -> dict[str, str]:
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (pipeline.work / "release").iterdir()}

    before = hashes()
    again = pipeline.pod.result("quantize-again", "quantize", method="awq", groupSize=128)
    assert (hashes(), again) == (before, pipeline.quantized)


def test_the_manifest_lists_every_file_with_true_digests(pipeline: Pipeline) -> None:
    files = pipeline.verified["manifest"]["files"]
    assert [entry["path"] for entry in files] == sorted(f.name for f in (pipeline.work / "release").iterdir())
    text = b""
    for entry in files:
        data = (pipeline.work / "release" / entry["path"]).read_bytes()
        assert entry["size"] == len(data) and entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["gitBlobSha1"] == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        text += f"{entry['path']}\0{entry['size']}\0{entry['sha256']}\n".encode()
    assert pipeline.verified["manifest"]["digest"] == hashlib.sha256(text).hexdigest()
    assert pipeline.verified["kl"] < 0.5 and pipeline.verified["madeOn"] == "rehearsal"


def test_answers_differ_by_prompt_and_from_the_base(pipeline: Pipeline) -> None:
    answers = [entry["answer"] for entry in pipeline.verified["answers"]]
    assert len(set(answers)) == len(answers) == 4 and all(answers)
    assert any(entry["before"] != entry["after"] for entry in pipeline.verified["beforeAfter"])
    assert not any("<think>" in answer for answer in answers)


def test_the_server_gives_exactly_the_recorded_answers(pipeline: Pipeline) -> None:
    with serving(pipeline.pod, pipeline.work / "release", 512) as url:
        assert urllib.request.urlopen(f"{url}/health").status == 200
        models = json.load(urllib.request.urlopen(f"{url}/v1/models"))
        assert models["data"][0]["id"] == "tiny" and models["data"][0]["max_model_len"] == 512
        for entry in pipeline.verified["answers"]:
            body = {"model": "tiny", "messages": [{"role": "user", "content": entry["prompt"]}], "max_tokens": 16}
            answer = post(f"{url}/v1/chat/completions", body)
            choice = answer["choices"][0]
            assert choice["message"]["content"] == entry["answer"]
            used = answer["usage"]["completion_tokens"]
            assert choice["finish_reason"] == ("length" if used == 16 else "stop")
            assert stream(f"{url}/v1/chat/completions", body)[0] == entry["answer"]
        thinking = {**body, "chat_template_kwargs": {"enable_thinking": True}}
        assert post(f"{url}/v1/chat/completions", thinking)["choices"][0]["message"]["content"] != entry["answer"]
        warm = {**body, "temperature": 1.0, "seed": 5}
        assert post(f"{url}/v1/chat/completions", warm)["choices"] == post(f"{url}/v1/chat/completions", warm)["choices"]
        text = post(f"{url}/v1/completions", {"model": "tiny", "prompt": "the river runs", "max_tokens": 4})
        assert text["object"] == "text_completion" and text["usage"]["completion_tokens"] <= 4
        text_stream, usage = stream(f"{url}/v1/completions", {"model": "tiny", "prompt": "the river runs", "max_tokens": 4})
        assert text_stream == text["choices"][0]["text"] and usage == text["usage"]
        assert status_of(f"{url}/v1/chat/completions", {**body, "model": "other"}) == (404, "NotFoundError")
        assert status_of(f"{url}/v1/chat/completions", {**body, "max_tokens": 500}) == (400, "BadRequestError")
        assert status_of(f"{url}/v1/chat/completions", {"model": "tiny"}) == (400, "BadRequestError")
        near = {**body, "max_tokens": 512 - answer["usage"]["prompt_tokens"] + 40}
        assert status_of(f"{url}/v1/chat/completions", near)[0] == 400


def test_the_server_answers_to_each_of_its_names_and_carries_the_first(pipeline: Pipeline) -> None:
    with serving(pipeline.pod, pipeline.work / "release", 512, ("tiny", "tiny.r1")) as url:
        models = json.load(urllib.request.urlopen(f"{url}/v1/models"))
        assert [card["id"] for card in models["data"]] == ["tiny", "tiny.r1"]
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        answers = [post(f"{url}/v1/chat/completions", {**body, "model": name}) for name in ("tiny", "tiny.r1")]
        assert answers[0]["choices"] == answers[1]["choices"]
        assert [answer["model"] for answer in answers] == ["tiny", "tiny"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(f"{url}/v1/chat/completions", {**body, "model": "tiny.r2"})
        assert caught.value.code == 404
        assert json.load(caught.value)["error"]["message"] == "The model `tiny.r2` does not exist."


def test_a_damaged_block_changes_the_answers(pipeline: Pipeline, tmp_path: Path) -> None:
    pod = Pod(tmp_path / "damaged", tmp_path)
    for name in ("base", "merged", "release"):
        shutil.copytree(pipeline.work / name, pod.work / name)
    shard = pod.work / "release/model-00002-of-00003.safetensors"
    data = bytearray(shard.read_bytes())
    # One block of packed codes inside the weights, as a bad disk would leave it: every header still fits.
    (length,) = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8 : 8 + length])["model.layers.3.mlp.up_proj.weight_packed"]["data_offsets"]
    assert end - begin >= 4096
    data[8 + length + begin : 8 + length + begin + 4096] = bytes(4096)
    shard.write_bytes(data)
    line = pod.run("verify", "verify", prompts=[], maxTokens=16, maxKlQuantized=1000)
    assert line["exit"]["outcome"] == "succeeded", line["exit"]
    assert line["result"]["answers"] != pipeline.verified["answers"]
    assert line["result"]["kl"] > pipeline.verified["kl"]
    pod.end_all()


def test_cut_and_inconsistent_weights_are_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    pod = Pod(tmp_path / "cut", tmp_path)
    for name in ("base", "merged", "release"):
        shutil.copytree(pipeline.work / name, pod.work / name)
    shard = pod.work / "release/model-00001-of-00003.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-3])
    assert pod.run("cut", "verify")["exit"]["failure"]["class"] == "DamagedWeights"
    shard.write_bytes(whole)
    index = pod.work / "release/model.safetensors.index.json"
    value = json.loads(index.read_text())
    value["weight_map"]["ghost.weight"] = shard.name
    index.write_text(json.dumps(value))
    failure = pod.run("ghost", "verify")["exit"]["failure"]
    assert failure["class"] == "DamagedModel" and "ghost.weight" in failure["message"]
    pod.end_all()


def test_publish_names_a_file_that_changed_after_verify(pipeline: Pipeline, tmp_path: Path) -> None:
    pod = Pod(tmp_path / "changed", tmp_path)
    shutil.copytree(pipeline.work / "release", pod.work / "release")
    card = "---\nlicense: apache-2.0\n---\n"
    manifest = pipeline.verified["manifest"]
    files = [entry for entry in manifest["files"] if entry["path"] != "README.md"]
    readme = {"path": "README.md", "size": len(card), "sha256": hashlib.sha256(card.encode()).hexdigest()}
    shard = pod.work / "release/model-00003-of-00003.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    params = {"repo": "anneal/tiny", "revision": "main", "card": card, "message": "m", "deleteOthers": True}
    # Nothing listens on port 9: a test that got as far as sending would fail with another class.
    line = pod.run("p", "publish", **params, hubEndpoint="http://127.0.0.1:9", manifest={"files": [*files, readme]})
    failure = line["exit"]["failure"]
    assert failure["class"] == "ManifestMismatch" and shard.name in failure["message"]
    pod.end_all()


def test_unquantized_release_equals_the_merge(pipeline: Pipeline, tmp_path: Path) -> None:
    pod = Pod(tmp_path / "plain", tmp_path)
    shutil.copytree(pipeline.work / "merged", pod.work / "merged")
    result = pod.result("q", "quantize", method="none")
    assert (result["format"], result["bits"], result["groupSize"]) == ("none", 16, 0)
    assert read_raw(pod.work / "release") == read_raw(pod.work / "merged")
    assert pod.result("v", "verify")["kl"] == 0
    pod.end_all()


def test_an_unknown_toolchain_is_refused(pod: Pod) -> None:
    for stage in ("prepare", "ablate", "merge", "quantize", "verify", "publish"):
        line = pod.run(stage, stage, toolchain="abacus")
        assert line["exit"]["failure"]["class"] == "BadInput"


def test_merge_without_a_demanded_adapter_says_so(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "base")
    assert pod.run("m", "merge", ablated=True)["exit"]["failure"]["class"] == "AdapterMissing"
    assert pod.result("n", "merge", ablated=False)["changedTensors"] == []


def stopped_search(pod: Pod, base_model: Path) -> Path:
    """A search stopped in the middle; returns its journal."""
    shutil.copytree(base_model, pod.work / "base")
    pod.start("search", "ablate", trials=8, seed=3, maxKl=0.5, trialSeconds=0.4)
    journal = pod.work / "ablate/journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3)
    pod.command("stop", "--job", "search")
    assert pod.follow("search")[-1]["exit"]["outcome"] == "stopped"
    assert 3 <= journal.read_bytes().count(b"\n") < 9
    return journal


def indexes(journal: Path) -> list[int]:
    return [line["index"] for line in map(json.loads, journal.read_text().splitlines()) if line["type"] == "trial"]


def test_a_stopped_search_continues_without_duplicates(pod: Pod, base_model: Path, tmp_path: Path) -> None:
    journal = stopped_search(pod, base_model)
    before = journal.read_bytes()
    assert (pod.work / "ablate/best.json").exists()
    resumed = pod.result("search-2", "ablate", trials=8, seed=3, maxKl=0.5)
    assert journal.read_bytes().startswith(before) and indexes(journal) == list(range(8))
    told = [event["index"] for event in pod.events("search") + pod.events("search-2") if event["type"] == "trial"]
    assert told == list(range(8))
    whole = Pod(tmp_path / "whole", tmp_path)
    shutil.copytree(base_model, whole.work / "base")
    assert whole.result("w", "ablate", trials=8, seed=3, maxKl=0.5) == resumed
    whole.end_all()


def test_a_torn_journal_line_is_cut(pod: Pod, base_model: Path) -> None:
    journal = stopped_search(pod, base_model)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    pod.result("search-2", "ablate", trials=8, seed=3, maxKl=0.5)
    assert indexes(journal) == list(range(8))


def test_a_journal_of_another_search_is_set_aside(pod: Pod, base_model: Path) -> None:
    journal = stopped_search(pod, base_model)
    old = journal.read_bytes()
    pod.result("other-seed", "ablate", trials=3, seed=4, maxKl=0.5)
    assert indexes(journal) == [0, 1, 2]
    assert (journal.parent / "journal.jsonl.1.old").read_bytes() == old


def test_no_trial_within_the_limit_is_a_named_failure(pod: Pod, base_model: Path) -> None:
    shutil.copytree(base_model, pod.work / "base")
    failure = pod.run("none", "ablate", trials=3, seed=1, maxKl=1e-9)["exit"]["failure"]
    assert failure["class"] == "NoTrialWithinKl" and failure["advice"]


class serving:
    """The real server as a process, on a port of its own choice."""

    def __init__(self, pod: Pod, model: Path, length: int, names: tuple[str, ...] = ("tiny",)) -> None:
        import subprocess
        import sys

        arguments = ["--model", str(model), "--port", "0", "--max-model-len", str(length)]
        arguments += ["--served-model-name", *names]
        arguments += ["--default-chat-template-kwargs", '{"enable_thinking": false}']
        command = [sys.executable, "-m", "toolchains.rehearsal.serve", *arguments]
        self._process = subprocess.Popen(command, cwd=JOBS, env=pod.env, stdout=subprocess.PIPE)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def status_of(url: str, body: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(url, body)
    return caught.value.code, json.load(caught.value)["error"]["type"]


def stream(url: str, body: dict[str, Any]) -> tuple[str, Any]:
    """The text and usage of a streamed answer."""
    wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(url, json.dumps(wanted).encode(), {"Content-Type": "application/json"})
    lines = [line for line in urllib.request.urlopen(request).read().decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    text, usage = "", None
    for line in lines[:-1]:
        chunk = json.loads(line.removeprefix("data: "))
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
    return text, usage
