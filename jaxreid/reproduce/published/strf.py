"""STRF (ICCV 2021): its tables and figures that compare variants."""

import functools
from collections.abc import Mapping

from jaxreid.reproduce.published.paper import Scores, TableRow, map_r1, table_of

_STRF_FULL = map_r1((86.1, 90.3))
_STRF_BASE = map_r1((83.1, 88.5))
_SINGLE = map_r1(((85.1, 85.2), (89.7, 90.0)))
_PAIR = map_r1(((85.3, 85.7), (89.5, 90.1)))
_TRIPLE = map_r1(((85.3, 85.7), (89.5, 90.2)))
_BRANCHES = {'t_tau': '(t,τ)', 't_sigma': '(t,ς)', 's_tau': '(s,τ)', 's_sigma': '(s,ς)'}
_SUBSETS = {
    1: ('s_tau', 's_sigma', 't_tau', 't_sigma'),
    2: ('s_tau+s_sigma', 't_tau+t_sigma', 't_tau+s_tau', 't_sigma+s_sigma', 't_sigma+s_tau', 't_tau+s_sigma'),
    3: ('t_tau+s_tau+s_sigma', 't_sigma+s_tau+s_sigma', 't_tau+t_sigma+s_tau', 't_tau+t_sigma+s_sigma'),
}


def _subset_rows(count: int, paper: Mapping[str, Scores]) -> tuple[TableRow, ...]:
    return tuple(
        TableRow('+'.join(_BRANCHES[b] for b in subset.split('+')), f'table4_{subset}', paper)
        for subset in _SUBSETS[count]
    )


