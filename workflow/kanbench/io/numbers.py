"""Format numbers for text and print, to two significant digits."""

from __future__ import annotations

from math import isfinite

SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def short(value: float, below: float = 1000.0) -> str:
    """Format to two significant digits: 770, 7.7, 0.077; as 7.7e-5 if, rounded, less than 0.01 or at least `below`."""
    if not isfinite(value):
        return str(value)
    digits, exponent = f"{value:.1e}".split("e")
    rounded = float(f"{digits}e{exponent}")
    if value and not 0.01 <= abs(rounded) < below:
        return f"{digits}e{int(exponent)}"
    return f"{rounded:,.0f}" if abs(rounded) >= 10 else f"{rounded:#.2g}"


def factor_text(value: float) -> str:
    """Format a ratio to two significant digits, three near 1: 1.04, 2.3, 17, 3,100, 4.5e7."""
    return f"{value:.3g}" if 0.9 < value < 1.1 else short(value, below=1e6)


def printed(value: float) -> str:
    """Format for print, without trailing zeros: 0.5, 140, 2.6×10⁻³."""
    digits, _, exponent = short(value).partition("e")
    digits = f"{float(digits.replace(',', '')):g}".replace("-", "−")
    if not exponent:
        return digits
    return power_of_ten(int(exponent)) if digits == "1" else f"{digits}×{power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
    """10⁻⁷ and the like, but plain 1 and 10."""
    return str(10**exponent) if exponent in (0, 1) else f"10{superscript(exponent)}"


def superscript(number: int) -> str:
    return str(number).translate(SUPERSCRIPTS)


def subscript(number: int | str) -> str:
    return str(number).translate(SUBSCRIPTS)
