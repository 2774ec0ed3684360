"""`temper convert`: from a pickled PyTorch state to a Hugging Face folder of safetensors.

The only place that reads pickles, and with `weights_only=True`: torch's reader makes tensors and plain
containers and refuses everything else before it is called. The tensors must fill the model of config.json
exactly; nothing is written until they do.
"""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tempering.errors import ArtifactError, UserError
from tempering.exchange.atomic_folder import check_free, whole_folder

Head = Literal["auto", "causal_lm", "score"]
State = dict[str, Any]
_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
_SHOWN = 5
_DEEPEST = 5  # wrappers in wrappers; a pickle may contain itself


def convert(
    source: Path, folder: Path, *, like: Path | None = None, head: Head = "auto", force: bool = False
) -> Path:
    """Write the state in `source` as safetensors with config and tokenizer, all or nothing.

    Args:
        source: a pickled state, or a folder with pytorch_model.bin (or its index) and config.json.
        like: folder of config.json and the tokenizer, if they are not beside the state.
        head: the head of the model; auto: as the architecture in config.json says.

    Raises:
        UserError: the file is missing or damaged, or holds code.
        ArtifactError: its tensors do not fit the model, or the tokenizer does not.
    """
    from tempering.data.tokenizers import load_tokenizer
    from tempering.exchange.adopt import check_vocabulary
    from tempering.models.loading import refuse_no_numbers, save_model

    # Where it goes to must be free, and not where it comes from.
    check_free(folder, force)
    if folder.resolve() in {path.resolve() for path in (source, source.parent, like) if path is not None}:
        raise UserError(
            f"{folder} holds the state that is to be converted", fix="choose another folder to write to"
        )
    # An empty model, and a tokenizer that fits it.
    files = state_files(source)
    config_folder = like or (source if source.is_dir() else source.parent)
    model = _empty_model(config_folder, head)
    tokenizer = load_tokenizer(config_folder)
    check_vocabulary(model, tokenizer, config_folder)
    # The tensors must fill it exactly, with numbers.
    state: State = {}
    for path in files:
        state |= read_state(path)
    fill(model, state, str(source))
    refuse_no_numbers(model.named_parameters(), source)
    with whole_folder(folder, force=force) as temporary:
        save_model(model, tokenizer, temporary)
    return folder


def state_files(source: Path) -> list[Path]:
    """The pickled files of a state.

    Raises:
        UserError: there are none, or more than one to choose from.
    """
    # A file: the state itself.
    if source.is_file():
        if source.suffix == ".safetensors":
            raise UserError(
                f"{source} is safetensors already", fix="use it as it is: there is nothing to convert"
            )
        return [source]
    if not source.is_dir():
        raise UserError(
            f"{source} does not exist",
            expected="a .pt, .pth or .bin file, or a folder with pytorch_model.bin",
        )
    # A folder with an index: its shards.
    index = source / "pytorch_model.bin.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted({str(name) for name in weight_map.values()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index} cannot be read: {error}", expected="a weight_map of files") from None
        missing = [name for name in names if "/" in name or not (source / name).is_file()]
        if missing:
            raise UserError(
                f"{index} names {', '.join(missing[:_SHOWN])}, which are not in {source}",
                fix="download the missing files",
            )
        return [source / name for name in names]
    # A folder without: pytorch_model.bin, or the only pickle in it.
    pickles = [source / "pytorch_model.bin"] if (source / "pytorch_model.bin").is_file() else []
    pickles = pickles or sorted(path for path in source.iterdir() if path.suffix in _SUFFIXES)
    if len(pickles) != 1:
        listing = ", ".join(path.name for path in pickles) or "none"
        raise UserError(
            f"{source} holds {len(pickles)} pickled states: {listing}",
            expected="pytorch_model.bin, its index, or one file to convert",
            fix="name the file itself, with --like for its config.json",
        )
    return pickles


