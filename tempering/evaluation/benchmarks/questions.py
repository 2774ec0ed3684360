"""Questions on a context, answered in the model's own words (SQuAD, Rajpurkar et al. 2016)."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH, added_field
from tempering.data.answers import exact_match, f1, squad_exact_match, squad_f1
from tempering.data.prompt_format import PromptFormat
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools, column_values
from tempering.world import question_prompt

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel

_GUESS = "mean of the rows’ `baseline`, where they have one"
_END = re.compile(r"\.?\n\s*|\.\s+")
"""Of a line or of a sentence."""


class QuestionsBenchmark(Benchmark):
    """Greedy answers to questions on a context; exact match and F1 after SQuAD normalisation."""

    kind: Literal["questions"]
    max_new_tokens: int = Field(12, ge=1, le=MOST_LENGTH, description="longest answer, in tokens")
    max_length: int = Field(
        384, ge=8, le=MOST_LENGTH, description="longest prompt, in tokens; the context is cut on the left"
    )
    prompt_format: PromptFormat | None = added_field(
        None, description="how questions are put; null: as the model was trained"
    )

    by: str | None = added_field(
        None, description="column of the rows, such as type: the exact match on each of its values too"
    )

    version = 4
    row_types = (RowType.QUESTION,)
    convention = (
        "Prompt: `{context} Question: {question} Answer:` in the model's own prompt format; a model "
        "of documents reads it after EOS or the tokenizer's BOS. Answer: greedy, up to the end of its "
        "first line or sentence; where a gold answer holds such ends (St. Louis), up to as many more. "
        "Numbers are compared as numbers. The best of the gold answers counts. `squad_exact_match` and "
        "`squad_f1`: the first line of the answer, by SQuAD's own rules (evaluate-v1.1): lower case, without "
        "punctuation and articles. With `by`, `exact_match[VALUE]` is that of the questions with this value "
        "in the column."
    )
    metrics = (
        Measure("exact_match", "Exact match", "share of questions", baseline=_GUESS),
        Measure("f1", "F1", "0 to 1 per question, over words", baseline=_GUESS),
        Measure("squad_exact_match", "SQuAD exact match", "share of questions", baseline=_GUESS),
        Measure("squad_f1", "SQuAD F1", "0 to 1 per question, over words", baseline=_GUESS),
    )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Exact match and F1 of greedy answers; the guess baseline stands beside them."""
        from tempering.generation.sampling import Sampling

        assert tools.policy is not None
        model = tools.policy
        parts = column_values(rows, self.by) if self.by else None

        # Answer every question.
        prompts = [self._prompt(model, row) for row in rows]
        completions = model.complete(prompts, Sampling(self.max_new_tokens, temperature=0), tools.seed)

        # Compare with the gold answers.
        guess = [row.get("baseline") for row in rows]
        for metric, score in (("exact_match", exact_match), ("f1", f1)):
            values = [
                best(score, text, row["answers"]) for (text, _), row in zip(completions, rows, strict=True)
            ]
            findings.add(metric, values, guess, parts=parts if metric == "exact_match" else None)

        # By SQuAD's own rules, which know no ends of answers: the first line.
        lines = [text.strip().partition("\n")[0] for text, _ in completions]
        for metric, score in (("squad_exact_match", squad_exact_match), ("squad_f1", squad_f1)):
            values = [score(line, row["answers"]) for line, row in zip(lines, rows, strict=True)]
            findings.add(metric, values, guess)

    def _prompt(self, model: "LanguageModel", row: Row) -> list[int]:
        """The ids of a question; a context that is too long loses its beginning, and a template nothing."""
        room = model.room - self.max_new_tokens
        context = model.document(row["context"])[1]
        text, cut = row["context"], 0
        while True:
            question = {"role": "user", "content": question_prompt(text, row["question"])}
            ids = model.prompt([question], self.prompt_format)
            excess = len(ids) - min(self.max_length, room)
            if cut == 0:
                model.cut += excess > 0
            if excess <= 0 or cut >= len(context):
                return ids
            cut += excess
            text = model.tokenizer.decode(context[cut:]).lstrip("\ufffd")


def best(score: Callable[[str, list[str]], float], answer: str, gold: list[str]) -> float:
    """The score against the best gold answer, of which each says how far the answer goes."""
    return max((score(shortened(answer, text), [text]) for text in gold), default=0.0)


def shortened(answer: str, gold: str) -> str:
    """An answer up to the end of its first line or sentence; up to as many more as the gold answer holds."""
    answer, inner = answer.strip(), len(_END.findall(gold.strip()))
    ends = [match.start() for match in _END.finditer(answer)]
    return answer[: ends[inner]] if inner < len(ends) else answer
