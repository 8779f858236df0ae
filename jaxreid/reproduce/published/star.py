"""STAR (BMVC 2019): its tables and figures that compare variants."""

import functools

from jaxreid.reproduce.published.paper import Scores, TableRow, table_of


def _ranks(**values: tuple[float, ...]) -> dict[str, Scores]:
    """STAR prints rank-1, 5, 10, 20, of which the text gives the first few."""
    return {name: dict(zip(('rank1', 'rank5', 'rank10', 'rank20'), given)) for name, given in values.items()}


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
_STAR_CBAM = _ranks(ilids=(74.7, 92.8), prid=(83.9, 95.6), mars=(83.7, 93.9), dukev=(91.7, 98.6))
_STAR_LSTA = _ranks(ilids=(84.3, 96.6), prid=(91.2, 98.2), mars=(84.7, 93.9), dukev=(93.4, 98.9))
_STAR_GSTA = _ranks(ilids=(85.1, 96.4), prid=(92.2, 99.1), mars=(84.9, 95.0), dukev=(93.7, 99.0))
_FIGURE = 'The paper shows a figure without numbers in the text.'

table = functools.partial(table_of, 'star')
TABLES = {
    'star-table1': table(
        'STAR, Tables 1 and 2: the full system and a two-stream ResNet-50',
        TableRow('two-stream ResNet-50', 'table1_two_stream', _STAR_BASE),
        TableRow('STAR', 'table3_full', _STAR_FULL),
    ),
    'star-table3': table(
        'STAR, Table 3: parts of the system',
        TableRow('two-stream ResNet-50', 'table1_two_stream', _STAR_BASE),
        TableRow('two-stream ResNet-50, multi-loss (ours)', 'figure4a_none'),
        TableRow('CBAM, multi-loss', 'table3_cbam', _STAR_CBAM),
        TableRow('LSTA', 'table3_lsta', _STAR_LSTA),
        TableRow('LSTA + GSTA', 'table3_lsta_gsta', _STAR_GSTA),
        TableRow('LSTA + GSTA + R_pr', 'table3_full', _STAR_FULL),
    ),
    'star-figure4a': table(
        'STAR, Figure 4a and c: frame attention',
        TableRow('LSTA', 'table3_lsta', _STAR_LSTA),
        TableRow('CBAM', 'figure4a_cbam'),
        TableRow('SE', 'figure4a_se'),
        TableRow('holistic', 'figure4a_holistic'),
        TableRow('none', 'figure4a_none'),
        note=_FIGURE,
    ),
    'star-attention': table(
        'STAR, which attention and where, each with cross entropy and triplet',
        TableRow('none', 'figure4a_none'),
        TableRow('LSTA on the trunk, after every stage', 'table3_lsta', _STAR_LSTA),
        TableRow('LSTA on the branch of every bottleneck', 'lsta_branch'),
        TableRow('CBAM on the trunk', 'figure4a_cbam'),
        TableRow('CBAM on the branch', 'table3_cbam', _STAR_CBAM),
        TableRow('LSTA on the trunk, gates that start as random masks', 'lsta_gates_sigmoid'),
        note="The paper's Table 3 has CBAM on the branch and LSTA, as we read it, on the trunk.",
    ),
    'star-figure4b': table(
        'STAR, Figure 4b and d: from frames to the clip',
        TableRow('GSTA', 'figure4b_gsta'),
        TableRow('LSTM', 'figure4b_lstm'),
        TableRow('Conv3D-STIM', 'figure4b_conv3d'),
        TableRow('holistic temporal attention', 'figure4b_holistic'),
        TableRow('pooling', 'figure4a_none'),
        note=_FIGURE,
    ),
    'star-figure5': table(
        'STAR, Figure 5: losses',
        TableRow('L_id', 'figure5_id'),
        TableRow('L_id + L_trip', 'table3_lsta_gsta', _STAR_GSTA),
        TableRow('L_id + L_trip + R_pr', 'table3_full', _STAR_FULL),
        note=_FIGURE,
    ),
    'star-figure6': table(
        'STAR, Figure 6: forms of the local attention',
        TableRow('CBAM in place of LSTA', 'figure4a_cbam'),
        TableRow('one 7x7 convolution', 'figure6_conv7'),
        TableRow('3x3, no dilation', 'figure6_plain'),
        TableRow('no spatial attention', 'figure6_no_spatial'),
        TableRow('LSTA', 'table3_lsta', _STAR_LSTA),
        note=_FIGURE,
    ),
    'star-figure7': table(
        'STAR, Figure 7: cues, without R_pr',
        TableRow('RGB', 'figure7_rgb'),
        TableRow('RGB + flow', 'table3_lsta', _STAR_LSTA),
        TableRow('RGB + GSTA', 'figure7_rgb_gsta'),
        TableRow('RGB + flow + GSTA', 'table3_lsta_gsta', _STAR_GSTA),
        note=_FIGURE,
    ),
    'star-options': table(
        'STAR, where the paper leaves a choice',
        TableRow('default', 'table3_full', _STAR_FULL),
        TableRow('no flow: zeros', 'flow_zeros'),
        TableRow('flow with its magnitude', 'flow_magnitude'),
        TableRow('gates that start as random masks', 'gates_sigmoid'),
        TableRow('one kernel for the three dilations', 'lsta_shared'),
        TableRow('hidden 128', 'hidden128'),
        TableRow('hidden 512', 'hidden512'),
        TableRow('last stride 1', 'last_stride1'),
        TableRow('regulariser mined on the embedding', 'mine_embedding'),
        TableRow('CBAM with R_pr', 'cbam_pyramid'),
        TableRow('whole tracklets at test time (the default but on synthetic)', 'whole'),
        TableRow('pieces at test time', 'pieces'),
    ),
}
