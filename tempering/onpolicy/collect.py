"""Collecting experience: prompts in, sampled and scored completions with advantages out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import torch
from torch import Tensor

from tempering.errors import ConfigError
from tempering.onpolicy.advantages import gae, leave_one_out, whiten
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig
from tempering.onpolicy.kl import ESTIMATORS
from tempering.onpolicy.rollout import RolloutEngine, Sampling
from tempering.rewards.build import RewardFunction


class Prompts:
    """The prompts of a sample: token ids, messages and further columns.

    Each pass over them has its own order, made from the seed and the number of the pass; `ordered`
    ones (by a curriculum) keep theirs.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], seed: int, *, ordered: bool = False) -> None:
        self.rows, self.seed, self.ordered = rows, seed, ordered

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rollout: int, config: Any) -> list[Mapping[str, Any]]:
        """The prompts of a rollout, each `num_completions` times, siblings side by side."""
        count = config.rollout_batch_size // config.num_completions
        picked = [self._at(rollout * count + index) for index in range(count)]
        return [row for row in picked for _ in range(config.num_completions)]

    def _at(self, position: int) -> Mapping[str, Any]:
        epoch, index = divmod(position, len(self.rows))
        if self.ordered:
            return self.rows[index]
        order = torch.randperm(
            len(self.rows), generator=torch.Generator().manual_seed(self.seed * 7919 + epoch)
        )
        return self.rows[int(order[index])]


@dataclass
class Experience:
    """One rollout, scored. Tensors are (B, C) over completion tokens unless said otherwise."""

    input_ids: Tensor  # (B, P + C)
    attention_mask: Tensor  # (B, P + C)
    completion_mask: Tensor  # bool
    old_logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    scores: Tensor  # (B,) raw; NaN = could not be scored
    ended: Tensor  # (B,) bool
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))
    rewards: Tensor = field(default_factory=lambda: torch.empty(0))  # (B,) score after shaping, without KL
    kl: Tensor = field(default_factory=lambda: torch.empty(0))  # (B,) summed over the completion
    texts: list[tuple[str, str]] = field(default_factory=list)  # prompt and completion, for the log

    def __len__(self) -> int:
        return len(self.scores)

    def slices(self, size: int) -> Iterator[slice]:
        """Consecutive parts of at most `size` rows."""
        yield from (slice(start, start + size) for start in range(0, len(self), size))

    def shape_rewards(self, config: OnPolicyConfig, kl_coef: float) -> None:
        """Scores and KL into advantages (and returns), by the estimator of `config`."""
        mask = self.completion_mask
        token_kl = ESTIMATORS[config.kl_estimator](self.old_logprobs, self.ref_logprobs) * mask
        self.kl = (self.old_logprobs - self.ref_logprobs).mul(mask).sum(1)
        self.rewards = self.scores - config.missing_eos_penalty * (~self.ended)
        scored = ~self.scores.isnan()
        if isinstance(config, PPOConfig):
            last = mask.sum(1) - 1
            token_rewards = -kl_coef * token_kl
            token_rewards[torch.arange(len(self)), last] += self.rewards.nan_to_num(0.0)
            self.advantages, self.returns = gae(
                token_rewards, self.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
            )
            if config.whiten_advantages:
                self.advantages = whiten(self.advantages, mask & scored[:, None])
            return
        assert isinstance(config, RLOOConfig)
        shaped = (self.rewards - kl_coef * token_kl.sum(1)).view(-1, config.num_completions)
        advantages = leave_one_out(shaped).view(-1)
        if config.normalize_advantages:
            advantages = advantages / (advantages[scored].std(unbiased=False).nan_to_num(1.0) + 1e-6)
        self.advantages = advantages[:, None].expand_as(mask).clone()
        self.returns = torch.zeros_like(self.advantages)

    def select(self, rows: Tensor) -> "Batch":
        """The rows of one optimizer step."""
        scored = ~self.scores[rows].isnan()
        mask = self.completion_mask[rows]
        tensors = {name: getattr(self, name)[rows] for name in _BATCH}
        tokens = (mask & scored[:, None]).sum().clamp(min=1)
        return Batch(
            {
                **tensors,
                "scored": scored,
                "batch_tokens": tokens.expand(len(rows)),
                "batch_sequences": scored.sum().clamp(min=1).expand(len(rows)),
            }
        )

    def rows(self, step: int, tokens: int) -> list[dict[str, Any]]:
        """Log rows of this rollout."""
        lengths = self.completion_mask.sum(1).tolist()
        columns = zip(
            self.texts,
            self.scores.tolist(),
            self.rewards.tolist(),
            self.kl.tolist(),
            lengths,
            self.ended.tolist(),
            strict=True,
        )
        return [
            {
                "step": step,
                "tokens": tokens,
                "prompt": prompt,
                "completion": completion,
                "score": None if isnan(score) else score,
                "reward": None if isnan(reward) else reward,
                "kl": kl,
                "length": length,
                "ended": ended,
            }
            for (prompt, completion), score, reward, kl, length, ended in columns
        ]


