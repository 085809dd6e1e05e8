"""Writes small TIFF, BMP and PNM files of every kind into `formats/`, and what Pillow makes of them into
`formats12.jsonl` and `formats13.jsonl`.

    pip install pillow==13.0.0
    python make_formats.py images expected
    pip install pillow==12.3.0
    python make_formats.py expected
    python make_formats.py random FOLDER COUNT SEED   # more files, with random sizes and settings

The files are written byte by byte here, so they do not depend on what an encoder supports; only JPEG data
inside TIFF files is Pillow's (13.0.0). Everything in them is made up.
"""

import hashlib
import io
import json
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

import PIL
from PIL import Image

HERE = Path(__file__).parent
FORMATS = HERE / "formats"


# --- Samples -------------------------------------------------------------------------------------------


def waves(rng, width, height, samples, bits, low=False):
    """Values of all samples, `height × width × samples`: steps, runs and noise."""
    top = min(2**bits - 1, 400) if low else 2**bits - 1
    values = []
    for y in range(height):
        for x in range(width):
            for s in range(samples):
                if (x // 5 + y // 3 + s) % 3 == 0:
                    values.append(top * ((x // 4 + s) % 4) // 3)
                else:
                    values.append(rng.randint(0, top))
    return values


def pack(values, bits, order):
    """Packs the samples of a row: those of less than 8 bits and of 12 bits from the highest bit."""
    if bits in (8, 16, 32, 64):
        code = {8: "B", 16: "H", 32: "I", 64: "Q"}[bits]
        return struct.pack(f"{order}{len(values)}{code}", *values)
    number, length = 0, 0
    for value in values:
        number = number << bits | value
        length += bits
    padding = -length % 8
    return (number << padding).to_bytes((length + padding) // 8, "big")


# --- TIFF ----------------------------------------------------------------------------------------------


def lzw(data):
    """TIFF's LZW: highest bit first, codes widen one early, a clear code before the table is full."""
    out, bits, length = bytearray(), 0, 0
    table, width, piece = {}, 9, b""

    def emit(code):
        nonlocal bits, length
        bits = bits << width | code
        length += width
        while length >= 8:
            out.append(bits >> (length - 8) & 0xFF)
            length -= 8
        bits &= (1 << length) - 1

    def clear():
        nonlocal table, width
        emit(256)
        table = {bytes([i]): i for i in range(256)}
        width = 9

    clear()
    size = 258
    for byte in data:
        longer = piece + bytes([byte])
        if longer in table:
            piece = longer
            continue
        emit(table[piece])
        table[longer] = size
        size += 1
        if size > 4093:
            clear()
            size = 258
        elif size > (1 << width) - 1:
            width += 1
        piece = bytes([byte])
    if piece:
        emit(table[piece])
        size += 1
        if size > (1 << width) - 1 and width < 12:
            width += 1
    emit(257)
    if length:
        out.append(bits << (8 - length) & 0xFF)
    return bytes(out)


def pack_bits(data):
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while run < 128 and at + run < len(data) and data[at + run] == data[at]:
            run += 1
        if run > 1:
            out += bytes([257 - run, data[at]])
            at += run
            continue
        end = at + 1
        while end < len(data) and end - at < 128 and data[end] != data[end - 1]:
            end += 1
        out += bytes([end - at - 1]) + data[at:end]
        at = end
    return bytes(out)


def compress(data, compression):
    if compression == 5:
        return lzw(data)
    if compression in (8, 32946):
        return zlib.compress(data, 9)
    if compression == 32773:
        return pack_bits(data)
    return data


def differences(values, samples, bits):
    """Predictor 2 on the values of a row."""
    mask = 2**bits - 1
    return values[:samples] + [(values[i] - values[i - samples]) & mask for i in range(samples, len(values))]


def float_differences(values, samples):
    """Predictor 3 on a row of floats, given as 32-bit numbers: planes of bytes, the highest first."""
    raw = struct.pack(f">{len(values)}I", *values)
    planes = b"".join(raw[k::4] for k in range(4))
    return bytes(planes[:samples]) + bytes((planes[i] - planes[i - samples]) & 255 for i in range(samples, len(planes)))


def reverse(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def jpeg_segments(data):
    """Segments of a JPEG up to its scan, and the scan."""
    at, segments = 2, []
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2 : at + 4])[0] + 2
        segments.append(data[at : at + length])
        at += length
    return segments, data[at:]


def jpeg_chunk(values, width, height, samples, mode, quality, subsampling):
    """A JPEG of samples, and the same as tables and the rest. `mode` is how Pillow encodes: grey, RGB (kept
    as it is), YCbCr or CMYK."""
    data = bytes(values)
    image = Image.frombytes({"grey": "L", "cmyk": "CMYK"}.get(mode, "RGB"), (width, height), data)
    options = {"quality": quality}
    if mode == "rgb":
        options["keep_rgb"] = True
    elif mode == "ycbcr":
        options["subsampling"] = subsampling
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    segments, scan = jpeg_segments(out.getvalue())
    tables = b"".join(s for s in segments if s[1] in (0xDB, 0xC4))
    others = b"".join(s for s in segments if s[1] not in (0xDB, 0xC4) and not 0xE0 <= s[1] <= 0xEF)
    return out.getvalue(), b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + others + scan


def entry_bytes(order, tags, big=False):
    """A directory with its values behind it, to be placed at an offset."""
    codes = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}

    def at(offset):
        count, size = ("Q", 8) if big else ("H", 4)
        head = struct.pack(order + count, len(tags))
        body, extra = b"", b""
        entry = 20 if big else 12
        begin = offset + len(head) + entry * len(tags) + size
        for tag, (kind, values) in sorted(tags.items()):
            data = struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
            body += struct.pack(order + "HH" + ("Q" if big else "I"), tag, kind, len(values))
            if len(data) <= size:
                body += data.ljust(size, b"\0")
            else:
                body += struct.pack(order + ("Q" if big else "I"), begin + len(extra))
                extra += data + b"\0" * (len(data) % 2)
        return head + body + struct.pack(order + ("Q" if big else "I"), 0) + extra

    return at


def tiff(
    rng,
    width=19,
    height=11,
    photo=2,
    bits=8,
    samples=3,
    order="<",
    compression=1,
    predictor=1,
    planar=1,
    rows=None,
    tile=None,
    extra=None,
    formats=None,
    fill=1,
    orientation=None,
    xmp=None,
    big=False,
    jpeg="ycbcr",
    tables=False,
    subsampling=0,
    quality=85,
    low=False,
    one_bits=False,
    floats=False,
    pages=1,
):
    values = waves(rng, width, height, samples, bits, low)
    if floats:
        values = [struct.unpack("<I", struct.pack("<f", rng.uniform(-40, 300)))[0] for _ in values]
    chunk_width, chunk_height = tile or (width, min(rows or height, height))
    chunks, jpeg_tables = [], b""
    planes = [[s] for s in range(samples)] if planar == 2 else [list(range(samples))]
    for plane in planes:
        for top in range(0, height, chunk_height):
            for left in range(0, width, chunk_width):
                chunk_rows = chunk_height if tile else min(chunk_height, height - top)
                flat, data = [], b""
                for y in range(top, top + chunk_rows):
                    line = []
                    for x in range(left, left + chunk_width):
                        at = (min(y, height - 1) * width + min(x, width - 1)) * samples
                        line += [values[at + s] for s in plane]
                    if predictor == 2:
                        line = differences(line, len(plane), bits)
                    flat += line
                    if predictor == 3:
                        data += float_differences(line, len(plane))
                    else:
                        data += pack(line, bits, order)
                if compression == 7:
                    whole, jpeg_tables, rest = jpeg_chunk(
                        flat, chunk_width, chunk_rows, len(plane), jpeg if len(plane) > 1 else "grey", quality, subsampling
                    )
                    data = rest if tables else whole
                else:
                    data = compress(data, compression)
                    if fill == 2:
                        data = reverse(data)
                chunks.append(data)
    number = 16 if big else 4
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [bits] if one_bits else [bits] * samples),
        259: (3, [compression]),
        262: (3, [photo]),
        277: (3, [samples]),
        284: (3, [planar]),
    }
    if fill != 1:
        tags[266] = (3, [fill])
    if orientation is not None:
        tags[274] = (3, [orientation])
    if predictor != 1:
        tags[317] = (3, [predictor])
    if photo == 3:
        tags[320] = (3, [rng.randint(0, 65535) for _ in range(3 * 2**bits)])
    if extra is not None:
        tags[338] = (3, extra)
    if formats is not None:
        tags[339] = (3, formats)
    if tables and compression == 7:
        tags[347] = (7, list(jpeg_tables))
    if photo == 6 and samples == 3:
        tags[530] = (3, {0: [1, 1], 1: [2, 1], 2: [2, 2]}[subsampling])
    if xmp is not None:
        tags[700] = (1, list(xmp))
    head = 16 if big else 8
    body, offsets = b"", []
    for data in chunks:
        offsets.append(head + len(body))
        body += data + b"\0" * (len(data) % 2)
    lengths = [len(data) for data in chunks]
    if tile:
        tags |= {322: (3, [tile[0]]), 323: (3, [tile[1]]), 324: (number, offsets), 325: (number, lengths)}
    else:
        tags |= {273: (number, offsets), 278: (3, [chunk_height]), 279: (number, lengths)}
    directory = entry_bytes(order, tags, big)(head + len(body))
    mark = b"II" if order == "<" else b"MM"
    if big:
        start = mark + struct.pack(order + "HHHQ", 43, 8, 0, head + len(body))
    else:
        start = mark + struct.pack(order + "HI", 42, head + len(body))
    file = start + body + directory
    if pages > 1:
        # Another directory, of a smaller image.
        at = len(file) + len(file) % 2
        second = {**tags, 257: (3, [1]), 278: (3, [1])}
        entries = 2 + 12 * len(tags)
        link = head + len(body) + entries
        file = file[:link] + struct.pack(order + "I", at) + file[link + 4 :]
        file = file.ljust(at, b"\0") + entry_bytes(order, second)(at)
    return file


def fax(rng, width, height, photo, rows=None, fill=1, compression=4):
    """Black and white in fax compression; the codes are those of Pillow."""
    bits = [x // rng.randint(3, 9) % 2 * (rng.random() < 0.9) for _ in range(height) for x in range(width)]
    chunks = []
    for top in range(0, height, rows or height):
        part = bits[top * width : (top + (rows or height)) * width]
        image = Image.new("1", (width, len(part) // width))
        image.putdata([255 * bit for bit in part])
        out = io.BytesIO()
        name = {3: "group3", 4: "group4"}[compression]
        tags = {262: 1, 278: image.height}
        image.save(out, "TIFF", compression=name, tiffinfo=tags)
        saved = Image.open(io.BytesIO(out.getvalue())).tag_v2
        assert len(saved[273]) == 1, "one strip"
        data = out.getvalue()[saved[273][0] :][: saved[279][0]]
        # Pillow writes them with 0 as black, so white is 1 in the codes.
        chunks.append(reverse(data) if fill == 2 else data)
    lengths = [len(data) for data in chunks]
    offsets = [8 + sum(lengths[:i]) for i in range(len(chunks))]
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [1]),
        259: (3, [compression]),
        262: (3, [photo]),
        266: (3, [fill]),
        273: (4, offsets),
        277: (3, [1]),
        278: (3, [rows or height]),
        279: (4, lengths),
    }
    begin = 8 + sum(lengths)
    return b"II" + struct.pack("<HI", 42, begin) + b"".join(chunks) + entry_bytes("<", tags)(begin)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def tiffs(rng):
    for orientation in range(1, 9):
        yield f"orientation_{orientation}.tif", tiff(rng, orientation=orientation)
    yield "orientation_6_palette_lzw.tif", tiff(rng, photo=3, samples=1, orientation=6, compression=5)
    yield "orientation_8_jpeg.tif", tiff(rng, photo=6, orientation=8, compression=7)
    yield "orientation_9.tif", tiff(rng, orientation=9)
    yield "orientation_xmp.tif", tiff(rng, xmp=XMP % 6)
    yield "orientation_tag_and_xmp.tif", tiff(rng, orientation=3, xmp=XMP % 6)
    for compression, name in [(1, "raw"), (5, "lzw"), (8, "deflate"), (32946, "deflate_old"), (32773, "packbits")]:
        yield f"rgb_{name}_strips.tif", tiff(rng, compression=compression, rows=4)
        yield f"rgb_{name}_tiles.tif", tiff(rng, 37, 35, compression=compression, tile=(16, 16))
        yield f"rgb_{name}_planes.tif", tiff(rng, compression=compression, planar=2, rows=5)
        yield f"rgb_{name}_plane_tiles.tif", tiff(rng, 37, 19, compression=compression, planar=2, tile=(16, 16))
    for compression, name in [(5, "lzw"), (8, "deflate")]:
        yield f"rgb_{name}_predictor.tif", tiff(rng, compression=compression, predictor=2)
        yield f"rgba_{name}_predictor_tiles.tif", tiff(
            rng, 33, 17, samples=4, extra=[2], compression=compression, predictor=2, tile=(16, 16)
        )
        yield f"rgb_{name}_predictor_planes.tif", tiff(rng, compression=compression, predictor=2, planar=2)
    yield "lzw_long.tif", tiff(rng, 90, 70, compression=5)
    for order, end in [("<", "ii"), (">", "mm")]:
        for bits in (1, 2, 4, 8):
            for photo in (0, 1):
                yield f"grey_{bits}_{photo}_{end}.tif", tiff(rng, photo=photo, samples=1, bits=bits, order=order)
            yield f"palette_{bits}_{end}.tif", tiff(rng, photo=3, samples=1, bits=bits, order=order)
        for compression, name in [(1, "raw"), (5, "lzw")]:
            yield f"grey_16_{name}_{end}.tif", tiff(
                rng, photo=1, samples=1, bits=16, order=order, compression=compression, low=True
            )
            yield f"rgb_16_{name}_{end}.tif", tiff(rng, bits=16, order=order, compression=compression)
            yield f"cmyk_16_{name}_{end}.tif", tiff(
                rng, photo=5, samples=4, bits=16, order=order, compression=compression
            )
            yield f"grey_signed_16_{name}_{end}.tif", tiff(
                rng, photo=1, samples=1, bits=16, order=order, compression=compression, formats=[2]
            )
            yield f"grey_32_{name}_{end}.tif", tiff(
                rng, photo=1, samples=1, bits=32, order=order, compression=compression, low=True
            )
            yield f"grey_signed_32_{name}_{end}.tif", tiff(
                rng, photo=1, samples=1, bits=32, order=order, compression=compression, formats=[2]
            )
            yield f"grey_float_{name}_{end}.tif", tiff(
                rng, photo=1, samples=1, bits=32, order=order, compression=compression, formats=[3], floats=True
            )
        yield f"rgb_16_predictor_{end}.tif", tiff(rng, bits=16, order=order, compression=8, predictor=2)
        yield f"rgb_16_planes_{end}.tif", tiff(rng, bits=16, order=order, compression=8, planar=2)
        yield f"grey_16_white_is_0_{end}.tif", tiff(rng, photo=0, samples=1, bits=16, order=order, low=True)
        yield f"big_{end}.tif", tiff(rng, order=order, big=True, rows=3)
        yield f"grey_16_predictor_{end}.tif", tiff(
            rng, photo=1, samples=1, bits=16, order=order, compression=5, predictor=2, low=True
        )
    yield "grey_12.tif", tiff(rng, photo=1, samples=1, bits=12, low=True)
    yield "grey_12_lzw.tif", tiff(rng, photo=1, samples=1, bits=12, low=True, compression=5)
    yield "grey_32_predictor.tif", tiff(rng, photo=1, samples=1, bits=32, low=True, compression=8, predictor=2)
    yield "float_predictor.tif", tiff(
        rng, photo=1, samples=1, bits=32, formats=[3], floats=True, compression=8, predictor=3
    )
    yield "float_64.tif", tiff(rng, photo=1, samples=1, bits=64, formats=[3])
    yield "rgb_float.tif", tiff(rng, bits=32, formats=[3] * 3, floats=True)
    yield "rgb_32.tif", tiff(rng, bits=32)
    yield "grey_reversed.tif", tiff(rng, photo=1, samples=1, fill=2)
    yield "black_white_reversed.tif", tiff(rng, photo=0, samples=1, bits=1, fill=2)
    yield "rgb_reversed.tif", tiff(rng, fill=2)
    yield "grey_reversed_lzw.tif", tiff(rng, photo=1, samples=1, fill=2, compression=5)
    yield "black_white_lzw.tif", tiff(rng, photo=0, samples=1, bits=1, compression=5)
    yield "black_white_packbits.tif", tiff(rng, photo=1, samples=1, bits=1, compression=32773, rows=3)
    yield "palette_4_tiles.tif", tiff(rng, 37, 20, photo=3, samples=1, bits=4, compression=8, tile=(16, 16))
    for kind, name in [(None, "unnamed"), ([0], "unspecified"), ([1], "premultiplied"), ([2], "alpha"), ([999], "corel")]:
        for compression, how in [(1, "raw"), (8, "deflate")]:
            yield f"rgb_extra_{name}_{how}.tif", tiff(rng, samples=4, extra=kind, compression=compression)
        yield f"rgb_extra_{name}_planes.tif", tiff(rng, samples=4, extra=kind, planar=2, compression=8)
        yield f"rgb_extra_{name}_raw_planes.tif", tiff(rng, samples=4, extra=kind, planar=2)
    for extra in ([0, 0], [1, 0], [2, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]):
        name = "".join(map(str, extra))
        yield f"rgb_extra_{name}.tif", tiff(rng, samples=3 + len(extra), extra=extra)
    for extra in ([0], [1], [2]):
        yield f"rgb_16_extra_{extra[0]}.tif", tiff(rng, samples=4, bits=16, extra=extra)
        yield f"grey_extra_{extra[0]}.tif", tiff(rng, photo=1, samples=2, extra=extra)
        yield f"palette_extra_{extra[0]}.tif", tiff(rng, photo=3, samples=2, extra=extra)
    yield "grey_alpha_planes.tif", tiff(rng, photo=1, samples=2, extra=[2], planar=2, compression=5)
    yield "rgb_one_number_of_bits.tif", tiff(rng, one_bits=True)
    yield "cmyk.tif", tiff(rng, photo=5, samples=4)
    yield "cmyk_lzw.tif", tiff(rng, photo=5, samples=4, compression=5, predictor=2)
    yield "cmyk_planes.tif", tiff(rng, photo=5, samples=4, planar=2)
    yield "cmyk_deflate_planes.tif", tiff(rng, photo=5, samples=4, planar=2, compression=8)
    yield "cmyk_extra.tif", tiff(rng, photo=5, samples=5, extra=[0])
    for subsampling in (0, 1, 2):
        yield f"jpeg_ycbcr_{subsampling}.tif", tiff(
            rng, 45, 37, photo=6, compression=7, subsampling=subsampling, rows=16
        )
        yield f"jpeg_ycbcr_{subsampling}_tiles.tif", tiff(
            rng, 45, 37, photo=6, compression=7, subsampling=subsampling, tile=(32, 32), tables=True
        )
    yield "jpeg_rgb.tif", tiff(rng, 45, 37, compression=7, jpeg="rgb")
    yield "jpeg_rgb_tables.tif", tiff(rng, 45, 37, compression=7, jpeg="rgb", rows=8, tables=True)
    yield "jpeg_rgb_of_ycbcr.tif", tiff(rng, 45, 37, compression=7, jpeg="ycbcr")
    yield "jpeg_grey.tif", tiff(rng, 45, 37, photo=1, samples=1, compression=7, jpeg="grey")
    yield "jpeg_grey_white_is_0.tif", tiff(rng, 45, 37, photo=0, samples=1, compression=7, jpeg="grey")
    yield "jpeg_cmyk.tif", tiff(rng, 45, 37, photo=5, samples=4, compression=7, jpeg="cmyk")
    yield "jpeg_rgb_planes.tif", tiff(rng, 45, 37, compression=7, planar=2)
    yield "jpeg_ycbcr_planes.tif", tiff(rng, 45, 37, photo=6, compression=7, planar=2)
    yield "ycbcr_raw.tif", tiff(rng, photo=6)
    yield "ycbcr_lzw.tif", tiff(rng, photo=6, compression=5)
    yield "lab.tif", tiff(rng, photo=8)
    yield "pages.tif", tiff(rng, pages=2)
    for photo in (0, 1):
        yield f"group_4_{photo}.tif", fax(rng, 67, 41, photo)
    yield "group_4_strips.tif", fax(rng, 67, 41, 0, rows=9)
    yield "group_4_reversed.tif", fax(rng, 67, 41, 0, fill=2)
    yield "group_3.tif", fax(rng, 67, 41, 0, compression=3)
    yield "zstandard.tif", tiff(rng, compression=50000)


def random_tiff(rng):
    if rng.random() < 0.08:
        rows = rng.choice([None, rng.randint(1, 30)])
        return fax(rng, rng.randint(1, 90), rng.randint(1, 90), rng.choice([0, 1]), rows, rng.choice([1, 2]))
    photo, samples = rng.choice([(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (3, 1), (5, 4), (6, 3), (2, 5)])
    width, height = rng.randint(1, 70), rng.randint(1, 70)
    compression = rng.choice([1, 5, 8, 32773, 7 if photo in (1, 2, 5, 6) and samples != 2 and samples < 5 else 5])
    if photo == 6:
        compression = 7
    bits = 8
    if compression != 7:
        bits = rng.choice({1: [1, 2, 4, 8, 8, 16, 16, 32], 2: [8]}.get(samples, [8, 8, 16]))
        if photo == 3 and bits > 8:
            bits = 4
    extras = {(1, 2): [[2]], (2, 4): [None, [0], [1], [2]], (2, 5): [[0, 0], [1, 0], [2, 0]]}
    formats = rng.choice([None, [2]]) if bits in (16, 32) and samples == 1 else None
    floats = bits == 32 and rng.random() < 0.5
    predictor = 1
    if compression in (5, 8) and bits in (8, 16, 32) and rng.random() < 0.5:
        predictor = 2
        if floats and rng.random() < 0.5:
            predictor = 3
    tile = (16 * rng.randint(1, 4), 16 * rng.randint(1, 4)) if rng.random() < 0.4 else None
    subsampling = rng.choice([0, 1, 2])
    rows = rng.choice([None, rng.randint(1, height)])
    if compression == 7 and rows:
        rows = (rows + 15) // 16 * 16
    return tiff(
        rng,
        width,
        height,
        photo=photo,
        samples=samples,
        bits=bits,
        order=rng.choice("<>"),
        compression=compression,
        predictor=predictor,
        planar=2 if rng.random() < 0.25 else 1,
        rows=rows,
        tile=tile,
        extra=rng.choice(extras.get((photo, samples), [None])),
        formats=[3] if floats else formats,
        floats=floats,
        orientation=rng.choice([None, *range(1, 9)]),
        jpeg={5: "cmyk", 1: "grey", 2: "rgb"}.get(photo, "ycbcr") if samples != 4 or photo == 5 else "cmyk",
        tables=rng.random() < 0.5,
        subsampling=subsampling,
        quality=rng.randint(20, 95),
        low=rng.random() < 0.5,
        big=rng.random() < 0.1,
    )


# --- BMP -----------------------------------------------------------------------------------------------


def rle(rng, indices, width, height, four, odd=False, deltas=False):
    """Runs and copies, rows from the bottom."""
    out = bytearray()
    for y in range(height - 1, -1, -1):
        row = indices[y * width : (y + 1) * width]
        x = 0
        while x < width:
            if deltas and rng.random() < 0.1 and width - x > 4:
                skip = rng.randint(1, 3)
                out += bytes([0, 2, skip, 0])
                x += skip
                continue
            left = width - x
            if rng.random() < 0.5 and left >= 4:
                count = rng.randint(3, min(left, 40))
                if four and not odd:
                    count -= count % 2
                if count >= 3:
                    values = row[x : x + count]
                    if four:
                        values = values + [0] * (len(values) % 2)
                        data = bytes(values[i] << 4 | values[i + 1] for i in range(0, len(values), 2))
                    else:
                        data = bytes(values)
                    out += bytes([0, count]) + data + b"\0" * (len(data) % 2)
                    x += count
                    continue
            count = rng.randint(1, min(left, 30))
            value = row[x] << 4 | row[x + 1 if left > 1 else x] if four else row[x]
            out += bytes([count, value])
            x += count
        out += b"\0\0"
    return bytes(out) + b"\0\1"


def bmp(
    rng,
    width=13,
    height=9,
    bits=24,
    header=40,
    compression=0,
    masks=None,
    colors=None,
    palette="random",
    top_down=False,
    gap=0,
    offset=True,
    odd=False,
    deltas=False,
):
    indexed = bits <= 8
    count = (colors or 2**bits) if indexed else 0
    entry = 3 if header == 12 else 4
    if palette == "grey":
        table = [(i, i, i) for i in range(count)]
    elif palette == "black_white":
        table = [(0, 0, 0), (255, 255, 255)]
    else:
        table = [tuple(rng.randint(0, 255) for _ in range(3)) for _ in range(count)]
    palette_bytes = b"".join(bytes(color) + b"\0" * (entry - 3) for color in table)
    if compression in (1, 2):
        indices = [rng.randint(0, count - 1) for _ in range(width * height)]
        data = rle(rng, indices, width, height, compression == 2, odd, deltas)
    else:
        stride = (width * bits + 31) // 32 * 4
        data = b""
        for _ in range(height):
            if indexed:
                row = pack([rng.randint(0, count - 1) for _ in range(width)], bits, "<")
            else:
                row = rng.randbytes((width * bits + 7) // 8)
            data += row.ljust(stride, b"\0")
    signed = -height if top_down else height
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        fields = (header, width, signed, 1, bits, compression, len(data), 2835, 2835, colors or 0, 0)
        info = struct.pack("<IiiHHIIiiII", *fields)
        packed = struct.pack("<4I", *(masks or (0, 0, 0, 0)))
        info = (info + packed).ljust(header, b"\0")[:header]
        if compression == 3 and header == 40:
            info += packed[:12]
    begin = 14 + len(info) + len(palette_bytes) + gap
    place = begin if offset is True else (0 if offset is None else 14 + header)
    head = b"BM" + struct.pack("<IHHI", begin + len(data), 0, 0, place)
    return head + info + palette_bytes + b"\0" * gap + data


BIT_FIELDS = {
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "444": (16, (0xF00, 0xF0, 0xF, 0)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "bgr": (24, (0xFF0000, 0xFF00, 0xFF, 0)),
    "bgrx": (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    "xbgr": (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    "bgxr": (32, (0xFF000000, 0xFF00, 0xFF, 0)),
    "abgr": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "rgba": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "bgra": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "bgar": (32, (0xFF000000, 0xFF00, 0xFF, 0xFF0000)),
    "none": (32, (0, 0, 0, 0)),
    "rgbx": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "10_bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
}


def bmps(rng):
    for bits in (1, 4, 8, 16, 24, 32):
        yield f"bits_{bits}.bmp", bmp(rng, bits=bits)
        yield f"bits_{bits}_top_down.bmp", bmp(rng, bits=bits, top_down=True)
        yield f"bits_{bits}_os2.bmp", bmp(rng, bits=bits, header=12)
        for header in (64, 108, 124):
            yield f"bits_{bits}_header_{header}.bmp", bmp(rng, bits=bits, header=header)
    for name, (bits, masks) in BIT_FIELDS.items():
        for header in (40, 56, 124):
            yield f"fields_{name}_{header}.bmp", bmp(rng, bits=bits, header=header, compression=3, masks=masks)
    for bits in (1, 4, 8):
        yield f"bits_{bits}_few_colors.bmp", bmp(rng, bits=bits, colors=2)
        yield f"bits_{bits}_grey.bmp", bmp(rng, bits=bits, palette="grey")
        yield f"bits_{bits}_black_white.bmp", bmp(rng, bits=bits, colors=2, palette="black_white")
        yield f"bits_{bits}_offset_of_palette.bmp", bmp(rng, bits=bits, offset=False)
    yield "one_black.bmp", bmp(rng, bits=8, colors=1, palette="grey")
    yield "grey_30.bmp", bmp(rng, bits=8, colors=30, palette="grey")
    yield "no_offset.bmp", bmp(rng, offset=None)
    yield "gap.bmp", bmp(rng, bits=8, gap=7)
    for name, options in [("", {}), ("_deltas", {"deltas": True}), ("_top_down", {"top_down": True}), ("_gap", {"gap": 1})]:
        yield f"rle8{name}.bmp", bmp(rng, 41, bits=8, compression=1, **options)
        yield f"rle4{name}.bmp", bmp(rng, 41, bits=4, compression=2, **options)
    yield "rle8_grey.bmp", bmp(rng, 41, bits=8, compression=1, palette="grey")
    yield "rle8_black_white.bmp", bmp(rng, 41, bits=8, compression=1, colors=2, palette="black_white")
    yield "rle4_odd.bmp", bmp(rng, 41, bits=4, compression=2, odd=True)
    yield "bits_2.bmp", bmp(rng, bits=2)
    yield "jpeg_inside.bmp", bmp(rng, compression=4)


def random_bmp(rng):
    width, height = rng.randint(1, 60), rng.randint(1, 60)
    kind = rng.random()
    top_down = rng.random() < 0.3
    if kind < 0.3:
        bits, masks = rng.choice(list(BIT_FIELDS.values()))
        header = rng.choice([40, 52, 56, 108, 124])
        return bmp(rng, width, height, bits=bits, header=header, compression=3, masks=masks, top_down=top_down)
    if kind < 0.6:
        four = rng.random() < 0.5
        return bmp(
            rng, width, height, bits=4 if four else 8, compression=2 if four else 1, gap=rng.randint(0, 3),
            odd=rng.random() < 0.3, deltas=rng.random() < 0.5, top_down=top_down,
        )  # fmt: skip
    header = rng.choice([12, 40, 64, 108, 124])
    bits = rng.choice([1, 4, 8, 16, 24, 32])
    colors = None
    if bits <= 8 and header != 12:
        colors = rng.choice([None, rng.randint(1, 2**bits)])
    palette = rng.choice(["random", "grey"]) if bits <= 8 else "random"
    top_down = top_down and header != 12
    return bmp(
        rng, width, height, bits=bits, header=header, colors=colors, palette=palette,
        top_down=top_down, gap=rng.randint(0, 5),
    )  # fmt: skip


# --- PNM -----------------------------------------------------------------------------------------------


def pnm(rng, kind, width=13, height=9, maximum=255, comment=b"", low=False, over=False, lines=b"\n"):
    samples = width * height * (3 if kind in b"36" else 1)
    head = b"P" + bytes([kind]) + lines + comment + b"%d %d" % (width, height) + lines
    if kind in b"14":
        if kind == ord("1"):
            bits = [rng.choice([b"0", b"1"]) for _ in range(samples)]
            return head + rng.choice([b"", b" ", b"\n"]).join(bits) + b"\n"
        return head + rng.randbytes((width + 7) // 8 * height)
    top = min(maximum, 300) if low else maximum
    values = [rng.randint(0, top) for _ in range(samples)]
    head += comment + b"%d" % maximum + lines
    if kind in b"23":
        words = [b"%d" % value for value in values]
        return head + b"".join(word + rng.choice([b" ", b"\n", b"\t", b" #c\n"] if comment else [b" "]) for word in words)
    if over:
        values = [value + rng.randint(0, 3) for value in values]
    return head + struct.pack(f">{samples}{'H' if maximum > 255 else 'B'}", *values)


def pnms(rng):
    for kind in b"123456":
        end = {1: "pbm", 2: "pgm", 0: "ppm"}[(kind - ord("0")) % 3]
        yield f"p{kind - 48}.{end}", pnm(rng, kind)
        yield f"p{kind - 48}_comments.{end}", pnm(rng, kind, comment=b"# made up\n#\r# more\n")
        yield f"p{kind - 48}_spaces.{end}", pnm(rng, kind, lines=b"\t")
        if kind not in b"14":
            for maximum in (1, 15, 100, 254, 256, 1023, 65535):
                yield f"p{kind - 48}_{maximum}.{end}", pnm(rng, kind, maximum=maximum, low=True)
    yield "p5_over.pgm", pnm(rng, ord("5"), maximum=200, over=True)
    yield "p6_over.ppm", pnm(rng, ord("6"), maximum=1000, over=True)
    yield "p2_over.pgm", b"P2 2 1 10 3 11 "
    yield "p2_comment_in_number.pgm", b"P2 2 1 255 12#c\n3 45\n"
    yield "p6_comment_after_maximum.ppm", b"P6 1 1 25#c\n5\nabc"
    yield "p6_comment_after_magic.ppm", b"P6#c\n1 1 255\nabc"
    yield "p6_named.jpg", pnm(rng, ord("6"))
    floats = [rng.uniform(-20, 300) for _ in range(12)]
    yield "little.pfm", b"Pf\n4 3\n-1.0\n" + struct.pack("<12f", *floats)
    yield "big.pfm", b"Pf\n4 3\n2.5\n" + struct.pack(">12f", *floats)
    yield "colors.pfm", b"PF\n2 2\n-1.0\n" + struct.pack("<12f", *floats)
    yield "p7.pam", b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\nabc"


def random_pnm(rng):
    kind = rng.choice(b"123456")
    maximum = rng.choice([255, 255, rng.randint(1, 255), rng.randint(256, 65535), 65535])
    comment = rng.choice([b"", b"# c\n"])
    over = maximum < 60000 and maximum not in range(250, 256) and rng.random() < 0.3
    return pnm(
        rng, kind, rng.randint(1, 60), rng.randint(1, 60), maximum, comment, rng.random() < 0.5,
        over, rng.choice([b"\n", b" ", b"\t", b"\r\n" if kind in b"123" else b"\n"]),
    )  # fmt: skip


# --- What Pillow makes of them -------------------------------------------------------------------------


def expected(path):
    line = {"file": path.name}
    try:
        # As torchvision and timm load it.
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
    except Exception as error:  # Pillow raises errors of many kinds.
        return line | {"error": f"{type(error).__name__}: {error}".replace(str(path.parent) + "/", "")}
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return line | {"width": image.width, "height": image.height, "rgb": digest}


def main():
    warnings.simplefilter("ignore")
    if sys.argv[1] == "random":
        folder, count, seed = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        folder.mkdir(exist_ok=True)
        rng = random.Random(seed)
        kinds = [(random_tiff, "tif"), (random_bmp, "bmp"), (random_pnm, "ppm")]
        for i in range(count):
            make, end = kinds[i % len(kinds)]
            (folder / f"{i:05}.{end}").write_bytes(make(rng))
        return
    if sys.argv[1] == "hashes":
        for path in sorted(Path(sys.argv[2]).iterdir()):
            print(json.dumps(expected(path)))
        return
    if "images" in sys.argv:
        FORMATS.mkdir(exist_ok=True)
        rng = random.Random(18)
        for made in (tiffs(rng), bmps(rng), pnms(rng)):
            for name, data in made:
                (FORMATS / name).write_bytes(data)
    if "expected" in sys.argv:
        version = PIL.__version__.split(".")[0]
        with open(HERE / f"formats{version}.jsonl", "w") as out:
            for path in sorted(FORMATS.iterdir()):
                print(json.dumps(expected(path)), file=out)


if __name__ == "__main__":
    main()
