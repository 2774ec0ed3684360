"""The lineage as a picture: which data became which sample, which sample and model became which model.

An edge that a longer way says already is left out, and so are tokenizers and evaluations, which touch
everything. Layers go from left to right: a model right of what it was made from, data as near to their use as
they can be. Within a layer a node stands near the middle of its neighbours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tempering.artifacts.kinds import Artifact, DatasetArtifact, ModelArtifact, SampleArtifact
from tempering.artifacts.names import stage_folder
from tempering.report.names import Model, label_of
from tempering.report.numbers import count
from tempering.report.svg import tag

_BOX, _ROW = (154, 38), 50  # a box, and from one row to the next, px
_GAP = 34  # between two layers, px
_MOST = 19  # characters of a label
_SWEEPS = 4


@dataclass(frozen=True)
class Node:
    """One artifact in the picture; `parents` are ids."""

    id: str
    label: str
    note: str
    color: str
    parents: tuple[str, ...] = ()


def lineage_graph(
    datasets: Mapping[str, DatasetArtifact],
    samples: Mapping[str, SampleArtifact],
    models: Mapping[str, ModelArtifact],
    cast: Mapping[str, Model],
) -> Markup | None:
    """The graph of everything that led to a model; None where there are no models."""
    nodes = _reduced(_nodes(datasets, samples, models, cast))
    if not nodes:
        return None
    places = _places(nodes)
    width = max(x for x, _ in places.values()) + _BOX[0]
    height = max(y for _, y in places.values()) + _BOX[1]
    edges = [_edge(places[parent], places[node.id]) for node in nodes.values() for parent in node.parents]
    boxes = [_box(node, *places[node.id]) for node in nodes.values()]
    words = "; ".join(
        f"{node.label} from {' and '.join(nodes[parent].label for parent in node.parents)}"
        for node in nodes.values()
        if node.parents
    )
    return tag(
        "svg",
        tag("title", f"Lineage: {words}"),
        *edges,
        *boxes,
        cls="lineage",
        role="img",
        aria_label=f"Lineage: {words}",
        viewBox=f"-1 -1 {width + 2} {height + 2}",
        width=width + 2,
        height=height + 2,
    )


def _nodes(
    datasets: Mapping[str, DatasetArtifact],
    samples: Mapping[str, SampleArtifact],
    models: Mapping[str, ModelArtifact],
    cast: Mapping[str, Model],
) -> dict[str, Node]:
    """The nodes from which a way leads to a model, by id."""
    every: dict[str, tuple[Artifact, str, str, str]] = {}
    for name, data in datasets.items():
        every.setdefault(data.id, (data, name.replace("_", " "), "data set", "m-none"))
    for name, sample in samples.items():
        tokens = sample.manifest.tokens
        note = f"sample, {count(tokens)} tokens" if tokens else "sample"
        every.setdefault(sample.id, (sample, label_of(name), note, "m-none"))
    for key, model in models.items():
        tokens = model.manifest.tokens
        note = f"{count(tokens)} tokens" if tokens else "model"
        every.setdefault(model.id, (model, cast[key].label, note, cast[key].color))
    # An adapter's merged model is the same node as the adapter.
    merges = {stage_folder(f"merge[{key}]"): models[key].id for key in models}
    nodes: dict[str, Node] = {}
    pending = [model.id for model in models.values()]
    while pending:
        name = pending.pop(0)
        if name in nodes or name not in every:
            continue
        artifact, label, note, color = every[name]
        sources = ["/".join(ref.id.split("/")[:2]) for ref in artifact.manifest.inputs.values()]
        sources = [merges.get(source.split("/")[0], source) for source in sources]
        parents = tuple(source for source in dict.fromkeys(sources) if source in every and source != name)
        nodes[name] = Node(name, label, note, color, parents)
        pending += parents
    return {name: nodes[name] for name in every if name in nodes}


def _reduced(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Without the edges that a longer way makes needless."""
    above: dict[str, set[str]] = {}

    def ancestors(name: str) -> set[str]:
        if name not in above:
            above[name] = set()
            for parent in nodes[name].parents:
                above[name] |= {parent} | ancestors(parent)
        return above[name]

    def direct(node: Node) -> Iterable[str]:
        rest = [set() if other == node.id else ancestors(other) for other in node.parents]
        return (parent for parent in node.parents if not any(parent in ways for ways in rest))

    return {name: replace(node, parents=tuple(direct(node))) for name, node in nodes.items()}


def _places(nodes: Mapping[str, Node]) -> dict[str, tuple[float, float]]:
    """Where each box begins."""
    depth: dict[str, int] = {}

    def layer(name: str) -> int:
        if name not in depth:
            depth[name] = 0
            depth[name] = 1 + max((layer(parent) for parent in nodes[name].parents), default=-1)
        return depth[name]

    layers: list[list[str]] = [[] for _ in range(1 + max(map(layer, nodes)))]
    children: dict[str, list[str]] = {name: [] for name in nodes}
    for node in nodes.values():
        for parent in node.parents:
            children[parent].append(node.id)
    # Data move to the right, as far as their first use lets them: samples first, then what they are made of.
    for name in sorted(nodes, key=lambda name: -depth[name]):
        if children[name] and nodes[name].color == "m-none":
            depth[name] = min(depth[child] for child in children[name]) - 1
    for name in nodes:
        layers[depth[name]].append(name)
    # Each node towards the middle of its neighbours: down the layers and up again.
    rows = {name: float(row) for names in layers for row, name in enumerate(names)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for names in layers if down else reversed(layers):
            near = {name: nodes[name].parents if down else children[name] for name in names}
            names.sort(key=lambda name: _mean([rows[other] for other in near[name]], rows[name]))
            rows |= {name: float(row) for row, name in enumerate(names)}
    tallest = max(map(len, layers))
    return {
        name: (depth[name] * (_BOX[0] + _GAP), (row + (tallest - len(names)) / 2) * _ROW)
        for names in layers
        for row, name in enumerate(names)
    }


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x, y = start[0] + _BOX[0], start[1] + _BOX[1] / 2
    to_x, to_y = end[0], end[1] + _BOX[1] / 2
    bend = min(40.0, (to_x - x) / 2)
    curve = f"M{x:g},{y:g}C{x + bend:g},{y:g} {to_x - bend:g},{to_y:g} {to_x:g},{to_y:g}"
    return tag("path", d=curve, cls="edge")


def _box(node: Node, x: float, y: float) -> Markup:
    label = node.label if len(node.label) <= _MOST else f"{node.label[: _MOST - 1]}…"
    return tag(
        "g",
        tag("title", node.id),
        tag("rect", x=x, y=y, width=_BOX[0], height=_BOX[1], rx=6, cls="box"),
        tag("rect", x=x, y=y, width=4, height=_BOX[1], rx=2, cls="side"),
        tag("text", label, x=x + 12, y=y + 16, cls="what"),
        tag("text", node.note, x=x + 12, y=y + 30, cls="tick"),
        cls=node.color,
    )
