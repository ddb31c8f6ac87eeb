"""Files of torch's are written and read without torch.

What `torch.save` writes, and who reads it; both name what they refuse, and nothing that a file names is run:

===========================================================  ============================  ======================
written                                                      `read_tensors`, with torch    `read_arrays`, without
===========================================================  ============================  ======================
tensors and parameters in half, single and double precision  yes                           yes
bfloat16, integers, truth, complex numbers                   yes                           refused
alone, or by name, as in the state of a model                yes                           yes
in lists, in dicts of dicts, with numbers and text           yes                           refused
parts of other tensors, transposed, without numbers          yes                           yes
repeated, sparse, quantized, without memory                  refused                       refused
numbers and arrays of numpy, models, other objects           refused                       refused
the format before torch 1.6                                  refused                       refused
===========================================================  ============================  ======================
"""

import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from kan import KAN

from kanbench.errors import InputError
from kanbench.io.readers import read_tensors
from kanbench.io.torch_file import read_arrays, write_arrays
from kanbench.network.pykan import global_random_state_kept

DTYPES = st.sampled_from([np.float32, np.float64])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, min_side=0)))
CASES = settings(max_examples=40, deadline=None, derandomize=True)


def assert_same_bits(value, expected):
    value, expected = np.asarray(value), np.asarray(expected)
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
    assert value.tobytes() == expected.tobytes()


