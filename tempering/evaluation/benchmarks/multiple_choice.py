"""Questions with choices, answered by log-likelihood: the likeliest choice is the model's answer.

Two conventions stand side by side, as in lm-evaluation-harness (Gao et al., `process_results` in
https://github.com/EleutherAI/lm-evaluation-harness/blob/000488380f82/lm_eval/api/task.py): the total
log-probability of a choice (its `acc`), which favours short ones, and the total over the length of the choice
(its `acc_norm`; there characters, here bytes: the same for ASCII). White space between question and choice is
tokenised with the choice, as there. Unlike there, ties are shared (there the first choice wins), EOS or the
tokenizer's own BOS is the first context, and a question that is too long is cut alike for all its choices.
As there, a chat template is put around question and choice only where that is asked for.
"""

import math
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from tempering.config import added_field
from tempering.data.prompt_format import PromptFormat
from tempering.data.rows import RowType
from tempering.errors import DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel

Pair = tuple[list[int], list[int]]
_CHANCE = "mean of 1 / number of choices"
_QUESTION = "{question}"


class MultipleChoiceBenchmark(Benchmark):
    """Share of questions whose right choice is the likeliest, in total and per byte; scored in fp32."""

    kind: Literal["multiple_choice"]
    template: str = Field(_QUESTION, description="text before a choice; {question} stands for the question")

    prompt_format: PromptFormat | None = added_field(
        "plain", description="how question and choice are put; null: as the model was trained"
    )

    version = 2
    row_types = (RowType.MULTIPLE_CHOICE,)
    convention = (
        "Log-probability of a choice after its question, in fp32. By default both are running text, for "
        "chat models too, with EOS or the tokenizer's BOS as first context; in another `prompt_format` "
        "they are turns, and the EOS after the choice does not count. `accuracy`: the sum over tokens; "
        "`accuracy_per_byte`: that sum divided by the UTF-8 bytes of the choice. In a tie of k choices "
        "the right one counts 1/k."
    )
    metrics = (
        Measure("accuracy", "Right choices", "share of questions", baseline=_CHANCE),
        Measure("accuracy_per_byte", "Right choices, per byte", "share of questions", baseline=_CHANCE),
        Measure("tied_share", "Tied choices", "share of questions", better="lower"),
    )

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

        # Score every choice; equal ones of a question once, so that they tie exactly.
        contexts = [self.template.replace(_QUESTION, row["question"]) for row in rows]
        distinct = [list(dict.fromkeys(row["choices"])) for row in rows]
        pairs = [
            pair
            for context, choices in zip(contexts, distinct, strict=True)
            for pair in self._encoded(model, context, choices)
        ]
        totals = iter([sum(line) for line in model.logprobs(pairs)])
        scores = [{choice: next(totals) for choice in choices} for choices in distinct]

        # Compare the choices of each question.
        plain = [[score[text] for text in row["choices"]] for row, score in zip(rows, scores, strict=True)]
        per_byte = [
            [total / len(text.encode()) for text, total in zip(row["choices"], line, strict=True)]
            for row, line in zip(rows, plain, strict=True)
        ]
        chance = fmean(1 / len(row["choices"]) for row in rows) if rows else None
        for metric, lines in (("accuracy", plain), ("accuracy_per_byte", per_byte)):
            shares = [share(winners(line), row["answer"]) for line, row in zip(lines, rows, strict=True)]
            findings.add(metric, shares, chance)
        best = [winners(line) for line in plain]
        findings.add("tied_share", [float(len(places) > 1) if places else None for places in best])
        findings.keep("choices", _table(rows, plain))

    def _encoded(self, model: "LanguageModel", context: str, choices: list[str]) -> list[Pair]:
        """(context ids, choice ids) of each choice; a context that is too long loses its beginning.

        Raises:
            DataError: a choice for which the model has no room, or that has no token.
        """
        form = self.prompt_format or model.prompt_format
        pairs = _texts(model, context, choices) if form == "plain" else _turns(model, context, choices, form)

        # Cut the context for the longest choice, and so for all alike.
        lengths = [len(answer) for _, answer in pairs]
        for choice, length in zip(choices, lengths, strict=True):
            if not 0 < length < model.room:
                raise DataError(
                    f"the choice {choice[:60]!r} has {length} tokens",
                    expected=f"1 to {model.room - 1}: the model has {model.room} positions",
                    fix="correct or remove the row, or evaluate a model with more positions",
                )
        room = model.room - max(lengths)
        model.cut += any(len(prompt) > room for prompt, _ in pairs)
        return [(prompt[-room:], answer) for prompt, answer in pairs]


def winners(scores: list[float]) -> list[int]:
    """Places of the best score; none where a score is not a number, since nothing can be said then."""
    if any(math.isnan(score) for score in scores):
        return []
    return [place for place, score in enumerate(scores) if score == max(scores)]


def share(places: list[int], answer: int) -> float | None:
    """What a question counts: 1 for the right choice alone, 1/k among k winners, else 0; None without any."""
    if not places:
        return None
    return 1 / len(places) if answer in places else 0.0


def _table(rows: list[Row], totals: list[list[float]]) -> list[Row]:
    """One row per choice."""
    return [
        {
            "row": number,
            "choice": place,
            "text": choice,
            "right": place == row["answer"],
            "logprob": total,
            "bytes": len(choice.encode()),
        }
        for number, (row, line) in enumerate(zip(rows, totals, strict=True))
        for place, (choice, total) in enumerate(zip(row["choices"], line, strict=True))
    ]


def _texts(model: "LanguageModel", context: str, choices: list[str]) -> list[Pair]:
    """Context and choice tokenised together as running text, and cut where the context ends."""
    from tempering.data.token_ids import encode_texts

    context, gap = context.rstrip(), context[len(context.rstrip()) :]
    texts = [context, *(context + _gap(context, gap, choice) + choice for choice in choices)]
    before, *sequences = encode_texts(model.tokenizer, texts, literal=True)
    start, _ = model.document("")
    cuts = [min(len(before), len(ids) - 1) for ids in sequences]
    return [([*start, *ids[:cut]], ids[max(cut, 0) :]) for ids, cut in zip(sequences, cuts, strict=True)]


def _turns(model: "LanguageModel", context: str, choices: list[str], form: PromptFormat) -> list[Pair]:
    """The context as the user's turn, each choice as the answer; its EOS is left out."""
    asked = [{"role": "user", "content": context}]
    pairs = [model.pair(asked, [{"role": "assistant", "content": choice}], form) for choice in choices]
    return [(prompt, answer[:-1]) for prompt, answer in pairs]


def _gap(context: str, gap: str, choice: str) -> str:
    """The white space before a choice: the context's own, else a space unless the choice begins with some."""
    return gap or (" " if context and not choice[0].isspace() else "")
