"""The foreign forms that are recognised by their columns, in the order in which they are tried.

A form is what a builder can read: the required columns, what their values look like, and the settings that
make the builder read them. A fuller form comes before one that it contains. `REFUSED` are forms that look
usable but are not, each with the reason.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tempering.data.builders.candidates import COMPS, EWOK
from tempering.data.builders.classification import FORMS as TEXT_PAIRS
from tempering.data.builders.conversations import as_turns
from tempering.data.builders.kto import TURNS
from tempering.data.builders.pairs import common_beginning
from tempering.data.builders.prompt_response import ANSWERS, PROMPTS
from tempering.data.builders.sentiment import BREAK
from tempering.data.builders.verdicts import verdict
from tempering.data.rows import RowType

Look = Callable[[Any], bool]


@dataclass(frozen=True)
class Form:
    """Columns, each with what its values look like; `without` are columns that must be absent.

    `fits` is what most records must look like besides.
    """

    kind: str
    columns: Mapping[str, Look]
    settings: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    fits: Callable[[Mapping[str, Any]], bool] | None = None


@dataclass(frozen=True)
class Refused:
    """Columns of a form that fits no row type, the nearest type, what it lacks, and what to do."""

    columns: Mapping[str, Look]
    nearest: RowType
    lacks: str
    fix: str


def text(value: Any) -> bool:
    """A string."""
    return isinstance(value, str)


def two_forms(value: Any) -> bool:
    """Two texts with a tab between them."""
    return isinstance(value, str) and value.count("\t") == 1


def transcript(value: Any) -> bool:
    """A string of `Human:` and `Assistant:` turns."""
    return isinstance(value, str) and value.lstrip().startswith(("Human:", "Assistant:"))


def tagged(value: Any) -> bool:
    """A string with `<br />` in it."""
    return isinstance(value, str) and BREAK.search(value) is not None


def turn(value: Any) -> bool:
    """One turn of a conversation."""
    return isinstance(value, dict) and ("role" in value or "from" in value)


def turns(value: Any) -> bool:
    """A list of turns."""
    value = as_turns(value)
    return isinstance(value, list) and bool(value) and all(map(turn, value))


def strings(value: Any) -> bool:
    """A list of strings."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def objects(value: Any) -> bool:
    """A list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def mapping(value: Any) -> bool:
    """An object."""
    return isinstance(value, dict)


def number(value: Any) -> bool:
    """A number, or a string that is one."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*-?\d+(\.\d*)?\s*", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def label(value: Any) -> bool:
    """A label as a number, or true or false."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return True
    return isinstance(value, int) or (number(value) and float(value).is_integer())


def good_or_bad(value: Any) -> bool:
    """Good or bad."""
    return verdict(value) is not None


def feeling(value: Any) -> bool:
    """The name of a sentiment."""
    return value in ("negative", "positive")


def answered(value: Any) -> bool:
    """The gold answers of a question."""
    return isinstance(value, list | dict)


def options(value: Any) -> bool:
    """The choices of a question."""
    return strings(value) or (isinstance(value, dict) and strings(value.get("text")))


def asked(value: Any) -> bool:
    """A prompt."""
    return text(value) or turns(value)


def told(value: Any) -> bool:
    """An answer: a string, one turn, or turns."""
    return text(value) or turn(value) or turns(value)


def told_one(value: Any) -> bool:
    """An answer, which may be a number."""
    return told(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def shares_beginning(record: Mapping[str, Any]) -> bool:
    """Pairs without a prompt, not even in a column such as user_prompt: both texts begin alike."""
    words = {word for name in record for word in re.findall(r"[a-z]+", str(name).lower())}
    if not words.isdisjoint(_PROMPT_LIKE):
        return False
    return common_beginning(record.get("chosen"), record.get("rejected")) is not None


def odd(value: Any) -> bool:
    """Neither text nor turns: true or false, an object, a list of other things, bytes."""
    return isinstance(value, bool | list | dict | bytes) and not turns(value) and not turn(value)


def rated(value: Any) -> bool:
    """The scores of both sides."""
    return isinstance(value, dict) and "score_chosen" in value


def anything(value: Any) -> bool:
    """Whatever there is."""
    return value is not None


# A prompt beside one of these is not just a prompt: reading it as one would lose the answers.
_ANSWER_LIKE = (
    *("answer", "answers", "completions", "response", "responses", "output", "outputs", "choices"),
    *("options", "chosen", "rejected", "references", "label", "labels", "score", "scores"),
)

_PROMPT_LIKE = (
    *("prompt", "question", "instruction", "query", "input", "context", "post", "history", "problem", "task"),
    *(
        "dialogue",
        "conversation",
        "conversations",
        "messages",
        "article",
        "document",
        "passage",
        "text",
        "title",
    ),
)
# Beside one of these, a label is that of a text or a choice (MultiRC, BoolQ), not of an answer.
_OTHER_LABELS = ("paragraph", "passage", "choices", "options")

_ONE_ANSWER = {"answers": "answer", "responses": "response", "outputs": "output"}
_CONVERSATIONS = ("conversation", "messages", "conversations")

FORMS: tuple[Form, ...] = (
    Form("minimal_pairs", {"sentence_good": text, "sentence_bad": text}),
    Form("reward_bench", {"prompt": asked, "chosen": strings, "rejected": strings, "num_correct": number}),
    Form("ewok", {"Domain": text, **dict.fromkeys(EWOK, text)}),
    Form("comps", dict.fromkeys(COMPS, text)),
    Form("word_forms", {"sentences": two_forms, "ratio": number}),
    Form("reading_times", {"item": text, "word": text, "RTfirstfix": number, "prev_item": text}),
    Form("squad", {"question": text, "context": text, "answers": answered}),
    Form("hh", {"chosen": transcript, "rejected": transcript}),
    Form("ultrafeedback", {"prompt": asked, "chosen": told, "rejected": told, "metadata": rated}),
    Form("ultrafeedback", {"prompt": asked, "chosen": told, "rejected": told, "score_chosen": number}),
    *(
        Form("preference", {name: asked, "chosen": told, "rejected": told})
        for name in ("prompt", "question", "instruction")
    ),
    Form("preference", {"conversations": turns, "chosen": told, "rejected": told}),
    Form("preference", {"chosen": turns, "rejected": turns}),
    Form("preference", {"instruction": text, "output_1": text, "output_2": text, "preference": number}),
    Form("stack_exchange", {"question": text, "response_j": text, "response_k": text}),
    *(
        Form("scored", {column: turns, score: number})
        for column, score in product(_CONVERSATIONS, ("meta_eval_score", "score"))
    ),
    Form("scored", {"prompt": asked, "completion": told, "score": number}),
    *(Form("kto", {column: turns, "label": good_or_bad}) for column in TURNS),
    Form(
        "kto",
        {"instruction": text, "context": text, "response": text, "label": good_or_bad},
        {"columns": {"input": "context"}},
    ),
    *(
        Form("kto", {prompt: asked, answer: told_one, "label": good_or_bad}, without=_OTHER_LABELS)
        for prompt, answer in product(PROMPTS, ANSWERS)
        if answer != "chosen"
    ),
    Form("sharegpt", {"conversations": turns}),
    Form("sharegpt", {"conversation": turns}),
    Form("chat", {"messages": turns}),
    Form("alpaca", {"instruction": text, "instances": objects}),
    Form("alpaca", {"instruction": text, "output": text}),
    Form(
        "alpaca",
        {"instruction": text, "context": text, "response": text},
        {"columns": {"input": "context", "output": "response"}},
    ),
    *(
        Form("multiple_choice", {question: text, choices: options, answer: anything})
        for question, choices, answer in product(
            ("question", "input_prefix"), ("choices", "options"), ("answer", "label", "answerKey")
        )
    ),
    Form("multiple_choice", {"input_prefix": text, "options": strings}, {"answer_index": 0}),
    # Not always two labels: stars from one to five are labels as well.
    Form("sentiment", {"text": tagged, "label": label}, {"labels": ()}),
    *(
        Form("sentiment", {column: text, name: feeling})
        for column, name in product(("text", "review", "sentence"), ("label", "sentiment"))
    ),
    *(Form("classification", {**dict.fromkeys(pair, text), "label": label}) for pair in TEXT_PAIRS),
    *(
        Form("prompt_response", {prompt: asked, answer: told_one})
        for prompt, answer in product(PROMPTS, ANSWERS)
    ),
    Form("prompts", {"turns": strings}),
    *(
        Form("prompts", {prompt: asked}, without=_ANSWER_LIKE)
        for prompt in ("prompt", "question", "query", "instruction")
    ),
    # The prompt is what both begin with (TRL's implicit prompt), unless another column may be it.
    Form("preference", {"chosen": text, "rejected": text}, without=_PROMPT_LIKE, fits=shares_beginning),
    Form("sentiment", {"text": tagged}, {"rows": "text"}, without=("label", "sentiment")),
    # A score beside a text says how good it is (FineWeb-Edu).
    Form("text", {"text": text}, without=("label", "sentiment")),
    *(
        Form("text", {name: text}, {"columns": {"text": name}}, without=("label", "sentiment"))
        for name in ("content", "story", "document", "article")
    ),
)

_ANSWERED = (*product(PROMPTS, (*ANSWERS, "answers", "responses", "outputs")),)

REFUSED: tuple[Refused, ...] = (
    Refused(
        {"context": text, "annotations": mapping},
        RowType.SCORED_CONVERSATION,
        "a list of turns, and one score: the grades of several raters are in lists",
        "write rows of conversation and meta_eval_score, such as the mean of the raters",
    ),
    Refused(
        {"content": objects, "conversation_rating": anything},
        RowType.SCORED_CONVERSATION,
        "a list of turns with roles, and a score: the ratings are words",
        "write rows of conversation and meta_eval_score, with a number per word",
    ),
    Refused(
        {"contexts": strings, "responses": text, "scores": number},
        RowType.SCORED_CONVERSATION,
        "turns with roles: contexts and responses do not say who speaks",
        "write rows of conversation and meta_eval_score",
    ),
    Refused(
        {"answer_id": text, "model_id": text, "choices": objects},
        RowType.PROMPT_COMPLETION,
        "the prompts: these are the answers of a model, without their questions",
        "join them with their questions by question_id",
    ),
    Refused(
        {"system_output": text, "scores": mapping},
        RowType.SCORED_CONVERSATION,
        "one score: `scores` holds several",
        "choose one: kind: scored, columns: {prompt: source, completion: system_output, score: scores.NAME}",
    ),
    Refused(
        {"prompt": asked, "completions": objects},
        RowType.PROMPT_COMPLETION,
        "one completion: `completions` holds several",
        "choose one: kind: prompt_response, columns: {completion: completions.0.completion}",
    ),
    *(
        Refused(
            {prompt: asked, answer: strings},
            RowType.PROMPT_COMPLETION,
            f"one answer: `{answer}` holds a list of them",
            f"take the first: kind: prompt_response, "
            f"columns: {{{_ONE_ANSWER.get(answer, answer)}: {answer}.0}}",
        )
        for prompt, answer in _ANSWERED
    ),
    *(
        Refused(
            {prompt: asked, answer: odd},
            RowType.PROMPT_COMPLETION,
            f"answers that are texts: `{answer}` holds something else",
            f"write them as texts; one inside of an object: kind: prompt_response, "
            f"columns: {{{_ONE_ANSWER.get(answer, answer)}: {answer}.NAME}}",
        )
        for prompt, answer in _ANSWERED
    ),
    *(
        Refused(
            {column: text, "label": text},
            RowType.CLASSIFICATION,
            "labels as numbers: they are names, and their order is unknown",
            "name them in order: kind: classification, labels: [FIRST, SECOND, ...]",
        )
        for column in ("text", "sentence", "sentence1", "premise", "question")
    ),
)
