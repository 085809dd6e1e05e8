use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{PrimitiveTensorElementType, Tensor};
use std::fmt::{self, Debug};
use topk_image::{CropPixels, NormalizationTable};
use topk_preprocessing::{ChannelOrder, ImageMode};

/// Type and layout of the input of a model.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct InputKind {
    /// Type of its elements.
    pub element: Element,
    /// Order of its dimensions.
    pub layout: Layout,
    /// What its channels are.
    pub mode: ImageMode,
}

impl InputKind {
    /// Shape of a batch.
    pub(crate) fn shape(self, count: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        let channels = self.mode.channels();
        match self.layout {
            Layout::Nchw => [count, channels, height, width],
            Layout::Nhwc => [count, height, width, channels],
        }
    }

    /// Number of values of an image.
    pub(crate) fn values(self, [height, width]: [usize; 2]) -> usize {
        self.mode.channels() * height * width
    }
}

/// Type of the elements of an input. Floating-point inputs are normalised, integers are raw pixels.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Element {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 16-bit floating point with the exponent range of `F32`.
    Bf16,
    /// 64-bit floating point.
    F64,
    /// Pixels from 0 to 255.
    U8,
}

/// Order of the dimensions of an input.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Layout {
    /// `[batch, channels, height, width]`.
    Nchw,
    /// `[batch, height, width, channels]`.
    Nhwc,
}

/// A batch of images in the type and layout of a model, in memory of ONNX Runtime.
#[derive(Debug)]
pub struct InputTensor {
    /// Number of images that there is memory for.
    rows: usize,
    /// Number of images; the others are to be ignored.
    count: usize,
    size: [usize; 2],
    kind: InputKind,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Tensor<f32>),
    F16(Tensor<f16>),
    Bf16(Tensor<bf16>),
    F64(Tensor<f64>),
    U8(Tensor<u8>),
}

