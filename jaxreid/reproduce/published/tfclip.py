"""TF-CLIP (AAAI 2024): its Table 2, and its figures on other data sets."""

import functools

from jaxreid.reproduce.published.paper import Scores, TableRow, table_of

_FULL: dict[str, Scores] = {
    'mars': {'mAP': 89.4, 'rank1': 93.0},
    'lsvid': {'mAP': 83.8, 'rank1': 90.4},
    'ilids': {'rank1': 94.5},
}

table = functools.partial(table_of, 'tfclip')
TABLES = {
    'tfclip-table2': table(
        'TF-CLIP, Table 2: parts of the system',
        TableRow('ViT, mean over the frames (ours)', 'mean'),
        TableRow(
            '+ CLIP memory',
            'table2_memory',
            {'mars': {'mAP': 88.4, 'rank1': 91.6}, 'lsvid': {'mAP': 80.3, 'rank1': 87.7}},
        ),
        TableRow('+ CLIP memory + SSP', 'table2_ssp', {'mars': {'mAP': 88.8}}),
        TableRow('+ CLIP memory + TMD', 'table2_tmd', {'mars': {'mAP': 89.2}}),
        TableRow('+ CLIP memory + SSP + TMD', 'table2_full', _FULL),
        note='The mean without a memory is not in the paper; its first row, CLIP with text, has 88.1 mAP on MARS.',
    ),
    'tfclip-options': table(
        'TF-CLIP, where the paper and the released code differ or leave a choice',
        TableRow('default', 'table2_full', _FULL),
        TableRow('learning rates as the released code has them', 'released'),
        TableRow('all frames at test time', 'all_frames'),
        TableRow('no camera embeddings at test time', 'no_cameras_at_test'),
        TableRow('no camera embeddings', 'no_cameras'),
        TableRow("VSLA-CLIP's adapters on the frozen tower", 'vsla'),
    ),
}
