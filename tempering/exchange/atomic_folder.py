"""A model folder for people: all of it appears at once, or nothing does."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempering.artifacts.atomic import beside, publish_folder, sweep
from tempering.errors import UserError

_MODEL = ("config.json", "adapter_config.json")
_OURS = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md", ".py")


def is_model_folder(folder: Path) -> bool:
    """Whether it holds a model and nothing else, and is not part of an artifact: it may be replaced."""
    if any((above / "manifest.json").is_file() for above in (folder, *folder.absolute().parents)):
        return False
    paths = list(folder.iterdir())
    names = {path.name for path in paths}
    only_model_files = all(path.is_file() and path.name.endswith(_OURS) for path in paths)
    has_weights = any(name.endswith(".safetensors") for name in names)
    return only_model_files and has_weights and bool(names & set(_MODEL))


def check_free(folder: Path, force: bool) -> None:
    """Refuse a folder that holds something; with `force` only one that is not a model folder.

    Raises:
        UserError: naming it.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or (force and not is_model_folder(folder)):
        raise UserError(
            f"{folder} exists and is not a model folder, holds other files too, or is part of an artifact",
            expected="a new or empty folder, or with --force a model folder to replace",
            fix="choose another name",
        )
    if not force:
        raise UserError(
            f"{folder} already exists",
            expected="a new or empty folder",
            fix="choose another name, or replace it by --force",
        )


@contextmanager
def whole_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well.

    Raises:
        UserError: `folder` holds something, or cannot be written.
    """
    target = folder.absolute()
    sweep(target)
    check_free(folder, force)
    temporary = beside(target)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        publish_folder(temporary, target)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}", fix="choose a folder you may write to"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
