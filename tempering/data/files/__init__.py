"""Reading foreign files so that every fault has a file and a line (or a row index)."""

from tempering.data.files.json_rows import read_document
from tempering.data.files.lines import excerpt, read_lines
from tempering.data.files.opening import require_file
from tempering.data.files.records import Reading, file_format, read_records

__all__ = [
    "Reading",
    "excerpt",
    "file_format",
    "read_document",
    "read_lines",
    "read_records",
    "require_file",
]
