"""Frames that pandas 1 to 3 pickle are read as pandas reads them, by every protocol; and what is not admitted is named.

What `DataFrame.to_pickle` writes for what results can hold, beside numpy's arrays (`test_numpy_notes`):

========================================  =================================================================  ========
columns or index                          names in the file                                                  read
========================================  =================================================================  ========
bool, integers, floats, complex, objects  numpy's                                                            as is
text                                      `ArrowStringArray` with `pyarrow.lib` …, `StringArray`             objects
categories                                `Categorical`, `CategoricalDtype`, `CategoricalIndex`              as is
integers, floats, truth with gaps         `IntegerArray`, `FloatingArray`, `BooleanArray` and their dtypes   as is
dates, spans of time                      `DatetimeArray`, `TimedeltaArray`, `_new_DatetimeIndex`,           without
                                          `_new_TimedeltaIndex`, `offsets.Day` … `offsets.Nano`              frequency
a range, several levels                   `RangeIndex`, `MultiIndex`, `_new_Index`                           as is
numbers of pandas 1                       `Int64Index`, `UInt64Index`, `Float64Index`                        as is
missing values in objects                 `NA`                                                               nan
dates with a time zone                    `DatetimeTZDtype`                                                  refused
periods, intervals, sparse columns        `PeriodArray`, `IntervalArray`, `SparseArray` …                    refused
columns of pyarrow's types                `ArrowExtensionArray`                                              refused
dates, sets, other objects in objects     their own                                                          refused
========================================  =================================================================  ========
"""

import copyreg
import datetime
import pickle

import numpy as np
import pandas as pd
import pytest
from pandas.core.internals.managers import BlockManager

from kanbench.errors import InputError
from kanbench.io.untrusted.pickle_machine import RefusedError
from kanbench.io.untrusted.pickled_frames import FRAME_NAMES, frame_of_pickle
from kanbench.storage.frames import read_frame
from support.foreign import NEWER, Call, older

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
DAYS = pd.to_datetime(["2025-10-24 00:03:14", None, "2026-01-01 00:00:00"])
SPANS = pd.to_timedelta([1.5, None, 3], unit="s")
FRAME = pd.DataFrame({"dataset_idx": [0, 0, 1], "epoch": [1, 2, 1], "loss": [0.5, np.nan, 0.25]})
TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
GAPS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64", "boolean")
FRAMES = {
    **{kind: FRAME.assign(a=np.array([0, 1, 1], kind)) for kind in TYPES},
    **{kind: FRAME.assign(a=np.array([0, 1.5, "nan"], kind)) for kind in ("float16", "float32", "float64")},
    **{kind: FRAME.assign(a=np.array([0, 1j, 2], kind)) for kind in ("complex64", "complex128")},
    **{f"{kind} with gaps": FRAME.assign(a=pd.array([0, 1, None], kind)) for kind in GAPS},
    **{
        f"text in {kind}": FRAME.assign(a=pd.array(["ü", "", None], kind))
        for kind in ("str", "string", "string[python]", object)
    },
    "categories": FRAME.assign(a=pd.Categorical(["b", None, "a"]), b=pd.Categorical([3, 5, 3], ordered=True)),
    "categories that are dates": FRAME.assign(a=pd.Categorical(DAYS)),
    "objects": FRAME.assign(a=[{"a": [1, (2, None)]}, "x", b"y"], b=[1j, True, 1 << 60]),
    "numbers in objects": FRAME.assign(a=pd.Series([1, 2.5, None], dtype=object)),
    **{f"dates in {unit}": FRAME.assign(a=DAYS.as_unit(unit), b=1, c=DAYS) for unit in ("s", "ms", "us", "ns")},
    **{f"spans in {unit}": FRAME.assign(a=SPANS.as_unit(unit), b=1, c=SPANS) for unit in ("s", "ms", "us", "ns")},
    "no rows": FRAME.head(0).assign(a=DAYS[:0], b=""),
    "no columns": FRAME[[]],
    "nothing": pd.DataFrame(),
    "no rows of a type": pd.DataFrame(columns=["a", "b"]),
    "a range": FRAME.set_index(pd.RangeIndex(5, -1, -2, name="r")),
    "an index of numbers": FRAME.set_index("dataset_idx"),
    "an index of floats": FRAME.set_index("loss"),
    "an index of text": FRAME.set_index(pd.Index(["a", "b", None], name="t")),
    "an index of truth": FRAME.set_index(pd.Index([True, False, True])),
    "an index of objects": FRAME.set_index(pd.Index(["a", 1, None], dtype=object)),
    "an index of dates": FRAME.set_index(DAYS),
    "an index of spans": FRAME.set_index(SPANS.rename("t")),
    "an index of categories": FRAME.set_index(pd.CategoricalIndex(["a", None, "b"], name="c")),
    **{f"every {step}": FRAME.set_index(pd.date_range("2026", periods=3, freq=step)) for step in ("D", "h", "s", "ns")},
    "every ten minutes": FRAME.set_index(pd.timedelta_range("1s", periods=3, freq="10min")),
    "levels": FRAME.groupby(["dataset_idx", "epoch"]).mean(),
    "levels of everything": FRAME.set_index([pd.Index(["x", None, "y"]), DAYS, pd.CategoricalIndex(["a", "a", "b"])]),
    "levels without rows": FRAME.set_index(["dataset_idx", "epoch"]).head(0),
    "some rows of levels": FRAME.set_index(["dataset_idx", "epoch"]).iloc[::2],
    "grouped by categories": FRAME.assign(a=pd.Categorical(["b", "a", "a"])).groupby("a", observed=False).sum(),
    "aggregated": FRAME.groupby("dataset_idx").agg(["min"]).droplevel(1, axis=1),
    "all types at once": FRAME.convert_dtypes().assign(a=DAYS, b=SPANS, c=["x"] * 3, d=True),
}  # fmt: skip


