"""The page on the claims: values of both rows, difference, ceiling, verdict; one seed, failed and missing runs."""

import json

import numpy as np
import pytest
from scipy import stats

from jaxreid.reproduce import claims_page
from jaxreid.reproduce.published import claims

CLAIM = claims.Claim('P3D gains', 'strf', 'with', 'without', rendered='misaligned', ceiling=claims.BOXES)
OURS, THEIRS, CEILINGS = (62.0, 66.0, 63.5), (60.0, 63.0, 61.0), (8.0, 10.0, 12.0)


def seed(number, row=None, against=None, ceiling=None, failed=()):
    return claims_page.Seed(seed=number, row=row, against=against, ceiling=ceiling, failed=list(failed))


def entry(seeds, claim=CLAIM):
    return claims_page.entry('name', claim, 'synthetic, misaligned', seeds, commands=('a', 'b'))


def text(*entries, steps=(180,), dataset='synthetic'):
    page = {'dataset': dataset, 'jax': '0', 'device': '1 x cpu', 'steps': list(steps), 'claims': list(entries)}
    return claims_page.markdown(page)


def cells(made):
    line = next(line for line in text(made).splitlines() if line.startswith('| name | synthetic'))
    return dict(zip(claims_page.HEAD[5:], line.strip('| ').split(' | ')[5:], strict=True)), line


def test_a_claim_of_three_seeds_has_everything():
    made = entry([seed(i, *values) for i, values in enumerate(zip(OURS, THEIRS, CEILINGS, strict=True))])
    expected = stats.ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert made['interval'] == pytest.approx((expected.low, expected.high))
    assert made['row_values']['deviation'] == pytest.approx(np.std(OURS, ddof=1))
    assert made['share'] == pytest.approx(2.5 / 10)
    assert cells(made)[1] == (
        '| name | synthetic, misaligned | mAP | `with` | `without` | 3 | 63.8 ± 2.0 | 61.3 ± 1.5 | '
        '+2.5, +1.3 to +3.7 | +10.0 | 25% | gain |'
    )
    assert '| name | P3D gains | gain | right boxes | 0: +2.0, 1: +3.0, 2: +2.5 |' in text(made)


def test_one_seed_has_no_interval_and_the_verdict_says_so():
    shown, line = cells(entry([seed(0, 62.0, 60.0, 8.0)]))
    assert shown['difference, 95 %'] == '+2.0'
    assert shown['verdict'] == 'one seed: no interval'
    assert '±' not in line


def test_only_seeds_that_both_rows_have_are_compared():
    failed = 'strf-seed1: step 3: loss is nan'
    made = entry([
        seed(0, 62.0, 60.0, 8.0), seed(1, None, 10.0, 99.0, [failed]), seed(2, 64.0, 63.0, None), seed(3, 90.0),
    ])  # fmt: skip
    assert made['row_values']['values'] == [62.0, 64.0]
    assert made['against_values']['values'] == [60.0, 63.0]
    assert made['ceiling'] == 8.0
    assert cells(made)[0]['seeds'] == '2 of 4'
    assert text(made, made).count(f'- {failed}') == 1


def test_what_is_not_run_says_so():
    made = entry([seed(0), seed(1)])
    assert cells(made)[1].endswith('| 0 of 2 | – | – | – | – | – | not run |')
    assert 'trainings of no steps' in text(made, steps=())


def test_a_loss_that_the_paper_reports_has_no_share():
    worse = claims.Claim('without it loses', 'strf', 'with', 'without', expected='loss', ceiling=claims.BOXES)
    made = entry([seed(i, 58.0 + i / 8, 60.0, 8.0) for i in range(3)], worse)
    assert made['verdict'] == made['expected'] == 'loss'
    assert made['share'] is None


def test_the_queries_and_the_measure_are_named():
    some = claims.CLAIMS['stmn-tm-hidden']
    assert '| mAP of queries with occluded_when start, middle, end |' in text(entry([seed(0)], some))
    items = claims.CLAIMS['stmn-tm-items']
    assert '| temporal items read |' in text(entry([seed(0)], items))


def test_only_the_rendered_benchmark_says_that_it_is_none_of_the_others():
    assert 'say nothing about real footage' in text(steps=(170, 180))
    assert 'trainings of 170 to 180 steps' in text(steps=(170, 175, 180))
    assert 'real footage' not in text(dataset='mars')


def test_both_files_are_written(tmp_path):
    made = entry([seed(0, 62.0, 60.0)])
    shown, path = claims_page.write(tmp_path / 'claims-synthetic', 'synthetic', [made], [180])
    assert path.read_text() == shown
    assert json.loads((tmp_path / 'claims-synthetic.json').read_text())['claims'][0]['difference'] == 2.0
