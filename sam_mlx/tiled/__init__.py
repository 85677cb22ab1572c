"""Everything in a large picture, in tiles without seams.

Each tile is searched as a picture of its own (``search``). What its edge has cut is joined with
what the neighbours found of the same object, and asked once more in a window of its own (``rows``,
``asking``). Searches at coarser scales find what is larger than a tile (``passes``). A tile row is
finished once no later row can change it, so memory does not grow with the picture's height.

An instance decoder has its own way to search: it fills a map tile by tile, from which instances are
cut, and nothing has to be joined (``instances.tiles``). Both walk over tiles (``walk``).
"""
