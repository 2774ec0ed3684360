"""Whether a model's completions differ: from one another, and from what it was trained on.

Training on rewards makes outputs more alike (Kirk et al. 2024, https://arxiv.org/abs/2310.06452), and the
reward does not show it. Here the completions of different prompts are compared, one of each.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.errors import ConfigError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.benchmarks.completions import completed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempering.artifacts.kinds import DatasetArtifact
    from tempering.evaluation.findings import Findings

_ORDERS = (1, 2, 3)


class DiversityBenchmark(Benchmark):
    """Complete prompts; measure how much the completions repeat themselves, one another and training rows."""

    kind: Literal["diversity"]
    max_new_tokens: int = Field(48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: greedy")
    word_budget: int = Field(500, ge=10, description="words of a block in which distinct n-grams are counted")
    train_dataset: str | None = Field(
        None, description="data set whose train rows may have been memorised; null: not measured"
    )
    copied_words: int = Field(20, ge=3, description="so many words in a row as in a train row are memorised")

    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    convention = (
        "One completion per prompt, sampled with the stage's seed. `distinct_n`: different n-grams over all "
        "n-grams inside completions, in blocks of `word_budget` words, whose mean it is (n: the blocks). "
        "`self_bleu`: sacrebleu's sentence BLEU (13a, exponential smoothing, effective order) with all other "
        "completions as references; empty ones are left out. Repeated: equal to another completion. "
        "Memorised: `copied_words` words in a row, split at white space, that stand so in a train row; "
        "shorter completions are left out."
    )
    metrics = (
        *(Measure(f"distinct_{n}", f"Distinct {n}-grams", f"share of {n}-grams in a block") for n in _ORDERS),
        Measure("self_bleu", "Self-BLEU", "0 to 100 per completion", better="lower"),
        Measure("repeated_share", "Repeated completions", "share of completions", better="lower"),
        Measure("memorised_share", "Memorised", "share of completions", better="lower", named=True),
    )

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The prompts, and the rows that may have been memorised."""
        return (self.dataset, *([] if self.train_dataset is None else [self.train_dataset]))

    def takes(self, dataset: str) -> tuple[RowType, ...]:
        """Prompts to complete; what was trained on may be any text."""
        return self.row_types if dataset == self.dataset else tuple(RowType)

    def check_machine(self, name: str) -> None:
        """Refuse where sacrebleu is not installed."""
        if find_spec("sacrebleu") is None:
            raise ConfigError(
                f"benchmark {name} measures self-BLEU, and the package sacrebleu is not installed",
                expected="the package sacrebleu",
                fix="pip install 'tempering[diversity]', or take the benchmark out",
            )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Distinct n-grams, self-BLEU, repeated and memorised completions."""
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        from tempering.evaluation.paired import estimate, mean
        from tempering.evaluation.variety import copied, distinct, repeated, self_bleu

        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        table = completed(prompts, tools, self.max_new_tokens, self.temperature)
        texts = [row["completion"] for row in table]

        # N-grams, block by block.
        split = Tokenizer13a()
        words = [split(text).split() for text in texts]
        for order in _ORDERS:
            shares = distinct(words, order, self.word_budget)
            if shares:
                findings.add_value(f"distinct_{order}", *estimate(mean, shares), len(shares))
        written = sum(map(len, words))
        if written < self.word_budget and tools.out is not None:
            tools.out.warn(
                f"{findings.name}: distinct n-grams are left out: {written} words were written, and they are "
                f"counted in blocks of {self.word_budget} (word_budget)"
            )

        # The completions among one another, and in the training rows.
        columns: dict[str, list[float | None]] = {
            "self_bleu": self_bleu(texts),
            "repeated_share": [*repeated(texts)],
        }
        if self.train_dataset is not None:
            dataset = tools.datasets[self.train_dataset]
            columns["memorised_share"] = copied(texts, _train_texts(dataset), self.copied_words)
        for metric, values in columns.items():
            if any(value is not None for value in values):
                findings.add(metric, values)
            elif tools.out is not None:
                tools.out.warn(f"{findings.name}: {metric} is left out: no completion is long enough")
        findings.keep("diversity", ({**row, **_at(columns, place)} for place, row in enumerate(table)))


def _at(columns: dict[str, list[float | None]], place: int) -> Row:
    return {name: values[place] for name, values in columns.items()}


def _train_texts(dataset: "DatasetArtifact") -> "Iterator[str]":
    from tempering.data.rows import texts
    from tempering.data.shards import iter_rows

    row_type = RowType(dataset.row_type)
    for row in iter_rows(dataset.rows_path("train")):
        yield from texts(row_type, row)
