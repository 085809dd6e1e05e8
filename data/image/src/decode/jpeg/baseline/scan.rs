//! The blocks of a scan.

use std::ops::Range;

use multiversion::multiversion;

use super::bits::Bits;
use super::block;
use super::header::Header;
use super::huffman::{AcTable, DcTable};
use super::idct::{self, Quantization};
use super::planes::Plane;

/// The first restart marker; the others count to 7.
const RESTART: u8 = 0xd0;

/// How the blocks of a component are coded.
pub(super) struct Channel<'a> {
    /// Blocks per unit, horizontally and vertically.
    pub(super) blocks: [usize; 2],
    pub(super) tables: (&'a DcTable, &'a AcTable),
    pub(super) quantization: Quantization,
}

/// The data of a scan, and what has to be remembered of the units that were read.
pub(super) struct Scan<'a> {
    data: Bits<'a>,
    /// The last DC coefficient of each component.
    dc: [i32; 3],
    /// Number of units between restart markers; 0 without markers.
    interval: usize,
    /// Number of units before the next marker.
    left: usize,
    /// The next marker.
    marker: u8,
}

impl<'a> Scan<'a> {
    pub(super) fn new(header: &Header<'a>) -> Self {
        Self {
            data: Bits::new(header.scan),
            dc: [0; 3],
            interval: header.restart_interval,
            left: header.restart_interval,
            marker: RESTART,
        }
    }

    /// Checks that nothing was read behind the data.
    pub(super) fn check(&self) -> Option<()> {
        self.data.check()
    }

    /// Continues behind a restart marker if there is one before the next unit.
    fn next_unit(&mut self) -> Option<()> {
        if self.interval == 0 {
            return Some(());
        }
        if self.left == 0 {
            self.data.restart(self.marker)?;
            self.dc = [0; 3];
            self.left = self.interval;
            self.marker = RESTART + (self.marker + 1) % 8;
        }
        self.left -= 1;
        Some(())
    }
}

/// Reads a row of `count` units, and replaces the samples of those that are `needed`. `None` if the data is damaged.
#[multiversion(targets("x86_64+bmi1+bmi2+lzcnt"))]
pub(super) fn read_units(
    scan: &mut Scan<'_>,
    channels: &[Channel<'_>],
    planes: &mut [Plane],
    count: usize,
    needed: Range<usize>,
) -> Option<()> {
    let mut coefficients = [0; 256];
    for unit in 0..count {
        scan.next_unit()?;
        let is_needed = needed.contains(&unit);
        for ((channel, plane), dc) in channels.iter().zip(&mut *planes).zip(&mut scan.dc) {
            let [across, down] = channel.blocks;
            for row in 0..down {
                for column in unit * across..(unit + 1) * across {
                    coefficients[..64].fill(0);
                    let last = block::read(&mut scan.data, channel.tables, dc, &mut coefficients)?;
                    if is_needed {
                        let (out, stride) = plane.block(column, row);
                        let quantization = &channel.quantization;
                        idct::transform(last, &coefficients, quantization, out, stride)?;
                    }
                }
            }
        }
    }
    Some(())
}
