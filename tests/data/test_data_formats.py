"""Tables, columnar files and packed files: told by name and content, with every fault counted."""

import decimal
import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempering.data.files import Reading, opening, read_records, table_rows
from tempering.data.rows import Rejected
from tempering.errors import DataError

ROWS = [{"text": "a", "n": 1}, {"text": "é", "n": None}]


def told(items):
    """Good records as they are; of rejections the row index and the reason."""
    return [(item.line, item.reason) if isinstance(item, Rejected) else item for item in items]


@pytest.fixture
def records(tmp_path):
    def write(content, name, **reading):
        path = tmp_path / name
        path.write_bytes(content)
        return told(read_records(path, Reading(**reading)))

    return write


def parquet(rows, **options):
    sink = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


def arrow(rows, open_writer=pa.ipc.new_stream, rows_a_batch=1000):
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    with open_writer(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_a_batch)
    return sink.getvalue()


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


# --- CSV and TSV


def test_csv_rows_are_dicts_of_strings(records):
    content = '\ufefftext,label\r\n"a, ""b""\n\nc",1\r\n\r\nsay "hi",2\r\nraw\u2028\x85,\r\n'.encode()
    assert records(content, "a.csv") == [
        (0, {"text": 'a, "b"\n\nc', "label": "1"}),
        (1, {"text": 'say "hi"', "label": "2"}),
        (2, {"text": "raw\u2028\x85", "label": ""}),
    ]
    assert records(b"a,b\nc,d", "a.csv", header=False) == [
        (0, {"0": "a", "1": "b"}),
        (1, {"0": "c", "1": "d"}),
    ]
    assert records(b"a,b\n", "a.csv") == records(b"", "a.csv") == []


def test_csv_may_be_separated_by_what_its_header_is(records):
    rows = [(0, {"a": "1, or 2", "b": "x;y"})]
    assert records(b'a;b\n"1, or 2";"x;y"\n', "a.csv") == rows
    assert records(b"a|b\n1, or 2|x;y\n", "a.csv") == rows
    assert records(b'\xef\xbb\xbf"a"\t"b"\r\n1, or 2\tx;y\r\n', "a.csv") == rows
    assert records(b'"1; or 2";"x,y"\n', "a.csv", header=False) == [(0, {"0": "1; or 2", "1": "x,y"})]
    # A comma decides; a text with a semicolon is no header.
    assert records(b'"a;b",c\n1,2\n', "a.csv") == [(0, {"a;b": "1", "c": "2"})]
    assert records(b"Yes; it is.\n", "a.csv", header=False) == [(0, {"0": "Yes; it is."})]


def test_csv_rows_of_another_width_say_so(records):
    assert records(b"a,b\n1,2\n1\n1,2,3\n4,5\n", "a.csv") == [
        (0, {"a": "1", "b": "2"}),
        (1, "has 1 field, and there are 2 columns"),
        (2, "has 3 fields, and there are 2 columns"),
        (3, {"a": "4", "b": "5"}),
    ]


def test_an_unclosed_quote_rejects_each_line_that_it_swallowed(records):
    """One rejection for the lot would hide how much is lost; rows made of its inside would be worse."""
    content = b'a,b\n1,2\n3,"open\n4,5\n6,7'
    reason = "a quote is not closed"
    assert records(content, "a.csv") == [(0, {"a": "1", "b": "2"}), (1, reason), (2, reason), (3, reason)]
    content = b'a,b\n3,"open\n4,5\n6,"7"\n8,9\n"x"y,2\n'
    assert records(content, "a.csv") == [
        (0, "a stray quote"),
        (1, "a stray quote"),
        (2, "a stray quote"),
        (3, {"a": "8", "b": "9"}),
        (4, "a stray quote"),
    ]


def test_a_field_without_end_is_not_held_in_memory(records, monkeypatch):
    monkeypatch.setattr(table_rows, "_LONGEST_FIELD", 50)
    content = b'a,b\n1,"' + b"word word\n" * 20 + b'2,3\n4,"' + b"x" * 40 + b'"\n'
    found = records(content, "a.csv")
    assert [place for place, _ in found] == list(range(len(found)))
    assert len(found) == 22
    assert found[0][1].startswith("a quote is not closed, or a field is longer than")
    assert found[-1] == (21, {"a": "4", "b": "x" * 40})


