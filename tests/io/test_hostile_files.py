"""Files that run code when they are read carelessly, and damaged ones: each ends in one line, and nothing runs."""

import contextlib
import copyreg
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from kanbench.errors import InputError
from kanbench.io.readers import read_json, read_tensors
from kanbench.io.torch_file import read_arrays
from kanbench.io.untrusted.pickle_machine import RefusedError
from kanbench.io.untrusted.pickled_frames import frame_of_pickle
from kanbench.network.checkpoint_config import read_model_config
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.initialization import initialize
from kanbench.network.pykan import load_checkpoint, save_checkpoint, to_pykan
from kanbench.storage.frames import portable, read_frame
from kanbench.storage.metadata import read_metadata
from kanbench.storage.training_record import read_record

CANARY = "canary"  # a folder that a hostile file would make, beside itself
HERE = __name__


class Canary:
    """A class that runs code when it is made, or when a state is set on it."""

    def __new__(cls, path=None, **more):
        if path or more:
            os.mkdir(path or more["path"])  # noqa: PTH102 - what an attacker would write
        return super().__new__(cls)

    def __setstate__(self, path):
        os.mkdir(path)  # noqa: PTH102


copyreg.add_extension("os", "mkdir", 200)


@pytest.fixture(autouse=True)
def where_nothing_may_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / CANARY).exists(), "code of a file was run"


# --- pickles, opcode by opcode ---


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def stack_named(module, name):
    return text(module) + text(name) + b"\x93"


ARGUMENT = text(CANARY) + b"\x85"
INNER = named("os", "mkdir") + ARGUMENT + b"R."
CALLS = {  # what runs code when Python's unpickler reads it
    "GLOBAL and REDUCE": named("os", "mkdir") + ARGUMENT + b"R",
    "STACK_GLOBAL and REDUCE": stack_named("os", "mkdir") + ARGUMENT + b"R",
    "REDUCE with a memoized function": named("os", "mkdir") + b"q\x000h\x00" + ARGUMENT + b"R",
    "INST": b"(" + text(CANARY) + b"ios\nmkdir\n",
    "OBJ": b"(" + named("os", "mkdir") + text(CANARY) + b"o",
    "NEWOBJ": named(HERE, "Canary") + ARGUMENT + b"\x81",
    "NEWOBJ_EX": named(HERE, "Canary") + b")}" + text("path") + text(CANARY) + b"s\x92",
    "BUILD": named(HERE, "Canary") + b")\x81" + text(CANARY) + b"b",
    "EXT1": b"\x82\xc8" + ARGUMENT + b"R",
    "EXT2": b"\x83\xc8\x00" + ARGUMENT + b"R",
    "EXT4": b"\x84\xc8\x00\x00\x00" + ARGUMENT + b"R",
    "eval": named("builtins", "eval") + text(f"__import__('os').mkdir({CANARY!r})") + b"\x85R",
    "exec": named("builtins", "exec") + text(f"import os; os.mkdir({CANARY!r})") + b"\x85R",
    "__builtin__ of Python 2": named("__builtin__", "eval") + text(f"__import__('os').mkdir({CANARY!r})") + b"\x85R",
    "getattr": named("builtins", "getattr")
    + (named("builtins", "__import__") + text("os") + b"\x85R")
    + text("mkdir")
    + b"\x86R"
    + ARGUMENT
    + b"R",
    "functools.partial": named("functools", "partial") + named("os", "mkdir") + text(CANARY) + b"\x86R)R",
    "operator.methodcaller": named("operator", "methodcaller")
    + text("mkdir")
    + text(CANARY)
    + b"\x86R"
    + (named("builtins", "__import__") + text("os") + b"\x85R")
    + b"\x85R",
    "pickle.loads": named("pickle", "loads") + b"C" + bytes([len(INNER)]) + INNER + b"\x85R",
    "dotted name": stack_named("os", "path.os.mkdir") + ARGUMENT + b"R",
    "timeit": named("timeit", "timeit") + text("1") + text(f"import os; os.mkdir({CANARY!r})") + b"\x86R",
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_these_pickles_run_code_when_python_reads_them(call, tmp_path):
    """So that the tests below cannot pass for want of a working attack."""
    header = b"\x80\x02" if call.startswith("__builtin__") else b"\x80\x04"
    pickle.loads(header + CALLS[call] + b".")
    assert (tmp_path / CANARY).exists()
    (tmp_path / CANARY).rmdir()


# --- where a call can hide ---

FRAME = pd.DataFrame(
    {
        "dataset_idx": np.arange(6) // 3,
        "dataset_name": ["sin"] * 3 + ["poly"] * 3,
        "epoch": [1, 2, 3, 1, 2, 3],
        "test_loss": np.linspace(1, 0.1, 6),
        "optimizer": "adam",
    }
)
FRAME.attrs = {"section": "section2_1", "timestamp": "20260101_000000", "epochs": 3, "device": "cpu"}
METADATA = {"adam": {0: {"final": {"epoch": 3, "time": 1.0, "test_loss": 0.1, "optimizer": "adam"}}}}
SLOT = 123456789.25  # stands where a call is to go


def with_call(content, program, protocol):
    """The pickle of `content` with a program in place of SLOT."""
    old = b"F123456789.25\n" if protocol == 0 else b"G" + struct.pack(">d", SLOT)
    whole = pickle.dumps(content, protocol)
    assert whole.count(old) == 1
    framed = whole[2:3] == b"\x95"  # the opcode FRAME and the length, which would no longer be right
    return (whole[:2] + whole[11:] if framed else whole).replace(old, program)


def in_attrs():
    frame = portable(FRAME)
    frame.attrs = {**FRAME.attrs, "note": [SLOT]}
    return frame


def in_a_column():
    return portable(FRAME).assign(note=pd.Series([SLOT] + [None] * 5, dtype=object))


PLACES = {
    "frame": {"attrs": in_attrs(), "a column": in_a_column(), "all of it": SLOT, "a list": [SLOT]},
    "metadata": {"a metric": {"adam": {0: {"final": {"epoch": SLOT}}}}, "all of it": SLOT},
}
READERS = {"frame": (read_frame, "frame.pkl"), "metadata": (read_metadata, "checkpoint_metadata.pkl")}
HOSTILE_PICKLES = {
    f"{kind}: {call} in {place}, protocol {protocol}": (kind, with_call(content, program, protocol))
    for kind, places in PLACES.items()
    for place, content in places.items()
    for protocol, calls in (
        (4, CALLS),
        (0, ["GLOBAL and REDUCE", "INST", "EXT1"]),
        (2, ["GLOBAL and REDUCE", "BUILD"]),
        (5, ["STACK_GLOBAL and REDUCE", "NEWOBJ_EX"]),
    )
    for call, program in CALLS.items()
    if call in calls
}


def refused(read, path, *arguments):
    with pytest.raises(InputError) as error:
        read(path, *arguments)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert len(message) < 600
    return message


@pytest.mark.parametrize("case", HOSTILE_PICKLES)
def test_pickles_that_call_functions_are_refused(case):
    kind, content = HOSTILE_PICKLES[case]
    read, path = READERS[kind]
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content)
    message = refused(read, path)
    assert "refused: " in message
    assert "trusted=True" in message


