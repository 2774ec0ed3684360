"""NVIDIA's Nemotron reward models as judges, behind an endpoint or in this process.

They rate the last message of a conversation, which is the assistant's. A server writes the ratings as its
answer (`helpfulness:1.25,correctness:0.5` or `reward:-25.6`), or as pairs of a token and a "log-probability"
(https://docs.nvidia.com/nim/large-language-models/latest/reward-model.html). As a causal LM the rating is the
logit of token 0 after the conversation (the card of nvidia/Llama-3.1-Nemotron-70B-Reward-HF). The card says,
too, that ratings of answers to different prompts cannot be compared: only pairs of one prompt are.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tempering.evaluation.judges.base import (
    Answer,
    Ended,
    Judge,
    JudgeConfig,
    Messages,
    Verdict,
    answers_of,
    device_of,
    model_of,
    verdict_of_scores,
)
from tempering.rewards.endpoint.config import EndpointConfig

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft
    from tempering.evaluation.benchmarks.base import Tools
    from tempering.generation.language_model import LanguageModel

_PAIR = re.compile(r"\s*([A-Za-z][A-Za-z_ -]*?)\s*:\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*")
_PREFERRED = ("reward", "helpfulness")
_LOCAL = "reward"


@dataclass(frozen=True)
class Rating:
    """A number and what it is about; None: there is none, and `status` says why."""

    score: float | None
    status: str = "ok"
    attribute: str = ""


class NemotronJudge(JudgeConfig):
    """A Nemotron reward model: the answer with the higher rating wins."""

    kind: Literal["nemotron"]
    endpoint: EndpointConfig | None = Field(None, description="a server; or set model")
    model: str | None = Field(
        None, description="stage, artifact, folder or Hub name of the causal LM; or set endpoint"
    )
    attribute: str | None = Field(
        None, description="rating that counts, of several; null: reward, or helpfulness where there is none"
    )

    @model_validator(mode="after")
    def _one_model(self) -> "NemotronJudge":
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("a nemotron judge is an endpoint or a model: set one of the two")
        if self.model is not None and self.attribute not in (None, _LOCAL):
            raise ValueError("a local nemotron judge has one rating, reward: remove attribute")
        if self.endpoint is not None and self.endpoint.temperature:
            raise ValueError("a reward model draws nothing: remove endpoint.temperature")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """Its causal LM, where it is local."""
        return () if self.model is None else (self.model,)

    def build(self, tools: "Tools") -> Judge:
        """The judge."""
        if self.endpoint is not None:
            return RatingJudge(self, ServedRatings(self.endpoint, self.attribute, tools.out))
        from tempering.rewards.speaker import open_speaker

        assert self.model is not None, "the validator saw to it"
        return RatingJudge(self, LocalRatings(open_speaker(model_of(tools, self.model), device_of(tools))))


class RatingJudge:
    """Compares ratings; equal answers have equal ones and are rated once."""

    facts: Mapping[str, float] = {}

    def __init__(self, config: NemotronJudge, rate: "ServedRatings | LocalRatings") -> None:
        self.config, self.rate = config, rate

    def compare(
        self,
        prompts: Sequence[Messages],
        first: Sequence[str],
        second: Sequence[str],
        ended: Ended | None = None,
    ) -> list[Verdict]:
        """By the ratings of both answers to a prompt; see `Judge`."""
        answers, pairs = answers_of(prompts, first, second)
        ratings = dict(self.rate(answers))
        verdicts = [_verdict(ratings[one], ratings[other]) for one, other in pairs]
        return self.config.accepted(verdicts, self.rate.example)


class ServedRatings:
    """Callable: (prompt, answer) pairs -> (place, rating), from a server."""

    def __init__(self, config: EndpointConfig, attribute: str | None, out: "Draft | None") -> None:
        self.config, self.attribute, self.out = config, attribute, out
        self.example = ""
        """What the server said that was no rating."""

    def __call__(self, answers: Sequence[Answer]) -> Iterator[tuple[int, Rating]]:
        from tempering.rewards.endpoint.client import Endpoint

        conversations = [_conversation(answer.prompt, answer.text) for answer in answers]
        endpoint = Endpoint(
            self.config,
            None,
            name="judge",
            out=self.out,
            usable=lambda text: self._rating(text).score is not None,
            read=rating_text,
        )
        with closing(endpoint):
            for place, answer in endpoint(conversations):
                failed = answer.text is None
                rating = Rating(None, answer.status) if failed else self._rating(answer.text or "")
                if rating.score is None:
                    self.example = self.example or answer.text or answer.reply
                yield place, rating

    def _rating(self, text: str) -> Rating:
        ratings = parse_ratings(text)
        names = _PREFERRED if self.attribute is None else (self.attribute,)
        name = next((name for name in names if name in ratings), None)
        if name is None:
            return Rating(None, "no rating in the answer")
        return Rating(ratings[name], attribute=name)


class LocalRatings:
    """Callable: (prompt, answer) pairs -> (place, rating), the logit of token 0 after the conversation."""

    def __init__(self, speaker: "LanguageModel") -> None:
        self.speaker, self.example = speaker, ""

    def __call__(self, answers: Sequence[Answer]) -> Iterator[tuple[int, Rating]]:
        from tempering.data.prompt_format import Unfit
        from tempering.evaluation.judges.next_token import next_logits

        rows: dict[int, list[int]] = {}
        for place, answer in enumerate(answers):
            try:
                rows[place] = self._ids(answer.prompt, answer.text)
            except Unfit:
                yield place, Rating(None, "cannot be rendered")
        for place in [place for place, row in rows.items() if len(row) > self.speaker.room]:
            del rows[place]  # without its beginning it is another conversation
            yield place, Rating(None, "too long")
        places = list(rows)
        for number, logits in next_logits(self.speaker, list(rows.values())):
            yield places[number], Rating(float(logits[0]), attribute=_LOCAL)

    def _ids(self, prompt: Messages, text: str) -> list[int]:
        """The whole conversation as its template writes it, with what may stand after its last EOS."""
        from tempering.data.prompt_format import render_answers
        from tempering.data.prompt_tokens import leading_for, tokenise

        tokenizer, form = self.speaker.tokenizer, self.speaker.prompt_format
        rendered: Any = render_answers(tokenizer, _conversation(prompt, text), form, len(prompt))
        (parts,) = tokenise(tokenizer, [rendered])
        return [*leading_for(tokenizer, form), *(token for part in parts for token in part)]


def _conversation(prompt: Messages, answer: str) -> Messages:
    return [*prompt, {"role": "assistant", "content": answer}]


def _verdict(first: Rating, second: Rating) -> Verdict:
    failed = next((rating for rating in (first, second) if rating.score is None), None)
    if failed is not None:
        return Verdict(None, failed.status, first.score, second.score)
    if first.attribute != second.attribute:
        return Verdict(None, "ratings of different attributes")
    assert first.score is not None
    assert second.score is not None
    return verdict_of_scores(first.score, second.score, first.attribute)


def rating_text(choice: Mapping[str, Any]) -> Any:
    """The ratings in a reply, as `name:number,...`, whichever of the two forms it has."""
    content = choice["message"].get("content")
    if isinstance(content, str) and parse_ratings(content):
        return content
    pairs = (choice.get("logprobs") or {}).get("content") or []
    text = ",".join(f"{pair['token']}:{float(pair['logprob'])!r}" for pair in pairs)
    return text if parse_ratings(text) else content


def parse_ratings(text: str) -> dict[str, float]:
    """`helpfulness:1.25,correctness:0.5` as numbers by name; nothing where the text is not that alone."""
    pairs = [_PAIR.fullmatch(part) for part in text.strip().split(",")]
    if not all(pairs):
        return {}
    ratings = {pair[1].lower(): float(pair[2]) for pair in pairs if pair}
    return ratings if all(map(math.isfinite, ratings.values())) else {}
