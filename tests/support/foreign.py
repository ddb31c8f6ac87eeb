"""What other programs write: calls of functions as pickle and YAML note them, and names as older versions had them."""

import re

import yaml


class Call:
    """Is written as a call of a function, with a state that is set on what it returns."""

    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state

    def __reduce__(self):
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


NEWER = {  # to the names in files of numpy 1, and of pandas 1 and 2
    "numpy._core": "numpy.core",
    "pandas\nDataFrame": "pandas.core.frame\nDataFrame",
    "pandas\nIndex": "pandas.core.indexes.base\nIndex",
    "pandas\nRangeIndex": "pandas.core.indexes.range\nRangeIndex",
    "pandas\nMultiIndex": "pandas.core.indexes.multi\nMultiIndex",
    "pandas\nCategoricalIndex": "pandas.core.indexes.category\nCategoricalIndex",
    "pandas\nDatetimeIndex": "pandas.core.indexes.datetimes\nDatetimeIndex",
    "pandas\nTimedeltaIndex": "pandas.core.indexes.timedeltas\nTimedeltaIndex",
    "pandas.core.indexes.timedeltas\n_new_TimedeltaIndex": "pandas.core.indexes.base\n_new_Index",
    "pandas.arrays\nDatetimeArray": "pandas.core.arrays.datetimes\nDatetimeArray",
    "pandas.arrays\nTimedeltaArray": "pandas.core.arrays.timedeltas\nTimedeltaArray",
    "pandas.arrays\nIntegerArray": "pandas.core.arrays.integer\nIntegerArray",
    "pandas.arrays\nFloatingArray": "pandas.core.arrays.floating\nFloatingArray",
    "pandas.arrays\nBooleanArray": "pandas.core.arrays.boolean\nBooleanArray",
    "pandas.arrays\nStringArray": "pandas.core.arrays.string_\nStringArray",
    "pandas.arrays\nArrowStringArray": "pandas.core.arrays.string_arrow\nArrowStringArray",
    "pandas\nCategorical\n": "pandas.core.arrays.categorical\nCategorical\n",
    "pandas\nCategoricalDtype": "pandas.core.dtypes.dtypes\nCategoricalDtype",
    "pandas\nStringDtype": "pandas.core.arrays.string_\nStringDtype",
    "pandas\nNA": "pandas._libs.missing\nNA",
}


def older(program):
    """A pickle of a protocol up to 3, with the names that older versions of numpy and pandas write."""
    for new, old in NEWER.items():
        program = program.replace(f"c{new}".encode(), f"c{old}".encode())
    return program


def dumped(value, numpy=2):
    """YAML as `yaml.dump` writes it, with the names of numpy 1 or 2."""
    text = yaml.dump(value, default_flow_style=False)
    return text if numpy == 2 else re.sub(r"\bnumpy\._core\b", "numpy.core", text)