/// A batch of images in the type and layout of a model, for a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputView<'a> {
    rows: usize,
    count: usize,
    size: [usize; 2],
    kind: InputKind,
    values: ValuesView<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum ValuesView<'a> {
    F32(&'a Tensor<f32>),
    F16(&'a Tensor<f16>),
    Bf16(&'a Tensor<bf16>),
    F64(&'a Tensor<f64>),
    U8(&'a Tensor<u8>),
}

/// The values of some images of a tensor.
#[derive(Debug)]
pub(crate) struct ValuesMut<'a> {
    kind: InputKind,
    values: SliceMut<'a>,
}

#[derive(Debug)]
pub enum SliceMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
    F64(&'a mut [f64]),
    U8(&'a mut [u8]),
}

impl InputTensor {
    /// Images `[count, 3, height, width]`, normalised.
    ///
    /// # Panics
    /// If the length of `images` is not a multiple of the image size, or an image has no pixels.
    pub fn f32(images: Vec<f32>, size: [usize; 2]) -> Self {
        let kind = InputKind {
            element: Element::F32,
            layout: Layout::Nchw,
            mode: ImageMode::Rgb,
        };
        let len = kind.values(size);
        assert!(len > 0 && images.len().is_multiple_of(len));
        let count = images.len() / len;
        let tensor = Tensor::from_array((kind.shape(count, size), images));
        Self {
            rows: count,
            count,
            size,
            kind,
            values: Values::F32(tensor.expect("the shape fits the values")),
        }
    }

    /// A batch of zeros in memory of this allocator.
    pub(crate) fn zeros(
        allocator: &Allocator,
        kind: InputKind,
        count: usize,
        size: [usize; 2],
    ) -> ort::Result<Self> {
        fn zeros<T: PrimitiveTensorElementType + Debug + Copy>(
            allocator: &Allocator,
            shape: [usize; 4],
            zero: T,
        ) -> ort::Result<Tensor<T>> {
            let mut tensor = Tensor::new(allocator, shape)?;
            tensor.extract_tensor_mut().1.fill(zero);
            Ok(tensor)
        }
        let shape = kind.shape(count, size);
        let values = match kind.element {
            Element::F32 => Values::F32(zeros(allocator, shape, 0.0)?),
            Element::F16 => Values::F16(zeros(allocator, shape, f16::ZERO)?),
            Element::Bf16 => Values::Bf16(zeros(allocator, shape, bf16::ZERO)?),
            Element::F64 => Values::F64(zeros(allocator, shape, 0.0)?),
            Element::U8 => Values::U8(zeros(allocator, shape, 0)?),
        };
        Ok(Self {
            rows: count,
            count,
            size,
            kind,
            values,
        })
    }

    /// Images of noise to run a model on; an image does not depend on their number.
    pub(crate) fn noise(
        allocator: &Allocator,
        kind: InputKind,
        count: usize,
        size: [usize; 2],
    ) -> ort::Result<Self> {
        let mut images = Self::zeros(allocator, kind, count, size)?;
        for (image, part) in images.groups_mut(1).into_iter().enumerate() {
            let mut state = image as u32 + 1;
            part.fill_with(|| {
                // The constants of "Numerical Recipes".
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
        }
        Ok(images)
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of images in memory, with those to be ignored.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Sets the number of images: those after it are to be ignored.
    ///
    /// # Panics
    /// If `count` exceeds [`rows`](Self::rows).
    pub(crate) fn set_count(&mut self, count: usize) {
        assert!(count <= self.rows);
        self.count = count;
    }

    /// Height and width of the images.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Type and layout.
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// The images, for a run.
    pub(crate) fn view(&self) -> InputView<'_> {
        let values = match &self.values {
            Values::F32(tensor) => ValuesView::F32(tensor),
            Values::F16(tensor) => ValuesView::F16(tensor),
            Values::Bf16(tensor) => ValuesView::Bf16(tensor),
            Values::F64(tensor) => ValuesView::F64(tensor),
            Values::U8(tensor) => ValuesView::U8(tensor),
        };
        InputView {
            rows: self.rows,
            ..InputView::new(values, self.kind, self.count, self.size)
        }
    }

    /// Copies `count` images from index `start`, of the same kind and size, and fills the rest with zeros.
    pub(crate) fn copy(&mut self, images: InputView<'_>, start: usize, count: usize) {
        let image = self.kind.values(self.size);
        let range = start * image..(start + count) * image;
        match (images.values, &mut self.values) {
            (ValuesView::F32(from), Values::F32(to)) => copy(from, range, to),
            (ValuesView::F16(from), Values::F16(to)) => copy(from, range, to),
            (ValuesView::Bf16(from), Values::Bf16(to)) => copy(from, range, to),
            (ValuesView::F64(from), Values::F64(to)) => copy(from, range, to),
            (ValuesView::U8(from), Values::U8(to)) => copy(from, range, to),
            _ => unreachable!("both have the same kind"),
        }
        self.count = count;
    }

    /// The values in groups of `images` images.
    pub(crate) fn groups_mut(&mut self, images: usize) -> Vec<ValuesMut<'_>> {
        let len = images * self.kind.values(self.size);
        let slices: Vec<SliceMut> = match &mut self.values {
            Values::F32(tensor) => parts(tensor, len).map(SliceMut::F32).collect(),
            Values::F16(tensor) => parts(tensor, len).map(SliceMut::F16).collect(),
            Values::Bf16(tensor) => parts(tensor, len).map(SliceMut::Bf16).collect(),
            Values::F64(tensor) => parts(tensor, len).map(SliceMut::F64).collect(),
            Values::U8(tensor) => parts(tensor, len).map(SliceMut::U8).collect(),
        };
        let kind = self.kind;
        let slices = slices.into_iter();
        slices.map(|values| ValuesMut { kind, values }).collect()
    }
}

impl<'a> InputView<'a> {
    /// `count` images of this height and width.
    pub(crate) fn new(
        values: ValuesView<'a>,
        kind: InputKind,
        count: usize,
        size: [usize; 2],
    ) -> Self {
        Self {
            rows: count,
            count,
            size,
            kind,
            values,
        }
    }

    /// Number of images.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Number of images in memory, with those to be ignored.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Height and width of the images.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Type and layout.
    pub(crate) fn kind(&self) -> InputKind {
        self.kind
    }

    /// The tensor, for a run.
    pub(crate) fn value(&self) -> SessionInputValue<'a> {
        match self.values {
            ValuesView::F32(tensor) => tensor.into(),
            ValuesView::F16(tensor) => tensor.into(),
            ValuesView::Bf16(tensor) => tensor.into(),
            ValuesView::F64(tensor) => tensor.into(),
            ValuesView::U8(tensor) => tensor.into(),
        }
    }
}

impl<'a> ValuesMut<'a> {
    /// The values of images of this kind, in memory of its elements.
    #[cfg(feature = "ndarray")]
    pub(crate) fn new(kind: InputKind, values: SliceMut<'a>) -> Self {
        Self { kind, values }
    }

    /// Writes crops in the type and layout of the model's input. Integers are raw pixels.
    pub(crate) fn fill(
        self,
        crops: &CropPixels<'_>,
        table: &NormalizationTable,
        order: ChannelOrder,
    ) {
        let InputKind { layout, mode, .. } = self.kind;
        let image = Image {
            layout,
            // The channel of the image for each channel of the input.
            channels: match mode {
                ImageMode::Rgb => &order.channels()[..],
                ImageMode::L => &[0],
            },
            area: crops.height() as usize * crops.width() as usize,
        };
        let pixels = crops.pixels();
        match (self.values, layout, order) {
            (SliceMut::F32(values), Layout::Nchw, ChannelOrder::Rgb) => {
                crops.normalize(table, values);
            }
            (SliceMut::U8(values), Layout::Nhwc, ChannelOrder::Rgb) if mode.is_rgb() => {
                values.copy_from_slice(pixels);
            }
            (SliceMut::U8(values), ..) => image.write(pixels, values, &[raw(); 3]),
            (SliceMut::F32(values), ..) => {
                image.write(pixels, values, &values_of(table, |value| value));
            }
            (SliceMut::F16(values), ..) => {
                image.write(pixels, values, &values_of(table, f16::from_f32));
            }
            (SliceMut::Bf16(values), ..) => {
                image.write(pixels, values, &values_of(table, bf16::from_f32));
            }
            (SliceMut::F64(values), ..) => {
                image.write(pixels, values, &values_of(table, f64::from));
            }
        }
    }

    /// Fills it with zeros.
    pub(crate) fn clear(self) {
        match self.values {
            SliceMut::F32(values) => values.fill(0.0),
            SliceMut::F16(values) => values.fill(f16::ZERO),
            SliceMut::Bf16(values) => values.fill(bf16::ZERO),
            SliceMut::F64(values) => values.fill(0.0),
            SliceMut::U8(values) => values.fill(0),
        }
    }

    /// Fills it with pixels, in floating point scaled to −2..2.
    fn fill_with(self, mut pixel: impl FnMut() -> u8) {
        let mut next = || f32::from(pixel()) / 64.0 - 2.0;
        match self.values {
            SliceMut::F32(values) => values.fill_with(next),
            SliceMut::F16(values) => values.fill_with(|| f16::from_f32(next())),
            SliceMut::Bf16(values) => values.fill_with(|| bf16::from_f32(next())),
            SliceMut::F64(values) => values.fill_with(|| next().into()),
            SliceMut::U8(values) => values.fill_with(pixel),
        }
    }
}

/// The values of the pixels of one channel.
type ChannelValues<T> = [T; 256];

/// The pixels themselves.
fn raw() -> ChannelValues<u8> {
    std::array::from_fn(|pixel| pixel as u8)
}

/// Normalised values, converted to the type of an input.
fn values_of<T>(table: &NormalizationTable, convert: impl Fn(f32) -> T) -> Vec<ChannelValues<T>> {
    let channels = 0..table.channels();
    channels
        .map(|channel| table.channel(channel).map(&convert))
        .collect()
}

/// Number of values of a pixel of an image: red, green and blue, which are the same in grey images.
const RGB: usize = 3;

/// How the images of an input are laid out.
#[derive(Clone, Copy)]
struct Image<'a> {
    layout: Layout,
    /// The channel of the image for each channel of the input.
    channels: &'a [usize],
    /// Number of pixels of an image.
    area: usize,
}

impl Image<'_> {
    /// Writes the values of interleaved pixels; `of_pixels` are those of each channel of the image.
    fn write<T: Copy>(self, pixels: &[u8], values: &mut [T], of_pixels: &[ChannelValues<T>]) {
        let channels = self.channels;
        assert_eq!(RGB * values.len(), channels.len() * pixels.len());
        for (pixels, values) in pixels
            .chunks_exact(RGB * self.area)
            .zip(values.chunks_exact_mut(channels.len() * self.area))
        {
            match self.layout {
                Layout::Nchw => {
                    let planes = values.chunks_exact_mut(self.area);
                    for (plane, &channel) in planes.zip(channels) {
                        let pixels = pixels.iter().skip(channel).step_by(RGB);
                        for (value, &pixel) in plane.iter_mut().zip(pixels) {
                            *value = of_pixels[channel][usize::from(pixel)];
                        }
                    }
                }
                Layout::Nhwc => {
                    let values = values.chunks_exact_mut(channels.len());
                    for (values, pixels) in values.zip(pixels.chunks_exact(RGB)) {
                        for (value, &channel) in values.iter_mut().zip(channels) {
                            *value = of_pixels[channel][usize::from(pixels[channel])];
                        }
                    }
                }
            }
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F64 => "float64",
            Self::U8 => "uint8",
        })
    }
}

/// The type, and the layout if it is not the usual one of that type.
impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.element, f)?;
        if self.mode == ImageMode::L {
            f.write_str(" grey")?;
        }
        match (self.element, self.layout) {
            (Element::U8, Layout::Nchw) => f.write_str(" NCHW"),
            (Element::U8, Layout::Nhwc) | (_, Layout::Nchw) => Ok(()),
            (_, Layout::Nhwc) => f.write_str(" NHWC"),
        }
    }
}

