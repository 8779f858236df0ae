"""The charts of a report."""

import numpy as np

from jaxreid.evaluation import calibration
from jaxreid.evaluation.report import analysis as report_analysis
from jaxreid.evaluation.report import ranked_lists
from jaxreid.visualize import svg

CURVE = 50  # ranks of the CMC curve


def charts(analysis: report_analysis.Analysis, *, distance: str) -> dict[str, str]:
    """SVG by name."""
    counted = len(analysis.ranked.ap)
    answered = int(analysis.ranked.answered.sum())
    counted = answered if analysis.score['protocol']['unanswerable'] == 'skip' else counted
    ranks = min(CURVE, max(len(analysis.gallery), 2))
    curve = ranked_lists.cmc_curve(analysis.ranked.first_hit, counted, ranks=ranks)
    heights = ranked_lists.ap_histogram(analysis.ranked.ap[analysis.ranked.answered], bins=20)
    edges = [round(k / 20, 2) for k in range(21)]
    shares = calibration.histogram(analysis.similarities, bins=80)
    middle = ((shares['edges'][1:] + shares['edges'][:-1]) / 2).tolist()
    name = 'cosine' if distance == 'cosine' else 'minus the Euclidean distance'
    verification = analysis.calibration['verification']
    at = verification['equal_error_threshold']
    lowest = 10 * (min(curve[0], 90) // 10)
    made = {
        'cmc': svg.lines(
            [svg.Line('CMC', list(range(1, ranks + 1)), curve.tolist())],
            title=f'CMC curve: {curve[0]:.1f} percent at rank 1, {curve[-1]:.1f} percent at rank {ranks}',
            x_label='rank',
            y_label='queries with a match, %',
            y_range=(lowest, 100),
        ),
        'average_precision': svg.bars(
            heights.tolist(),
            edges=edges,
            title=f'Histogram of the average precision of {answered} queries',
            x_label='average precision',
            y_label='queries',
            tips=[f'{a:g} to {b:g}: {n} queries' for a, b, n in zip(edges, edges[1:], heights)],
        ),
        'similarity': svg.lines(
            [
                svg.Line('same person', middle, (100 * shares['genuine']).tolist(), 'c2'),
                svg.Line('other people', middle, (100 * shares['impostor']).tolist(), 'c1'),
            ],
            title='Histograms of the similarity of pairs of the same person and of other people',
            x_label=f'similarity ({name})',
            y_label='pairs of the kind, %',
            x_marks=() if at is None else [(at, 'equal error')],
            fill=True,
        ),
    }
    false, true = calibration.rates(analysis.similarities)
    reached = np.flatnonzero(np.diff(false, prepend=2) != 0)  # the ends of the steps of the curve
    reached = reached[false[reached] > 0][::-1]
    if verification['thresholds'] and len(reached) > 1:
        kept = np.unique(
            np.searchsorted(false[reached], np.geomspace(false[reached[0]], 1, 200)).clip(max=len(reached) - 1)
        )
        made['verification'] = svg.lines(
            [svg.Line('ROC', false[reached[kept]].tolist(), (100 * true[reached[kept]]).tolist())],
            title='Share of pairs of the same person accepted over the share of other pairs accepted',
            x_label='false accepts (share of pairs of other people)',
            y_label='true accepts, %',
            y_range=(0, 100),
            log_x=True,
        )
    return made
