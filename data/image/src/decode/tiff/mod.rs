//! TIFF: the first image, turned by its orientation, as Pillow and libtiff decode it.

mod compression;
mod directory;
mod layout;
mod orientation;

use std::borrow::Cow;

use super::RgbImage;
use super::bytes::fit;
use super::jpeg::{self, Stored};
use crate::limits::Reserved;
use crate::{ImageError, Limits};
use compression::{Compression, undo_predictor};
use directory::{Directory, Order};
use layout::{Layout, Tags};

const FORMAT: &str = "TIFF";

/// More samples per pixel than Pillow reads in any file.
const MAX_SAMPLES: u64 = 6;

/// All possible tables of a JPEG take less; they are read again for each strip or tile.
const MAX_JPEG_TABLES: usize = 1 << 14;

/// Largest ratio of the lengths of all strips or tiles to that of the file.
const MAX_OVERLAP: usize = 64;

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let directory = Directory::read(encoded)?;
    let side = |tag| -> Result<u32, ImageError> {
        let side = directory.number(tag)?;
        let side =
            side.ok_or_else(|| ImageError::corrupt(FORMAT, format!("tag {tag} is missing")))?;
        u32::try_from(side).map_err(|_| ImageError::corrupt(FORMAT, format!("tag {tag} is {side}")))
    };
    let (width, height) = (side(tags::WIDTH)?, side(tags::HEIGHT)?);
    // Also without a valid layout, the size is checked first.
    limits.check(width, height, 3)?;
    if directory.bytes(tags::MEDIA_PHOTO).is_some() {
        return Err(ImageError::unsupported(
            FORMAT,
            "is a Windows Media photo".to_owned(),
        ));
    }
    let compression = directory.number(tags::COMPRESSION)?.unwrap_or(1);
    let compression = Compression::of(compression)?;
    let tags = pixel_tags(&directory, compression)?;
    let layout = tags.layout(&directory.numbers(tags::COLOR_MAP)?)?;
    let orientation = orientation::of(&directory)?;

    // Memory per pixel: three values, and as many again to turn them.
    let each = if orientation == 1 { 3 } else { 6 };
    limits.check(width, height, each)?;
    let chunks = Chunks::new(&directory, &tags, [width, height], encoded.len())?;
    // And a strip or tile twice.
    let pixels = u64::from(width) * u64::from(height);
    let chunk = chunks.bytes(&tags).saturating_mul(2);
    let reserved = limits.reserve_bytes(chunk.saturating_add(pixels * each))?;
    let predictor = match compression {
        Compression::Lzw | Compression::Deflate => directory.number(tags::PREDICTOR)?.unwrap_or(1),
        _ => 1,
    };
    if predictor == 3 && tags.sample_formats != [3] {
        return Err(ImageError::unsupported(
            FORMAT,
            format!("has the predictor of floating point with {}", tags.kind()),
        ));
    }
    let jpeg_tables = directory.bytes(tags::JPEG_TABLES).unwrap_or_default();
    if jpeg_tables.len() > MAX_JPEG_TABLES {
        return Err(ImageError::corrupt(
            FORMAT,
            format!("the JPEG tables have {} bytes", jpeg_tables.len()),
        ));
    }
    let reader = Reader {
        encoded,
        tags: &tags,
        predictor,
        jpeg_tables,
        limits,
    };
    reader.read(&chunks, &layout, image.clear(width, height))?;
    orientation::turn(image, orientation);
    Ok(reserved)
}