def test_there_are_enough_of_them():
    assert len(HOSTILE_PICKLES) + len(DAMAGED) + len(HOSTILE_TENSORS) + len(CONFIGURATIONS) >= 300


def test_the_name_is_said(tmp_path):
    path = tmp_path / "frame.pkl"
    path.write_bytes(b"\x80\x04" + stack_named("os", "mkdir") + ARGUMENT + b"R.")
    assert refused(read_frame, path).startswith(f"{path}: refused: it names os.mkdir; allowed: plain data, or ")


def test_trust_is_explicit(tmp_path):
    path = tmp_path / "metadata.pkl"
    path.write_bytes(b"\x80\x04" + named("os", "mkdir") + ARGUMENT + b"R.")
    with pytest.raises(InputError):  # it is still no metadata
        read_metadata(path, trusted=True)
    assert (tmp_path / CANARY).exists()
    (tmp_path / CANARY).rmdir()
    FRAME.assign(when=pd.Timestamp("2026-01-01", tz="UTC")).to_pickle("frame.pkl")
    assert "DatetimeTZDtype" in refused(read_frame, "frame.pkl")
    assert read_frame("frame.pkl", trusted=True)["when"].dt.year.eq(2026).all()


# --- admitted names with arguments that nobody means well with ---


def reduce(name, *args):
    """A call of an admitted name; `args` are programs."""
    return named(*name.rsplit(".", 1)) + b"(" + b"".join(args) + b"tR"


def value(content):
    return pickle.dumps(content, 2)[2:-1]


DTYPE = reduce("numpy.dtype", value("f8"), value(False), value(True))
ARRAY = reduce("numpy._core.numeric._frombuffer", value(bytearray(8)), DTYPE, value((1, 1)), value("C"))
INDEX = reduce(
    "pandas.core.indexes.base._new_Index",
    named("pandas", "RangeIndex"),
    value({"name": None, "start": 0, "stop": 1, "step": 1}),
)


def block(values=ARRAY, bounds=(0, 1, 1)):
    placement = reduce("builtins.slice", *map(value, bounds))
    return reduce("pandas._libs.internals._unpickle_block", values, placement, value(2))


def frame(managed, attrs=b"}"):
    state = b"}(" + text("_mgr") + managed + text("attrs") + attrs + b"u"
    return b"\x80\x04" + named("pandas", "DataFrame") + b")\x81" + state + b"b."


def array(buffer, shape, dtype=DTYPE, order="C"):
    return reduce("numpy._core.numeric._frombuffer", value(buffer), dtype, value(shape), value(order))


def string(offsets, letters, valid=None, length=1, alias="large_string", start=0):
    def buffer(content):
        return b"N" if content is None else reduce("pyarrow.lib.py_buffer", value(content))

    inner = (
        b"("
        + reduce("pyarrow.lib.type_for_alias", value(alias))
        + b"".join(map(value, (length, 0, start)))
        + b"](" + buffer(valid) + buffer(offsets) + buffer(letters) + b"e]Nt"
    )  # fmt: skip
    restored = reduce("pyarrow.lib._restore_array", inner)
    return named("pandas.arrays", "ArrowStringArray") + b")\x81}" + text("_pa_array") + restored + b"sb"


