"""What model to train, from where, and the adapter around it. Light: planning reads this, without torch.

An architecture is made from scratch: a transformer of any Hugging Face type, or one of our own families.
Their `preset`s have about the same number of parameters, so that families can be compared by one
override: `pretrain.architecture.kind=lstm`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tempering.config import MOST_SEQUENCES, SET, UNSET, Config, Readers, runtime_field
from tempering.errors import ConfigError
from tempering.hub.models import model_commit
from tempering.model_size import MOST_POSITIONS, size_problem

# initializer_range is about 1 / sqrt(hidden_size): the usual 0.02 is for widths of 768 and more, and a
# narrow model started with it needs twice the tokens to learn to use the words of its prompt.
PRESETS: dict[str, dict[str, Any]] = {
    # 0.44 M parameters with a 660-token vocabulary: minutes on two CPU cores
    "nano": {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "initializer_range": 0.08,
    },
    # 5 M: an hour on a laptop
    "micro": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "initializer_range": 0.06,
    },
    # 60 M: a single GPU
    "small": {
        "hidden_size": 640,
        "intermediate_size": 1728,
        "num_hidden_layers": 10,
        "num_attention_heads": 10,
        "initializer_range": 0.04,
    },
    # GPT-2 small (Radford et al. 2019), as the BabyLM baselines use it: 98 M with a vocabulary of 16,000
    "gpt2-small": {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12},
}


# The same for our own families: as many parameters as the transformer of that name, within a few percent.
LSTM_PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"hidden_size": 128, "state_size": 144, "num_hidden_layers": 2, "initializer_range": 0.08},
    "micro": {"hidden_size": 256, "state_size": 512, "num_hidden_layers": 3, "initializer_range": 0.06},
    "small": {"hidden_size": 640, "state_size": 1408, "num_hidden_layers": 4, "initializer_range": 0.04},
}
KGRAM_PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"hidden_size": 128, "context_size": 24, "token_size": 48, "intermediate_size": 288,
             "num_hidden_layers": 2, "initializer_range": 0.08},
    "micro": {"hidden_size": 256, "context_size": 48, "token_size": 96, "intermediate_size": 768,
              "num_hidden_layers": 6, "initializer_range": 0.06},
    "small": {"hidden_size": 640, "context_size": 128, "token_size": 192, "intermediate_size": 1728,
              "num_hidden_layers": 10, "initializer_range": 0.04},
}  # fmt: skip


class ArchitectureBase(Config):
    """What every family has."""

    max_position_embeddings: int | None = Field(
        None,
        ge=8,
        le=MOST_POSITIONS,
        description="longest sequence, in tokens; null: 512, or that of name_or_path",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="settings of the Hugging Face config, laid over the preset"
    )

    def preset_settings(self) -> dict[str, Any]:
        """Settings of the Hugging Face config that the preset stands for, its type among them."""
        raise NotImplementedError

    def sizes(self) -> dict[str, Any]:
        """The settings of the Hugging Face config as far as they are known without reading a file."""
        return self.preset_settings() | self.overrides

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        problem = size_problem(self.sizes())
        if problem:
            raise ValueError(f"the model cannot be made: {problem}")
        return self


class TransformerConfig(ArchitectureBase):
    """A decoder-only transformer from scratch, Llama-style unless preset, type or shape say otherwise."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "preset": {"name_or_path": UNSET},
        "revision": {"name_or_path": SET},
    }

    kind: Literal["transformer"] = "transformer"
    preset: Literal["nano", "micro", "small", "gpt2-small"] = Field(
        "nano", description="named size; not used with name_or_path"
    )
    model_type: str | None = Field(
        None, description="Hugging Face model type, e.g. llama, gpt2, qwen2; null: the preset's"
    )
    # Not hashed by name: what counts is the config.json, and that enters the identity by its content.
    name_or_path: str | None = runtime_field(
        None, description="folder or Hub name whose config.json gives the shape; the weights are fresh"
    )
    revision: str = runtime_field("main", description="branch, tag or commit of name_or_path on the Hub")

    @model_validator(mode="after")
    def _one_type(self) -> "TransformerConfig":
        if self.name_or_path is not None and self.model_type is not None:
            raise ValueError("name_or_path has a model_type of its own; drop one of the two")
        return self

    def preset_settings(self) -> dict[str, Any]:
        """Settings of the Hugging Face config that the preset stands for, its type among them."""
        return PRESETS[self.preset] | ({"model_type": self.model_type} if self.model_type else {})

    def sizes(self) -> dict[str, Any]:
        """Those of a folder or Hub name stand in its config.json."""
        return dict(self.overrides) if self.name_or_path is not None else super().sizes()

    def local_shape(self) -> Path | None:
        """The folder of name_or_path; None where it is a name on the Hub, or not set.

        Raises:
            ConfigError: it can only be a folder, and holds no config.json.
        """
        if self.name_or_path is None:
            return None
        folder = Path(self.name_or_path).expanduser()
        if (folder / "config.json").is_file():
            return folder
        if folder.exists() or self.name_or_path[0] in "./~" or self.name_or_path.count("/") > 1:
            raise ConfigError(
                f"architecture.name_or_path {self.name_or_path}: there is no config.json",
                expected="a folder in Hugging Face layout, or owner/name on the Hub",
                fix="correct the path",
            )
        return None

    def external_files(self) -> tuple[Path, ...]:
        """The config.json of a local shape."""
        folder = self.local_shape()
        if folder is None:
            return ()
        check_sizes(folder, self.overrides)
        return (folder / "config.json",)

    def external_revisions(self) -> tuple[tuple[str, str], ...]:
        """The commit of a shape on the Hub."""
        if self.name_or_path is None or self.local_shape() is not None:
            return ()
        return ((f"hub:{self.name_or_path}", model_commit(self.name_or_path, self.revision)),)


