"""Everything in a large picture, in tiles without seams.

Each tile is searched as a picture of its own (``search``). What its edge has cut is joined with
what the neighbours found of the same object, and asked once more in a window of its own (``rows``,
``asking``). Searches at coarser scales find what is larger than a tile (``passes``). A tile row is
finished once no later row can change it, so memory does not grow with the picture's height.

An instance decoder has its own way to search: it fills maps tile by tile, and objects are cut from
parts of the map. It gives ``rows.Rows`` nothing to join; ``passes`` is where the two part.
"""