NAMES = reduce(
    "pandas.core.indexes.base._new_Index",
    named("pandas", "Index"),
    b"}(" + text("data") + string(struct.pack("<qq", 0, 2), "ü".encode()) + text("name") + b"Nu",
)


def manager(*blocks, columns=NAMES, index=INDEX):
    return reduce(
        "pandas.core.internals.managers.BlockManager",
        b"(" + b"".join(blocks) + b"t",
        b"]" + columns + b"a" + index + b"a",
    )


def nested(depth):
    """2 ** depth values, in tuples of twice the same."""
    return text("x") + b"q\x010h\x01h\x01\x86" * depth


SHARED = "x"
for _ in range(60):
    SHARED = (SHARED, SHARED)


def rangeindex(**fields):
    return reduce("pandas.core.indexes.base._new_Index", named("pandas", "RangeIndex"), value(fields))


CRAFTED = {
    "a class with a new attribute": b"\x80\x04" + named("pandas", "DataFrame") + b"N}" + text("__len__") + named(
        "pandas", "Index"
    ) + b"s\x86b.",
    "a function with a new attribute": b"\x80\x04" + named("pandas.core.indexes.base", "_new_Index") + b"}"
    + text("__code__") + b"Nsb.",
    "a state set twice": b"\x80\x04" + named("pandas", "DataFrame") + b")\x81}b}b.",
    "a call of what a call returned": b"\x80\x04" + DTYPE + b")R.",
    "another class as index": frame(
        manager(block(), index=reduce("pandas.core.indexes.base._new_Index", named("pandas", "DataFrame"), b"}"))
    ),
    "an array that is larger than its bytes": frame(manager(block(array(bytearray(8), (1, 1 << 40))))),
    "an array of negative length": frame(manager(block(array(bytearray(8), (-1, 1))))),
    "an array whose bytes do not fit": frame(manager(block(array(bytearray(9), (1, 1))))),
    "an array of objects made of bytes": frame(
        manager(block(array(bytearray(8), (1, 1), reduce("numpy.dtype", value("O8"), value(False), value(True)))))
    ),
    "a dtype of records": frame(
        manager(block(array(bytearray(8), (1, 1), reduce("numpy.dtype", value("V8"), value(False), value(True)))))
    ),
    "a dtype by an expression": frame(
        manager(block(array(bytearray(8), (1, 1), reduce("numpy.dtype", value("(9,)f8,O"), value(False)))))
    ),
    "an index of 2 ** 60 rows": frame(
        manager(block(), index=rangeindex(start=0, stop=1 << 60, step=1))
    ),
    "2 ** 60 columns": frame(manager(block(), columns=rangeindex(start=0, stop=1 << 60, step=1))),
    "an index of step 0": frame(manager(block(), index=rangeindex(start=0, stop=1, step=0))),
    "one number for all of 10 ** 7 rows": frame(
        manager(block(array(bytearray(8), ())), index=rangeindex(start=0, stop=10**7, step=1))
    ),
    "more rows of values than columns": frame(manager(block(array(bytearray(16), (2, 1))))),
    "no columns": frame(manager(block(bounds=(1, 2, 1)))),
    "no manager": frame(b"N"),
    "no axes": frame(reduce("pandas.core.internals.managers.BlockManager", b")", b"]")),
    "attrs that are a list": frame(manager(block()), attrs=value([1])),
    "attrs that contain themselves": frame(manager(block()), attrs=b"}q\x09" + text("a") + b"h\x09s"),
    "2 ** 60 values in shared lists": frame(manager(block()), attrs=b"}" + text("a") + nested(60) + b"s"),
    "2 ** 60 values as a shape": frame(
        manager(block()),
        attrs=b"}" + text("a")
        + reduce("numpy._core.numeric._frombuffer", value(bytearray(8)), DTYPE, nested(60), value("C")) + b"s",
    ),
    "2 ** 60 values as a type of text": frame(
        manager(block(string(struct.pack("<qq", 0, 1), b"a", alias=SHARED)))
    ),
    "2 ** 60 values as a name": b"\x80\x04" + text("os") + nested(60) + b"\x93.",
    "attrs that are pairs": frame(manager(block()), attrs=value([("a", 1)])),
    "shared tuples as a key": b"\x80\x04}" + nested(60) + b"Ns.",
    "lists in lists": b"\x80\x04" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "text beyond its letters": frame(manager(block(string(struct.pack("<qq", 0, 1 << 40), b"a")))),
    "text before its letters": frame(manager(block(string(struct.pack("<qq", -99, 1), b"a")))),
    "text without offsets": frame(manager(block(string(b"", b"a")))),
    "text of 2 ** 60 rows": frame(manager(block(string(struct.pack("<qq", 0, 1), b"a", length=1 << 60)))),
    "text of no rows that begins late": frame(
        manager(block(string(b"", b"", length=0, start=9_999_999)), index=rangeindex(start=0, stop=0, step=1))
    ),
    "an array of more dimensions than are ever used": frame(  # the product of 10 ** 5 lengths takes minutes
        manager(block()), attrs=b"}" + text("a") + array(bytearray(8), (1,) * 33) + b"s"
    ),
    "text of another type": frame(manager(block(string(struct.pack("<qq", 0, 1), b"a", alias="timestamp[s]")))),
    "text that is not utf-8": frame(manager(block(string(struct.pack("<qq", 0, 1), b"\xff")))),
    "bytes of 2 ** 40": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
    "a bytearray of 2 ** 40": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
    "text of 2 ** 40": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
    "a frame of 2 ** 60": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "a memo of 2 ** 31": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "a number of 10 ** 5 digits": b"I" + b"9" * 100_000 + b"\n.",
    "a get of what is not there": b"\x80\x04h\x07.",
    "a pop of nothing": b"\x80\x040.",
    "a stop of nothing": b"\x80\x04.",
    "a mark only": b"\x80\x04(.",
    "a tuple of nothing": b"\x80\x04t.",
    "a persistent id": b"\x80\x04P7\n.",
    "a binary persistent id": b"\x80\x04N\x51.",
    "an out-of-band buffer": b"\x80\x05\x97.",
    "a set": b"\x80\x04\x8f(" + text("a") + b"\x90.",
    "protocol 99": b"\x80\x63N.",
    "no pickle": b"hello",
    "nothing": b"",
    "zeros": bytes(1000),
    "a number of 16,000 bits": pickle.dumps({"adam": {0: {"final": {"epoch": 10**5000}}}}),
    "a bytearray that is shared": b"\x80\x05}" + text("adam") + b"}K\x00}" + text("final") + b"}" + text("w")
    + b"(\x96" + struct.pack("<Q", 10**6) + bytes(10**6) + b"q\x01" + b"h\x01" * 1000 + b"lssss.",
    "a number": pickle.dumps(7),
    "a list": pickle.dumps([1, 2]),
    "names that are numbers": pickle.dumps(pd.DataFrame(np.zeros((2, 2)))),
    "a Series": pickle.dumps(FRAME["epoch"]),
    "a date in a time zone": pickle.dumps(FRAME.assign(when=pd.Timestamp("2026-01-01", tz="UTC"))),
    "a function": pickle.dumps(json.dumps),
    "an array": pickle.dumps(np.zeros(3)),
    "a tensor": pickle.dumps(torch.zeros(3)),
}  # fmt: skip


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_arguments_are_refused(case, tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(CRAFTED[case])
    before = pd.DataFrame.__len__
    refused(read_frame, path)
    refused(read_metadata, path)
    assert pd.DataFrame.__len__ is before


def test_the_crafted_parts_are_a_frame_when_nothing_is_wrong(tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(frame(manager(block()), attrs=value({"a": 1})))
    read = read_frame(path)
    assert read.attrs == {"a": 1}
    pd.testing.assert_frame_equal(read, portable(pd.DataFrame({"ü": [0.0]})), check_column_type=False)
    whole = reduce("numpy._core.multiarray.scalar", DTYPE, value(struct.pack("<d", 2.5)))
    path.write_bytes(b"\x80\x04}" + text("adam") + b"}K\x00}" + text("final") + b"}" + text("time") + whole + b"ssss.")
    assert read_metadata(path) == {"adam": {0: {"final": {"time": 2.5}}}}


# --- damage ---


def parquet(content):
    buffer = io.BytesIO()
    content.to_parquet(buffer)
    return buffer.getvalue()


def tensors(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def checkpoint_bytes(folder):
    model = to_pykan(initialize([2, 2, 1], 3))
    save_checkpoint(model, str(folder / "model"), torch.zeros(2, 2, dtype=torch.float64))
    return {part: (folder / f"model_{part}").read_bytes() for part in ("config.yml", "state", "cache_data")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoint_bytes(tmp_path_factory.mktemp("checkpoint"))


WHOLE = {
    "frame.pkl": pickle.dumps(portable(FRAME)),
    "frame.parquet": parquet(FRAME),
    "metadata.pkl": pickle.dumps(METADATA),
    "meta.json": json.dumps(FRAME.attrs).encode(),
    "state.pth": tensors({"weight": torch.zeros(3, 3)}),
    "arrays.pth": tensors({"weight": torch.ones(3, 3)}),
}
SAME_FORMAT = ({"frame.pkl", "metadata.pkl"}, {"state.pth", "arrays.pth"})
READ = {
    "frame.pkl": read_frame,
    "frame.parquet": read_frame,
    "metadata.pkl": read_metadata,
    "meta.json": read_json,
    "state.pth": read_tensors,
    "arrays.pth": read_arrays,
}
CUTS = 12
DAMAGED = {
    **{
        f"{name} cut to {size} bytes": (name, content[:size])
        for name, content in WHOLE.items()
        for size in sorted({i * (len(content) - 1) // CUTS for i in range(CUTS + 1)})
    },
    **{f"{name} of zeros": (name, bytes(500)) for name in WHOLE},
    **{f"{name} of noise": (name, random.Random(1).randbytes(500)) for name in WHOLE},
    **{
        f"{name} with the contents of {other}": (name, WHOLE[other])
        for name in WHOLE
        for other in WHOLE
        if name != other and {name, other} not in SAME_FORMAT
    },
    "meta.json that is a list": ("meta.json", b"[1, 2]"),
    "meta.json that is a number": ("meta.json", b"7"),
    "meta.json of lists in lists": ("meta.json", b"[" * 100_000),
    "meta.json that is not utf-8": ("meta.json", b'{"a": "\xff"}'),
    "meta.json with a number of 10 ** 5 digits": ("meta.json", b'{"a": ' + b"9" * 100_000 + b"}"),
    "meta.json that is huge": ("meta.json", b" " * ((1 << 22) + 1)),
    "metadata.pkl that is a list": ("metadata.pkl", pickle.dumps([1])),
    "metadata.pkl that is flat": ("metadata.pkl", pickle.dumps({"adam": {0: 7}})),
    "metadata.pkl without metrics": ("metadata.pkl", pickle.dumps({"adam": {0: {"final": 7}}})),
    "metadata.pkl with a model": ("metadata.pkl", pickle.dumps({"a": {0: {"f": {"model": torch.nn.Linear(1, 1)}}}})),
    "metadata.pkl with an array": ("metadata.pkl", pickle.dumps({"a": {0: {"f": {"w": np.zeros(3)}}}})),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_end_in_one_line(case, tmp_path):
    name, content = DAMAGED[case]
    (tmp_path / name).write_bytes(content)
    refused(READ[name], tmp_path / name)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read(name, tmp_path):
    (tmp_path / name).write_bytes(WHOLE[name])
    assert READ[name](tmp_path / name) is not None


@pytest.mark.parametrize("name", WHOLE)
def test_flipped_bits_end_in_one_line_or_in_other_values(name, tmp_path):
    """A bit of a number cannot be told from another number, but nothing else may happen."""
    numbers, path, wrong = random.Random(name), tmp_path / name, 0
    for _ in range(100):
        content = bytearray(WHOLE[name])
        content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        path.write_bytes(content)
        try:
            READ[name](path)
        except InputError as error:
            assert "\n" not in str(error)
            wrong += 1
    assert wrong > 20


@pytest.mark.parametrize("name", ["meta.json", "frame.parquet", "metadata.pkl"])
def test_lists_in_lists_end_in_one_line(name, tmp_path):
    """Comparing them, or writing them out, would end in a RecursionError."""
    nested = [1]
    for _ in range(200):
        nested = [nested]
    frame = pd.DataFrame({"epoch": [1]})
    frame.attrs = {"device": nested}
    contents = {
        "meta.json": json.dumps(frame.attrs).encode(),
        "frame.parquet": parquet(frame),
        "metadata.pkl": pickle.dumps({"adam": {0: {"final": frame.attrs}}}),
    }
    (tmp_path / name).write_bytes(contents[name])
    assert "refused: nested lists or mappings" in refused(READ[name], tmp_path / name)


def test_a_bug_in_a_check_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr("kanbench.io.readers.checked_mapping", broken)
    (tmp_path / "meta.json").write_bytes(WHOLE["meta.json"])
    with pytest.raises(KeyError, match="a bug"):
        read_json(tmp_path / "meta.json")


def test_a_file_that_is_not_there(tmp_path):
    for name, read in READ.items():
        assert "No such file" in refused(read, tmp_path / name)
        (tmp_path / name).mkdir()
        refused(read, tmp_path / name)


@pytest.mark.parametrize("name", READ)
def test_a_pipe_is_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refused(READ[name], tmp_path / name)


def test_parquet_of_endless_rows_is_refused(tmp_path):
    path = tmp_path / "frame.parquet"
    pd.DataFrame({"a": np.zeros(10_000_001, np.int8)}).to_parquet(path)
    assert path.stat().st_size < 1 << 20
    assert "found 10000001 rows" in refused(read_frame, path)


def test_parquet_with_text_that_repeats_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * 10**6]))
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 24, "store_schema": False}
    pq.write_table(pa.table({"a": text}), tmp_path / "frame.parquet", **options)
    assert (tmp_path / "frame.parquet").stat().st_size < 1000
    assert "found 2000000000 bytes of text" in refused(read_frame, tmp_path / "frame.parquet")


def test_parquet_with_bytes_of_a_fixed_length_that_repeat_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.binary(1 << 20)
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20, np.int32)), pa.array([bytes(1 << 20)], kind))
    with pq.ParquetWriter(tmp_path / "frame.parquet", pa.schema([("a", kind)]), compression="zstd") as writer:
        for _ in range(55):
            writer.write_table(pa.table({"a": repeated.cast(kind)}))
    assert (tmp_path / "frame.parquet").stat().st_size < 100_000
    assert f"found 1100 rows, 1 columns, {1100 << 20} bytes" in refused(read_frame, tmp_path / "frame.parquet")


