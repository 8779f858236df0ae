"""Results: what a number of an evaluation carries with it, results.json, and the text of it for people."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from jaxreid.evaluation import feature_file, frame_weights, protocols, uncertainty
from jaxreid.evaluation import strata as strata_lib
from jaxreid.process import atomic, exit_status, json_file


class SplitScore(TypedDict):
    """What one of ten splits had."""

    tested_on: str
    step: int
    mAP: float
    mINP: float
    cmc: dict[str, float]


class Result(protocols.Score):
    """An entry of results.json: a score in percent, and what it depends on.

    step: of training. selected: how the network was chosen: 'last step', 'monitoring' or 'selected on the test set'.
    trained_on, tested_on: as `data.source.describe`; older files lack them.
    used_items: of networks with memories, by the name of the memory. frame_weights: of networks that weigh frames.
    test_ids_trained_on: people that were trained on and tested with; missing where none was.
    strata: of the queries, where more is known of them than id and camera; of the first protocol alone.
    references: what else was scored on a rendered data set, by name; see `references.compute`.
    Means over ten splits have `mAP_std`, `mINP_std`, `cmc_std` (of the sample) and every split's numbers as `splits`.
    """

    step: int
    selected: str
    trained_on: NotRequired[str]
    tested_on: NotRequired[str]
    used_items: NotRequired[dict[str, feature_file.UsedItems]]
    frame_weights: NotRequired[frame_weights.FrameWeights]
    test_ids_trained_on: NotRequired[int]
    strata: NotRequired[list[strata_lib.Stratum]]
    references: NotRequired[dict[str, dict[str, float | None]]]
    mAP_std: NotRequired[float]
    mINP_std: NotRequired[float]
    cmc_std: NotRequired[dict[str, float]]
    splits: NotRequired[list[SplitScore]]


class _Known(TypedDict):
    """What a result of any version has."""

    protocol: dict[str, Any]
    step: int
    selected: str


def table(rows: Sequence[Result]) -> str:
    """Results as text; every number stands beside its protocol."""
    lines = ['                                       mAP     R-1     R-5    R-10    R-20']
    for row in rows:
        p, cmc = row['protocol'], row['cmc']
        lines += [f'  warning: {exit_status.printable(warning)}' for warning in row.get('warnings', [])]
        numbers = ''.join(f'{x:8.2f}' for x in (row['mAP'], *(cmc[k] for k in ('1', '5', '10', '20'))))
        lines.append(f'{p["dataset"] + " " + p["name"]:<34}{numbers}')
        if 'trained_on' in row:
            lines.append(f'  trained on {row["trained_on"]}; tested on {row["tested_on"]}')
        if 'test_ids_trained_on' in row:
            lines.append(f'  {row["test_ids_trained_on"]} OF THE TESTED PEOPLE WERE TRAINED ON')
        lines.append(
            f'  step {row["step"]} ({row["selected"]}); clips {_clips(p)}, flip {"yes" if p["flip"] else "no"}, '
            f'flow {p["flow"]}'
        )
        lines.append(f'  {p["compute_dtype"]}, {p["distance"]} distance, re-ranking {p["re_ranking"]}, {p["ap"]} AP')
        lines.append(
            f'  gallery {p["gallery"]} ({p["gallery_size"]} tracklets), junk: {p["junk"]}, distractors: '
            f'{p["distractors"]}, own camera: {p["same_camera"]}'
            + (f', outfits: {p["outfits"]}' if p.get('outfits', 'any') != 'any' else '')
            + (f', {p["gap_frames"]} frames later, queries every {p["query_stride"]}' if p.get('gap_frames') else '')
        )
        lines.append(
            f'  {p["answered_queries"]} queries answered, {p["unanswered_queries"]} without a match '
            f'({p["unanswerable"]}); {p["frames_seen"]} frames seen, {p["corrupt_frames_replaced"]} of them replaced'
        )
        if few := uncertainty.sentence(row):
            lines.append(f'  {few}')
        if text := strata_lib.table(row.get('strata', [])):
            lines += [f'  {line}' for line in text.split('\n')]
        for memory, used in row.get('used_items', {}).items():
            lines.append(
                f'  {memory.replace("_", " ")}: {used["used"]:.2f} of {used["of"]} used (2^entropy of the most read)'
            )
        if 'frame_weights' in row:
            lines.append(f'  {frame_weights.sentence(row["frame_weights"])}')
    return '\n'.join(lines)


def _clips(protocol: protocols.Description) -> str:
    frames = 1 if protocol['one_frame'] else protocol['frames_per_clip']
    match protocol['clips']:
        case 'whole':
            return 'whole tracklets' + (', first frame only' if protocol['one_frame'] else '')
        case 'random':
            return f'random (seed {protocol["clip_seed"]}) x {frames} frames'
        case kind:
            return f'{kind} x {frames} frames'


def read(path: pathlib.Path) -> list[Result]:
    """The entries of results.json; none where there is no such file.

    Raises:
      ValueError: the file holds something else; names it.
    """
    if not path.exists():
        return []
    rows: Any = json_file.read(
        path, list[_Known], what='results of jaxreid', advice='move it away, it is not overwritten'
    )
    return rows


_LATER = {
    'outfits': 'any',
    'gap_frames': None,
    'query_stride': 1,
}  # what older results do not say, for nothing else was


def append(path: pathlib.Path, rows: Sequence[Result]) -> None:
    """Adds to results.json; an entry of the same step, selection, data and protocol is replaced by its newer run."""
    old = read(path)

    def identity(row):
        data = row.get('trained_on'), row.get('tested_on')
        protocol = _LATER | row['protocol']
        return json.dumps([row['step'], row['selected'], protocol, *data], sort_keys=True)

    new = {identity(r) for r in rows}
    kept = [r for r in old if identity(r) not in new]
    atomic.write_json(path, [*kept, *rows])