table = functools.partial(table_of, 'strf')
TABLES = {
    'strf-table2': table(
        'STRF, Table 2: 3-D convolutions with and without STRF',
        TableRow('C2D (not in the table)', 'c2d'),
        TableRow('I3D', 'table2_i3d_plain', map_r1((82.7, 88.5), (95.2, 95.4))),
        TableRow('STRF-I3D', 'table2_i3d', map_r1((83.1, 88.7), (95.2, 95.9))),
        TableRow('P3D-A', 'table2_p3da_plain', map_r1((83.2, 88.9), (95.0, 95.0))),
        TableRow('STRF-P3D-A', 'table2_p3da', map_r1((85.4, 89.8), (95.6, 96.0))),
        TableRow('P3D-B', 'table2_p3db_plain', map_r1((83.0, 88.8), (95.4, 95.3))),
        TableRow('STRF-P3D-B', 'table2_p3db', map_r1((85.6, 90.3), (96.4, 97.4))),
        TableRow('P3D-C', 'table2_p3dc_plain', map_r1((83.1, 88.5), (95.3, 95.3))),
        TableRow('STRF-P3D-C', 'table2_p3dc', map_r1((86.1, 90.3), (96.2, 97.2))),
    ),
    'strf-table3': table(
        'STRF, Table 3: the full system',
        TableRow('STRF (P3D-C)', 'table2_p3dc', _STRF_FULL | {'ilids': {'rank1': 89.3}}),
        TableRow('STRF (P3D-B)', 'table2_p3db', {'dukev': {'mAP': 96.4, 'rank1': 97.4}}),
        note='The figure on DukeV is that of P3D-B in Table 2; the paper does not name the row of iLIDS-VID.',
    ),
    'strf-table4': table(
        'STRF, Table 4 and supplement Table 2: subsets of the four modules',
        TableRow('baseline', 'table2_p3dc_plain', _STRF_BASE),
        *_subset_rows(1, _SINGLE),
        *_subset_rows(2, _PAIR),
        *_subset_rows(3, _TRIPLE),
        TableRow('all four', 'table2_p3dc', _STRF_FULL),
        note='Which subset has which value is not recoverable from the text: ranges over subsets of a size.',
    ),
    'strf-table5': table(
        'STRF, Table 5 and supplement Table 1: stages that hold units',
        TableRow('none', 'table2_p3dc_plain', _STRF_BASE),
        TableRow('1', 'table5_stages_1', map_r1((83.4, 88.8))),
        TableRow('1, 2', 'table5_stages_12', map_r1((83.6, 89.0))),
        TableRow('2, 3', 'table2_p3dc', _STRF_FULL),
        TableRow('1, 2, 3', 'table5_stages_123', map_r1((84.7, 89.3))),
        TableRow('2, 3, 4', 'table5_stages_234', map_r1((85.5, 90.0))),
        TableRow('1, 2, 3, 4', 'table5_stages_1234', map_r1((83.7, 88.7))),
        TableRow('2', 'table5_stages_2', map_r1((85.4, 89.7))),
        TableRow('3', 'table5_stages_3', map_r1((85.2, 89.8))),
        TableRow('3, 4', 'table5_stages_34', map_r1((84.0, 89.4))),
        note='Stages 2, 3, 4: the supplement prints mAP 85.3 and rank-1 90.1.',
    ),
    'strf-figure4a': table(
        'STRF, Figure 4a: pooling extents (r_τ, r_ς)',
        TableRow('(1, 1)', 'figure4a_r11'),
        TableRow('(1, 3)', 'table2_p3dc', _STRF_FULL),
        TableRow('(1, 5)', 'figure4a_r15', {'mars': {'mAP': 85.9}}),
        TableRow('(3, 5)', 'figure4a_r35', {'mars': {'mAP': 85.7}}),
    ),
    'strf-figure4b': table(
        'STRF, Figure 4b: pooling of the temporal and the spatial modules',
        TableRow('temporal max, spatial max', 'table2_p3dc', _STRF_FULL),
        TableRow('temporal max, spatial average', 'figure4b_ma'),
        TableRow('temporal average, spatial max', 'figure4b_am'),
        TableRow('temporal average, spatial average', 'figure4b_aa'),
    ),
    'strf-figure4c': table(
        'STRF, Figure 4c: order of the modules',
        TableRow('temporal, then spatial', 'table2_p3dc', _STRF_FULL),
        TableRow('spatial, then temporal', 'figure4c_s_then_t'),
        TableRow('parallel', 'figure4c_parallel', {'mars': {'mAP': 85.7}}),
        note='The value of parallel is approximate in the text.',
    ),
    'strf-figure6a': table(
        'STRF, Figure 6a: factorisation without the affinity module',
        TableRow('baseline', 'table2_p3dc_plain', _STRF_BASE),
        TableRow('FFM without FAM', 'figure6a_ffm_only', map_r1((81.1, 87.4))),
        TableRow('FFM without FAM, Gram matrix (our reading)', 'figure6a_gram'),
        TableRow('FFM without FAM, softmax (our reading)', 'figure6a_softmax'),
        TableRow('FFM + FAM', 'table2_p3dc', _STRF_FULL),
    ),
    'strf-location': table(
        'STRF, supplement Figure 2: place of the unit',
        TableRow('before 3x1x1', 'table2_p3dc', _STRF_FULL),
        TableRow('before 1x3x3', 'location_1x3x3', map_r1((80.6, 87.4))),
    ),
    'strf-nonlocal': table(
        'STRF, section 3.3: non-local blocks',
        TableRow('P3D-C', 'table2_p3dc_plain', _STRF_BASE),
        TableRow('P3D-C + non-local', 'nonlocal', map_r1((84.8, 89.9))),
        TableRow('P3D-C + STRF', 'table2_p3dc', _STRF_FULL),
    ),
    'strf-options': table(
        'STRF, where the paper leaves a choice',
        TableRow('default', 'table2_p3dc', _STRF_FULL),
        TableRow('strided pooling (supplement A), 4 frames', 'pool_strided'),
        TableRow('strided pooling (supplement A), 8 frames', 'pool_strided_t8'),
        TableRow('spatial pooling over the whole map', 'channel_attention'),
        TableRow('softmax over target positions', 'softmax_target'),
        TableRow('covariance to the letter: lengths as they are', 'cov_none'),
        TableRow('length 1 over channels and frames', 'cov_l2'),
        TableRow('centred over positions', 'cov_centre'),
        TableRow('with a residual', 'residual'),
        TableRow('mean of the branches', 'branch_mean'),
    ),
}
