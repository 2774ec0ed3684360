"""Tokenizers: trained here, or existing ones completed with what training needs.

Ours is a byte-level BPE without an unknown token: every text is encoded and decoded without loss. EOS ends
a document and an answer and is never the pad token: padding is masked, so the model would never learn to
stop. The chat template has `{% generation %}` marks. Saved folders load with AutoTokenizer offline, in
transformers 4 and 5.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tempering.config import SET, Config, Readers
from tempering.data.token_ids import literal_ids
from tempering.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ENDLESS = re.compile(r"\S{500}")
_PARALLEL = "TOKENIZERS_PARALLELISM"
EOS, PAD = "<|endoftext|>", "<|pad|>"
ROLE_TOKENS = ("<|user|>", "<|assistant|>", "<|system|>")
_SPARSEST = 4  # ids a token: some leave gaps
_LEAST_VOCABULARY = 256 + 2 + len(ROLE_TOKENS)
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model", "vocab.txt"),
)


class TokenizerBase(Config):
    """Where the tokenizer comes from."""

    kind: str


class TrainTokenizerConfig(TokenizerBase):
    """Train a byte-level BPE on the train parts of data sets."""

    kind: Literal["train"] = "train"
    vocab_size: int = Field(
        default=8192,
        ge=_LEAST_VOCABULARY,
        le=10_000_000,
        description="upper bound, with the 256 bytes and the special tokens",
    )
    min_frequency: int = Field(default=2, ge=1, description="pairs seen less often are never merged")
    datasets: tuple[str, ...] = Field(min_length=1, description="names of the data sets to train on")


class ExistingTokenizerConfig(TokenizerBase):
    """Take a tokenizer that exists; what it lacks is added, and said."""

    read_by: ClassVar[Mapping[str, Readers]] = {"revision": {"name_on_the_Hub": SET}}

    kind: Literal["existing"] = "existing"
    name_or_path: str = Field(
        description="local folder, Hub name, or the id of a tokenizer or model artifact"
    )
    revision: str = Field(default="main", description="commit, tag or branch, for a Hub name")

    @property
    def name_on_the_Hub(self) -> str:
        """The name, where it is not that of a local folder."""
        return "" if Path(self.name_or_path).is_dir() else self.name_or_path

    def external_files(self) -> tuple[Path, ...]:
        """The tokenizer's files, when it is a local folder."""
        return tuple(path for name in _TOKENIZER_FILES if (path := Path(self.name_or_path) / name).is_file())

    def external_revisions(self) -> tuple[tuple[str, str], ...]:
        """The commit of a Hub name's revision."""
        from tempering.artifacts.names import fingerprint8
        from tempering.hub.models import model_commit

        hub_name = re.fullmatch(r"[\w.-]+/[\w.-]+", self.name_or_path)
        if not hub_name or fingerprint8(self.name_or_path) or Path(self.name_or_path).exists():
            return ()
        return ((f"hub:{self.name_or_path}", model_commit(self.name_or_path, self.revision)),)


TokenizerConfig = Annotated[TrainTokenizerConfig | ExistingTokenizerConfig, Field(discriminator="kind")]


def chat_template(name: Literal["chat", "plain", "role_markers", "turn_markers"] = "chat") -> str:
    """The source of a chat template shipped with the package."""
    return files("tempering.data").joinpath("templates", f"{name}.jinja").read_text(encoding="utf-8").strip()


def train_tokenizer(texts: Iterable[str], config: TrainTokenizerConfig) -> "PreTrainedTokenizerBase":
    """A byte-level BPE trained on `texts` (Sennrich et al. 2016; bytes as in GPT-2).

    Raises:
        DataError: there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # The alphabet holds all 256 bytes, so no text is ever unknown.
    counter = _Counter(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[EOS, PAD, *ROLE_TOKENS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(counter, trainer)
    if not counter.characters:
        raise DataError("there is no text to train the tokenizer on", fix="check the data sets in `datasets`")
    # In the form that models are saved with.
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(ROLE_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template()
    return fast


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Let tokenizers use all cores for a batch; outside of it they use one, so as not to slow trainers."""
    previous = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        if previous is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = previous