mod tags {
    pub(super) const WIDTH: u64 = 256;
    pub(super) const HEIGHT: u64 = 257;
    pub(super) const BITS: u64 = 258;
    pub(super) const COMPRESSION: u64 = 259;
    pub(super) const PHOTOMETRIC: u64 = 262;
    pub(super) const FILL_ORDER: u64 = 266;
    pub(super) const STRIP_OFFSETS: u64 = 273;
    pub(super) const ORIENTATION: u64 = 274;
    pub(super) const SAMPLES: u64 = 277;
    pub(super) const ROWS_PER_STRIP: u64 = 278;
    pub(super) const STRIP_LENGTHS: u64 = 279;
    pub(super) const PLANAR: u64 = 284;
    pub(super) const PREDICTOR: u64 = 317;
    pub(super) const COLOR_MAP: u64 = 320;
    pub(super) const TILE_WIDTH: u64 = 322;
    pub(super) const TILE_HEIGHT: u64 = 323;
    pub(super) const TILE_OFFSETS: u64 = 324;
    pub(super) const TILE_LENGTHS: u64 = 325;
    pub(super) const EXTRA_SAMPLES: u64 = 338;
    pub(super) const SAMPLE_FORMAT: u64 = 339;
    pub(super) const JPEG_TABLES: u64 = 347;
    pub(super) const XMP: u64 = 700;
    pub(super) const MEDIA_PHOTO: u64 = 0xbc01;
}

/// The tags of pixels, completed where they are missing or inconsistent, as Pillow does it.
fn pixel_tags(directory: &Directory<'_>, compression: Compression) -> Result<Tags, ImageError> {
    let or = |numbers: Vec<u64>, default: u64| {
        if numbers.is_empty() {
            vec![default]
        } else {
            numbers
        }
    };
    let mut sample_formats = or(directory.numbers(tags::SAMPLE_FORMAT)?, 1);
    sample_formats.dedup();
    let planar = directory.number(tags::PLANAR)?.unwrap_or(1) == 2;
    let mut bits = or(directory.numbers(tags::BITS)?, 1);
    let mut extra = directory.numbers(tags::EXTRA_SAMPLES)?;
    let stored_samples = directory.number(tags::SAMPLES)?.unwrap_or(1);
    let mut samples = stored_samples;
    let photometric = directory.number(tags::PHOTOMETRIC)?.unwrap_or(0);
    if planar && !extra.is_empty() && extra.iter().all(|&kind| kind == 0) {
        // Planes at the end that mean nothing are ignored.
        bits.truncate(bits.len().saturating_sub(extra.len()));
        samples = samples.saturating_sub(extra.len() as u64);
        extra.clear();
    }
    let mut tags = Tags {
        order: directory.order,
        photometric,
        sample_formats,
        fill_order: directory.number(tags::FILL_ORDER)?.unwrap_or(1),
        bits,
        extra,
        compression,
        planar,
        tiled: directory.bytes(tags::STRIP_OFFSETS).is_none(),
        stored_samples: stored_samples.min(MAX_SAMPLES + 1) as usize,
    };
    if samples == 0 || samples > MAX_SAMPLES {
        let kind = format!("has {samples} samples per pixel");
        return Err(ImageError::unsupported(FORMAT, kind));
    }
    let samples = samples as usize;
    if tags.bits.len() == 1 {
        tags.bits = vec![tags.bits[0]; samples];
    }
    tags.bits.truncate(samples);
    if tags.bits.len() != samples {
        return Err(ImageError::corrupt(
            FORMAT,
            format!(
                "{samples} samples per pixel have {} numbers of bits",
                tags.bits.len()
            ),
        ));
    }
    if !matches!(tags.fill_order, 1 | 2) {
        return Err(ImageError::corrupt(
            FORMAT,
            format!("the fill order is {}", tags.fill_order),
        ));
    }
    Ok(tags)
}

/// Strips or tiles.
struct Chunks {
    /// Width and height of each; strips are as wide as the image.
    size: [usize; 2],
    /// Number of them in a row of the image, and number of such rows.
    grid: [usize; 2],
    tiled: bool,
    image: [usize; 2],
    /// Offset and length of each: those of the first plane come first.
    places: Vec<(usize, usize)>,
}

