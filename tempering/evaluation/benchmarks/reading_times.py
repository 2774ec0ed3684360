"""How much of people's reading times a model's surprisal explains, as in the reading task of BabyLM 2025.

Linear regressions (OLS) of each reading time on a word's frequency, length and place, without and with the
word's surprisal: the share of what the first leaves unexplained that the second explains. Self-paced reading
also has the length and surprisal of the word before (spill-over). Data: de Varda et al. 2023
(https://doi.org/10.3758/s13428-023-02261-8); code that this is held equal to: `evaluation_pipeline.reading`
in https://github.com/babylm/evaluation-pipeline-2025.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from tempering.config import added_field
from tempering.data.rows import READING_TIMES, RowType
from tempering.data.token_ids import as_tokenizer_has_it
from tempering.errors import ConfigError, DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.conventions import Pair, encoded, fitted

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel

*EYE_TRACKING, SELF_PACED = READING_TIMES
ALONE = ("frequency", "length", "context_length")
WITH_THE_WORD_BEFORE = (*ALONE, "previous_length", "previous_surprisal")
_TAKEN_FOR_MISSING = ("", "None", "NA", "N/A", "NULL", "NaN", "nan", "null", "n/a")
"""Texts that pandas reads as nothing, and so the official tool does."""


class ReadingTimesBenchmark(Benchmark):
    """Share of the unexplained variance of reading times that the model's surprisal explains."""

    kind: Literal["reading_times"]
    scoring: Literal["honest", "official"] = added_field(
        "honest", description="how surprisal is computed: honest, or official (BabyLM)"
    )

    row_types = (RowType.READING_TIMES,)
    predicts = True
    convention = (
        "(R² with surprisal − R² without) / (1 − R² without) of linear regressions on frequency, length and "
        "number of words before, with their products; self-paced reading also on length and surprisal of the "
        "word before. The official tool prints it times 100. `eye_tracking`: mean over first fixation, first "
        "pass, go-past and right-bounded time. `honest`: the surprisal of a word and of the space before it, "
        "after its sentence so far; `official`: of the word without that space, and of each further token "
        "after the text so far, tokenised anew."
    )
    metrics = (
        Measure("eye_tracking", "Eye tracking explained", "share of unexplained variance"),
        Measure("self_paced", "Self-paced reading explained", "share of unexplained variance"),
    )

    def check_machine(self, name: str) -> None:
        """Refuse where statsmodels is not installed."""
        if find_spec("statsmodels") is None:
            raise ConfigError(
                f"benchmark {name} (reading_times) needs the package statsmodels, and it is missing",
                expected="the regressions of the official reading task",
                fix="pip install 'tempering[babylm]', or take the benchmark out",
            )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Surprisal of every word and of the one before, then the regressions."""
        import numpy as np

        assert tools.policy is not None

        # Surprisals, which are the predictions too.
        own = self._surprisals(tools.policy, [(row["context"], row["word"]) for row in rows])
        words_before = [(row["previous_context"], row["previous_word"]) for row in rows]
        before = self._surprisals(tools.policy, words_before, may_be_missing=True)
        pairs = [
            {"surprisal": mine, "previous_surprisal": other} for mine, other in zip(own, before, strict=True)
        ]
        named = ({"subtask": "reading", "id": str(number), **pair} for number, pair in enumerate(pairs))
        findings.keep("predictions", named)

        # What they explain: each time with its own rows, those where nothing is missing.
        table = [{**row, **pair} for row, pair in zip(rows, pairs, strict=True)]
        designs = [
            design(table, time, WITH_THE_WORD_BEFORE if time == SELF_PACED else ALONE)
            for time in READING_TIMES
        ]
        counts = [int(np.isfinite(matrix).all(axis=1).sum()) for matrix in designs]
        few = min(counts) - max(matrix.shape[1] for matrix in designs)
        if few < 0:
            raise DataError(
                f"the benchmark {findings.name} has {min(counts)} words with all that a regression reads",
                expected="more words than the regression has terms",
                fix="use the whole table",
            )

        def statistic(places: Any) -> list[float]:
            *eyes, paced = (explained(matrix[places]) for matrix in designs)
            return [fmean(eyes), paced, *eyes]

        names = ["eye_tracking", "self_paced", *(f"eye_tracking[{time}]" for time in EYE_TRACKING)]
        findings.add_statistics(names, statistic, len(rows), [min(counts[:-1]), counts[-1], *counts[:-1]])

    def _surprisals(
        self, model: "LanguageModel", words: Sequence[tuple[str, str]], *, may_be_missing: bool = False
    ) -> list[float | None]:
        """Of each word after its context, in nats; None where there is no word, or the model has no room."""
        official = self.scoring == "official"
        lines: list[list[Pair] | None] = []
        for context, word in words:
            if not word or (official and may_be_missing and context in _TAKEN_FOR_MISSING):
                lines.append(None)
                continue
            steps = _steps(model, context, word) if official else encoded(model, [(context, word)], "honest")
            fitting = [fitted(model, [step]) for step in steps]
            whole = [pair for line in fitting if line for pair in line]
            lines.append(whole if len(whole) == len(steps) else None)
        scores = iter(model.logprobs([pair for line in lines if line for pair in line]))
        return [-sum(sum(next(scores)) for _ in line) if line else None for line in lines]


def _steps(model: "LanguageModel", context: str, word: str) -> list[Pair]:
    """As the official tool: each token of a word after the text so far, which is tokenised anew."""
    tokenizer, text, pairs = model.tokenizer, context or "None", list[Pair]()
    ((tokens, _),) = as_tokenizer_has_it(tokenizer, [word], specials=False)
    for place, token in enumerate(tokens):
        piece = tokenizer.decode(token)
        ((read, _), (again, _)) = (
            as_tokenizer_has_it(tokenizer, [string], specials=own)[0]
            for string, own in ((text, True), (piece, False))
        )
        pairs.append((read, [again[0] if place else token]))
        text += piece
    return pairs


def design(table: Sequence[Row], time: str, predictors: Sequence[str]) -> Any:
    """A matrix of the time, a constant, the predictors, their products and the surprisal; NaN: missing."""
    import numpy as np

    columns = {
        name: np.array([math.nan if row[name] is None else row[name] for row in table], dtype=float)
        for name in (time, *predictors, "surprisal")
    }
    products = [columns[one] * columns[other] for one, other in combinations(predictors, 2)]
    constant = np.ones(len(table))
    inner = [constant, *(columns[name] for name in predictors), *products]
    return np.column_stack([columns[time], *inner, columns["surprisal"]])


def explained(matrix: Any) -> float:
    """The share of what a regression leaves unexplained that its last column explains.

    Args:
        matrix: the explained column first; rows with something missing are left out.
    """
    import numpy as np
    from statsmodels.api import OLS

    rows = matrix[np.isfinite(matrix).all(axis=1)]
    fit = OLS(rows[:, 0], rows[:, 1:]).fit()
    # The partial R² of one regressor: as (R² with it - R² without) / (1 - R² without), from one fit.
    squared = float(fit.tvalues[-1]) ** 2
    return squared / (squared + float(fit.df_resid))
