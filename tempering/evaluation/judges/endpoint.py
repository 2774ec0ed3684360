"""A language model behind an endpoint as judge: it is asked for A or B, in both orders.

Where the two orders disagree, the pair is a tie (Zheng et al. 2023, section 3.4): the judge followed the
place and not the text. How often it chose the first place is reported, 0.5 being even-handed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.evaluation.judges.base import Ended, Judge, Messages, Verdict
from tempering.evaluation.judges.questions import AskingJudge, Question, parse_choice, template_file
from tempering.rewards.endpoint.config import EndpointConfig

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft
    from tempering.evaluation.benchmarks.base import Tools

_TURNED = {"A": "B", "B": "A", "tie": "tie"}
_PREFERENCES = {"A": 1.0, "B": 0.0, "tie": 0.5}
_NO_CHOICE = "no choice in the answer"


class EndpointJudge(AskingJudge):
    """A language model behind a server that is asked which of two completions is better, A or B."""

    kind: Literal["endpoint"]
    endpoint: EndpointConfig = Field(description="the server")
    max_tokens: int = Field(64, ge=1, le=MOST_LENGTH, description="longest answer of the judge, in tokens")

    def build(self, tools: "Tools") -> Judge:
        """The judge."""
        return WordJudge(self, tools.out)


class WordJudge:
    """Compares by what a server answers."""

    def __init__(self, config: EndpointJudge, out: "Draft | None" = None) -> None:
        self.config, self.out = config, out
        self.question = Question(template_file(config.template))
        self.facts: Mapping[str, float] = {}
        self.example = ""
        """What the server said that was no choice."""

    def compare(
        self,
        prompts: Sequence[Messages],
        first: Sequence[str],
        second: Sequence[str],
        ended: Ended | None = None,
    ) -> list[Verdict]:
        """By the choices in both orders; see `Judge`."""
        questions = self.question.both_orders(prompts, first, second)
        choices = self._choices(dict.fromkeys(questions))
        pairs = [(choices[questions[at]], choices[questions[at + 1]]) for at in range(0, len(questions), 2)]
        self.facts = _facts([choices[question] for question in questions], pairs)
        if self.out is not None and self.facts:
            self.out.log("judge: " + ", ".join(f"{name} {value:.3f}" for name, value in self.facts.items()))
        return self.config.accepted([_verdict(*pair) for pair in pairs], self.example)

    def _choices(self, questions: Iterable[str]) -> dict[str, str]:
        """Question -> A, B or tie; or why there is no choice."""
        from tempering.rewards.endpoint.client import Endpoint

        texts = list(questions)
        endpoint = Endpoint(
            self.config.endpoint,
            self.config.max_tokens,
            name="judge",
            out=self.out,
            usable=lambda text: parse_choice(text) is not None,
        )
        choices: dict[str, str] = {}
        with closing(endpoint):
            for place, answer in endpoint(texts):
                cut = answer.text is None or answer.status != "ok"
                choice = None if cut else parse_choice(answer.text or "")
                choices[texts[place]] = choice or (answer.status if cut else _NO_CHOICE)
                if choice is None:
                    self.example = self.example or answer.text or answer.reply
        return choices


def _verdict(straight: str, swapped: str) -> Verdict:
    failed = next((choice for choice in (straight, swapped) if choice not in _PREFERENCES), None)
    if failed is not None:
        return Verdict(None, failed, note=f"{straight}, swapped {swapped}")
    agreed = straight == _TURNED[swapped]
    return Verdict(_PREFERENCES[straight] if agreed else 0.5, "ok", note=f"{straight}, swapped {swapped}")


def _facts(choices: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    places = [choice for choice in choices if choice in ("A", "B")]
    both = [pair for pair in pairs if set(pair) <= _PREFERENCES.keys()]
    facts = {}
    if places:
        facts["first_place_share"] = places.count("A") / len(places)
        facts["first_place_questions"] = len(places)
    if both:
        facts["disagreement"] = sum(one != _TURNED[other] for one, other in both) / len(both)
    return facts