def with_objects(frame):
    """Text as objects, in columns and in the index, as frames are read."""
    text = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    frame = frame.astype(dict.fromkeys(text, object))
    frame = frame.assign(**{name: frame[name].where(frame[name].notna(), np.nan) for name in text})
    if isinstance(frame.index.dtype, pd.StringDtype):
        frame.index = frame.index.astype(object)
    return frame


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_read_as_pandas_reads_them(name):
    frame = FRAMES[name]
    expected = with_objects(frame)
    for protocol in PROTOCOLS:
        program = pickle.dumps(frame, protocol)
        for written in (program, older(program)):
            read = frame_of_pickle(written)
            options = {"check_freq": False, "check_column_type": False, "check_categorical": False}
            pd.testing.assert_frame_equal(with_objects(read), expected, check_index_type=False, **options)
            assert read.index.dtype.kind == expected.index.dtype.kind
            assert read.index.names == frame.index.names


def test_the_older_names_are_admitted():
    names = {name.strip().replace("\n", ".") for name in NEWER.values() if "numpy" not in name}
    assert names <= FRAME_NAMES.keys()


def remade(kind, state):
    return Call(copyreg._reconstructor, kind, object, None, state=state)


@pytest.mark.parametrize("data", ["_data", "_ndarray"])
def test_dates_of_pandas_before_1_3(data):
    days = DAYS.as_unit("ns")
    dates = remade(pd.arrays.DatetimeArray, {data: days.to_numpy(), "_dtype": days.dtype, "_freq": pd.offsets.Day(1)})
    new_index = pd.date_range("2026", periods=1).__reduce__()[0]
    spans = np.array([[1, 2, 3]], "m8[ns]")
    state = {
        "axes": [pd.Index(["a", "b"], dtype=object), Call(new_index, pd.DatetimeIndex, {"data": dates, "name": "t"})],
        "blocks": [{"values": spans, "mgr_locs": slice(0, 1, 1)}, {"values": dates, "mgr_locs": slice(1, 2, 1)}],
    }
    frame = frame_of_pickle(
        pickle.dumps(remade(pd.DataFrame, {"_data": remade(BlockManager, ([], [], [], {"0.14.1": state}))}))
    )
    expected = pd.DataFrame({"a": spans[0], "b": days}, index=days.rename("t"))
    pd.testing.assert_frame_equal(frame, expected, check_column_type=False)


def with_attrs(attrs):
    frame = FRAME.copy()
    frame.attrs = attrs
    return frame


def test_attrs_and_objects_have_pythons_values():
    array, number = np.arange(6).reshape(2, 3), np.float32(0.5)
    values = {
        "a": array,
        "b": number,
        "c": [np.bool_(True), (np.int64(3), None)],
        "d": np.array(7),
        "e": {np.int64(1): 2},
    }
    plain = {"a": [[0, 1, 2], [3, 4, 5]], "b": 0.5, "c": [True, (3, None)], "d": 7, "e": {1: 2}}
    frame = with_attrs(values).assign(a=pd.Series([array, number, values], dtype=object))
    for protocol in PROTOCOLS:
        read = frame_of_pickle(pickle.dumps(frame, protocol))
        assert repr(read.attrs) == repr(plain)
        assert repr(read["a"].tolist()) == repr([plain["a"], 0.5, plain])


def objects(*values):
    return pd.DataFrame({"a": pd.Series(values, dtype=object)})


