"""What the papers report: every table and figure that compares variants, row by row, one file per paper."""

from jaxreid import config
from jaxreid.reproduce.published import ap3d, paper, sinet, sta, star, stmn, strf, tfclip

TABLES: dict[str, paper.Table] = (
    strf.TABLES | ap3d.TABLES | stmn.TABLES | sta.TABLES | star.TABLES | sinet.TABLES | tfclip.TABLES
)


def find(name: str) -> paper.Table:
    """The table of a name. Raises ConfigError: there is none; names the nearest."""
    if name not in TABLES:
        raise config.ConfigError(f'no table {name!r}.{config.nearest(name, TABLES)}')
    return TABLES[name]
