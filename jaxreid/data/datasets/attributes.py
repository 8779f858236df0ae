"""What is known of tracklets beside id and camera: a table `attributes.csv` that may lie beside a data set's lists.

A CSV file with a header; the column `tracklet` names the tracklet, every other column is an attribute under its name:
occluded, outfit, weather, ... Tracklets may be missing, and a cell may be empty: nothing is known then.
"""

import csv
import dataclasses
import os
from collections.abc import Mapping

from jaxreid.data.tracklets import tracklet

FILE = 'attributes.csv'


def read(path: str) -> dict[str, Mapping[str, str]]:
    """Attributes by the name of the tracklet.

    Raises:
      ValueError: there is no column `tracklet`, or a row is short, long or repeated; names the file and the line.
    """
    rows: dict[str, Mapping[str, str]] = {}
    with open(path, encoding='utf-8-sig', newline='') as file:
        table = csv.DictReader(file)
        if 'tracklet' not in (table.fieldnames or ()):
            raise ValueError(f'{path} has the columns {table.fieldnames}; one of them must be tracklet.')
        for row in table:
            name = row.pop('tracklet')
            if None in row or None in row.values():
                raise ValueError(f'{path} line {table.line_num} has other cells than the header has columns.')
            if name in rows:
                raise ValueError(f'{path} line {table.line_num} names tracklet {name!r} again; give each one row.')
            rows[name] = {column: cell.strip() for column, cell in row.items() if cell.strip()}
    return rows


def attach(dataset: tracklet.Dataset, folder: str) -> tracklet.Dataset:
    """The data set with the attributes of the table in `folder`; unchanged where there is none.

    Raises:
      ValueError: as `read`, or a row names a tracklet that the data set lacks.
    """
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path):
        return dataset
    rows = read(path)
    unknown = sorted(rows.keys() - {one.name for one in (*dataset.train, *dataset.test)})
    if unknown:
        raise ValueError(
            f'{path} has rows of {len(unknown)} tracklets that the data set lacks, first {unknown[0]!r}; the column '
            f'tracklet holds names such as {dataset.test[0].name!r}.'
        )
    train, test = (
        tuple([dataclasses.replace(one, attributes=rows.get(one.name, {})) for one in part])
        for part in (dataset.train, dataset.test)
    )
    return dataclasses.replace(dataset, train=train, test=test)