fn parts<T: PrimitiveTensorElementType + Debug>(
    tensor: &mut Tensor<T>,
    len: usize,
) -> std::slice::ChunksExactMut<'_, T> {
    tensor.extract_tensor_mut().1.chunks_exact_mut(len)
}

/// Copies values to the start of a tensor, and fills the rest with zeros.
fn copy<T: PrimitiveTensorElementType + Debug + Copy + Default>(
    from: &Tensor<T>,
    range: std::ops::Range<usize>,
    to: &mut Tensor<T>,
) {
    let values = &from.extract_tensor().1[range];
    let (copied, rest) = to.extract_tensor_mut().1.split_at_mut(values.len());
    copied.copy_from_slice(values);
    rest.fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use topk_preprocessing::Normalization;

    /// Two images of one row of two pixels.
    #[test]
    fn pixels_are_written_in_both_layouts_and_orders() {
        let pixels: Vec<u8> = (0..12).collect();
        let image = |layout, channels| Image {
            layout,
            channels,
            area: 2,
        };
        let (rgb, bgr) = (ChannelOrder::Rgb.channels(), ChannelOrder::Bgr.channels());
        let planes = image(Layout::Nchw, &rgb);
        let mut values = [0; 12];
        planes.write(&pixels, &mut values, &[raw(); 3]);
        assert_eq!(values, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        // Each channel has its own values.
        let table = NormalizationTable::new(&Normalization {
            mean: [0.0, 0.5, 1.0],
            std: [1.0, 0.5, 0.25],
        });
        let expected =
            |pixel: u8| f64::from(table.channel(usize::from(pixel % 3))[usize::from(pixel)]);
        let mut values = [0.0; 12];
        image(Layout::Nhwc, &rgb).write(&pixels, &mut values, &values_of(&table, f64::from));
        assert_eq!(
            values.to_vec(),
            pixels
                .iter()
                .map(|&pixel| expected(pixel))
                .collect::<Vec<_>>()
        );
        let mut values = [f16::ZERO; 12];
        planes.write(&pixels, &mut values, &values_of(&table, f16::from_f32));
        let order = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
        assert_eq!(values, order.map(|pixel| f16::from_f64(expected(pixel))));

        // Blue first: mean and std stay with their channel.
        for (layout, order) in [
            (Layout::Nchw, [2, 5, 1, 4, 0, 3, 8, 11, 7, 10, 6, 9]),
            (Layout::Nhwc, [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]),
        ] {
            let mut values = [0.0; 12];
            let bgr = image(layout, &bgr);
            bgr.write(&pixels, &mut values, &values_of(&table, f64::from));
            assert_eq!(values, order.map(expected), "{layout:?}");
            let mut values = [0; 12];
            bgr.write(&pixels, &mut values, &[raw(); 3]);
            assert_eq!(values, order, "{layout:?}");
        }

        // One of the three equal values of grey pixels.
        let grey: Vec<u8> = [7, 8, 250, 255]
            .into_iter()
            .flat_map(|grey| [grey; 3])
            .collect();
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let mut values = [0; 4];
            image(layout, &[0]).write(&grey, &mut values, &[raw()]);
            assert_eq!(values, [7, 8, 250, 255]);
        }
    }
}