@pytest.mark.parametrize("values", [[[0, 1], [2]], [{"x": 1}, {"x": 2}]], ids=["lists", "mappings"])
def test_parquet_of_which_nothing_tells_the_size_is_refused(tmp_path, values):
    """Some kB can be lists of a billion zeros."""
    path = tmp_path / "frame.parquet"
    pd.DataFrame({"parts": values}).to_parquet(path)
    assert "refused: lists or mappings in parts." in refused(read_frame, path)
    assert [
        part if isinstance(part, dict) else list(part) for part in read_frame(path, trusted=True)["parts"]
    ] == values


def test_a_record_of_lists_in_lists_is_one_line(tmp_path):
    (tmp_path / "training.json").write_bytes(b'{"a": ' + b"[" * 100_000)
    assert "damaged; delete it" in refused(read_record, tmp_path / "training.json")


def test_numbers_of_numpys_are_keys_of_metadata(tmp_path):
    (tmp_path / "metadata.pkl").write_bytes(pickle.dumps({"adam": {np.int64(0): METADATA["adam"][0]}}))
    assert read_metadata(tmp_path / "metadata.pkl") == METADATA


def test_who_trusts_a_file_gets_at_least_what_everybody_gets(tmp_path, monkeypatch):
    """Whoever reads carelessly may lack what a file names, as a version of pandas; that is not tried first."""
    path, kept = tmp_path / "metadata.pkl", METADATA["adam"][0]["final"]
    array = {"adam": {np.int64(0): {"final": {**kept, "epoch": np.array(3), "w": np.arange(2), "time": np.float64(1)}}}}
    path.write_bytes(pickle.dumps(array))
    refused(read_metadata, path)
    read = read_metadata(path, trusted=True)
    assert repr(read) == repr({"adam": {0: {"final": {**kept, "w": [0, 1]}}}})
    for name in ("pickle.loads", "pandas.read_pickle"):
        monkeypatch.setattr(name, None)
    load = torch.load
    monkeypatch.setattr("torch.load", lambda *args, **more: load(*args, **more) if more["weights_only"] else None)
    for name in ("metadata.pkl", "frame.pkl", "state.pth"):
        (tmp_path / name).write_bytes(WHOLE[name])
        assert str(READ[name](tmp_path / name, trusted=True)) == str(READ[name](tmp_path / name))


