//! The segments before the data of a JPEG.

/// The order in which coefficients are stored: their indices, row by row.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What is needed to decode the only scan of a baseline JPEG.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One (grey) or three components.
    pub(super) components: Vec<Component<'a>>,
    /// Number of units between restart markers; 0 without markers.
    pub(super) restart_interval: usize,
    /// The data of the scan, and what follows.
    pub(super) scan: &'a [u8],
}

/// A component and its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component<'a> {
    /// Blocks per unit, horizontally and vertically.
    pub(super) blocks: [usize; 2],
    /// Steps of the coefficients, in the order in which they are stored.
    pub(super) quantization: &'a [u8; 64],
    /// The codes of its DC coefficients and those of its AC coefficients.
    pub(super) codes: [Slot<'a>; 2],
}

/// One of the two codes of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    pub(super) index: usize,
    pub(super) codes: Codes<'a>,
}

/// The definition of a Huffman code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Codes<'a> {
    /// Numbers of codes of 1 to 16 bits.
    pub(super) counts: &'a [u8; 16],
    /// Their symbols.
    pub(super) symbols: &'a [u8],
}

struct Frame<'a> {
    height: usize,
    width: usize,
    /// Identifier, sampling factors and quantization table of each component.
    components: &'a [[u8; 3]],
}

/// The tables that were defined so far.
#[derive(Default)]
struct Tables<'a> {
    quantization: [Option<&'a [u8; 64]>; 4],
    /// Those of DC coefficients and those of AC coefficients.
    codes: [[Option<Codes<'a>>; 2]; 2],
}

impl<'a> Header<'a> {
    /// Reads the segments up to the data of the first scan; `None` if there is anything unusual.
    pub(super) fn read(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded.strip_prefix(&[0xff, 0xd8])?;
        let mut tables = Tables::default();
        let mut frame = None;
        let mut restart_interval = 0;
        loop {
            let &[0xff, marker, high, low, ..] = rest else {
                return None;
            };
            let len = usize::from(u16::from_be_bytes([high, low]));
            let segment = rest[2..].get(2..len)?;
            rest = &rest[2 + len..];
            match marker {
                0xc0 | 0xc1 if frame.is_none() => frame = Some(Frame::read(segment)?),
                0xc4 => tables.read_codes(segment)?,
                0xdb => tables.read_quantization(segment)?,
                0xdd => {
                    let interval: [u8; 2] = segment.try_into().ok()?;
                    restart_interval = usize::from(u16::from_be_bytes(interval));
                }
                0xda => {
                    let frame = frame?;
                    return Some(Self {
                        width: frame.width,
                        height: frame.height,
                        components: tables.components(&frame, segment)?,
                        restart_interval,
                        scan: rest,
                    });
                }
                // Applications and comments.
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }
}

impl<'a> Frame<'a> {
    fn read(segment: &'a [u8]) -> Option<Self> {
        let &[
            8,
            height_high,
            height_low,
            width_high,
            width_low,
            count,
            ref components @ ..,
        ] = segment
        else {
            return None;
        };
        let (components, []) = components.as_chunks() else {
            return None;
        };
        let frame = Self {
            height: usize::from(u16::from_be_bytes([height_high, height_low])),
            width: usize::from(u16::from_be_bytes([width_high, width_low])),
            components,
        };
        (components.len() == usize::from(count)).then_some(frame)
    }
}

impl<'a> Tables<'a> {
    fn read_quantization(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&to, rest)) = segment.split_first() {
            // Tables of 16-bit values have a number over 15.
            let (table, rest) = rest.split_first_chunk()?;
            *self.quantization.get_mut(usize::from(to))? = Some(table);
            segment = rest;
        }
        Some(())
    }

    fn read_codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&to, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let kind = self.codes.get_mut(usize::from(to >> 4))?;
            *kind.get_mut(usize::from(to & 15))? = Some(Codes { counts, symbols });
            segment = rest;
        }
        Some(())
    }

    /// The components of a scan that has all those of the frame, in their order.
    fn components(&self, frame: &Frame<'_>, scan: &[u8]) -> Option<Vec<Component<'a>>> {
        // The first and last coefficient, and no successive approximation.
        let &[count, ref selectors @ .., 0, 63, 0] = scan else {
            return None;
        };
        let (selectors, []) = selectors.as_chunks() else {
            return None;
        };
        let all = frame.components;
        if usize::from(count) != all.len() || selectors.len() != all.len() {
            return None;
        }
        let mut components = Vec::with_capacity(all.len());
        for (&[id, sampling, quantization], &[selected, codes]) in all.iter().zip(selectors) {
            if id != selected || all.iter().filter(|other| other[0] == id).count() > 1 {
                return None;
            }
            let slot = |kind: usize, index: u8| {
                let index = usize::from(index);
                let codes = (*self.codes[kind].get(index)?)?;
                Some(Slot { index, codes })
            };
            components.push(Component {
                blocks: [sampling >> 4, sampling & 15].map(usize::from),
                quantization: (*self.quantization.get(usize::from(quantization))?)?,
                codes: [slot(0, codes >> 4)?, slot(1, codes & 15)?],
            });
        }
        // Units of a single component are single blocks.
        if let [grey] = components.as_mut_slice() {
            grey.blocks = [1; 2];
        }
        Some(components)
    }
}
