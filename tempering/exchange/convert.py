"""`temper convert`: a pickled PyTorch state as a Hugging Face folder of safetensors.

The only place where a pickle is read, and by `weights_only=True`: torch's reader makes tensors and plain
containers and refuses everything else before it is called. What was read must fill the model of config.json
exactly; nothing is written until it does.
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
_DEEPEST = 5  # wrappers in wrappers; a pickle may hold itself


def convert(
    source: Path, folder: Path, *, like: Path | None = None, head: Head = "auto", force: bool = False
) -> Path:
    """Write the state in `source` as safetensors with config and tokenizer; all of it or nothing.

    Args:
        source: a pickled state, or a folder with pytorch_model.bin (or its index) and config.json.
        like: where config.json and the tokenizer are, if not beside the state.
        head: what the model ends in; auto: as the architecture in config.json says.

    Raises:
        UserError: there is no such file, it holds code, or it is damaged.
        ArtifactError: its tensors are not those of the model, or tokenizer and model do not fit.
    """
    from tempering.data.tokenizers import load_tokenizer
    from tempering.exchange.adopt import check_vocabulary
    from tempering.models.loading import refuse_no_numbers, save_model

    check_free(folder, force)
    if folder.resolve() in {path.resolve() for path in (source, source.parent, like) if path is not None}:
        raise UserError(f"{folder} is the source of the state", fix="choose another folder to write to")
    files = state_files(source)
    described = like or (source if source.is_dir() else source.parent)
    model = _empty_model(described, head)
    tokenizer = load_tokenizer(described)
    check_vocabulary(model, tokenizer, described)
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
        UserError: there are none.
    """
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
    found = [source / "pytorch_model.bin"] if (source / "pytorch_model.bin").is_file() else []
    found = found or sorted(path for path in source.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{source} holds {len(found)} pickled states: {there}",
            expected="pytorch_model.bin, its index, or one file to convert",
            fix="name the file itself, with --like for its config.json",
        )
    return found


def read_state(path: Path) -> State:
    """The tensors of a pickled file by their names in the model; no code in it is run.

    Raises:
        UserError: it holds something else than tensors, or is damaged.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols, in words for torch's makers
            read = torch.load(
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
    return _named(_unwrapped(read, path), path)


def _unsafe(path: Path, error: pickle.UnpicklingError) -> UserError:
    """Of torch's message only what was found: it goes on to say how to run the code."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return UserError(
            f"{path} contains more than tensors: it asks for {named[1]}, which was not run",
            expected="a state dict of tensors; a pickle with code in it can do anything to this machine",
            fix="ask its authors for safetensors, or save it again with torch.save(model.state_dict(), ...)",
        )
    why = re.search(r"WeightsUnpickler error:\s*([^\n]+)", str(error))
    reason = f" ({why[1].strip()})" if why else ""
    return UserError(
        f"{path} is not a pickled PyTorch state{reason}; nothing in it was run",
        expected="a file that torch.save wrote",
        fix="download it again, or save it again with torch.save(model.state_dict(), ...)",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unwrapped(read: Any, path: Path) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(read, Mapping):
            break
        inner = next((read[key] for key in _WRAPPERS if isinstance(read.get(key), Mapping)), None)
        if inner is None:
            return read
        read = inner
    raise UserError(
        f"{path} holds a {type(read).__name__}",
        expected="tensors by name, or a dictionary with them under model, state_dict or model_state_dict",
        fix="save the state dict: torch.save(model.state_dict(), ...)",
    )


def _named(tensors: Mapping[str, Any], path: Path) -> State:
    """The tensors by their own names: what DDP and torch.compile put before them is taken off."""
    import torch

    other = [str(key) for key, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if other or not tensors:
        raise UserError(
            f"{path} contains non-tensors: {', '.join(other[:_SHOWN]) or 'it is empty'}",
            expected="tensors by name",
            fix="save only the state dict: torch.save(model.state_dict(), ...)",
        )
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
            f"{folder} has no config.json, so the state's architecture is unknown",
            expected="config.json and a tokenizer next to the state",
            fix="pass a folder that has them with --like",
        )
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError) as error:
        raise ArtifactError(
            f"{folder / 'config.json'}: {_first_line(error)}",
            expected="a model type that transformers or Tempering knows",
            fix="correct config.json; models with their own code are not converted",
        ) from None
    named = (config.architectures or [""])[0]
    scores = head == "score" or (head == "auto" and "SequenceClassification" in named)
    auto: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config)


def fill(model: Any, state: State, what: str) -> None:
    """Put `state` into a model on the meta device, in place.

    Raises:
        ArtifactError: a tensor is missing, too many, of another shape, or tied to another that differs.
    """
    wanted = model.state_dict()
    state = _without_buffers(model, _with_base_prefix(model, state, wanted), wanted)
    state = _completed(model, state, wanted, what)
    faults = {
        "missing": sorted(f"{name} {_shape(wanted[name])}" for name in wanted.keys() - state.keys()),
        "unexpected": sorted(f"{name} {_shape(state[name])}" for name in state.keys() - wanted.keys()),
        "of another shape": sorted(
            f"{name} {_shape(state[name])} for {_shape(wanted[name])}"
            for name in wanted.keys() & state.keys()
            if wanted[name].shape != state[name].shape
        ),
        "not in floating point": sorted(
            f"{name} {state[name].dtype}"
            for name in wanted.keys() & state.keys()
            if wanted[name].is_floating_point() and not state[name].is_floating_point()
        ),
    }
    if any(faults.values()):
        said = "; ".join(
            f"{len(names)} {fault}: {', '.join(names[:_SHOWN])}" for fault, names in faults.items() if names
        )
        raise ArtifactError(
            f"{what} does not fit the model. {said}",
            expected=f"exactly the {len(wanted)} tensors of a {type(model).__name__}",
            fix="pass the config.json it was trained with by --like, or another --head",
        )
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()


def _shape(tensor: Any) -> str:
    return str(list(tensor.shape))


def _without_buffers(model: Any, state: State, wanted: State) -> State:
    """Without masks and frequencies that older versions saved and every version computes."""
    ignored = [str(one) for one in (model._keys_to_ignore_on_load_unexpected or ())]
    ends = ("rotary_emb.inv_freq", ".attn.masked_bias", *ignored)
    return {name: one for name, one in state.items() if name in wanted or not name.endswith(ends)}


def _with_base_prefix(model: Any, state: State, wanted: State) -> State:
    """A bare body's weights under the names they have below a head (GPT-2's own checkpoints)."""
    prefix = f"{model.base_model_prefix}."
    if any(name.startswith(prefix) for name in state):
        return state
    return {f"{prefix}{name}" if f"{prefix}{name}" in wanted else name: one for name, one in state.items()}


def _completed(model: Any, state: State, wanted: State, what: str) -> State:
    """With the tied weights that were left out; both there, they must be the same."""
    import torch

    tied = model._tied_weights_keys or {}
    if not model.config.get_text_config().tie_word_embeddings:
        return state
    state = dict(state)
    for one, other in tied.items() if isinstance(tied, Mapping) else ():
        if one not in wanted or other not in wanted:
            continue
        if one in state and other in state and not torch.equal(state[one], state[other]):
            raise ArtifactError(
                f"{what} holds {one} and {other}, which differ, and config.json ties them",
                expected="the same tensor under both names",
                fix="set tie_word_embeddings to false in config.json",
            )
        if one in state or other in state:
            state[one] = state[other] = state[other if other in state else one]
    return state
