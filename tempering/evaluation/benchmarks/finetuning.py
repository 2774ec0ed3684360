"""Tasks that a model is fine-tuned for (GLUE, SuperGLUE, CoLA, SST-2), as in the BabyLM evaluation pipeline.

Its settings are the defaults (`eval_finetuning.sh` in https://github.com/babylm/evaluation-pipeline-2025):
learning rate 3e-5, batches of 32, 10 epochs, 512 tokens, a cosine with 6% warm-up. Two of its habits are not:
it reads the first token, behind which a causal model hides the rest of a text, and it chooses the best epoch
on the very rows that it then reports. `scoring: official` does both, for numbers beside theirs.
Wang et al. 2018 and 2019, https://arxiv.org/abs/1804.07461, https://arxiv.org/abs/1905.00537.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tempering.artifacts.kinds import DatasetArtifact
from tempering.config import MOST_LENGTH, MOST_SEQUENCES, Readers
from tempering.data.rows import RowType
from tempering.errors import ConfigError, DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.data.builders.base import BuilderConfig
    from tempering.evaluation.findings import Findings
    from tempering.evaluation.finetune import Outcome, Part

_MAJORITY = "the most frequent training label for every row"


class FinetuningBenchmark(Benchmark):
    """Fine-tune the model to sort texts, with several seeds; accuracy, F1 and MCC on the test rows."""

    read_by: ClassVar[Mapping[str, Readers]] = {"held_out_fraction": {"scoring": ("honest",)}}

    kind: Literal["finetuning"]
    train_dataset: str | None = Field(
        None, description="data set to train on, all its rows; null: the train part of `dataset`"
    )
    scoring: Literal["honest", "official"] = Field(
        "honest", description="official: as the BabyLM evaluation pipeline, its two faults included"
    )
    seeds: tuple[int, ...] = Field(
        (42, 43, 44), min_length=1, description="a fine-tuning with each; results are means over them"
    )
    num_epochs: int = Field(10, ge=1, description="passes over the training rows")
    batch_size: int = Field(32, ge=1, le=MOST_SEQUENCES, description="rows per optimizer step")
    learning_rate: float = Field(3e-5, gt=0, description="peak learning rate of AdamW")
    warmup_fraction: float = Field(0.06, ge=0, lt=1, description="share of the steps with rising rate")
    min_lr_fraction: float = Field(0.1, ge=0, lt=1, description="final rate of the cosine, of the peak")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of AdamW, of all weights")
    dropout: float = Field(0.1, ge=0, lt=1, description="of the head; the model's own is as it is")
    max_length: int = Field(512, ge=8, le=MOST_LENGTH, description="tokens of a row; longer ones are cut")
    select_by: Literal["accuracy", "f1", "mcc"] = Field(
        "accuracy", description="the epoch where this is best is the one that counts"
    )
    held_out_fraction: float = Field(
        0.1, gt=0, lt=1, description="share of the training rows that choose the epoch instead of training"
    )

    version = 2
    row_types = (RowType.CLASSIFICATION,)
    convention = (
        "All weights are trained, with the head of the BabyLM evaluation pipeline. `honest`: text and pair "
        "are running text on lines of their own after EOS or the tokenizer's BOS, the state of the last "
        "token is read, and the epoch is chosen on training rows that were held out. `official`, as that "
        "pipeline: the tokenizer joins the two, the state of the first token is read, which in a causal "
        "model has seen no other one, and the epoch is the one that is best on the test rows, which "
        "flatters. F1 is that of label 1, of two labels only. Means over seeds; the intervals resample rows "
        "and seeds."
    )
    metrics = (
        Measure("accuracy", "Right labels", "share of rows", baseline=_MAJORITY, named=True),
        Measure("f1", "F1 of label 1", "0 to 1", baseline=_MAJORITY, named=True),
        Measure("mcc", "Matthews correlation", "-1 to 1", baseline=_MAJORITY, named=True),
    )

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Test rows, then training rows where another data set holds them."""
        return tuple(dict.fromkeys((self.dataset, self.train_dataset or self.dataset)))

    def check_split(self, name: str, datasets: Mapping[str, "BuilderConfig"]) -> None:
        """Refuse to train and test on one data set that has one part only.

        Raises:
            ConfigError: with the settings that mend it.
        """
        shares = [share for _, share in datasets[self.dataset].passes()]
        if len(self.dataset_names) > 1 or (any(shares) and min(shares) < 1):
            return
        lack = "all rows of {} are held out: none is left to train on"
        raise ConfigError(
            f"benchmark {name}: "
            + (lack if any(shares) else "no row of {} is held out to test on").format(self.dataset),
            expected="rows to train on and others to test on",
            fix=f"set datasets.{self.dataset}.eval_fraction=0.5, or name the data set to train on: "
            f"evaluate.benchmarks.{name}.train_dataset",
        )

    def check(self, name: str, tools: Tools) -> None:
        """Refuse training rows of another sort, too few of them, or only one label.

        Raises:
            DataError: with the counts, and what to change.
        """
        labels = [row["label"] for row in self._training_rows(name, tools.datasets)]
        held_out = round(self.held_out_fraction * len(labels)) if self.scoring == "honest" else 0
        if len(labels) - held_out < self.batch_size or (self.scoring == "honest" and not held_out):
            raise DataError(
                f"benchmark {name}: {len(labels)} training rows, {held_out} of them to choose the epoch",
                expected=f"a batch of {self.batch_size} rows to train on"
                + (", and one row to choose the epoch" if self.scoring == "honest" else ""),
                fix="use more rows, or set a smaller batch_size",
            )
        if len(set(labels)) < 2:
            raise DataError(
                f"benchmark {name}: all {len(labels)} training rows have the label {labels[0]}",
                expected="two labels at least",
                fix="use rows of all labels",
            )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Train with every seed that is not finished, then compare the predictions with the labels."""
        from tempering.evaluation.agreement import counted, estimate

        training = [*self._training_rows(findings.name, tools.datasets)]
        labels = [row["label"] for row in rows]
        kinds = max(*labels, *(row["label"] for row in training)) + 1
        if tools.out is not None and (shared := len(_texts(rows) & _texts(training))):
            tools.out.warn(f"benchmark {findings.name}: {shared} test rows are training rows too")
        outcomes = self._outcomes(rows, training, kinds, tools, findings.name)

        # What guessing gives: the most frequent training label.
        guess = [Counter(row["label"] for row in training).most_common(1)[0][0]] * len(rows)
        predictions = [outcome.predictions for outcome in outcomes.values()]
        right = [fmean(float(line[row] == label) for line in predictions) for row, label in enumerate(labels)]
        for measure in ("accuracy", "f1", "mcc") if kinds == 2 else ("accuracy", "mcc"):
            result = estimate(measure, labels, predictions, kinds)
            baseline = estimate(measure, labels, [guess], kinds, resamples=1).value
            if measure == "accuracy" and len(predictions) == 1:
                findings.add(measure, right, baseline)
                continue
            values = right if measure == "accuracy" else []
            findings.add_value(measure, result.value, (result.low, result.high), len(rows), baseline, values)

        # The epochs of every seed with its test scores, and what it predicts.
        for seed, outcome in outcomes.items():
            counts = counted(labels, outcome.predictions, kinds)
            findings.keep("finetuning", _epochs(seed, outcome, counts, kinds))
            findings.keep(
                "predictions",
                (
                    {"row": row, "seed": seed, "label": label, "prediction": prediction}
                    for row, (label, prediction) in enumerate(zip(labels, outcome.predictions, strict=True))
                ),
            )

    def _training_rows(self, name: str, datasets: Mapping[str, DatasetArtifact]) -> list[Row]:
        """All rows of the training data set, or those of `dataset` that are not its test rows."""
        from tempering.data.shards import count_rows, iter_rows

        dataset = datasets[self.train_dataset or self.dataset]
        apart = len(self.dataset_names) > 1
        parts = ("train", "eval") if apart else ("train",)
        rows = [row for part in parts for row in iter_rows(dataset.rows_path(part))]
        if not apart and not (rows and count_rows(dataset.rows_path("eval"))):
            raise DataError(
                f"benchmark {name}: {dataset.id} has only {'a train' if rows else 'an eval'} part",
                expected="rows to train on and others to test on",
                fix="name the rows to train on in train_dataset, or set eval_fraction of the data set",
            )
        return rows

    def _outcomes(
        self, rows: list[Row], training: list[Row], kinds: int, tools: Tools, name: str
    ) -> dict[int, "Outcome"]:
        """Seed -> what it gave; finished ones are read, the others trained and kept."""
        from tempering.evaluation.finetune import Outcome, Task, finetune, held_out
        from tempering.evaluation.pieces import finished_piece, keep_piece
        from tempering.models.loading import load_body

        assert tools.policy is not None
        assert tools.model is not None
        model, folder, code = tools.policy, tools.model.model_dir, tools.model.trusts_remote_code

        # Token ids once for all seeds; the rows that choose the epoch, as the convention says.
        train, test = self._encoded(training, tools, name), self._encoded(rows, tools, name)
        choosing = test
        if self.scoring == "honest":
            train, choosing = held_out(train, self.held_out_fraction)
        task = Task(train, choosing, test, kinds)

        # Seed by seed.
        seeds, outcomes = [*dict.fromkeys(self.seeds)], dict[int, Outcome]()
        steps = len(train.labels) // self.batch_size * self.num_epochs
        for number, seed in enumerate(seeds):
            key = f"{name}-{tools.model.checkpoint or 'finished'}-seed-{seed}"
            piece = finished_piece(tools.out, key)
            if piece and len(piece["predictions"]) == len(rows):
                outcomes[seed] = Outcome.of_piece(piece)
                continue

            def stepped(done: int, loss: float, before: int = number * steps) -> None:
                if tools.out is not None:
                    tools.out.progress(before + done, steps * len(seeds), unit="steps", loss=loss)

            outcomes[seed] = finetune(
                self,
                task,
                lambda: load_body(folder, trust_remote_code=code),
                model.model.device,
                model.tokenizer.pad_token_id,
                seed,
                stepped,
            )
            keep_piece(tools.out, key, outcomes[seed].piece(), outcomes[seed].tokens)
            if tools.out is not None:
                best = outcomes[seed].epochs[outcomes[seed].best - 1]
                tools.out.log(
                    f"{name}: seed {seed}: epoch {best.epoch} of {self.num_epochs} has the best "
                    f"{self.select_by}, {best.score:.3f}"
                )
        return outcomes

    def _encoded(self, rows: Sequence[Row], tools: Tools, name: str) -> "Part":
        """Token ids and labels; how many rows were cut is said."""
        from tempering.evaluation.classifier import as_running_text, as_the_tokenizer_does
        from tempering.evaluation.finetune import Part

        assert tools.policy is not None
        encode = as_the_tokenizer_does if self.scoring == "official" else as_running_text
        texts = [(row["text"], row["text_pair"]) for row in rows]
        longest = min(self.max_length, tools.policy.room)
        sequences, cut = encode(tools.policy.tokenizer, texts, longest)
        if cut and tools.out is not None:
            tools.out.warn(f"benchmark {name}: {cut} of {len(rows)} rows were cut to {longest} tokens")
        return Part(sequences, [row["label"] for row in rows])


def _texts(rows: Sequence[Row]) -> set[tuple[str, str]]:
    return {(row["text"], row["text_pair"]) for row in rows}


def _epochs(seed: int, outcome: "Outcome", counts: Any, kinds: int) -> list[Row]:
    """A row per epoch; the best one has the scores on the test rows."""
    from tempering.evaluation.agreement import MEASURES

    scores = {
        f"test_{name}": float(score(counts)) for name, score in MEASURES.items() if name != "f1" or kinds == 2
    }
    return [
        {
            "seed": seed,
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "score": epoch.score,
            "best": epoch.epoch == outcome.best,
            **{name: value if epoch.epoch == outcome.best else None for name, value in scores.items()},
        }
        for epoch in outcome.epochs
    ]
