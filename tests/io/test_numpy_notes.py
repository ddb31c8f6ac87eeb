"""Numbers of numpy in pickles and in YAML are read as Python's, and forged ones are refused.

What is written of them, and what becomes of it in metadata, attrs, columns of objects, and configurations of models:

=====================================  ============================================  ================================
written                                names in the file (`numpy.core` of numpy 1)   read as
=====================================  ============================================  ================================
scalars: `bool_`, `int8` … `uint64`,   `numpy._core.multiarray.scalar` with a        bool, int, float, complex,
`float16` … `float64`, `complex64`,    `numpy.dtype` and bytes                       str, bytes
`complex128`, `str_`, `bytes_`
arrays of these, and of objects        `numpy._core.multiarray._reconstruct`; in     lists; without dimensions, the
                                       protocol 5 `numpy._core.numeric._frombuffer`  number; in metadata only these
`longdouble`, `clongdouble`, `void`    the same, of other dtypes                     refused: each machine has its own
`datetime64`, `timedelta64`            the same, of other dtypes                     refused: attrs cannot keep them
bytes in protocols 0 to 2              `_codecs.encode`, `builtins.bytes`            bytes
complex                                `builtins.complex`; YAML: `python/complex`    complex; in YAML refused
`torch.device`, paths                  `torch.device`, `pathlib.PosixPath`           text
tuples in YAML                         `python/tuple`                                tuple
everything else                                                                      refused, by its name
=====================================  ============================================  ================================
"""

import copyreg
import datetime
import decimal
import os
import pathlib
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from kanbench.errors import InputError
from kanbench.io.readers import read_yaml
from kanbench.io.untrusted.numpy_notes import NumpyBuilder, metadata_of_pickle
from kanbench.io.untrusted.pickle_machine import RefusedError
from kanbench.io.untrusted.pickled_frames import FRAME_NAMES, read_pickle
from kanbench.io.untrusted.yaml_notes import read_dumped_yaml
from support.foreign import Call, dumped, older

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ("float16", "float32", "float64")
NUMBERS = {
    **{f"{kind}, the least": np.dtype(kind).type(np.iinfo(kind).min) for kind in INTEGERS},
    **{f"{kind}, the largest": np.dtype(kind).type(np.iinfo(kind).max) for kind in INTEGERS},
    **{f"{kind} {value}": np.dtype(kind).type(value) for kind in FLOATS for value in (1.5, -0.0, "inf", "nan")},
    "complex64": np.complex64(1 - 2j),
    "complex128": np.complex128(1 - 2j),
    "True": np.True_,
    "False": np.False_,
    "text": np.str_("grüße"),
    "no text": np.str_(""),
    "bytes": np.bytes_(b"a\xff"),
    "no bytes": np.bytes_(b""),
    "of the other byte order": Call(scalar, np.dtype(">i4"), b"\0\0\1\0"),
}  # fmt: skip


def expected(value):
    return 256 if isinstance(value, Call) else value.item()


def same(value, wanted):
    assert type(value) is type(wanted)
    assert repr(value) == repr(wanted)  # -0.0, nan


@pytest.mark.parametrize("name", NUMBERS)
def test_scalars_are_pythons_numbers(name, tmp_path):
    value = NUMBERS[name]
    for protocol in PROTOCOLS:
        program = pickle.dumps({"a": [value]}, protocol)
        for written in (program, older(program)):
            same(metadata_of_pickle(written), {"a": [expected(value)]})
    for version in (1, 2):
        (tmp_path / "config.yml").write_text(dumped({"a": [value]}, version))
        same(read_dumped_yaml(tmp_path / "config.yml"), {"a": [expected(value)]})