def read_state(path: Path) -> State:
    """The tensors of a pickled file by their names in the model; code in it is never run.

    Raises:
        UserError: it holds anything but tensors, or is damaged.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols, meant for torch's developers
            content = torch.load(
                path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path) or None
            )
    except pickle.UnpicklingError as error:
        raise _unsafe(path, error) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a pickled PyTorch state: {_first_line(error)}",
            expected="a file that torch.save wrote",
            fix="download it again, or save it again with torch.save(model.state_dict(), ...)",
        ) from None
    return _named(_unwrapped(content, path), path)


def _unsafe(path: Path, error: pickle.UnpicklingError) -> UserError:
    """The finding alone of torch's message, which also explains how to run the code."""
    global_name = re.search(r"GLOBAL (\S+)", str(error))
    if global_name:
        return UserError(
            f"{path} contains more than tensors: it asks for {global_name[1]}, which was not run",
            expected="a state dict of tensors; a pickle with code in it can do anything to this machine",
            fix="ask its authors for safetensors, or save it again with torch.save(model.state_dict(), ...)",
        )
    cause = re.search(r"WeightsUnpickler error:\s*([^\n]+)", str(error))
    return UserError(
        f"{path} is not a pickled PyTorch state{f' ({cause[1].strip()})' if cause else ''}; nothing was run",
        expected="a file that torch.save wrote",
        fix="download it again, or save it again with torch.save(model.state_dict(), ...)",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unwrapped(content: Any, path: Path) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    raise UserError(
        f"{path} holds a {type(content).__name__}",
        expected="tensors by name, or a dictionary with them under model, state_dict or model_state_dict",
        fix="save the state dict: torch.save(model.state_dict(), ...)",
    )


def _named(tensors: Mapping[str, Any], path: Path) -> State:
    """The tensors by their own names, without the prefixes of DDP and torch.compile."""
    import torch

    # Refuse anything but tensors.
    strangers = [str(key) for key, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strangers or not tensors:
        content = f"more than tensors: {', '.join(strangers[:_SHOWN])}" if strangers else "nothing"
        raise UserError(
            f"{path} contains {content}",
            expected="tensors by name",
            fix="save only the state dict: torch.save(model.state_dict(), ...)",
        )
    # Names without prefixes must still be distinct.
    state: State = {}
    for key, tensor in tensors.items():
        name = str(key).replace("_orig_mod.", "")
        while name.startswith("module."):
            name = name.removeprefix("module.")
        if name in state:
            raise UserError(
                f"{path} holds {name} twice, under different prefixes", expected="each tensor once"
            )
        state[name] = tensor
    return state


def _empty_model(folder: Path, head: Head) -> Any:
    """The model of config.json, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no config.json, so the architecture is unknown",
            expected="config.json and a tokenizer beside the state",
            fix="name a folder that has them with --like",
        )
    # config.json decides the architecture, without code that comes with it.
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError) as error:
        raise ArtifactError(
            f"{folder / 'config.json'}: {_first_line(error)}",
            expected="a model type that transformers or Tempering knows",
            fix="correct config.json; models with their own code cannot be converted",
        ) from None
    # On the meta device a model has shapes and no memory.
    architecture = (config.architectures or [""])[0]
    scores = head == "score" or (head == "auto" and "SequenceClassification" in architecture)
    auto: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config)


def fill(model: Any, state: State, what: str) -> None:
    """Put `state` into a model on the meta device, in place.

    Raises:
        ArtifactError: a tensor is missing, unexpected, of another shape, or differs from one it is tied to.
    """
    # Allow for what older versions saved differently: buffers, base prefixes, tied weights.
    expected = model.state_dict()
    state = _without_buffers(model, _with_base_prefix(model, state, expected), expected)
    state = _completed(model, state, expected, what)
    # Every name, shape and kind of number must agree.
    faults = {
        "missing": sorted(f"{name} {_shape(expected[name])}" for name in expected.keys() - state.keys()),
        "unexpected": sorted(f"{name} {_shape(state[name])}" for name in state.keys() - expected.keys()),
        "of another shape": sorted(
            f"{name} {_shape(state[name])} for {_shape(expected[name])}"
            for name in expected.keys() & state.keys()
            if expected[name].shape != state[name].shape
        ),
        "not in floating point": sorted(
            f"{name} {state[name].dtype}"
            for name in expected.keys() & state.keys()
            if expected[name].is_floating_point() and not state[name].is_floating_point()
        ),
    }
    if any(faults.values()):
        summary = "; ".join(
            f"{len(names)} {fault}: {', '.join(names[:_SHOWN])}" for fault, names in faults.items() if names
        )
        raise ArtifactError(
            f"{what} does not fit the model. {summary}",
            expected=f"exactly the {len(expected)} tensors of a {type(model).__name__}",
            fix="name the folder of its config.json with --like, or another --head",
        )
    # Takes the tensors themselves: no second copy in memory.
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()


def _shape(tensor: Any) -> str:
    return str(list(tensor.shape))


def _without_buffers(model: Any, state: State, expected: State) -> State:
    """`state` without the masks and frequencies that older versions saved and every version computes."""
    ignored = [str(pattern) for pattern in (model._keys_to_ignore_on_load_unexpected or ())]
    suffixes = ("rotary_emb.inv_freq", ".attn.masked_bias", *ignored)
    return {name: tensor for name, tensor in state.items() if name in expected or not name.endswith(suffixes)}


def _with_base_prefix(model: Any, state: State, expected: State) -> State:
    """The weights of a bare body (as GPT-2's own) under the names they have below a head."""
    prefix = f"{model.base_model_prefix}."
    if any(name.startswith(prefix) for name in state):
        return state
    return {
        f"{prefix}{name}" if f"{prefix}{name}" in expected else name: tensor for name, tensor in state.items()
    }


def _completed(model: Any, state: State, expected: State, what: str) -> State:
    """`state` with the tied weights that were left out; where both were saved, they must be equal."""
    import torch

    tied = model._tied_weights_keys or {}
    if not model.config.get_text_config().tie_word_embeddings:
        return state
    state = dict(state)
    for name, partner in tied.items() if isinstance(tied, Mapping) else ():
        if name not in expected or partner not in expected:
            continue
        if name in state and partner in state and not torch.equal(state[name], state[partner]):
            raise ArtifactError(
                f"{what} holds {name} and {partner}, which differ although config.json ties them",
                expected="the same tensor under both names",
                fix="set tie_word_embeddings to false in config.json",
            )
        if name in state or partner in state:
            state[name] = state[partner] = state[partner if partner in state else name]
    return state
