"""Rollouts: completions sampled from a policy, by our own decoder with a static KV cache.

One code path for every decoder-only model that takes a cache. Log-probabilities are those of
the temperature-scaled full distribution, before top-k, top-p, min-p, repetition penalty and minimum
length, whatever those then leave to sample from. Random numbers come from the generator that is passed in, so
a rollout depends on the model, the prompts and one seed, and on nothing else.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tempering.onpolicy.logprobs import position_ids


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, in the order and the meaning of `generate()`.

    `temperature` 0 takes the likeliest. `min_p` drops what is less likely than this share of the likeliest
    token (arXiv:2407.01082). `repetition_penalty` divides the logits of tokens that are there already,
    or multiplies negative ones (arXiv:1909.05858, eq. 2); 1 is off.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0


@dataclass
class Rollout:
    """Completions of a batch of prompts."""

    prompt_ids: Tensor  # (B, P) left-padded
    prompt_mask: Tensor  # (B, P) 1 where a token is real
    completion_ids: Tensor  # (B, C) right-padded
    completion_mask: Tensor  # (B, C) True up to and with EOS
    logprobs: Tensor  # (B, C) of the sampler; 0 where masked
    ended: Tensor  # (B,) True where EOS was produced

    @property
    def input_ids(self) -> Tensor:
        """(B, P + C) prompts and completions."""
        return torch.cat([self.prompt_ids, self.completion_ids], dim=1)

    @property
    def attention_mask(self) -> Tensor:
        """(B, P + C) mask of real tokens."""
        return torch.cat([self.prompt_mask, self.completion_mask.to(self.prompt_mask.dtype)], dim=1)

    @property
    def lengths(self) -> Tensor:
        """(B,) completion tokens, EOS included."""
        return self.completion_mask.sum(1)

    def texts(self, tokenizer: Any) -> list[str]:
        """Completions as text, without special tokens."""
        rows = [
            ids[mask].tolist() for ids, mask in zip(self.completion_ids, self.completion_mask, strict=True)
        ]
        return tokenizer.batch_decode(rows, skip_special_tokens=True)  # type: ignore[no-any-return]


class RolloutEngine(Protocol):
    """Anything that completes prompts."""

    def generate(self, prompts: list[list[int]], sampling: Sampling, generator: torch.Generator) -> Rollout:
        """Complete each prompt (token ids) once."""


class Decoder:
    """Our own engine: one process, one static cache for the batch, early exit when all rows ended.

    Args:
        model: a causal LM; its train/eval mode is left as found, it decodes in eval mode.
        eos_ids: tokens that end a completion.
        pad_id: fills up prompts (left) and completions (right).
    """

    def __init__(self, model: Any, eos_ids: list[int], pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id
        self.eos = torch.tensor(eos_ids, device=model.device)

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], sampling: Sampling, generator: torch.Generator) -> Rollout:
        """Complete each prompt (token ids) once."""
        was_training = self.model.training
        self.model.eval()
        try:
            return self._decode(*pad_left(prompts, self.pad_id, self.model.device), sampling, generator)
        finally:
            self.model.train(was_training)

    @torch.no_grad()
    def stream(self, prompt: list[int], sampling: Sampling, generator: torch.Generator) -> Iterator[int]:
        """The tokens of one completion as they are sampled; EOS is not among them."""
        for token, _ in self._steps(*pad_left([prompt], self.pad_id, self.model.device), sampling, generator):
            if torch.isin(token, self.eos):
                return
            yield int(token)

    def _decode(self, ids: Tensor, mask: Tensor, sampling: Sampling, generator: torch.Generator) -> Rollout:
        batch, width = len(ids), sampling.max_new_tokens
        tokens = ids.new_full((batch, width), self.pad_id)
        logprobs = torch.zeros(batch, width, device=ids.device)
        counts = torch.zeros(batch, width, dtype=torch.bool, device=ids.device)
        alive = torch.ones(batch, dtype=torch.bool, device=ids.device)
        for step, (token, logprob) in enumerate(self._steps(ids, mask, sampling, generator)):
            tokens[:, step] = torch.where(alive, token, self.pad_id)
            logprobs[:, step] = torch.where(alive, logprob, 0.0)
            counts[:, step] = alive
            alive = alive & ~torch.isin(token, self.eos)
            if not alive.any():
                break
        used = int(counts.any(0).sum())
        return Rollout(ids, mask, tokens[:, :used], counts[:, :used], logprobs[:, :used], ~alive)

    def _steps(
        self, ids: Tensor, mask: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Token (B,) and log-probability (B,), step by step, as long as the caller asks."""
        prompt_length, width = ids.shape[1], sampling.max_new_tokens
        seen = torch.cat([mask, mask.new_ones(len(ids), width)], dim=1)
        cache = new_cache(self.model, prompt_length + width)
        positions = position_ids(mask)
        met = met_tokens(ids, mask, self.model, sampling)
        for step in range(width):
            logits = self.model(
                input_ids=ids, attention_mask=seen[:, : prompt_length + step], position_ids=positions,
                past_key_values=cache, use_cache=True, logits_to_keep=1,
            ).logits[:, -1].float()  # fmt: skip
            token, logprob = sample_token(logits, sampling, self.eos, step, generator, met)
            yield token, logprob
            if met is not None:
                met.scatter_(1, token[:, None], True)
            ids, positions = token[:, None], positions[:, -1:] + 1