REFUSED = {
    "a time zone": (FRAME.assign(a=DAYS.tz_localize("UTC")), "DatetimeTZDtype"),
    "a time zone of an index": (FRAME.set_index(DAYS.tz_localize("Europe/Berlin")), "DatetimeTZDtype"),
    "months": (FRAME.set_index(pd.date_range("2026", periods=3, freq="ME")), "MonthEnd"),
    "periods": (FRAME.assign(a=pd.period_range("2026", periods=3, freq="D")), "PeriodArray|__pyx_unpickle_"),
    "an index of periods": (FRAME.set_index(pd.period_range("2026", periods=3, freq="D")), "Period"),
    "intervals": (FRAME.assign(a=pd.interval_range(0, 3)), "Interval"),
    "an index of intervals": (FRAME.set_index(pd.interval_range(0, 3)), "Interval"),
    "numbers that were cut": (FRAME.assign(a=pd.cut([1, 2, 3], 2)), "Interval"),
    "a sparse column": (FRAME.assign(a=pd.arrays.SparseArray([0, 0, 1])), "Sparse"),
    "numbers of pyarrow's": (FRAME.astype({"epoch": "int64[pyarrow]"}), "Arrow"),
    "a Timestamp among objects": (objects(DAYS[0], 1), "timestamp"),
    "a date among objects": (objects(datetime.date(2026, 1, 1), 1), r"datetime\.date"),
    "NaT among objects": (objects(pd.NaT, 1), "_nat_unpickle"),
    "a date of numpy's among objects": (objects(np.datetime64("2026-01-01", "s"), 1), "a scalar of datetime64"),
    "a set among objects": (objects({1}, 1), "a type instead|EMPTY_SET"),
    "a frame among objects": (objects(FRAME, 1), "a frame instead"),
    "a date in attrs": (with_attrs({"a": datetime.datetime(2026, 1, 1)}), r"datetime\.datetime"),
    "dates in attrs": (with_attrs({"a": DAYS.to_numpy()}), "an array of datetime64"),
    "a frame in attrs": (with_attrs({"a": FRAME}), "a frame instead"),
    "a long double": (FRAME.assign(a=np.zeros(3, np.longdouble)), "a dtype other than"),
    "a Series": (FRAME["epoch"], "Series"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_results_do_not_have_is_refused_by_its_name(name, tmp_path):
    frame, word = REFUSED[name]
    path = tmp_path / "frame.pkl"
    for protocol in (2, 4, 5):
        frame.to_pickle(path, protocol=protocol)
        with pytest.raises(InputError, match=f"^{path}: refused: .*({word})") as error:
            read_frame(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", [name for name in REFUSED if name not in ("a Series", "a long double", "a frame in attrs")]
)
def test_trust_admits_what_is_refused(name, tmp_path):
    frame, _ = REFUSED[name]
    frame.to_pickle(tmp_path / "frame.pkl")
    assert read_frame(tmp_path / "frame.pkl", trusted=True).shape == frame.shape


def levels(**changes):
    index = pd.MultiIndex.from_tuples([(0, "a"), (1, "b"), (1, "a")], names=["x", "y"])
    function, (kind, parts), *_ = index.__reduce__()
    return remade(
        pd.DataFrame, {"_mgr": Call(BlockManager, (), [pd.Index([]), Call(function, kind, {**parts, **changes})])}
    )


FORGED = {
    "codes beyond their level": {"codes": [np.array([0, 9, 1]), np.array([0, 1, 0])]},
    "codes before their level": {"codes": [np.array([0, -9, 1]), np.array([0, 1, 0])]},
    "codes of different lengths": {"codes": [np.array([0]), np.array([0, 1])]},
    "codes that are lists": {"codes": [[0, 1, 1], [0, 1, 0]]},
    "codes that are floats": {"codes": [np.array([0.5, 1, 1]), np.array([0, 1, 0])]},
    "fewer levels": {"levels": [pd.Index([0, 1])]},
    "no levels": {"levels": [], "codes": [], "names": []},
    "levels of levels": {"levels": [pd.MultiIndex.from_tuples([(0, 1), (1, 2)]), pd.Index(["a", "b"])]},
    "levels that are lists": {"levels": [[0, 1], ["a", "b"]]},
    "levels with the same twice": {"levels": [pd.Index([0, 0]), pd.Index(["a", "b"])]},
    "fewer names": {"names": ["x"]},
    "names that are a number": {"names": 7},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_levels_are_refused(name):
    with pytest.raises((RefusedError, ValueError, TypeError, LookupError)):
        frame_of_pickle(pickle.dumps(levels(**FORGED[name])))


def test_the_parts_of_forged_levels_are_a_frame_where_nothing_is_wrong():
    assert frame_of_pickle(pickle.dumps(levels())).index.tolist() == [(0, "a"), (1, "b"), (1, "a")]
