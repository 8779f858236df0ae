"""Frames per second of feature extraction beside PyTorch, with and without folded norms, and what RRS saves.

    python -m benchmarks.extract [--peer eager compile amp]

Needs no data set. The first table is the full networks on clips of 4 frames (see `train_step`): jaxreid with BatchNorm
folded into the convolutions, as evaluation does it, jaxreid without, and the peers. The second is a test set with
MARS' number of tracklets, mean and median length at the speed of the first row: all frames in clips, STMN's interleaved
clips, and its RRS, which sees the first frame of each of 6 chunks of a tracklet (STMN section 4.3). Batches have one
shape whatever they hold, so their number times the time of one is the time of the set, decoding apart.
"""

import numpy as np

from benchmarks import mars_size, train_step
from jaxreid.data.batches import eval_pipeline
from jaxreid.data.tracklets import tracklet

TRACKLETS, MEAN, MEDIAN, LONGEST = 12_180, 55.9, 30, 920  # of MARS' test set
FRAMES, BATCH_CLIPS = 6, 64  # STMN's clips


def lengths(seed: int = 0) -> np.ndarray:
    """Frames of each tracklet: log-normal with MARS' median and mean, cut at its longest."""
    sigma = (2 * np.log(MEAN / MEDIAN)) ** 0.5
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN), sigma, TRACKLETS)
    return np.clip(np.round(drawn), 2, LONGEST).astype(int)


def packing(frames_per_s: float) -> list[dict]:
    """What the test set takes by all frames and by RRS, at a speed in frames that pass the network per second."""
    rows = []
    frames = lengths()
    tracklets = [tracklet.Tracklet(f'{i}', 1, 1, ('',) * n) for i, n in enumerate(frames)]
    for clips in ('rrs', 'interleaved', 'all_frames'):
        batches = eval_pipeline.count(tracklets, clips=clips, frames=FRAMES, batch_clips=BATCH_CLIPS)
        used = eval_pipeline.frames_seen(tracklets, clips=clips, frames=FRAMES, seed=0)
        passed = batches * BATCH_CLIPS * FRAMES
        rows.append({
            'clips': clips, 'tracklets': len(frames), 'frames': int(frames.sum()), 'frames_used': used,
            'batches': batches, 'frames_passed': passed, 'padding_percent': 100 * (1 - used / passed),
            'seconds': passed / frames_per_s,
        })  # fmt: skip
    for row in rows:
        row['times_rrs'] = row['seconds'] / rows[0]['seconds']
    return rows


def packing_table(rows: list[dict]) -> str:
    """Rows as text."""
    lines = [f'{"clips":<14}{"frames used":>13}{"passed":>10}{"batches":>9}{"padding":>9}{"hours":>9}{"times RRS":>11}']
    for row in rows:
        lines.append(
            f'{row["clips"]:<14}{row["frames_used"]:13,}{row["frames_passed"]:10,}{row["batches"]:9,}'
            f'{row["padding_percent"]:8.1f}%{row["seconds"] / 3600:9.2f}{row["times_rrs"]:11.2f}'
        )
    return '\n'.join(lines)


def main():
    options = train_step.arguments(__doc__.splitlines()[0]).parse_args()
    rows = []
    for work in train_step.works(options):
        rows += train_step.measure(work, kind='extract', options=options)
        print(train_step.table(rows), flush=True)
    packed = packing(rows[0]['frames_per_s'])
    print(packing_table(packed))
    if not options.toy or options.write:
        print(mars_size.write(options.write or 'extract', rows + packed))


if __name__ == '__main__':
    main()
