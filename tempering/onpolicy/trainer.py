"""The algorithm on `transformers.Trainer`, so that accumulation, clipping, schedules, callbacks, sharding and
checkpoints are Trainer's own.

Trainer's loop pulls micro-batches from `micro_batches`, which collects a new rollout whenever the last one is
used up. Checkpoints lie between rollouts. Several processes share each rollout: every one samples, scores and
compares its part, then all hold the whole experience, so that advantages, whitening and the order of batches
are those of a single process.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from tempering.artifacts.draft import Draft
from tempering.artifacts.row_log import RowLog
from tempering.errors import StageFailed
from tempering.models.compiling import compile_layers
from tempering.onpolicy import checkpoint
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.algorithm import RolloutMaker, shuffled_steps, step_loss
from tempering.onpolicy.batches import StepBatch
from tempering.onpolicy.config import OnPolicyConfig
from tempering.onpolicy.experience import Compared, Experience, joined, moved
from tempering.onpolicy.guards import CollapseGuard, refuse_nan
from tempering.onpolicy.optimizer import IdleSteps, adamw
from tempering.onpolicy.summary import summarise
from tempering.onpolicy.value import ValueHead, ValueModel
from tempering.training.schedule import learning_rate_factor
from tempering.training.trainer import TokenTrainer, training_arguments

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class OnPolicyTrainer(TokenTrainer, Trainer):
    """Trains by `config.estimator`.

    Args:
        policy: the causal LM (or PEFT model) to train.
        value: the value model of an estimator that has one, or its head on the policy's trunk.
        maker: makes the rollouts; its engine samples from `policy`.
    """

    config: OnPolicyConfig
    must_learn_at_once = False

    def __init__(
        self,
        *,
        policy: Any,
        value: ValueModel | ValueHead | None,
        maker: RolloutMaker,
        tokenizer: Any,
        config: OnPolicyConfig,
        out: Draft,
    ) -> None:
        self.maker = maker
        self.guard = CollapseGuard(config.guard, out.warn, contrast=config.estimator.compares)
        self.outputs = RowLog(out.metadata_dir / "generated_outputs.jsonl")
        self.total_rollouts = most_rollouts(config, len(maker.prompts))
        # what the step and the rollout at hand came to, for the log and for `end_step`
        self._sums: dict[str, float] = defaultdict(float)
        self._rollout_stats: dict[str, float] = {}
        self._number, self._last_step, self._stops = 0, False, False
        self._idle = False  # whether there is nothing to learn from the rollout at hand
        self._tokens_at_hand, self._step_started = 0, 0.0
        # dropout would make the ratio of new and old probabilities differ from 1 before any update
        for module in (policy, value):
            if module is not None:
                disable_dropout_in_model(module)
        arguments = training_arguments(config, out) | {
            "max_steps": _max_steps(config, self.total_rollouts, out),
            "ignore_data_skip": True,
            "remove_unused_columns": False,
        }
        super().__init__(
            model=ActorCritic(policy, value, config.temperature),
            config=config,
            out=out,
            args=TrainingArguments(**arguments),
            processing_class=tokenizer,
        )
        self.add_callback(IdleSteps(lambda: self._idle))
        if maker.reference is not None:
            maker.reference = maker.reference.to(self.args.device).requires_grad_(False).eval()
            if config.compile:
                compile_layers(maker.reference)

    @property
    def actor_critic(self) -> ActorCritic:
        """The model without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)  # type: ignore[no-any-return]

    # -- rollouts ----------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Trainer pulls from this; no length, no look-ahead (a rollout must see the newest weights)."""
        return _Stream(self)

    def micro_batches(self) -> Iterator[dict[str, StepBatch]]:
        """Rollout after rollout, each as `ppo_epochs` shuffled passes of micro-batches."""
        estimator, share = self.config.estimator, self._share_of(self.config.batch_size)
        while not self.exhausted:
            seed = self.maker.seed
            experience = self.collect()
            self._idle = self._teaches_nothing(experience)
            steps = shuffled_steps(self.config, seed + 1)
            for number, rows in enumerate(steps):
                self._number, self._last_step = number, number == len(steps) - 1
                self._set_rates()
                self._step_started = time.perf_counter()
                step = StepBatch.of(experience, rows, estimator, first_step=number == 0).take(share)
                for batch in step.split(self.args.per_device_train_batch_size):
                    yield {"batch": batch}  # Trainer wants a mapping
                if self._stops:
                    break

    def _teaches_nothing(self, experience: Experience) -> bool:
        """Whether no completion differs from its siblings, and nothing else is learnt."""
        comparison = self.config.estimator.compares and not self.config.entropy_coef
        return comparison and not experience.advantages.any()

    def _share_of(self, count: int) -> slice:
        """This process's part of `count` rows."""
        size = count // self.accelerator.num_processes
        return slice(self.accelerator.process_index * size, (self.accelerator.process_index + 1) * size)

    @property
    def exhausted(self) -> bool:
        """Whether the last rollout has been made."""
        return self.maker.rollouts >= self.total_rollouts

    @property
    def at_boundary(self) -> bool:
        """Whether the step just made was the last one of its rollout."""
        return self._last_step or self._stops or self.state.global_step >= self.state.max_steps

    def collect(self) -> Experience:
        """One rollout with everything its updates need."""
        # this process's part
        self._hand_over_weights()
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            share = self._share_of(self.config.rollout_batch_size)
            size = max(self.args.per_device_train_batch_size, 32)
            compared = self.maker.compared(self.actor_critic, share, size)
        self.model.train(was_training)
        # the whole
        if self.accelerator.num_processes > 1:
            compared = moved(joined(gather_object([moved(compared, "cpu")])), compared.device)
        self._refuse_nan_kl(compared)
        experience = self.maker.experience(compared)
        self._record(experience)
        self.maker.kl.update(self._rollout_stats["kl"], len(experience), self._share_done())
        return experience

    def _hand_over_weights(self) -> None:
        """Give the engine the newest weights, of a sharded model with what gathers them."""
        engine = self.maker.engine
        if self.accelerator.distributed_type in _SHARDED:
            engine.accelerator = self.accelerator
            engine.update(self.model_wrapped)
        else:
            engine.update(self.actor_critic.policy)

    def _refuse_nan_kl(self, compared: Compared) -> None:
        sides = {"policy": compared.old_logprobs, "reference": compared.ref_logprobs}
        kl, step = float(compared.kl.mean()), self.state.global_step + 1
        refuse_nan(kl, sides, self.out.metadata_dir, step, "KL to the reference")

    def _record(self, experience: Experience) -> None:
        """Tokens, statistics and log rows of a rollout."""
        self._tokens_at_hand = int(experience.attention_mask.sum())
        # prompt and completion once per rollout, however many passes are made over it
        self.state.num_input_tokens_seen += self._tokens_at_hand
        self._rollout_stats = summarise(experience, self.config.num_completions)
        if self.writes:
            self.outputs.append(experience.log_rows(self.state.global_step + 1, self.tokens))

    def _share_done(self) -> float:
        """Share of the run that its rollouts so far are, by whichever limit is nearest."""
        limit, rollouts = self.config.token_limit, self.maker.rollouts
        by_steps = rollouts * self.config.steps_per_rollout / self.args.max_steps
        return float(max(rollouts / self.total_rollouts, by_steps, self.tokens / limit if limit else 0.0))

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Counted once per rollout, see `_record`."""

    # -- optimizer steps ---------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, StepBatch],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This micro-batch's part of the mean over the whole optimizer step."""
        self._batch = inputs["batch"]
        loss, parts = step_loss(model, self._batch, self.config)
        for name, part in parts.items():
            self._sums[name] += float(part.detach())
        self._refuse_nan(float(loss.detach()), self.state.global_step + 1, "loss")
        # Parts of a step add up; Trainer divides by their number, and processes are averaged.
        return loss * self.current_gradient_accumulation_steps * self.accelerator.num_processes

    def _refuse_nan(self, value: float, step: int, quantity: str) -> None:
        refuse_nan(value, self._batch.tensors(), self.out.metadata_dir, step, quantity)

    def _summed(self) -> dict[str, float]:
        """The parts of this optimizer step, over its micro-batches and all processes."""
        names = sorted(self._sums)
        sums = torch.tensor([self._sums[name] for name in names], dtype=torch.float64)
        self._sums.clear()
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), reduction="sum")
        return dict(zip(names, sums.tolist(), strict=True))

    def end_step(self) -> None:
        """After an optimizer step, before anything is decided on it: sums, early stop, the gap."""
        self._step_stats = self._summed()
        stop = self.config.stop_kl
        self._stops = stop is not None and self._step_stats["step_kl"] > stop
        gap, most = self._step_stats.get("sampler_gap", 0.0), self.config.max_sampler_gap
        if not gap <= most:  # NaN is not an agreement
            raise StageFailed(
                f"the sampler's log-probabilities differ from the trainer's by {gap:.3g} nats per token "
                f"(mean); max_sampler_gap is {most:g}. Likely causes: the engine did not take over the "
                "newest weights, or it computes in another precision or with another temperature"
            )

    _step_stats: dict[str, float]
    _batch: StepBatch
    optimizer: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """Trainer calls this."""
        if self.optimizer is None:
            self.optimizer = adamw(self.actor_critic, self.config, self.get_decay_parameter_names)
        return self.optimizer

    def schedule_progress(self, steps: int) -> float:
        """The middle of a step, so that the schedule begins before the first one and ends after the last one.

        A rollout's tokens count before its first step, so a token limit is crossed while there are steps
        to make: the run's length is taken in rollouts, those made and those that fit into what is left.
        """
        by_steps, size = (steps + 0.5) / max(1, self.state.max_steps), self.config.steps_per_rollout
        rollouts, limit = self.maker.rollouts, self.config.token_limit
        place, total = max(0, rollouts - 1) * size + self._number + 0.5, self.total_rollouts
        if limit and self.tokens:
            total = min(total, rollouts + math.ceil(max(0, limit - self.tokens) * rollouts / self.tokens))
        return float(max(by_steps, place / (total * size)))

    def _set_rates(self) -> None:
        """The rates of the step at hand; when the scheduler stepped, its rollout was not made yet."""
        scheduler = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)  # out of DeepSpeed's wrapper
        factor = learning_rate_factor(self.config, self.schedule_progress(self.state.global_step))
        scheduler._last_lr = [base * factor for base in scheduler.base_lrs]
        for group, rate in zip(self.optimizer.param_groups, scheduler._last_lr, strict=True):
            group["lr"] = rate

    # -- logs and checkpoints ----------------------------------------------------------------

    def row_logs(self) -> list[RowLog]:
        """Training statistics and the completions themselves."""
        return [self.stats, self.outputs] if self.writes else []

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the rollout and this step came to, and where the time went."""
        if "loss" in logs:
            if not self.args.fp16:  # its scaler skips such steps by itself
                norm = float(logs.get("grad_norm", 0.0))
                self._refuse_nan(norm, self.state.global_step, "gradient norm")
            phases = self.maker.phases
            phases.add("update", time.perf_counter() - self._step_started)
            logs.update(self._step_stats | self._rollout_stats | phases.taken(self._tokens_at_hand))
            if self.at_boundary:
                self.guard.look(logs)
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The policy in Hugging Face layout; the value model beside it."""
        if not self.args.should_save:
            return
        folder, model = Path(output_dir or self.args.output_dir), self.actor_critic
        model.policy.save_pretrained(folder)
        self.processing_class.save_pretrained(folder)
        if model.value is not None:
            model.value.save(folder / checkpoint.VALUE)

    def save_extra_state(self, folder: Path) -> None:
        checkpoint.save(folder, self.maker, self.guard)

    def check_own_state(self, folder: Path) -> None:
        checkpoint.check(folder, self.actor_critic, self.maker, self.guard)

    def load_own_state(self, folder: Path, model: Any) -> None:
        checkpoint.load(folder, self.actor_critic, self.maker, self.guard)


def most_rollouts(config: OnPolicyConfig, prompts: int) -> int:
    """Rollouts until the first of `num_epochs` and `total_episodes`."""
    groups = config.rollout_batch_size // config.num_completions
    by_epochs = -(-int(config.num_epochs * prompts) // groups)
    by_episodes = -(-(config.total_episodes or 1 << 62) // config.rollout_batch_size)
    return max(1, min(by_epochs, by_episodes))


def _max_steps(config: OnPolicyConfig, rollouts: int, out: Draft) -> int:
    """Optimizer steps of the run, in whole rollouts."""
    size = config.steps_per_rollout
    steps = rollouts * size
    most = min(steps, max(1, (config.max_steps or steps) // size) * size)
    if config.max_steps and most != min(config.max_steps, steps):
        out.warn(
            f"max_steps {config.max_steps} becomes {most}: runs end between rollouts, "
            f"size of which is {size} steps"
        )
    return most


class _Stream:
    """What Trainer iterates over instead of a DataLoader."""

    def __init__(self, trainer: OnPolicyTrainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[dict[str, StepBatch]]:
        return self.trainer.micro_batches()