@CASES
@given(st.dictionaries(st.text(max_size=10), ARRAYS | ARRAYS.map(np.transpose), max_size=5))
def test_torch_reads_what_is_written(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "file"
    write_arrays(path, content)
    read = torch.load(path, weights_only=True)
    assert type(read) is OrderedDict
    assert list(read) == list(content)
    ours = read_arrays(path)
    assert list(ours) == list(content)
    for name, array in content.items():
        assert read[name].is_contiguous()
        assert_same_bits(read[name].numpy(), array)
        assert_same_bits(ours[name], array)


@CASES
@given(ARRAYS)
def test_one_array_is_one_tensor(tmp_path_factory, array):
    path = tmp_path_factory.getbasetemp() / "file"
    write_arrays(path, array)
    assert_same_bits(torch.load(path, weights_only=True).numpy(), array)
    assert_same_bits(read_arrays(path), array)


def test_other_ways_of_torchs_to_read_it(tmp_path):
    array = np.random.default_rng(0).normal(size=(40, 30))
    write_arrays(tmp_path / "file", {"a": array})
    for options in ({"weights_only": False}, {"mmap": True}, {"map_location": "cpu"}):
        assert_same_bits(torch.load(tmp_path / "file", **options)["a"].numpy(), array)
    with pytest.raises(KeyError, match="int64"):
        write_arrays(tmp_path / "file", np.arange(3))


def test_the_same_arrays_are_the_same_file(tmp_path):
    for name in ("one", "other"):
        write_arrays(tmp_path / name, {"a": np.ones((2, 3)), "b": np.zeros(4, np.float32)})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


SHARED = torch.arange(60.0, dtype=torch.float64)
TENSORS = {
    "of double precision": torch.rand(3, 4, dtype=torch.float64),
    "of single precision": torch.rand(3, 4),
    "a number": torch.tensor(1.5),
    "empty": torch.zeros(3, 0, 2),
    "transposed": torch.rand(4, 5).T,
    "with steps": SHARED[3:50:7],
    "of the same storage": SHARED[10:],
    "with rows that overlap": SHARED.as_strided((5, 4), (3, 1), 11),
    "without values, far behind": SHARED[60:],
    "a parameter": torch.nn.Parameter(torch.rand(3)),
    "with a gradient": torch.rand(3, requires_grad=True),
    "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_what_torch_writes_is_read(tmp_path, name):
    torch.save(TENSORS[name], tmp_path / "file")
    assert_same_bits(read_arrays(tmp_path / "file"), TENSORS[name].detach().numpy())


def test_tensors_by_name_and_states_of_modules_are_read(tmp_path):
    with global_random_state_kept():
        states = (TENSORS, torch.nn.Linear(3, 2).state_dict(), KAN([2, 3, 1], grid=4, auto_save=False).state_dict())
    for state in states:
        torch.save(state, tmp_path / "file")
        arrays = read_arrays(tmp_path / "file")
        assert list(arrays) == list(state)
        for name, tensor in state.items():
            assert_same_bits(arrays[name], tensor.detach().numpy())
            assert not arrays[name].flags.writeable


PRECISIONS = (torch.float64, torch.float32, torch.float16)
OTHERS = (torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64)


@pytest.mark.parametrize("dtype", PRECISIONS + OTHERS, ids=str)
def test_tensors_of_every_type_are_read(dtype, tmp_path):
    whole = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    state = {"a": whole, "b": whole.T, "c": whole[:, ::2], "d": whole[0, 1], "e": whole[:0]}
    state |= {"f": torch.nn.Parameter(whole, requires_grad=False), "g": whole[1:]}
    for path, content in ((tmp_path / "state", state), (tmp_path / "one", whole)):
        torch.save(content, path)
        read = {trusted: read_tensors(path, trusted) for trusted in (False, True)}
        for tensors in read.values():
            for name, tensor in content.items() if content is state else [(..., whole)]:
                assert tensors[name].dtype == dtype
                assert torch.equal(tensors[name], tensor)
        if dtype in PRECISIONS:
            arrays = read_arrays(path)
            for name, tensor in content.items() if content is state else [(..., whole)]:
                assert_same_bits(arrays[name], tensor.numpy())
        else:
            with pytest.raises(InputError, match=rf"^{path}: refused: it names torch\.\w+Storage; allowed: dense"):
                read_arrays(path)


def test_weights_with_their_training_are_read(tmp_path):
    with global_random_state_kept():
        model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    whole = {**states, "epoch": 3, "loss": 0.5, "note": [None, "x"]}
    for content in (whole, model.state_dict(), None, []):
        torch.save(content, tmp_path / "weights.pth")
        read = read_tensors(tmp_path / "weights.pth")
        assert str(read) == str(content)


@pytest.mark.parametrize("value", [np.float64(0.5), np.array(0.5)], ids=["a number", "an array"])
def test_numbers_of_numpys_beside_tensors_need_trust(value, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(2), "loss": value}, path)
    with pytest.raises(InputError, match=rf"^{path}: refused: it names numpy\.\w+\.multiarray\.\w+; allowed"):
        read_tensors(path)
    assert read_tensors(path, trusted=True)["loss"] == 0.5


def test_a_tensor_of_another_device_is_read(tmp_path):
    """Files of a machine with a GPU differ in one word."""
    torch.save({"a": torch.arange(3.0)}, tmp_path / "file")
    change(tmp_path / "file", text(b"cpu"), text(b"cuda:0"))
    assert_same_bits(read_arrays(tmp_path / "file")["a"], np.arange(3, dtype=np.float32))


def test_half_precision_is_read(tmp_path):
    torch.save(torch.arange(3, dtype=torch.float16), tmp_path / "file")
    assert_same_bits(read_arrays(tmp_path / "file"), np.arange(3, dtype=np.float16))


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value


def change(path, old, new):
    """Put other bytes into the pickle of a file of torch's."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (name,) = [name for name in parts if name.endswith("data.pkl")]
    assert parts[name].count(old) == 1
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content.replace(old, new) if part == name else content)


SIZES = [b"K\x03K\x04\x86", b"K\x04K\x01\x86"]  # the shape (3, 4) and its strides (4, 1), as torch writes them
LAYOUTS = {
    "more rows than there are": (SIZES[0], b"K\x04K\x04\x86"),
    "rows that are further apart": (SIZES[1], b"K\x05K\x01\x86"),
    "numbers that are repeated": (SIZES[0], b"K\x7fK\x04\x86", SIZES[1], b"K\x00K\x00\x86"),
    "fewer strides": (SIZES[1], b"K\x01\x85"),
    "strides that go back": (SIZES[1], b"K\x04J\xff\xff\xff\xff\x86"),
    "a shape that is negative": (SIZES[0], b"J\xfd\xff\xff\xffK\x04\x86"),
    "a shape of True": (SIZES[0], b"\x88K\x04\x86"),
    "a shape of text": (SIZES[0], text(b"3") + b"K\x04\x86"),
    "a shape that is no tuple": (SIZES[0], b"K\x0c"),
    "an offset behind the end": (b"QK\x00", b"QK\x01"),
    "an offset before the beginning": (b"QK\x00", b"QJ\xff\xff\xff\xff"),
    "another size of the storage": (b"K\x0ct", b"K\x0dt"),
    "numbers of another type": (b"ctorch\nDoubleStorage\n", b"ctorch\nFloatStorage\n"),
    "numbers of an unknown type": (b"ctorch\nDoubleStorage\n", b"ctorch\nHalfStorage\n"),
    "a type that is none": (b"ctorch\nDoubleStorage\n", b"ccollections\nOrderedDict\n"),
    "a storage that is not there": (text(b"0"), text(b"1")),
    "a storage whose name takes for ever to hash": (text(b"0"), b")" + b"2\x86" * 60),
    "a storage whose name is a number": (text(b"0"), b"K\x00"),
    "a size that is text": (b"K\x0ct", text(b"12") + b"t"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_tensors_that_do_not_fit_their_storage_are_refused(case, tmp_path):
    path, changes = tmp_path / "file", LAYOUTS[case]
    torch.save(torch.arange(12.0, dtype=torch.float64).reshape(3, 4), path)
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        change(path, old, new)
    with pytest.raises(InputError, match=f"^{path}: ") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(3)], "it has a list"),
        (None, "it has a NoneType"),
        ({"a": 1.5}, "it has a float"),
        ({"a": {"b": torch.zeros(3)}}, "it has a dict"),
        ({"a": torch.zeros(3, dtype=torch.int64)}, r"it names torch\.LongStorage"),
        ({"a": torch.zeros(3, dtype=torch.bfloat16)}, r"it names torch\.BFloat16Storage"),
        (torch.nn.Linear(1, 1), r"it names torch\.nn\.modules\.linear\.Linear"),
        (torch.zeros(1).expand(1 << 40), r"a tensor of shape \(1099511627776,\) without its values"),
    ],
    ids=str,
)
def test_other_things_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "file")
    with pytest.raises(InputError, match=message):
        read_arrays(tmp_path / "file")


def test_torch_is_not_imported(tmp_path):
    torch.save({"a": torch.rand(3)}, tmp_path / "file")
    code = (
        "import sys; from kanbench.io.torch_file import read_arrays, write_arrays;"
        "write_arrays('other', read_arrays('file')); print(*{'torch', 'pandas'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
