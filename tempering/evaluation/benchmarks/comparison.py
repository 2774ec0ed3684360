"""Completions beside a reference's of the same prompts, as a judge sees them: AlpacaEval on any prompts.

The reference is the baseline model, or what the rows hold (AlpacaEval's file has text-davinci-003's answers).
Equal completions tie unasked, except where scores are averaged, to which theirs belong. A pair that could not
be judged is left out of every number but `judged_share`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.errors import DataError
from tempering.evaluation.benchmarks.against import (
    LENGTH_MEASURES,
    Values,
    add_lengths,
    add_mean,
    add_outcomes,
    outcome_measures,
    partners,
)
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.benchmarks.completions import Messages, completed
from tempering.evaluation.judges import AnyJudge, Verdict

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class ComparisonBenchmark(Benchmark):
    """Complete prompts; a judge compares the completions with a reference's."""

    kind: Literal["comparison"]
    judge: AnyJudge = Field(description="who compares two completions of a prompt")
    reference: Literal["baseline", "rows"] = Field(
        "baseline", description="compared with evaluate.baseline's completions, or with those in the rows"
    )
    max_new_tokens: int = Field(256, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: greedy")

    version = 2
    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    convention = (
        "One completion per prompt, sampled with the stage's seed, and the reference's. The judge says which "
        "is better; a tie counts ½, and equal completions tie. Win rate at equal length: as for "
        "`completions`. Scores only where the judge's mean the same for every prompt. Pairs that could not "
        "be judged are left out and counted: `judged_share`."
    )
    metrics = (
        *outcome_measures(judged=False),
        Measure("score", "Judge's score", "the judge's own scale", named=True),
        Measure(
            "reference_score",
            "Judge's score of the reference",
            "the judge's own scale",
            relative=True,
            named=True,
        ),
        Measure(
            "score_gain",
            "Judge's score over the reference's",
            "the judge's own scale",
            baseline=0.0,
            even=True,
            relative=True,
            named=True,
        ),
        Measure("judged_share", "Judged", "share of pairs", relative=True, named=True),
        Measure(
            "first_place_share",
            "Judge for what stands first",
            "share of questions in both orders",
            better="lower",
            baseline=0.5,
            even=True,
            relative=True,
            named=True,
        ),
        *LENGTH_MEASURES,
    )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The judge's."""
        return self.judge.model_names

    @property
    def compared(self) -> bool:
        """With the baseline, unless the rows bring the reference."""
        return self.reference == "baseline"

    def check(self, name: str, tools: Tools) -> None:
        """Refuse rows without completions where these are the reference."""
        dataset = tools.datasets[self.dataset]
        if self.reference == "rows" and dataset.row_type != RowType.PROMPT_COMPLETION:
            raise DataError(
                f"benchmark {name}: `reference: rows`, and {dataset.id} holds {dataset.row_type} rows",
                expected=f"{RowType.PROMPT_COMPLETION} rows, whose completions are the reference",
                fix="name another data set, or `reference: baseline`",
            )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Outcomes, lengths, and what the judge says of itself."""
        # Ours and the reference's.
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        table = completed(prompts, tools, self.max_new_tokens, self.temperature)
        others = partners(table, tools.baseline) if self.compared else [_answer(row) for row in rows]
        pairs = [*zip(table, others, strict=True)]

        # What the judge says, where there is something to compare.
        verdicts, facts = self._verdicts(prompts, pairs, tools)
        if verdicts:
            points: Values = [
                verdicts[place].preference if place in verdicts else None for place in range(len(pairs))
            ]
            add_outcomes(findings, points, pairs)
            findings.add("judged_share", [float(item.preference is not None) for item in verdicts.values()])
            if self.judge.across_prompts:
                _scores(verdicts, len(pairs), findings)
            _facts(facts, findings)
        add_lengths(findings, pairs)
        findings.keep("completions", table)
        findings.keep(
            "verdicts",
            (
                {
                    "row": table[place]["row"],
                    "reference": (others[place] or {})["completion"],
                    **vars(verdict),
                }
                for place, verdict in verdicts.items()
            ),
        )

    def _verdicts(
        self, prompts: list[Messages], pairs: list[tuple[Row, Row | None]], tools: Tools
    ) -> tuple[dict[int, Verdict], Mapping[str, float]]:
        """Place of a pair -> its verdict, and what the judge says about itself."""
        both = {
            place: ((row["completion"], other["completion"]), (row["ended"], other.get("ended", True)))
            for place, (row, other) in enumerate(pairs)
            if other is not None
        }
        # Where scores are averaged, those of equal completions belong to the average.
        asked = [place for place, ((a, b), _) in both.items() if a != b or self.judge.across_prompts]
        verdicts = {place: Verdict(0.5, "the same completion") for place in both}
        if not asked:
            return verdicts, {}
        judge = self.judge.build(tools)
        texts, ended = ([both[place][part] for place in asked] for part in (0, 1))
        ours, theirs = ([pair[side] for pair in texts] for side in (0, 1))
        answers = judge.compare([prompts[place] for place in asked], ours, theirs, ended)
        return verdicts | dict(zip(asked, answers, strict=True)), judge.facts


def _answer(row: Row) -> Row:
    """The completion that a row brings, as a row of the table `completions`."""
    return {"completion": row["completion"][-1]["content"], "ended": True}


def _scores(verdicts: Mapping[int, Verdict], count: int, findings: "Findings") -> None:
    both = {
        place: (verdict.score_first, verdict.score_second)
        for place, verdict in verdicts.items()
        if verdict.score_first is not None and verdict.score_second is not None
    }
    columns = {
        "score": {place: ours for place, (ours, _) in both.items()},
        "reference_score": {place: theirs for place, (_, theirs) in both.items()},
        "score_gain": {place: ours - theirs for place, (ours, theirs) in both.items()},
    }
    for metric, column in columns.items():
        add_mean(findings, metric, [column.get(place) for place in range(count)])


def _facts(facts: Mapping[str, float], findings: "Findings") -> None:
    """How often the judge preferred what stood first, of the questions that it decided."""
    from tempering.evaluation.metrics import wilson

    share, asked = facts.get("first_place_share"), int(facts.get("first_place_questions", 0))
    if share is not None:
        findings.add_value("first_place_share", share, wilson(share * asked, asked), asked)