def test_long_csv_fields_are_read(records):
    assert records(b'a\n"' + b"x" * 400_000 + b'"\n', "a.csv") == [(0, {"a": "x" * 400_000})]


def test_bytes_of_another_encoding_cost_their_csv_row(records):
    content = b'a,b\n1,2\n3,"caf\xe9\nx"\n5,6\n'
    assert [row[1] for row in records(content, "a.csv")] == [
        {"a": "1", "b": "2"},
        "invalid UTF-8 (invalid continuation byte)",
        "invalid UTF-8 (invalid continuation byte)",
        {"a": "5", "b": "6"},
    ]
    assert records(content, "a.csv", encoding="cp1252")[1] == (1, {"a": "3", "b": "café\nx"})


@pytest.mark.parametrize(
    ("header", "said"),
    [(b"text,label,text\n1,2,3", "'text' more than once"), (b'"text,label\n1,2', "header cannot be read")],
)
def test_a_header_that_cannot_be_meant_is_refused(records, header, said):
    with pytest.raises(DataError, match=said) as error:
        records(header, "a.csv")
    assert "a.csv" in str(error.value)
    assert "header: false" in error.value.fix


def test_tsv_has_no_quotes(records):
    """The original files of GLUE and CoLA: stray double quotes, no header, an empty third column."""
    cola = b'gj04\t1\t\t"They said\r\nks08\t0\t*\tsay "hi" \n\ngj04\t1\n'
    assert records(cola, "in_domain_train.tsv", header=False) == [
        (0, {"0": "gj04", "1": "1", "2": "", "3": '"They said'}),
        (1, {"0": "ks08", "1": "0", "2": "*", "3": 'say "hi" '}),
        (2, "has 2 fields, and there are 4 columns"),
    ]
    assert records(b"sentence\tlabel\nbad \xff\t0\ngood\t1\n", "a.tsv") == [
        (0, "invalid UTF-8 (invalid start byte)"),
        (1, {"sentence": "good", "label": "1"}),
    ]


# --- Parquet and Arrow


@pytest.mark.parametrize("name", ["a.parquet", "a.bin"])
def test_parquet_rows(records, name):
    assert records(parquet(ROWS), name) == list(enumerate(ROWS))
    assert records(parquet(pa.table({"text": pa.array([], pa.string())})), name) == []


@pytest.mark.parametrize("open_writer", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("name", ["a.arrow", "a.bin"])
def test_arrow_rows_in_both_forms(records, open_writer, name):
    rows = [{"id": number, "parts": [{"text": str(number)}]} for number in range(700)]
    assert records(arrow(rows, open_writer, rows_a_batch=300), name) == list(enumerate(rows))


def test_values_are_those_of_json(records):
    """Whatever Python's own types cannot hold: one far date must not cost the rows."""
    half = pa.array([1.5, None], pa.float16())
    table = pa.table(
        {
            "time": pa.array([1792577700, 2**38], pa.timestamp("s")),
            "nanoseconds": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", tz="UTC")),
            "day": pa.array([0, 3_000_000], pa.date32()),
            "took": pa.array([5, None], pa.duration("ns")),
            "price": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(3, 2)),
            "half": half,
            "raw": pa.array([b"\x00\xff", None]),
            "kind": pa.array(["x", None]).dictionary_encode(),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "inside": pa.array([[{"day": 1}], None], pa.list_(pa.struct([("day", pa.date32())]))),
        }
    )
    first = {
        "time": "2026-10-21 10:15:00",
        "nanoseconds": "2023-11-14 22:13:20.123456789Z",
        "day": "1970-01-01",
        "took": 5,
        "price": 1.5,
        "half": 1.5,
        "raw": b"\x00\xff",
        "kind": "x",
        "map": {"a": 1},
        "inside": [{"day": "1970-01-02"}],
    }
    for content, name in ((parquet(table), "a.parquet"), (arrow(table), "a.arrow")):
        (_, one), (_, two) = records(content, name)
        assert {**one, "time": one["time"].removesuffix(".000")} == first  # Parquet has no whole seconds
        assert {name: value for name, value in two.items() if value is not None} == {
            "time": two["time"],
            "day": "10183-09-21",
        }
        assert two["time"].startswith("10680-")


