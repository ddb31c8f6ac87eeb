"""Numbers for readers."""

from math import inf, nan

from kanbench.io.numbers import factor_text, power_of_ten, printed, short


def test_two_digits():
    values = (0, 0.0099, 0.00996, 0.0101, 0.0456, 7.7, 99.6, 770.4, 999.6, 1e3, -2.64e-3)
    assert [short(value) for value in values] == [
        *("0.0", "9.9e-3", "0.010", "0.010", "0.046", "7.7", "100", "770", "1.0e3", "1.0e3", "-2.6e-3"),
    ]
    assert [short(value) for value in (nan, inf)] == ["nan", "inf"]


def test_factors():
    values = [1.0, 1.04, 0.961, 2.34, 9.96, 17.4, 996, 3140, 0.0456, 4.56e-5, 1.234e7]
    assert [factor_text(value) for value in values] == [
        *("1", "1.04", "0.961", "2.3", "10", "17", "1,000", "3,100", "0.046", "4.6e-5", "1.2e7"),
    ]


def test_as_in_print():
    assert [power_of_ten(exponent) for exponent in (-25, -1, 0, 1, 3)] == ["10⁻²⁵", "10⁻¹", "1", "10", "10³"]
    assert [printed(value) for value in (0.05, 200, 2e-7, 1e-6)] == ["0.05", "200", "2×10⁻⁷", "10⁻⁶"]
    assert [printed(value) for value in (0.534, 143, -2.64e-3, 1e-9)] == ["0.53", "140", "−2.6×10⁻³", "10⁻⁹"]
