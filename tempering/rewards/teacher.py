"""The teacher: a language model that rates completions, on a server or in this process.

The rating prompt is a Jinja template in a sandbox. An answer is read as a whole (a bare number, or a last
line `Score: 7`); anything else is no score, never 0. Every answer is on the disk as soon as it is there, and
the same question is asked once a run: a resumed run repeats what it did, and pays nothing twice.
"""

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.row_log import RowLog
from tempering.data.prompt_format import plain_text
from tempering.errors import ConfigError, UserError
from tempering.printable import shown_name
from tempering.rewards.base import Parts
from tempering.rewards.endpoint.client import Endpoint
from tempering.rewards.endpoint.exchange import Answer
from tempering.rewards.scoring import Messages
from tempering.rewards.speaker import open_speaker

if TYPE_CHECKING:
    from tempering.rewards.config import TeacherReward

Ask = Callable[[Sequence[str]], Iterable[tuple[int, Answer]]]
"""Questions -> (place, answer), in any order, as they come."""
_SCORE = r"([-+]?\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*(\d+(?:\.\d+)?))?"
_BARE = re.compile(rf"{_SCORE}\.?")
_LINE = re.compile(
    rf"[\s*_`#>-]*(?:(?:final|overall|total|my)\s+)?(?:score|rating)[\s*_`]*[:=][\s*_`]*{_SCORE}[\s*_`.]*",
    re.I,
)
_ENOUGH = 4  # questions without one answer: the teacher is gone, not a question odd


class Teacher:
    """Callable in TRL's signature.

    Args:
        config: template and range of scores.
        ask: questions -> answers.
        folder: where the answers are kept.
        name: of the component; two teachers of a mixture may be asked the same.
    """

    def __init__(self, config: "TeacherReward", ask: Ask, folder: Path, name: str = "teacher") -> None:
        self.config, self.ask = config, ask
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)
        try:
            self.template = environment.from_string(config.template_file.read_text(encoding="utf-8"))
        except (TemplateError, UnicodeDecodeError) as error:
            raise ConfigError(f"the template {config.template_file.name} cannot be read: {error}") from None
        self.answers = AnswerLog(folder, name)

    def __call__(self, prompts: list[Messages], completions: list[str], **columns: Any) -> list[float]:
        questions = [
            self._question(prompt, text, {name: values[row] for name, values in columns.items()})
            for row, (prompt, text) in enumerate(zip(prompts, completions, strict=True))
        ]
        new = [question for question in dict.fromkeys(questions) if question not in self.answers]
        silent: dict[str, Answer] = {}
        for place, answer in self.ask(new) if new else ():
            if answer.text is None:
                silent[new[place]] = answer
            else:
                self.answers.add(new[place], answer, *self._read(answer))
        self._refuse_silence(silent, len(new))
        for question, answer in silent.items():  # last: what was never learnt from may be asked again
            self.answers.add(question, answer, math.nan, answer.status)
        return [self.answers.score(question) for question in questions]

    def _refuse_silence(self, silent: dict[str, Answer], asked: int) -> None:
        """A teacher that is gone must not turn the rest of a run into unscored completions."""
        if asked < _ENOUGH or len(silent) < asked:
            return
        statuses = Counter(answer.status for answer in silent.values())
        reply = next((answer.reply for answer in silent.values() if answer.reply), "")
        raise UserError(
            f"the teacher answered none of {asked} questions: "
            + ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
            + (f"; it said, for example: {shown_name(reply, 100)}" if reply else ""),
            expected="a teacher that answers",
            fix="see to the server and run again: answers so far are kept, these questions are asked again",
        )

    def _question(self, prompt: Messages, completion: str, row: dict[str, Any]) -> str:
        variables = {
            "context": plain_text(prompt),  # what published templates call prompt and completion
            "continuation": completion,
            **row,
            "prompt": plain_text(prompt),  # the policy's marks would be turns to a teacher that knows them
            "messages": prompt,
            "completion": completion,
            "min_score": _plain(self.config.min_score),
            "max_score": _plain(self.config.max_score),
        }
        try:
            return self.template.render(variables).encode("utf-8", "replace").decode()  # no lone surrogates
        except Exception as error:  # a template may divide by zero, call what is none, ...
            raise ConfigError(
                f"the template {self.config.template_file.name} fails: {type(error).__name__}: {error}",
                expected=f"variables from: {', '.join(sorted(variables))}",
                fix="correct the template",
            ) from None

    def _read(self, answer: Answer) -> tuple[float, str]:
        if answer.text is None or answer.status != "ok":  # cut off: `Score: 1` may have begun a 10
            return math.nan, answer.status
        return read_score(answer.text, self.config)

    def close(self) -> None:
        """Make the answers a table, and let connections go."""
        self.answers.to_parquet()
        getattr(self.ask, "close", lambda: None)()


