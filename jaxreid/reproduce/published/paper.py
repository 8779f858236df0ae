"""What a table of a paper is: rows with the paper's figures, beside which ours are written.

A figure's values are given where the paper's text names them. A number is in percent; a pair is a range, where the
paper's text gives the values of several rows but not which row has which.
"""

import dataclasses
from collections.abc import Mapping

METRICS = ('mAP', 'rank1', 'rank5', 'rank10', 'rank20')
Value = float | tuple[float, float]
Scores = Mapping[str, Value]  # metric -> percent, those that are known


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One row: what the paper calls it, the variant that runs it, and the paper's figures by data set."""

    label: str
    variant: str  # of configs/<system>_<dataset>.py
    paper: Mapping[str, Scores] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or figure of a paper."""

    title: str
    system: str  # prefix of the config files: strf | ap3d | stmn | sta | star | sinet | tfclip
    rows: tuple[TableRow, ...]
    note: str = ''

    def datasets(self) -> tuple[str, ...]:
        """Data sets that the paper gives figures on, in the order of the text."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.paper))


def table_of(system: str, title: str, *rows: TableRow, note: str = '') -> Table:
    """A table of a system from its rows."""
    return Table(title, system, rows, note)


def map_r1(mars: tuple[Value, Value] | None, dukev: tuple[Value, Value] | None = None) -> dict[str, Scores]:
    """STRF and AP3D print mAP and rank-1."""
    given = {'mars': mars, 'dukev': dukev}
    return {name: {'mAP': pair[0], 'rank1': pair[1]} for name, pair in given.items() if pair}
