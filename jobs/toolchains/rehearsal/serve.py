"""A model server with vLLM's OpenAI surface that decodes from the files it is given.

`python -m toolchains.rehearsal.serve --model DIR --host 127.0.0.1 --port N --served-model-name NAME [NAME ...]
--max-model-len N [--default-chat-template-kwargs JSON]`. It answers to each of its names; answers carry the first.
Routes: GET /health, GET /v1/models, POST /v1/chat/completions, POST /v1/completions.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from toolchains.rehearsal.chat import Chat
from toolchains.rehearsal.decoder import Decoder
from toolchains.rehearsal.generation import generate

_DEFAULT_COMPLETION_TOKENS = 16  # the OpenAI default of /v1/completions
_MAX_BODY_BYTES = 16 * 1024 * 1024


class RequestError(Exception):
    """A request that is answered with an error object in vLLM's shape."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def bad_request(message: str, param: str | None = None) -> RequestError:
    return RequestError(400, "BadRequestError", message, param)


@dataclass(frozen=True)
class Work:
    """One accepted request, ready to be decoded."""

    ids: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    chat: bool
    stream: bool
    include_usage: bool


class Engine:
    """Model, tokenizer and limits; one generation at a time, since numpy on one core gains nothing from more."""

    def __init__(self, folder: Path, names: list[str], max_model_len: int | None, template_kwargs: dict[str, Any]) -> None:
        self._decoder, self._chat = Decoder.load(folder), Chat(folder)
        self.names = names
        self.name = names[0]
        positions = self._decoder.config.max_positions
        if max_model_len is not None and not 1 <= max_model_len <= positions:
            raise SystemExit(f"--max-model-len {max_model_len} must lie between 1 and the model's {positions} positions")
        self.max_model_len = max_model_len or positions
        self._template_kwargs = template_kwargs
        self._turn = threading.Lock()
        self.created = int(time.time())

    def accept(self, body: dict[str, Any], *, chat: bool) -> Work:
        """Checks one request body; raises `RequestError`."""
        if body.get("model", self.name) not in self.names:
            raise RequestError(404, "NotFoundError", f"The model `{body['model']}` does not exist.", "model")
        ids = self._chat_ids(body) if chat else self._completion_ids(body)
        room = self.max_model_len - len(ids)
        wanted = body.get("max_completion_tokens") if chat else None
        wanted = wanted if wanted is not None else body.get("max_tokens")
        if wanted is None:
            wanted = max(room, 0) if chat else _DEFAULT_COMPLETION_TOKENS
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            raise bad_request("max_tokens must be a whole number of at least 0", "max_tokens")
        if room <= 0 or wanted > room:
            raise bad_request(
                f"This model's maximum context length is {self.max_model_len} tokens. However, you requested "
                f"{len(ids) + wanted} tokens ({len(ids)} in the messages, {wanted} in the completion). "
                "Please reduce the length of the messages or completion.",
                "input_tokens",
            )
        options = body.get("stream_options") or {}
        return Work(
            ids=ids,
            max_tokens=wanted,
            temperature=_number(body, "temperature", 0.0, 0.0, 2.0),
            top_p=_number(body, "top_p", 1.0, 0.0, 1.0),
            seed=int(_number(body, "seed", 0.0, 0.0, 2.0**63)),
            chat=chat,
            stream=body.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

    def _chat_ids(self, body: dict[str, Any]) -> list[int]:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("messages must be a non-empty list", "messages")
        plain = [{"role": _text(message, "role"), "content": _content(message)} for message in messages]
        given = body.get("chat_template_kwargs") or {}
        if not isinstance(given, dict):
            raise bad_request("chat_template_kwargs must be an object", "chat_template_kwargs")
        return self._chat.encode(self._chat.render(plain, **(self._template_kwargs | given)))

    def _completion_ids(self, body: dict[str, Any]) -> list[int]:
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str) or not prompt:
            raise bad_request("prompt must be one non-empty text", "prompt")
        return self._chat.encode(prompt)

    def pieces(self, work: Work) -> Iterator[tuple[str, int]]:
        """Yields pieces of text, each with the number of tokens decoded so far; together they are the whole answer."""
        with self._turn:
            ids: list[int] = []
            sent = ""
            tokens = generate(
                self._decoder, work.ids, work.max_tokens, temperature=work.temperature, top_p=work.top_p, seed=work.seed
            )
            for token in tokens:
                ids.append(token)
                text = self._chat.decode(ids)
                # A half-finished multi-byte character shows as U+FFFD; it is held back until its last byte arrives.
                if text.endswith("\ufffd"):
                    continue
                yield text[len(sent) :], len(ids)
                sent = text
            text = self._chat.decode(ids)
            if len(text) > len(sent):
                yield text[len(sent) :], len(ids)
            elif not ids:
                yield "", 0


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise bad_request(f"{name} must lie between {low:g} and {high:g}", name)
    return float(value)


