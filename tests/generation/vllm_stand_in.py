"""A server that speaks vLLM's protocol as TRL's client does, with a tiny model behind it.

It completes for real: its sampler follows the order of vLLM's (minimum length, penalty, temperature, min-p,
top-k, top-p), has a generator a request, and gives log-probabilities by `logprobs_mode` as vLLM documents
them. Only the way that tensors take is another: vLLM receives them by NCCL while it answers
`/update_weights`; here they come through a queue, and the answer waits for them in the same way.
"""

import copy
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import torch


class StandIn:
    """The server's state: a model of its own, what it was asked, and what weights it got."""

    def __init__(self, model: Any, logprobs_mode: str = "processed_logprobs") -> None:
        self.model, self.logprobs_mode = copy.deepcopy(model).eval(), logprobs_mode
        self.dev_mode = True
        self.weight_transfer: dict[str, str] | None = {"backend": "nccl"}
        self.asked: list[dict[str, Any]] = []  # bodies of /v1/completions
        self.calls: list[str] = []  # paths of everything else that was posted
        self.names: list[str] = []
        self.sent: queue.Queue[tuple[str, torch.Tensor]] = queue.Queue()
        self.url = ""

    def get(self, path: str) -> Any:
        """Body of an answer; None: not found."""
        path, _, query = path.partition("?")
        answers: dict[str, Any] = {"/health": {}, "/v1/models": {"data": [{"id": "tiny"}]}}
        if self.dev_mode:
            answers["/get_world_size"] = {"world_size": 1}
        if self.dev_mode and query == "config_format=json":
            model_config = {"model": "tiny", "logprobs_mode": self.logprobs_mode}
            answers["/server_info"] = {
                "vllm_config": {"model_config": model_config, "weight_transfer_config": self.weight_transfer}
            }
        return answers.get(path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Body of an answer; None: not found."""
        if path == "/v1/completions":
            self.asked.append(body)
            return {"choices": [self._choice(prompt, body) for prompt in body["prompt"]]}
        self.calls.append(path)
        if path == "/update_weights":
            self._take_weights(body["update_info"])
        return {"success": True}

    def _take_weights(self, info: dict[str, list[Any]]) -> None:
        self.names = info["names"]
        parameters = dict(self.model.named_parameters())
        for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
            sent_name, tensor = self.sent.get(timeout=10)
            assert (sent_name, str(tensor.dtype), list(tensor.shape)) == (name, f"torch.{dtype}", shape)
            parameters[name].data.copy_(tensor)

    @torch.no_grad()
    def _choice(self, prompt: list[int], body: dict[str, Any]) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(body["seed"])
        ids, tokens, logprobs = list(prompt), [], []
        while len(tokens) < body["max_tokens"]:
            raw = self.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            processed = self._processed(raw, body, ids, len(tokens))
            shares = torch.softmax(processed, -1)
            token = int(
                torch.multinomial(shares, 1, generator=generator) if body["temperature"] else shares.argmax()
            )
            logs = torch.log_softmax(raw if self.logprobs_mode == "raw_logprobs" else processed, -1)
            ids.append(token)
            tokens.append(token)
            logprobs.append(float(logs[token]))
            if token in body["stop_token_ids"]:
                break
        names = [f"token_id:{token}" for token in tokens]
        tops = [{name: value} for name, value in zip(names, logprobs, strict=True)]
        return {
            "prompt_token_ids": prompt,
            "token_ids": tokens,
            "finish_reason": "stop" if tokens[-1] in body["stop_token_ids"] else "length",
            "logprobs": {"tokens": names, "token_logprobs": logprobs, "top_logprobs": tops},
        }

    def _processed(self, logits: Any, body: dict[str, Any], ids: list[int], step: int) -> torch.Tensor:
        bars = float("-inf")
        if body["repetition_penalty"] != 1:
            met = torch.tensor(sorted(set(ids)))
            penalty = body["repetition_penalty"]
            pressed = torch.where(logits[met] < 0, logits[met] * penalty, logits[met] / penalty)
            logits = logits.index_copy(0, met, pressed)
        if step < body["min_tokens"]:
            logits = logits.index_fill(0, torch.tensor(body["stop_token_ids"]), bars)
        if body["temperature"] == 0:
            return logits
        logits = logits / body["temperature"]
        if body["min_p"]:
            shares = torch.softmax(logits, -1)
            logits = logits.masked_fill(shares < body["min_p"] * shares.max(), bars)
        if body["top_k"]:
            logits = logits.masked_fill(logits < logits.topk(body["top_k"]).values[-1], bars)
        ordered, order = torch.softmax(logits, -1).sort(descending=True)
        return logits.index_fill(0, order[ordered.cumsum(0) - ordered > body["top_p"]], bars)


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    stand_in: StandIn

    def do_GET(self) -> None:
        self._answer(self.stand_in.get(self.path))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(self.stand_in.post(self.path, json.loads(text or b"{}")))

    def _answer(self, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Not onto the test's output."""


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """The server at `stand_in.url`, as long as the block lasts."""
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


def pretend_vllm(patch: pytest.MonkeyPatch, stand_in: StandIn, *, joins: bool = True) -> None:
    """As if vllm were installed; what it would send by NCCL goes through the stand-in's queue.

    Args:
        joins: also stand in for the opening of the NCCL group, which needs a CUDA device.
    """
    from trl.generation import vllm_client

    class Transfer:
        @staticmethod
        def trainer_send_weights(iterator: Any, trainer_args: Any) -> None:
            assert trainer_args.group == "group"
            for name, tensor in iterator:
                stand_in.sent.put((name, tensor.clone()))

    def join(client: Any, device: Any) -> None:
        client._post(f"{client.base_url}/init_weight_transfer_engine", json={"init_info": {}})
        client.communicator = "group"

    patch.setattr(vllm_client, "is_vllm_available", lambda *_: True)
    patch.setattr(vllm_client, "get_ip", lambda: "127.0.0.1", raising=False)
    patch.setattr(vllm_client, "NCCLWeightTransferEngine", Transfer, raising=False)
    patch.setattr(vllm_client, "NCCLTrainerSendWeightsArgs", SimpleNamespace, raising=False)
    if joins:
        patch.setattr(vllm_client.VLLMClient, "init_communicator", join)
