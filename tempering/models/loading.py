"""Making, loading and saving models and tokenizers: safetensors in a plain Hugging Face folder.

Everything reads local folders (a Hub model is adopted into the store first), and only safetensors.
Remote code runs only if a config says so. `save_model` writes world-readable files and a tokenizer class
that transformers 4 reads.
"""

import functools
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from tempering.data.tokenizers import save_tokenizer
from tempering.errors import ArtifactError, ConfigError
from tempering.model_config import Architecture
from tempering.models.architecture import cannot_build, hf_config, special_tokens
from tempering.models.pooling import pooled_at_last_real_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Weights = Literal["fp32", "bf16", "fp16", "nf4", "as_is"]
"""How weights are held: in a dtype, in 4 bits, or as the folder has them."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def new_model(config: Architecture, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A freshly initialised causal LM in fp32 whose vocabulary is the tokenizer's.

    Raises:
        ConfigError: an unknown architecture, or a setting that it does not have.
    """
    from transformers import AutoModelForCausalLM, set_seed

    shape = hf_config(config, len(tokenizer), special_tokens(tokenizer))
    set_seed(seed)
    try:
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise cannot_build(shape.model_type, error) from None
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def load_causal_lm(
    folder: str | Path, *, weights: Weights = "fp32", trust_remote_code: bool = False
) -> "PreTrainedModel":
    """A causal LM in eval mode, its weights in fp32 unless asked otherwise.

    Raises:
        ArtifactError: no safetensors, an unknown architecture, or weights that do not fill the model
            (missing, unexpected, of another shape).
        ConfigError: 4-bit weights without a GPU and bitsandbytes.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, weights=weights, trust_remote_code=trust_remote_code)


def load_scorer(
    folder: str | Path,
    *,
    new_head: bool = False,
    seed: int = 0,
    weights: Weights = "fp32",
    trust_remote_code: bool = False,
) -> "PreTrainedModel":
    """A sequence classifier with one output, read at the last real token: the reward model.

    Args:
        folder: a reward model, or with `new_head` a causal LM to put a fresh head on.
        new_head: allow a missing score head, initialised from `seed`; otherwise that is an error,
            since a silently re-initialised head gives random rewards.

    Raises:
        ArtifactError, ConfigError: as `load_causal_lm`.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    model = _load(
        AutoModelForSequenceClassification,
        folder,
        weights=weights,
        trust_remote_code=trust_remote_code,
        allowed_missing=("score.",) if new_head else (),
        num_labels=1,
    )
    if hasattr(model, "score"):
        model.score.float()  # the head is trained, so it stays in fp32 whatever the dtype of the body
    return pooled_at_last_real_token(model)


def load_body(folder: str | Path, *, weights: Weights = "fp32", trust_remote_code: bool = False) -> Any:
    """The backbone of a causal LM or reward model, without its head.

    Raises:
        ArtifactError, ConfigError: as `load_causal_lm`.
    """
    from transformers import AutoModel

    return _load(AutoModel, folder, weights=weights, trust_remote_code=trust_remote_code)


_LM_HEAD = {"lm_head.weight", "lm_head.bias"}
_SCORE_HEAD = {"score.weight"}


def _load(
    auto: Any,
    folder: str | Path,
    *,
    weights: Weights,
    trust_remote_code: bool,
    allowed_missing: tuple[str, ...] = (),
    **kwargs: Any,
) -> "PreTrainedModel":
    if not any(Path(folder).glob("*.safetensors")):
        raise no_safetensors(Path(folder))
    check_index(Path(folder))
    # transformers loads what it can and reports the rest, also shapes that differ.
    try:
        model, loading = auto.from_pretrained(
            str(folder),
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            **({"dtype": stored_dtype(Path(folder))} if weights == "as_is" else held_as(weights)),
            **kwargs,
        )
    except _BAD_CONFIG as error:
        raise ArtifactError(
            f"{folder}: {_first_line(error)}",
            expected="a config.json whose model_type transformers or Tempering knows, without contradictions",
            fix="check config.json; a model that brings its own code needs trust_remote_code: true",
        ) from None
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder}: its weights cannot be read: {_first_line(error)}",
            expected="complete safetensors files, as named in the index",
            fix="download them again",
        ) from None
    # Every weight of the model must have come from the folder, and nothing may be left over.
    missing = [key for key in loading["missing_keys"] if not key.startswith(allowed_missing or ("\0",))]
    unused = _SCORE_HEAD if auto.__name__ == "AutoModelForCausalLM" else _LM_HEAD | _SCORE_HEAD
    unexpected = sorted(set(loading["unexpected_keys"]) - unused)
    shapes = [
        f"{key} {list(stored)} for {list(expected)}" for key, stored, expected in loading["mismatched_keys"]
    ]
    if missing or unexpected or shapes:
        faults = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        summary = "; ".join(
            f"{fault}: {', '.join(sorted(names)[:5])}" for fault, names in faults.items() if names
        )
        raise ArtifactError(
            f"{folder}: its weights do not fit the model. {summary}",
            expected=f"the weights of a {type(model).__name__}",
            fix="use a folder of that kind; a reward model comes from the reward_model stage",
        )
    # Complete weights can still be broken ones.
    refuse_no_numbers(model.named_parameters(), folder)
    return model.eval()


