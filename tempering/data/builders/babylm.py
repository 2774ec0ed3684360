"""The corpora of BabyLM: the official .train, .dev and .test text files, and records of them.

Simple Wikipedia and Gutenberg are cut at `= = = Title = = =` (anywhere in a line). The headers and licences
of Gutenberg are removed and its hard-wrapped lines joined, so that a document is a book. The files of talk
(CHILDES, Switchboard, OpenSubtitles, BNC) have one utterance per line and do not mark where a conversation
ends: their lines are gathered into documents of `document_words` words, which may therefore hold the end of
one conversation and the beginning of another.
Warstadt et al. 2023, https://aclanthology.org/2023.conll-babylm.1.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from tempering.config import Tree
from tempering.data.builders.base import Item, Note, Record
from tempering.data.builders.documents import Document, DocumentsConfig
from tempering.data.builders.gutenberg import books, without_licence
from tempering.data.files import read_lines
from tempering.data.rows import Rejected, Row, Values
from tempering.errors import DataError

Corpus = Literal["childes", "simple_wiki", "gutenberg", "switchboard", "open_subtitles", "bnc_spoken"]
TITLE = re.compile(r"= = = (.+?) = = =")
# `*MOT:` of CHILDES, `A:<tab>` of Switchboard.
_SPEAKER = re.compile(r"^(?:\*[A-Z0-9]{2,4}:|[A-Z]:\t)\s*")


class BabyLMConfig(DocumentsConfig):
    """Documents of one of the corpora, or of a folder of them."""

    kind: Literal["babylm"] = "babylm"
    corpus: Literal["auto"] | Corpus = Field(
        default="auto", description="which corpus the files are of; auto: by their names"
    )
    document_words: int = Field(default=200, ge=1, description="talk: fewest words of a document")
    speakers: Literal["keep", "strip"] = Field(
        default="keep", description="talk: the marks of speakers at the beginning of lines"
    )

    def corpus_of(self, path: Path) -> str:
        """The corpus of a file.

        Raises:
            DataError: its name does not say.
        """
        corpus = corpus_named(path.name) if self.corpus == "auto" else self.corpus
        if not corpus:
            raise DataError(
                f"{path}: the file name does not say which corpus it belongs to",
                expected=f"a name that contains one of {', '.join(get_args(Corpus))}",
                fix="set `corpus`",
            )
        return corpus

    def as_hashed(self, tree: Tree) -> Tree:
        """Version 2 where there may be books of Gutenberg: the other corpora are read as before."""
        named = [corpus_named(Path(path).name) for path in self.paths]  # of a folder it says nothing
        corpora = named if self.corpus == "auto" else [self.corpus]
        others = bool(corpora) and all(corpus not in ("", "gutenberg") for corpus in corpora)
        return tree if others else {**tree, "version": 2}

    def documents_of(self, path: Path) -> Iterator[Item]:
        """The documents of a text file."""
        corpus = self.corpus_of(path)
        if corpus == "simple_wiki":
            return self._articles(path)
        return books(path, self.encoding) if corpus == "gutenberg" else self._talk(path, corpus)

    def read_file(self, path: Path) -> Iterator[Item]:
        """One row per document, with its corpus."""
        corpus = self.corpus_of(path)
        for item in super().read_file(path):
            if isinstance(item, Row):
                item = Row({"corpus": corpus, **item.values}, item.file, item.line, item.group)
            yield item

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per record."""
        values = super().normalise(record, note)
        text = without_licence(values["text"], note)
        if self.speakers == "strip":
            text = "\n".join(map(_without_speaker, text.split("\n")))
        return {**values, "text": text}

    def _articles(self, path: Path) -> Iterator[Item]:
        document = Document(path)
        for item in read_lines(path, self.encoding):
            if isinstance(item, Rejected):
                yield item
                document.torn = True
                continue
            before, *titled = TITLE.split(item[1])
            document.add(item[0], before)
            for title, text in zip(titled[::2], titled[1::2], strict=True):
                yield from _article(document)
                document = Document(path, {"title": title})
                document.start = item[0]
                document.add(item[0], text)
        yield from _article(document)

    def _talk(self, path: Path, corpus: str) -> Iterator[Item]:
        document, words = Document(path), 0
        for item in read_lines(path, self.encoding):
            if isinstance(item, Rejected):
                yield item  # the document stays: utterances belong together only loosely
                continue
            text = item[1].strip() if self.speakers == "keep" else _without_speaker(item[1].strip())
            if text:
                document.add(item[0], text)
                words += len(text.split())
            if words >= self.document_words:
                yield from document.take()
                document, words = Document(path), 0
        yield from document.take()


def corpus_named(name: str) -> str:
    """The corpus in the name of a file; "" if there is none."""
    return next((corpus for corpus in get_args(Corpus) if corpus in name.lower()), "")


def _article(document: Document) -> Iterator[Row]:
    text = "\n".join(part.strip() for part in document.parts).strip()
    if "title" in document.extras and not text and not document.torn:
        # Only a title: passed on, so that the row is rejected as empty and counted.
        yield Row({**document.extras, "text": ""}, document.path.name, document.start)
    yield from document.take(text)


def _without_speaker(line: str) -> str:
    return _SPEAKER.sub("", line)
