"""SINet (CVPR 2022): the rows of its public code."""

from jaxreid.reproduce.published.paper import TableRow, map_r1, table_of


def _row(label: str, variant: str, mars: tuple[float, float], lsvid: tuple[float, float]) -> TableRow:
    return TableRow(label, variant, map_r1(mars) | {'lsvid': {'mAP': lsvid[0], 'rank1': lsvid[1]}})


TABLES = {
    'sinet-code': table_of(
        'sinet',
        'SINet (CVPR 2022) and its parts',
        TableRow('C2D', 'c2d'),
        _row('SBNet (C2D + SBM)', 'sbnet', (85.7, 90.2), (77.1, 85.1)),
        _row('IDNet (C2D + IDM)', 'idnet', (85.9, 90.5), (78.0, 86.2)),
        _row('SINet (C2D + IDM + SBM)', 'sinet', (86.2, 91.0), (79.6, 87.4)),
        TableRow('SINet, the stem as released', 'released'),
    ),
}