def parse_score(text: str, most: float = 10.0) -> float | None:
    """The number of a rating: the whole text, or its last line `Score: 7`; None where it is not clearly one.

    Args:
        most: what may stand behind a slash: `7/10` is a score of at most 10, `7/100` is none.
    """
    lines = text.strip().splitlines()
    rating = _BARE.fullmatch(text.strip()) or (_LINE.fullmatch(lines[-1]) if lines else None)
    if rating is None or (rating[2] is not None and float(rating[2]) != most):
        return None
    return float(rating[1])


def read_score(text: str, config: "TeacherReward") -> tuple[float, str]:
    """The score in an answer and `ok`, or NaN and why there is none."""
    score = parse_score(text, config.max_score)
    if score is None:
        return math.nan, "no score in the answer"
    if not config.min_score <= score <= config.max_score:
        return math.nan, "outside of the range"
    return score, "ok"


def _plain(number: float) -> float | int:
    """10 instead of 10.0, as a template writes it."""
    return int(number) if number.is_integer() else number


class AnswerLog:
    """Question -> score, in `teacher_answers.jsonl`, Parquet at the end; what is there is not asked again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name  # of the component: two teachers of a mixture may be asked the same
        rank = os.environ.get("RANK", "0")  # of several processes each asks for its own rows
        self._log = RowLog(folder / f"teacher_answers{'' if rank == '0' else f'_{rank}'}.jsonl")
        self._log.restore()
        self._log.mend()
        rows = (row for row in self._log.rows() if {"key", "score"} <= row.keys())
        scores = {row["key"]: row["score"] for row in rows}
        self._scores = {key: math.nan if score is None else score for key, score in scores.items()}

    def __contains__(self, question: str) -> bool:
        return self._key(question) in self._scores

    def score(self, question: str) -> float:
        """NaN where it could not be scored."""
        return self._scores[self._key(question)]

    def add(self, question: str, answer: Answer, score: float, status: str) -> None:
        """Keep an answer; it survives a killed process."""
        self._scores[self._key(question)] = score
        row = {
            "component": self.name,
            "key": self._key(question),
            "question": question,
            "answer": answer.text,
            "score": None if math.isnan(score) else score,
            "status": status,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._log.append([row])

    def to_parquet(self) -> None:
        """Write the answers as Parquet; another teacher of the mixture may have done so already."""
        if self._log.rows():
            self._log.to_parquet()

    def _key(self, question: str) -> str:
        return hashlib.sha256(f"{self.name}\0{question}".encode()).hexdigest()


def build_teacher(config: "TeacherReward", parts: Parts) -> Teacher:
    """The teacher of a config: behind an endpoint, or the model of `parts`."""
    if config.endpoint is not None:
        ask: Ask = Endpoint(
            config.endpoint,
            config.max_tokens,
            name=parts.name,
            out=parts.out,
            expected=parts.expected,
            usable=lambda text: read_score(text, config)[1] == "ok",
        )
    else:
        assert parts.model is not None, "the graph gives it"
        ask = local(config, parts.model, parts.device, parts.out.seed)
    return Teacher(config, ask, parts.out.metadata_dir, parts.name)


def local(config: "TeacherReward", model: ModelArtifact, device: Any, seed: int) -> Ask:
    """A language model in this process.

    What it draws for a question hangs on the question alone, so that a resumed run repeats it.
    """
    import torch

    from tempering.generation.rollout import length_batches
    from tempering.generation.sampling import Sampling

    speaker = open_speaker(model, device)
    decoder = speaker.decoder()
    sampling = Sampling(config.max_tokens, temperature=config.temperature)

    def numbers(question: str) -> torch.Tensor:
        digest = hashlib.sha256(f"{seed}\0{question}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return sampling.numbers(1, generator)

    def ask(questions: Sequence[str]) -> Iterable[tuple[int, Answer]]:
        prompts = [speaker.prompt([{"role": "user", "content": question}]) for question in questions]
        # A question that loses its beginning is another question.
        fitting = [
            place for place, prompt in enumerate(prompts) if len(prompt) + config.max_tokens <= speaker.room
        ]
        answers = dict.fromkeys(range(len(prompts)), Answer(None, "question too long"))
        for batch in length_batches([len(prompts[place]) for place in fitting], speaker.batch_size):
            places = [fitting[number] for number in batch]
            uniform = torch.cat([numbers(questions[place]) for place in places])
            rollout = decoder.generate([prompts[place] for place in places], sampling, uniform)
            for place, text, ended in zip(
                places, rollout.texts(speaker.tokenizer), rollout.ended.tolist(), strict=True
            ):
                answers[place] = Answer(text, "ok" if ended else "cut off")
        return answers.items()

    return ask
