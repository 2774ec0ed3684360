"""A local causal LM as judge: is the next token A or B?

Nothing is written: the log-probabilities of the two letters are read, with the completions in both orders,
and added up for each completion. What the model gives to the first place, whatever stands there, so cancels
exactly, and a pair is never lost to an answer that says something else.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tempering.errors import DataError
from tempering.evaluation.judges.base import (
    Ended,
    Judge,
    Messages,
    Verdict,
    device_of,
    model_of,
    verdict_of_scores,
)
from tempering.evaluation.judges.questions import AskingJudge, Question, template_file

if TYPE_CHECKING:
    from torch import Tensor

    from tempering.evaluation.benchmarks.base import Tools
    from tempering.generation.language_model import LanguageModel

_LETTERS = ("A", "B")


class CausalJudge(AskingJudge):
    """A causal LM that is asked which of two completions is better, A or B."""

    kind: Literal["causal"]
    model: str = Field(description="stage, artifact, folder or Hub name of the judge")

    @property
    def model_names(self) -> tuple[str, ...]:
        """Its language model."""
        return (self.model,)

    def build(self, tools: "Tools") -> Judge:
        """The judge."""
        from tempering.rewards.speaker import open_speaker

        return LetterJudge(self, open_speaker(model_of(tools, self.model), device_of(tools)))


class LetterJudge:
    """Compares the log-probabilities of A and B.

    Raises:
        DataError: the tokenizer has no token for one of the letters.
    """

    def __init__(self, config: CausalJudge, speaker: "LanguageModel") -> None:
        self.config, self.speaker = config, speaker
        self.question = Question(template_file(config.template))
        self.letters = [letter_ids(speaker.tokenizer, letter) for letter in _LETTERS]
        self.facts: Mapping[str, float] = {}

    def compare(
        self,
        prompts: Sequence[Messages],
        first: Sequence[str],
        second: Sequence[str],
        ended: Ended | None = None,
    ) -> list[Verdict]:
        """By the letters in both orders; see `Judge`."""
        from tempering.evaluation.judges.next_token import next_logits

        # Two questions a pair; one that would lose its beginning is another question.
        questions = self.question.both_orders(prompts, first, second)
        rows = [self.speaker.prompt([{"role": "user", "content": question}]) for question in questions]
        fitting = [place for place, row in enumerate(rows) if len(row) < self.speaker.room]
        answers: list[tuple[float, float] | None] = [None] * len(rows)
        for place, logits in next_logits(self.speaker, [rows[place] for place in fitting]):
            answers[fitting[place]] = self._logprobs(logits)
        # The first completion stands for A in the first question and for B in the second.
        verdicts = [_verdict(*answers[at : at + 2]) for at in range(0, len(answers), 2)]
        leads = [answer[0] > answer[1] for answer in answers if answer is not None]
        if leads:
            self.facts = {
                "first_place_share": sum(leads) / len(leads),
                "first_place_questions": len(leads),
            }
        return self.config.accepted(verdicts)

    def _logprobs(self, logits: "Tensor") -> tuple[float, float]:
        logs = logits.log_softmax(-1)
        one, other = (float(logs[ids].logsumexp(-1)) for ids in self.letters)
        return one, other


def _verdict(straight: tuple[float, float] | None, swapped: tuple[float, float] | None) -> Verdict:
    if straight is None or swapped is None:
        return Verdict(None, "question too long")
    note = f"A-B {straight[0] - straight[1]:+.3f}, swapped {swapped[0] - swapped[1]:+.3f}"
    return verdict_of_scores((straight[0] + swapped[1]) / 2, (straight[1] + swapped[0]) / 2, note)


def letter_ids(tokenizer: Any, letter: str) -> list[int]:
    """The tokens that are a letter, with a space before it or without.

    Raises:
        DataError: there is none.
    """
    from tempering.data.token_ids import literal_ids

    spellings = [literal_ids(tokenizer, text) for text in (letter, f" {letter}")]
    ids = sorted({spelling[0] for spelling in spellings if len(spelling) == 1} - {tokenizer.unk_token_id})
    if not ids:
        raise DataError(
            f"the judge's tokenizer has no token for the letter {letter}",
            expected="a model that can answer with A or B",
            fix="use another model as the judge",
        )
    return ids
