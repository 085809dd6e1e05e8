use std::collections::HashMap;

use crate::architecture::{Architecture, ArchitectureError};
use crate::op::{Activation, BatchNorm, Dims, Fan, Init, Node, Op, Pool, Value};

/// Writes an architecture down node by node, in the order of computation; keeps account of the shapes.
///
/// Names are those of PyTorch's modules. Where a module without parameters is used again, its name may be
/// given again.
pub(crate) struct Builder {
    name: String,
    input_size: [usize; 3],
    classes: usize,
    nodes: Vec<Node>,
    uses: HashMap<String, usize>,
    ignorable: Vec<&'static str>,
    old_names: Vec<[&'static str; 2]>,
    /// The first reason why this network cannot be had; the shapes mean nothing from then on.
    fault: Option<ArchitectureError>,
    /// How the weights of layers start that are added from now on.
    pub(crate) rules: Rules,
    /// Constants of the batch norms that are added from now on.
    pub(crate) batch_norm: BatchNorm,
}

/// How a layer's weights and biases start.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) conv: fn(Fan) -> Init,
    pub(crate) conv_bias: fn(Fan) -> Init,
    pub(crate) linear: fn(Fan) -> Init,
    pub(crate) linear_bias: fn(Fan) -> Init,
}

impl Default for Rules {
    /// PyTorch's own.
    fn default() -> Self {
        Self {
            conv: Init::layer,
            conv_bias: Init::layer,
            linear: Init::layer,
            linear_bias: Init::layer,
        }
    }
}

/// A convolution to be added; without padding, bias or groups, and of stride 1, unless it is told.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: Padding,
    groups: usize,
    bias: bool,
}

#[derive(Clone, Copy)]
enum Padding {
    /// As many zeros above as below, and left as right.
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

    /// As much padding as leaves the size alone at stride 1, for odd kernels.
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

