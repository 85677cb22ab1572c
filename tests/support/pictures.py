"""Picture files that Pillow does not write: TIFF with any samples and tags, PNG with 16 bits."""

import io
import struct
import zlib


def encoded(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def tiff(array, endian="<", gray=False, more=()):
    """The bytes of a TIFF with the samples of an array, and with ``more`` tags."""
    channels = array.shape[2] if array.ndim == 3 else 1
    data = array.astype(array.dtype.newbyteorder(endian)).tobytes()
    data += b"\0" * (len(data) % 2)
    extra = channels - (1 if gray or channels == 1 else 3)
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    tags = [
        (256, 3, [array.shape[1]]),
        (257, 3, [array.shape[0]]),
        (258, 3, [array.dtype.itemsize * 8] * channels),
        (259, 3, [1]),
        (262, 3, [1 if gray or channels == 1 else 2]),
        (273, 4, [8]),
        (277, 3, [channels]),
        (278, 3, [array.shape[0]]),
        (279, 4, [len(data)]),
        *([(338, 3, [0] * extra)] if extra else []),
        (339, 3, [kind] * channels),
    ]
    return tiff_file(endian, data, sorted([*tags, *more]))


def png(array):
    """The bytes of a 16-bit PNG in colour or with alpha, which Pillow does not write."""

    def chunk(name, data):
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    height, width, channels = array.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


def tiff_file(endian, data, tags):
    where = 8 + len(data)
    after = where + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, numbers in tags:
        if kind == 2:
            value = numbers
        else:
            value = struct.pack(f"{endian}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(value) > 4:
            place, values = struct.pack(endian + "I", after + len(values)), values + value
        else:
            place = value.ljust(4, b"\0")
        entries += struct.pack(endian + "HHI", tag, kind, len(numbers)) + place
    start = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "I", where)
    return start + data + struct.pack(endian + "H", len(tags)) + entries + b"\0" * 4 + values