_BAD_CONFIG = (
    *(ValueError, KeyError, TypeError, AttributeError, RuntimeError, ZeroDivisionError, ImportError),
    StrictDataclassError,
)
"""What transformers raises on settings that contradict each other or make no sense."""


def check_index(folder: Path) -> None:
    """Refuse shards outside the model's folder, which its digest does not cover, and pickled ones.

    Raises:
        ArtifactError: the index cannot be read, or names such a file.
    """
    index = folder / "model.safetensors.index.json"
    try:
        shards = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{index} cannot be read: {error}", expected="a weight_map of shards") from None
    misplaced = sorted(
        name for name in shards if Path(name).name != name or not name.endswith(".safetensors")
    )
    if misplaced:
        raise ArtifactError(
            f"{index} names {misplaced[0]}, which is in another folder or is not safetensors",
            expected="names of safetensors files in the same folder",
            fix="put the shards next to the index; `temper convert` reads pickled ones",
        )


def refuse_no_numbers(parameters: Any, folder: str | Path) -> None:
    """Refuse weights that hold NaN or infinity: nothing good can be made from them.

    Raises:
        ArtifactError: naming the first five tensors.
    """
    bad = [name for name, tensor in parameters if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise ArtifactError(
            f"{folder}: NaN or infinity in {', '.join(bad[:5])}",
            expected="finite weights",
            fix="use an earlier checkpoint, or download the model again",
        )


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0][:300]


def held_as(weights: Weights) -> dict[str, Any]:
    """The loading arguments for weights in a dtype or in 4 bits.

    Raises:
        ConfigError: 4 bits without a GPU and bitsandbytes.
    """
    if weights != "nf4":
        return {"dtype": DTYPES[weights]}
    # Refused before anything is loaded, with all that is missing.
    requirements = {
        "a CUDA GPU": torch.cuda.is_available(),
        "the package bitsandbytes": importlib.util.find_spec("bitsandbytes") is not None,
    }
    missing = [requirement for requirement, available in requirements.items() if not available]
    if missing:
        raise ConfigError(
            f"base_weights: nf4 needs {' and '.join(missing)}, which this machine doesn't have",
            expected="a CUDA GPU and bitsandbytes",
            fix="set adapter.base_weights to bf16 or fp32, or run on such a machine",
        )
    # QLoRA's settings (Dettmers et al. 2023): NF4, quantised constants, bf16 arithmetic.
    from transformers import BitsAndBytesConfig

    return {
        "dtype": torch.bfloat16,
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    }


def stored_dtype(folder: Path) -> torch.dtype | str:
    """The dtype that holds every weight of a folder without loss, whatever its config.json says.

    Raises:
        SafetensorError: a file cannot be read.
    """
    names = set()
    for path in weight_files(folder):
        with safe_open(path, "pt") as tensors:
            names |= {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
    floating = [_STORED[name] for name in names if name in _STORED]
    return functools.reduce(torch.promote_types, floating) if floating else "auto"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that transformers reads; others may lie beside them (Mistral's consolidated)."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    return [
        folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    ]


_STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def no_safetensors(folder: Path) -> ArtifactError:
    """The error for a folder without safetensors: a pickle may run code when opened, so it is never read."""
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
    return ArtifactError(
        f"{folder} has no safetensors{f', only {pickles[0]}' if pickles else ''}",
        expected="model.safetensors",
        fix=f"`temper convert {folder} NEW_FOLDER` reads a pickled state safely" if pickles else "",
    )


def save_model(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write model and tokenizer as safetensors in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)


def stop_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens that end an answer: the tokenizer's EOS, then those of the model's generation config."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return with_more(tokenizer.eos_token_id, configured)


def with_more(eos: int, configured: int | list[int] | None) -> list[int]:
    """EOS and the end tokens `configured` by a generation config, each once."""
    others = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys([eos, *(token for token in others if token is not None)]))


def parameter_count(model: "PreTrainedModel") -> int:
    """Distinct parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())