def test_parquet_with_text_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "frame.parquet"
    FRAME.to_parquet(path, compression=None)
    content = path.read_bytes()
    assert content.count(b"poly") > 0
    path.write_bytes(content.replace(b"poly", b"p\xffly"))
    refused(read_frame, path)


def test_extension_types_of_parquet_run_nothing(tmp_path):
    """pyarrow 0.14 to 14 unpickled these (CVE-2023-47248)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    program = b"\x80\x04" + CALLS["GLOBAL and REDUCE"] + b"."
    about = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": program}
    table = pa.table({"a": [1, 2]}, schema=pa.schema([pa.field("a", pa.int64(), metadata=about)]))
    pq.write_table(table, tmp_path / "frame.parquet")
    with contextlib.suppress(InputError):
        read_frame(tmp_path / "frame.parquet")


def test_attrs_in_parquet_that_are_no_mapping(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for content in (b"[1]", b"{", b'"a"'):
        table = pa.table({"a": [1]})
        pandas = {**pa.Table.from_pandas(pd.DataFrame({"a": [1]})).schema.metadata, b"PANDAS_ATTRS": content}
        pq.write_table(table.replace_schema_metadata(pandas), tmp_path / "frame.parquet")
        refused(read_frame, tmp_path / "frame.parquet")


# --- tensors and configurations of checkpoints ---


def rewritten(content, program=None, compression=zipfile.ZIP_STORED):
    """An archive of torch's with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for part in old.infolist():
            inner = old.read(part)
            new.writestr(part.filename, program if program and part.filename.endswith("data.pkl") else inner)
    return buffer.getvalue()


