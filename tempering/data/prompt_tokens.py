"""From rendered text to token ids, the same for training and for generation.

A prompt of training has the ids of a prompt that is to be answered; an answer ends with EOS.
"""

from collections.abc import Sequence
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

from tempering.data.prompt_format import (
    Crooked,
    PromptFormat,
    Rendered,
    Unfit,
    render_answers,
    render_question,
)
from tempering.data.rows import Message
from tempering.data.token_ids import Ids, encode_texts, leading_ids
from tempering.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def format_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> Ids:
    """Token ids of a prompt, ready to be continued by an answer."""
    ((ids,),) = tokenise(tokenizer, [render_question(tokenizer, messages, prompt_format)])
    return [*leading_for(tokenizer, prompt_format), *ids]


def split_completion(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    completion: list[Message],
    prompt_format: PromptFormat,
) -> tuple[Ids, Ids]:
    """`(prompt ids, completion ids with EOS as the last)`; the prompt ids are those of `format_prompt`.

    Raises:
        Unfit: when the template refuses the conversation, or the completion is empty.
        DataError: when the rendered prompt is not the beginning of the rendered conversation.
    """
    try:
        rendered = render_answers(tokenizer, [*prompt, *completion], prompt_format, len(prompt))
    except Crooked as reason:
        raise DataError(
            str(reason),
            expected="a template whose generation prompt begins the assistant's turn",
            fix="give the tokenizer another chat template, or set `prompt_format: plain`",
        ) from None
    ((before, answer),) = tokenise(tokenizer, [rendered])
    answer = ended(answer, tokenizer.eos_token_id)
    if answer == [tokenizer.eos_token_id]:
        raise Unfit("no completion token is left")
    return [*leading_for(tokenizer, prompt_format), *before], answer


def tokenise(tokenizer: "PreTrainedTokenizerBase", rendered: Sequence[Rendered]) -> list[list[Ids]]:
    """The ids of each part of each text, without special tokens added; all texts in one batch.

    The ids are those of the whole text where its parts can be found in them; else (a token reaches over
    a border) the parts are tokenised apart, as generation would.
    """
    # Each text, and its parts where it has more than one.
    texts = [[item.text, *item.parts()] if item.cuts else [item.text] for item in rendered]
    tokens = _encode_lists(tokenizer, rendered, texts)
    parts = [ids[1:] or ids for ids in tokens]
    crossed = [at for at, (whole, *apart) in enumerate(tokens) if apart and list(chain(*apart)) != whole]
    if not crossed:
        return parts
    # Where parts make other tokens than the whole: how long the text up to each cut is in tokens.
    bordering = [rendered[at] for at in crossed]
    upto = _encode_lists(
        tokenizer, bordering, [[item.text[:cut] for cut in item.cuts[1:]] for item in bordering]
    )
    # A tokenizer that begins every text with a space would put one at each border, unless one is there.
    puts_space, doubles_space = _puts_space(tokenizer), _doubles_space(tokenizer)
    for at, later in zip(crossed, upto, strict=True):
        whole, first, *_ = tokens[at]
        beginnings = [first, *later]
        spaced = not doubles_space and all(part.startswith(" ") for part in rendered[at].parts()[1:])
        is_beginning = all(whole[: len(ids)] == ids for ids in beginnings)
        if is_beginning or (puts_space and not spaced):
            cuts = [0, *(_shared(whole, ids) for ids in beginnings), len(whole)]
            parts[at] = [whole[start:end] for start, end in pairwise(cuts)]
    return parts


def leading_for(tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat) -> Ids:
    """What stands before every prompt of a format; a chat template writes BOS itself."""
    return [] if prompt_format == "chat" else leading_ids(tokenizer)


def ended(ids: Ids, eos: int) -> Ids:
    """`ids` up to and with EOS, which is added where there is none."""
    if eos in ids:  # templates may write a newline after it
        return ids[: len(ids) - ids[::-1].index(eos)]
    return [*ids, eos]


def _encode_lists(
    tokenizer: "PreTrainedTokenizerBase", rendered: Sequence[Rendered], texts: list[list[str]]
) -> list[list[Ids]]:
    """Ids of the texts that belong to each of `rendered`; one batch for each way to read special tokens."""
    tokens: list[list[Ids]] = [[] for _ in texts]
    for literal, named in {(item.literal, item.named) for item in rendered}:
        places = [at for at, item in enumerate(rendered) if (item.literal, item.named) == (literal, named)]
        batch = [text for at in places for text in texts[at]]
        ids = iter(encode_texts(tokenizer, batch, literal=literal, named=named))
        for at in places:
            tokens[at] = list(islice(ids, len(texts[at])))
    return tokens


def _shared(left: Ids, right: Ids) -> int:
    """Length of the common beginning."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (token, other) in pairs if token != other), min(len(left), len(right)))


def _puts_space(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a text that is tokenised by itself gets a space before it (SentencePiece and its like)."""
    first = encode_texts(tokenizer, ["a"], literal=True)[0][:1]
    return bool(first) and str(tokenizer.convert_ids_to_tokens(first[0])).startswith("\u2581")


def _doubles_space(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether it does so before a text that begins with a space, too."""
    bare, spaced = encode_texts(tokenizer, ["a", " a"], literal=True)
    return bare != spaced
