"""What the papers report: every table and figure that compares variants, row by row, as data.

A figure's values are given where the paper's text names them. A number is in percent; a pair is a range, where the
paper's text gives the values of several rows but not which row has which.
"""

import dataclasses
from collections.abc import Mapping

from jaxreid import config

METRICS = ('mAP', 'rank1', 'rank5', 'rank10', 'rank20')
Value = float | tuple[float, float]
Scores = Mapping[str, Value]  # metric -> percent, those that are known


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: what the paper calls it, the variant that runs it, and the paper's figures by data set."""

    label: str
    variant: str  # of configs/<system>_<dataset>.py
    paper: Mapping[str, Scores] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or figure of a paper."""

    title: str
    system: str  # prefix of the config files: strf | ap3d | stmn | sta | star
    rows: tuple[Row, ...]
    note: str = ''

    def datasets(self) -> tuple[str, ...]:
        """Data sets that the paper gives figures on, in the order of the text."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.paper))


def find(name: str) -> Table:
    """The table of a name.

    Raises:
      ConfigError: there is none; names the nearest.
    """
    if name not in TABLES:
        raise config.ConfigError(f'no table {name!r}.{config.nearest(name, TABLES)}')
    return TABLES[name]


def _map_r1(mars: tuple[Value, Value] | None, dukev: tuple[Value, Value] | None = None) -> dict[str, Scores]:
    """STRF prints mAP and rank-1."""
    given = {'mars': mars, 'dukev': dukev}
    return {name: {'mAP': pair[0], 'rank1': pair[1]} for name, pair in given.items() if pair}


def _r1_map(**pairs: tuple[float, float]) -> dict[str, Scores]:
    """STMN prints rank-1 and mAP."""
    return {name: {'rank1': pair[0], 'mAP': pair[1]} for name, pair in pairs.items()}


def _sta(mars: tuple[float, ...], dukev: tuple[float, ...]) -> dict[str, Scores]:
    """STA prints rank-1, 5, 10 and mAP (and rank-20 of its full system)."""
    names = ('rank1', 'rank5', 'rank10', 'mAP', 'rank20')
    return {'mars': dict(zip(names, mars)), 'dukev': dict(zip(names, dukev))}


def _ranks(**values: tuple[float, ...]) -> dict[str, Scores]:
    """STAR prints rank-1, 5, 10, 20, of which the text gives the first few."""
    return {name: dict(zip(('rank1', 'rank5', 'rank10', 'rank20'), given)) for name, given in values.items()}


_STRF_FULL = _map_r1((86.1, 90.3))
_STRF_BASE = _map_r1((83.1, 88.5))
_SINGLE = _map_r1(((85.1, 85.2), (89.7, 90.0)))
_PAIR = _map_r1(((85.3, 85.7), (89.5, 90.1)))
_TRIPLE = _map_r1(((85.3, 85.7), (89.5, 90.2)))
_BRANCHES = {'t_tau': '(t,τ)', 't_sigma': '(t,ς)', 's_tau': '(s,τ)', 's_sigma': '(s,ς)'}
_SUBSETS = {
    1: ('s_tau', 's_sigma', 't_tau', 't_sigma'),
    2: ('s_tau+s_sigma', 't_tau+t_sigma', 't_tau+s_tau', 't_sigma+s_sigma', 't_sigma+s_tau', 't_tau+s_sigma'),
    3: ('t_tau+s_tau+s_sigma', 't_sigma+s_tau+s_sigma', 't_tau+t_sigma+s_tau', 't_tau+t_sigma+s_sigma'),
}


def _subset_rows(count: int, paper: Mapping[str, Scores]) -> tuple[Row, ...]:
    return tuple(
        Row('+'.join(_BRANCHES[b] for b in subset.split('+')), f'table4_{subset}', paper) for subset in _SUBSETS[count]
    )


