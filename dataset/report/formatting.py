"""Formats numbers for display."""


def whole(count: int) -> str:
    """An integer with separators: 1,234,567"""
    return f"{count:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 clip, 2 clips"""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def number(value: float, digits: int | None = None) -> str:
    """At least three significant digits, at most three decimals: 1,234, 123, 12.3, 1.23, 0.123.

    Minus signs are typographic, and there is no negative zero.

    digits: maximum number of decimals instead
    """
    if digits is None:
        digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 3
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "0") else text.replace("-", "\N{MINUS SIGN}")


def percent(part: float, of: float) -> str:
    """A percentage: 12.3 %"""
    share = 100 * part / of if of else 0.0
    return "< 0.1 %" if 0 < share < 0.05 else f"{share:.0f} %" if share >= 99.95 or share == 0 else f"{share:.1f} %"


def hours(seconds: float) -> str:
    """A duration in its largest unit: 2,442 h, 31 min, 12 s"""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def size(count: int) -> str:
    """A size in bytes with a decimal unit: 4.2 MB"""
    for unit, bytes_ in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_:
            return f"{number(count / bytes_)} {unit}"
    return f"{count} B"
