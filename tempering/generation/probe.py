"""Whether a causal LM is what our code takes it for, asked of the model itself.

Its own forward pass over whole texts, one at a time, is the truth. Against it stand the chunked head, a
padded batch, and decoding token by token with a cache; and the truth of a text may not change with what
follows. A dozen passes over a few tokens, when a model comes in, instead of a wrong number later.
"""

from typing import Any

import torch
from torch import Tensor

from tempering.errors import ArtifactError
from tempering.generation.decoder import Decoder
from tempering.generation.logprobs import completion_logprobs
from tempering.generation.rollout import Rollout, pad_left
from tempering.generation.sampling import Sampling

_LENGTHS, _NEW = (4, 9), 3  # tokens of two prompts, one of them asked twice, and of each answer
_EXACT, _ROUGH = 1e-2, 0.2  # of the logits' spread: the largest gap in fp32, the mean one in 16 bits


def refuse_unserved(model: Any, name: str) -> None:
    """Refuse a model that our code would read or decode in another way than its own.

    Raises:
        ArtifactError: naming the model type and what differs.
    """
    reason = why_unserved(model)
    if reason is not None:
        raise ArtifactError(
            f"{name}: a model of type {model.config.model_type} {reason}",
            expected="the same answers alone, in a batch, in chunks and with a cache",
            fix="take a model of another type; docs/families.md lists those that are served",
        )


@torch.no_grad()
def why_unserved(model: Any) -> str | None:
    """What our code would get wrong about `model`, in words; None: nothing."""
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):  # some models draw numbers
            return _first_gap(model)
    except Exception as error:  # whatever a model raises when it is used in a way that it does not know
        return f"cannot be run: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:120]}"
    finally:
        model.train(was_training)


def _first_gap(model: Any) -> str | None:
    exact = model.dtype == torch.float32
    prompts = _prompts(model)
    # What follows a token must not change what was made of it.
    alone = [_logits(model, prompt) for prompt in prompts]
    if not torch.cat(alone).isfinite().all():
        dtype = str(model.dtype).removeprefix("torch.")
        remedy = "" if exact else "; converted to float32 by transformers it may be served"
        return f"gives logits that are no finite numbers in {dtype}{remedy}"
    spread: float = max(float(torch.cat(alone).std(-1).mean()), torch.finfo(torch.float32).tiny)
    causal = [
        logits[:-1] - _logits(model, prompt[:-1]) for logits, prompt in zip(alone, prompts, strict=True)
    ]

    def gap(differences: list[Tensor]) -> float:
        sizes = torch.cat([difference.float().abs().flatten() for difference in differences])
        size = float(sizes.max() if exact else sizes.mean())
        return size / spread

    allowed = _EXACT if exact else _ROUGH
    if not gap(causal) <= allowed:  # NaN, too
        return f"reads what follows a token (logits off by {gap(causal):.1g} of their spread)"
    # One padded batch, continued greedily with a cache; the truth about it, a text at a time.
    pad = getattr(model.config.get_text_config(), "pad_token_id", None) or 0
    rollout = Decoder(model, [], pad).generate(prompts, Sampling(_NEW, temperature=0.0), None)
    truth = torch.stack(
        [_true_logprobs(model, *row) for row in zip(prompts, rollout.completion_ids, strict=True)]
    )
    batch = (rollout.input_ids, rollout.attention_mask, rollout.completion_mask)
    gaps = {
        "has a head that cannot be computed in chunks": _in_chunks(model, prompts, rollout) - truth,
        "reads the padding of a batch": completion_logprobs(model, *batch, 1.0)[0] - truth,
        "decodes with a cache otherwise than it reads": rollout.logprobs - truth,
    }
    for words, difference in gaps.items():
        if not gap([difference]) <= allowed:
            return f"{words} (log-probabilities off by {gap([difference]):.1g} of the logits' spread)"
    return None


def _prompts(model: Any) -> list[list[int]]:
    text = model.config.get_text_config()
    room = getattr(text, "max_position_embeddings", None) or sum(_LENGTHS)
    size = model.get_input_embeddings().weight.shape[0]
    tokens = torch.linspace(0.15 * size, 0.95 * size, sum(_LENGTHS)).long().clamp(max=size - 1).tolist()
    lengths = [max(2, min(length, room - _NEW)) for length in _LENGTHS]
    return [tokens[: lengths[0]], tokens[: lengths[0]], tokens[-lengths[1] :]]


def _logits(model: Any, ids: list[int]) -> Tensor:
    """(T, V) by the model's own forward, without padding or cache."""
    tensor = torch.tensor([ids], device=model.device)
    logits: Tensor = model(input_ids=tensor, attention_mask=torch.ones_like(tensor), use_cache=False).logits
    return logits[0].float()


def _true_logprobs(model: Any, prompt: list[int], answer: Tensor) -> Tensor:
    """(C,) of an answer."""
    logs = _logits(model, [*prompt, *answer.tolist()]).log_softmax(-1)
    return logs[len(prompt) - 1 : -1].gather(-1, answer[:, None]).squeeze(-1)


def _in_chunks(model: Any, prompts: list[list[int]], rollout: Rollout) -> Tensor:
    """(B, C) by our head, of each text alone."""
    rows = []
    for prompt, answer, mask in zip(prompts, rollout.tokens(), rollout.completion_mask, strict=True):
        ids, seen = pad_left([[*prompt, *answer]], 0, model.device)
        rows.append(completion_logprobs(model, ids, seen, mask[None], 1.0)[0])
    return torch.cat(rows)
