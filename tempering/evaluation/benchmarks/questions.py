"""Questions on a context, answered in the model's own words (SQuAD, Rajpurkar et al. 2016)."""

from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.answers import exact_match, f1
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

_GUESS = "mean of the rows’ `baseline`, where they have one"


class QuestionsBenchmark(Benchmark):
    """Greedy answers to questions on a context; exact match and F1 after SQuAD normalisation."""

    kind: Literal["questions"]
    max_new_tokens: int = Field(12, ge=1, le=MOST_LENGTH, description="longest answer, in tokens")
    max_length: int = Field(
        384, ge=8, le=MOST_LENGTH, description="longest prompt, in tokens; the context is cut on the left"
    )

    row_types = (RowType.QUESTION,)
    convention = (
        "Prompt: `{context} Question: {question} Answer:` after EOS, no chat template. Answer: greedy, "
        "up to the end of its first line or sentence; the best of the gold answers counts."
    )
    metrics = (
        Measure("exact_match", "Exact match", "share of questions", baseline=_GUESS),
        Measure("f1", "F1", "0 to 1 per question, over words", baseline=_GUESS),
    )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Exact match and F1 of greedy answers; the guess baseline stands beside them."""
        from tempering.generation.sampling import Sampling

        assert tools.policy is not None
        model = tools.policy

        # Answer every question.
        texts = [f"{row['context']} Question: {row['question']} Answer:" for row in rows]
        prompts = [
            [model.tokenizer.eos_token_id, *model.tokenizer(text)["input_ids"][-self.max_length :]]
            for text in texts
        ]
        completions = model.complete(prompts, Sampling(self.max_new_tokens, temperature=0), tools.seed)
        answers = [text.strip().split("\n")[0].split(". ")[0] for text, _ in completions]

        # Compare with the gold answers.
        guesses = [row["baseline"] for row in rows if row.get("baseline") is not None]
        guess = fmean(guesses) if guesses else None
        for metric, score in (("exact_match", exact_match), ("f1", f1)):
            values = [score(answer, row["answers"]) for answer, row in zip(answers, rows, strict=True)]
            findings.add(metric, values, guess)
