"""What all builders share: where rows come from, how they are split, and how one row is normalised.

A builder is a config class with a `kind`, a `row_type` and a `normalise` that turns one foreign record into
canonical columns. It raises `BadRow` for records it cannot normalise and calls `note` for changes. Checking,
counting, filtering, limiting and splitting happen once, in `builders.build` and `prepare`, never in a
builder. A local path is not part of the identity: the bytes of the files are.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from tempering.config import MOST_SEED, SET, Config, Readers, added_field, runtime_field
from tempering.data.builders.columns import Columns
from tempering.data.builders.record import BadRow, Note, Record, renamed, scalars, string
from tempering.data.files import Reading, excerpt, read_records
from tempering.data.files.sources import hub_commit, hub_files, local_files
from tempering.data.quality.config import QualityConfig
from tempering.data.rows import Notice, Rejected, Row, RowType, Values

__all__ = [
    "BadRow",
    "BuilderConfig",
    "FileBuilderConfig",
    "Item",
    "Note",
    "Record",
    "renamed",
    "scalars",
    "string",
]

Item = Row | Rejected | Notice
_FOLDERS = ("finetune", "reward", "evaluation", "rl")


class BuilderConfig(Config):
    """A data set: where its rows come from and how they are split."""

    kind: str
    split: str | None = Field(
        default=None, description="read only this split; null: train where there are splits, else everything"
    )
    train_split: str | None = Field(
        default=None, description="split of the train part; set with eval_split, instead of eval_fraction"
    )
    eval_split: str | None = Field(default=None, description="split of the eval part, all of it")
    eval_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of the rows held out into the eval part; 1.0 = all of them",
    )
    dataset_fraction: float = Field(
        default=1.0, gt=0, le=1, description="share of the data set to use, picked by a hash of each row"
    )
    fold: str | None = added_field(
        None,
        pattern=r"^[1-9][0-9]{0,2}/[1-9][0-9]{0,2}$",
        description="k/n: only the k-th of n disjoint parts of the data set, by a hash of each row; what is "
        "held out is the same in all of them",
    )
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description="the first so many rows of a split that are good and pass the filters; null = all",
    )
    max_rejected_fraction: float = Field(
        default=0.01, ge=0, le=1, description="the stage fails when a larger share of the rows is rejected"
    )
    seed: int = Field(
        default=0, ge=0, le=MOST_SEED, description="decides which rows are held out or left out"
    )
    quality: QualityConfig = Field(
        default_factory=QualityConfig, description="duplicates, decontamination, lengths"
    )

    @field_validator("fold")
    @classmethod
    def _is_one_of_its_folds(cls, fold: str | None) -> str | None:
        if fold is not None and int(fold.split("/")[0]) > int(fold.split("/")[1]):
            raise ValueError(f"{fold} is not one of the parts; fix: 1/2 and 2/2 are the two halves")
        return fold

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        settings = self.model_fields_set
        if (self.train_split is None) != (self.eval_split is None):
            raise ValueError("train_split and eval_split are set together, or not at all")
        if self.eval_split is not None and self.eval_split == self.train_split:
            raise ValueError(f"train_split and eval_split are both {self.eval_split!r}")
        other_way = ("split" in settings and self.split) or (
            "eval_fraction" in settings and self.eval_fraction
        )
        if self.eval_split is not None and other_way:
            raise ValueError("eval_split takes the place of split and eval_fraction: set one or the other")
        return self

    @property
    @abstractmethod
    def row_type(self) -> RowType:
        """The type of all rows of this builder."""

    @abstractmethod
    def read(self, split: str | None) -> Iterator[Item]:
        """All rows of a split in file order, in canonical columns, not yet checked."""

    def passes(self) -> tuple[tuple[str | None, float], ...]:
        """`(split, share that is held out)` of each pass over the source: one, or one per part."""
        if self.eval_split is None:
            return ((self.split, self.eval_fraction),)
        return ((self.train_split, 0.0), (self.eval_split, 1.0))


class FileBuilderConfig(BuilderConfig):
    """A data set that is read from files: local ones, or those of a data set on the Hub."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "subset": {"hub": SET},
        "revision": {"hub": SET},
        "header": {"format": ("auto", "csv", "tsv")},
        "encoding": {"format": ("auto", "jsonl", "json", "csv", "tsv", "text")},
    }

    path: Path | tuple[Path, ...] | None = runtime_field(
        None, description="local file, folder or list of them; their bytes are the identity; goes before hub"
    )
    hub: str | None = Field(default=None, description="name of a data set on the Hub, such as owner/name")
    subset: str | None = Field(default=None, description="subset (configuration) of a data set on the Hub")
    revision: str = Field(default="main", description="commit, tag or branch of a data set on the Hub")
    format: Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "text"] = Field(
        default="auto", description="how the files are read; auto: by name, then by content"
    )
    encoding: Literal["utf-8", "cp1252", "latin-1"] = Field(
        default="utf-8", description="of text files; a line that does not fit it is rejected"
    )
    header: bool = Field(
        default=True, description="CSV, TSV: the first row names the columns; false: they are called 0, 1, 2"
    )
    columns: Mapping[str, str] = Field(
        default_factory=dict,
        description="column this builder looks for -> column of the file; dots reach into objects",
    )

    ignore_columns: tuple[str, ...] = added_field(
        (),
        description="columns whose names say that they judge answers (label, score, train, is_good) and that "
        "need not be read: they are columns like any other",
    )

    folder_rows: ClassVar[Mapping[str, str]] = {
        "finetune": "prompt_completion",
        "reward": "preference",
        "rl": "prompts",
    }
    """Name of a local folder -> the value of `rows` in it, if `rows` is not set and can have that value."""

    @model_validator(mode="before")
    @classmethod
    def _follow_the_folder(cls, settings: Any) -> Any:
        # Written into the config, since the path itself is not part of the identity.
        folder = _folder_of(settings.get("path")) if isinstance(settings, dict) else ""
        rows = cls.folder_rows.get(folder, "")
        field = cls.model_fields.get("rows")
        if field is not None and rows in get_args(field.annotation):
            settings = {"rows": rows, **settings}
        if folder and "folder" in cls.model_fields and "rows" not in settings:
            settings = {"folder": folder, **settings}
        if folder == "evaluation" and settings.get("eval_split") is None:
            settings = {"eval_fraction": 1.0, **settings}
        return cls.completed(settings)

    @classmethod
    def completed(cls, settings: Any) -> Any:
        """The settings with what follows from them, which is part of the identity."""
        return settings

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.path is None and self.hub is None:
            raise ValueError("say where the rows are: `path:` a local file or folder, or `hub:` owner/name")
        return self

    @property
    def paths(self) -> tuple[Path, ...]:
        """The local paths as configured; none if the rows come from the Hub."""
        if self.path is None:
            return ()
        return self.path if isinstance(self.path, tuple) else (self.path,)

    @property
    def reading(self) -> Reading:
        """How the files are read."""
        return Reading(format=self.format, encoding=self.encoding, header=self.header)

    def external_files(self) -> tuple[Path, ...]:
        """All local files of all passes; each must exist, so that planning already names what is missing."""
        return tuple(file for _, file in self.named_files())

    def named_files(self) -> tuple[tuple[str, Path], ...]:
        """The files by split and by path inside the configured folder.

        The split a file is read for changes the rows, so it is hashed; the location of the folder is not.
        """
        if self.path is None:
            return ()
        splits = [split for split, _ in self.passes()]
        read = [(split, file) for split in splits for file in local_files(self.paths, split)]
        return tuple((f"{split}:" * bool(split) + self._name_of(file), file) for split, file in read)

    def _name_of(self, file: Path) -> str:
        folder = next(
            (path for path in self.paths if path != file and file.is_relative_to(path)), file.parent
        )
        return file.relative_to(folder).as_posix()

    def external_revisions(self) -> tuple[tuple[str, str], ...]:
        """The data set on the Hub and the commit of its revision."""
        if self.path is not None or self.hub is None:
            return ()
        return ((f"hub:{self.hub}", hub_commit(self.hub, self.revision)),)

    def files(self, split: str | None) -> tuple[Path, ...]:
        """The files of a split, in order; fetched from the Hub if need be."""
        if self.path is not None:
            return tuple(local_files(self.paths, split))
        assert self.hub is not None
        return tuple(hub_files(self.hub, self.subset, self.revision, split))

    def read(self, split: str | None) -> Iterator[Item]:
        """The rows of all files of a split, file by file."""
        for path in self.files(split):
            yield from self.read_file(path)

    def read_file(self, path: Path) -> Iterator[Item]:
        """The rows of one file; builders of running text override it."""
        yield from self.rows_in(path, read_records(path, self.reading))

    def rows_in(self, path: Path, items: Iterable[tuple[int, Record] | Rejected]) -> Iterator[Item]:
        """The rows of all records of a file, each with its line."""
        columns = Columns(path.name, self.kind, self.row_type, self.ignore_columns)
        for item in items:
            if isinstance(item, Rejected):
                yield item
            else:
                yield from self.rows_of(path, *item, columns)

    def rows_of(self, path: Path, line: int, record: Record, columns: Columns) -> Iterator[Item]:
        """One record as rows, or as a rejection with file and line.

        Raises:
            DataError: a column that nobody reads judges the answer.
        """
        notes: list[str] = []
        asked = columns.to_read(renamed(record, self.columns))
        try:
            normalised = self.normalise(asked, notes.append)
            for values in [normalised] if isinstance(normalised, dict) else normalised:
                group = self.group(asked)
                yield Row(values, path.name, line, group, columns.unused(asked, values))
        except BadRow as error:
            yield Rejected(path.name, line, str(error), excerpt(record))
            return
        for text in dict.fromkeys(notes):
            yield Rejected(path.name, line, text, excerpt(record), kept=True)

    @abstractmethod
    def normalise(self, record: Record, note: Note) -> Values | Iterable[Values]:
        """The canonical row or rows of a record, whose columns have the names this builder looks for.

        Raises:
            BadRow: the record cannot be normalised, with the reason.
        """

    def group(self, record: Record) -> str:
        """The key by which rows are held out together; "": as their type says."""
        return ""


def _folder_of(path: Any) -> str:
    """The folder of the local layout that holds all paths: `data/NAME`, the innermost one.

    Only directly inside `data`: a checkout may be somewhere below a folder named `evaluation`.
    """
    paths = path if isinstance(path, list | tuple) else [path]
    names = {_layout_name(Path(str(place)).parts) for place in paths if place}
    return names.pop() if len(names) == 1 else ""


def _layout_name(parts: tuple[str, ...]) -> str:
    below = [name for above, name in pairwise(parts) if above == "data" and name in _FOLDERS]
    return below[-1] if below else ""
