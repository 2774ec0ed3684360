"""Collecting: prompts in, sampled and scored completions out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tempering.generation.rollout import Rollout, RolloutEngine
from tempering.generation.sampling import Sampling
from tempering.onpolicy.experience import Experience
from tempering.onpolicy.phases import Phases
from tempering.rewards.scoring import Rewards, Scored

_NOT_PASSED_ON = ("prompt", "input_ids", "ended", "completion_ids")


@dataclass
class Collector:
    """Samples completions with an engine and scores them with a reward."""

    engine: RolloutEngine
    reward: Rewards
    tokenizer: Any
    sampling: Sampling

    def sample(self, rows: list[Mapping[str, Any]], uniform: Tensor, phases: Phases) -> Experience:
        """Complete and score `rows` (columns `input_ids`, `query`, `prompt` and others).

        Args:
            uniform: (B, max_new_tokens) numbers in [0, 1).
        """
        with phases.timed("decode"):
            rollout = self.engine.generate([list(row["input_ids"]) for row in rows], self.sampling, uniform)
        texts = rollout.texts(self.tokenizer)
        # in fp32: half precision would make scores of like completions equal
        with phases.timed("score"), torch.autocast(rollout.logprobs.device.type, enabled=False):
            scored = self._score(rows, texts, rollout)
        empty = torch.zeros_like(rollout.logprobs)
        components = {f"score_{name}": values for name, values in scored.components.items()}
        return Experience(
            rollout.input_ids,
            rollout.attention_mask,
            rollout.completion_mask,
            rollout.logprobs,
            empty.clone(),
            empty.clone(),
            empty.clone(),
            torch.tensor(scored.scores, device=empty.device),
            rollout.ended,
            texts=[(row["query"], text) for row, text in zip(rows, texts, strict=True)],
            columns={**(components if len(components) > 1 else {}), **scored.extra},
        )

    def _score(self, rows: list[Mapping[str, Any]], texts: list[str], rollout: Rollout) -> Scored:
        columns = {key: [row[key] for row in rows] for key in rows[0] if key not in _NOT_PASSED_ON}
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        return self.reward(
            prompts, texts, ended=rollout.ended.tolist(), completion_ids=rollout.tokens(), **columns
        )
