"""The ablation job through the real supervisor, against a stand-in for heretic that speaks its recorded console and journal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import JOBS, Pod, until
from toolchains.gpu import heretic_journal
from toolchains.gpu.environments import ABLATE, MARKER
from toolchains.gpu.heretic_config import HereticSettings
from toolchains.gpu.heretic_console import Console

SETS = {name: [f"{name} prompt {n}" for n in range(12)] for name in ("good", "bad", "goodEval", "badEval")}
STAND_IN = JOBS / "tests/stand_ins/heretic_1_4_0.py"


class GpuPod(Pod):
    """A pod whose `ablate` environment holds the stand-in."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder / "workspace", folder)
        self.home = folder / "stand-in"
        self.home.mkdir()
        tools = folder / "envs" / f"ablate-{ABLATE.key}"
        (tools / "bin").mkdir(parents=True)
        (tools / "bin/python").symlink_to(sys.executable)
        heretic = tools / "bin/heretic"
        heretic.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        heretic.chmod(0o755)
        (tools / MARKER).write_text("{}")
        self.env |= {"ANNEAL_ENVS": str(folder / "envs"), "HERETIC_STAND_IN": str(self.home), "RUNPOD_API_KEY": "x"}
        shutil.copytree(base, self.work / "base")
        self.journals = self.work / "ablate/checkpoints"

    def faults(self, *plans: dict[str, Any]) -> None:
        (self.home / "faults.json").write_text(json.dumps(plans))

    def starts(self) -> list[int]:
        file = self.home / "starts"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def params(self, **over: Any) -> dict[str, Any]:
        defaults = {"toolchain": "gpu", "device": "cpu", "trials": 8, "seed": 3, "maxKl": 0.5, "prompts": SETS}
        return {**defaults, **over}

    def ablate(self, job_id: str, **over: Any) -> dict[str, Any]:
        return self.result(job_id, "ablate", **self.params(**over))

    def failure(self, job_id: str, **over: Any) -> dict[str, Any]:
        line = self.run(job_id, "ablate", **self.params(**over))
        assert line["exit"]["outcome"] == "failed", line
        failure: dict[str, Any] = line["exit"]["failure"]
        return failure

    def search(self) -> heretic_journal.Search:
        journal = heretic_journal.find(self.journals)
        assert journal is not None
        return heretic_journal.read(journal)


@pytest.fixture
def gpu(tmp_path: Path, base_model: Path) -> Iterator[GpuPod]:
    pod = GpuPod(tmp_path, base_model)
    yield pod
    pod.end_all()


