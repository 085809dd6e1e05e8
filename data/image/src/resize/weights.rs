use std::ops::Range;

use super::filter::Filter;
use crate::limits::release;
use crate::{ImageError, Limits};
use topk_preprocessing::Interpolation;

/// Fractional bits of a weight: 32 bits less 8 for a pixel, a sign and a carry.
pub(super) const PRECISION: u32 = 32 - 8 - 2;

/// The weights of a pass along one axis, for some of its outputs.
#[derive(Debug, Default)]
pub(super) struct Weights {
    outputs: Vec<Output>,
    values: Vec<i32>,
    /// The weights of one output before rounding.
    exact: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Output {
    /// Index of the first input.
    first: u32,
    /// End of this output's weights in the values.
    end: usize,
}

impl Weights {
    /// Frees what a large image left.
    pub(super) fn release(&mut self) {
        release(&mut self.outputs);
        release(&mut self.values);
        release(&mut self.exact);
    }

    /// Computes the weights of `outputs`, out of `to`, over `from` inputs.
    pub(super) fn compute(
        &mut self,
        from: u32,
        to: u32,
        outputs: Range<u32>,
        interpolation: Interpolation,
        limits: &Limits,
    ) -> Result<(), ImageError> {
        self.outputs.clear();
        self.values.clear();
        match Filter::of(interpolation) {
            Some(filter) => self.filtered(from, to, outputs, filter, limits),
            None => self.nearest(from, to, outputs, limits),
        }
    }

    /// Each output copies one input.
    fn nearest(
        &mut self,
        from: u32,
        to: u32,
        outputs: Range<u32>,
        limits: &Limits,
    ) -> Result<(), ImageError> {
        check_bytes(limits, outputs.len() as u64 * 4)?;
        // Pillow stores the size in single precision, and accumulates the steps.
        let step = f64::from(from as f32) / f64::from(to);
        let mut center = step * 0.5;
        for output in 0..outputs.end {
            if output >= outputs.start {
                let first = center as u32;
                // Outputs that rounding moves out of the image are black.
                if first < from {
                    self.values.push(1 << PRECISION);
                }
                self.outputs.push(Output {
                    first: first.min(from - 1),
                    end: self.values.len(),
                });
            }
            center += step;
        }
        Ok(())
    }

    fn filtered(
        &mut self,
        from: u32,
        to: u32,
        outputs: Range<u32>,
        filter: Filter,
        limits: &Limits,
    ) -> Result<(), ImageError> {
        // Pillow stores the size in single precision.
        let scale = f64::from(from as f32) / f64::from(to);
        let filter_scale = scale.max(1.0);
        let support = filter.support * filter_scale;
        let inverse = 1.0 / filter_scale;
        let each = (2.0 * support).ceil() as u64 + 1;
        let values = outputs.len() as u64 * each.min(u64::from(from));
        check_bytes(limits, values * 4 + each * 8)?;
        for output in outputs {
            let center = (f64::from(output) + 0.5) * scale;
            // Casts saturate and truncate.
            let first = (center - support + 0.5) as u32;
            let end = ((center + support + 0.5) as u32).min(from);
            self.exact.clear();
            let mut sum = 0.0;
            for input in first..end {
                let x = f64::from(input) - center + 0.5;
                let weight = (filter.weight)(x * inverse);
                self.exact.push(weight);
                sum += weight;
            }
            let rounded = self.exact.iter().map(|&weight| {
                let weight = if sum == 0.0 { weight } else { weight / sum };
                let weight = weight * f64::from(1 << PRECISION);
                (weight + 0.5f64.copysign(weight)) as i32
            });
            let begin = self.values.len();
            self.values.extend(rounded);
            let zeros = |&&value: &&i32| value == 0;
            let ahead = self.values[begin..].iter().take_while(zeros).count();
            self.values.drain(begin..begin + ahead);
            let behind = self.values[begin..].iter().rev().take_while(zeros).count();
            self.values.truncate(self.values.len() - behind);
            self.outputs.push(Output {
                first: first + ahead as u32,
                end: self.values.len(),
            });
        }
        Ok(())
    }

    /// The range of inputs with a weight in any output.
    pub(super) fn inputs(&self) -> Range<u32> {
        let first = self.iter().map(|(first, _)| first).min();
        let end = self.iter().map(|(first, of)| first + of.len() as u32).max();
        first.unwrap_or(0)..end.unwrap_or(0)
    }

    /// For each output, the index of its first input, and its weights.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &[i32])> {
        let mut begin = 0;
        self.outputs.iter().map(move |output| {
            let values = &self.values[begin..output.end];
            begin = output.end;
            (output.first, values)
        })
    }
}

fn check_bytes(limits: &Limits, bytes: u64) -> Result<(), ImageError> {
    limits.check_bytes("the weights for resizing the image", bytes)
}