def _text(message: object, name: str) -> str:
    value = message.get(name) if isinstance(message, dict) else None
    if not isinstance(value, str):
        raise bad_request(f"every message needs a {name} of text", "messages")
    return value


def _content(message: object) -> str:
    """The text of a message; content may be text or a list of text parts."""
    parts = message.get("content") if isinstance(message, dict) else None
    if isinstance(parts, list):
        return "".join(_text(part, "text") for part in parts)
    return _text(message, "content")


class Handler(BaseHTTPRequestHandler):
    """Routes of one server; `engine` is set on the subclass made for it."""

    engine: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, None)
        elif self.path == "/v1/models":
            engine = self.engine
            card = {
                "object": "model",
                "created": engine.created,
                "owned_by": "vllm",
                "root": engine.name,
                "parent": None,
                "max_model_len": engine.max_model_len,
            }
            self._send(200, {"object": "list", "data": [{"id": name, **card} for name in engine.names]})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body_text = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _MAX_BODY_BYTES))
        chat = self.path == "/v1/chat/completions"
        if not chat and self.path != "/v1/completions":
            self._send(404, {"detail": "Not Found"})
            return
        try:
            try:
                body = json.loads(body_text)
            except ValueError:
                raise bad_request("the body is not JSON") from None
            if not isinstance(body, dict):
                raise bad_request("the body must be a JSON object")
            work = self.engine.accept(body, chat=chat)
        except RequestError as error:
            self._send(error.status, error.body)
            return
        if work.stream:
            self._stream(work)
        else:
            self._answer(work)

    def _answer(self, work: Work) -> None:
        text, count = "", 0
        for piece, decoded in self.engine.pieces(work):
            text += piece
            count = decoded
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": _finish(work, count), "stop_reason": None}
        choice |= {"message": {"role": "assistant", "content": text}} if work.chat else {"text": text}
        self._send(200, {**self._envelope(work), "choices": [choice], "usage": _usage(work, count)})

    def _stream(self, work: Work) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        # The length is unknown: the end of the connection ends the answer.
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        envelope = self._envelope(work, chunk=True)
        count = 0
        try:
            if work.chat:
                self._event({**envelope, "choices": [self._delta({"role": "assistant", "content": ""}, None)]})
            for piece, decoded in self.engine.pieces(work):
                count = decoded
                if piece:
                    self._event({**envelope, "choices": [self._piece(work, piece, None)]})
            self._event({**envelope, "choices": [self._piece(work, "", _finish(work, count))]})
            if work.include_usage:
                self._event({**envelope, "choices": [], "usage": _usage(work, count)})
            self.wfile.write(b"data: [DONE]\n\n")
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the reader has left; the rest of its answer is of no use to anybody

    def _piece(self, work: Work, text: str, finish: str | None) -> dict[str, Any]:
        if work.chat:
            return self._delta({"content": text} if text else {}, finish)
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None}

    def _delta(self, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _envelope(self, work: Work, *, chunk: bool = False) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if work.chat else "text_completion"
        prefix = "chatcmpl" if work.chat else "cmpl"
        return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": self.engine.name}

    def _send(self, status: int, value: dict[str, Any] | None) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if value is not None:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a request line per health probe would drown the log."""


def _finish(work: Work, count: int) -> str:
    return "length" if count >= work.max_tokens else "stop"


def _usage(work: Work, count: int) -> dict[str, int]:
    return {"prompt_tokens": len(work.ids), "total_tokens": len(work.ids) + count, "completion_tokens": count}


def make_server(engine: Engine, host: str, port: int) -> ThreadingHTTPServer:
    """A server bound to `host:port` (port 0 = any free one), not yet serving."""
    handler = type("BoundHandler", (Handler,), {"engine": engine})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a model directory with the OpenAI API.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", nargs="+", default=None)
    parser.add_argument("--max-model-len", type=int, default=None)
    parser.add_argument("--default-chat-template-kwargs", type=json.loads, default={})
    options = parser.parse_args()
    names = options.served_model_name or [str(options.model)]
    engine = Engine(options.model, names, options.max_model_len, options.default_chat_template_kwargs)
    server = make_server(engine, options.host, options.port)
    print(json.dumps({"type": "listening", "host": options.host, "port": server.server_address[1]}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
