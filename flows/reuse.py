"""`--reuse STAGE=ID`: an artifact of the store in the place of what a stage would make.

The node stays, so that runs, tables and `STAGE@latest` show it; its fingerprint is the artifact's own, so
that what is made of it is never taken for what the config alone would make. What only it needed is left out.
"""

from collections.abc import Iterable
from dataclasses import replace

from flows.graph import Node
from flows.plan import select
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.store import Store
from tempering.errors import UserError


def with_reused(nodes: list[Node], words: Iterable[str], store: Store) -> list[Node]:
    """The nodes, with artifacts in the places that `words` (`STAGE=ID`) name.

    Raises:
        UserError: a word of another form, an unknown stage or artifact, or one of another kind.
    """
    artifacts = dict(_read(nodes, word, store) for word in words)
    if not artifacts:
        return nodes
    # A node is needed if nothing asked for its output before, or if a needed one does.
    inputs = {parent for node in nodes for parent in node.before()}
    needed: set[str] = {node.name for node in nodes if node.name not in inputs} | artifacts.keys()
    for node in reversed(nodes):
        if node.name in needed and node.name not in artifacts:
            needed.update(node.before())
    return [_reused(node, artifacts.get(node.name)) for node in nodes if node.name in needed]


def _read(nodes: list[Node], word: str, store: Store) -> tuple[str, Artifact]:
    name, sign, reference = word.partition("=")
    if not sign or not name or not reference:
        raise UserError(f"--reuse {word}: no stage and artifact", expected="STAGE=ID, such as sft=sft@latest")
    names = select(nodes, name)
    if len(names) > 1:
        raise UserError(
            f"--reuse {word}: {name} is {len(names)} stages", expected=f"one of: {', '.join(sorted(names))}"
        )
    (node,) = [node for node in nodes if node.name in names]
    artifact = store.get(reference)
    if not isinstance(artifact, node.stage.makes):
        raise UserError(
            f"--reuse {word}: {artifact.id} is a {artifact.kind}",
            expected=f"a {node.stage.makes.kind}, which {node.name} makes",
        )
    return node.name, artifact


def _reused(node: Node, artifact: Artifact | None) -> Node:
    return node if artifact is None else replace(node, inputs={}, after=(), reuse=artifact.id)
