//! Operations on images, `[channels, height, width]`.

use super::{Builder, Conv};
use crate::op::{Dims, Fan, Op, Pool, Value};

impl Pool {
    pub(crate) fn new(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: 0,
            ceil: false,
        }
    }
}

impl Builder {
    fn image(&self, x: Value) -> [usize; 3] {
        self.shape(x).try_into().unwrap_or_else(|_| {
            panic!(
                "{}: expected an image, found {}",
                self.name,
                Dims(self.shape(x))
            )
        })
    }

    /// Number of windows along a side; at least one, so that shapes stay valid after an error.
    fn windows(&mut self, name: &str, side: usize, pads: [usize; 2], pool: Pool) -> usize {
        let Some(room) = (side + pads[0] + pads[1]).checked_sub(pool.kernel) else {
            self.too_small(name);
            return 1;
        };
        if !pool.ceil {
            return room / pool.stride + 1;
        }
        // The last window must start inside the image.
        let last = room.div_ceil(pool.stride);
        let starts_inside = last * pool.stride < side + pads[0];
        last + usize::from(starts_inside)
    }

    pub(crate) fn conv(&mut self, name: impl Into<String>, x: Value, conv: Conv) -> Value {
        let name = name.into();
        let [in_channels, height, width] = self.image(x);
        let [[top, bottom], [left, right]] = [conv.pads(0, height), conv.pads(1, width)];
        let mut size =
            |kernel, side, pads| self.windows(&name, side, pads, Pool::new(kernel, conv.stride));
        let [kernel_height, kernel_width] = conv.kernel;
        let shape = [
            conv.out_channels,
            size(kernel_height, height, [top, bottom]),
            size(kernel_width, width, [left, right]),
        ];
        assert!(
            in_channels.is_multiple_of(conv.groups)
                && conv.out_channels.is_multiple_of(conv.groups),
            "{}: {} groups of {in_channels} channels at {name}",
            self.name,
            conv.groups
        );
        let area = kernel_height * kernel_width;
        let fan = Fan {
            input: area * in_channels / conv.groups,
            output: area * conv.out_channels,
            groups: conv.groups,
        };
        let op = Op::Conv2d {
            in_channels,
            out_channels: conv.out_channels,
            kernel: conv.kernel,
            stride: conv.stride,
            pads: [top, left, bottom, right],
            groups: conv.groups,
            weight: (self.initializers.conv)(fan),
            bias: conv.bias.then(|| (self.initializers.conv_bias)(fan)),
        };
        self.push(name, op, &[x], &shape)
    }

    pub(crate) fn batch_norm(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [channels, ..] = self.image(x);
        let settings = self.batch_norm;
        self.same_shape(name, Op::BatchNorm2d { channels, settings }, x)
    }

    fn pooled(&mut self, name: &str, x: Value, pool: Pool) -> [usize; 3] {
        let [channels, height, width] = self.image(x);
        let mut size = |side| self.windows(name, side, [pool.padding; 2], pool);
        [channels, size(height), size(width)]
    }

    pub(crate) fn max_pool(&mut self, name: impl Into<String>, x: Value, pool: Pool) -> Value {
        let name = name.into();
        let shape = self.pooled(&name, x, pool);
        self.push(name, Op::MaxPool2d(pool), &[x], &shape)
    }

    pub(crate) fn avg_pool(&mut self, name: impl Into<String>, x: Value, pool: Pool) -> Value {
        let name = name.into();
        let shape = self.pooled(&name, x, pool);
        self.push(name, Op::AvgPool2d(pool), &[x], &shape)
    }

    /// Averages over `side` × `side` parts of the image; adds no node if it already has that size.
    pub(crate) fn adaptive_avg_pool(
        &mut self,
        name: impl Into<String>,
        x: Value,
        side: usize,
    ) -> Value {
        let [channels, height, width] = self.image(x);
        let (from, to) = ([height, width], [side; 2]);
        if from == to {
            return x;
        }
        let op = Op::AdaptiveAvgPool2d { from, to };
        self.push(name, op, &[x], &[channels, side, side])
    }

    /// Product of an image with one factor per channel, an image of height and width 1.
    pub(crate) fn mul(&mut self, name: impl Into<String>, x: Value, factors: Value) -> Value {
        let fits = self.image(factors) == [self.channels(x), 1, 1];
        self.assert(fits, "Mul", &[x, factors]);
        let shape = self.image(x);
        self.push(name, Op::Mul, &[x, factors], &shape)
    }

    /// Concatenates images along the channels.
    pub(crate) fn concat(&mut self, name: impl Into<String>, images: &[Value]) -> Value {
        let [_, height, width] = self.image(images[0]);
        let fits = images
            .iter()
            .all(|&x| self.image(x)[1..] == [height, width]);
        self.assert(fits, "Concat", images);
        let channels = images.iter().map(|&x| self.channels(x)).sum();
        self.push(name, Op::Concat, images, &[channels, height, width])
    }

    /// Product with a parameter of one value per channel, initially `value`.
    pub(crate) fn layer_scale(
        &mut self,
        name: impl Into<String>,
        x: Value,
        parameter: impl Into<String>,
        value: f64,
    ) -> Value {
        let [channels, ..] = self.image(x);
        let parameter = parameter.into();
        let op = Op::LayerScale {
            parameter,
            channels,
            value,
        };
        self.same_shape(name, op, x)
    }

    /// Merges height and width: `[channels, height × width]`.
    pub(crate) fn flatten_pixels(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [channels, height, width] = self.image(x);
        self.push(name, Op::Flatten(2), &[x], &[channels, height * width])
    }
}
