//! A fast decoder of the usual JPEGs: baseline, 8 bits, and one scan, with the pixels of libjpeg.
//!
//! Whatever is unusual in a file, or wrong in its data, makes it give up, and the library decodes the file from the
//! start. It therefore needs no recovery from damage, and damaged files have the library's pixels.

mod bits;
mod block;
mod color;
mod geometry;
mod header;
mod huffman;
mod idct;
mod planes;
mod scan;
mod upsample;

use crate::RgbImage;
use crate::resize::Region;
use geometry::{Part, Units};
use header::{Component, Header};
use huffman::{AcTable, DcTable};
use idct::Quantization;
use planes::Planes;
use scan::{Channel, Scan, read_units};

/// Decodes one image at a time, with reused buffers.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    dc_tables: [DcTable; 2],
    ac_tables: [AcTable; 2],
    planes: Planes,
}

/// What the components are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Colors {
    YCbCr,
    Rgb,
}

impl Baseline {
    /// Decodes a part of an image of this size; the other pixels are unspecified. Returns `None` if the library must
    /// decode the image instead; all pixels are unspecified then.
    ///
    /// Data behind the part is not read. The library would decode one block after the other and repair all damage, so
    /// that damage there cannot change the pixels before it, or be an error.
    pub(super) fn decode(
        &mut self,
        encoded: &[u8],
        size: [u32; 2],
        colors: Colors,
        part: &Region,
        image: &mut RgbImage,
    ) -> Option<()> {
        let header = Header::read(encoded)?;
        let units = Units::of(&header)?;
        // Unequal sampling of red, green and blue is unusual.
        if units.size != size.map(|side| side as usize)
            || colors == Colors::Rgb && units.blocks != [1; 2]
        {
            return None;
        }
        for Component { codes, .. } in &header.components {
            let [dc, ac] = *codes;
            self.dc_tables[dc.index].compile(dc.codes)?;
            self.ac_tables[ac.index].compile(ac.codes)?;
        }
        let channel = |component: &Component<'_>| {
            let [dc, ac] = component.codes.map(|slot| slot.index);
            Channel {
                blocks: component.blocks,
                tables: (&self.dc_tables[dc], &self.ac_tables[ac]),
                quantization: Quantization::new(component.quantization),
            }
        };
        let channels: Vec<_> = header.components.iter().map(channel).collect();
        self.planes.resize(&units, &channels);
        let pixels = image.resize(size[0], size[1]);
        let pixels = pixels.as_chunks_mut().0;

        let part = Part::of(&units, part);
        let mut scan = Scan::new(&header);
        for row in 0..part.units[1].end {
            let is_needed = part.units[1].contains(&row);
            let columns = if is_needed {
                part.units[0].clone()
            } else {
                0..0
            };
            let planes = &mut self.planes;
            let count = units.count[0];
            read_units(&mut scan, &channels, planes.samples(), count, columns)?;
            if is_needed {
                planes.write(&units, &part, row, colors, pixels);
            }
        }
        scan.check()
    }

    /// Frees what a large image left.
    pub(super) fn release(&mut self) {
        self.planes.release();
    }
}