_STA_FULL = _sta((86.3, 95.7, 97.1, 80.8, 98.1), (96.2, 99.3, 99.6, 94.9, 99.6))
_STMN_FULL = _r1_map(mars=(89.9, 83.7), dukev=(96.7, 94.6), lsvid=(80.6, 66.6))
_STMN_ALL_FRAMES = _r1_map(mars=(90.5, 84.5), dukev=(97.0, 95.9), lsvid=(82.1, 69.2))
_STAR_BASE: dict[str, Scores] = {
    'ilids': {'rank1': 69.0, 'rank5': 89.1, 'rank10': 94.1, 'rank20': 97.3},
    'prid': {'rank1': 86.3, 'rank5': 97.8, 'rank10': 99.3, 'rank20': 99.8},
    'mars': {'mAP': 62.5, 'rank1': 76.7, 'rank5': 90.0, 'rank10': 92.7, 'rank20': 95.8},
    'dukev': {'mAP': 79.7, 'rank1': 82.2, 'rank5': 95.2, 'rank10': 97.2, 'rank20': 98.6},
}
_STAR_FULL: dict[str, Scores] = {
    'ilids': {'rank1': 85.9, 'rank5': 97.1, 'rank10': 98.9, 'rank20': 99.7},
    'prid': {'rank1': 93.4, 'rank5': 98.3, 'rank10': 100.0, 'rank20': 100.0},
    'mars': {'mAP': 76.0, 'rank1': 85.4, 'rank5': 95.4, 'rank10': 96.2, 'rank20': 97.3},
    'dukev': {'mAP': 93.4, 'rank1': 94.0, 'rank5': 99.0, 'rank10': 99.3, 'rank20': 99.7},
}
_STAR_LSTA = _ranks(ilids=(84.3, 96.6), prid=(91.2, 98.2), mars=(84.7, 93.9), dukev=(93.4, 98.9))
_STAR_GSTA = _ranks(ilids=(85.1, 96.4), prid=(92.2, 99.1), mars=(84.9, 95.0), dukev=(93.7, 99.0))
_FIGURE = 'The paper shows a figure without numbers in the text.'

