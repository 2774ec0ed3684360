"""Why a node runs: what differs from the artifact it had in the pipeline's last run.

The comparison covers what goes into the fingerprint, as it was hashed (`hashed` in the manifest), so
the reason shown is the real one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict

from tempering.artifacts.fingerprint import Fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import Manifest
from tempering.artifacts.resolution import Miss

WILL_RUN = "will run"


class Why(TypedDict):
    """One reason. `old` and `new` are config values, artifact ids, digests or words; None: absent."""

    kind: Literal["config", "input", "version", "new", "damaged", "forced", "reused", "code"]
    field: str
    old: Any
    new: Any


def reasons(
    node: str,
    key: Fingerprint,
    entry: Artifact | Miss,
    inputs: Mapping[str, str | None],
    previous: tuple[str, Manifest | None] | None,
    forced: str | None,
    manifest_of: Callable[[str], Manifest | None],
) -> list[Why]:
    """All reasons for running a node that has no usable artifact, or is forced (`forced`: the option).

    Args:
        inputs: role -> id of an existing artifact, or None where its stage will run.
        previous: the artifact it had, with its manifest unless that is gone.
    """
    # A forced node may have a usable artifact: then there is no other reason.
    why = [Why(kind="forced", field=forced, old=None, new=None)] if forced else []
    if isinstance(entry, Artifact):
        return why
    # An artifact of this fingerprint exists, but cannot be used.
    if entry.kind == "damaged":
        return why + [Why(kind="damaged", field=f, old=entry.artifact, new=b) for f, _, b in entry.changes]
    if entry.kind == "code":
        return why + [Why(kind="code", field=f, old=a, new=b) for f, a, b in entry.changes]
    if entry.kind == "inputs":
        manifest = manifest_of(entry.artifact or "")
        return why + [_input(role, manifest, inputs) for role, _, _ in entry.changes]
    # No artifact of this fingerprint: what differs from the previous one.
    return why + _differences(node, key, inputs, previous)


def in_words(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """All reasons, one per line. Changed modules share one: a refactor changes dozens (`--json` has all)."""
    modules = [change["field"] for change in changes if change["kind"] == "code"]
    reasons = [_in_words(change) for change in changes if change["kind"] != "code"]
    if modules:
        more = f" and {len(modules) - 2} more modules" if len(modules) > 2 else ""
        reasons.append(f"note: its code has changed since: {', '.join(modules[:2])}{more}")
    return reasons


def _differences(
    node: str,
    key: Fingerprint,
    inputs: Mapping[str, str | None],
    previous: tuple[str, Manifest | None] | None,
) -> list[Why]:
    artifact, manifest = previous or (None, None)
    if manifest is None or manifest.hashed.get("stage") != key.hashed["stage"]:
        return [Why(kind="new", field=node, old=artifact, new=None)]
    old, new = manifest.hashed, key.hashed
    why: list[Why] = []
    if old["version"] != new["version"]:
        why.append(Why(kind="version", field="version", old=old["version"], new=new["version"]))
    changes = [*differences(old["config"], new["config"]), *_files(old["files"], new["files"])]
    why += [Why(kind="config", field=f, old=a, new=b) for f, a, b in changes]
    roles = dict.fromkeys([*old["inputs"], *new["inputs"]])
    changed = [role for role in roles if old["inputs"].get(role) != new["inputs"].get(role)]
    why += [_input(role, manifest, inputs) for role in changed]
    return why or [Why(kind="new", field=node, old=artifact, new=None)]


def differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, old, new) for every leaf that differs; lists of different lengths count as leaves."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            first = 1 if key == "version" else None  # a class's first version is not hashed
            at_key = f"{at}.{key}" if at else key
            yield from differences(old.get(key, first), new.get(key, first), at_key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{at}.{index}")
    elif old != new or type(old) is not type(new):
        yield at, old, new


def _files(old: list[list[str]], new: list[list[str]]) -> list[tuple[str, str | None, str | None]]:
    """External files whose bytes, names or order differ."""
    before, after = (dict(files) for files in (old, new))
    changed = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    if not changed and old != new:
        return [("files", ", ".join(name for name, _ in old), ", ".join(name for name, _ in new))]
    return [(f"files.{name}", _short(before.get(name)), _short(after.get(name))) for name in changed]


def _short(digest: str | None) -> str | None:
    return digest[:12] if digest else None


def _input(role: str, manifest: Manifest | None, inputs: Mapping[str, str | None]) -> Why:
    before = manifest.inputs.get(role) if manifest else None
    now = (inputs[role] or WILL_RUN) if role in inputs else None
    return Why(kind="input", field=role, old=before.id if before else None, new=now)


def _in_words(change: Mapping[str, Any]) -> str:
    """One reason in words: `learning_rate 0.0003 → 0.0001`."""
    kind, field, old, new = change["kind"], change["field"], change["old"], change["new"]
    if kind == "new":
        return "has not run yet" if old is None else f"its last artifact {old} is gone or is not comparable"
    if kind == "forced":
        return f"forced by {field}"
    if kind == "reused":
        return f"{new} is taken as it is, by {field}"
    if kind == "damaged":
        return f"{old} is damaged: {field}: {new}"
    if kind == "input":
        return f"input {field}: {_word(old, 'none')} → {_word(new, 'none')}"
    if kind == "version":
        return f"the stage's version {old} → {new}"
    return f"{field} {_word(old)} → {_word(new)}"


def _word(value: Any, absent: str = "null") -> str:
    return absent if value is None else str(value)
