"""Our own engine: one code path for every decoder-only model that takes a cache.

Rows are decoded together, prompts of like length side by side. A row that has ended leaves the batch once
enough of its neighbours have (`SHRINK`), so that short completions do not wait for long ones; when the last
row ends, so does decoding. Chance comes from the numbers that are passed in, one per row and step: how rows
are batched changes what a row says by rounding at most.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from tempering.generation.cache import cache_name, new_cache, rows_stay
from tempering.generation.rollout import Rollout, length_batches, pad_left
from tempering.generation.sampling import Sampling, met_tokens, sample_token
from tempering.models.compiling import uncompiled
from tempering.models.reading import position_ids, reads_padding

SHRINK = 0.75  # of the batch is alive: copying its cache costs less than the rows that have ended


class Decoder:
    """One process, early exit when all rows have ended.

    Args:
        model: a causal LM; it decodes in eval mode, and its own mode is restored afterwards.
        eos_ids: tokens that end a completion.
        pad_id: fills up prompts (left) and completions (right).
        decode_batch_size: rows decoded together; None: all.
        compile: compile the step: half a minute once, a third faster on a CPU; on a GPU with CUDA graphs,
            whose shapes are fixed, so that ended rows stay in the batch.
    """

    exact = True
    accelerator: Any = None  # it samples from a whole model

    def __init__(
        self,
        model: Any,
        eos_ids: list[int],
        pad_id: int,
        *,
        decode_batch_size: int | None = None,
        compile: bool = False,
    ) -> None:
        self.model, self.pad_id, self.decode_batch_size = model, pad_id, decode_batch_size
        self.eos = torch.tensor(eos_ids, device=model.device)
        self.cache_name, self.rows_stay = cache_name(model), rows_stay(model)
        own_cache = getattr(model, "new_cache", None) is not None
        self.static = compile and not own_cache and model.device.type == "cuda"
        self.step = model
        if compile and not own_cache:
            self.step = torch.compile(
                model, **({"mode": "reduce-overhead"} if self.static else {"dynamic": True})
            )

    def update(self, model: Any) -> None:
        """Nothing to do: it samples from the live model."""

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor | None) -> Rollout:
        """Complete each prompt (token ids) once; `uniform` (B, max_new_tokens), None at temperature 0."""
        was_training = self.model.training
        self.model.eval()
        try:
            with uncompiled(self.model) if self.step is self.model else nullcontext():
                return self._in_batches(prompts, sampling, uniform)
        finally:
            self.model.train(was_training)

    @torch.no_grad()
    def stream(self, prompt: list[int], sampling: Sampling, generator: torch.Generator) -> Iterator[int]:
        """The tokens of one completion as they are sampled; EOS is not among them."""
        batch = _Batch(self, [prompt], sampling)
        uniform = sampling.numbers(1, generator)
        for step in range(sampling.max_new_tokens):
            token, _ = batch.advance(step, uniform[:, step])
            if torch.isin(token, self.eos):
                return
            yield int(token)

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Places of the prompts that are decoded together; of one length, where a model reads padding."""
        batches = length_batches(lengths, self.decode_batch_size or len(lengths))
        if not reads_padding(self.model):
            return batches
        return [[*group] for batch in batches for _, group in groupby(batch, key=lengths.__getitem__)]

    def _in_batches(self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor | None) -> Rollout:
        # What is filled in as rows are decoded.
        ids, mask = pad_left(prompts, self.pad_id, self.model.device)
        width = sampling.max_new_tokens
        tokens = ids.new_full((len(ids), width), self.pad_id)
        logprobs = torch.zeros(len(ids), width, device=ids.device)
        counts = torch.zeros(len(ids), width, dtype=torch.bool, device=ids.device)
        ends = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        # Batch by batch, token by token; `rows` are the rows of the rollout that are still in the batch.
        for places in self._batches([*map(len, prompts)]):
            rows = torch.tensor(places, device=ids.device)
            batch = _Batch(self, [prompts[place] for place in places], sampling)
            for step in range(width):
                numbers = None if uniform is None else uniform[rows.to(uniform.device), step]
                token, logprob = batch.advance(step, numbers)
                tokens[rows, step] = torch.where(batch.alive, token, self.pad_id)
                logprobs[rows, step] = torch.where(batch.alive, logprob, 0.0)
                counts[rows, step] = batch.alive
                over = batch.alive & torch.isin(token, self.eos)
                ends[rows] |= over
                rows = rows[batch.without(over)]
                if not len(rows):
                    break
        length = int(counts.any(0).sum())
        return Rollout(ids, mask, tokens[:, :length], counts[:, :length], logprobs[:, :length], ends)


