//! Weights of networks for colour images in networks for grey ones.

use topk_weights::{StateDict, Tensor};

use crate::architecture::{Architecture, MatchError};
use crate::op::{Op, Value};

impl Architecture {
    /// Names of the weights of the convolutions of the images.
    fn input_convolutions(&self) -> impl Iterator<Item = String> {
        let nodes = self
            .nodes
            .iter()
            .filter(|node| node.inputs == [Value::IMAGES] && matches!(node.op, Op::Conv2d { .. }));
        nodes.map(|node| format!("{}.weight", node.name))
    }

    /// Number of channels of the images that weights, under the names of this architecture, were trained on; `None` if
    /// they lack the first convolution.
    pub fn input_channels_of(&self, weights: &StateDict) -> Option<usize> {
        let name = self.input_convolutions().next()?;
        match weights.tensors.get(&name)?.shape() {
            &[_, channels, _, _] => Some(channels),
            _ => None,
        }
    }

    /// Adapts weights of a network for red, green and blue to this one, if it is for grey images: the kernels of the first
    /// convolution are summed over the three channels, so that an image has the scores that it had with three equal
    /// channels, as far as the normalisation is the same. That is timm's `adapt_input_conv`.
    ///
    /// Returns what was done, as a line, if anything was.
    ///
    /// # Errors
    /// If a weight cannot be converted to `f32`.
    pub fn adapt_input_conv(&self, weights: &mut StateDict) -> Result<Option<String>, MatchError> {
        let [1, _, _] = self.input_size else {
            return Ok(None);
        };
        let mut adapted = Vec::new();
        for name in self.input_convolutions() {
            let Some(tensor) = weights.tensors.get(&name) else {
                continue;
            };
            let &[filters, 3, height, width] = tensor.shape() else {
                continue;
            };
            let fail = |error| MatchError::Tensor {
                name: name.clone(),
                error,
            };
            let values = tensor.to_f32().map_err(fail)?;
            let area = height * width;
            let mut sums = Vec::with_capacity(filters * area);
            for filter in values.chunks_exact(3 * area) {
                let (red, others) = filter.split_at(area);
                let (green, blue) = others.split_at(area);
                let channels = red.iter().zip(green).zip(blue);
                sums.extend(channels.map(|((red, green), blue)| red + green + blue));
            }
            let sums = Tensor::from_f32(&[filters, 1, height, width], &sums).map_err(fail)?;
            weights.tensors.insert(name.clone(), sums);
            adapted.push(name);
        }
        let names = adapted.join(" and ");
        Ok((!adapted.is_empty()).then(|| {
            format!(
                "{names} of three input channels is summed over them for grey images, as by timm"
            )
        }))
    }
}
