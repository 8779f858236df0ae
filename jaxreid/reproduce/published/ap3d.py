"""AP3D (ECCV 2020): its tables and figures that compare variants."""

import functools

from jaxreid.reproduce.published.paper import TableRow, map_r1, table_of

table = functools.partial(table_of, 'ap3d')
TABLES = {
    'ap3d-code': table(
        'AP3D (ECCV 2020) and the bases of its public code',
        TableRow('C2D', 'c2d'),
        TableRow('I3D', 'i3d'),
        TableRow('P3D-A', 'p3da'),
        TableRow('P3D-B', 'p3db'),
        TableRow('P3D-C', 'p3dc'),
        TableRow('AP-I3D', 'ap3d_i3d'),
        TableRow('AP-P3D-A', 'ap3d_p3da'),
        TableRow('AP-P3D-B', 'ap3d_p3db'),
        TableRow('AP3D (AP-P3D-C)', 'ap3d', map_r1((85.1, 90.1))),
        TableRow('AP3D + non-local', 'ap3d_nl', map_r1((85.6, 90.7), (96.1, 97.2)) | {'ilids': {'rank1': 88.7}}),
        TableRow('C2D + non-local', 'c2d_nl'),
        TableRow('AP3D without contrastive attention', 'no_contrastive'),
    ),
}
