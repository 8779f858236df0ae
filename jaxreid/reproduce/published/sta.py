"""STA (AAAI 2019): its tables and figures that compare variants."""

import functools

from jaxreid.reproduce.published.paper import Scores, TableRow, table_of


def _sta(mars: tuple[float, ...], dukev: tuple[float, ...]) -> dict[str, Scores]:
    """STA prints rank-1, 5, 10 and mAP (and rank-20 of its full system)."""
    names = ('rank1', 'rank5', 'rank10', 'mAP', 'rank20')
    return {'mars': dict(zip(names, mars)), 'dukev': dict(zip(names, dukev))}


_STA_FULL = _sta((86.3, 95.7, 97.1, 80.8, 98.1), (96.2, 99.3, 99.6, 94.9, 99.6))

table = functools.partial(table_of, 'sta')
TABLES = {
    'sta-table1': table(
        'STA, Table 1: parts of the system',
        TableRow('Baseline', 'table1_baseline', _sta((74.5, 88.8, 91.8, 64.0), (79.1, 93.9, 96.0, 76.8))),
        TableRow('+ TL', 'table1_tl', _sta((80.8, 92.1, 94.3, 74.0), (90.6, 95.8, 96.7, 89.7))),
        TableRow('+ TL + Avg', 'table1_avg', _sta((82.5, 92.9, 94.9, 75.0), (91.8, 97.4, 98.0, 91.0))),
        TableRow('+ TL + STA', 'table1_sta', _sta((84.8, 94.6, 96.2, 78.0), (93.3, 98.1, 98.6, 92.7))),
        TableRow('+ TL + STA + Fusion', 'table1_fusion', _sta((85.3, 95.1, 96.4, 79.1), (95.3, 98.1, 99.1, 93.9))),
        TableRow('+ TL + STA + Fusion + Reg', 'table1_full', _STA_FULL),
    ),
    'sta-table2': table(
        'STA, Table 2: frames at test time, trained with four',
        TableRow('N = 2', 'table2_n2', _sta((81.7, 93.8, 95.7, 75.7), (90.3, 97.6, 98.6, 89.0))),
        TableRow('N = 4', 'table1_full', _STA_FULL),
        TableRow('N = 6', 'table2_n6', _sta((86.2, 95.7, 96.9, 81.0), (96.0, 99.4, 99.7, 95.0))),
        TableRow('N = 8', 'table2_n8', _sta((86.2, 95.7, 97.1, 81.2), (96.0, 99.3, 99.6, 95.0))),
    ),
    'sta-table3': table(
        'STA, Table 3: stripes',
        TableRow('K = 2', 'table3_k2', _sta((85.3, 95.1, 96.6, 80.3), (94.7, 99.0, 99.6, 93.8))),
        TableRow('K = 4', 'table1_full', _STA_FULL),
        TableRow('K = 8', 'table3_k8', _sta((85.5, 95.3, 96.9, 80.4), (95.2, 99.1, 99.4, 93.8))),
    ),
    'sta-table4': table(
        'STA, Tables 4 and 5: the full system, and with re-ranking',
        TableRow('STA', 'table1_full', _STA_FULL),
        TableRow(
            'STA + re-ranking',
            'table4_rerank',
            {'mars': {'rank1': 87.2, 'rank5': 96.2, 'rank20': 98.6, 'mAP': 87.7}},
        ),
    ),
    'sta-options': table(
        'STA, where the paper leaves a choice',
        TableRow('default', 'table1_full', _STA_FULL),
        TableRow('70 epochs', 'epochs70'),
        TableRow('embedding of 2048', 'dim2048'),
        TableRow('attention by norms', 'attn_l2'),
        TableRow('squared regularisation', 'reg_squared'),
        TableRow('BN and ReLU on the embedding', 'embed_bn_relu'),
        TableRow('evenly spread frames at test time', 'even_frames'),
    ),
}
