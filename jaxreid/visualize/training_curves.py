"""How a training went: charts of loss, accuracy, learning rate and monitored scores over its steps.

They are made of the lines of metrics.jsonl, so that a resumed run shows all of its steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreid.visualize import svg

POINTS = 300  # of a curve, at most; more are averaged in groups
_TERMS = ('cross_entropy', 'triplet', 'memory_spread', 'pyramid_ranking', 'frame_consistency')  # of the loss


def charts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """SVG by name, 'loss', 'accuracy', 'learning_rate', 'monitored_on_the_test_set': of what the rows hold.

    Args:
      rows: lines of metrics.jsonl, each with its 'step'.
    """
    rates = [row['learning_rate'] for row in rows if _finite(row, 'learning_rate')]
    power = int(np.floor(np.log10(max(rates, default=0) or 1)))
    terms = [term for term in _TERMS if any(row.get(term) for row in rows)][:3]
    made = {
        'loss': _chart(rows, 'loss', {'loss': 'loss', **{term: term.replace('_', ' ') for term in terms}}),
        'accuracy': _chart(rows, 'training accuracy, %', {'accuracy': ''}, scale=100, top=100),
        'learning_rate': _chart(rows, f'learning rate, 1e{power}', {'learning_rate': ''}, scale=10.0**-power),
        'monitored_on_the_test_set': _chart(
            rows, 'mAP and rank-1, %', {'test/mAP': 'mAP', 'test/rank1': 'rank-1'}, top=100
        ),
    }
    return {name: chart for name, chart in made.items() if chart}


def _chart(
    rows: Sequence[Mapping[str, Any]],
    y_label: str,
    labels: Mapping[str, str],
    *,
    scale: float = 1,
    top: float | None = None,
) -> str:
    """Values by their keys with the labels of their curves; '' where the rows hold none."""
    curves = []
    for colour, (key, label) in enumerate(labels.items()):
        points = np.array([(row['step'], scale * row[key]) for row in rows if _finite(row, key)])
        if len(points):
            groups = np.array_split(points, min(POINTS, len(points)))
            x, y = np.transpose([group.mean(axis=0) for group in groups]).tolist()
            curves.append(svg.Line(label, x, y, f'c{colour}'))
    if not curves:
        return ''
    title = f'{y_label} over the steps of the training; at the end ' + ', '.join(
        f'{curve.label} {curve.y[-1]:.3g}'.strip() for curve in curves
    )
    return svg.lines(
        curves,
        title=title,
        x_label='step',
        y_label=y_label,
        y_range=(0, top) if top else None,
        legend_right=top is None,
    )


def _finite(row: Mapping[str, Any], key: str) -> bool:
    return isinstance(row.get(key), int | float) and bool(np.isfinite(row[key]))
