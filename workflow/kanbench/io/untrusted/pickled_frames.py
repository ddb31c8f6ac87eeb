"""Build frames from the notes that `kanbench.io.untrusted.pickle_machine` takes of a pickle.

The admitted names are those that pandas 1 to 3 write; the constructors check the values. Not admitted, because results
do not have them: time zones, periods, intervals, sparse columns, and pyarrow columns other than text.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from kanbench.io.untrusted.numpy_notes import MAX_LENGTH, PLAIN_NAMES, Array, NumpyBuilder, names
from kanbench.io.untrusted.pickle_machine import Made, Named, RefusedError, kind_of, read_pickle

MAX_ROWS = MAX_LENGTH
MAX_COLUMNS = 1_000

_INTEGERS = [f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)]
_INDEXES = dict.fromkeys(("Index", "CategoricalIndex", "DatetimeIndex", "TimedeltaIndex"), "index")
_TICKS = ("Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano")  # frequency of a date index; ignored
FRAME_NAMES = {
    **PLAIN_NAMES,
    **names("pandas pandas.core.frame", {"DataFrame": "frame"}),
    **names("pandas", _INDEXES),
    **names("pandas pandas.core.indexes.range", {"RangeIndex": "range"}),
    **names("pandas pandas.core.indexes.multi", {"MultiIndex": "levels"}),
    **names("pandas.core.indexes.base", {"Index": "index", "_new_Index": "new index"}),
    **names("pandas.core.indexes.category", {"CategoricalIndex": "index"}),
    **names("pandas.core.indexes.datetimes", {"DatetimeIndex": "index", "_new_DatetimeIndex": "new index"}),
    **names("pandas.core.indexes.timedeltas", {"TimedeltaIndex": "index", "_new_TimedeltaIndex": "new index"}),
    **names("pandas.core.indexes.numeric", dict.fromkeys(("Int64Index", "UInt64Index", "Float64Index"), "index")),
    **names("pandas pandas.core.arrays.string_", {"StringDtype": "text dtype"}),
    **names("pandas pandas.core.dtypes.dtypes", {"CategoricalDtype": "categories"}),
    **names("pandas pandas.core.arrays.categorical", {"Categorical": "categorical"}),
    **names("pandas pandas.core.arrays.integer", dict.fromkeys(_INTEGERS, "dtype of masked")),
    **names("pandas pandas.core.arrays.floating", dict.fromkeys(("Float32Dtype", "Float64Dtype"), "dtype of masked")),
    **names("pandas pandas.core.arrays.boolean", {"BooleanDtype": "dtype of masked"}),
    **names("pandas.arrays pandas.core.arrays.string_", {"StringArray": "text"}),
    **names("pandas.arrays pandas.core.arrays.string_arrow", {"ArrowStringArray": "arrow text"}),
    **names("pandas.arrays pandas.core.arrays.integer", {"IntegerArray": "masked integers"}),
    **names("pandas.arrays pandas.core.arrays.floating", {"FloatingArray": "masked floats"}),
    **names("pandas.arrays pandas.core.arrays.boolean", {"BooleanArray": "masked booleans"}),
    **names("pandas.arrays pandas.core.arrays.datetimes", {"DatetimeArray": "dates"}),
    **names("pandas.arrays pandas.core.arrays.timedeltas", {"TimedeltaArray": "dates"}),
    **names("pandas._libs.tslibs.offsets", dict.fromkeys(_TICKS, "tick")),
    **names("pandas pandas._libs.missing", {"NA": "missing"}),
    **names("pandas.core.internals.managers", {"BlockManager": "manager"}),
    **names("pandas._libs.internals", {"_unpickle_block": "block", "BlockPlacement": "placement"}),
    **names("pandas._libs.arrays", {"__pyx_unpickle_NDArrayBacked": "backed"}),
    **names("pyarrow.lib", {"_restore_array": "arrow array", "chunked_array": "arrow chunks"}),
    **names("pyarrow.lib", {"py_buffer": "arrow buffer"}),
    **names("pyarrow.lib", dict.fromkeys(("type_for_alias", "large_string", "string"), "arrow type")),
    **names("builtins __builtin__", {"slice": "slice", "object": "object"}),
    **names("copyreg copy_reg", {"_reconstructor": "reconstructor"}),
}


def frame_of_pickle(data: bytes) -> pd.DataFrame:
    """Read a DataFrame from a pickle, with text as Python objects.

    Raises:
        RefusedError, ValueError, LookupError, TypeError: The pickle is damaged, contains no frame, or contains what no
            frame needs.
    """
    return _FrameBuilder(len(data)).frame(read_pickle(data, FRAME_NAMES))


class _FrameBuilder(NumpyBuilder):
    """Builds frames from notes."""

    def frame(self, note: Any) -> pd.DataFrame:
        match note:
            case Made("frame", state=dict(state)) | Made("reconstructor", (Named("frame"), *_), state=dict(state)):
                columns, index, arrays = self._manager(state.get("_mgr", state.get("_data")))
            case _:
                raise RefusedError(f"a {kind_of(note)} instead of a DataFrame")
        if sorted(arrays) != list(range(len(columns))):
            raise RefusedError(f"{len(arrays)} columns of values for {len(columns)} names")
        series = {i: pd.Series(values, index=index, dtype=values.dtype) for i, values in sorted(arrays.items())}
        frame = pd.DataFrame(series, index=index)
        frame.columns = columns
        attrs = self.plain(state.get("attrs") or {})
        if type(attrs) is not dict:  # pandas would also accept pairs
            raise RefusedError(f"attrs that are a {type(attrs).__name__}")
        frame.attrs = attrs
        return frame

    def _manager(self, note: Any) -> tuple[pd.Index, pd.Index, dict[int, Any]]:
        match note:
            case Made("manager", (blocks, [columns, index])):
                parts = [self._block(block) for block in blocks]
            case Made("manager" | "reconstructor", state=(_, _, _, {"0.14.1": dict(state)})):  # pandas before 1.3
                columns, index = state["axes"]
                parts = [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
            case _:
                raise RefusedError("a DataFrame without its manager")
        columns, index = self._index(columns), self._index(index)
        if len(index) > MAX_ROWS or len(columns) > MAX_COLUMNS:
            raise RefusedError(
                f"{len(index)} rows, {len(columns)} columns; allowed: at most {MAX_ROWS} and {MAX_COLUMNS}"
            )
        arrays: dict[int, Any] = {}
        for values, placement in parts:
            positions = self._placement(placement, len(columns))
            rows = self._values(values)
            rows = rows if isinstance(rows, np.ndarray) and rows.ndim == 2 else [rows]
            wrong = [row.shape for row in rows if row.shape != index.shape]  # pandas would broadcast a single value
            if wrong:
                raise RefusedError(f"a column of shape {wrong[0]} for {len(index)} rows")
            arrays.update(zip(positions, rows, strict=True))
        return columns, index, arrays

    def _block(self, note: Any) -> tuple[Any, Any]:
        match note:
            case Made("block", (values, placement, 2)):
                return values, placement
        raise RefusedError("a block of an unknown form")

    def _placement(self, note: Any, count: int) -> list[int]:
        match note:
            case Made("placement", (inner,)):
                return self._placement(inner, count)
            case Made("slice", bounds):
                return list(range(count))[slice(*map(self.plain, bounds))]  # numpy integers since pandas 3.1
        return [int(position) for position in self.array_of(note)]

    def _index(self, note: Any) -> pd.Index:
        match note:
            case Made(
                "new index", (Named("range"), {"start": int(start), "stop": int(stop), "step": int(step), **rest})
            ):
                return pd.RangeIndex(range(start, stop, step), name=self.plain(rest.get("name")))
            case Made("new index", (Named("index"), dict(fields))):
                values = self._values(fields.get("data"))
                return pd.Index(values, dtype=values.dtype, name=self.plain(fields.get("name")))
            case Made("new index", (Named("levels"), {"levels": list(levels), "codes": list(codes), **rest})):
                places: list[Any] = [self.array_of(level) for level in codes]
                indexes: list[Any] = [self._index(level) for level in levels]
                if any(index.nlevels > 1 for index in indexes) or any(place.dtype.kind != "i" for place in places):
                    raise RefusedError("an index whose levels are nested or whose codes are not integers")
                return pd.MultiIndex(indexes, places, names=self.plain(rest.get("names")))
        raise RefusedError("an index that is neither numbers, text nor dates")

    def _values(self, note: Any) -> Any:
        """The values of a column or an index: a numpy or pandas array."""
        match note:
            case Made("reconstructor", (Named(kind), *_), state=state):  # protocols 0 and 1
                note = Made(kind, (), state)
        match note:
            case (
                Made("backed", (Named("text" | "dates"), *_), state=(_, values, *_))
                | Made("dates", state={"_ndarray": values} | {"_data": values})  # pandas before 1.3
            ):
                return self.array_of(values)
            case Made("backed", (Named("categorical"), *_), state=(dtype, codes, *_)):
                return self._categorical(self.array_of(codes), dtype)
            case Made("text" | "categorical", state={"_ndarray": values, "_dtype": dtype}):
                return self.array_of(values) if note.kind == "text" else self._categorical(self.array_of(values), dtype)
            case Made("arrow text", state=dict(state)):
                return self._text(state.get("_pa_array", state.get("_data")))
            case Made("masked integers" | "masked floats" | "masked booleans" as kind, state=dict(state)):
                values, mask = self.array_of(state.get("_data")), self.array_of(state.get("_mask"))
                array = {"masked integers": pd.arrays.IntegerArray, "masked floats": pd.arrays.FloatingArray}
                return array.get(kind, pd.arrays.BooleanArray)(values, mask)
        return self.array_of(note)

    def _categorical(self, codes: Array, dtype: Any) -> pd.Categorical:
        state = dtype.state if isinstance(dtype, Made) else None
        if type(state) is not dict:
            raise RefusedError("a categorical without its categories")
        categories = self._index(state.get("categories"))
        return pd.Categorical.from_codes(codes, categories, ordered=bool(state.get("ordered")))

    # --- pyarrow arrays, in which pandas stores text ---

    def _text(self, note: Any) -> Array:
        match note:
            case Made("arrow chunks", (list(chunks), *_)):
                return np.concatenate([np.empty(0, object), *map(self._text, chunks)])
            case Made("arrow array", ((kind, int(length), _, int(start), [_, _, _] as buffers, [], None),)):
                return self._decoded(kind, length, start, *buffers)
        raise RefusedError("text that is not in a pyarrow array")

    def _decoded(self, kind: Any, length: int, start: int, valid: Any, offsets: Any, letters: Any) -> Array:
        """Decode text from validity bits, offsets and bytes, which pyarrow itself does not check."""
        match kind:
            case Made("arrow type", () | ("large_string" | "large_utf8",)):
                dtype = "<i8"
            case Made("arrow type", ("string" | "utf8",)):
                dtype = "<i4"
            case _:
                raise RefusedError("a pyarrow array that is not text")
        if not 0 <= start <= start + length <= MAX_ROWS:
            raise RefusedError(f"text of length {length}")
        self.charge(start + length)
        ends = np.frombuffer(self._buffer(offsets), dtype) if length else np.zeros(1, dtype)
        present = np.ones(start + length, bool)
        if valid is not None:
            present = np.unpackbits(np.frombuffer(self._buffer(valid), np.uint8), bitorder="little").astype(bool)
        raw = self._buffer(letters) if letters is not None else b""
        text = np.empty(length, object)
        for position, at in enumerate(range(start, start + length)):
            low, high = int(ends[at]), int(ends[at + 1])
            if not 0 <= low <= high <= len(raw):
                raise RefusedError("text with offsets beyond its buffer")
            self.charge(1 + high - low)
            text[position] = raw[low:high].decode() if present[at] else math.nan
        return text

    def _buffer(self, note: Any) -> bytes:
        match note:
            case Made("arrow buffer", (content,)):
                return self.bytes_of(content)
        raise RefusedError("a pyarrow array without its buffers")
