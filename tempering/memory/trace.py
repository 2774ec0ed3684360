"""How much memory a computation takes, found by going through it without computing anything.

PyTorch's fake tensors have shapes but no storage. A model of any family and size is built of them and
taken forward and backward; every storage that appears is counted until it is freed again. So the number
follows from the shapes alone, with all that autograd keeps and every temporary, and no formula has to
know the family. What kernels allocate inside themselves is not seen.
"""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MAPPED = 32 << 20  # bytes; glibc gives larger blocks back to the system as soon as they are freed


@contextmanager
def shapes_only() -> Iterator[None]:
    """Tensors made inside have shapes, and no storage."""
    with FakeTensorMode():
        yield


class Tally(TorchDispatchMode):
    """Counts the bytes of the storages that operations make while it is on.

    `peak` is their highest sum, `peak_without_gradients` the same without the gradients of the parameters
    of `modules`, `live` what is there now. Parameters are not counted: whoever asks knows their size.

    Args:
        answer: what code is told that asks a tensor for its value, such as whether all of a mask is true.
    """

    def __init__(self, *modules: nn.Module, answer: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.live = self.small = self.gradients = 0
        self.peak = self.peak_without_gradients = self.peak_of_small = 0
        self._sizes: dict[int, int] = {}
        self._gradients: set[int] = set()
        self._hooks: list[Any] = []
        self._known: list[Any] = []  # keeps the storages alive, so that no number is used twice
        for parameter in unique_parameters(modules):
            self._known.append(parameter.untyped_storage())
            if parameter.requires_grad:
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._is_gradient))
        for module in modules:
            self._known += [buffer.untyped_storage() for buffer in module.buffers()]
        self._not_counted = {storage._cdata for storage in self._known}

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.answer
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mkldnn_rnn_layer.default:
            workspace = torch.empty(_rnn_workspace(*args), dtype=torch.uint8, device=output[3].device)
            output = (*output[:3], workspace)
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return output

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes or key in self._not_counted:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        if storage.nbytes() < MAPPED:
            self.small += storage.nbytes()
        weakref.finalize(storage, self._freed, key)
        self.peak = max(self.peak, self.live)
        self.peak_of_small = max(self.peak_of_small, self.small)
        self.peak_without_gradients = max(self.peak_without_gradients, self.live - self.gradients)

    def _freed(self, key: int) -> None:
        size = self._sizes.pop(key)
        self.live -= size
        if size < MAPPED:
            self.small -= size
        if key in self._gradients:
            self._gradients.remove(key)
            self.gradients -= size

    def _is_gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        key = parameter.grad.untyped_storage()._cdata
        if key in self._sizes and key not in self._gradients:
            self._gradients.add(key)
            self.gradients += self._sizes[key]


def _rnn_workspace(inputs: Tensor, *args: Any) -> int:
    """Bytes that oneDNN's LSTM keeps for its backward pass; as a shape, the operation says 0.

    Fitted to six sizes, within 6%: states and gradients of 8 hidden widths and 6 of the wider side a token.
    """
    hidden, training = args[9], args[14]
    first, second, width = inputs.shape
    tokens: int = first * second
    return int(1.06 * 4 * tokens * (8 * hidden + 6 * max(width, hidden))) if training else 0


def unique_parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters of all `modules`, tied ones once."""
    return list({id(weight): weight for module in modules for weight in module.parameters()}.values())


def nbytes(tensors: Iterable[Tensor]) -> int:
    """The bytes that tensors take together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
