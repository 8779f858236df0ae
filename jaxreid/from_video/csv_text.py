"""Rows as the text of a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence


def of(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows, at least one, that all have the keys of the first, which become the head; lines end with a line feed."""
    made = io.StringIO(newline='')
    table = csv.DictWriter(made, fieldnames=list(rows[0]), lineterminator='\n')
    table.writeheader()
    table.writerows(rows)
    return made.getvalue()