def legacy(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


STATE = tensors({"weight": torch.zeros(3, 3)})
HOSTILE_TENSORS = {
    **{
        f"a state with {call}": rewritten(STATE, b"\x80\x02" + program + b".")
        for call, program in CALLS.items()
        if call not in ("EXT1", "EXT2", "EXT4")
    },
    "a compressed state": rewritten(STATE, compression=zipfile.ZIP_DEFLATED),
    "the format before torch 1.6": legacy({"weight": torch.zeros(3)}),
    "a list that is called": rewritten(STATE, b"\x80\x02]N\x85R."),
    "a class that torch knows": rewritten(STATE, b"\x80\x02ctorch.distributed.tensor\nDTensor\n."),
    "a list of a type of torch's": rewritten(STATE, b"\x80\x02]ctorch\nSize\na."),
    "an opcode that torch does not know": rewritten(STATE, b"\x80\x02I1\n."),
    "a plain pickle": pickle.dumps({"weight": [1.0]}),
    "a plain pickle with a call": b"\x80\x02" + CALLS["GLOBAL and REDUCE"] + b".",
    "a whole model": tensors(torch.nn.Linear(2, 2)),
    "a tensor that repeats one number": tensors({"weight": torch.zeros(1).expand(1 << 40)}),
    "a sparse tensor": tensors({"weight": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,), check_invariants=True)}),
    "a tensor without data": tensors({"weight": torch.zeros(1 << 40, device="meta")}),
}


@pytest.mark.parametrize("case", HOSTILE_TENSORS)
def test_hostile_tensors_are_refused(case, tmp_path):
    path = tmp_path / "state.pth"
    path.write_bytes(HOSTILE_TENSORS[case])
    assert "Re-running" not in refused(read_tensors, path)  # torch's advice
    refused(read_arrays, path)


