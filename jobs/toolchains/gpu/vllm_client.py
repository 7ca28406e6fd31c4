"""Questions to a vLLM server on this machine, put as verify puts them to the model itself."""

from __future__ import annotations

import http.client
import json
import math
from dataclasses import dataclass
from typing import Any

from anneal_job.failures import JobFailure
from toolchains.gpu.questions import Questions

MODEL = "anneal-check"
_HOST = "127.0.0.1"
_HEALTH_SECONDS = 2.0
_ANSWER_SECONDS = 300.0


@dataclass(frozen=True)
class Client:
    """One server by its port."""

    port: int

    def healthy(self) -> bool:
        """Whether the server says that it takes questions; False as long as nothing listens."""
        try:
            return self._send("GET", "/health", None, _HEALTH_SECONDS)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def version(self) -> str:
        status, body = self._ask("GET", "/version", None)
        if status != 200:
            raise _unusable(f"/version answered {status}")
        return str(json.loads(body)["version"])

    def answer(self, prompt: str, questions: Questions) -> str:
        """The greedy answer. Raises `ServerUnusable`, and `NonFiniteLogits` when a probability of it is not finite."""
        # A penalty from the model's own settings would change greedy answers; verify's own have none either.
        request = {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": questions.max_tokens,
            "temperature": 0,
            "repetition_penalty": 1.0,
            "logprobs": True,
            "chat_template_kwargs": {} if questions.thinking else {"enable_thinking": False},
        }
        status, body = self._ask("POST", "/v1/chat/completions", request)
        if status != 200:
            # Numbers that are not finite cannot be written as JSON, and that is all the server says of them.
            if "not JSON compliant" in body:
                raise _not_finite()
            raise _unusable(f"a question was answered with {status}: {body[-600:]}")
        try:
            choice = json.loads(body)["choices"][0]
            text, tokens = choice["message"]["content"], choice["logprobs"]["content"]
            finite = all(math.isfinite(token["logprob"]) for token in tokens)
        except (ValueError, LookupError, TypeError) as error:
            raise _unusable(f"an answer has another form than expected: {body[-600:]}") from error
        if not finite:
            raise _not_finite()
        if not text or not tokens:
            raise _unusable(f"the answer to {prompt!r} is empty")
        return str(text)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        try:
            return self._send(method, path, body, _ANSWER_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            raise _unusable(f"{path}: {type(error).__name__}: {error}") from error

    def _send(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> tuple[int, str]:
        # No proxy of the environment may come between.
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=seconds)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()


def _unusable(message: str) -> JobFailure:
    return JobFailure(
        "ServerUnusable",
        message,
        "vLLM loads the release but does not answer from it. log.txt on the pod holds what it says; use another model.",
        repeat="person",
    )


def _not_finite() -> JobFailure:
    return JobFailure(
        "NonFiniteLogits",
        "vLLM computes numbers that are not finite from the release",
        "Merge and quantize again; with `quantize: none` it shows whether the quantization is at fault.",
        repeat="person",
    )
