"""Fine-tuning a classifier with one seed, epoch by epoch, and the labels that its best epoch predicts.

A loop of its own and not `transformers.Trainer`: it follows the BabyLM evaluation pipeline step by step,
random numbers included, so that with `scoring: official` its predictions are theirs: AdamW on all weights,
a cosine that ends at a tenth of the peak, batches of rows in random order whose incomplete last one is left
out, batches of 64 rows for predicting, the first of equally good epochs.
https://github.com/babylm/evaluation-pipeline-2025/blob/main/evaluation_pipeline/finetune/trainer.py
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from tempering.evaluation.agreement import MEASURES, counted
from tempering.evaluation.classifier import Batch, Classifier, padded

if TYPE_CHECKING:
    from tempering.evaluation.benchmarks.finetuning import FinetuningBenchmark

PREDICTED = 64
"""Rows of a batch that is predicted; changes the last digits of logits."""


@dataclass(frozen=True)
class Part:
    """Rows of one use: their token ids and labels."""

    sequences: Sequence[list[int]]
    labels: Sequence[int]

    def of(self, places: Sequence[int]) -> "Part":
        """Some of the rows."""
        return Part([self.sequences[place] for place in places], [self.labels[place] for place in places])


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, and how good the model was after it on those that choose the epoch."""

    epoch: int
    loss: float
    score: float


@dataclass(frozen=True)
class Outcome:
    """What one seed gave: its epochs, the best of them, what that predicts for the test rows, and tokens."""

    epochs: list[Epoch]
    best: int
    predictions: list[int]
    tokens: int

    def piece(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of_piece(cls, piece: Any) -> "Outcome":
        """From plain values."""
        return cls(**{**piece, "epochs": [Epoch(**epoch) for epoch in piece["epochs"]]})


@dataclass(frozen=True)
class Task:
    """The rows of a task: to train on, to choose the epoch (may be the test rows themselves), to test on.

    `kinds` is how many labels there are.
    """

    train: Part
    choosing: Part
    test: Part
    kinds: int


def held_out(part: Part, fraction: float) -> tuple[Part, Part]:
    """The rows to train on, in their order, and those that choose the epoch; the same for every seed."""
    places = [*range(len(part.labels))]
    chosen = set(random.Random(0).sample(places, round(fraction * len(places))))
    return part.of([place for place in places if place not in chosen]), part.of(sorted(chosen))


def finetune(
    config: "FinetuningBenchmark",
    task: Task,
    load_body: Callable[[], Any],
    device: Any,
    pad: int,
    seed: int,
    stepped: Callable[[int, float], None],
) -> Outcome:
    """Train with one seed; what the best epoch predicts for the test rows.

    Args:
        load_body: the backbone, new from its file.
        stepped: called after each optimizer step, with the steps so far and the loss.
    """
    random.seed(seed)
    torch.manual_seed(seed)
    model = Classifier(
        load_body(), task.kinds, config.dropout, "first" if config.scoring == "official" else "last"
    ).to(device)
    model.body.config.use_cache = False

    # Optimizer and schedule: every weight decays, the rate falls to a share of its peak.
    steps = len(task.train.labels) // config.batch_size * config.num_epochs
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, steps, int(config.warmup_fraction * steps), config.min_lr_fraction)
    )

    # Epochs: the first of the best ones predicts.
    epochs, predictions, best, done = list[Epoch](), list[int](), 0, 0
    for epoch in range(1, config.num_epochs + 1):
        loss = 0.0
        for loss in _one_pass(model, task.train, config.batch_size, pad, optimizer, schedule):
            done += 1
            stepped(done, loss)
        labels = _predicted(model, task.choosing, pad)
        score = float(MEASURES[config.select_by](counted(task.choosing.labels, labels, task.kinds)))
        epochs.append(Epoch(epoch, loss, score))
        if epoch == 1 or score > epochs[best - 1].score:
            best = epoch
            predictions = labels if task.choosing is task.test else _predicted(model, task.test, pad)
    return Outcome(epochs, best, predictions, config.num_epochs * sum(map(len, task.train.sequences)))


def rate(step: int, steps: int, warmup: int, least: float) -> float:
    """The learning rate of a step as a share of its peak: linear warm-up, then a cosine down to `least`."""
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return max(least, least + (1 - least) * 0.5 * (1 + math.cos(math.pi * progress)))


def _one_pass(
    model: Classifier, part: Part, batch_size: int, pad: int, optimizer: Any, schedule: Any
) -> Iterator[float]:
    """An epoch: the loss of each step, after it."""
    model.train()
    for (ids, attention), labels in _batches(part, batch_size, pad, model, shuffled=True):
        loss = nn.functional.cross_entropy(model(ids, attention), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()


@torch.no_grad()
def _predicted(model: Classifier, part: Part, pad: int) -> list[int]:
    model.eval()
    batches = _batches(part, PREDICTED, pad, model, shuffled=False)
    return [label for (ids, attention), _ in batches for label in model(ids, attention).argmax(-1).tolist()]


def _batches(
    part: Part, size: int, pad: int, model: Classifier, *, shuffled: bool
) -> Iterator[tuple[Batch, Any]]:
    """Batches on the model's device; shuffled ones leave out the incomplete last one."""
    device = next(model.parameters()).device

    def collated(places: list[int]) -> tuple[Batch, Any]:
        rows = part.of(places)
        ids, attention = padded([*rows.sequences], pad)
        return (ids.to(device), attention.to(device)), torch.tensor(rows.labels, device=device)

    # torch's own loader: it draws from the global generator as theirs does.
    rows: Any = range(len(part.labels))
    yield from DataLoader(rows, batch_size=size, shuffle=shuffled, drop_last=shuffled, collate_fn=collated)
