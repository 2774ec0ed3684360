"""What all judges share: they compare two completions of one prompt.

A judge is a config class that builds the judge, as rewards and benchmarks are. A judge that could not answer
says None with a status, never a tie and never 0; where that happens too often the stage fails, since what is
left would no longer be a fair sample of the prompts.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from tempering.config import Config
from tempering.errors import ConfigError, UserError
from tempering.printable import shown_name

if TYPE_CHECKING:
    from tempering.artifacts.kinds import ModelArtifact
    from tempering.evaluation.benchmarks.base import Tools

Messages = list[dict[str, str]]
Ended = Sequence[tuple[bool, bool]]
"""Of each pair, whether the first and the second completion ended by themselves or were cut short."""


@dataclass(frozen=True)
class Verdict:
    """How two completions of a prompt compare.

    Attributes:
        preference: 1 the first is better, 0 the second is, 0.5 a tie; None: it could not be judged.
        status: `ok`, or why it could not be judged.
        score_first, score_second: the judge's own numbers, where it has some.
        note: for the table, such as what it said in each order.
    """

    preference: float | None
    status: str
    score_first: float | None = None
    score_second: float | None = None
    note: str = ""


class Judge(Protocol):
    """Compares completions, pair by pair."""

    @property
    def facts(self) -> Mapping[str, float]:
        """What it says about itself after `compare`, such as how often it preferred what stood first."""
        ...

    def compare(
        self,
        prompts: Sequence[Messages],
        first: Sequence[str],
        second: Sequence[str],
        ended: Ended | None = None,
    ) -> list[Verdict]:
        """One verdict for each prompt, in order.

        Args:
            ended: for a judge whose model sees EOS; all did by default.

        Raises:
            UserError: too many pairs could not be judged, or the judge is not there at all.
        """
        ...


class JudgeConfig(Config):
    """Settings that all judges have. Planning reads them, so whatever is heavy is imported inside `build`."""

    kind: str
    max_unjudged: float = Field(
        0.1, ge=0, le=1, description="share of pairs that it may fail to judge; above it the stage fails"
    )

    across_prompts: ClassVar[bool] = False
    """Whether its scores mean the same for every prompt, so that a mean over prompts says something."""

    @abstractmethod
    def build(self, tools: "Tools") -> Judge:
        """The judge, with the models that the stage has for it."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that it names (stage, artifact, folder or Hub name), each an input of the stage."""
        return ()

    def accepted(self, verdicts: list[Verdict], example: str = "") -> list[Verdict]:
        """The verdicts, where enough of the pairs could be judged.

        Args:
            example: what a server said that was no verdict, for the message.

        Raises:
            UserError: more than `max_unjudged` of them could not.
        """
        statuses = Counter(verdict.status for verdict in verdicts if verdict.preference is None)
        failed = statuses.total()
        if failed > self.max_unjudged * len(verdicts):
            reasons = ", ".join(f"{count} x {status}" for status, count in statuses.most_common(5))
            endpoint = getattr(self, "endpoint", None)
            place = self.kind if endpoint is None else f"{self.kind} at {endpoint.base_url}"
            said = f"; it said, for example: {shown_name(example, 100)}" if example else ""
            raise UserError(
                f"the judge {place} could not judge {failed} of {len(verdicts)} pairs: {reasons}{said}",
                expected=f"at most {self.max_unjudged:.0%} (max_unjudged)",
                fix="see to the judge and run again, or raise max_unjudged",
            )
        return verdicts


def verdict_of_scores(first: float, second: float, note: str = "") -> Verdict:
    """The higher score wins; equal ones tie exactly; what is not finite could not be judged."""
    if not (abs(first) < float("inf") and abs(second) < float("inf")):  # nan compares as False
        return Verdict(None, "not a number", note=note)
    preference = 1.0 if first > second else 0.0 if first < second else 0.5
    return Verdict(preference, "ok", first, second, note)


@dataclass(frozen=True)
class Answer:
    """One completion of a prompt, and whether it ended by itself."""

    prompt: Messages
    text: str
    ended: bool = True


def answers_of(
    prompts: Sequence[Messages], first: Sequence[str], second: Sequence[str], ended: Ended | None = None
) -> tuple[list[Answer], list[tuple[int, int]]]:
    """The different answers to each prompt, and the places in them of the two that are compared.

    Equal answers are scored once, so that they tie whatever they would have been batched with.
    """
    places: dict[tuple[int, str, bool], int] = {}
    pairs = []
    endings = ended or [(True, True)] * len(first)
    for row, (texts, ends) in enumerate(zip(zip(first, second, strict=True), endings, strict=True)):
        ours, theirs = (
            places.setdefault((row, text, end), len(places)) for text, end in zip(texts, ends, strict=True)
        )
        pairs.append((ours, theirs))
    return [Answer(prompts[row], text, end) for row, text, end in places], pairs


def model_of(tools: "Tools", name: str) -> "ModelArtifact":
    """The artifact of a model that a judge names.

    Raises:
        ConfigError: the stage was not given it.
    """
    if name not in tools.models:
        raise ConfigError(
            f"the judge's model {name!r} is not an input of the stage",
            expected=f"one of: {', '.join(tools.models) or 'none'}",
            fix="name it in the benchmark's `model_names`",
        )
    return tools.models[name]


def device_of(tools: "Tools") -> Any:
    """The device that the evaluated model is on."""
    model = tools.policy or tools.scorer
    return "cpu" if model is None else model.model.device
