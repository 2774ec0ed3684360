"""`temper plan --memory`: what each training stage will need, as a table and as JSON.

The arithmetic is in `tempering.memory`, where its inputs come from in `memory_inputs`. Imports torch,
so only this flag pays for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.cli.memory_inputs import Look, MemoryRow

if TYPE_CHECKING:
    from rich.table import Table

    from flows.session import Planned

PARTS = (
    "weights", "gradients", "optimizer", "activations", "reference", "reward_model", "kv_cache", "other",
    "allocator",
)  # fmt: skip
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
        found = {row.stage: row.row() for row in self.rows}
        return [{**row, "memory": found.get(row["stage"])} for row in plan]

    def print(self) -> None:
        """Print a table on stdout, and below it what the numbers rest on."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=200)
        console.print()
        console.print(self._table())
        for line, stages in self._notes().items():
            console.print(f"{', '.join(stages)}: {line}", markup=False)
        console.print(GPU_NOTE if self.on_gpu else CPU_NOTE)

    def _notes(self) -> dict[str, list[str]]:
        """What is said of stages -> those stages."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            for line in dict.fromkeys([*([row.problem] if row.problem else []), *row.notes]):
                found.setdefault(line, []).append(row.stage)
        return found

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
    found = row.estimate
    if found is None:
        yield from ["?"] * (len(shown) + 2)
        yield "cannot be estimated"
        return
    yield f"{found.parameters / 1e6:,.1f} M"
    for name in (*shown, "total"):
        value = getattr(found, name)
        yield size(value) if value else ""
    yield found.peak


def size(value: float) -> str:
    """Bytes in words: 340 MB, 12.3 GB."""
    return f"{value / 1e9:,.1f} GB" if value >= 1e9 else f"{value / 1e6:,.0f} MB" if value >= 1e7 else (
        f"{value / 1e6:,.1f} MB"
    )  # fmt: skip


def _on_gpu(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())
