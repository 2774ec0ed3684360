"""One trainer for PPO and RLOO on `transformers.Trainer`.

The story of a rollout: take the next prompts, sample completions, score them, compare with the
reference policy, turn that into advantages, then make `ppo_epochs` passes of optimizer steps
over it. Trainer's loop pulls micro-batches from `micro_batches`, which collects a new rollout
whenever the last one is used up; so accumulation, clipping, schedules, callbacks and
checkpoints are Trainer's own. Checkpoints lie between rollouts. All randomness of a rollout
comes from (seed, rollout index): to resume one needs the index and nothing else.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from tempering.artifacts.draft import Draft
from tempering.models.loading import load_weights
from tempering.onpolicy.collect import Experience, Prompts, summarise
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig
from tempering.onpolicy.kl import KLController
from tempering.onpolicy.logprobs import completion_logprobs, position_ids
from tempering.onpolicy.losses import clipped_policy_loss, clipped_value_loss, masked_mean
from tempering.onpolicy.value import ValueModel
from tempering.training.row_log import RowLog
from tempering.training.trainer import TokenTrainer, training_arguments


class ActorCritic(nn.Module):
    """Policy and (for PPO) value model as one module, so that one backward pass trains both."""

    def __init__(self, policy: Any, value: ValueModel | None, temperature: float) -> None:
        super().__init__()
        self.policy, self.value, self.temperature = policy, value, temperature

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor
    ) -> dict[str, Tensor]:
        """Log-probabilities, entropies and (PPO) values of the completion tokens, each (B, C)."""
        logprobs, entropy = completion_logprobs(
            self.policy, input_ids, attention_mask, completion_mask, self.temperature
        )
        found = {"logprobs": logprobs, "entropy": entropy}
        if self.value is not None:
            found["values"] = self.values(input_ids, attention_mask, completion_mask)
        return found

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        """Trainer calls this where the config asks for it."""
        self.policy.activation_checkpointing_enable()
        if self.value is not None:
            self.value.backbone.activation_checkpointing_enable()

    gradient_checkpointing_enable = activation_checkpointing_enable

    def values(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> Tensor:
        """V of the state before each completion token, (B, C) in fp32; 0 where masked."""
        assert self.value is not None
        every = self.value(input_ids, attention_mask, position_ids(attention_mask)).float()
        return every[:, -completion_mask.shape[1] - 1 : -1] * completion_mask


class OnPolicyTrainer(TokenTrainer, Trainer):
    """PPO where `value` is given, RLOO otherwise.

    Args:
        policy: the causal LM (or PEFT model) to train.
        reference: a frozen copy; None with a PEFT policy, whose adapter is switched off instead.
        value: the value model of PPO.
        prompts: tokenised prompts and their columns.
        collector: samples and scores (see `collect.Collector`).
    """

    config: OnPolicyConfig
    must_learn_at_once = False

    def __init__(
        self,
        *,
        policy: Any,
        reference: Any,
        value: ValueModel | None,
        prompts: Prompts,
        collector: Any,
        tokenizer: Any,
        config: OnPolicyConfig,
        out: Draft,
    ) -> None:
        self.prompts, self.collector, self.reference = prompts, collector, reference
        self.kl = KLController(
            config.kl_coef, config.target_kl if config.kl_control == "adaptive" else None, config.kl_horizon
        )
        self.rollouts_done = 0
        self.exhausted = False
        self._last_batch = False
        self.outputs = RowLog(out.metadata_dir / "generated_outputs.jsonl")
        self._logged: dict[str, list[float]] = defaultdict(list)
        self._rollout_stats: dict[str, float] = {}
        self._step_kl = (0.0, 0)  # sum over tokens, tokens: of the optimizer step at hand
        groups = config.rollout_batch_size // config.num_completions
        self.total_rollouts = max(1, -(-int(config.num_epochs * len(prompts)) // groups))
        per_rollout = config.ppo_epochs * (config.rollout_batch_size // config.batch_size)
        steps = self.total_rollouts * per_rollout
        arguments = training_arguments(config, out) | {
            "max_steps": min(steps, max(1, (config.max_steps or steps) // per_rollout) * per_rollout),
            "ignore_data_skip": True,
            "remove_unused_columns": False,
        }
        if config.max_steps and arguments["max_steps"] != min(config.max_steps, steps):
            out.warn(
                f"max_steps {config.max_steps} becomes {arguments['max_steps']}: runs end between rollouts, "
                f"each of which is {per_rollout} steps"
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

    # -- collecting --------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Trainer pulls from this; no length, no look-ahead (a rollout must see the newest weights)."""
        return _Stream(self)

    def micro_batches(self) -> Iterator[dict[str, Tensor]]:
        """Rollout after rollout, each as `ppo_epochs` shuffled passes of micro-batches."""
        micro = self.args.per_device_train_batch_size
        while self.rollouts_done < self.total_rollouts:
            experience = self.collect()
            shuffler = torch.Generator().manual_seed(self.rollout_seed() + 1)
            batches = [
                experience.select(order[i : i + self.config.batch_size])
                for order in (
                    torch.randperm(len(experience), generator=shuffler) for _ in range(self.config.ppo_epochs)
                )
                for i in range(0, len(experience), self.config.batch_size)
            ]
            for number, batch in enumerate(batches):
                self._last_batch, self._step_kl = number == len(batches) - 1, (0.0, 0)
                yield from batch.split(micro)
                if self._stops_early():
                    break

    def _stops_early(self) -> bool:
        total, count = self._step_kl
        return self.config.stop_kl is not None and total / max(count, 1) > self.config.stop_kl

    @property
    def at_boundary(self) -> bool:
        """Whether the step just made was the last one of its rollout."""
        return self._last_batch or self._stops_early()

    def rollout_seed(self) -> int:
        """Seed of the rollout at hand: of the run's seed and the rollout's number only."""
        return (int(self.args.seed) * 1_000_003 + self.rollouts_done) * 2

    def collect(self) -> Experience:
        """One rollout with everything its updates need."""
        device = self.args.device
        generator = torch.Generator(device).manual_seed(self.rollout_seed())
        sampled = self.collector.sample(self.prompts.take(self.rollouts_done, self.config), generator)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            experience = self._compare(sampled)
        self.model.train(was_training)
        experience.shape_rewards(self.config, self.kl.coef)
        self._count_tokens(experience)
        self._rollout_stats = summarise(experience, self.kl.coef)
        self.outputs.append(experience.rows(self.state.global_step + 1, self.tokens))
        self.kl.update(self._rollout_stats["kl"], len(experience))
        self.rollouts_done += 1
        self.exhausted = self.rollouts_done >= self.total_rollouts
        return experience

    def _compare(self, experience: Experience) -> Experience:
        """Add what the policy, the reference and the value model say of the completions."""
        model: ActorCritic = self.accelerator.unwrap_model(self.model)
        mask = experience.completion_mask
        for part in experience.slices(max(self.args.per_device_train_batch_size, 32)):
            batch = (experience.input_ids[part], experience.attention_mask[part], mask[part])
            experience.old_logprobs[part] = completion_logprobs(
                model.policy, *batch, self.config.temperature
            )[0]
            off = model.policy.disable_adapter() if self.reference is None else nullcontext()
            with off:
                reference = self.reference if self.reference is not None else model.policy
                experience.ref_logprobs[part] = completion_logprobs(
                    reference, *batch, self.config.temperature
                )[0]
            if model.value is not None:
                experience.values[part] = model.values(*batch)
        return experience

    def _count_tokens(self, experience: Experience) -> None:
        # Prompt and completion once a rollout, however many passes are made over it.
        seen = self.accelerator.gather(experience.attention_mask.sum()[None]).sum()
        self.state.num_input_tokens_seen += int(seen)

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Counted once a rollout, see `_count_tokens`."""

    # -- one update --------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """PPO: tokens are the unit of ratio and advantage. RLOO: whole completions are."""
        mask, config = inputs["completion_mask"], self.config
        found = model(inputs["input_ids"], inputs["attention_mask"], mask)
        counted = mask & inputs["scored"][:, None]
        token_share = counted.sum() / inputs["batch_tokens"][0]
        if isinstance(config, PPOConfig):
            policy_loss, clipped = clipped_policy_loss(
                found["logprobs"],
                inputs["old_logprobs"],
                inputs["advantages"],
                counted,
                clip_range=config.clip_range,
            )
            value_loss, value_clipped = clipped_value_loss(
                found["values"],
                inputs["values"],
                inputs["returns"],
                counted,
                value_clip_range=config.value_clip_range,
            )
            self._note(value_loss=value_loss, value_clip_fraction=value_clipped)
            share = token_share
        else:
            policy_loss, clipped = clipped_policy_loss(
                found["logprobs"].sum(1),
                inputs["old_logprobs"].sum(1),
                inputs["advantages"][:, 0],
                inputs["scored"],
                clip_range=config.clip_range,
            )
            value_loss = policy_loss.new_zeros(())
            share = inputs["scored"].sum() / inputs["batch_sequences"][0]
        entropy = masked_mean(found["entropy"], counted)
        loss = share * (policy_loss + getattr(config, "value_coef", 0.0) * value_loss)
        loss = loss - token_share * config.entropy_coef * entropy
        step_kl = masked_mean(inputs["old_logprobs"] - found["logprobs"], counted)
        tokens = int(counted.sum())
        self._step_kl = (self._step_kl[0] + float(step_kl.detach()) * tokens, self._step_kl[1] + tokens)
        self._note(policy_loss=policy_loss, clip_fraction=clipped, entropy=entropy, step_kl=step_kl)
        # A mean over the whole optimizer batch, however it is cut into micro-batches; Trainer
        # divides by their number.
        return loss * self.current_gradient_accumulation_steps

    def _note(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._logged[name].append(float(value.detach()))

    optimizer: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW; the value model may have its own learning rate."""
        if self.optimizer is None:
            ours: ActorCritic = self.model
            groups: list[dict[str, Any]] = [
                {"params": [p for p in ours.policy.parameters() if p.requires_grad]}
            ]
            if ours.value is not None:
                rate = getattr(self.config, "value_learning_rate", None) or self.config.learning_rate
                groups.append({"params": [p for p in ours.value.parameters() if p.requires_grad], "lr": rate})
            self.optimizer = torch.optim.AdamW(
                groups,
                lr=self.config.learning_rate,
                weight_decay=self.config.weight_decay,
                betas=(self.config.adam_beta1, self.config.adam_beta2),
            )
        return self.optimizer

    # -- logs and checkpoints ----------------------------------------------------------------

    def row_logs(self) -> list[RowLog]:
        """Training statistics and the completions themselves."""
        return [self.stats, self.outputs]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the rollout and the micro-batches of this step noted."""
        if "loss" in logs:
            logs.update({name: sum(values) / len(values) for name, values in self._logged.items()})
            logs.update(self._rollout_stats)
            self._logged.clear()
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The policy in Hugging Face layout; the value model beside it."""
        folder = Path(output_dir or self.args.output_dir)
        ours: ActorCritic = self.accelerator.unwrap_model(self.model)
        ours.policy.save_pretrained(folder)
        self.processing_class.save_pretrained(folder)
        if ours.value is not None:
            ours.value.save(folder / "value_model")

    def save_extra_state(self, folder: Path) -> None:
        state = {"rollouts_done": self.rollouts_done, "kl_coef": self.kl.coef}
        (folder / "onpolicy_state.json").write_text(json.dumps(state))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        ours: ActorCritic = self.model
        load_weights(ours.policy, folder)
        if ours.value is not None:
            ours.value.restore(folder / "value_model")
        state = json.loads((folder / "onpolicy_state.json").read_text())
        self.rollouts_done, self.kl.coef = state["rollouts_done"], state["kl_coef"]


class _Stream:
    """What Trainer iterates over instead of a DataLoader."""

    def __init__(self, trainer: OnPolicyTrainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.trainer.micro_batches()
