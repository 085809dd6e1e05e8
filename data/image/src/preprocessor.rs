use crate::crop::{Window, windows};
use crate::decode::{Buffers, Request, RgbImage, decode_into};
use crate::limits::release;
use crate::resize::{Region, Resampler, Source};
use crate::{ImageError, Limits, NormalizationTable};
use topk_preprocessing::{Crop, ImageMode, Preprocessing, PreprocessingError};

/// Decodes and preprocesses images one at a time; each thread has its own preprocessor.
///
/// Buffers of up to 32 MiB are reused from image to image; larger ones, and what decoders allocate, are freed
/// after each image.
#[derive(Debug)]
pub struct Preprocessor {
    preprocessing: Preprocessing,
    limits: Limits,
    buffers: Buffers,
    image: RgbImage,
    resampler: Resampler,
    /// The part of the resized image that is visible in crops.
    resized: Vec<u8>,
    crops: Vec<u8>,
}

/// The pixels of the crops of an image, all of one size.
#[derive(Clone, Copy, Debug)]
pub struct CropPixels<'a> {
    size: [u32; 2],
    pixels: &'a [u8],
}

impl<'a> CropPixels<'a> {
    /// Width of each crop.
    pub fn width(&self) -> u32 {
        self.size[0]
    }

    /// Height of each crop.
    pub fn height(&self) -> u32 {
        self.size[1]
    }

    /// All crops: `crops × height × width × 3` values, red first.
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    /// The crops, of `height × width × 3` values each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.pixels
            .chunks_exact(3 * self.size[0] as usize * self.size[1] as usize)
    }

    /// Writes the normalized values of all crops: `crops × channels × height × width`, with the channels of the table.
    ///
    /// # Panics
    ///
    /// If `out` has another length.
    pub fn normalize(&self, table: &NormalizationTable, out: &mut [f32]) {
        assert_eq!(3 * out.len(), table.channels() * self.pixels.len());
        let len = table.channels() * self.size[0] as usize * self.size[1] as usize;
        for (crop, out) in self.iter().zip(out.chunks_exact_mut(len)) {
            table.normalize_interleaved(crop, out);
        }
    }
}

impl Preprocessor {
    /// Creates a preprocessor for images within these limits.
    ///
    /// # Errors
    ///
    /// If a size is not from 1 to 65,536.
    pub fn new(preprocessing: Preprocessing, limits: Limits) -> Result<Self, PreprocessingError> {
        Ok(Self {
            preprocessing: preprocessing.check()?,
            limits,
            buffers: Buffers::default(),
            image: RgbImage::default(),
            resampler: Resampler::default(),
            resized: Vec::new(),
            crops: Vec::new(),
        })
    }

