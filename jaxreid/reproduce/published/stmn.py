"""STMN (ICCV 2021): its tables and figures that compare variants."""

import functools

from jaxreid.reproduce.published.paper import Scores, TableRow, table_of


def _stmn(*pairs: tuple[float, float]) -> dict[str, Scores]:
    """STMN prints rank-1 and mAP on MARS, DukeMTMC-VideoReID and LS-VID."""
    return {name: {'rank1': pair[0], 'mAP': pair[1]} for name, pair in zip(('mars', 'dukev', 'lsvid'), pairs)}


_STMN_FULL = _stmn((89.9, 83.7), (96.7, 94.6), (80.6, 66.6))
_STMN_ALL_FRAMES = _stmn((90.5, 84.5), (97.0, 95.9), (82.1, 69.2))

table = functools.partial(table_of, 'stmn')
TABLES = {
    'stmn-table1': table(
        'STMN, Table 1: parts of the system',
        TableRow('1 baseline', 'table1_baseline', _stmn((87.3, 79.1), (95.0, 92.7), (71.6, 55.9))),
        TableRow('2 SM, no L_S', 'table1_sm_no_spread', _stmn((88.7, 81.6), (95.4, 93.6), (78.8, 64.7))),
        TableRow('3 SM', 'table1_sm', _stmn((89.3, 82.5), (96.2, 94.2), (79.6, 65.8))),
        TableRow('4 TM, no L_S', 'table1_tm_no_spread', _stmn((88.5, 81.9), (95.2, 93.3), (77.8, 63.0))),
        TableRow('5 TM', 'table1_tm', _stmn((89.5, 82.0), (95.4, 93.7), (78.9, 64.4))),
        TableRow('6 SM + TM, no L_S', 'table1_both_no_spread', _stmn((89.1, 81.9), (95.6, 93.9), (79.9, 65.4))),
        TableRow('7 SM + TM', 'table1_full', _STMN_FULL),
    ),
    'stmn-table2': table(
        'STMN, Table 2: frames at test time',
        TableRow('restricted random sampling', 'table1_full', _STMN_FULL),
        TableRow('restricted random sampling, with mirror images', 'rrs_flip'),
        TableRow('all frames', 'table2_all_frames', _STMN_ALL_FRAMES),
        TableRow('all frames, with mirror images (released code)', 'table2_all_frames_flip', _STMN_ALL_FRAMES),
        TableRow('all frames, contiguous clips', 'table2_all_frames_contiguous'),
        note='The paper mentions no mirror images; its released code averages them in.',
    ),
    'stmn-mlp': table(
        'STMN, section 4.2: temporal memory or MLP',
        TableRow('temporal memory', 'table1_full', _STMN_FULL),
        TableRow('MLP of the same size', 'mlp', _stmn((88.6, 82.2))),
        TableRow('MLP with 512 hidden units', 'mlp_large'),
        note='The paper calls the large MLP similar to the small one.',
    ),
    'stmn-items': table(
        'STMN, section 4.1: spatial items M and temporal items N, on held-out identities',
        *(TableRow(f'M {m}, N {n}', f'grid_items_{m}_{n}') for m in (5, 10, 20) for n in (5, 10, 20)),
        note='The paper chose M 10, N 5.',
    ),
    'stmn-alpha': table(
        'STMN, section 4.1: margin of the spread loss, on held-out identities',
        *(TableRow(f'alpha {a}', f'grid_alpha_{a}') for a in (0.1, 0.3, 0.5, 0.7, 1.0)),
        note='The paper chose 0.3.',
    ),
    'stmn-frames': table(
        'STMN, section 4.1: frames of a clip, on held-out identities',
        *(TableRow(f'L {n}', f'grid_frames_{n}') for n in (4, 6, 8, 10)),
        note='The paper chose 6.',
    ),
    'stmn-released': table(
        'STMN: the paper and its released code',
        TableRow('paper', 'table1_full', _STMN_FULL),
        TableRow('queries of 16 channels x 128 positions', 'query_flat'),
        TableRow('keys normalised across items', 'key_channel'),
        TableRow('no ReLU after the stem', 'stem_no_relu'),
        TableRow('spread loss summed over items (the paper)', 'spread_sum'),
        TableRow('spread loss and statistics per device', 'spread_per_device'),
        TableRow('released code, all frames with mirror images', 'released', _STMN_ALL_FRAMES),
    ),
}
