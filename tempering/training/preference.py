"""Reward model and DPO on tokenised preference pairs, by TRL.

TRL averages the means of batches, whatever their sizes, and counts a tie as wrong. The accuracy on
held-out pairs decides whether a policy may be trained, so here it is that of all pairs, and a tie counts ½.
"""

from typing import Any

import datasets
from trl import DPOConfig as TRLDPOConfig
from trl import DPOTrainer, RewardTrainer
from trl import RewardConfig as TRLRewardConfig

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import SampleArtifact
from tempering.training.causal import need_rows, read_part
from tempering.training.config import DPOConfig, RewardModelConfig
from tempering.training.fused_head import check_fused_head
from tempering.training.trainer import TokenTrainer, row_order, training_arguments

COLUMNS = ["prompt_ids", "chosen_ids", "rejected_ids"]


_ONE_BY_ONE: dict[str, Any] = {"per_device_eval_batch_size": 1}
"""Held-out pairs, so that the mean of the means of batches is the mean of the pairs."""


class PairTrainer(TokenTrainer):
    """Mixin: a tie between the sides of a held-out pair counts half."""

    margin, accuracy = "margin", "accuracy"
    """What TRL calls the gap between the scores of a pair, and whether it is above 0."""

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """TRL's, which averages what it has noted of each pair."""
        if not self.model.training:  # type: ignore[attr-defined]
            noted = self._metrics["eval"]  # type: ignore[attr-defined]
            pairs = zip(noted[self.accuracy], noted[self.margin], strict=True)
            noted[self.accuracy] = [right + (margin == 0) / 2 for right, margin in pairs]
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


class RewardStageTrainer(PairTrainer, RewardTrainer):
    """TRL's RewardTrainer with token accounting."""


class DPOStageTrainer(PairTrainer, DPOTrainer):
    """TRL's DPOTrainer with token accounting, on rows that are tokenised already."""

    margin, accuracy = "rewards/margins", "rewards/accuracies"

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


def _sides(row: dict[str, list[int]]) -> dict[str, list[int]]:
    return {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}


def _joined(rows: datasets.Dataset | None) -> datasets.Dataset | None:
    """The reward model reads prompt and completion as one sequence."""
    return rows and rows.map(_sides, remove_columns=["prompt_ids"], keep_in_memory=True)


def reward_trainer(
    model: Any, tokenizer: Any, sample: SampleArtifact, config: RewardModelConfig, out: Draft
) -> RewardStageTrainer:
    """Bradley-Terry loss on the score at the last token of each side."""
    # Rows are tokenised and cut already: TRL must not truncate them.
    return RewardStageTrainer(
        model=model,
        config=config,
        out=out,
        processing_class=tokenizer,
        train_dataset=_joined(need_rows(read_part(sample, "train", COLUMNS), sample.id)),
        eval_dataset=_joined(read_part(sample, "eval", COLUMNS)),
        args=TRLRewardConfig(
            **training_arguments(
                config,
                out,
                **_ONE_BY_ONE,
                max_length=None,
                center_rewards_coefficient=config.center_rewards_coefficient,
                train_sampling_strategy=row_order(sample),
            )
        ),
    )


def dpo_trainer(
    model: Any, tokenizer: Any, sample: SampleArtifact, config: DPOConfig, out: Draft, reference: Any = None
) -> DPOStageTrainer:
    """DPO against `reference`, by default the starting model; its log-probabilities are computed once."""
    check_fused_head(model, "dpo")
    # Rows are cut already (no max_length); the reference's log-probabilities are computed before training.
    arguments = training_arguments(
        config,
        out,
        **_ONE_BY_ONE,
        max_length=None,
        beta=config.beta,
        loss_type=[config.loss_type],
        label_smoothing=config.label_smoothing,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=max(config.micro_batch_size or config.batch_size, 32),
        train_sampling_strategy=row_order(sample),
    )
    return DPOStageTrainer(
        model=model,
        ref_model=reference,
        config=config,
        out=out,
        processing_class=tokenizer,
        train_dataset=need_rows(read_part(sample, "train", COLUMNS), sample.id),
        eval_dataset=read_part(sample, "eval", COLUMNS),
        args=TRLDPOConfig(**arguments),
    )
