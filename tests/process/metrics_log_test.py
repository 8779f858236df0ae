"""Logs of a run: one line per report, no step twice after a resume."""

import json

import numpy as np
import pytest

from jaxreid.process import metrics_log


def lines(workdir):
    """Parsed metrics.jsonl."""
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_each_report_is_one_line_of_plain_numbers(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, start_step=0)
    log.write(1, {'loss': np.float32(0.5), 'note': 'text'})
    log.close()
    assert lines(tmp_path) == [{'step': 1, 'loss': 0.5, 'note': 'text'}]
    assert list((tmp_path / 'tensorboard').glob('events.*'))


def test_a_resumed_run_drops_the_steps_that_it_makes_again_and_a_line_cut_by_a_kill(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, start_step=0)
    for step in (1, 2, 3):
        log.write(step, {'loss': step})
    log.close()
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 4, "lo')
    log = metrics_log.MetricsLog(tmp_path, start_step=2)
    log.write(3, {'loss': 30})
    log.close()
    assert [(row['step'], row['loss']) for row in lines(tmp_path)] == [(1, 1), (2, 2), (3, 30)]


def test_what_was_written_of_the_step_that_a_run_continues_after_is_not_written_twice(tmp_path):
    for _ in range(2):  # the second continues, and evaluates step 2 again
        log = metrics_log.MetricsLog(tmp_path, start_step=2)
        log.write(2, {'test/mAP': 0.1})
        log.close()
    assert lines(tmp_path) == [{'step': 2, 'test/mAP': 0.1}]


def test_what_was_written_is_read_without_a_line_that_a_kill_cut(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    assert metrics_log.read(tmp_path) == [{'step': 1, 'loss': 2.5}]


DAMAGED = [b'{"step": 2, "lo', b'5', b'"step"', b'[]', b'null', b'{"loss": 1}', b'{"step": "2"}', b'\xff\xfe', b'']


@pytest.mark.parametrize('line', DAMAGED)
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / 'metrics.jsonl').write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r'metrics\.jsonl is damaged: line 2 .*; remove that line$'):
        metrics_log.read(tmp_path)


@pytest.mark.parametrize('line', DAMAGED)
def test_a_resumed_run_takes_damaged_lines_out_and_says_so(tmp_path, line, capsys):
    (tmp_path / 'metrics.jsonl').write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    metrics_log.MetricsLog(tmp_path, start_step=3).close()
    assert [row['step'] for row in lines(tmp_path)] == [1, 3]
    assert 'metrics.jsonl: 1 damaged lines are taken out of it' in capsys.readouterr().out