def test_archives_whose_parts_share_their_bytes_are_refused(tmp_path):
    """Each is read as if the bytes were there again."""
    path = tmp_path / "state.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    (name,) = [part for part in zipfile.ZipFile(path).namelist() if part.endswith("data/0")]
    assert read_tensors(path)["weight"].shape == (1000,)
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist += [archive.getinfo(name)] * 9
        archive.writestr("more", b"")
    for read in (read_tensors, read_arrays):
        assert "its members are larger than the file" in refused(read, path)


def test_torchs_own_loader_runs_the_code_in_these(tmp_path):
    (tmp_path / "state.pth").write_bytes(HOSTILE_TENSORS["a state with GLOBAL and REDUCE"])
    read_tensors(tmp_path / "state.pth", trusted=True)
    (tmp_path / CANARY).rmdir()


CONFIGURATIONS = {  # text of the file, or what to change in it
    "a call": f"!!python/object/apply:os.mkdir [{CANARY}]",
    "a call in a key": f"width: !!python/object/apply:os.mkdir [{CANARY}]",
    "a new object": f"!!python/object/new:{HERE}.Canary [{CANARY}]",
    "an object with a state": f"!!python/object:{HERE}.Canary {{path: {CANARY}}}",
    "a name": "width: !!python/name:os.mkdir",
    "a module": "width: !!python/module:antigravity",
    "a call of numpy's": f"grid: !!python/object/apply:numpy.load [{CANARY}]",
    "a call in a number of numpy's": "grid: !!python/object/apply:numpy._core.multiarray.scalar\n"
    f"- !!python/object/apply:numpy.dtype [i8, false, true]\n- !!python/object/apply:os.mkdir [{CANARY}]\n",
    "lists in lists": "[" * 1000,
    "an unfinished list": "width: [1, 2",
    "text": "hello",
    "nothing": "",
    "not utf-8": b"\xff\xfe\xff",
    "huge": {"more": ["x" * 900] * 1200},
    "references to a long list": "a: &a [" + "1, " * 5000 + "1]\nwidth: [" + "*a, " * 5000 + "*a]",
    "keys merged from keys": "a0: &a0 {k: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)),
    "a number to base 60": "width: 1" + ":1" * 50_000,
    "a long number": "width: 0x" + "f" * 50_000,
    "references to references": "a: &a [x]\n" + "".join(f"b{i}: &a [*a, *a]\n" for i in range(60)),
    "no width": {"width": None},
    "a width of one layer": {"width": [[2, 0]]},
    "a width of text": {"width": ["2", "2", "1"]},
    "a width of another model": {"width": [[2, 0], [3, 0], [1, 0]]},
    "a huge width": {"width": [[2, 0], [2_000_000_000, 0], [1, 0]]},
    "a negative width": {"width": [[2, 0], [-2, 0], [1, 0]]},
    "a huge grid": {"grid": 2_000_000_000},
    "a grid of text": {"grid": "3"},
    "a grid for one layer": {"grid": [3]},
    "a huge order": {"k": 1_000_000},
    "an order that is true": {"k": True},
    "products by text": {"mult_arity": "2"},
    "products of nothing": {"width": [[2, 0], [2, 0], [1, 1_000_000_000]], "mult_arity": 0},
    "products of nothing, by product": {
        "width": [[2, 0], [2, 0], [1, 1_000_000_000]],
        "mult_arity": [[], [], []],
    },
    "another residual function": {"base_fun_name": "__import__('os').mkdir('canary')"},
    "flags that are text": {"sp_trainable": "yes"},
    "a range of one number": {"grid_range": [1]},
    "grid_eps of text": {"grid_eps": "0.02"},
    "an unknown symbolic function": {"symbolic.funs_name.0": [["0", "0"], ["0", "system"]]},
    "too few symbolic functions": {"symbolic.funs_name.0": [["0", "0"]]},
    "symbolic functions that are numbers": {"symbolic.funs_name.1": [[0, 0]]},
    "intervals of another model": {"intervals": [[3], [3]]},
    "more intervals than the grid has": {"intervals": [[3, 4], [3, 3]]},
    "intervals of text": {"intervals": "3"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "load"),
    [(case, load_checkpoint) for case in CONFIGURATIONS]
    # functions that are switched off have no meaning to it
    + [(case, read_checkpoint) for case in CONFIGURATIONS if case != "an unknown symbolic function"],
)
def test_hostile_configurations_are_refused(case, load, tmp_path, checkpoint):
    base, change = tmp_path / "model", CONFIGURATIONS[case]
    if isinstance(change, dict):
        change = yaml.safe_dump({**yaml.safe_load(checkpoint["config.yml"]), **change})
    for part, content in {**checkpoint, "config.yml": change}.items():
        (tmp_path / f"model_{part}").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        load(base)
    assert "\n" not in str(error.value)
    assert str(base) in str(error.value)


def test_the_order_is_checked_before_a_model_is_built(tmp_path, checkpoint):
    """Of coefficients that fit: extending the grid takes the square of the order."""
    config = {**yaml.safe_load(checkpoint["config.yml"]), "grid": 1, "k": 1000}
    (tmp_path / "model_config.yml").write_text(yaml.safe_dump(config))
    assert "k: found 1000; allowed: an integer up to 100" in refused(read_model_config, tmp_path / "model_config.yml")


