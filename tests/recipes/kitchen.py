"""A recipe's local form in a folder of its own: made-up files, a tiny model, all stages in one process."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.build import build_graph
from flows.config import load_pipeline
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.store import Store
from tests.recipes.rows import FILES
from tests.tiny import run_nodes

RECIPES = Path(__file__).parent.parent.parent / "configs" / "recipes"
MODELS = {"llama3b-ultrafeedback": ("llama", "tiny-llama"), "qwen-smoltalk": ("qwen", "tiny-qwen")}


@dataclass
class Kitchen:
    """Where a recipe is run: its folder is the working directory, so that relative paths lead there."""

    recipe: str
    folder: Path
    made: dict[str, Artifact] = field(default_factory=dict)

    @property
    def local(self) -> Path:
        """`local.yaml`, or the pipeline itself where it is small."""
        path = RECIPES / self.recipe / "local.yaml"
        return path if path.exists() else path.with_name("pipeline.yaml")

    def nodes(self, overrides: Iterable[str] = ()) -> list[Any]:
        return build_graph(load_pipeline(self.local, overrides))

    def run(self, overrides: Iterable[str] = ()) -> dict[str, Artifact]:
        """All stages; node name -> artifact."""
        nodes = self.nodes(overrides)
        store = Store(self.folder / "artifacts")
        return {node.name: run_nodes(store, nodes, node.name, self.made) for node in nodes}


def lay_out(recipe: str, folder: Path) -> Kitchen:
    """The files that a recipe's local form names, and its model, below `folder`/data."""
    FILES[recipe](folder / "data")
    if recipe in MODELS:
        from benchmarks.tiny_models import FAMILIES, make_tiny_model, strings_in

        family, name = MODELS[recipe]
        texts = [text for path in sorted((folder / "data").rglob("*.jsonl")) for text in strings_in(path)]
        where = folder / "data" / "models" / name
        make_tiny_model(FAMILIES[family], texts, where, vocab_size=400, steps=0)
    return Kitchen(recipe, folder)
