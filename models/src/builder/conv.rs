//! Convolutions before they are added to a network.

/// A convolution to add: without padding, bias and groups, and of stride 1, unless set otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(super) out_channels: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    padding: Padding,
    pub(super) groups: usize,
    pub(super) bias: bool,
}

#[derive(Clone, Copy)]
enum Padding {
    /// The same number of zeros above and below, and left and right.
    Even([usize; 2]),
    /// TensorFlow's SAME: a side of n gives ⌈n / stride⌉, and an odd zero comes last.
    Same,
}

impl Conv {
    pub(crate) fn new(out_channels: usize, kernel: usize) -> Self {
        Self::rectangle(out_channels, [kernel; 2])
    }

    /// With a kernel of this height and width.
    pub(crate) fn rectangle(out_channels: usize, kernel: [usize; 2]) -> Self {
        Self {
            out_channels,
            kernel,
            stride: 1,
            padding: Padding::Even([0; 2]),
            groups: 1,
            bias: false,
        }
    }

    pub(crate) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn padding(self, padding: usize) -> Self {
        Self {
            padding: Padding::Even([padding; 2]),
            ..self
        }
    }

    /// Padding that keeps the size at stride 1, for odd kernels.
    pub(crate) fn centered(self) -> Self {
        Self {
            padding: Padding::Even(self.kernel.map(|side| side / 2)),
            ..self
        }
    }

    /// TensorFlow's padding SAME.
    pub(crate) fn same(self) -> Self {
        Self {
            padding: Padding::Same,
            ..self
        }
    }

    pub(crate) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn biased(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Zeros before and after, in direction `axis` of `side` elements.
    pub(super) fn pads(&self, axis: usize, side: usize) -> [usize; 2] {
        match self.padding {
            Padding::Even(padding) => [padding[axis]; 2],
            Padding::Same => {
                let last = (side.div_ceil(self.stride) - 1) * self.stride;
                let total = (last + self.kernel[axis]).saturating_sub(side);
                [total / 2, total - total / 2]
            }
        }
    }
}
