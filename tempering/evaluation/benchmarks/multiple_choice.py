"""Questions with choices, answered by log-likelihood: the likeliest choice is the model's answer.

Two conventions stand side by side, as in lm-evaluation-harness (Gao et al., `process_results` in
https://github.com/EleutherAI/lm-evaluation-harness/blob/000488380f82/lm_eval/api/task.py): the total
log-probability of a choice (its `acc`), which favours short ones, and the total over the length of the choice
(its `acc_norm`; there characters, here bytes: the same for ASCII). White space between question and choice is
tokenised with the choice, as there. Unlike there, ties are shared (there the first choice wins), EOS or the
tokenizer's own BOS is the first context, and a question that is too long is cut alike for all its choices;
other `scoring`s are in `conventions`. As there, a chat template is put around question and choice only where
that is asked for. Candidates (EWoK, COMPS) are choices with a context each.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from tempering.config import added_field
from tempering.data.prompt_format import PromptFormat
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.conventions import Candidate, Pair, Scoring, joined, points, sums, totals, winners
from tempering.evaluation.paradigms import add_accuracy, paradigms_of
from tempering.evaluation.predictions import keep_predictions

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel

_CHANCE = "mean of 1 / number of choices"
_QUESTION = "{question}"


class MultipleChoiceBenchmark(Benchmark):
    """Share of questions whose right choice is the likeliest, in total and per byte; scored in fp32."""

    kind: Literal["multiple_choice"]
    template: str = Field(_QUESTION, description="text before a choice; {question} stands for the question")

    prompt_format: PromptFormat | None = added_field(
        "plain", description="how question and choice are put; null: as the model was trained"
    )
    scoring: Scoring = added_field(
        "honest", description="tokens and ties: honest, official (BabyLM), bos or lmeval"
    )

    version = 4
    row_types = (RowType.MULTIPLE_CHOICE, RowType.CANDIDATES)
    predicts = True
    convention = (
        "Log-probability of a choice after its question, in fp32. By default both are running text, for "
        "chat models too, with EOS or the tokenizer's BOS as first context; in another `prompt_format` "
        "they are turns, and the EOS after the choice does not count. `accuracy`: the sum over tokens; "
        "`accuracy_per_byte`: that sum divided by the UTF-8 bytes of the choice. In a tie of k choices "
        "the right one counts 1/k. Another `scoring` than `honest`: see below. Where the rows have "
        "paradigms, `accuracy[PARADIGM]` is that of each and `macro_accuracy` their mean; of entity "
        "tracking the mean of its splits' means."
    )
    metrics = (
        Measure("accuracy", "Right choices", "share of questions", baseline=_CHANCE),
        Measure("macro_accuracy", "Right choices, mean of paradigms", "share of questions", baseline=_CHANCE),
        Measure("accuracy_per_byte", "Right choices, per byte", "share of questions", baseline=_CHANCE),
        Measure("tied_share", "Tied choices", "share of questions", better="lower"),
    )

    @model_validator(mode="after")
    def _text_has_conventions(self) -> Self:
        if self.scoring != "honest" and self.prompt_format != "plain":
            raise ValueError(
                f"scoring: {self.scoring} is of running text, and prompt_format is {self.prompt_format}; "
                "fix: leave one of them out"
            )
        return self

    @field_validator("template")
    @classmethod
    def _asks(cls, template: str) -> str:
        if _QUESTION not in template:
            raise ValueError(f"a template without {_QUESTION} asks the same of every row; fix: put it in")
        return template

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Accuracy by both conventions and ties; the log-probability of each choice in `choices.parquet`."""
        assert tools.policy is not None
        model = tools.policy

        # Score every choice after its context.
        candidates = [self._candidates(row) for row in rows]
        form = self.prompt_format or model.prompt_format
        if form == "plain":
            plain = totals(model, candidates, self.scoring, tools)
        else:
            turns = [[_turn(model, candidate, form) for candidate in row] for row in candidates]
            plain = sums(model, turns, tools)

        # Compare the choices of each question.
        per_byte = [
            [total / len(text.encode()) for total, (_, text) in zip(line, row, strict=True)]
            for line, row in zip(plain, candidates, strict=True)
        ]
        chance = [1 / len(row) for row in candidates]
        right, right_per_byte = (
            [points(line, row["answer"], self.scoring) for line, row in zip(lines, rows, strict=True)]
            for lines in (plain, per_byte)
        )
        add_accuracy(findings, right, paradigms_of(rows), chance)
        findings.add("accuracy_per_byte", right_per_byte, chance)
        best = [winners(line) for line in plain]
        findings.add("tied_share", [float(len(places) > 1) if places else None for places in best])
        findings.keep("choices", _table(rows, candidates, plain))
        keep_predictions(findings, rows, plain, [_texts(row) for row in candidates])

    def _candidates(self, row: Row) -> list[Candidate]:
        """The choices of a row, each behind its context."""
        if "contexts" in row:
            return list(zip(row["contexts"], row["completions"], strict=True))
        context = self.template.replace(_QUESTION, row["question"])
        return [(context, choice) for choice in row["choices"]]


def _table(rows: list[Row], candidates: list[list[Candidate]], totals: list[list[float]]) -> list[Row]:
    """One row per choice."""
    return [
        {
            "row": number,
            "choice": place,
            "text": text,
            "right": place == row["answer"],
            "logprob": total,
            "bytes": len(text.encode()),
        }
        for number, (row, line, sides) in enumerate(zip(rows, totals, candidates, strict=True))
        for place, ((_, text), total) in enumerate(zip(sides, line, strict=True))
    ]


def _texts(candidates: list[Candidate]) -> list[str]:
    """What tells the candidates apart: their completions, or where these are equal all of the text."""
    completions = [text for _, text in candidates]
    return completions if len({*completions}) > 1 else [joined(*candidate) for candidate in candidates]


def _turn(model: "LanguageModel", candidate: Candidate, form: PromptFormat) -> Pair:
    """The context as the user's turn, the choice as the answer; its EOS is left out."""
    context, choice = candidate
    prompt, answer = model.pair(
        [{"role": "user", "content": context}], [{"role": "assistant", "content": choice}], form
    )
    return prompt, answer[:-1]
