"""Stands in for the program heretic 1.4.0: its console text, menus and journal as recorded from the real one.

Figures come from the seed: every start draws the same sequence again, as the real sampler does. Faults per start are read
from `faults.json` in the folder named by HERETIC_STAND_IN.
"""

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HOME = Path(os.environ["HERETIC_STAND_IN"])


def setting(text, name):
    match = re.search(rf"^{name} = (.*)$", text, re.M)
    return json.loads(match[1]) if match else None


class Journal:
    def __init__(self, path):
        self.path = path
        # Like Optuna: a torn last line is read over, any other broken line is fatal.
        lines = path.read_text().split("\n") if path.exists() else []
        torn = lines.pop() if lines else ""
        self.operations = [json.loads(line) for line in lines]
        self.torn = bool(torn)
        path.with_name(path.name + ".lock").touch()

    def add(self, **operation):
        self.operations.append({**operation, "worker_id": "w"})
        with self.path.open("a") as stream:
            stream.write(json.dumps(self.operations[-1]) + "\n")

    def attributes(self):
        found = {}
        for operation in self.operations:
            if operation["op_code"] == 2:
                found |= operation["user_attr"]
        return found

    def trials(self):
        found = []
        for operation in self.operations:
            if operation["op_code"] == 4:
                found.append({"state": 0})
            elif operation["op_code"] == 8:
                found[operation["trial_id"]] |= operation["user_attr"]
            elif operation["op_code"] == 6:
                found[operation["trial_id"]]["state"] = operation["state"]
        return found


def ask(title, choices):
    print(f"\n{title}")
    for number, choice in enumerate(choices, 1):
        print(f"[{number}] {choice}")
    while True:
        try:
            answer = int(input("Enter number: "))
            if 1 <= answer <= len(choices):
                return answer
        except ValueError:
            print("Please enter a number.")


