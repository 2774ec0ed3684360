"""One trainer for PPO, RLOO and their relatives on `transformers.Trainer`.

The story of a rollout: take the next prompts, sample completions, score them, compare with the reference
policy, turn that into advantages, then make `ppo_epochs` passes of optimizer steps over it. Trainer's loop
pulls micro-batches from `micro_batches`, which collects a new rollout whenever the last one is used up; so
accumulation, clipping, schedules, callbacks and checkpoints are Trainer's own. Checkpoints lie between
rollouts. All randomness of a rollout comes from (seed, rollout number): to resume one needs the number.

Several processes share each rollout: every one samples, scores and compares its part, then all hold the whole
experience, so that advantages, whitening and the order of batches are those of a single process.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from torch import Tensor
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from tempering.artifacts.draft import Draft
from tempering.errors import StageFailed
from tempering.generation.rollout import RolloutEngine
from tempering.models.compiling import compile_layers
from tempering.models.loading import load_weights
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.collect import Collector
from tempering.onpolicy.compare import compare
from tempering.onpolicy.config import OnPolicyConfig
from tempering.onpolicy.estimators import Outcome
from tempering.onpolicy.experience import Experience, joined, moved
from tempering.onpolicy.guards import CollapseGuard, refuse_nan
from tempering.onpolicy.kl import ESTIMATORS, KLController
from tempering.onpolicy.losses import clipped_value_loss
from tempering.onpolicy.optimizer import adamw
from tempering.onpolicy.phases import Phases
from tempering.onpolicy.prompts import Prompts
from tempering.onpolicy.summary import summarise
from tempering.onpolicy.value import ValueHead, ValueModel
from tempering.rewards.shaping import ScoreShaping
from tempering.training.row_log import RowLog
from tempering.training.trainer import TokenTrainer, training_arguments


class OnPolicyTrainer(TokenTrainer, Trainer):
    """Trains by `config.estimator`.

    Args:
        policy: the causal LM (or PEFT model) to train.
        reference: a frozen copy; None with a PEFT policy, whose adapter is switched off instead.
        value: the value model of an estimator that has one, or its head on the policy's trunk.
        prompts: tokenised prompts and their columns.
        collector: samples and scores.
    """

    config: OnPolicyConfig
    must_learn_at_once = False

    def __init__(
        self,
        *,
        policy: Any,
        reference: Any,
        value: ValueModel | ValueHead | None,
        prompts: Prompts,
        collector: Collector,
        tokenizer: Any,
        config: OnPolicyConfig,
        out: Draft,
    ) -> None:
        self.prompts, self.collector, self.reference = prompts, collector, reference
        self.estimator = config.estimator
        self.kl = KLController(
            config.kl_control, config.kl_coef,
            target=config.target_kl, horizon=config.kl_horizon, end=config.kl_coef_end,
        )  # fmt: skip
        self.shaping = ScoreShaping(config.score_normalization, config.score_scale, config.score_clip)
        self.guard = CollapseGuard(config.guard, out.warn, contrast=self.estimator.compares)
        self.phases = Phases()
        self.outputs = RowLog(out.metadata_dir / "generated_outputs.jsonl")
        self.rollouts_done = 0
        self.exhausted = self._first_step = self._last_step = False
        self._noted: dict[str, float] = defaultdict(float)  # sums over the optimizer step at hand
        self._rollout_stats: dict[str, float] = {}
        self._kl_coef, self._stops, self._tokens_at_hand, self._step_started = config.kl_coef, False, 0, 0.0
        self.steps_a_rollout = steps_a_rollout = config.ppo_epochs * (
            config.rollout_batch_size // config.batch_size
        )
        if config.stop_kl is not None and steps_a_rollout == 1:
            out.warn("stop_kl has nothing to end: each rollout is one step (ppo_epochs, batch_size)")
        # One update a rollout: its own forward pass gives the old log-probabilities, the ratio being 1.
        self.ratio_is_one = steps_a_rollout == 1 and config.old_logprobs == "recompute"
        self.total_rollouts = _rollouts(config, len(prompts))
        steps = self.total_rollouts * steps_a_rollout
        arguments = training_arguments(config, out) | {
            "max_steps": min(steps, max(1, (config.max_steps or steps) // steps_a_rollout) * steps_a_rollout),
            "ignore_data_skip": True,
            "remove_unused_columns": False,
        }
        if config.max_steps and arguments["max_steps"] != min(config.max_steps, steps):
            out.warn(
                f"max_steps {config.max_steps} becomes {arguments['max_steps']}: runs end between rollouts, "
                f"each of which is {steps_a_rollout} steps"
            )
        # Dropout would make the ratio of new and old probabilities differ from 1 before any update.
        for module in (policy, value):
            if module is not None:
                disable_dropout_in_model(module)
        super().__init__(
            model=ActorCritic(policy, value, config.temperature),
            config=config,
            out=out,
            args=TrainingArguments(**arguments),
            processing_class=tokenizer,
        )
        if reference is not None:
            self.reference = reference.to(self.args.device).requires_grad_(False).eval()
            if config.compile:
                compile_layers(self.reference)

    @property
    def actor_critic(self) -> ActorCritic:
        """The model without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)  # type: ignore[no-any-return]

    # -- collecting --------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Trainer pulls from this; no length, no look-ahead (a rollout must see the newest weights)."""
        return _Stream(self)

    def micro_batches(self) -> Iterator[dict[str, Tensor]]:
        """Rollout after rollout, each as `ppo_epochs` shuffled passes of micro-batches."""
        size = self.config.batch_size
        own = self._share_of(size)
        while self.rollouts_done < self.total_rollouts:
            seed = self.rollout_seed()
            experience = self.collect()
            shuffler = torch.Generator().manual_seed(seed + 1)
            orders = [
                torch.randperm(len(experience), generator=shuffler) for _ in range(self.config.ppo_epochs)
            ]
            steps = [rows for order in orders for rows in order.split(size)]
            for number, rows in enumerate(steps):
                self._first_step, self._last_step = number == 0, number == len(steps) - 1
                self._step_started = time.perf_counter()
                batch = experience.select(rows, self.estimator).take(own.start, own.stop)
                yield from batch.split(self.args.per_device_train_batch_size)
                if self._stops:
                    break

    def _share_of(self, count: int) -> slice:
        """This process's part of `count` rows."""
        each = count // self.accelerator.num_processes
        return slice(self.accelerator.process_index * each, (self.accelerator.process_index + 1) * each)

    @property
    def at_boundary(self) -> bool:
        """Whether the step just made was the last one of its rollout."""
        return self._last_step or self._stops or self.state.global_step >= self.state.max_steps

    def rollout_seed(self) -> int:
        """Seed of the rollout at hand: of the run's seed and the rollout's number only."""
        return (int(self.args.seed) * 1_000_003 + self.rollouts_done) * 2

    def collect(self) -> Experience:
        """One rollout with everything its updates need."""
        config, model = self.config, self.actor_critic
        own = self._share_of(config.rollout_batch_size)
        generator = torch.Generator().manual_seed(self.rollout_seed())
        uniform = self.collector.sampling.numbers(config.rollout_batch_size, generator)[own]
        self._hand_over(self.collector.engine)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            rows = self.prompts.take(self.rollouts_done, config)[own]
            experience = self.collector.sample(rows, uniform, self.phases)
            with self.phases.timed("compare"):
                compare(
                    model, self.reference, experience, size=max(self.args.per_device_train_batch_size, 32),
                    recompute=config.old_logprobs == "recompute"
                    and not (self.ratio_is_one and self.collector.engine.exact),
                )  # fmt: skip
        self.model.train(was_training)
        if self.accelerator.num_processes > 1:
            parts = gather_object([moved(experience, "cpu")])
            experience = moved(joined(parts), experience.device)
        self._finish(experience)
        return experience

    def _hand_over(self, engine: RolloutEngine) -> None:
        """Give an engine the newest weights, of a sharded model with what gathers them."""
        if self.accelerator.distributed_type in _SHARDED:
            engine.accelerator = self.accelerator
            engine.update(self.model_wrapped)
        else:
            engine.update(self.actor_critic.policy)

    def _finish(self, experience: Experience) -> None:
        """Advantages, counts and log rows of a rollout; the same in every process."""
        config, mask = self.config, experience.completion_mask
        experience.rewards = self.shaping(experience.scores) - config.missing_eos_penalty * ~experience.ended
        log_ratio = (experience.old_logprobs - experience.ref_logprobs) * mask
        experience.kl = log_ratio.sum(1)
        compared = {"policy": experience.old_logprobs, "reference": experience.ref_logprobs}
        step = self.state.global_step + 1
        refuse_nan(float(experience.kl.mean()), compared, self.out.metadata_dir, step, "KL to the reference")
        self._kl_coef = self.kl.coef
        penalty = ESTIMATORS[config.kl_estimator](experience.old_logprobs, experience.ref_logprobs) * mask
        outcome = Outcome(
            experience.rewards,
            penalty * (self._kl_coef if config.kl_in == "reward" else 0.0),
            mask,
            experience.values,
            config.num_completions,
        )
        experience.advantages, experience.returns = self.estimator.advantages(outcome)
        self._tokens_at_hand = int(experience.attention_mask.sum())
        # Prompt and completion once a rollout, however many passes are made over it.
        self.state.num_input_tokens_seen += self._tokens_at_hand
        self._rollout_stats = summarise(experience, self._kl_coef, config.num_completions)
        if self.writes:
            self.outputs.append(experience.log_rows(self.state.global_step + 1, self.tokens))
        self.rollouts_done += 1
        self.exhausted = self.rollouts_done >= self.total_rollouts
        self.kl.update(self._rollout_stats["kl"], len(experience), self._share_done())

    def _share_done(self) -> float:
        """Share of the run that its rollouts so far are, by whichever limit is nearest."""
        limit, ours = self.config.token_limit, self.rollouts_done
        by_steps = ours * self.steps_a_rollout / self.args.max_steps
        return float(max(ours / self.total_rollouts, by_steps, self.tokens / limit if limit else 0.0))

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Counted once a rollout, see `_finish`."""

    # -- one update --------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This micro-batch's part of the mean over the whole optimizer step."""
        self._inputs = inputs
        config, mask = self.config, inputs["completion_mask"]
        weights, token_weights = inputs["weights"], inputs["token_weights"]
        found = model(inputs["input_ids"], inputs["attention_mask"], mask)
        logprobs = found["logprobs"]
        old = logprobs.detach() if self.ratio_is_one else inputs["old_logprobs"]
        policy_loss, clipped = self.estimator.loss(
            logprobs, old, inputs["advantages"], weights, ratio_cap=config.ratio_cap
        )
        loss, every = weights.sum() * policy_loss, inputs["every_token"]
        self._note(
            policy_loss=loss, clip_fraction=weights.sum() * clipped, entropy=(found["entropy"] * every).sum(),
            step_kl=((old - logprobs) * every).sum(),
        )  # fmt: skip
        if self._first_step:
            gap = (logprobs - inputs["sampler_logprobs"]).abs()
            self._note(sampler_gap=(gap * every).sum())
        value = self.estimator.value_model
        if value is not None:
            value_loss, value_clipped = clipped_value_loss(
                found["values"], inputs["values"], inputs["returns"], token_weights,
                value_clip_range=value.value_clip_range,
            )  # fmt: skip
            share = token_weights.sum()
            self._note(value_loss=share * value_loss, value_clip_fraction=share * value_clipped)
            loss = loss + value.value_coef * share * value_loss
        if config.kl_in == "loss":
            penalty = ESTIMATORS[config.kl_estimator](logprobs, inputs["ref_logprobs"])
            kl_loss = (penalty * self.estimator.kl_weights(weights, mask)).sum()
            self._note(kl_loss=kl_loss)
            loss = loss + self._kl_coef * kl_loss
        if config.entropy_coef:
            loss = loss - config.entropy_coef * (found["entropy"] * token_weights).sum()
        refuse_nan(float(loss.detach()), inputs, self.out.metadata_dir, self.state.global_step + 1, "loss")
        # Parts of a step add up; Trainer divides by their number, and processes are averaged.
        return loss * self.current_gradient_accumulation_steps * self.accelerator.num_processes

    def _note(self, **parts: Tensor) -> None:
        for name, part in parts.items():
            self._noted[name] += float(part.detach())

    def _summed(self) -> dict[str, float]:
        """What was noted in this optimizer step, over all processes."""
        names = sorted(self._noted)
        sums = torch.tensor([self._noted[name] for name in names], dtype=torch.float64)
        self._noted.clear()
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), reduction="sum")
        return dict(zip(names, sums.tolist(), strict=True))

    def end_step(self) -> None:
        """After an optimizer step, before anything is decided on it: sums, early stop, the gap."""
        self._step_stats = self._summed()
        stop = self.config.stop_kl
        self._stops = stop is not None and self._step_stats["step_kl"] > stop
        gap, most = self._step_stats.get("sampler_gap", 0.0), self.config.max_sampler_gap
        if not gap <= most:  # NaN is no agreement
            raise StageFailed(
                f"the sampler's log-probabilities differ from the trainer's by {gap:.3g} nats a token "
                f"(mean); max_sampler_gap is {most:g}. Likely causes: the engine did not take over the "
                "newest weights, or it computes in another precision or with another temperature"
            )

    _step_stats: dict[str, float]
    _inputs: dict[str, Tensor]
    optimizer: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """Trainer calls this."""
        if self.optimizer is None:
            self.optimizer = adamw(self.actor_critic, self.config, self.get_decay_parameter_names)
        return self.optimizer

    def schedule_progress(self, steps: int) -> float:
        """The middle of a step: neither the first nor the last one has a learning rate of 0."""
        return self.progress(steps + 0.5)

    # -- logs and checkpoints ----------------------------------------------------------------

    def row_logs(self) -> list[RowLog]:
        """Training statistics and the completions themselves."""
        return [self.stats, self.outputs] if self.writes else []

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the rollout and this step noted, and where the time went."""
        if "loss" in logs:
            step = self.state.global_step
            if not self.args.fp16:  # its scaler skips such steps by itself
                norm = float(logs.get("grad_norm", 0.0))
                refuse_nan(norm, self._inputs, self.out.metadata_dir, step, "gradient norm")
            self.phases.add("update", time.perf_counter() - self._step_started)
            logs.update(self._step_stats | self._rollout_stats | self.phases.taken(self._tokens_at_hand))
            if self.at_boundary:
                self.guard.look(logs)
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The policy in Hugging Face layout; the value model beside it."""
        if not self.args.should_save:
            return
        folder, ours = Path(output_dir or self.args.output_dir), self.actor_critic
        ours.policy.save_pretrained(folder)
        self.processing_class.save_pretrained(folder)
        if ours.value is not None:
            ours.value.save(folder / "value_model")

    def save_extra_state(self, folder: Path) -> None:
        state = {
            "rollouts_done": self.rollouts_done,
            "kl_coef": self.kl.coef,
            "shaping": self.shaping.state(),
            "guard": self.guard.held,
        }
        (folder / "onpolicy_state.json").write_text(json.dumps(state))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder, ours = Path(resume_from_checkpoint), self.actor_critic
        load_weights(ours.policy, folder)
        if ours.value is not None:
            ours.value.restore(folder / "value_model")
        state = json.loads((folder / "onpolicy_state.json").read_text())
        self.rollouts_done, self.kl.coef = state["rollouts_done"], state["kl_coef"]
        self.shaping.restore(state["shaping"])
        self.guard.held = state["guard"]


_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


def _rollouts(config: OnPolicyConfig, prompts: int) -> int:
    """Rollouts until the first of `num_epochs` and `total_episodes`."""
    groups = config.rollout_batch_size // config.num_completions
    by_epochs = -(-int(config.num_epochs * prompts) // groups)
    by_episodes = -(-(config.total_episodes or 1 << 62) // config.rollout_batch_size)
    return max(1, min(by_epochs, by_episodes))


class _Stream:
    """What Trainer iterates over instead of a DataLoader."""

    def __init__(self, trainer: OnPolicyTrainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.trainer.micro_batches()
