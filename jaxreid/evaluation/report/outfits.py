"""What a report says of outfits: the score under each rule about them, and what a query's person wears elsewhere."""

import contextlib
import dataclasses

import numpy as np

from jaxreid.evaluation import feature_file, protocols

RULES = ('general', 'same-clothes', 'clothes-changing')
MATCHES = 'outfits of the matches'  # the attribute of `of_matches`


def scores(features: feature_file.Features, *, distance: str) -> list[protocols.Score]:
    """Under each of `RULES` that leaves a query a match; none where outfits are not known of all who are asked for."""
    made: list[protocols.Score] = []
    if feature_file.OUTFIT in features.attributes:
        for name in RULES:
            with contextlib.suppress(ValueError):  # no query has such a match, or an outfit is unknown
                made.append(protocols.score(features, protocols.named(name), distance=distance))
    return made if len(made) > 1 else []


def of_matches(features: feature_file.Features) -> feature_file.Features:
    """The features with one attribute alone, of the queries: whether other cameras of the gallery show their person in
    the `same` outfit, in `other` ones, or in `both`; '' where nobody is there, or an outfit is not known. Without any
    where nothing is known of outfits.
    """
    column = features.attributes.get(feature_file.OUTFIT)
    if column is None:
        return dataclasses.replace(features, attributes={})
    known, worn = feature_file.known(column), column.astype(str)
    told = np.full(len(worn), '', '<U5')
    for row in np.flatnonzero(features.query & known):
        match = features.gallery & (features.pid == features.pid[row]) & (features.camera != features.camera[row])
        if match.any() and known[match].all():
            same = worn[match] == worn[row]
            told[row] = 'same' if same.all() else 'both' if same.any() else 'other'
    return dataclasses.replace(features, attributes={MATCHES: told})