class LSTMConfig(ArchitectureBase):
    """Stacked LSTMs (Hochreiter & Schmidhuber 1997) with residual connections."""

    kind: Literal["lstm"]
    preset: Literal["nano", "micro", "small"] = Field("nano", description="named size")

    def preset_settings(self) -> dict[str, Any]:
        """Settings of the Hugging Face config that the preset stands for, its type among them."""
        return {"model_type": "lstm", **LSTM_PRESETS[self.preset]}


class KGramConfig(ArchitectureBase):
    """A neural k-gram (Bengio et al. 2003): an MLP over the embeddings of the last `context_size` tokens."""

    kind: Literal["kgram"]
    preset: Literal["nano", "micro", "small"] = Field("nano", description="named size")

    def preset_settings(self) -> dict[str, Any]:
        """Settings of the Hugging Face config that the preset stands for, its type among them."""
        return {"model_type": "kgram", **KGRAM_PRESETS[self.preset]}


Architecture = Annotated[TransformerConfig | LSTMConfig | KGramConfig, Field(discriminator="kind")]


class LoraConfig(Config):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685), made by PEFT, on a base that stays frozen."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, le=100_000, description="rank r of the update BA")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before A, share of units")
    target_modules: str | list[str] = Field("all-linear", description="module names, or all-linear")
    dora: bool = Field(False, description="learn magnitudes apart from directions (DoRA, arXiv:2402.09353)")
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank) instead (rsLoRA, arXiv:2312.03732)")
    base_weights: Literal["fp32", "bf16", "fp16", "nf4"] = Field(
        "fp32",
        description="how the frozen base is held; nf4: 4 bits (QLoRA, arXiv:2305.14314), on a GPU with "
        "bitsandbytes",
    )


MERGE_TOLERANCE = {"fp32": 1e-3, "fp16": 0.1, "bf16": 0.5}
"""Largest allowed difference of logits by the dtype of the merged weights (docs/measured/merging.md)."""


class MergeConfig(Config):
    """Folding an adapter into its base model."""

    dtype: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="dtype that the merged weights are written in"
    )
    tolerance: float | None = Field(
        None,
        gt=0,
        description="largest allowed absolute difference of logits, adapter against merged model as it is "
        "read back; null: 1e-3 for fp32, 0.1 for fp16, 0.5 for bf16",
    )
    rows: int = Field(
        8, ge=1, le=MOST_SEQUENCES, description="sequences of the stage's sample that are compared"
    )

    @property
    def allowed(self) -> float:
        """The tolerance that holds."""
        return MERGE_TOLERANCE[self.dtype] if self.tolerance is None else self.tolerance