def load_tokenizer(
    name_or_path: str | Path, revision: str = "main", *, trust_remote_code: bool = False
) -> "PreTrainedTokenizerBase":
    """A tokenizer from a folder (offline) or the Hub.

    `trust_remote_code` is always set: otherwise transformers would ask on the terminal and take the next
    line, such as the first line of a chat, for the answer.

    Raises:
        DataError: it cannot be loaded, or its ids mean nothing.
    """
    from transformers import AutoTokenizer

    local = Path(name_or_path).is_dir()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(name_or_path),
            revision=revision,
            local_files_only=local,
            trust_remote_code=trust_remote_code,
        )
        fault = _fault(tokenizer)
    except Exception as error:  # of no class of its own, where a file has the wrong form
        raise DataError(
            f"no tokenizer can be loaded from {str(name_or_path)!r}: {(str(error).splitlines() or ['?'])[0]}",
            expected="a folder with tokenizer.json, or a name on the Hub",
            fix="check name_or_path, and the network if it is a Hub name",
        ) from None
    if fault:
        raise DataError(
            f"the tokenizer {str(name_or_path)!r} is broken: {fault}",
            expected="ids of tokens in its vocabulary",
            fix="fetch its files again, or train one with `kind: train`",
        )
    return tokenizer


def _fault(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Why the ids of a tokenizer cannot be those of a model's embeddings; "" where they can."""
    if not isinstance(tokenizer.model_max_length, int | float):
        return f"model_max_length is {tokenizer.model_max_length!r}, not a number"
    highest, count = max(tokenizer.get_vocab().values(), default=-1), len(tokenizer)
    if highest >= _SPARSEST * count + _LEAST_VOCABULARY:
        return f"its ids reach {highest:,}, and it has {count:,} tokens"
    ids = tokenizer("a", verbose=False)["input_ids"]
    strange = next((number for number in ids if number > highest), None)
    return (
        "" if strange is None else f"a text gives the id {strange:,}, and its vocabulary ends at {highest:,}"
    )


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write a tokenizer that AutoTokenizer of transformers 4 and 5 reads, without local paths in it."""
    tokenizer.save_pretrained(str(folder))
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") in (None, "TokenizersBackend"):  # unknown to version 4
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):  # a mapping in version 4
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    for name in ("name_or_path", "is_local", "local_files_only", "revision"):
        settings.pop(name, None)
    path.write_text(
        json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """One hash of what token ids and rendered conversations mean: equal digests read each other's rows.

    Of the content, not of files: an adopted model and the tokenizer stage may write the same tokenizer into
    files that differ where it does not matter.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for setting in ("padding", "truncation"):  # of the last call, not of the tokenizer
        state.pop(setting, None)
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    text = json.dumps([state, special, tokenizer.chat_template], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def tokenizer_stats(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> dict[str, float]:
    """`vocab_size`, and over `texts` `tokens_per_word` (words split at white space) and `bytes_per_token`."""
    tokens = words = size = 0
    for text in texts:
        tokens += len(literal_ids(tokenizer, text))
        words += len(text.split())
        size += len(text.encode("utf-8"))
    stats: dict[str, float] = {"vocab_size": len(tokenizer)}
    if tokens and words:
        stats |= {"tokens_per_word": tokens / words, "bytes_per_token": size / tokens}
    return stats


class _Counter:
    """Iterates and counts, so that training on nothing is noticed without keeping the texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.characters = texts, 0

    def __iter__(self) -> Any:
        for text in self.texts:
            self.characters += len(text)
            # Training time is quadratic in the length of a word, and such runs teach nothing.
            yield _ENDLESS.sub(r"\g<0> ", text)
