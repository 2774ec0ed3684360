"""Finished pieces of long work in an evaluation's draft: a killed run does not do them again.

A piece (a seed of a fine-tuning, a checkpoint of a curve) lies in a checkpoint of the draft, named after
the tokens that were used up to it, since that is what a partial is kept for. The partial belongs to one
fingerprint and to the same inputs, so a piece needs no more than a name: any text, of which its file
has the digest. They are removed when the evaluation has written its tables.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tempering.artifacts.atomic import beside, publish_folder, write_atomic
from tempering.artifacts.draft import Draft, checkpoints_in
from tempering.artifacts.names import checkpoint_name, checkpoint_tokens
from tempering.artifacts.partial import remove

Piece = Mapping[str, Any]


def finished_piece(out: Draft | None, name: str) -> Piece | None:
    """A piece that an earlier run has finished, or None."""
    for folder in [] if out is None else checkpoints_in(out.path):
        path = folder / _file(name)
        if path.is_file():
            assert out is not None
            out.resumed_from_tokens = checkpoint_tokens(folder.name)
            piece: Piece = json.loads(path.read_text("utf-8"))
            return piece
    return None


def keep_piece(out: Draft | None, name: str, piece: Piece, tokens: int = 1) -> Piece:
    """Keep a piece that used `tokens` from now on, whatever happens to the process.

    Returns:
        the piece as `finished_piece` will give it: numpy's numbers are Python's.
    """
    text = json.dumps(piece, default=lambda value: value.tolist())
    kept: Piece = json.loads(text)
    if out is None:
        return kept
    before = [checkpoint_tokens(folder.name) or 0 for folder in checkpoints_in(out.path)]
    place = out.checkpoints_dir / checkpoint_name(max(before, default=0) + max(tokens, 1))
    temporary = beside(place)
    temporary.mkdir()
    write_atomic(temporary / _file(name), text.encode())
    publish_folder(temporary, place, durable=True)
    return kept


def drop_pieces(out: Draft) -> None:
    """All work is done: the pieces are in its tables."""
    remove(out.path / "checkpoints")


def _file(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).hexdigest()}.json"
