"""What the papers claim of their parts, as comparisons: one network against the same network without the part.

Every claim has a place on the rendered benchmark where its mechanism has something to gain, the queries and the measure
by which that shows, and the oracle that says how much (`evaluation.references.ceilings`). On another data set the same
rows are compared, over all queries.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

from jaxreid import config

Expected = Literal['gain', 'loss']
# In percent, but for the items of a memory that are used.
Metric = Literal['mAP', 'rank1', 'look_alike_rank1', 'spatial_items', 'temporal_items']
SHOWN = 'frames that show the person'
BOXES = 'right boxes'
DUMMIES = 'no dummies'
CLEAR = 'nothing in the way'
SKELETONS = 'skeletons in order'
# Of a training on the rendered benchmark, about: whole epochs. What no frame shows by itself takes longer to learn, and
# so does which frames to pass over: after 180 steps STMN gives hidden frames 0.49 of the others' weight, after 270 0.30
# (seed 100).
STEPS, LONGER = 180, {'occlusion': 270, 'motion': 360}
# Learning rates of what starts from a trained network, where the recipe's is chosen for a random start.
RATES = {'star': 5e-4}


@dataclasses.dataclass(frozen=True)
class Claim:
    """A row against another of the same system."""

    says: str  # what the paper says of the row, and where; "ours" where no paper does
    system: str  # prefix of the config files
    row: str  # its variant
    against: str  # likewise
    # by which they are compared; on other data sets mAP stands in for rank-1 inside look-alike groups
    metric: Metric = 'mAP'
    rendered: str = 'demo'  # what is added to both variants on the rendered benchmark, its preset last
    # an attribute and those of its values that the queries have; empty: all queries
    stratum: tuple[str, tuple[str, ...]] | tuple[()] = ()
    ceiling: str = ''  # the oracle that helps `against`; empty: there is none
    expected: Expected = 'gain'  # of the row, as the paper has it
    # rendered benchmark: the small recipe from a random start, where other claims are trained for a short time from a
    # small trained network
    whole: bool = False


_HIDDEN = 'occluded_when', ('start', 'middle', 'end')
_STRIPES = 'hidden_stripe', ('1', '2', '3', '4')

# Where a mechanism has something to gain, and the oracle that says how much.
_boxes = functools.partial(Claim, rendered='misaligned', ceiling=BOXES)
_shown = functools.partial(Claim, rendered='occlusion', ceiling=SHOWN)
_clear = functools.partial(Claim, rendered='occlusion', ceiling=CLEAR)
_rgb_dummies = functools.partial(Claim, rendered='rgb,distractors', ceiling=DUMMIES)
_motion = functools.partial(Claim, metric='look_alike_rank1', rendered='motion', ceiling=SKELETONS)

# The order is that in which they are run.
CLAIMS: dict[str, Claim] = {
    'strf-p3dc': Claim('STRF, Table 2: P3D-C gains by the unit',
        'strf', 'table2_p3dc', 'table2_p3dc_plain', ceiling=BOXES),
    'strf-p3dc-whole': Claim('the same by the whole recipe in small from a random start, as the first example trains',
        'strf', 'table2_p3dc', 'table2_p3dc_plain', ceiling=BOXES, whole=True),
    'strf-p3da': Claim('STRF, Table 2: P3D-A gains by the unit',
        'strf', 'table2_p3da', 'table2_p3da_plain', ceiling=BOXES),
    'strf-p3dc-misaligned': _boxes('STRF: the unit gains where boxes are off the person',
        'strf', 'table2_p3dc', 'table2_p3dc_plain'),
    'stmn-tm': _shown('STMN, Table 1: the temporal memory weighs down occluded frames',
        'stmn', 'table1_tm', 'table1_baseline'),
    'stmn-tm-hidden': _shown('the same, queries before which something stays',
        'stmn', 'table1_tm', 'table1_baseline', stratum=_HIDDEN),
    'star-lsta': _rgb_dummies('STAR, Table 3: attention on the trunk gains (LSTA)',
        'star', 'table3_lsta', 'figure4a_none'),
    'star-lsta-branch': _rgb_dummies('ours: LSTA in the branch of every bottleneck',
        'star', 'lsta_branch', 'figure4a_none'),
    'star-cbam': _rgb_dummies('STAR, Figure 4a: CBAM on the trunk gains',
        'star', 'figure4a_cbam', 'figure4a_none'),
    'star-cbam-branch': _rgb_dummies('STAR, Table 3: CBAM gains, in the branch',
        'star', 'table3_cbam', 'figure4a_none'),
    'star-lsta-over-cbam': Claim('STAR, Figure 4a: LSTA gains over CBAM in the same place',
        'star', 'table3_lsta', 'figure4a_cbam', rendered='rgb,distractors'),
    'p3dc-motion': _motion('3-D convolutions tell motion that no frame shows (P3D-C over C2D)',
        'strf', 'table2_p3dc_plain', 'c2d'),
    'i3d-motion': _motion('3-D convolutions tell motion that no frame shows (I3D over C2D)',
        'strf', 'table2_i3d_plain', 'c2d'),
    'ap3d-misaligned': _boxes('AP3D: aligning frames before the convolution gains',
        'ap3d', 'ap3d', 'p3dc'),
    'sta-stripes': _clear('STA, Table 1: scores of stripes gain over the mean',
        'sta', 'table1_sta', 'table1_avg'),
    'sta-stripes-hidden': _clear('the same, queries of which a stripe is hidden',
        'sta', 'table1_sta', 'table1_avg', stratum=_STRIPES),
    'sta-fusion': _clear('STA, Table 1: fusion with the strongest stripes gains',
        'sta', 'table1_fusion', 'table1_sta'),
    'sta-reg': _clear('STA, Table 1: the regularisation between frames gains',
        'sta', 'table1_full', 'table1_fusion'),
    'strf-p3db': Claim('STRF, Table 2: P3D-B gains by the unit',
        'strf', 'table2_p3db', 'table2_p3db_plain', ceiling=BOXES),
    'strf-i3d': Claim('STRF, Table 2: I3D gains by the unit',
        'strf', 'table2_i3d', 'table2_i3d_plain', ceiling=BOXES),
    'stmn-sm': Claim('STMN, Table 1: the spatial memory takes out what belongs to the scene',
        'stmn', 'table1_sm', 'table1_baseline', rendered='distractors', ceiling=DUMMIES),
    'stmn-sm-spread': Claim('STMN, Table 1: the spread loss gains (spatial memory)',
        'stmn', 'table1_sm', 'table1_sm_no_spread', rendered='distractors'),
    'stmn-sm-items': Claim('STMN, eq. 9: by the spread loss more items are read (spatial memory)',
        'stmn', 'table1_sm', 'table1_sm_no_spread', metric='spatial_items', rendered='distractors'),
    'stmn-tm-spread': Claim('STMN, Table 1: the spread loss gains (temporal memory)',
        'stmn', 'table1_tm', 'table1_tm_no_spread', rendered='occlusion'),
    'stmn-tm-items': Claim('STMN, eq. 9: by the spread loss more items are read (temporal memory)',
        'stmn', 'table1_tm', 'table1_tm_no_spread', metric='temporal_items', rendered='occlusion'),
    'star-gsta': _shown('STAR, Figure 4b: GSTA gains over pooling',
        'star', 'figure4b_gsta', 'figure4a_none', rendered='rgb,occlusion'),
    'star-regulariser': Claim('STAR, Table 3: the ranking regulariser R_pr gains',
        'star', 'table3_full', 'table3_lsta_gsta', rendered='rgb,occlusion'),
    'star-flow': _motion('STAR, Figure 7: flow gains over RGB, here where people differ in motion alone',
        'star', 'table3_lsta', 'figure7_rgb'),
    'strf-dynamic-motion': _motion('STRF: the dynamic branches tell motion',
        'strf', 'table4_t_tau+s_tau', 'table2_p3dc_plain'),
    'strf-dynamic-over-static': _motion('STRF: they tell it better than the static ones',
        'strf', 'table4_t_tau+s_tau', 'table4_t_sigma+s_sigma', ceiling=''),
    'strf-t-tau': _boxes('STRF, Table 4: one branch alone gains (t, dynamic)',
        'strf', 'table4_t_tau', 'table2_p3dc_plain'),
    'strf-t-sigma': _boxes('STRF, Table 4: one branch alone gains (t, static)',
        'strf', 'table4_t_sigma', 'table2_p3dc_plain'),
    'strf-s-tau': _boxes('STRF, Table 4: one branch alone gains (s, dynamic)',
        'strf', 'table4_s_tau', 'table2_p3dc_plain'),
    'strf-s-sigma': _boxes('STRF, Table 4: one branch alone gains (s, static)',
        'strf', 'table4_s_sigma', 'table2_p3dc_plain'),
    'strf-ffm-only': Claim('STRF, Figure 6a: factorisation without the affinity loses',
        'strf', 'figure6a_ffm_only', 'table2_p3dc_plain', rendered='misaligned', expected='loss'),
    'stmn-full': Claim('STMN, Table 1: both memories gain',
        'stmn', 'table1_full', 'table1_baseline', ceiling=SHOWN),
    'sta-full': Claim('STA, Table 1: the whole system gains over the mean',
        'sta', 'table1_full', 'table1_avg', ceiling=SHOWN),
    'star-full': Claim('STAR, Table 3: the whole system gains over its two streams',
        'star', 'table3_full', 'figure4a_none'),
}  # fmt: skip


def chosen(names: str | None) -> dict[str, Claim]:
    """Those that a list with commas names, in its order; all where it is empty.

    Raises:
      ConfigError: there is none of a name; names the nearest.
    """
    wanted: Sequence[str] = names.split(',') if names else list(CLAIMS)
    for name in wanted:
        if name not in CLAIMS:
            raise config.ConfigError(f'no claim {name!r}.{config.nearest(name, CLAIMS)}')
    return {name: CLAIMS[name] for name in wanted}
