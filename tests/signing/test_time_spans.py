"""Time spans."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async._time_spans import MAX_SECONDS, seconds
from mux_async.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (60, 60),
        (60.9, 60),
        ("60", 60),
        ("30s", 30),
        ("5 min", 300),
        ("2 hours", 7200),
        ("7d", 604_800),
        (" 2w ", 1_209_600),
        ("1y", 31_536_000),
        ("2h30m", 9000),
        ("1 day 12 hours", 129_600),
        ("90min", 5400),
        ("1m30s", 90),
        (timedelta(hours=1, milliseconds=7), 3600),
    ],
)
def test_spans(span: int | float | str | timedelta, expected: int) -> None:
    """A span is whole seconds, however it is written."""
    assert seconds(span) == expected


@pytest.mark.parametrize(
    "span",
    [
        *(
            "",
            " ",
            "soon",
            "7 D",
            "7D",
            "1.5h",
            "-1d",
            "0x10",
            "1e3",
            "d",
            "7dd",
            "7 d x",
            "7ms",
            "\u0667d",
            "7d" * 200,
            "1 month",
        ),
        *(0, -1, 0.5, float("nan"), float("inf"), True, None, [7], MAX_SECONDS + 1, timedelta(0), "200y", "9" * 90),
    ],
)
def test_not_spans(span: object) -> None:
    """What is no span, or none that makes sense, is refused in words that name the argument and show a right one."""
    with pytest.raises(InvalidRequestError, match=r"expires_in is .*(not a time span; write seconds|1 second to 100 years)"):
        seconds(span)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["s", "min", "hours", "d", "w"])), min_size=1, max_size=4))
def test_units_add_up(parts: list[tuple[int, str]]) -> None:
    """Several units in a row are their sum."""
    units = {"s": 1, "min": 60, "hours": 3600, "d": 86_400, "w": 604_800}
    total = sum(count * units[unit] for count, unit in parts)
    text = "".join(f"{count} {unit} " for count, unit in parts)
    if total:
        assert seconds(text) == total


@pytest.mark.parametrize(
    "span",
    [
        1_767_225_600 + 3600,
        1_767_225_600.5,
        "1767229200",
        7 * 86_400 * 1000,
        timedelta(seconds=1_767_229_200),
        11 * 365 * 86_400,
    ],
)
def test_moments_are_no_spans(span: object) -> None:
    """A moment where a span belongs, or milliseconds, would open for decades: refused, with what was probably meant."""
    with pytest.raises(InvalidRequestError, match=r"more than ten years.*at - time\.time\(\).*'40y'"):
        seconds(span)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_decades_that_are_meant() -> None:
    """A long span with its unit is taken, and so are ten years in seconds."""
    assert seconds("40y") == 40 * 365 * 86_400
    assert seconds("20000 d") == 20_000 * 86_400
    assert seconds(10 * 365 * 86_400) == 10 * 365 * 86_400