    /// The preprocessing settings.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Decodes, resizes and crops an image.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded, takes more memory than allowed, or is too small for five or ten
    /// crops.
    pub fn crops(&mut self, encoded: &[u8]) -> Result<CropPixels<'_>, ImageError> {
        let Preprocessing { resize, fast, .. } = self.preprocessing;
        let at_least = resize.at_least().filter(|_| fast);
        let mut image = std::mem::take(&mut self.image);
        let request = Request {
            at_least,
            part: &|size| needed(&self.preprocessing, size),
        };
        let decoded = decode_into(
            encoded,
            &self.limits,
            request,
            &mut self.buffers,
            &mut image,
        );
        let size = match &decoded {
            Ok(_reserved) => {
                image.convert(self.preprocessing.mode);
                self.take(&image)
            }
            Err(error) => Err(error.clone()),
        };
        // The next image reuses its memory.
        release(&mut image.pixels);
        self.image = image;
        drop(decoded);
        Ok(CropPixels {
            size: size?,
            pixels: &self.crops,
        })
    }

    /// Resizes and crops a decoded image, such as for several preprocessors.
    ///
    /// # Errors
    ///
    /// See [`crops`](Self::crops).
    ///
    /// # Panics
    ///
    /// If the number of pixels is not width × height.
    pub fn crops_of(&mut self, image: &RgbImage) -> Result<CropPixels<'_>, ImageError> {
        assert_eq!(
            image.pixels.len(),
            3 * image.width as usize * image.height as usize
        );
        let size = match self.preprocessing.mode {
            ImageMode::Rgb => self.take(image),
            mode @ ImageMode::L => {
                let bytes = image.pixels.len() as u64;
                self.limits.check_bytes("converting the image", bytes)?;
                let mut own = std::mem::take(&mut self.image);
                own.clone_from(image);
                own.convert(mode);
                let size = self.take(&own);
                release(&mut own.pixels);
                self.image = own;
                size
            }
        };
        Ok(CropPixels {
            size: size?,
            pixels: &self.crops,
        })
    }

    /// Fills the crops and returns their size.
    fn take(&mut self, image: &RgbImage) -> Result<[u32; 2], ImageError> {
        release(&mut self.crops);
        let size = self.fill(image);
        release(&mut self.resized);
        self.resampler.release();
        size
    }

    fn fill(&mut self, image: &RgbImage) -> Result<[u32; 2], ImageError> {
        let Layout {
            inside,
            to,
            size,
            windows,
            region,
        } = Layout::of(&self.preprocessing, [image.width, image.height])?;
        let source = Source::of(image).part(&inside);
        let fill = match self.preprocessing.crop {
            Crop::Center { fill, .. } => fill,
            _ => [0; 3],
        };

        let bytes = |size: [usize; 2]| 3 * size[0] as u64 * size[1] as u64;
        let resized = bytes([region.columns.len(), region.rows.len()]);
        let crops = bytes(size.map(|side| side as usize)).saturating_mul(windows.len() as u64);
        self.limits.check_bytes("resizing the image", resized)?;
        self.limits.check_bytes("cropping the image", crops)?;
        self.crops.resize(crops as usize, 0);

        let kind = (self.preprocessing.interpolation, self.preprocessing.pillow);
        if windows.len() == 1 && resized == crops {
            // The region is the crop.
            self.resampler
                .resize(source, to, &region, kind, &self.limits, &mut self.crops)?;
            return Ok(size);
        }
        self.resized.resize(resized as usize, 0);
        self.resampler
            .resize(source, to, &region, kind, &self.limits, &mut self.resized)?;
        let crop_len = crops as usize / windows.len();
        for (window, out) in windows.iter().zip(self.crops.chunks_exact_mut(crop_len)) {
            let out = out.as_chunks_mut::<3>().0;
            let (part, [left, top]) = window.visible(size, to);
            if part.columns.len() < size[0] as usize || part.rows.len() < size[1] as usize {
                out.fill(fill);
            }
            let pixels = self.resized.as_chunks::<3>().0;
            let first = (part.columns.start - region.columns.start) as usize;
            let skipped = (part.rows.start - region.rows.start) as usize;
            let rows = pixels.chunks_exact(region.columns.len()).skip(skipped);
            let out = out.chunks_exact_mut(size[0] as usize).skip(top);
            for (out, pixels) in out.zip(rows).take(part.rows.len()) {
                let columns = part.columns.len();
                let out = &mut out[left..left + columns];
                out.copy_from_slice(&pixels[first..first + columns]);
                if window.mirrored {
                    out.reverse();
                }
            }
        }
        Ok(size)
    }
}

/// Where the crops of an image are.
struct Layout {
    /// The image without its outermost pixels.
    inside: Region,
    /// The size to which it is resized.
    to: [u32; 2],
    /// The size of the crops.
    size: [u32; 2],
    windows: Vec<Window>,
    /// The part of the resized image that is visible in crops.
    region: Region,
}

impl Layout {
    fn of(preprocessing: &Preprocessing, image: [u32; 2]) -> Result<Self, ImageError> {
        let &Preprocessing {
            resize, crop, trim, ..
        } = preprocessing;
        let [columns, rows] = image.map(|side| trim..side.saturating_sub(trim));
        if trim > 0 && (columns.is_empty() || rows.is_empty()) {
            let [width, height] = image;
            return Err(ImageError::Trim {
                width,
                height,
                trim,
            });
        }
        let to = resize.apply([columns.len() as u32, rows.len() as u32])?;
        let size = crop.size().unwrap_or(to);
        let windows = windows(crop, to)?;
        let visible = windows.iter().map(|window| window.visible(size, to).0);
        let region = visible.reduce(union).expect("there is a crop");
        Ok(Self {
            inside: Region { columns, rows },
            to,
            size,
            windows,
            region,
        })
    }
}

/// The part of an image of this size that its crops are computed from; all of it if that is an error, which taking them
/// reports.
fn needed(preprocessing: &Preprocessing, image: [u32; 2]) -> Region {
    let Ok(layout) = Layout::of(preprocessing, image) else {
        return Region::whole(image);
    };
    let Region { columns, rows } = layout.inside;
    let from = [columns.len() as u32, rows.len() as u32];
    let part = layout
        .region
        .source(from, layout.to, preprocessing.interpolation);
    Region {
        columns: part.columns.start + columns.start..part.columns.end + columns.start,
        rows: part.rows.start + rows.start..part.rows.end + rows.start,
    }
}

/// The smallest region that contains both.
fn union(a: Region, b: Region) -> Region {
    let union =
        |a: std::ops::Range<u32>, b: std::ops::Range<u32>| a.start.min(b.start)..a.end.max(b.end);
    Region {
        columns: union(a.columns, b.columns),
        rows: union(a.rows, b.rows),
    }
}