impl Chunks {
    fn new(
        directory: &Directory<'_>,
        tags: &Tags,
        [width, height]: [u32; 2],
        file_len: usize,
    ) -> Result<Self, ImageError> {
        let image = [width as usize, height as usize];
        let (size, offsets, lengths) = if tags.tiled {
            let side = |tag| -> Result<u64, ImageError> {
                let side = directory.number(tag)?;
                side.ok_or_else(|| {
                    ImageError::corrupt(FORMAT, "it has neither strips nor tiles".to_owned())
                })
            };
            let size = [side(tags::TILE_WIDTH)?, side(tags::TILE_HEIGHT)?];
            (size, tags::TILE_OFFSETS, tags::TILE_LENGTHS)
        } else {
            let rows = directory.number(tags::ROWS_PER_STRIP)?;
            let rows = rows.unwrap_or(u64::from(height)).min(u64::from(height));
            let size = [u64::from(width), rows];
            (size, tags::STRIP_OFFSETS, tags::STRIP_LENGTHS)
        };
        if size.iter().any(|side| !(1..=1 << 24).contains(side)) {
            return Err(ImageError::corrupt(
                FORMAT,
                format!("strips or tiles of {} x {}", size[0], size[1]),
            ));
        }
        let size = size.map(|side| side as usize);
        let grid = [0, 1].map(|axis| image[axis].div_ceil(size[axis]));
        let planes = if tags.planar { tags.bits.len() } else { 1 };
        let count = grid[0] * grid[1] * planes;
        let raw = tags.compression == Compression::None;
        let mut offsets = directory.numbers(offsets)?;
        if raw && !tags.planar && grid == [1, 1] && size == image {
            // Pillow reads the last of several.
            offsets.drain(..offsets.len().saturating_sub(1));
        }
        // The others belong to planes that are ignored.
        let ignored = tags.planar && tags.stored_samples > tags.bits.len();
        if offsets.len() < count || offsets.len() > count && raw && !ignored {
            return Err(ImageError::corrupt(
                FORMAT,
                format!("it has {} strips or tiles; expected {count}", offsets.len()),
            ));
        }
        let mut lengths = if raw {
            vec![]
        } else {
            directory.numbers(lengths)?
        };
        if raw || lengths.is_empty() && count == 1 {
            // Up to the end of the file.
            lengths = vec![u64::MAX; count];
        }
        if lengths.len() < count {
            return Err(ImageError::corrupt(
                FORMAT,
                "lengths of strips or tiles are missing".to_owned(),
            ));
        }
        let places = offsets.iter().zip(&lengths).take(count);
        let places = places.map(|(&offset, &len)| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(file_len);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let rest = file_len - offset;
            let len = if raw || len == usize::MAX { rest } else { len };
            (offset, len)
        });
        let places: Vec<(usize, usize)> = places.collect();
        let total = places
            .iter()
            .fold(0usize, |total, &(_, len)| total.saturating_add(len));
        // Equal tiles may be stored once, but each takes time.
        if !raw && total > file_len.saturating_mul(MAX_OVERLAP) {
            return Err(ImageError::corrupt(
                FORMAT,
                "strips or tiles overlap".to_owned(),
            ));
        }
        Ok(Self {
            size,
            grid,
            tiled: tags.tiled,
            image,
            places,
        })
    }
}

impl Chunks {
    /// Bytes of the samples of a strip or tile, of all planes.
    fn bytes(&self, tags: &Tags) -> u64 {
        let bits: u64 = tags.bits.iter().sum();
        let row = (self.size[0] as u64).saturating_mul(bits).div_ceil(8);
        row.saturating_mul(self.size[1] as u64)
    }
}

struct Reader<'a> {
    encoded: &'a [u8],
    tags: &'a Tags,
    predictor: u64,
    jpeg_tables: &'a [u8],
    limits: &'a Limits,
}