def test_a_huge_width_takes_no_memory(tmp_path, checkpoint):
    config = yaml.safe_load(checkpoint["config.yml"]) | CONFIGURATIONS["a huge width"]
    (tmp_path / "model_config.yml").write_text(yaml.safe_dump(config))
    tracemalloc.start()
    try:
        refused(read_model_config, tmp_path / "model_config.yml")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_layer_without_outputs_takes_no_memory(tmp_path, checkpoint):
    """Its coefficients are of any shape, and none."""
    config = yaml.safe_load(checkpoint["config.yml"]) | {"width": [[1_000_000_000, 0], [0, 0]]}
    config["symbolic.funs_name.0"] = []
    (tmp_path / "model_config.yml").write_text(yaml.safe_dump(config))
    torch.save({"act_fun.0.coef": torch.zeros(1_000_000_000, 0, 6)}, tmp_path / "model_state")
    with pytest.raises(InputError, match=r"model_state: found knots of shapes \[\]; allowed: \[\(1000000000, 10\)\]"):
        load_checkpoint(tmp_path / "model")


def test_what_pykan_cannot_build_is_one_line(tmp_path, checkpoint, monkeypatch):
    for name, content in checkpoint.items():
        (tmp_path / f"model_{name}").write_bytes(content)

    def cannot(*_, **__):
        raise RuntimeError("no memory\nis left")

    monkeypatch.setattr("kanbench.network.pykan.TypedKAN", cannot)
    with pytest.raises(InputError, match=r"model_config\.yml: cannot be read \(no memory is left\)"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "load"),
    [(part, load_checkpoint) for part in ("config.yml", "state", "cache_data")]
    + [(part, read_checkpoint) for part in ("config.yml", "state")],
)
def test_damaged_checkpoints_end_in_one_line(part, load, tmp_path, checkpoint):
    for name, content in checkpoint.items():
        (tmp_path / f"model_{name}").write_bytes(content)
    whole = checkpoint[part]
    for size in (0, 1, len(whole) // 3, len(whole) // 2):
        (tmp_path / f"model_{part}").write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"model_{part.removesuffix('.yml')}"):
            load(tmp_path / "model")


STATES = {
    "a tensor": torch.zeros(3),
    "a list": [torch.zeros(3)],
    "nothing": None,
    "numbers": {"act_fun.0.coef": 1.0, "act_fun.1.coef": 2.0},
    "whole numbers": {"act_fun.0.coef": torch.zeros(2, 2, 6).int(), "act_fun.1.coef": torch.zeros(2, 1, 6).int()},
    "some of the tensors": {"act_fun.0.coef": torch.zeros(2, 2, 6), "act_fun.1.coef": torch.zeros(2, 1, 6)},
    "a type": torch.float64,
}


@pytest.mark.parametrize("load", [load_checkpoint, read_checkpoint])
@pytest.mark.parametrize("case", STATES)
def test_states_of_something_else_are_refused(case, load, tmp_path, checkpoint):
    for name, content in checkpoint.items():
        (tmp_path / f"model_{name}").write_bytes(content)
    torch.save(STATES[case], tmp_path / "model_state")
    with pytest.raises(InputError, match="model_state: ") as error:
        load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_checkpoints_are_read_without_pykans_loader(tmp_path, checkpoint, monkeypatch):
    from kan import KAN

    for name, content in checkpoint.items():
        (tmp_path / f"model_{name}").write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(KAN, "loadckpt", None)
        model = load_checkpoint(tmp_path / "model")
    with torch.random.fork_rng():
        torch.set_default_dtype(torch.float64)
        try:
            plain = KAN.loadckpt(str(tmp_path / "model"))
        finally:
            torch.set_default_dtype(torch.float32)
    x = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(model(x), plain(x))
    assert torch.equal(model.cache_data, plain.cache_data)
    assert model.symbolic_fun[0].funs_name == plain.symbolic_fun[0].funs_name


def test_names_in_yaml_for_names_are_not_written_out(tmp_path):
    """Ten of ten of ten of …: a few hundred bytes, and an error message of gigabytes."""
    levels = ["a: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10))]
    path = tmp_path / "bomb_config.yml"
    path.write_text("\n".join([*levels, "width: *a9"]))
    refused(read_model_config, path)


def test_bytes_that_are_shared_are_counted():
    """A thousand arrays of one megabyte that is there once."""
    big = np.zeros(1 << 17)
    frame = pd.DataFrame({"a": [0]})
    frame.attrs = {"x": [big] * 1000}
    with pytest.raises(RefusedError, match="parts that contain each other"):
        frame_of_pickle(pickle.dumps(frame, protocol=4))


@pytest.mark.parametrize("opened", ["a: " + 300_000 * "[", 300_000 * "- ", 200_000 * "{a: "], ids=["[", "-", "{"])
def test_yaml_that_would_exhaust_the_stack_of_libyaml(opened, tmp_path):
    """In a process of its own, which libyaml would end."""
    (tmp_path / "model_config.yml").write_text(opened)
    program = "import sys; from kanbench.network.checkpoint_config import read_model_config as read; read(sys.argv[1])"
    command = [sys.executable, "-c", program, str(tmp_path / "model_config.yml")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "refused: nested lists or mappings; allowed: up to 100 levels" in run.stderr
