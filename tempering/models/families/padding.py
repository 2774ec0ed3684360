"""Takes padding out of a batch, so it never touches a state.

The real tokens of each row move to its front, in order; what follows them is never used, since the models
here read from left to right. Afterwards every output moves back to its place. So padding may be left, right,
or between prompt and completion, and a row's output does not depend on its batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


@dataclass
class Alignment:
    """Where the real tokens of each row are."""

    order: Tensor  # (B, T) positions of the row, those of real tokens first
    lengths: Tensor  # (B,) number of real tokens

    @classmethod
    def of(cls, mask: Tensor) -> "Alignment":
        """From a (B, T) mask that is True at real tokens."""
        return cls(torch.argsort(~mask, dim=1, stable=True), mask.sum(1))

    def to_front(self, states: Tensor) -> Tensor:
        """(B, T, H) with the real tokens first."""
        return states.gather(1, self.order[..., None].expand_as(states))

    def back(self, states: Tensor) -> Tensor:
        """The inverse of `to_front`."""
        return states.gather(1, self.order.argsort(1)[..., None].expand_as(states))


def alignment(attention_mask: Tensor | None, length: int) -> Alignment | None:
    """The alignment of the last `length` columns of the mask; None where no token is padding."""
    if attention_mask is None:
        return None
    mask = attention_mask[:, -length:].bool()
    if isinstance(mask, FakeTensor) or mask.is_meta or mask.all():  # a shape without values has no padding
        return None
    return Alignment.of(mask)
