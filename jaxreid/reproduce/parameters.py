"""Parameters and mAP of the rows of a table: STRF Figure 6b.

  python -m jaxreid.reproduce.parameters --dataset mars                              the paper's figures
  python -m jaxreid.reproduce.parameters --dataset mars runs/reproduce/strf-table2-mars.json       ours beside them

Writes an SVG and the numbers behind it as JSON. Trainable parameters are counted without opening a data set, with the
classifier of the data set's published number of identities.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import jax
import jax.numpy as jnp

from jaxreid import command_line, config
from jaxreid.models import build, cost
from jaxreid.process import atomic, commands, json_file
from jaxreid.reproduce import table as report_table
from jaxreid.reproduce.published import paper, tables
from jaxreid.training import step
from jaxreid.visualize import svg

# Other works in the paper's figure: millions of parameters as printed there (AP3D's is without head) and the mAP that
# their own papers report.
OTHERS = {'mars': {'AP3D': (31.6, 85.1), 'M3D': (99.9, 74.1)}}


def count(experiment: config.Experiment) -> int:
    """Trainable parameters, from shapes alone."""
    model = build.build(experiment, num_ids=experiment.data.num_ids, dtype=jnp.dtype('float32'))
    return cost.parameters(jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0))))[0]


class Point(TypedDict):
    """A network of the figure: millions of parameters, and mAP in percent, None where unknown."""

    label: str
    variant: str
    millions: float
    paper: float | None
    ours: float | None


def points(
    table: paper.Table,
    dataset: str,
    *,
    parameters: Mapping[str, int],
    results: report_table.Report | None = None,
) -> list[Point]:
    """The points of the figure, one per row of the table, by their trainable parameters; `results` is a report of
    `jaxreid.reproduce` on it.
    """
    ours = {row['variant']: row['ours'] for row in results['rows']} if results else {}
    networks = []
    for row in table.rows:
        printed = row.paper.get(dataset, {}).get('mAP')
        measured = ours.get(row.variant, {}).get('mAP')
        networks.append(
            Point(
                label=row.label,
                variant=row.variant,
                millions=parameters[row.variant] / 1e6,
                paper=printed if isinstance(printed, int | float) else None,
                ours=measured['mean'] if measured else None,
            )
        )
    return networks


def chart(networks: Sequence[Point], others: Mapping[str, tuple[float, float]]) -> str:
    """The points as SVG: the paper's, ours, and other works."""
    ours = [(f'{p["label"]} (ours)', p['millions'], p['ours'], 'c1') for p in networks]
    papers = [(p['label'], p['millions'], p['paper'], 'c0') for p in networks]
    curves = [svg.Line(label, [x], [y], colour) for label, x, y, colour in papers + ours if y is not None]
    curves += [svg.Line(name, [x], [y], 'c2') for name, (x, y) in others.items()]
    if not curves:
        raise ValueError('the table has no mAP on this data set; name a report of jaxreid.reproduce')
    values = [y for curve in curves for y in curve.y]
    return svg.lines(
        curves,
        title='mAP over the number of parameters',
        x_label='trainable parameters, millions',
        y_label='mAP, %',
        y_range=(min(values) - 2, max(values) + 2),
        points=True,
    )


def write(options: argparse.Namespace) -> pathlib.Path:
    """Counts, collects, draws; returns where the figure is."""
    table = tables.find(options.table)
    results: Any = None
    if options.results:
        results = json_file.read(options.results, dict[str, Any], what='what jaxreid.reproduce wrote')
        if results.get('table') != options.table or results.get('dataset') != options.dataset:
            raise ValueError(
                f'{options.results} reports {results.get("table")} on {results.get("dataset")}, not {options.table} on '
                f'{options.dataset}'
            )
    counts = {}
    for row in table.rows:
        experiment = command_line.read_config(f'{table.system}_{options.dataset}:{row.variant}')
        counts[row.variant] = count(experiment)
    networks = points(table, options.dataset, parameters=counts, results=results)
    out = pathlib.Path(options.out)
    atomic.write(out, svg.document(chart(networks, OTHERS.get(options.dataset, {}))))
    atomic.write_json(out.with_suffix('.json'), networks)
    for p in networks:
        shown = ' '.join(f'{who} {p[who]:.1f}' for who in ('paper', 'ours') if p[who] is not None)
        print(f'{p["label"]:<28}{p["millions"]:>8.2f} M   {shown}')
    return out


def run(argv: Sequence[str]) -> int:
    """Parses and writes; expected errors become one message and an exit status."""
    parser = commands.parser('parameters', __doc__)
    parser.add_argument('results', nargs='?', help='TABLE-DATASET.json of jaxreid.reproduce')
    parser.add_argument('--table', default='strf-table2', choices=sorted(tables.TABLES), help='(%(default)s)')
    parser.add_argument('--dataset', default='mars', choices=config.DATASETS, help='(%(default)s)')
    parser.add_argument('--out', default='parameters.svg', help='the chart to write (%(default)s)')
    options = parser.parse_args(argv)

    def act() -> int:
        print(f'written to {write(options)}')
        return 0

    return command_line.run(act)


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))