class AdoptConfig(Config):
    """An external model: a local folder in Hugging Face layout, or a name on the Hub."""

    read_by: ClassVar[Mapping[str, Readers]] = {"revision": {"name_on_the_Hub": SET}}

    name_or_path: str = Field(min_length=1, description="local folder, or owner/name on the Hub")
    revision: str = Field("main", description="commit, tag or branch, for a Hub name")
    trust_remote_code: bool = Field(
        False, description="run the Python code that comes with the model; read it first"
    )
    prompt_format: Literal["auto", "chat", "plain", "role_markers", "turn_markers"] = Field(
        "auto", description="how it wants to be prompted; auto: chat where it has a chat template, else plain"
    )

    @property
    def name_on_the_Hub(self) -> str:
        """The name, where it is not that of a local folder."""
        return "" if Path(self.name_or_path).expanduser().is_dir() else self.name_or_path

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a Hub name.

        Raises:
            ConfigError: what looks like a path is not a folder.
        """
        path = Path(self.name_or_path).expanduser()
        if path.is_dir():
            return path
        if self.name_or_path.startswith(("/", "./", "../", "~")) or self.name_or_path.count("/") > 1:
            raise ConfigError(
                f"{self.name_or_path} is not a folder",
                expected="a folder in Hugging Face layout, or owner/name on the Hub",
                fix="correct the path",
            )
        return None

    @property
    def head(self) -> str:
        """`score` or `causal_lm`, as a local folder's config.json says; "" where it does not."""
        file = None if self.folder is None else self.folder / "config.json"
        try:
            names = json.loads(file.read_text(encoding="utf-8"))["architectures"] if file else []
            classifier = [str(name).endswith("ForSequenceClassification") for name in names]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return ""
        return "score" if any(classifier) else "causal_lm" if classifier else ""

    def external_files(self) -> tuple[Path, ...]:
        """The files of a local folder that are read.

        Raises:
            ConfigError: it is not that of a whole model.
        """
        folder = self.folder
        if folder is None:
            return ()
        check_folder(folder)
        suffixes = (*_MODEL_FILES, ".py") if self.trust_remote_code else _MODEL_FILES
        return tuple(sorted(path for path in folder.iterdir() if path.name.endswith(suffixes)))

    def external_revisions(self) -> tuple[tuple[str, str], ...]:
        """The commit of a Hub name's revision."""
        from tempering.hub.models import model_commit

        if self.folder is not None:
            return ()
        return ((f"hub:{self.name_or_path}", model_commit(self.name_or_path, self.revision)),)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be a whole model, by what lies in it; adoption looks into the files.

    Raises:
        ConfigError: only an adapter, no config.json or one of nonsense, or no safetensors.
    """
    if (folder / "adapter_config.json").exists():
        raise ConfigError(
            f"{folder} has only an adapter",
            expected="a whole model",
            fix="merge it into its base model first, with PEFT's merge_and_unload",
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder}: there is no config.json",
            expected="a folder in Hugging Face layout: config.json, model.safetensors, tokenizer.json",
            fix="correct the path",
        )
    check_sizes(folder)
    if not any(folder.glob("*.safetensors")):
        pickled = any(path.suffix in (".bin", ".pt", ".pth") for path in folder.iterdir())
        raise ConfigError(
            f"{folder} has no safetensors",
            expected="model.safetensors",
            fix=f"`temper convert {folder} NEW_FOLDER` reads a pickled state safely" if pickled else "",
        )


def check_sizes(folder: Path, overrides: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Refuse a folder whose config.json is none, or asks for a model that no machine holds.

    Raises:
        ConfigError: naming the file and the setting.
    """
    file = folder / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        is_mapping = isinstance(settings, dict)
        problem = size_problem({**settings, **overrides}) if is_mapping else "it does not hold a mapping"
    except (OSError, ValueError, TypeError, RecursionError) as error:
        problem = f"it cannot be read: {error}"
    if problem:
        raise ConfigError(f"{file}: {problem}", expected="the config.json of a Hugging Face model")


_MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", "tokenizer.model")
