"""Published tables: every row names a variant of every data set's config, and figures match what the papers print."""

import importlib

import pytest

from jaxreid import config
from jaxreid.reproduce import runs
from jaxreid.reproduce.published import paper, tables


@pytest.mark.parametrize('name', tables.TABLES)
def test_every_row_is_a_variant_on_every_data_set_of_its_system(name):
    table = tables.TABLES[name]
    assert name.startswith(f'{table.system}-')
    for dataset in runs.datasets(table.system):
        variants = importlib.import_module(f'configs.{table.system}_{dataset}').VARIANTS
        assert {row.variant for row in table.rows} <= set(variants), dataset


@pytest.mark.parametrize('name', tables.TABLES)
def test_figures_are_percentages_of_known_metrics_on_data_sets_of_the_system(name):
    table = tables.TABLES[name]
    assert set(table.datasets()) <= set(runs.datasets(table.system))
    for row in table.rows:
        for scores in row.paper.values():
            assert set(scores) <= set(paper.METRICS)
            for value in scores.values():
                low, high = value if isinstance(value, tuple) else (value, value)
                assert 50 < low <= high <= 100
            ranks = [scores[m] for m in paper.METRICS[1:] if m in scores]
            assert all(isinstance(r, tuple) for r in ranks) or ranks == sorted(ranks)


def test_a_table_has_the_data_sets_of_all_its_rows():
    both = paper.map_r1((80.0, 85.0), (90.0, 95.0))
    rows = [paper.TableRow(str(i), str(i), scores) for i, scores in enumerate(({}, paper.map_r1((70.0, 75.0)), both))]
    assert paper.Table('', 'sta', tuple(rows)).datasets() == ('mars', 'dukev')
    assert paper.map_r1(None, (90.0, 95.0)) == {'dukev': {'mAP': 90.0, 'rank1': 95.0}}


def test_rows_of_a_table_differ():
    for table in tables.TABLES.values():
        assert len({row.label for row in table.rows}) == len({row.variant for row in table.rows}) == len(table.rows)


def test_variants_that_no_table_shows_are_few_and_known():
    shown = {(t.system, row.variant) for t in tables.TABLES.values() for row in t.rows}
    unseen = {
        (system, variant)
        for system in {table.system for table in tables.TABLES.values()}
        for variant in importlib.import_module(f'configs.{system}_mars').VARIANTS
        if (system, variant) not in shown
    }
    # The first is the default row under another name, the second the grid's centre.
    assert unseen == {('strf', 'table4_t_tau+t_sigma+s_tau+s_sigma'), ('stmn', 'validation')}


@pytest.mark.parametrize(
    ('table', 'variant', 'dataset', 'metric', 'value'),
    [
        ('strf-table2', 'table2_p3db', 'dukev', 'rank1', 97.4),
        ('strf-table4', 'table4_t_tau+s_sigma', 'mars', 'mAP', (85.3, 85.7)),
        ('stmn-table1', 'table1_tm', 'lsvid', 'mAP', 64.4),
        ('stmn-table2', 'table2_all_frames', 'mars', 'rank1', 90.5),
        ('sta-table1', 'table1_avg', 'dukev', 'rank10', 98.0),
        ('sta-table2', 'table2_n8', 'mars', 'mAP', 81.2),
        ('sta-table4', 'table4_rerank', 'mars', 'mAP', 87.7),
        ('star-table3', 'table3_lsta_gsta', 'prid', 'rank5', 99.1),
        ('star-table1', 'table3_full', 'ilids', 'rank20', 99.7),
    ],
)
def test_a_figure_stands_where_the_paper_prints_it(table, variant, dataset, metric, value):
    row = next(row for row in tables.find(table).rows if row.variant == variant)
    assert row.paper[dataset][metric] == value


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(config.ConfigError, match='Did you mean'):
        tables.find('sta-tabel1')
