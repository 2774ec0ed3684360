"""What the trainers compute, on models that are shapes: one function a phase, the code being theirs.

Masks decide on data, which shapes have not: every position counts as real, and every completion is as
long as it may be. Where a mask would select rows of a matrix, all of them are taken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tempering.generation import logprobs
from tempering.generation.cache import cache_name, new_cache
from tempering.generation.sampling import Sampling, sample_token
from tempering.memory.trace import Tally, nbytes
from tempering.models.reading import position_ids, without_adapter_wrapper
from tempering.onpolicy.losses import clipped_policy_loss, clipped_value_loss, masked_mean

_FUSED_OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")  # TRL's DPO; SFT lacks one (B, T)


def autocast(precision: str) -> Any:
    """The context of a forward pass."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast("cpu", dtype=dtype) if dtype else nullcontext()


def forward_and_backward(
    modules: list[nn.Module], loss: Callable[[], Tensor], precision: str, *, accumulates: bool
) -> Tally:
    """One micro-batch; a second one, on top of the gradients of the first, where they add up."""
    with Tally(*modules) as tally:
        for _ in range(2 if accumulates else 1):
            with autocast(precision):
                value = loss()
            value.backward()
            del value
    for module in modules:
        module.zero_grad()
    return tally


def forward(modules: list[nn.Module], compute: Callable[[], Any], precision: str) -> int:
    """The peak of a forward pass without gradients."""
    with torch.no_grad(), Tally(*modules) as tally, autocast(precision):
        compute()
    return tally.peak


# -- losses ----------------------------------------------------------------------------------


def blocks(rows: int, length: int) -> Tensor:
    """(B, T) token ids."""
    return torch.zeros(rows, length, dtype=torch.long)


def padded(rows: int, length: int) -> dict[str, Tensor]:
    """Token ids with the mask that comes with padding."""
    ids = blocks(rows, length)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def next_token_loss(model: Any, rows: int, length: int, precision: str) -> Tensor:
    """Pretraining: full logits, in packed blocks without padding."""
    ids = blocks(rows, length)
    output = model(input_ids=ids, labels=ids, use_cache=False)
    if precision != "fp32":
        output.logits = output.logits.float()  # accelerate gives outputs back in fp32
    return output.loss


def fused_loss(model: Any, rows: int, length: int, *, on_gpu: bool) -> Tensor:
    """SFT and DPO: TRL's LM head goes over the positions in tiles, so full logits never exist."""
    batch = padded(rows, length)
    with _tile_width(model, on_gpu):
        output = model(**batch, labels=batch["input_ids"], use_cache=False, fused_lm_head=True)
    return output.log_probs.sum()


def add_fused_head(model: Any) -> None:
    """Give a causal LM (below its adapter) TRL's fused head."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(without_adapter_wrapper(model), outputs=_FUSED_OUTPUTS)


@contextmanager
def _tile_width(model: Any, on_gpu: bool) -> Iterator[None]:
    """TRL's buffer is 32768 columns wide whatever the vocabulary; on a CPU what is not used costs nothing."""
    from trl.trainer import utils

    width = utils._CHUNKED_LOGPROB_CHUNK_SIZE
    if not on_gpu:
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = min(width, model.config.get_text_config().vocab_size)
    try:
        yield
    finally:
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = width


def scores(model: Any, texts: int, length: int) -> Tensor:
    """Reward model: a score for each text; both sides of a pair are two."""
    return model(**padded(texts, length), use_cache=False).logits.float().sum()


# -- on-policy -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest prompt and completion."""

    prompt: int
    completion: int

    @property
    def whole(self) -> int:
        return self.prompt + self.completion


def completion_logprobs(
    policy: Any, rows: int, lengths: Lengths, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B, C) log-probabilities and entropies where every completion token counts."""
    ids, width = blocks(rows, lengths.whole), lengths.completion
    mask = torch.ones_like(ids)
    hidden = logprobs.hidden_states(policy, ids, mask)
    states, tokens = hidden[:, -width - 1 : -1].reshape(rows * width, -1), ids[:, -width:].reshape(-1)
    base = without_adapter_wrapper(policy)
    values, entropy = logprobs.chunked_logprobs(base, states, tokens, temperature)
    return values.view(rows, -1), entropy.view(rows, -1)


def values(value: nn.Module, rows: int, lengths: Lengths) -> Tensor:
    """(B, C) values of the states before each completion token."""
    ids = blocks(rows, lengths.whole)
    mask = torch.ones_like(ids)
    of_states: Tensor = value(ids, mask).float()
    return of_states[:, -lengths.completion - 1 : -1]


def policy_loss(policy: Any, value: nn.Module | None, rows: int, lengths: Lengths, config: Any) -> Tensor:
    """PPO's or RLOO's loss of a micro-batch; where it clips changes no tensor's size."""
    new, entropy = completion_logprobs(policy, rows, lengths, config.temperature)
    mask, old = torch.ones(new.shape, dtype=torch.bool), torch.zeros(new.shape)
    loss, _ = clipped_policy_loss(new, old, old, mask, clip_range=0.2)
    loss = loss - config.entropy_coef * masked_mean(entropy, mask)
    if value is not None:
        predicted = values(value, rows, lengths)
        loss = loss + clipped_value_loss(predicted, old, old, mask, value_clip_range=None)[0]
    return loss


@torch.no_grad()
def decoding(policy: Any, rows: int, lengths: Lengths, sampling: Sampling) -> tuple[int, int]:
    """Bytes of the cache, and the peak without it: the prompts, then one more token."""
    ids, end = blocks(rows, lengths.prompt), torch.zeros(1, dtype=torch.long)
    mask = torch.ones(rows, lengths.whole, dtype=torch.long)
    cache = new_cache(policy, lengths.whole)
    policy.eval()
    with Tally(policy, answer=True) as tally:  # no padding: torch.lstm's packing wants to know lengths
        for step in range(2):
            seen = mask[:, : lengths.prompt + step]
            places = position_ids(seen)[:, -ids.shape[1] :]
            batch = {"input_ids": ids, "attention_mask": seen, "position_ids": places}
            options = {cache_name(policy): cache, "use_cache": True, "logits_to_keep": 1}
            logits = policy(**batch, **options).logits[:, -1].float()
            token, _ = sample_token(logits, sampling, end, step, torch.zeros(rows, dtype=torch.float64))
            ids = token[:, None]
    policy.train()
    held = cache_bytes(cache)
    return held, tally.peak - held


def cache_bytes(cache: Any) -> int:
    """The bytes of every tensor that a cache holds, of whatever family."""
    tensors: dict[int, Tensor] = {}
    parts: list[Any] = [cache]
    while parts:
        part = parts.pop()
        if isinstance(part, Tensor):
            tensors[id(part)] = part
        elif isinstance(part, list | tuple):
            parts += part
        elif isinstance(part, dict):
            parts += part.values()
        elif hasattr(part, "__dict__") and not isinstance(part, type):
            parts += [value for name, value in vars(part).items() if "config" not in name]
    return nbytes(tensors.values())
