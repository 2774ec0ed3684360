"""Getting at a policy through what accelerate and PEFT wrap around it.

The same work as in TRL's own trainers: whole parameters while sampling, and weights under the names that the
model has without wrappers and adapters, as a server knows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from tempering.errors import ConfigError


def bare(model: Any, accelerator: Any) -> Any:
    """The causal LM (or PEFT model) in `model`, which may be wrapped, or an actor and critic."""
    unwrapped = model if accelerator is None else accelerator.unwrap_model(model)
    return getattr(unwrapped, "policy", unwrapped)


@contextmanager
def ready_to_generate(model: Any, accelerator: Any) -> Iterator[Any]:
    """The causal LM in `model` with parameters that one process can use."""
    if accelerator is None:
        yield bare(model, None)
        return
    from trl.distributed import DistributedBackend
    from trl.models.utils import add_hooks, remove_hooks

    backend = DistributedBackend(accelerator)
    with backend.gather_params(list(model.parameters())), backend.summon_full_params(model, recurse=False):
        policy = bare(model, accelerator)
        if not backend.is_zero3:
            with _root_whole(model, policy):
                yield policy
            return
        remove_hooks(model)  # they would gather again, layer by layer
        try:
            yield policy
        finally:
            add_hooks(model)


@contextmanager
def _root_whole(model: Any, policy: Any) -> Iterator[None]:
    """FSDP version 2: what lies outside its layers; else only a forward of `model` itself gathers it."""
    if policy is model or not hasattr(model, "unshard"):
        yield
        return
    model._get_fsdp_state()._lazy_init()  # else the first layer that runs takes itself for the root
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def steps_together(accelerator: Any) -> bool:
    """Whether processes must make the same number of forward passes, because each holds a part."""
    if accelerator is None or accelerator.num_processes == 1:
        return False
    from trl.distributed import DistributedBackend

    backend = DistributedBackend(accelerator)
    return bool(backend.is_fsdp or backend.is_zero3)


def named_weights(model: Any, accelerator: Any = None) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every parameter, adapters merged in; the model stays what it was, bit for bit.

    Gathering is a collective: where the model is sharded every process must iterate. The adapter is merged
    layer by layer, so that it costs one matrix of memory; PEFT's own unmerging subtracts, which leaves the
    frozen base a rounding away from itself, more so at each rollout.
    """
    policy = bare(model, accelerator)
    adapted = hasattr(policy, "peft_config")
    layers = _adapted_layers(policy.base_model.model) if adapted else {}
    for name, parameter in (policy.base_model.model if adapted else policy).named_parameters():
        if adapted and (policy.base_model.prefix in name or ".original_module." in name):
            continue  # the adapter itself, and what `modules_to_save` replaces
        layer, _, kind = name.rpartition(".base_layer.")
        name = _served_name(name)
        if layer in layers and kind == "weight":
            yield name, _merged(layers[layer])
        else:
            yield name, _whole(parameter)


def _served_name(name: str) -> str:
    for inserted in (".base_layer", "modules_to_save.default.", "_checkpoint_wrapped_module."):
        name = name.replace(inserted, "")
    return name


def _adapted_layers(model: Any) -> dict[str, Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def _merged(layer: Any) -> Tensor:
    """The weight of a layer with its adapter in it."""
    weight = layer.get_base_layer().weight
    if not weight.dtype.is_floating_point:
        raise ConfigError(
            "the adapter's base is held in 4 bits, and a merged weight must be sent to the server",
            expected="a base in fp32, bf16 or fp16 with engine.kind: vllm",
            fix="set adapter.base_weights: bf16, or engine.kind: decoder",
        )
    with _gathered(list(layer.parameters())):
        original = weight.data.clone()
        layer.merge()
        merged: Tensor = weight.data.clone()
        layer.unmerge()
        weight.data.copy_(original)
    return _all_of(merged)


def _whole(parameter: Any) -> Tensor:
    """All of a parameter of which this process may hold a part."""
    with _gathered([parameter]) as gathers:
        return parameter.data.clone() if gathers else _all_of(parameter.data)


def _all_of(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # FSDP, version 2


@contextmanager
def _gathered(parameters: list[Any]) -> Iterator[bool]:
    """Whole parameters where ZeRO 3 has them in parts; whether it has."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield False
        return
    import deepspeed  # type: ignore[import-not-found, unused-ignore]

    with deepspeed.zero.GatheredParameters(parameters):
        yield True