TABLES: dict[str, Table] = {
    'strf-table2': Table(
        'STRF, Table 2: 3-D convolutions with and without STRF',
        'strf',
        (
            Row('C2D (not in the table)', 'c2d'),
            Row('I3D', 'table2_i3d_plain', _map_r1((82.7, 88.5), (95.2, 95.4))),
            Row('STRF-I3D', 'table2_i3d', _map_r1((83.1, 88.7), (95.2, 95.9))),
            Row('P3D-A', 'table2_p3da_plain', _map_r1((83.2, 88.9), (95.0, 95.0))),
            Row('STRF-P3D-A', 'table2_p3da', _map_r1((85.4, 89.8), (95.6, 96.0))),
            Row('P3D-B', 'table2_p3db_plain', _map_r1((83.0, 88.8), (95.4, 95.3))),
            Row('STRF-P3D-B', 'table2_p3db', _map_r1((85.6, 90.3), (96.4, 97.4))),
            Row('P3D-C', 'table2_p3dc_plain', _map_r1((83.1, 88.5), (95.3, 95.3))),
            Row('STRF-P3D-C', 'table2_p3dc', _map_r1((86.1, 90.3), (96.2, 97.2))),
        ),
    ),
    'strf-table3': Table(
        'STRF, Table 3: the full system',
        'strf',
        (
            Row('STRF (P3D-C)', 'table2_p3dc', _STRF_FULL | {'ilids': {'rank1': 89.3}}),
            Row('STRF (P3D-B)', 'table2_p3db', {'dukev': {'mAP': 96.4, 'rank1': 97.4}}),
        ),
        'The figure on DukeV is that of P3D-B in Table 2; the paper does not name the row of iLIDS-VID.',
    ),
    'strf-table4': Table(
        'STRF, Table 4 and supplement Table 2: subsets of the four modules',
        'strf',
        (
            Row('baseline', 'table2_p3dc_plain', _STRF_BASE),
            *_subset_rows(1, _SINGLE),
            *_subset_rows(2, _PAIR),
            *_subset_rows(3, _TRIPLE),
            Row('all four', 'table2_p3dc', _STRF_FULL),
        ),
        'Which subset has which value is not recoverable from the text: ranges over subsets of a size.',
    ),
    'strf-table5': Table(
        'STRF, Table 5 and supplement Table 1: stages that hold units',
        'strf',
        (
            Row('none', 'table2_p3dc_plain', _STRF_BASE),
            Row('1', 'table5_stages_1', _map_r1((83.4, 88.8))),
            Row('1, 2', 'table5_stages_12', _map_r1((83.6, 89.0))),
            Row('2, 3', 'table2_p3dc', _STRF_FULL),
            Row('1, 2, 3', 'table5_stages_123', _map_r1((84.7, 89.3))),
            Row('2, 3, 4', 'table5_stages_234', _map_r1((85.5, 90.0))),
            Row('1, 2, 3, 4', 'table5_stages_1234', _map_r1((83.7, 88.7))),
            Row('2', 'table5_stages_2', _map_r1((85.4, 89.7))),
            Row('3', 'table5_stages_3', _map_r1((85.2, 89.8))),
            Row('3, 4', 'table5_stages_34', _map_r1((84.0, 89.4))),
        ),
        'Stages 2, 3, 4: the supplement prints mAP 85.3 and rank-1 90.1.',
    ),
    'strf-figure4a': Table(
        'STRF, Figure 4a: pooling extents (r_τ, r_ς)',
        'strf',
        (
            Row('(1, 1)', 'figure4a_r11'),
            Row('(1, 3)', 'table2_p3dc', _STRF_FULL),
            Row('(1, 5)', 'figure4a_r15', {'mars': {'mAP': 85.9}}),
            Row('(3, 5)', 'figure4a_r35', {'mars': {'mAP': 85.7}}),
        ),
    ),
    'strf-figure4b': Table(
        'STRF, Figure 4b: pooling of the temporal and the spatial modules',
        'strf',
        (
            Row('temporal max, spatial max', 'table2_p3dc', _STRF_FULL),
            Row('temporal max, spatial average', 'figure4b_ma'),
            Row('temporal average, spatial max', 'figure4b_am'),
            Row('temporal average, spatial average', 'figure4b_aa'),
        ),
    ),
    'strf-figure4c': Table(
        'STRF, Figure 4c: order of the modules',
        'strf',
        (
            Row('temporal, then spatial', 'table2_p3dc', _STRF_FULL),
            Row('spatial, then temporal', 'figure4c_s_then_t'),
            Row('parallel', 'figure4c_parallel', {'mars': {'mAP': 85.7}}),
        ),
        'The value of parallel is approximate in the text.',
    ),
    'strf-figure6a': Table(
        'STRF, Figure 6a: factorisation without the affinity module',
        'strf',
        (
            Row('baseline', 'table2_p3dc_plain', _STRF_BASE),
            Row('FFM without FAM', 'figure6a_ffm_only', _map_r1((81.1, 87.4))),
            Row('FFM without FAM, Gram matrix (our reading)', 'figure6a_gram'),
            Row('FFM without FAM, softmax (our reading)', 'figure6a_softmax'),
            Row('FFM + FAM', 'table2_p3dc', _STRF_FULL),
        ),
    ),
    'strf-location': Table(
        'STRF, supplement Figure 2: place of the unit',
        'strf',
        (
            Row('before 3x1x1', 'table2_p3dc', _STRF_FULL),
            Row('before 1x3x3', 'location_1x3x3', _map_r1((80.6, 87.4))),
        ),
    ),
    'strf-nonlocal': Table(
        'STRF, section 3.3: non-local blocks',
        'strf',
        (
            Row('P3D-C', 'table2_p3dc_plain', _STRF_BASE),
            Row('P3D-C + non-local', 'nonlocal', _map_r1((84.8, 89.9))),
            Row('P3D-C + STRF', 'table2_p3dc', _STRF_FULL),
        ),
    ),
    'strf-options': Table(
        'STRF, where the paper leaves a choice',
        'strf',
        (
            Row('default', 'table2_p3dc', _STRF_FULL),
            Row('strided pooling (supplement A), 4 frames', 'pool_strided'),
            Row('strided pooling (supplement A), 8 frames', 'pool_strided_t8'),
            Row('spatial pooling over the whole map', 'channel_attention'),
            Row('softmax over target positions', 'softmax_target'),
            Row('covariance to the letter: lengths as they are', 'cov_none'),
            Row('length 1 over channels and frames', 'cov_l2'),
            Row('centred over positions', 'cov_centre'),
            Row('with a residual', 'residual'),
            Row('mean of the branches', 'branch_mean'),
        ),
    ),
    'ap3d-code': Table(
        'AP3D (ECCV 2020) and the bases of its public code',
        'ap3d',
        (
            Row('C2D', 'c2d'),
            Row('I3D', 'i3d'),
            Row('P3D-A', 'p3da'),
            Row('P3D-B', 'p3db'),
            Row('P3D-C', 'p3dc'),
            Row('AP-I3D', 'ap3d_i3d'),
            Row('AP-P3D-A', 'ap3d_p3da'),
            Row('AP-P3D-B', 'ap3d_p3db'),
            Row('AP3D (AP-P3D-C)', 'ap3d', _map_r1((85.1, 90.1))),
            Row('AP3D + non-local', 'ap3d_nl', _map_r1((85.6, 90.7), (96.1, 97.2)) | {'ilids': {'rank1': 88.7}}),
            Row('C2D + non-local', 'c2d_nl'),
            Row('AP3D without contrastive attention', 'no_contrastive'),
        ),
    ),
    'stmn-table1': Table(
        'STMN, Table 1: parts of the system',
        'stmn',
        (
            Row('1 baseline', 'table1_baseline', _r1_map(mars=(87.3, 79.1), dukev=(95.0, 92.7), lsvid=(71.6, 55.9))),
            Row(
                '2 SM, no L_S',
                'table1_sm_no_spread',
                _r1_map(mars=(88.7, 81.6), dukev=(95.4, 93.6), lsvid=(78.8, 64.7)),
            ),
            Row('3 SM', 'table1_sm', _r1_map(mars=(89.3, 82.5), dukev=(96.2, 94.2), lsvid=(79.6, 65.8))),
            Row(
                '4 TM, no L_S',
                'table1_tm_no_spread',
                _r1_map(mars=(88.5, 81.9), dukev=(95.2, 93.3), lsvid=(77.8, 63.0)),
            ),
            Row('5 TM', 'table1_tm', _r1_map(mars=(89.5, 82.0), dukev=(95.4, 93.7), lsvid=(78.9, 64.4))),
            Row(
                '6 SM + TM, no L_S',
                'table1_both_no_spread',
                _r1_map(mars=(89.1, 81.9), dukev=(95.6, 93.9), lsvid=(79.9, 65.4)),
            ),
            Row('7 SM + TM', 'table1_full', _STMN_FULL),
        ),
    ),
    'stmn-table2': Table(
        'STMN, Table 2: frames at test time',
        'stmn',
        (
            Row('restricted random sampling', 'table1_full', _STMN_FULL),
            Row('restricted random sampling, with mirror images', 'rrs_flip'),
            Row('all frames', 'table2_all_frames', _STMN_ALL_FRAMES),
            Row('all frames, with mirror images (released code)', 'table2_all_frames_flip', _STMN_ALL_FRAMES),
            Row('all frames, contiguous clips', 'table2_all_frames_contiguous'),
        ),
        'The paper mentions no mirror images; its released code averages them in.',
    ),
    'stmn-mlp': Table(
        'STMN, section 4.2: temporal memory or MLP',
        'stmn',
        (
            Row('temporal memory', 'table1_full', _STMN_FULL),
            Row('MLP of the same size', 'mlp', _r1_map(mars=(88.6, 82.2))),
            Row('MLP with 512 hidden units', 'mlp_large'),
        ),
        'The paper calls the large MLP similar to the small one.',
    ),
    'stmn-items': Table(
        'STMN, section 4.1: spatial items M and temporal items N, on held-out identities',
        'stmn',
        tuple(Row(f'M {m}, N {n}', f'grid_items_{m}_{n}') for m in (5, 10, 20) for n in (5, 10, 20)),
        'The paper chose M 10, N 5.',
    ),
    'stmn-alpha': Table(
        'STMN, section 4.1: margin of the spread loss, on held-out identities',
        'stmn',
        tuple(Row(f'alpha {a}', f'grid_alpha_{a}') for a in (0.1, 0.3, 0.5, 0.7, 1.0)),
        'The paper chose 0.3.',
    ),
    'stmn-frames': Table(
        'STMN, section 4.1: frames of a clip, on held-out identities',
        'stmn',
        tuple(Row(f'L {n}', f'grid_frames_{n}') for n in (4, 6, 8, 10)),
        'The paper chose 6.',
    ),
    'stmn-released': Table(
        'STMN: the paper and its released code',
        'stmn',
        (
            Row('paper', 'table1_full', _STMN_FULL),
            Row('queries of 16 channels x 128 positions', 'query_flat'),
            Row('keys normalised across items', 'key_channel'),
            Row('no ReLU after the stem', 'stem_no_relu'),
            Row('spread loss summed over items (the paper)', 'spread_sum'),
            Row('spread loss and statistics per device', 'spread_per_device'),
            Row('released code, all frames with mirror images', 'released', _STMN_ALL_FRAMES),
        ),
    ),
    'sta-table1': Table(
        'STA, Table 1: parts of the system',
        'sta',
        (
            Row('Baseline', 'table1_baseline', _sta((74.5, 88.8, 91.8, 64.0), (79.1, 93.9, 96.0, 76.8))),
            Row('+ TL', 'table1_tl', _sta((80.8, 92.1, 94.3, 74.0), (90.6, 95.8, 96.7, 89.7))),
            Row('+ TL + Avg', 'table1_avg', _sta((82.5, 92.9, 94.9, 75.0), (91.8, 97.4, 98.0, 91.0))),
            Row('+ TL + STA', 'table1_sta', _sta((84.8, 94.6, 96.2, 78.0), (93.3, 98.1, 98.6, 92.7))),
            Row('+ TL + STA + Fusion', 'table1_fusion', _sta((85.3, 95.1, 96.4, 79.1), (95.3, 98.1, 99.1, 93.9))),
            Row('+ TL + STA + Fusion + Reg', 'table1_full', _STA_FULL),
        ),
    ),
    'sta-table2': Table(
        'STA, Table 2: frames at test time, trained with four',
        'sta',
        (
            Row('N = 2', 'table2_n2', _sta((81.7, 93.8, 95.7, 75.7), (90.3, 97.6, 98.6, 89.0))),
            Row('N = 4', 'table1_full', _STA_FULL),
            Row('N = 6', 'table2_n6', _sta((86.2, 95.7, 96.9, 81.0), (96.0, 99.4, 99.7, 95.0))),
            Row('N = 8', 'table2_n8', _sta((86.2, 95.7, 97.1, 81.2), (96.0, 99.3, 99.6, 95.0))),
        ),
    ),
    'sta-table3': Table(
        'STA, Table 3: stripes',
        'sta',
        (
            Row('K = 2', 'table3_k2', _sta((85.3, 95.1, 96.6, 80.3), (94.7, 99.0, 99.6, 93.8))),
            Row('K = 4', 'table1_full', _STA_FULL),
            Row('K = 8', 'table3_k8', _sta((85.5, 95.3, 96.9, 80.4), (95.2, 99.1, 99.4, 93.8))),
        ),
    ),
    'sta-table4': Table(
        'STA, Tables 4 and 5: the full system, and with re-ranking',
        'sta',
        (
            Row('STA', 'table1_full', _STA_FULL),
            Row(
                'STA + re-ranking',
                'table4_rerank',
                {'mars': {'rank1': 87.2, 'rank5': 96.2, 'rank20': 98.6, 'mAP': 87.7}},
            ),
        ),
    ),
    'sta-options': Table(
        'STA, where the paper leaves a choice',
        'sta',
        (
            Row('default', 'table1_full', _STA_FULL),
            Row('70 epochs', 'epochs70'),
            Row('embedding of 2048', 'dim2048'),
            Row('attention by norms', 'attn_l2'),
            Row('squared regularisation', 'reg_squared'),
            Row('BN and ReLU on the embedding', 'embed_bn_relu'),
            Row('evenly spread frames at test time', 'even_frames'),
        ),
    ),
    'star-table1': Table(
        'STAR, Tables 1 and 2: the full system and a two-stream ResNet-50',
        'star',
        (
            Row('two-stream ResNet-50', 'table1_two_stream', _STAR_BASE),
            Row('STAR', 'table3_full', _STAR_FULL),
        ),
    ),
    'star-table3': Table(
        'STAR, Table 3: parts of the system',
        'star',
        (
            Row('two-stream ResNet-50', 'table1_two_stream', _STAR_BASE),
            Row(
                'CBAM, multi-loss',
                'table3_cbam',
                _ranks(ilids=(74.7, 92.8), prid=(83.9, 95.6), mars=(83.7, 93.9), dukev=(91.7, 98.6)),
            ),
            Row('LSTA', 'table3_lsta', _STAR_LSTA),
            Row('LSTA + GSTA', 'table3_lsta_gsta', _STAR_GSTA),
            Row('LSTA + GSTA + R_pr', 'table3_full', _STAR_FULL),
        ),
    ),
    'star-figure4a': Table(
        'STAR, Figure 4a and c: frame attention',
        'star',
        (
            Row('LSTA', 'table3_lsta', _STAR_LSTA),
            Row('CBAM', 'figure4a_cbam'),
            Row('SE', 'figure4a_se'),
            Row('holistic', 'figure4a_holistic'),
            Row('none', 'figure4a_none'),
        ),
        _FIGURE,
    ),
    'star-figure4b': Table(
        'STAR, Figure 4b and d: from frames to the clip',
        'star',
        (
            Row('GSTA', 'figure4b_gsta'),
            Row('LSTM', 'figure4b_lstm'),
            Row('Conv3D-STIM', 'figure4b_conv3d'),
            Row('holistic temporal attention', 'figure4b_holistic'),
            Row('pooling', 'figure4a_none'),
        ),
        _FIGURE,
    ),
    'star-figure5': Table(
        'STAR, Figure 5: losses',
        'star',
        (
            Row('L_id', 'figure5_id'),
            Row('L_id + L_trip', 'table3_lsta_gsta', _STAR_GSTA),
            Row('L_id + L_trip + R_pr', 'table3_full', _STAR_FULL),
        ),
        _FIGURE,
    ),
    'star-figure6': Table(
        'STAR, Figure 6: forms of the local attention',
        'star',
        (
            Row('CBAM in place of LSTA', 'figure4a_cbam'),
            Row('one 7x7 convolution', 'figure6_conv7'),
            Row('3x3, no dilation', 'figure6_plain'),
            Row('no spatial attention', 'figure6_no_spatial'),
            Row('LSTA', 'table3_lsta', _STAR_LSTA),
        ),
        _FIGURE,
    ),
    'star-figure7': Table(
        'STAR, Figure 7: cues, without R_pr',
        'star',
        (
            Row('RGB', 'figure7_rgb'),
            Row('RGB + flow', 'table3_lsta', _STAR_LSTA),
            Row('RGB + GSTA', 'figure7_rgb_gsta'),
            Row('RGB + flow + GSTA', 'table3_lsta_gsta', _STAR_GSTA),
        ),
        _FIGURE,
    ),
    'star-options': Table(
        'STAR, where the paper leaves a choice',
        'star',
        (
            Row('default', 'table3_full', _STAR_FULL),
            Row('no flow: zeros', 'flow_zeros'),
            Row('flow with its magnitude', 'flow_magnitude'),
            Row('one kernel for the three dilations', 'lsta_shared'),
            Row('hidden 128', 'hidden128'),
            Row('hidden 512', 'hidden512'),
            Row('last stride 1', 'last_stride1'),
            Row('regulariser mined on the embedding', 'mine_embedding'),
            Row('CBAM with R_pr', 'cbam_pyramid'),
            Row('whole tracklets at test time (the default but on synthetic)', 'whole'),
            Row('pieces at test time', 'pieces'),
        ),
    ),
}
