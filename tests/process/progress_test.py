"""A bar that is there while the first batch compiles, and estimates the rest without it."""

import re
import time

from jaxreid.process import progress


def test_the_bar_is_there_at_once_and_the_estimate_leaves_out_the_first(capsys):
    seen = []
    for item in progress.compiling_first('abcd', total=4, label='maps'):
        if item == 'a':
            said = capsys.readouterr().err
            assert 'maps:   0%' in said
            assert '<?' in said  # no estimate yet
            time.sleep(0.6)
        else:
            time.sleep(0.12)
        seen.append(item)
    assert ''.join(seen) == 'abcd'
    said = capsys.readouterr().err
    rates = [float(rate) for rate in re.findall(r'([\d.]+)batch/s', said)]
    assert rates, said  # with the first, about one a second
    assert min(rates) > 3
    assert re.findall(r'(\d)/4', said)[:1] == ['1']
    assert '4/4' in said


def test_a_bar_that_is_left_early_is_closed(capsys):
    items = progress.compiling_first(range(3), total=3, label='early')
    assert next(items) == 0
    items.close()
    assert capsys.readouterr().err.endswith('\r')  # taken off the terminal
