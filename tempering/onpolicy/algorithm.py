"""PPO, RLOO and their relatives from top to bottom: what happens per rollout, then per optimizer step.

A rollout: take the next prompts, sample completions, score them, compare with the reference policy, turn that
into advantages. Then `ppo_epochs` shuffled passes of optimizer steps are made over it, and the KL coefficient
is steered. All randomness of a rollout comes from (seed, rollout number): to resume one needs the number.
trainer.py fits this into `transformers.Trainer`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tempering.generation.kl import ESTIMATORS
from tempering.generation.rollout import Rollout, RolloutEngine
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.batches import StepBatch
from tempering.onpolicy.compare import compare
from tempering.onpolicy.config import OnPolicyConfig
from tempering.onpolicy.estimators import Outcome
from tempering.onpolicy.experience import Compared, Experience, Scored
from tempering.onpolicy.kl import KLController
from tempering.onpolicy.losses import clipped_value_loss
from tempering.onpolicy.phases import Phases
from tempering.onpolicy.prompts import Prompts
from tempering.rewards.scoring import Rewards
from tempering.rewards.shaping import ScoreShaping

_NOT_PASSED_ON = ("prompt", "input_ids", "ended", "completion_ids")


class RolloutMaker:
    """Makes rollout after rollout. Its state is their number, the KL coefficient and running statistics.

    Args:
        prompts: tokenised prompts and their columns (`input_ids`, `query`, `prompt` and others).
        engine: samples completions; whoever trains gives it the newest weights before each rollout.
        reward: scores them.
        reference: a frozen copy of the policy; None with a PEFT policy, whose adapter is
            switched off instead.
        seed: of the run.
    """

    def __init__(
        self,
        config: OnPolicyConfig,
        *,
        prompts: Prompts,
        engine: RolloutEngine,
        reward: Rewards,
        tokenizer: Any,
        reference: Any,
        seed: int,
    ) -> None:
        # what makes a rollout
        self.config, self.prompts, self.engine, self.reward = config, prompts, engine, reward
        self.tokenizer, self.reference, self.run_seed = tokenizer, reference, seed
        self.sampling = config.sampling()
        self.phases = Phases()
        # what a checkpoint must hold: running statistics, the coefficient, the number
        self.shaping = ScoreShaping(config.score_normalization, config.score_scale, config.score_clip)
        self.kl = KLController(
            config.kl_control,
            config.kl_coef,
            target=config.target_kl,
            horizon=config.kl_horizon,
            end=config.kl_coef_end,
        )
        self.rollouts = 0

    @property
    def seed(self) -> int:
        """Seed of the next rollout; the number after it shuffles its optimizer steps."""
        return (self.run_seed * 1_000_003 + self.rollouts) * 2

    def compared(self, model: ActorCritic, share: slice, size: int) -> Compared:
        """The next rollout, or a process's share of its rows: sampled, scored and compared.

        Args:
            size: rows per forward pass.
        """
        rows = self.prompts.take(self.rollouts, self.config)[share]
        with self.phases.timed("decode"):
            rollout = self._sample(rows, share)
        # in fp32: half precision would make scores of like completions equal
        with self.phases.timed("score"), torch.autocast(rollout.logprobs.device.type, enabled=False):
            scored = self._score(rows, rollout)
        # an exact sampler's log-probabilities serve where the first update's forward pass gives the old ones
        exact = self.config.ratio_is_one and self.engine.exact
        recompute = self.config.old_logprobs == "recompute" and not exact
        with self.phases.timed("compare"):
            compared: Compared = compare(model, self.reference, scored, size=size, recompute=recompute)
        return compared

    def _sample(self, rows: list[Mapping[str, Any]], share: slice) -> Rollout:
        generator = torch.Generator().manual_seed(self.seed)
        uniform = self.sampling.numbers(self.config.rollout_batch_size, generator)[share]
        return self.engine.generate([list(row["input_ids"]) for row in rows], self.sampling, uniform)

    def _score(self, rows: list[Mapping[str, Any]], rollout: Rollout) -> Scored:
        texts = rollout.texts(self.tokenizer)
        # the reward sees messages, texts and the other columns of the prompts
        columns = {key: [row[key] for row in rows] for key in rows[0] if key not in _NOT_PASSED_ON}
        messages = [[dict(turn) for turn in row["prompt"]] for row in rows]
        scores = self.reward(
            messages, texts, ended=rollout.ended.tolist(), completion_ids=rollout.tokens(), **columns
        )
        # what it is made of is logged where it has several parts
        parts = {f"score_{name}": values for name, values in scores.components.items()}
        return Scored(
            input_ids=rollout.input_ids,
            attention_mask=rollout.attention_mask,
            completion_mask=rollout.completion_mask,
            sampler_logprobs=rollout.logprobs,
            ended=rollout.ended,
            scores=torch.tensor(scores.scores, device=rollout.logprobs.device),
            texts=[(row["query"], text) for row, text in zip(rows, texts, strict=True)],
            columns={**(parts if len(parts) > 1 else {}), **scores.extra},
        )

    def experience(self, compared: Compared) -> Experience:
        """A complete rollout with its advantages; the same in every process. It is counted."""
        config, mask = self.config, compared.completion_mask
        # scores become rewards
        rewards = self.shaping(compared.scores) - config.missing_eos_penalty * ~compared.ended
        # the KL comes off them here, or joins the loss later
        penalty = ESTIMATORS[config.kl_estimator](compared.old_logprobs, compared.ref_logprobs) * mask
        token_kl = penalty * (self.kl.coef if config.kl_in == "reward" else 0.0)
        # rewards become advantages
        outcome = Outcome(rewards, token_kl, mask, compared.values, config.num_completions)
        advantages, returns = config.estimator.advantages(outcome)
        self.rollouts += 1
        return Experience(
            **vars(compared),
            rewards=rewards,
            kl_coef=self.kl.coef,
            advantages=advantages,
            returns=returns,
        )

    def state(self) -> dict[str, Any]:
        """What the next rollout depends on, beside the weights."""
        return {"rollouts_done": self.rollouts, "kl_coef": self.kl.coef, "shaping": self.shaping.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self.rollouts, self.kl.coef = state["rollouts_done"], state["kl_coef"]
        self.shaping.restore(state["shaping"])


def shuffled_steps(config: OnPolicyConfig, seed: int) -> list[Tensor]:
    """The rows of each optimizer step on a rollout: `ppo_epochs` passes, each in an order of its own."""
    shuffler = torch.Generator().manual_seed(seed)
    count = config.rollout_batch_size
    orders = [torch.randperm(count, generator=shuffler) for _ in range(config.ppo_epochs)]
    return [rows for order in orders for rows in order.split(config.batch_size)]


def step_loss(
    model: ActorCritic, batch: StepBatch, config: OnPolicyConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """A micro-batch's part of the loss of an optimizer step, and its part of what is logged.

    The parts of a step, over micro-batches and processes, add up to the whole.
    """
    weights, estimator = batch.weights, config.estimator
    outputs = model(batch.input_ids, batch.attention_mask, batch.completion_mask)
    logprobs, entropy = outputs["logprobs"], outputs["entropy"]
    # the policy
    old = logprobs.detach() if config.ratio_is_one else batch.old_logprobs
    policy_loss, clipped = estimator.loss(
        logprobs, old, batch.advantages, weights, ratio_cap=config.ratio_cap
    )
    loss = weights.sum() * policy_loss
    parts = {
        "policy_loss": loss,
        "clip_fraction": weights.sum() * clipped,
        "entropy": (entropy * batch.every_token).sum(),
        "step_kl": ((old - logprobs) * batch.every_token).sum(),
    }
    # how far the sampler is off, before any update
    if batch.first_step:
        parts["sampler_gap"] = ((logprobs - batch.sampler_logprobs).abs() * batch.every_token).sum()
    # the value model
    value = estimator.value_model
    if value is not None:
        value_loss, value_clipped = clipped_value_loss(
            outputs["values"],
            batch.values,
            batch.returns,
            batch.token_weights,
            value_clip_range=value.value_clip_range,
        )
        share = batch.token_weights.sum()
        parts |= {"value_loss": share * value_loss, "value_clip_fraction": share * value_clipped}
        loss = loss + value.value_coef * share * value_loss
    # the pull to the reference, where the reward has none
    if config.kl_in == "loss":
        penalty = ESTIMATORS[config.kl_estimator](logprobs, batch.ref_logprobs)
        kl_loss = (penalty * estimator.kl_weights(weights, batch.completion_mask)).sum()
        parts["kl_loss"] = kl_loss
        loss = loss + batch.kl_coef * kl_loss
    # the bonus for entropy
    if config.entropy_coef:
        loss = loss - config.entropy_coef * (entropy * batch.token_weights).sum()
    return loss, parts
