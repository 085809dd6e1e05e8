/// An image of a data set, without its pixels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Its unique name: the path within the folder or archive.
    pub name: String,
    /// Its class, if it is known: an index into the [`Classes`](topk_labels::Classes).
    pub label: Option<u32>,
    /// Index of the image in the [`Store`](crate::store::Store), which differs from that in the data set
    /// where images are sorted or left out.
    pub(crate) slot: usize,
}

/// An image as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Image {
    /// The bytes of a JPEG, PNG or other file.
    Encoded(Vec<u8>),
    /// Pixels.
    Pixels {
        /// Channels, height and width.
        shape: [usize; 3],
        /// The pixels, CHW, red first.
        pixels: Vec<u8>,
    },
}
