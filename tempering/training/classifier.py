"""A reward model that is a classifier: its score is the logit of label 1 against label 0.

The loss is the binary cross-entropy of the label, in nats per text. A score above 0 says label 1, and the
sigmoid of the score is the probability. Sentiment rewards are usually made in this way (Ziegler et al. 2019,
https://arxiv.org/abs/1909.08593, section 3.1).
"""

from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import EvalPrediction, Trainer, TrainingArguments

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import SampleArtifact
from tempering.errors import DataError
from tempering.training.causal import need_rows, read_part
from tempering.training.config import RewardModelConfig
from tempering.training.trainer import TokenTrainer, row_order, training_arguments

COLUMNS = ["input_ids", "label"]


class ClassifierTrainer(TokenTrainer, Trainer):
    """`transformers.Trainer` on labelled texts, with token accounting."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """Binary cross-entropy of the score at the last token, the mean over texts, in nats."""
        reading = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        scores = model(**reading).logits.float().squeeze(-1)
        loss = binary_cross_entropy_with_logits(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss


def classifier_trainer(
    model: Any, tokenizer: Any, sample: SampleArtifact, config: RewardModelConfig, out: Draft
) -> ClassifierTrainer:
    """Trainer over the labelled texts of a sample.

    Raises:
        DataError: the labels are others than 0 and 1, or all alike.
    """
    train = need_rows(read_part(sample, "train", COLUMNS), sample.id)
    held_out = read_part(sample, "eval", COLUMNS)
    check_labels(train["label"], sample.id)
    return ClassifierTrainer(
        model=model,
        config=config,
        out=out,
        processing_class=tokenizer,
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=train,
        eval_dataset=held_out,
        compute_metrics=accuracy,
        args=TrainingArguments(
            **training_arguments(
                config,
                out,
                label_names=["labels"],
                remove_unused_columns=False,
                train_sampling_strategy=row_order(sample),
            )
        ),
    )


def check_labels(labels: Any, name: str) -> None:
    """Refuse labels that one score cannot tell apart.

    Raises:
        DataError: others than 0 and 1, or only one of them.
    """
    values = sorted(set(labels))
    if values != [0, 1]:
        raise DataError(
            f"the texts of {name} have the labels {', '.join(map(str, values))}",
            expected="0 and 1, both of them",
            fix="choose a data set with two labels, and check its order: the first rows may be of one label",
        )


class Collator:
    """Rows as tensors: (B, T) ids padded on the right, (B,) labels."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[place, :length] = torch.tensor(row["input_ids"])
            mask[place, :length] = 1
        labels = torch.tensor([float(row["label"]) for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The share of texts whose score has the sign of the label; a score of 0 counts half."""
    scores, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
    right = ((scores > 0) == (labels > 0.5)).float()
    return {"accuracy": float(torch.where(scores == 0, 0.5, right).mean())}