    /// Zeros before and after in direction `axis` of `side` elements.
    fn pads(&self, axis: usize, side: usize) -> [usize; 2] {
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
    pub(crate) fn new(name: &str, input_size: [usize; 3], classes: usize) -> Self {
        let mut builder = Self {
            name: name.to_owned(),
            input_size,
            classes,
            nodes: Vec::new(),
            uses: HashMap::new(),
            ignorable: Vec::new(),
            old_names: Vec::new(),
            fault: None,
            rules: Rules::default(),
            batch_norm: BatchNorm {
                eps: 1e-5,
                momentum: 0.1,
            },
        };
        if input_size.contains(&0) {
            builder.too_small("the images");
        }
        builder
    }

    /// Number of classes that are wanted.
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Shape of a value, without the batch.
    pub(crate) fn shape(&self, x: Value) -> &[usize] {
        match x.index().checked_sub(1) {
            None => &self.input_size,
            Some(node) => &self.nodes[node].shape,
        }
    }

    /// Channels of an image, which is the first dimension.
    pub(crate) fn channels(&self, x: Value) -> usize {
        self.shape(x)[0]
    }

    /// Says that the network cannot be had.
    fn refuse(&mut self, fault: ArchitectureError) {
        self.fault.get_or_insert(fault);
    }

    /// The network takes images of one size only.
    pub(crate) fn only(&mut self, expected: [usize; 3]) {
        if self.input_size != expected {
            self.refuse(ArchitectureError::InputSize {
                name: self.name.clone(),
                expected,
                found: self.input_size,
            });
        }
    }

    /// The network takes images whose sides are multiples of this.
    pub(crate) fn sides_of(&mut self, multiple: usize) {
        let [_, height, width] = self.input_size;
        if !height.is_multiple_of(multiple) || !width.is_multiple_of(multiple) {
            self.refuse(ArchitectureError::Sides {
                name: self.name.clone(),
                multiple,
                found: self.input_size,
            });
        }
    }

    /// The numbers in the network's name do not keep this rule.
    pub(crate) fn bad_numbers(&mut self, rule: &'static str) {
        let name = self.name.clone();
        self.refuse(ArchitectureError::Numbers { name, rule });
    }

    /// Parameters whose names begin so may stand in the original's files, and are not those of this network.
    pub(crate) fn ignorable(&mut self, prefix: &'static str) {
        self.ignorable.push(prefix);
    }

    /// Older files of weights have the first of these parts of names where now there is the second.
    pub(crate) fn old_names(&mut self, parts: &[[&'static str; 2]]) {
        self.old_names.extend(parts);
    }

    fn too_small(&mut self, module: &str) {
        self.refuse(ArchitectureError::TooSmall {
            name: self.name.clone(),
            found: self.input_size,
            module: module.to_owned(),
        });
    }

    fn image(&self, x: Value) -> [usize; 3] {
        self.shape(x).try_into().unwrap_or_else(|_| {
            panic!(
                "{}: an image is needed, found {}",
                self.name,
                Dims(self.shape(x))
            )
        })
    }

    fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[Value],
        shape: &[usize],
    ) -> Value {
        let mut name = name.into();
        let uses = self.uses.entry(name.clone()).or_insert(0);
        *uses += 1;
        if *uses > 1 {
            name = format!("{name}:{uses}");
        }
        let node = Node {
            name,
            op,
            inputs: inputs.to_vec(),
            shape: shape.to_vec(),
        };
        assert!(
            *uses == 1 || node.parameters().is_empty(),
            "{}: two modules are named {}",
            self.name,
            node.name
        );
        self.nodes.push(node);
        Value::of_node(self.nodes.len() - 1)
    }

    /// Number of windows along a side; at least one, so that the shapes stay shapes after a fault.
    fn windows(&mut self, name: &str, side: usize, pads: [usize; 2], pool: Pool) -> usize {
        let Some(room) = (side + pads[0] + pads[1]).checked_sub(pool.kernel) else {
            self.too_small(name);
            return 1;
        };
        if !pool.ceil {
            return room / pool.stride + 1;
        }
        // The last window must begin in the image, not behind it.
        let last = room.div_ceil(pool.stride);
        let begins_inside = last * pool.stride < side + pads[0];
        last + usize::from(begins_inside)
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
            weight: (self.rules.conv)(fan),
            bias: conv.bias.then(|| (self.rules.conv_bias)(fan)),
        };
        self.push(name, op, &[x], &shape)
    }

    /// An operation whose result has the shape of what it reads.
    fn alike(&mut self, name: impl Into<String>, op: Op, x: Value) -> Value {
        let shape = self.shape(x).to_vec();
        self.push(name, op, &[x], &shape)
    }

    pub(crate) fn batch_norm(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [channels, ..] = self.image(x);
        let settings = self.batch_norm;
        self.alike(name, Op::BatchNorm2d { channels, settings }, x)
    }

    pub(crate) fn activation(
        &mut self,
        name: impl Into<String>,
        x: Value,
        activation: Activation,
    ) -> Value {
        self.alike(name, Op::Activation(activation), x)
    }

    pub(crate) fn relu(&mut self, name: impl Into<String>, x: Value) -> Value {
        self.activation(name, x, Activation::Relu)
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

    /// Averages over `side` × `side` parts of the image; nothing where it has that size.
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

    /// All dimensions but the batch become one.
    pub(crate) fn flatten(&mut self, name: impl Into<String>, x: Value) -> Value {
        let features = self.shape(x).iter().product();
        self.push(name, Op::Flatten(1), &[x], &[features])
    }

    pub(crate) fn linear(
        &mut self,
        name: impl Into<String>,
        x: Value,
        out_features: usize,
    ) -> Value {
        let mut shape = self.shape(x).to_vec();
        let last = shape.last_mut().expect("a value has dimensions");
        let in_features = std::mem::replace(last, out_features);
        let fan = Fan {
            input: in_features,
            output: out_features,
            groups: 1,
        };
        let op = Op::Linear {
            in_features,
            out_features,
            weight: (self.rules.linear)(fan),
            bias: (self.rules.linear_bias)(fan),
        };
        self.push(name, op, &[x], &shape)
    }

    pub(crate) fn dropout(&mut self, name: impl Into<String>, x: Value, p: f64) -> Value {
        self.alike(name, Op::Dropout { p }, x)
    }

    /// Drops the whole value of a sample at random.
    pub(crate) fn stochastic_depth(&mut self, name: impl Into<String>, x: Value, p: f64) -> Value {
        self.alike(name, Op::StochasticDepth { p }, x)
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, x: Value, y: Value) -> Value {
        let fits = self.shape(x) == self.shape(y);
        self.assert(fits, "Add", &[x, y]);
        let shape = self.shape(x).to_vec();
        self.push(name, Op::Add, &[x, y], &shape)
    }

    /// Product of an image with a factor for each channel, of height and width 1.
    pub(crate) fn mul(&mut self, name: impl Into<String>, x: Value, factors: Value) -> Value {
        let fits = self.image(factors) == [self.channels(x), 1, 1];
        self.assert(fits, "Mul", &[x, factors]);
        let shape = self.image(x);
        self.push(name, Op::Mul, &[x, factors], &shape)
    }

    /// Images one behind the other along the channels.
    pub(crate) fn concat(&mut self, name: impl Into<String>, images: &[Value]) -> Value {
        let [_, height, width] = self.image(images[0]);
        let fits = images
            .iter()
            .all(|&x| self.image(x)[1..] == [height, width]);
        self.assert(fits, "Concat", images);
        let channels = images.iter().map(|&x| self.channels(x)).sum();
        self.push(name, Op::Concat, images, &[channels, height, width])
    }

    /// Product with a parameter of one value a channel, which starts with `value`.
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
        self.alike(name, op, x)
    }

    /// Norm over the last dimension.
    pub(crate) fn layer_norm(&mut self, name: impl Into<String>, x: Value, eps: f64) -> Value {
        let features = *self.shape(x).last().expect("a value has dimensions");
        self.alike(name, Op::LayerNorm { features, eps }, x)
    }

    /// Orders the dimensions anew; dimension 0 is the batch and stays.
    pub(crate) fn permute(&mut self, name: impl Into<String>, x: Value, dims: &[usize]) -> Value {
        assert_eq!((dims[0], dims.len()), (0, self.shape(x).len() + 1));
        let shape: Vec<usize> = dims[1..]
            .iter()
            .map(|&dim| self.shape(x)[dim - 1])
            .collect();
        self.push(name, Op::Permute(dims.to_vec()), &[x], &shape)
    }

    /// The pixels of an image in one dimension: `[channels, height × width]`.
    pub(crate) fn flatten_pixels(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [channels, height, width] = self.image(x);
        self.push(name, Op::Flatten(2), &[x], &[channels, height * width])
    }

    fn tokens(&self, x: Value) -> [usize; 2] {
        self.shape(x).try_into().unwrap_or_else(|_| {
            panic!(
                "{}: tokens are needed, found {}",
                self.name,
                Dims(self.shape(x))
            )
        })
    }

    /// Puts a parameter before the tokens.
    pub(crate) fn class_token(
        &mut self,
        name: impl Into<String>,
        x: Value,
        parameter: impl Into<String>,
    ) -> Value {
        let [tokens, features] = self.tokens(x);
        let parameter = parameter.into();
        let op = Op::ClassToken {
            parameter,
            features,
        };
        self.push(name, op, &[x], &[tokens + 1, features])
    }

    /// Adds a parameter of the tokens' shape.
    pub(crate) fn position_embedding(
        &mut self,
        name: impl Into<String>,
        x: Value,
        parameter: impl Into<String>,
    ) -> Value {
        let [tokens, features] = self.tokens(x);
        let parameter = parameter.into();
        let op = Op::PositionEmbedding {
            parameter,
            tokens,
            features,
        };
        self.alike(name, op, x)
    }

    /// Attention of the tokens to themselves.
    pub(crate) fn attention(&mut self, name: impl Into<String>, x: Value, heads: usize) -> Value {
        let [_, features] = self.tokens(x);
        assert!(features.is_multiple_of(heads));
        self.alike(name, Op::MultiheadAttention { features, heads }, x)
    }

    /// The first token alone.
    pub(crate) fn first_token(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [_, features] = self.tokens(x);
        self.push(name, Op::FirstToken, &[x], &[features])
    }

    /// A bug of the definition, unless the network is refused anyway.
    fn assert(&self, fits: bool, op: &str, values: &[Value]) {
        assert!(
            fits || self.fault.is_some(),
            "{}: {op} of {:?}",
            self.name,
            values.iter().map(|&x| self.shape(x)).collect::<Vec<_>>()
        );
    }

    /// The network that ends in these scores.
    ///
    /// # Errors
    /// If it was refused.
    pub(crate) fn finish(self, scores: Value) -> Result<Architecture, ArchitectureError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        assert_eq!(
            (scores, self.shape(scores)),
            (Value::of_node(self.nodes.len() - 1), &[self.classes][..]),
            "{}: a classifier ends in its scores",
            self.name
        );
        Ok(Architecture {
            name: self.name,
            input_size: self.input_size,
            nodes: self.nodes,
            classes: self.classes,
            ignorable: self.ignorable,
            old_names: self.old_names,
        })
    }
}
