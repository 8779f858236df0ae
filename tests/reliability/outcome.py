"""What became of a number of attempts to break one thing."""

from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table: what was attacked, how often, what came of it in words, and each failure."""

    what: str
    tried: int
    outcome: str
    failed: list[str]