impl Reader<'_> {
    fn read(&self, chunks: &Chunks, layout: &Layout, pixels: &mut [u8]) -> Result<(), ImageError> {
        let bits: u64 = self.tags.bits.iter().sum();
        let planes = if self.tags.planar {
            self.tags.bits.len()
        } else {
            1
        };
        let [width, height] = chunks.size;
        let row = (width as u64 * bits).div_ceil(8);
        let bytes = chunks.bytes(self.tags);
        if chunks.tiled && !(width as u64 * bits).is_multiple_of(8 * planes as u64) {
            let reason = format!("has tiles with rows of {} bits", width as u64 * bits);
            return Err(ImageError::unsupported(FORMAT, reason));
        }
        let row = row as usize;
        let mut samples = vec![0; bytes as usize];
        let mut plane = vec![
            0;
            if planes > 1 {
                samples.len() / planes
            } else {
                0
            }
        ];
        let pixels = pixels.as_chunks_mut::<3>().0;
        for y in 0..chunks.grid[1] {
            let top = y * height;
            let visible_rows = height.min(chunks.image[1] - top);
            // Tiles are stored whole, unless Pillow reads them without libtiff.
            let whole = chunks.tiled && self.tags.compression != Compression::None;
            let rows = if whole { height } else { visible_rows };
            let last = top + visible_rows == chunks.image[1];
            for x in 0..chunks.grid[0] {
                let at =
                    |plane: usize| chunks.places[(plane * chunks.grid[1] + y) * chunks.grid[0] + x];
                let samples = &mut samples[..row * rows];
                if planes == 1 {
                    self.chunk(at(0), [width, rows], last, self.tags.bits.len(), samples)?;
                } else {
                    let step = self.tags.bits[0] as usize / 8;
                    let plane = &mut plane[..row / planes * rows];
                    for channel in 0..planes {
                        self.chunk(at(channel), [width, rows], last, 1, plane)?;
                        let out = samples[channel * step..].chunks_mut(step * planes);
                        for (out, value) in out.zip(plane.chunks_exact(step)) {
                            out[..step].copy_from_slice(value);
                        }
                    }
                }
                let left = x * width;
                let columns = width.min(chunks.image[0] - left);
                let lines = pixels.chunks_exact_mut(chunks.image[0]).skip(top);
                for (line, samples) in lines.zip(samples.chunks_exact(row)).take(visible_rows) {
                    layout.colors(samples, &mut line[left..left + columns]);
                }
            }
        }
        Ok(())
    }

    /// Decodes one strip or tile of `size` pixels and so many samples.
    fn chunk(
        &self,
        (offset, len): (usize, usize),
        size: [usize; 2],
        last: bool,
        samples: usize,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let data = fit(self.encoded, offset, len, FORMAT)?;
        if self.tags.compression == Compression::Jpeg {
            return self.jpeg(data, size, last, samples, out);
        }
        let mut data = Cow::Borrowed(data);
        if self.tags.fill_order == 2 {
            let used = if self.tags.compression == Compression::None {
                data.len().min(out.len())
            } else {
                data.len()
            };
            self.limits.check_bytes("decoding the image", used as u64)?;
            let reversed: Vec<u8> = data[..used]
                .iter()
                .map(|byte| byte.reverse_bits())
                .collect();
            data = Cow::Owned(reversed);
        }
        self.tags.compression.decompress(&data, size[0], out)?;
        let bits = self.tags.bits[0] as u32;
        let big_endian = self.tags.order == Order::Big;
        let row = out.len() / size[1];
        undo_predictor(self.predictor, bits, samples, big_endian, row, out)
    }

    fn jpeg(
        &self,
        data: &[u8],
        [width, height]: [usize; 2],
        last: bool,
        samples: usize,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let colors = if self.tags.photometric == 6 && samples == 3 {
            Stored::YCbCr
        } else {
            Stored::AsIs
        };
        // The last strip may have been stored with the height of the others.
        let fits = |found: [usize; 3]| {
            let as_high = found[1] == height || last && found[1] > height;
            found[0] == width && as_high && found[2] == samples
        };
        let tables = self.jpeg_tables;
        let decoded = jpeg::decode_abbreviated(tables, data, colors, fits, self.limits)?;
        out.copy_from_slice(&decoded[..out.len()]);
        Ok(())
    }
}
