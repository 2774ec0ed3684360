"""The manifest: everything known about one artifact, written last; present means complete.

`hashed` is exactly what the fingerprint was computed from, so `temper plan` can say field by field
why a stage reruns. `seal` is a digest over all the rest: a manifest edited by hand is noticed.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from tempering.artifacts.atomic import read_file
from tempering.errors import ArtifactError, StoreError

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


def _inside(name: str) -> str:
    if name.startswith("/") or "\0" in name or {"..", "."} & set(name.split("/")):
        raise ValueError("it leads out of its folder")
    return name


Inside = Annotated[str, AfterValidator(_inside)]
"""A path below a folder, which no `..` and no `/` at its beginning leads out of."""


class FileEntry(_Part):
    """One file of an artifact; `mtime_ns` saves hashing it again."""

    size: int
    mtime_ns: int
    sha256: str


class InputRef(_Part):
    """The artifact that filled a role."""

    id: Inside
    payload_digest: str
    fingerprint: str


def _moment(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("it has no time zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]
"""A time in ISO format, with its zone; "" where it is not known."""


class CodeState(_Part):
    """The code that made an artifact: git state, and a digest per project module the stage uses."""

    commit: str | None = None
    dirty: bool | None = None
    files: dict[str, str] = {}


class Manifest(_Part):
    """What `manifest.json` holds. `stage` is the node's name, such as `evaluate[ppo]`."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    kind: str
    id: Inside
    fingerprint: str
    hashed: dict[str, Any] = {}
    config: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    inputs: dict[str, InputRef] = {}
    payload_digest: str = ""
    code: CodeState = CodeState()
    versions: dict[str, str] = {}
    device: str = ""
    seed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    resumed_from_tokens: int | None = None
    metrics: dict[str, float | int | str | None] = {}
    details: dict[str, Any] = {}
    files: dict[Inside, FileEntry] = {}
    created: Moment = ""
    seal: str = ""

    def to_json(self) -> bytes:
        """The file's bytes, sealed."""
        tree = self.model_dump(mode="json", exclude={"seal"})
        tree["seal"] = _seal(tree)
        return (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_manifest(folder: Path, *, sealed: bool = True) -> Manifest:
    """Read `folder`/manifest.json.

    Raises:
        ArtifactError: missing, not JSON, written by a newer version, or (`sealed`) edited since.
        StoreError: it may not be read: nobody knows then whether the artifact is intact.
    """
    path = folder / FILE_NAME
    try:
        tree = json.loads(read_file(path))
        if not isinstance(tree, dict):
            raise _broken(path, f"holds a {type(tree).__name__} instead of an object")
        seal = tree.pop("seal", "")
        manifest = Manifest.model_validate({**tree, "seal": seal})
        intact = seal == _seal(tree)  # numbers that JSON does not have are an error too
    except (FileNotFoundError, NotADirectoryError):
        raise _broken(path, "is missing") from None
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}",
            expected="a file that this user can read",
            fix="change the rights there, or remove the artifact's folder and let the stage run again",
        ) from None
    except ValidationError as error:
        fields = ", ".join(dict.fromkeys(str(fault["loc"][0]) for fault in error.errors()))
        raise _broken(path, f"is malformed: {fields}") from None
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"is malformed: {str(error).splitlines()[0]}") from None
    if manifest.schema_version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {manifest.schema_version}",
            expected=f"at most {SCHEMA_VERSION}, the newest this version of Tempering knows",
            fix="update tempering, or use another store",
        )
    if sealed and not intact:
        raise _broken(path, "was changed after the artifact was made")
    return manifest


def _broken(path: Path, fault: str) -> ArtifactError:
    return ArtifactError(
        f"{path} {fault}",
        expected="the manifest as the stage wrote it",
        fix="restore it from a copy, or remove the folder and let the stage run again",
    )


def _seal(tree: Mapping[str, Any]) -> str:
    text = json.dumps(tree, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plain(value: Any) -> Any:
    """`value` as JSON can hold it, for what is recorded but never hashed.

    Lenient on purpose: a NaN metric must not lose days of training at the last step. NaN and
    infinities become null, numpy and torch scalars numbers, everything unknown its text.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, PurePath):
        return value.as_posix()
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return plain(value.item())
    return str(value)
