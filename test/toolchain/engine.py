"""The model server of a simulated serverless worker: `transformers serve` behind the surface that vLLM has.

python engine.py --serve-packages FOLDER --model DIR --host H --port N --served-model-name NAME [NAME ...] [--max-model-len N]
[--default-chat-template-kwargs JSON], with the interpreter of the `quant` environment.

Every answer is computed by `transformers serve --device cpu` from the files in DIR. What it has not and vLLM has stands here:
served names (it answers to its directory only), `/v1/models` (it asks the network), the limit on prompt and answer together
(it has none), errors in OpenAI's shape, `stream_options`, `max_completion_tokens` (it ignores both), a `repetition_penalty`
of 1 (it refuses the field) and the closing
`[DONE]` of a stream, which is sent only when the server said why the answer ended.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024
ANSWER_SECONDS = 300


class Refused(Exception):
    def __init__(self, status, kind, message, param=None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def bad_request(message, param=None):
    return Refused(400, "BadRequestError", message, param)


class Model:
    """The directory, how long it may become, and the server over it."""

    def __init__(self, options):
        from transformers import AutoConfig, AutoTokenizer

        self.directory = options.model
        self.names = options.served_model_name
        self.template = json.loads(options.default_chat_template_kwargs or "{}")
        self.words = AutoTokenizer.from_pretrained(self.directory)
        positions = AutoConfig.from_pretrained(self.directory).max_position_embeddings
        self.longest = options.max_model_len or positions
        if not 1 <= self.longest <= positions:
            raise SystemExit(f"--max-model-len {self.longest} must lie between 1 and the model's {positions} positions")
        self.port = free_port()
        self.server = start_server(options, self.port)

    def request(self, method, path, body=None):
        """The server's answer, not read yet; the connection is the caller's to close."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"})
        return connection, connection.getresponse()

    def accept(self, body):
        """The request as the server wants it. Raises `Refused`."""
        if body.get("model", self.names[0]) not in self.names:
            raise Refused(404, "NotFoundError", f"The model `{body['model']}` does not exist.", "model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("messages must be a non-empty list", "messages")
        kwargs = {**self.template, **(body.get("chat_template_kwargs") or {})}
        encoded = self.words.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, **kwargs)
        prompt = len(encoded["input_ids"])
        room = self.longest - prompt
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or max(room, 0)
        if room <= 0 or wanted > room:
            raise bad_request(
                f"This model's maximum context length is {self.longest} tokens. However, you requested {prompt + wanted} tokens "
                f"({prompt} in the messages, {wanted} in the completion). Please reduce the length of either.",
                "input_tokens",
            )
        if body.get("repetition_penalty", 1) != 1:
            raise bad_request("this server knows no repetition penalty", "repetition_penalty")
        own = ("stream_options", "max_completion_tokens", "repetition_penalty")
        kept = {key: value for key, value in body.items() if key not in own}
        return {**kept, "model": self.directory, "max_tokens": wanted}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(options, port):
    packages = next(Path(options.serve_packages).glob("lib/python3*/site-packages"))
    env = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "HF_HOME": str(Path(options.model).parent / "hub-home"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # Other workers and pods compute on the same cores.
        "OMP_NUM_THREADS": "1",
    }
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", options.model, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    if options.default_chat_template_kwargs:
        command += ["--chat-template-kwargs", options.default_chat_template_kwargs]
    return subprocess.Popen(command, env=env)


class Handler(BaseHTTPRequestHandler):
    model: Model
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            self.relay_health()
        elif self.path == "/v1/models":
            common = {"object": "model", "owned_by": "transformers", "max_model_len": self.model.longest}
            self.send(200, {"object": "list", "data": [{"id": name, **common} for name in self.model.names]})
        else:
            self.send(404, {"detail": "Not Found"})

    def do_POST(self):
        text = self.rfile.read(min(int(self.headers.get("content-length") or 0), LIMIT_BYTES))
        if self.path != "/v1/chat/completions":
            self.send(404, {"detail": "Not Found"})
            return
        try:
            try:
                body = json.loads(text)
            except ValueError:
                raise bad_request("the body is not JSON") from None
            if not isinstance(body, dict):
                raise bad_request("the body must be a JSON object")
            wanted = self.model.accept(body)
            connection, answer = self.model.request("POST", self.path, wanted)
            try:
                if answer.status != 200:
                    raise Refused(answer.status, "BadRequestError", answer.read().decode(errors="replace")[:500])
                if body.get("stream") is True:
                    options = body.get("stream_options") or {}
                    self.stream(answer, options.get("include_usage") is True)
                else:
                    self.send(200, {**json.loads(answer.read()), "model": self.model.names[0]})
            finally:
                connection.close()
        except Refused as error:
            self.send(error.status, error.body)

    def relay_health(self):
        try:
            connection, answer = self.model.request("GET", "/health")
            status = answer.status
            connection.close()
        except OSError:
            status = 503
        self.send(status, None)

    def stream(self, answer, with_usage):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        # The length is unknown: the end of the connection ends the answer.
        self.send_header("connection", "close")
        self.close_connection = True
        self.end_headers()
        finished = False
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if "choices" not in event:
                self.event({"error": {"message": str(event.get("error")), "type": "InternalServerError", "code": 500}})
                return
            usage = event.pop("usage", None)
            self.event({**event, "model": self.model.names[0]})
            if any(choice.get("finish_reason") for choice in event["choices"]):
                finished = True
                if with_usage and usage:
                    self.event({**event, "model": self.model.names[0], "choices": [], "usage": usage})
        if finished:
            self.wfile.write(b"data: [DONE]\n\n")
            self.wfile.flush()

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def send(self, status, value):
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if value is not None:
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        """Quiet: a line per health probe would drown the server's own."""


def end_with(server):
    """A worker whose server has died is a crashed worker."""
    code = server.wait()
    print(f"transformers serve ended with {code}", file=sys.stderr, flush=True)
    os._exit(code or 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("--serve-packages", "--model", "--host"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", nargs="+", required=True)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--default-chat-template-kwargs")
    chosen = parser.parse_args()
    model = Model(chosen)
    threading.Thread(target=end_with, args=(model.server,), daemon=True).start()
    front = ThreadingHTTPServer((chosen.host, chosen.port), type("Bound", (Handler,), {"model": model}))
    front.daemon_threads = True
    print(f"serving {', '.join(model.names)} from {model.directory}", flush=True)
    front.serve_forever()