def main():
    starts = HOME / "starts"
    number = len(starts.read_text().splitlines()) if starts.exists() else 0
    with starts.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    plans = json.loads((HOME / "faults.json").read_text()) if (HOME / "faults.json").exists() else []
    fault = plans[number] if number < len(plans) else {}
    assert os.environ["COLAB_GPU"] and os.environ["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in os.environ
    config = Path("config.toml").read_text()
    print("█░█░█▀▀░█▀▄░█▀▀░▀█▀░█░█▀▀  v1.4.0\n")
    if fault.get("config"):
        print("Configuration contains 1 errors:\nn_trials: Input should be a valid integer")
        return
    print("No GPU or other accelerator detected. Operations will be slow." if not fault.get("gpu") else "GPU: stand-in")
    folder = Path(setting(config, "study_checkpoint_dir"))
    folder.mkdir(exist_ok=True)
    name = "".join(c if c.isalnum() or c in "_-" else "--" for c in setting(config, "model")) + ".jsonl"
    journal = Journal(folder / name)
    settings = {
        key: setting(config, key) for key in ("model", "n_trials", "seed", "max_batch_size", "export_strategy", "quantization")
    }
    settings["batch_size"] = 0
    if journal.operations:
        finished = journal.attributes()["finished"]
        first = "Show the results from the previous run" if finished else "Continue the previous run"
        if ask("How would you like to proceed?", [first, "Ignore the previous run and start from scratch", "Exit program"]) != 1:
            return
        settings = json.loads(journal.attributes()["settings"])
    print(f"\nLoading model {settings['model']}...\n* Trying dtype bfloat16... ", flush=True)
    if fault.get("load"):
        print(f"* Failed ({fault['load']})")
        raise Exception("Failed to load model with all configured dtypes.")
    print("* Abliterable components:")
    for component in fault.get("components", ["attn.o_proj", "mlp.down_proj"]):
        print(f"  * {component}: 4 modules total")
    print("\nResident system RAM: 0.96 GB\n")
    # Probing itself succeeds: what it does not cover fails later.
    settings["batch_size"] = settings["batch_size"] or settings["max_batch_size"]
    print(f"* Chosen batch size: {settings['batch_size']}")
    if settings["batch_size"] > fault.get("largestBatch", 10**9):
        raise Exception("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if not journal.operations:
        journal.add(op_code=0, study_name="heretic", directions=[1, 1])
        if fault.get("early"):
            os.kill(os.getpid(), signal.SIGKILL)
    journal.add(op_code=2, study_id=0, user_attr={"settings": json.dumps(settings)})
    journal.add(op_code=2, study_id=0, user_attr={"finished": False})
    draw = random.Random(settings["seed"])
    interrupted = False
    while len(journal.trials()) < settings["n_trials"] and not interrupted:
        trial_id = len(journal.trials())
        try:
            journal.add(op_code=4, study_id=0, datetime_start="2026-01-01T00:00:00")
            journal.add(op_code=8, trial_id=trial_id, user_attr={"index": trial_id + 1})
            value = draw.random()
            journal.add(op_code=5, trial_id=trial_id, param_name="direction_index", param_value_internal=value)
            parts = {"attn.o_proj": {"max_weight": 1 + value / 2}, "mlp.down_proj": {"max_weight": 1.0}}
            journal.add(op_code=8, trial_id=trial_id, user_attr={"direction_index": value, "parameters": parts})
            print(f"\nRunning trial {trial_id + 1} of {settings['n_trials']}...\n* Evaluating...", flush=True)
            time.sleep(fault.get("trialSeconds", 0.01))
            if fault.get("at") == trial_id + 1:
                if fault["how"] == "torn":
                    with journal.path.open("a") as stream:
                        stream.write('{"op_code": 8, "trial_')
                if fault["how"] == "raise":
                    raise Exception(fault["text"])
                os.kill(os.getpid(), signal.SIGKILL)
            figures = {"kl_divergence": round(value, 4), "refusals": int((1 - value) * 12), "base_refusals": 11}
            for key, figure in {**figures, "n_bad_prompts": 12}.items():
                journal.add(op_code=8, trial_id=trial_id, user_attr={key: figure})
            journal.add(op_code=6, trial_id=trial_id, state=1, values=[0.0, 0.0], datetime_complete="2026-01-01T00:00:01")
            print("Elapsed time: 1s\nEstimated remaining time: 2s", flush=True)
        except KeyboardInterrupt:
            interrupted = True
            journal.add(op_code=6, trial_id=trial_id, state=2, values=None)
    if len(journal.trials()) == settings["n_trials"]:
        journal.add(op_code=2, study_id=0, user_attr={"finished": True})
    menus(journal, fault)


def menus(journal, fault):
    done = sorted((t for t in journal.trials() if t["state"] == 1), key=lambda t: (t["refusals"], t["kl_divergence"]))
    if not done:
        print("Shutting down...")
        return
    least, front = 1e9, []
    for trial in done:
        if trial["kl_divergence"] < least:
            least = trial["kl_divergence"]
            front.append(trial)
    print("\nOptimization finished!\n")
    titles = [f"[Trial {t['index']:>3}] Refusals: {t['refusals']:>2}/12, KL divergence: {t['kl_divergence']:.4f}" for t in front]
    while True:
        answer = ask("Which trial do you want to use?", [*titles, "Run additional trials", "Exit program"])
        if answer > len(front):
            assert answer == len(front) + 2
            return
        trial = front[answer - 1]
        print(f"\nRestoring model from trial {trial['index']}...")
        while True:
            actions = ["Save the model to a local folder", "Upload the model to Hugging Face", "Chat with the model"]
            actions += ["Benchmark the model", "Return to the trial selection menu"]
            if ask("What do you want to do with the decensored model?", actions) == 5:
                break
            target = Path(input("Path to the folder:: "))
            print("Saving LoRA adapter...")
            target.mkdir()
            if fault.get("save") == "full":
                print("Error: I/O error: No space left on device (os error 28)")
                continue
            export(target, trial)
            print(f"Model saved to {target}.\n")


def export(target, trial):
    modules = [f"model.layers.{n}.{part}" for n in (3, 1) for part in ("self_attn.o_proj", "mlp.down_proj")]
    base = json.loads(Path("../base/config.json").read_text())
    hidden, wide = base["hidden_size"], base["intermediate_size"]
    attention = base["num_attention_heads"] * base.get("head_dim", hidden // base["num_attention_heads"])
    source, tensors = np.random.default_rng([trial["index"], int(trial["kl_divergence"] * 10_000)]), {}
    for module in modules:
        columns = wide if module.endswith("down_proj") else attention
        tensors[f"base_model.model.{module}.lora_A.weight"] = source.normal(size=(3, columns)).astype(np.float32)
        tensors[f"base_model.model.{module}.lora_B.weight"] = (source.normal(size=(hidden, 3)) * 0.01).astype(np.float32)
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    random.shuffle(modules)
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "bias": "none", "target_modules": modules}
    config |= {"rank_pattern": {}, "alpha_pattern": {}, "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}
    (target / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "../base"}))
    (target / "README.md").write_text("generic")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Shutting down...")
        sys.exit(0)