def new_cache(model: Any, length: int) -> Any:
    """The cache that `model` decodes with: of its own kind where it has one, else static keys and values."""
    from transformers import StaticCache

    own = getattr(model, "new_cache", None)
    return own() if own is not None else StaticCache(config=model.config, max_cache_len=length)


def pad_left(prompts: list[list[int]], pad_id: int, device: Any = "cpu") -> tuple[Tensor, Tensor]:
    """Prompts as (B, P) ids and mask, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def met_tokens(ids: Tensor, mask: Tensor, model: Any, sampling: Sampling) -> Tensor | None:
    """(B, V) True where a token stands in the prompt; None where there is no repetition penalty to pay."""
    if sampling.repetition_penalty == 1.0:
        return None
    counts = torch.zeros(len(ids), model.config.get_text_config().vocab_size, device=ids.device)
    return counts.scatter_add_(1, ids, mask.to(counts.dtype)) > 0


def sample_token(
    logits: Tensor,
    sampling: Sampling,
    eos: Tensor,
    step: int,
    generator: torch.Generator,
    met: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token a row, and its log-probability in the temperature-scaled full distribution.

    Args:
        logits: (B, V) raw logits.
        met: (B, V) True at tokens that the repetition penalty is put on; None: no penalty.

    Returns:
        token (B,) and logprob (B,).
    """
    logs = torch.log_softmax(logits / (sampling.temperature or 1.0), dim=-1)
    if met is None:
        allowed = _filter(logs, sampling, eos, step)
    else:
        pressed = torch.where(met, _penalised(logits, sampling.repetition_penalty), logits)
        pressed = torch.log_softmax(pressed / (sampling.temperature or 1.0), dim=-1)
        allowed = _filter(pressed, sampling, eos, step)
    if sampling.temperature == 0:
        token = allowed.argmax(-1)
    else:  # inverse transform: one uniform number a row is five times cheaper than one a token
        mass = allowed.double().exp().cumsum(-1)
        shot = torch.rand(len(mass), 1, dtype=mass.dtype, device=mass.device, generator=generator)
        token = torch.searchsorted(mass, shot * mass[:, -1:], right=True).squeeze(-1)
        token = token.clamp(max=mass.shape[-1] - 1)
    return token, logs.gather(-1, token[:, None]).squeeze(-1)


def _filter(logs: Tensor, sampling: Sampling, eos: Tensor, step: int) -> Tensor:
    """Log-probabilities with what may not be sampled at -inf."""
    if step < sampling.min_new_tokens:
        logs = logs.index_fill(-1, eos, float("-inf"))
    if sampling.top_k and sampling.top_k < logs.shape[-1]:
        worst = logs.topk(sampling.top_k, dim=-1).values[:, -1:]
        logs = logs.masked_fill(logs < worst, float("-inf"))
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = logs.sort(dim=-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = (before > sampling.top_p).scatter(-1, order, before > sampling.top_p)
        logs = logs.masked_fill(drop, float("-inf"))
    if sampling.min_p:
        least = logs.amax(dim=-1, keepdim=True) + math.log(sampling.min_p)
        logs = logs.masked_fill(logs < least, float("-inf"))
    return logs


def _penalised(logits: Tensor, penalty: float) -> Tensor:
    return torch.where(logits < 0, logits * penalty, logits / penalty)
