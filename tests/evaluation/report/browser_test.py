"""The page in a real browser: no errors, no overflow, usable with the keyboard; skipped where there is no Chromium."""

import dataclasses
import re

import numpy as np
import pytest

from jaxreid.evaluation.report import command as report
from tests.fixtures import browser, feature_files, report_page
from tests.fixtures import mars_folder as mars_fixture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not browser.available(), reason=browser.MISSING)]


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """(browser, page with pictures, page with hostile names and unknown numbers of frames)."""
    folder = tmp_path_factory.mktemp('pages')
    root = mars_fixture.write(folder / 'mars', height=32, width=16)
    feature_files.features(root=root).save(folder / 'features.npz')
    names = [*feature_files.HOSTILE, 'x' * 300, 'plain']
    hostile = feature_files.features(names=names, with_config=False)
    dataclasses.replace(hostile, frames=np.zeros_like(hostile.frames)).save(folder / 'hostile.npz')
    assert report.run([str(folder / 'features.npz'), f'--out={folder / "report.html"}']) == 0
    assert report.run([str(folder / 'hostile.npz'), f'--out={folder / "hostile.html"}']) == 0
    with browser.started(folder) as page:
        yield page, folder / 'report.html', folder / 'hostile.html'


SHOWN = 'return [...document.querySelectorAll("#strips > li b:first-child")].map((b) => b.textContent)'


@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('which', [1, 2])
def test_the_page_opens_without_errors_and_fits_the_view(pages, which, width, dark):
    page = pages[0]
    page.size(width, dark=dark)
    page.open(pages[which])
    assert page.messages() == []
    assert page.run(report_page.OVERFLOW) == 0
    assert page.run('return document.querySelectorAll("#strips > li").length') == 4
    page.run('document.querySelector("[value=table]").click()')
    assert page.run(report_page.OVERFLOW) == 0
    light = page.run('return getComputedStyle(document.body).backgroundColor')
    assert (int(light.removeprefix('rgb(').split(',')[0]) < 128) == dark


def test_names_appear_as_they_are_and_run_nothing(pages):
    page = pages[0]
    page.open(pages[2])
    shown = page.run('return [...document.querySelectorAll(".head > b:first-child")].map((b) => b.textContent)')
    assert set(shown) == {'<!--', '&amp;\u2028', 'x' * 300, 'plain'}
    assert page.run('return document.scripts.length') == 2


def test_unknown_numbers_of_frames_are_said_to_be_unknown(pages):
    page = pages[0]
    heads = 'return [...document.querySelectorAll(".head > span:nth-child(2)")].map((s) => s.textContent)'
    cells = 'return [...document.querySelectorAll("#rows td:nth-child(4)")].map((td) => td.textContent)'
    for which, head, cell in ((1, r'.* · [1-9]\d* frames', r'[1-9]\d*'), (2, '.* · frames unknown', '–')):
        page.open(pages[which])
        assert all(re.fullmatch(head, text) for text in page.run(heads))
        page.run('document.querySelector("[value=table]").click()')
        assert all(re.fullmatch(cell, text) for text in page.run(cells))


def test_rows_are_sorted_with_the_keyboard_alone(pages):
    page = pages[0]
    page.size(1280)
    page.open(pages[1])
    page.run('document.querySelector("[value=table]").click()')
    names = 'return [...document.querySelectorAll("#rows tr td:first-child")].map((td) => td.textContent)'
    page.run('document.querySelector("[data-key=name]").focus()')
    page.press('\ue007')  # Enter
    first = page.run(names)
    assert first == sorted(first)
    assert page.run('return document.querySelector("[aria-sort]").getAttribute("aria-sort")') == 'ascending'
    page.press('\ue007')  # the focus is still on the heading
    assert page.run(names) == first[::-1]
    assert page.run('return document.querySelector("[aria-sort]").getAttribute("aria-sort")') == 'descending'


def test_the_worst_come_first_and_the_filters_work(pages):
    page = pages[0]
    page.open(pages[1])
    precisions = 'return [...document.querySelectorAll(".head")].map((h) => h.children[2].textContent)'
    shown = [float(text.removeprefix('AP ')) for text in page.run(precisions)]
    assert shown == sorted(shown)
    page.run('const s = document.getElementById("search"); s.value = "0004"; s.dispatchEvent(new Event("input"))')
    assert {name[:4] for name in page.run(SHOWN)} >= {'0004'}
    assert '2 of 4 queries' in page.run('return document.getElementById("status").textContent')
    assert page.messages() == []


def test_every_picture_can_be_seen(pages):
    page = pages[0]
    page.open(pages[1])
    broken = 'return [...document.images].filter((i) => i.loading !== "lazy" && !i.naturalWidth).length'
    assert page.run(broken) == 0
    assert page.run('return document.querySelectorAll(".film img").length') > 4
