"""`generate()` of transformers as an engine: any model that it can run, sharded ones too.

Each of transformers' own processors is put into one list, behind a first one that only looks: so the
log-probabilities are those before any of them. It keeps one step's distribution, (B, V), never all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process

from tempering.errors import ConfigError
from tempering.generation.engines.assemble import assemble, seeds
from tempering.generation.engines.wrapping import ready_to_generate, steps_together
from tempering.generation.rollout import Rollout, pad_left
from tempering.generation.sampling import Sampling
from tempering.models.compiling import uncompiled
from tempering.models.reading import reads_padding, without_adapter_wrapper


class TransformersSampler:
    """Samples from the live model with `generate()`.

    Args:
        model: a causal LM, or PEFT's around one.
        accelerator: needed where accelerate has wrapped the model (FSDP, ZeRO): then `update` is given the
            wrapped one, and every process must call `generate` at the same time.
    """

    exact = True

    def __init__(self, model: Any, eos_ids: list[int], pad_id: int, accelerator: Any = None) -> None:
        self.model, self.eos_ids, self.pad_id, self.accelerator = model, eos_ids, pad_id, accelerator

    def update(self, model: Any) -> None:
        """Sample from `model` from now on: the live policy, or accelerate's wrapper around it."""
        self.model = model

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor | None) -> Rollout:
        """Complete each prompt once; `uniform` seeds torch's generator, which is put back afterwards."""
        # The policy as transformers knows it, with whole parameters.
        with ready_to_generate(self.model, self.accelerator) as policy:
            policy = without_adapter_wrapper(policy)
            if reads_padding(policy):
                raise ConfigError(
                    f"engine.kind transformers pads prompts, which a {policy.config.model_type} model reads",
                    expected="an engine that decodes prompts of one length together",
                    fix="set engine.kind: decoder",
                )
            ids, mask = pad_left(prompts, self.pad_id, policy.device)
            observer = LogprobObserver(sampling.temperature)
            # The observer comes first: it must see the logits before any processor changes them.
            steps = [observer, *self._processors(sampling, mask)]
            with (
                uncompiled(policy),
                _evaluating(policy),
                _plain_settings(policy),
                _seeded(uniform, policy.device),
            ):
                sequences = policy.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    generation_config=self._settings(sampling),
                    logits_processor=LogitsProcessorList(steps),
                    synced_gpus=steps_together(self.accelerator),
                )
        # The completions alone, without the prompts.
        tokens = sequences[:, ids.shape[1] :]
        logprobs = observer.logprobs(tokens)
        return assemble(prompts, tokens.tolist(), logprobs.tolist(), self.eos_ids, self.pad_id, ids.device)

    def _settings(self, sampling: Sampling) -> GenerationConfig:
        """Nothing that changes the distribution: `_processors` does."""
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature > 0,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            use_cache=True,
            eos_token_id=self.eos_ids,
            pad_token_id=self.pad_id,
        )

    def _processors(self, sampling: Sampling, mask: Tensor) -> Iterator[LogitsProcessor]:
        """Transformers' own, in its order."""
        device, greedy = mask.device, sampling.temperature == 0
        if sampling.repetition_penalty != 1:
            padding = (mask == 0).sum(1)
            yield logits_process.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty, padding)
        if sampling.min_new_tokens:
            yield logits_process.MinNewTokensLengthLogitsProcessor(
                mask.shape[1], sampling.min_new_tokens, self.eos_ids, device=device
            )
        if not greedy and sampling.temperature != 1:
            yield logits_process.TemperatureLogitsWarper(float(sampling.temperature))
        if not greedy and sampling.top_k:
            yield logits_process.TopKLogitsWarper(sampling.top_k)
        if not greedy and sampling.top_p is not None and sampling.top_p < 1:
            yield logits_process.TopPLogitsWarper(float(sampling.top_p))
        if not greedy and sampling.min_p:
            yield logits_process.MinPLogitsWarper(float(sampling.min_p))


class LogprobObserver(LogitsProcessor):
    """Records the log-probability of each token; changes nothing.

    At each step the ids say which token the last step took, so it keeps one distribution.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature or 1.0
        self.distribution: Tensor | None = None  # (B, V) of the step at hand
        self.values: list[Tensor] = []  # (B,) per step before it

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._note(input_ids[:, -1])
        self.distribution = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        return scores

    def logprobs(self, tokens: Tensor) -> Tensor:
        """(B, C) of the completions, whose last token it has not seen."""
        self._note(tokens[:, -1])
        self.distribution = None
        assert len(self.values) == tokens.shape[1], "one distribution per token"
        return torch.stack(self.values, dim=1)

    def _note(self, token: Tensor) -> None:
        if self.distribution is not None:
            self.values.append(self.distribution.gather(-1, token[:, None]).squeeze(-1))


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _plain_settings(model: Any) -> Iterator[None]:
    """Without the defaults that came with the model, which `generate` would mix into ours."""
    defaults, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = defaults


@contextmanager
def _seeded(uniform: Tensor | None, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seeds(uniform, 1)[0])
        yield
