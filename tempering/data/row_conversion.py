"""Convert rows for another use: a pair's chosen side as an answer, a prompt alone, a text."""

from tempering.data.rows import COLUMNS, Message, RowType, Values
from tempering.errors import DataError

TOKEN_TYPES = (
    RowType.TEXT,
    RowType.PROMPT_COMPLETION,
    RowType.PREFERENCE,
    RowType.PROMPT,
    RowType.CLASSIFICATION,
)
"""The row types that models are trained on."""


def uses_of(kind: RowType) -> list[RowType]:
    """The types that rows of `kind` can be converted to for training, most natural first."""
    if kind in (RowType.MESSAGES, RowType.SCORED_CONVERSATION):
        return [RowType.PROMPT_COMPLETION, RowType.PROMPT, RowType.TEXT]
    if kind in (RowType.TEXT, RowType.CLASSIFICATION):
        return [RowType.TEXT, RowType.PROMPT, *([kind] if kind is RowType.CLASSIFICATION else [])]
    uses: list[RowType] = [kind] if kind in TOKEN_TYPES else []
    if "chosen" in COLUMNS[kind] or kind is RowType.UNPAIRED_PREFERENCE:
        uses.append(RowType.PROMPT_COMPLETION)
    return uses + ([RowType.PROMPT] if "prompt" in COLUMNS[kind] and kind is not RowType.PROMPT else [])


def convert(values: Values, source: RowType, target: RowType) -> Values | None:
    """A row of type `source` as one of type `target`; None if there is nothing to learn from it.

    An answer that was judged bad is not learnt from, and a conversation without a user turn has no prompt.

    Raises:
        DataError: `source` lacks the columns for it.
    """
    if source is target:
        return values
    if target not in uses_of(source):
        missing = ", ".join(name for name in COLUMNS[target] if name not in COLUMNS[source])
        raise DataError(f"{source} rows cannot be used as {target} rows: they lack {missing}")
    # Extra columns stay, and so do scores and labels.
    extras = {name: value for name, value in values.items() if name not in COLUMNS[source]}
    if source is RowType.SCORED_CONVERSATION:
        extras["score"] = values["score"]
    if source is RowType.CLASSIFICATION:
        extras["label"] = values["label"]
    # A prompt: what precedes the last answer.
    if target is RowType.PROMPT and "messages" in values:
        prompt = _before_last_answer(values["messages"])
        return {**extras, "prompt": prompt} if prompt else None
    if target is RowType.PROMPT and "prompt" in values:
        return {**extras, "prompt": values["prompt"]}
    # A prompt with an answer: the better one, or the one judged good.
    if source is RowType.UNPAIRED_PREFERENCE and not values["label"]:
        return None
    answer = {RowType.PREFERENCE: "chosen", RowType.UNPAIRED_PREFERENCE: "completion"}.get(source)
    if answer:
        return {**extras, "prompt": values["prompt"], "completion": values[answer]}
    # Running text.
    text: Values = {name: values[name] for name in ("text", "messages") if name in values}
    if values.get("text_pair"):
        text = {"text": f"{values['text']}\n{values['text_pair']}"}
    return {**extras, **text}


def _before_last_answer(messages: list[Message]) -> list[Message]:
    """What a model is asked: all up to the last answer; all if the user has the last turn."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return messages[:end] if end and messages[end - 1]["role"] == "user" else []