class _Batch:
    """Rows that are decoded together: their cache, their newest tokens, and which are still alive.

    Equal prompts are read once; their rows part ways with the first token.
    """

    def __init__(self, decoder: Decoder, prompts: list[list[int]], sampling: Sampling) -> None:
        self.decoder, self.sampling = decoder, sampling
        device = decoder.model.device
        unique = list(map(tuple, prompts)) if decoder.rows_stay else list(dict.fromkeys(map(tuple, prompts)))
        index_of = {prompt: index for index, prompt in enumerate(unique)}
        self.source = torch.tensor([index_of[tuple(prompt)] for prompt in prompts], device=device)
        self.ids, mask = pad_left([list(prompt) for prompt in unique], decoder.pad_id, device)
        self.length = self.ids.shape[1]  # tokens that attention may look at
        self.attention = torch.cat([mask, mask.new_ones(len(mask), sampling.max_new_tokens)], dim=1)
        self.positions = position_ids(mask)
        self.cache = new_cache(decoder.model, self.attention.shape[1], static=decoder.static)
        self.met = met_tokens(self.ids, mask, decoder.model, sampling)
        self.alive = torch.ones(len(prompts), dtype=torch.bool, device=device)

    def advance(self, step: int, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next token (B,) of every row and its log-probability (B,)."""
        model = self.decoder.step if step else self.decoder.model  # the prompts have another shape
        with uncompiled(model) if step == 0 else nullcontext():
            output = model(
                input_ids=self.ids,
                attention_mask=self._mask(),
                position_ids=self.positions,
                use_cache=True,
                logits_to_keep=1,
                **{self.decoder.cache_name: self.cache},
            )
        if self.cache is None:
            self.cache = output[self.decoder.cache_name]
        logits = output.logits[:, -1].float()
        if step == 0 and len(self.source) > len(logits):
            logits = logits[self.source]
            self._take(self.source)
        token, logprob = sample_token(logits, self.sampling, self.decoder.eos, step, uniform, self.met)
        if self.met is not None:
            self.met.scatter_(1, token[:, None], True)
        self.ids, self.positions = token[:, None], self.positions[:, -1:] + 1
        self.length += 1
        return token, logprob

    def _mask(self) -> Tensor | None:
        if self.decoder.cache_name == "cache_params" and self.ids.shape[1] == 1:
            return None  # Mamba would multiply one token by all of it
        if not self.decoder.static:
            return self.attention[:, : self.length]
        places = torch.arange(self.attention.shape[1], device=self.attention.device)
        queries = places[self.length - self.ids.shape[1] : self.length]
        return (places <= queries[:, None])[None, None] & self.attention[:, None, None].bool()

    def without(self, over: Tensor) -> Tensor:
        """Take out rows that are over, when it pays; the places (among the rows before) that stay."""
        self.alive = self.alive & ~over
        places = torch.arange(len(self.alive), device=over.device)
        living = int(self.alive.sum())
        if living == 0:
            return places[:0]
        if self.decoder.static or self.decoder.rows_stay or living > SHRINK * len(places):
            return places
        survivors = places[self.alive]
        self.alive, self.ids = self.alive[survivors], self.ids[survivors]
        self._take(survivors)
        return survivors

    def _take(self, rows: Tensor) -> None:
        """Let row i continue from where row `rows[i]` was."""
        self.cache.reorder_cache(rows)
        self.positions, self.attention = self.positions[rows], self.attention[rows]
        self.met = None if self.met is None else self.met[rows]