_BATCH = ("input_ids", "attention_mask", "completion_mask", "old_logprobs", "advantages", "returns", "values")


class Batch(dict[str, Tensor]):
    """The tensors of one optimizer step."""

    def split(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Micro-batches of `size` rows."""
        for start in range(0, len(self["scored"]), size):
            yield {name: tensor[start : start + size] for name, tensor in self.items()}


class Collector:
    """Samples completions with an engine and scores them with a reward function."""

    def __init__(
        self, engine: RolloutEngine, reward: RewardFunction, tokenizer: Any, sampling: Sampling
    ) -> None:
        self.engine, self.reward, self.tokenizer, self.sampling = engine, reward, tokenizer, sampling

    def sample(self, rows: list[Mapping[str, Any]], generator: torch.Generator) -> Experience:
        """Complete and score `rows` (columns `input_ids`, `query`, `prompt` and others)."""
        rollout = self.engine.generate([list(row["input_ids"]) for row in rows], self.sampling, generator)
        texts = rollout.texts(self.tokenizer)
        empty = torch.zeros_like(rollout.logprobs)
        return Experience(
            rollout.input_ids,
            rollout.attention_mask,
            rollout.completion_mask,
            empty.clone(),
            empty.clone(),
            empty.clone(),
            self._score(rows, texts, rollout.ended).to(empty.device),
            rollout.ended,
            texts=[(row["query"], text) for row, text in zip(rows, texts, strict=True)],
        )

    def _score(self, rows: list[Mapping[str, Any]], texts: list[str], ended: Tensor) -> Tensor:
        columns = {
            key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "input_ids", "ended")
        }
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        scores = self.reward(prompts, texts, ended=ended.tolist(), **columns)
        try:
            numbers = [float("nan") if score is None else float(score) for score in scores]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != len(texts):
            raise ConfigError(
                f"the reward function gave {str(scores)[:80]} for {len(texts)} completions",
                expected="a list with one number or None for each completion",
                fix="correct the function's return value",
            )
        return torch.tensor(numbers)


def summarise(experience: Experience, kl_coef: float) -> dict[str, float]:
    """Means over a rollout, for the log."""
    scored = ~experience.scores.isnan()
    stats = {
        "score": experience.scores[scored].mean(),
        "reward": experience.rewards[scored].mean(),
        "kl": experience.kl.mean(),
        "completion_length": experience.completion_mask.sum(1).float().mean(),
        "ended_share": experience.ended.float().mean(),
        "unscored_share": 1 - scored.float().mean(),
    }
    found = {name: float(value) for name, value in stats.items()} | {"kl_coef": kl_coef}
    if experience.values.any():
        mask = experience.completion_mask
        found["value_error"] = float(((experience.values - experience.returns)[mask] ** 2).mean())
        variance = experience.returns[mask].var(unbiased=False)
        found["explained_variance"] = float(1 - found["value_error"] / (variance + 1e-8))
    return found
