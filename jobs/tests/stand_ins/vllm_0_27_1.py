"""Stands in for the program vllm 0.27.1: the HTTP answers of `vllm serve`, and the text of its source where it gives up.

What it does stands in `plan.json` in the folder named by VLLM_STAND_IN; its command line, environment and pids go there, too.
"""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOME = Path(os.environ["VLLM_STAND_IN"])
PLAN = json.loads((HOME / "plan.json").read_text())
API_TRACE = [
    "(APIServer pid=1) Traceback (most recent call last):",
    *[f'(APIServer pid=1)   File "/env/vllm/entrypoints/api_server.py", line {n}, in run_server_worker' for n in range(40)],
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.reply(503 if PLAN.get("sick") else 200, "")
        else:
            self.reply(200, {"version": "0.27.1"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (HOME / "requests").open("a") as stream:
            stream.write(json.dumps({"path": self.path, **request}) + "\n")
        if PLAN.get("hang"):
            time.sleep(60)
        if PLAN.get("die"):
            print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", flush=True)
            os._exit(1)
        if "error" in PLAN:
            self.reply(500, PLAN["error"])
            return
        text = PLAN["answers"][request["messages"][-1]["content"]]
        tokens = [{"token": word, "logprob": PLAN.get("logprob", -0.5)} for word in text.split()]
        choice = {"message": {"role": "assistant", "content": text}, "logprobs": {"content": tokens}}
        self.reply(200, {"choices": [choice]})

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


# As vLLM's engine: a process of its own that does not go by itself when the server is killed.
engine = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(120)"])
started = {"arguments": sys.argv[1:], "environment": dict(os.environ), "pids": [os.getpid(), engine.pid]}
(HOME / "started.tmp").write_text(json.dumps(started))
(HOME / "started.tmp").rename(HOME / "started.json")
print("(APIServer pid=1) INFO 11-21 10:00:00 [api_server.py:1] vLLM API server version 0.27.1", flush=True)
if "exit" in PLAN:
    print(f"(EngineCore pid=2) ERROR 11-21 10:00:09 [core.py:1] {PLAN['exit']}")
    print("\n".join(API_TRACE), flush=True)
    sys.exit(1)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