@pytest.mark.parametrize("name", [name for name, value in NUMBERS.items() if not isinstance(value, Call)])
def test_arrays_without_dimensions_are_numbers(name, tmp_path):
    array = np.array(NUMBERS[name])
    for kept in (array, array.astype(object)):
        for protocol in PROTOCOLS:
            program = pickle.dumps({"a": kept}, protocol)
            for written in (program, older(program)):
                same(metadata_of_pickle(written), {"a": array.item()})
    (tmp_path / "config.yml").write_text(dumped({"a": array}, 1))
    same(read_dumped_yaml(tmp_path / "config.yml"), {"a": array.item()})


ARRAYS = {
    "a row": np.arange(3),
    "numbers": np.arange(6.0).reshape(2, 3),
    "by columns": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "axes in another order": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(1, 0, 2),
    "every other": np.arange(10)[::2],
    "none": np.zeros((0, 3)),
    "text": np.array([["a", "bcd"]]),
    "no letters": np.array(["", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "truth": np.array([True, False]),
    "the other byte order": np.arange(3, dtype=">f8"),
    "objects": np.array([["a", None], [np.float64(2.5), (1, [2])]], object),
    "complex numbers": np.array([1j, 2]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_lists_and_not_in_metadata(name, tmp_path):
    array = ARRAYS[name]
    wanted = array.tolist() if name != "objects" else [["a", None], [2.5, (1, [2])]]
    for protocol in PROTOCOLS:
        program = pickle.dumps(array, protocol)
        for written in (program, older(program)):
            same(NumpyBuilder(len(written)).plain(read_pickle(written, FRAME_NAMES)), wanted)
            with pytest.raises(RefusedError, match="instead of a number"):
                metadata_of_pickle(written)
    (tmp_path / "config.yml").write_text(dumped({"a": array}))
    same(read_dumped_yaml(tmp_path / "config.yml"), {"a": wanted})


def test_keys_and_other_values_that_become_plain():
    device = {
        "device": torch.device("cuda:1"),
        "where": pathlib.Path("/a/b"),
    }
    content = {np.int64(3): device, np.str_("a"): [1 + 2j, torch.device("cpu"), b"\xff", pathlib.Path("a")]}
    wanted = {3: {"device": "cuda:1", "where": "/a/b"}, "a": [1 + 2j, "cpu", b"\xff", "a"]}
    for protocol in PROTOCOLS:
        assert metadata_of_pickle(pickle.dumps(content, protocol)) == wanted


# --- YAML ---


def test_yaml_whose_parts_are_shared(tmp_path):
    """A second number of a type refers to the first one's."""
    pair = (np.int64(1), 2)
    content = {
        "a": pair,
        "b": [pair, np.int64(5)],
        "c": np.array([1, 2]),
        "d": np.array(7),
        "e": torch.device("cuda", 0),
    }
    text = dumped(content)
    assert text.count("*id") >= 4
    (tmp_path / "config.yml").write_text(text)
    plain = {"a": (1, 2), "b": [(1, 2), 5], "c": [1, 2], "d": 7, "e": "cuda:0"}
    same(read_dumped_yaml(tmp_path / "config.yml"), plain)


def test_other_forms_of_a_call_in_yaml(tmp_path):
    text = "a: !!python/object/new:torch.device [cpu]\nb: !!python/object/apply:torch.device {args: [cuda, 1]}\n"
    (tmp_path / "config.yml").write_text(text)
    assert read_dumped_yaml(tmp_path / "config.yml") == {"a": "cpu", "b": "cuda:1"}


@pytest.mark.parametrize("value", [np.float64(1), (1, 2), np.zeros(2), torch.device("cpu")], ids=repr)
def test_configurations_of_users_have_none_of_these(value, tmp_path):
    (tmp_path / "config.yml").write_text(dumped({"a": value}))
    with pytest.raises(InputError, match="could not determine a constructor"):
        read_yaml(tmp_path / "config.yml")


# --- what is refused ---


def dtype(code="f8", *state, align=True, copy=False):
    return Call(np.dtype, code, copy, align, state=state or None)


def array(shape, raw, kind=None, head=(np.ndarray, (0,), b"b"), version=1):
    return Call(reconstruct, *head, state=(version, shape, kind or dtype(), False, raw))


PLAIN = (3, "<", None, None, None, -1, -1, 0)
EIGHT = bytes(8)
FORGED = {
    "too few bytes": Call(scalar, dtype(), bytes(7)),
    "too many bytes": Call(scalar, dtype(), bytes(16)),
    "no bytes": Call(scalar, dtype(), b""),
    "no bytes at all": Call(scalar, dtype()),
    "text for bytes": Call(scalar, dtype(), "abcdefgh"),
    "a scalar that is an object": Call(scalar, dtype("O8"), EIGHT),
    "a scalar that is any object": Call(scalar, dtype("O8"), [1]),
    "a date": Call(scalar, np.dtype("M8[ns]"), EIGHT),
    "a span of time": Call(scalar, np.dtype("m8[s]"), EIGHT),
    "a date of no unit": Call(scalar, dtype("M8"), EIGHT),
    "a long double": np.longdouble(1),
    "a complex long double": np.clongdouble(1),
    "a record": np.void(b"abc"),
    "records": np.zeros((), [("a", "f8")])[()],
    "text of half a letter": Call(scalar, np.dtype("U1"), bytes(3)),
    "text of no letter of Unicode": Call(scalar, np.dtype("<U1"), b"\xff" * 4),
    "a dtype by an expression": Call(scalar, dtype("(2,)f4"), EIGHT),
    "a dtype with a byte order in its code": Call(scalar, dtype(">f8"), EIGHT),
    "a dtype by its name": Call(scalar, dtype("float64"), EIGHT),
    "a dtype of a type": Call(scalar, Call(np.dtype, np.ndarray, False, True), EIGHT),
    "a dtype of another size": Call(scalar, dtype("f8", 3, "<", None, None, None, 1 << 40, -1, 0), EIGHT),
    "a dtype of size 0": Call(scalar, dtype("f8", 3, "<", None, None, None, 0, -1, 0), EIGHT),
    "text of another size": Call(scalar, dtype("U2", 3, "<", None, None, None, 4, 4, 8), EIGHT),
    "text of a size that is true": Call(scalar, dtype("S1", 3, "|", None, None, None, True, 1, 0), b"a"),
    "a dtype of another alignment": Call(scalar, dtype("f8", 3, "<", None, None, None, -1, 1, 0), EIGHT),
    "a dtype of other flags": Call(scalar, dtype("f8", 3, "<", None, None, None, -1, -1, 63), EIGHT),
    "a dtype of a subarray": Call(scalar, dtype("f4", 3, "<", (np.dtype("f4"), (2,)), None, None, -1, -1, 0), EIGHT),
    "a dtype with names": Call(scalar, dtype("f8", 3, "<", None, ("a",), None, -1, -1, 0), EIGHT),
    "a dtype with fields": Call(scalar, dtype("f8", 3, "<", None, None, {"a": 1}, -1, -1, 0), EIGHT),
    "a dtype of another version": Call(scalar, dtype("f8", 2, "<", None, None, None, -1, -1, 0), EIGHT),
    "a dtype with more": Call(scalar, dtype("f8", *PLAIN, {}), EIGHT),
    "a dtype with less": Call(scalar, dtype("f8", *PLAIN[:-1]), EIGHT),
    "a dtype with nothing": Call(scalar, dtype("f8", 3), EIGHT),
    "a dtype of another byte order": Call(scalar, dtype("f8", 3, "S", *PLAIN[2:]), EIGHT),
    "a dtype of two byte orders": Call(scalar, dtype("f8", 3, "<>", *PLAIN[2:]), EIGHT),
    "a dtype of no byte order": Call(scalar, dtype("f8", 3, "|", *PLAIN[2:]), EIGHT),
    "a truth value of a byte order": Call(scalar, dtype("b1", *PLAIN), b"\1"),
    "a dtype with a metadata of its own": Call(scalar, dtype("f8", 4, *PLAIN[1:], {"a": 1}), EIGHT),
    "another alignment in a call": Call(scalar, dtype("f8", align=7), EIGHT),
    "a dtype as a number": np.dtype("f8"),
    "a class as a number": np.ndarray,
    "too few bytes in an array": array((), bytes(7)),
    "too many bytes in an array": array((), bytes(9)),
    "two numbers in an array of none": array((), bytes(16)),
    "an array that is longer than its bytes": array((3,), bytes(16)),
    "an array that is shorter than its bytes": array((1,), bytes(16)),
    "an array of nothing with bytes": array((0,), bytes(16)),
    "an array of negative length": array((-1,), EIGHT),
    "a huge array": array((1 << 40,), EIGHT),
    "a huge array of nothing": array((1 << 40, 0), b""),
    "a huge array of no letters": array((10_000_000,), b"", np.dtype("U0")),
    "a shape of a number": array(1, EIGHT),
    "a shape of floats": array((1.0,), EIGHT),
    "a shape that is true": array((True,), EIGHT),
    "a shape of text": array(("1",), EIGHT),
    "33 dimensions": array((1,) * 33, EIGHT),
    "objects in bytes": array((), EIGHT, dtype("O8")),
    "two objects in an array of none": array((), [1, 2], dtype("O8")),
    "numbers in a list": array((), [1.5]),
    "an array of another class": array((), EIGHT, head=(np.matrix, (0,), b"b")),
    "an array that begins with another shape": array((), EIGHT, head=(np.ndarray, (9,), b"b")),
    "an array of another version": array((), EIGHT, version=2),
    "an array without a state": Call(reconstruct, np.ndarray, (0,), b"b"),
    "an array with another state": Call(reconstruct, np.ndarray, (0,), b"b", state=(1, ())),
    "a device that is called twice": Call(torch.device, "cuda", "0", 0),
    "a device without a name": Call(torch.device),
    "a path of numbers": Call(pathlib.PosixPath, 7),
    "a function": os.system,
    "a call of a function": Call(os.mkdir, "canary"),
    "a call in the arguments of another": Call(scalar, dtype(), Call(os.mkdir, "canary")),
    "a call in the state of another": array((), Call(os.mkdir, "canary")),
    "a call as a dtype": Call(scalar, Call(os.mkdir, "canary"), EIGHT),
    "a call as a shape": array(Call(os.mkdir, "canary"), EIGHT),
    "another object": Call(copyreg._reconstructor, torch.nn.Module, object, None, state={"a": 1}),
    "a decimal number": decimal.Decimal(1),
    "a time": datetime.datetime(2026, 1, 1),
    "a tensor": torch.zeros(3),
    "a type of torch's": torch.Size([1]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_numbers_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4, 5):
        with pytest.raises((RefusedError, SystemError)) as error:  # the latter is numpy's
            metadata_of_pickle(pickle.dumps({"a": FORGED[name]}, protocol))
        assert isinstance(error.value, RefusedError) or "Unicode" in name
    (tmp_path / "config.yml").write_text(dumped({"a": FORGED[name]}))
    with pytest.raises(InputError) as error:
        read_dumped_yaml(tmp_path / "config.yml")
    assert str(error.value).startswith(f"{tmp_path}/config.yml: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert ": refused: " in str(error.value) or "Unicode" in name
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yml"]


def test_the_parts_of_forged_numbers_are_numbers_where_nothing_is_wrong():
    for kind in (dtype(), dtype("f8", *PLAIN), dtype("f8", 3, ">", *PLAIN[2:])):
        assert metadata_of_pickle(pickle.dumps(Call(scalar, kind, EIGHT))) == 0
        assert metadata_of_pickle(pickle.dumps(array((), EIGHT, kind))) == 0


HOSTILE_YAML = {
    "python/object/apply:os.system": "a: !!python/object/apply:os.system [mkdir canary]",
    "python/object/apply:os.mkdir with a state": "a: !!python/object/apply:os.mkdir {args: [canary], state: 1}",
    "python/object/new:os.mkdir": "a: !!python/object/new:os.mkdir [canary]",
    "python/object:os.path": "a: !!python/object:os.path {a: 1}",
    "python/name:os.system": "a: !!python/name:os.system ''",
    "python/module:antigravity": "a: !!python/module:antigravity ''",
    "a name that is nearly numpy's": "a: !!python/object/apply:numpy.dtype.mro []",
    "a module of numpy's": "a: !!python/object/apply:numpy.load [canary]",
    "a tag of somebody's": "a: !canary 1",
    "a tag of a name space": "a: !<tag:example.com,2026:canary> 1",
    "bytes of Python 2": "a: !!python/str b",
    "an unhashable key": "? !!python/object/apply:numpy.dtype [f8, false, true]\n: 1",
    "a call of a name": "a: !!python/object/apply:torch.device cpu",
    "a call with keywords": "a: !!python/object/apply:torch.device {args: [cpu], kwds: {index: 1}}",
    "a call with items": "a: !!python/object/apply:torch.device {args: [cpu], listitems: [1]}",
    "a call with arguments by name": "a: !!python/object/apply:torch.device {type: cpu}",
    "a call with one argument": "a: !!python/object/apply:torch.device {args: cpu}",
    "a call without anything": "a: !!python/object/apply:torch.device {}",
    "a call that is its own argument": "a: &a !!python/object/apply:torch.device [*a]",
    "a call that is its own state": "a: &a !!python/object/apply:torch.device {args: [cpu], state: *a}",
    "a tuple of itself": "a: &a !!python/tuple [*a]",
    "a tuple that is text": "a: !!python/tuple abc",
    "a list of itself": "a: &a [*a]",
    "tuples of tuples": "a: &a0 !!python/tuple [1]\n"
    + "".join(f"b{i}: &a{i} !!python/tuple [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
    "calls of calls": "a: &a0 !!python/tuple [1]\n"
    + "".join(f"b{i}: &a{i} !!python/object/apply:torch.device [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "bytes that are not": "a: !!python/object/apply:numpy._core.multiarray.scalar [1, !!binary '*']",
    "many bytes": f"a: !!binary {'QUJD' * 300}",
}  # fmt: skip


NAMED = re.compile(r"!!python/(?:object/apply:|object/new:|object:|name:|module:)(\S+)")


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml_runs_nothing_and_ends_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yml").write_text(HOSTILE_YAML[name])
    with pytest.raises(InputError) as error:
        read_dumped_yaml(tmp_path / "config.yml")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/config.yml: ")
    assert len(message) < 600
    if name.startswith("python/"):
        assert f": refused: it names {NAMED.search(HOSTILE_YAML[name])[1]} in line 1; allowed: numbers, text" in message
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yml"]


def test_yaml_of_calls_runs_them_where_it_is_read_carelessly(tmp_path, monkeypatch):
    """So that the tests above cannot pass for want of a working attack."""
    monkeypatch.chdir(tmp_path)
    for text in (HOSTILE_YAML["python/object/apply:os.system"], dumped({"a": FORGED["a call of a function"]})):
        yaml.load(text, yaml.UnsafeLoader)
        (tmp_path / "canary").rmdir()


def test_configurations_of_models_are_read_with_little(tmp_path):
    (tmp_path / "config.yml").write_text(dumped({"a": np.float64(1.5)}))
    code = (
        "import sys; from kanbench.io.untrusted.yaml_notes import read_dumped_yaml;"
        "print(read_dumped_yaml('config.yml'), {'pandas', 'torch', 'pyarrow'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "{'a': 1.5} set()\n"