def test_the_trial_with_fewest_refusals_within_the_limit_becomes_the_adapter(gpu: GpuPod) -> None:
    result = gpu.ablate("a")
    trials = gpu.search().trials
    assert len(trials) == result["trialsCompleted"] == 8
    allowed = sorted((trial.refusals, trial.kl) for trial in trials if trial.kl <= 0.5)
    chosen = result["chosen"]
    assert (chosen["refusals"], chosen["kl"]) == allowed[0] and min(t.refusals for t in trials) < allowed[0][0]
    assert chosen["projection"] == chosen["refusals"] / 12 and chosen["baseProjection"] == 11 / 12
    assert sorted(file.name for file in (gpu.work / "ablate/adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((gpu.work / "ablate/adapter/adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"]) and config["base_model_name_or_path"] is None
    told = [event for event in gpu.events("a") if event["type"] == "trial"]
    assert [event["index"] for event in told] == list(range(1, 9)) and told[0]["baseRefusals"] == 11
    merged = gpu.result("m", "merge", toolchain="gpu", ablated=True, adapterDigest=result["adapter"]["digest"])
    assert merged["changedTensors"] == sorted(f"{module}.weight" for module in config["target_modules"])


def test_a_search_without_effect_is_for_a_person_to_judge(gpu: GpuPod) -> None:
    gpu.ablate("a")
    least = min(trial.kl for trial in gpu.search().trials)
    only = {"maxKl": least, "trials": 8}
    chosen = gpu.ablate("b", **only)["chosen"]
    failure = gpu.failure("c", **only, requireFewerRefusals=True)
    assert chosen["refusals"] == chosen["baseRefusals"] == 11
    assert (failure["class"], failure["repeat"]) == ("NoLessRefusals", "person") and "11 of 12" in failure["message"]
    assert gpu.ablate("d", maxKl=0.5, requireFewerRefusals=True)["lessRefusals"] is True
    assert gpu.search().started == 8


def test_a_finished_search_is_only_looked_at(gpu: GpuPod) -> None:
    first = gpu.ablate("a")
    assert gpu.ablate("b") == first and len(gpu.starts()) == 1
    # Another policy chooses another trial, without any trial being run again.
    other = gpu.ablate("c", maxKl=10)
    assert other["chosen"]["index"] != first["chosen"]["index"] and gpu.search().started == 8


def test_no_prompt_text_is_in_what_is_copied_off_the_pod(gpu: GpuPod) -> None:
    gpu.ablate("a")
    copied = b"".join(file.read_bytes() for file in (gpu.work / "ablate").rglob("*") if file.is_file())
    assert b"bad prompt" not in copied and b"bad.txt" in copied


def test_a_killed_heretic_is_continued_with_fresh_draws(gpu: GpuPod) -> None:
    gpu.faults({"at": 4, "how": "torn"}, {"at": 6, "how": "kill"})
    result = gpu.ablate("a")
    assert len(gpu.starts()) == 3
    # Wanted trials are all there: neither killed nor repeated ones cost any.
    assert (result["trialsCompleted"], result["trialsUnfinished"], result["trialsDuplicate"]) == (8, 2, 0)
    assert any(file.name.endswith(".bak") for file in gpu.journals.iterdir())


def test_a_killed_supervisor_takes_heretic_along_and_the_next_job_continues(gpu: GpuPod) -> None:
    gpu.faults({"trialSeconds": 0.2})
    gpu.start("a", "ablate", **gpu.params())
    until(lambda: bool(gpu.journals.exists() and heretic_journal.find(gpu.journals)) and len(gpu.search().trials) >= 2)
    os.kill(gpu.supervisor("a")["pid"], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{gpu.starts()[0]}").exists())
    before = {trial.index: trial for trial in gpu.search().trials}
    result = gpu.ablate("b")
    after = {trial.index: trial for trial in gpu.search().trials}
    assert before.items() <= after.items() and len(after) == result["trialsCompleted"] == 8


def test_a_stop_saves_the_best_so_far_and_the_search_goes_on_later(gpu: GpuPod) -> None:
    gpu.faults({"trialSeconds": 0.3})
    gpu.start("a", "ablate", **gpu.params(maxKl=10))
    until(lambda: bool(gpu.journals.exists() and heretic_journal.find(gpu.journals)) and len(gpu.search().trials) >= 2)
    gpu.command("stop", "--job", "a")
    assert gpu.follow("a")[-1]["exit"]["outcome"] == "stopped"
    assert (gpu.work / "ablate/adapter/adapter_model.safetensors").exists()
    assert 2 <= len(gpu.search().trials) < 8
    assert gpu.ablate("b", maxKl=10)["trialsCompleted"] == 8


def test_a_stop_before_the_first_trial_ends_at_once(gpu: GpuPod) -> None:
    gpu.faults({"trialSeconds": 60})
    gpu.start("a", "ablate", **gpu.params())
    until(lambda: bool(gpu.starts()))
    gpu.command("stop", "--job", "a")
    assert gpu.follow("a")[-1]["exit"]["outcome"] == "stopped"
    assert not Path(f"/proc/{gpu.starts()[0]}").exists()


def test_three_crashes_without_a_new_trial_are_enough(gpu: GpuPod) -> None:
    gpu.faults(*[{"at": n, "how": "raise", "text": "strange"} for n in (3, 4, 5, 6, 7)])
    assert gpu.failure("a")["class"] == "JobCrashed"
    assert len(gpu.starts()) == 4 and len(gpu.search().trials) == 2


def test_out_of_memory_halves_the_batch(gpu: GpuPod) -> None:
    gpu.faults(*[{"largestBatch": 40}] * 9)
    assert gpu.ablate("a")["batchSize"] == 32
    assert len(gpu.starts()) == 3


def test_out_of_memory_with_the_smallest_batch_is_said(gpu: GpuPod) -> None:
    gpu.faults(*[{"largestBatch": 0}] * 9)
    failure = gpu.failure("a", maxBatchSize=2)
    assert failure["class"] == "OutOfMemory" and "bnb_4bit" in failure["advice"]
    # Asked again in the same precision, it says so without loading the model.
    starts = len(gpu.starts())
    assert gpu.failure("b", maxBatchSize=1)["class"] == "OutOfMemory" and len(gpu.starts()) == starts
    gpu.faults()
    assert gpu.ablate("c", precision="bnb_4bit")["precision"] == "bnb_4bit"


def test_out_of_memory_before_there_is_a_batch_is_said_at_once(gpu: GpuPod) -> None:
    gpu.faults(*[{"load": "CUDA out of memory. Tried to allocate 2.00 GiB."}] * 9)
    failure = gpu.failure("a")
    assert (failure["class"], failure["change"], len(gpu.starts())) == ("OutOfMemory", "smallerBatch", 1)
    # The repeats with a smaller batch, which the run makes before it changes the precision, load nothing.
    assert gpu.failure("b", maxBatchSize=64)["change"] == "smallerBatch" and len(gpu.starts()) == 1


def test_a_stored_batch_that_no_longer_fits_is_probed_again(gpu: GpuPod) -> None:
    gpu.faults({}, *[{"largestBatch": 40}] * 9)
    gpu.ablate("a", trials=4)
    assert gpu.ablate("b", trials=6)["batchSize"] == 32


def test_a_study_without_settings_is_begun_anew(gpu: GpuPod) -> None:
    gpu.faults({"early": True})
    assert gpu.ablate("a")["trialsCompleted"] == 8


@pytest.mark.parametrize(
    ("plan", "over", "expected"),
    [
        ({"gpu": True, "save": "full"}, {}, "DiskFull"),
        ({"config": True}, {}, "SettingsRefused"),
        ({"load": "System role not supported"}, {}, "SystemRoleRefused"),
        ({}, {"device": "cuda"}, "NoGpu"),
        ({}, {"maxKl": 1e-9}, "NoTrialWithinKl"),
        ({}, {"prompts": {**SETS, "bad": None}}, "PromptsMissing"),
        ({}, {"trials": 0}, "BadInput"),
        ({}, {"device": "tpu"}, "BadInput"),
    ],
)
def test_known_ends_have_their_class(gpu: GpuPod, plan: dict[str, Any], over: dict[str, Any], expected: str) -> None:
    gpu.faults(*[plan] * 5)
    failure = gpu.failure("a", **over)
    assert failure["class"] == expected and failure["advice"]
    assert not (gpu.work / "ablate/adapter").exists() and len(gpu.starts()) <= 1


def test_experts_that_cannot_be_reached_end_it_before_the_trials(gpu: GpuPod) -> None:
    config = json.loads((gpu.work / "base/config.json").read_text())
    (gpu.work / "base/config.json").write_text(json.dumps(config | {"num_experts": 4}))
    gpu.faults({"components": ["attn.o_proj"], "trialSeconds": 30})
    failure = gpu.failure("a")
    assert failure["class"] == "UnsupportedModel" and "attn.o_proj" in failure["message"]
    assert not Path(f"/proc/{gpu.starts()[0]}").exists()


def test_another_seed_begins_another_search(gpu: GpuPod) -> None:
    first = gpu.ablate("a")
    second = gpu.ablate("b", seed=4, trials=3)
    assert second["trialsCompleted"] == 3 and second["adapter"] != first["adapter"]
    assert (gpu.work / "ablate/checkpoints.old").exists()


def test_a_broken_line_inside_the_journal_is_cut_with_what_follows(tmp_path: Path) -> None:
    journal = tmp_path / "j.jsonl"
    good = b'{"op_code":0}\n{"op_code":4,"study_id":0}\n'
    journal.write_bytes(good + b'{"op_code":8,"tr{"op_code":4,"study_id":0}\n{"op_code":4}\n')
    assert heretic_journal.mend(journal) > 0
    assert journal.read_bytes() == good
    assert heretic_journal.mend(journal) == 0


def test_a_menu_is_seen_however_its_bytes_arrive() -> None:
    text = "\n\nWhich trial do you want to use?\n[1] [Trial   2] Refusals:  0/12\n[2] Run additional trials\n[3] Exit program\n"
    text += "Enter number: "
    console = Console()
    for number, letter in enumerate(text):
        assert console.question() is None, number
        console.feed(letter)
    question = console.question()
    assert question is not None and question.kind == "trial"
    assert (question.number_of_trial(2), question.number_of_trial(3), question.last) == (1, None, 3)


def test_the_configuration_is_toml_with_nothing_but_known_settings() -> None:
    tomllib = pytest.importorskip("tomllib")
    prompts = {name: f"../prompts/{name}.txt" for name in SETS}
    text = HereticSettings("../base", prompts, 200, 1, "bnb_4bit", 128, 100, "\n\n</think>\n\n").to_toml()
    value = tomllib.loads(text)
    assert value["dtypes"] == ["bfloat16"] and value["quantization"] == "bnb_4bit" and value["n_startup_trials"] == 60
    assert value["response_prefix"] == "\n\n</think>\n\n" and value["bad_prompts"] == {"dataset": "../prompts/bad.txt"}