def test_a_value_that_cannot_be_read_costs_its_row_and_is_named(records):
    twice = pa.array([[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    found = records(parquet(pa.table({"n": [1, 2], "map": twice})), "m.parquet")
    assert found == [(0, {"n": 1, "map": {"a": 1}}), (1, "map: a value that cannot be read (KeyError)")]
    # Arrow does not look whether strings are UTF-8.
    text = pa.array([b"fine", b"caf\xe9", b"also fine"]).view(pa.string())
    for content, name in (
        (parquet(pa.table({"t": text})), "b.parquet"),
        (arrow(pa.table({"t": text})), "b.arrow"),
    ):
        assert records(content, name) == [
            (0, {"t": "fine"}),
            (1, "t: invalid UTF-8"),
            (2, {"t": "also fine"}),
        ]


def test_damaged_columnar_files_are_named(records):
    whole = {"a.parquet": parquet(ROWS * 99), "a.arrow": arrow(ROWS * 99)}
    for name, content in whole.items():
        for damaged in (content[: len(content) // 2], content[:30], b"nothing like it", b"PAR1" * 9, b""):
            with pytest.raises(DataError, match=rf"{name.replace('.', '[.]')} is not a readable"):
                records(damaged, name)
    # Offsets that lead out of the file must be found before they are followed: that would end the process.
    offsets = b"".join(number.to_bytes(4, "little") for number in (6, 7, 9))
    lost = whole["a.arrow"].replace(offsets, (2**30).to_bytes(4, "little") * 3)
    assert lost != whole["a.arrow"]
    with pytest.raises(DataError, match="is not a readable Arrow"):
        records(lost, "a.arrow")


def test_columns_of_one_name_are_refused(records):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    for content, name in ((parquet(table), "a.parquet"), (arrow(table), "a.arrow")):
        with pytest.raises(DataError, match="several columns called 'a'"):
            records(content, name)


def test_a_large_row_group_is_read_in_pieces(tmp_path):
    """Arrow's own default would hold the whole row group."""
    count = 60_000
    table = pa.table({"id": range(count), "text": [f"{n} {n * 7919 % 104729}" * 12 for n in range(count)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=count, compression="none", use_dictionary=False)
    del table
    before, peak = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for place, _ in enumerate(read_records(path)):
        if place % 5000 == 0:
            peak = max(peak, pa.total_allocated_bytes() - before)
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2, (peak, path.stat().st_size)
    assert python_peak < 4e6


# --- packed files


JSONL = b"".join(b'{"n": %d}\n' % number for number in range(5000))
NUMBERS = [(number + 1, {"n": number}) for number in range(5000)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_packing_is_told_by_content(records, name, pack):
    assert records(pack(JSONL), name) == NUMBERS
    # Several frames or members one after the other are one file.
    half = JSONL.index(b'{"n": 2500}')
    assert records(pack(JSONL[:half]) + pack(JSONL[half:]), name) == NUMBERS
    assert records(pack(b"a,b\n1,2\n"), "a.csv.gz") == [(0, {"a": "1", "b": "2"})]


@pytest.mark.parametrize(("pack", "said"), [(gzip.compress, "damaged gzip"), (zstd, "damaged Zstandard")])
def test_damaged_archives_are_named(records, pack, said):
    packed = pack(JSONL)
    for damaged in (packed[:-3], packed[: len(packed) // 2], packed + b"garbage", packed[:9]):
        with pytest.raises(DataError, match=rf"a[.]jsonl is a {said} file"):
            records(damaged, "a.jsonl")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\xfd7zXZ\x00rest", "packed with xz"),
        (b"BZh91AY&SYrest", "packed with bzip2"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (gzip.compress(parquet(ROWS)), "packed as a whole"),
    ],
)
def test_what_is_no_data_file_is_refused_by_name(records, content, said):
    with pytest.raises(DataError, match=said) as error:
        records(content, "a.jsonl")
    assert error.value.fix


# --- which format


def test_text_lines_are_records(records):
    expected = [(1, {"text": "one"}), (3, {"text": " two"})]
    for name in ("a.txt", "childes.train", "childes.dev.gz", "A.TXT"):
        assert records(b"one\r\n\n two", name) == expected
    assert records(b"one\n\n two", "a.unknown", format="text") == expected


def test_unknown_names_are_read_by_content_or_refused(records):
    assert records(b' [{"a": 1}]', "a.dat") == [(0, {"a": 1})]
    assert records(b'{"a": 1}\n{"a": 2}', "noname") == [(1, {"a": 1}), (2, {"a": 2})]
    assert records(b"", "a.dat") == []
    with pytest.raises(DataError, match="neither its name nor its content") as error:
        records(b"some words", "a.dat")
    assert "format" in error.value.fix


def test_a_stated_format_goes_before_the_name(records):
    assert records(b"a\tb\n1\t2\n", "a.txt", format="tsv") == [(0, {"a": "1", "b": "2"})]
    assert records(b'{"a": 1}\n', "a.csv", format="jsonl") == [(1, {"a": 1})]
    assert records(parquet(ROWS), "a.json", format="parquet") == list(enumerate(ROWS))


# --- What is absurd is refused within a second or two


@pytest.fixture
def suspicious(monkeypatch):
    """A mebibyte is much already."""
    monkeypatch.setattr(opening, "_UNSUSPECTED", 2**20)


def test_files_that_unpack_to_absurd_sizes_are_refused(records, suspicious):
    line = b'{"text": "' + b"a" * 1000 + b'"}\n'
    large = ["b" * 10_000] * 30_000  # 300 MB, in 2 KB
    nested = [[{"role": "user", "content": text}] for text in large]
    for content, name in (
        (gzip.compress(line * 9000), "a.jsonl.gz"),
        (zstd(line * 9000), "a.jsonl.zst"),
        (parquet(pa.table({"text": large}), compression="zstd"), "a.parquet"),
        (parquet(pa.table({"messages": nested[:3000]}), compression="zstd"), "b.parquet"),
        (parquet(pa.table({"t": ["c" * 2**22]}), compression="zstd", use_dictionary=False), "c.parquet"),
        (arrow(pa.table({"text": pa.array(large).dictionary_encode()})), "a.arrow"),
    ):
        with pytest.raises(DataError, match=rf"{name} unpacks to more than \d+ MiB"):
            records(content, name)


def test_ordinary_repetition_is_read(records, suspicious):
    rows = [{"text": f"row {number}, " + "the same as always " * 20} for number in range(5000)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert len(records(gzip.compress(content), "a.jsonl.gz")) == len(rows)
    assert len(records(parquet(rows, compression="zstd"), "a.parquet")) == len(rows)


def test_rows_of_thousands_of_columns_are_refused(records):
    wide = {f"key {number}": number for number in range(100_000)}
    apart = [{"text": "a", f"id {number}": 1} for number in range(2000)]
    whole = "".join(json.dumps(row) + "\n" for row in apart)
    table = ",".join(wide) + "\n" + ",".join(map(str, wide.values())) + "\n"
    columns = {name: [value] for name, value in list(wide.items())[:5000]}
    files = {"a.json": json.dumps(wide), "b.json": whole, "c.json": json.dumps(apart), "d.csv": table}
    contents = {name: content.encode() for name, content in files.items()}
    for name, content in {**contents, "e.arrow": arrow(pa.table(columns))}.items():
        with pytest.raises(DataError, match=r"number \d+ have (1,001|5,000|100,00\d) different columns"):
            records(content, name)
    assert len(records(json.dumps([{"inside": wide}]).encode(), "one.json")) == 1


def test_what_is_nested_too_deep_costs_its_row(records):
    deep = '{"text": "a", "x": ' + '{"x": ' * 150 + "1" + "}" * 151
    assert records((deep + '\n{"text": "b"}').encode(), "a.jsonl") == [
        (1, "objects and lists of more than 100 levels"),
        (2, {"text": "b"}),
    ]
