"""How many ids, tracklets, frames and queries the data sets have, as `verify` counts them, and who says so.

Numbers per camera stand in the order of the cameras.
"""

Count = int | float | tuple[int, ...]

# Counted from the tables in info/ of the repository liangzheng06/MARS-evaluation, which are part of the data set.
MARS: dict[str, Count] = {
    'train ids': 625,
    'train tracklets': 8298,
    'train tracklets per camera': (1816, 1957, 1321, 750, 1880, 574),
    'train frames': 509914,
    'test ids': 634,  # without junk and distractors
    'test tracklets': 12180,
    'test tracklets per camera': (2271, 3725, 1495, 1024, 2240, 1425),
    'test frames': 681089,
    'junk tracklets': 870,
    'junk frames': 23380,
    'distractor tracklets': 3248,
    'distractor frames': 147743,
    'query ids': 626,
    'queries': 1980,
    'queries per camera': (524, 456, 319, 191, 384, 106),
    'query frames': 114493,
    'ids in train and test': 0,
}

# The README of the repository Yu-Wu/DukeMTMC-VideoReID; frames and cameras of the test part counted from Duke_test/data
# of kanei1024/GLTR, cameras of the training part from duke_attributes.csv of aichemistry's pedestrian attributes.
DUKEV: dict[str, Count] = {
    'train ids': 702,
    'train tracklets': 2196,
    'train tracklets per camera': (404, 378, 201, 165, 218, 348, 217, 265),
    'train frames': 369656,
    'query ids': 702,
    'queries': 702,
    'queries per camera': (135, 117, 49, 41, 61, 110, 81, 108),
    'query frames': 111848,
    'gallery ids': 1110,
    'gallery ids of one camera': 408,
    'gallery tracklets': 2636,
    'gallery tracklets per camera': (432, 411, 191, 157, 216, 378, 239, 612),
    'gallery frames': 445764,
    'queries in the gallery as well': 702,
}

# Wang et al., ECCV 2014, and the data set's page.
ILIDS: dict[str, Count] = {
    'persons': 300,
    'highest number of a person': 319,
    'tracklets': 600,
    'splits': 10,
    'train ids of a split': 150,
    'queries of a split': 150,
    'fewest frames of a tracklet per camera': (22, 23),
    'most frames of a tracklet per camera': (192, 172),
    'mean frames of a tracklet, camera 1': 65.67,
    'mean frames of a tracklet, camera 2': 75.86,
}

# The data set's page at TU Graz; the two thresholds are those of the works that chose 178 and 183 persons.
PRID: dict[str, Count] = {
    'persons of camera a': 385,
    'persons of camera b': 749,
    'persons in both cameras': 200,
    'persons with 21 or more frames in both': 183,
    'persons with 27 or more frames in both': 178,
    'of these, persons of the ten splits': 178,
}

# Li et al., ICCV 2019, table 1 and section 3.
LSVID: dict[str, Count] = {
    'cameras': 15,
    'ids': 3772,
    'tracklets': 14943,
    'frames': 2982685,
    'train ids': 842,
    'train frames': 550419,
    'val ids': 200,
    'val frames': 155191,
    'test ids': 2730,
    'test frames': 2277075,
}
