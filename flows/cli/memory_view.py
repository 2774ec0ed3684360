"""`temper plan --memory`: what each training stage will need, as a table and as JSON.

The arithmetic is in `tempering.memory`, where its inputs come from in `memory_inputs`. Imports torch,
so only this flag pays for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.cli.memory_inputs import Look, MemoryRow
from flows.cli.output import console
from tempering.printable import size

if TYPE_CHECKING:
    from rich.table import Table

    from flows.session import Planned

PARTS = [
    *("weights", "gradients", "optimizer", "activations"),
    *("reference", "reward_model", "kv_cache", "other", "allocator"),
]
CPU_NOTE = (
    "The total is the highest phase; not everything is needed at once. On a CPU it is above what the "
    "imports take (docs/memory.md)."
)
GPU_NOTE = "For a GPU: not measured, without the CUDA context (docs/memory.md)."


@dataclass
class Memory:
    """The estimates of all training stages of a pipeline."""

    rows: list[MemoryRow]
    on_gpu: bool

    @classmethod
    def of(cls, planned: "Planned") -> "Memory":
        """Look at every stage of the plan that trains."""
        from flows.process.workers import prepare_environment

        prepare_environment()
        on_gpu = _on_gpu(planned.runtime.device)
        look = Look(planned, on_gpu)
        stages = [node for node in planned.nodes if node.stage.trains]
        return cls([look.row(node) for node in stages], on_gpu)

    def beside(self, plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The plan's rows for JSON, each with `memory`: an object, or null where nothing trains."""
        memory = {row.stage: row.row() for row in self.rows}
        return [{**row, "memory": memory.get(row["stage"])} for row in plan]

    def print(self) -> None:
        """Print a table on stdout, and below it what the numbers rest on."""
        out = console()
        out.print()
        out.print(self._table())
        for line, stages in self._notes().items():
            out.print(f"{', '.join(stages)}: {line}")
        out.print(GPU_NOTE if self.on_gpu else CPU_NOTE)

    def _notes(self) -> dict[str, list[str]]:
        """What is said of stages -> those stages."""
        stages: dict[str, list[str]] = {}
        for row in self.rows:
            for line in dict.fromkeys([*([row.problem] if row.problem else []), *row.notes]):
                stages.setdefault(line, []).append(row.stage)
        return stages

    def _table(self) -> "Table":
        from rich.table import Table

        shown = [name for name in PARTS if any(getattr(row.estimate, name, 0) for row in self.rows)]
        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
        table.add_column("memory", no_wrap=True)
        for name in ("parameters", *shown, "total"):
            table.add_column(name.replace("_", " "), justify="right")
        table.add_column("highest in", no_wrap=True)
        for row in self.rows:
            table.add_row(row.stage, *_cells(row, shown))
        return table


def _cells(row: MemoryRow, shown: list[str]) -> Iterator[str]:
    if row.estimate is None:
        yield from ["?"] * (len(shown) + 2)
        yield "cannot be estimated"
        return
    yield f"{row.estimate.parameters / 1e6:,.1f} M"
    for name in (*shown, "total"):
        value = getattr(row.estimate, name)
        yield size(value, least="MB") if value else ""
    yield row.estimate.peak


def _on_gpu(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())
