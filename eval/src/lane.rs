use std::fmt;

use half::f16;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{HasSelectedOutputs, IoBinding, OutputSelector, RunOptions, Session};
use ort::value::DynValue;

use crate::input::InputTensor;
use crate::provider::Provider;

/// A session of a model. Runs are one after the other; several lanes run at the same time.
pub(crate) struct Lane {
    session: Session,
    input: String,
    output: String,
    /// Number of images in a batch, if the model fixes it.
    batch: Option<usize>,
    /// The first output alone: others are nobody's business here.
    options: RunOptions<HasSelectedOutputs>,
    /// On a GPU: inputs are copied there from pinned memory, and scores back.
    binding: Option<IoBinding>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options have no form for this.
        let mut lane = f.debug_struct("Lane");
        lane.field("session", &self.session);
        lane.field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn new(
        session: Session,
        provider: Provider,
        input: &str,
        output: &str,
        batch: Option<usize>,
    ) -> ort::Result<Self> {
        let outputs = OutputSelector::no_default().with(output);
        let options = RunOptions::new()?.with_outputs(outputs);
        let mut lane = Self {
            session,
            input: input.to_owned(),
            output: output.to_owned(),
            batch,
            options,
            binding: None,
        };
        if provider.gpu().is_some() {
            lane.binding = Some(lane.session.create_binding()?);
        }
        Ok(lane)
    }

    /// Where input tensors are made: pinned memory for a GPU, which reads it without a copy in between.
    pub(crate) fn allocator(&self, provider: Provider) -> ort::Result<Allocator> {
        match provider.gpu() {
            None => Ok(Allocator::default()),
            Some(gpu) => {
                let pinned = MemoryInfo::new(
                    AllocationDevice::CUDA_PINNED,
                    gpu,
                    AllocatorType::Device,
                    MemoryType::CPUInput,
                )?;
                Allocator::new(&self.session, pinned)
            }
        }
    }

    /// Scores `[images, classes]`, row-major.
    ///
    /// # Errors
    /// In words, if the run fails or does not give a row of scores an image.
    pub(crate) fn scores(&mut self, images: &InputTensor) -> Result<Vec<f32>, String> {
        let Some(batch) = self.batch.filter(|&batch| batch != images.count()) else {
            return self.run(images);
        };
        let mut scores = Vec::new();
        for start in (0..images.count()).step_by(batch) {
            let count = (images.count() - start).min(batch);
            let part = images.padded(start, count, batch);
            let found = self.run(&part.map_err(|error| error.to_string())?)?;
            scores.extend(&found[..found.len() / batch * count]);
        }
        Ok(scores)
    }

    fn run(&mut self, images: &InputTensor) -> Result<Vec<f32>, String> {
        let (shape, scores) = self.outputs(images).map_err(|error| error.to_string())?;
        match *shape {
            [rows, classes] if rows == images.count() as i64 && classes > 0 => Ok(scores),
            ref shape => Err(format!(
                "{} images gave scores of shape {shape:?}",
                images.count()
            )),
        }
    }

    fn outputs(&mut self, images: &InputTensor) -> ort::Result<(Vec<i64>, Vec<f32>)> {
        let image = images.value();
        if let Some(binding) = &mut self.binding {
            binding.bind_input(&self.input, &image)?;
            binding.synchronize_inputs()?;
            // Anew: the memory of the run before has the size of its batch.
            binding.bind_output_to_device(&self.output, Allocator::default().memory_info())?;
            let outputs = self.session.run_binding(binding)?;
            binding.synchronize_outputs()?;
            return floats(&outputs[0]);
        }
        let inputs = ort::inputs![self.input.as_str() => image];
        let outputs = self.session.run_with_options(inputs, &self.options)?;
        floats(&outputs[0])
    }
}

/// Shape and values of an output of `f32` or `f16`.
fn floats(value: &DynValue) -> ort::Result<(Vec<i64>, Vec<f32>)> {
    if let Ok((shape, values)) = value.try_extract_tensor::<f16>() {
        return Ok((
            shape.to_vec(),
            values.iter().map(|value| value.to_f32()).collect(),
        ));
    }
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok((shape.to_vec(), values.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use topk_native::Runtime;
    use topk_onnx::proto::DataType;
    use topk_onnx::{Dim, GraphBuilder, attribute, model};

    /// The mean colour of each image, and another output.
    fn lane(batch: Option<usize>) -> Lane {
        let mut graph = GraphBuilder::new("colours");
        let first = batch.map_or(Dim::Dynamic("batch"), Dim::Fixed);
        let shape = [first, Dim::Fixed(3), Dim::Fixed(2), Dim::Fixed(2)];
        graph.input("images", DataType::Float, &shape, "");
        graph.node("GlobalAveragePool", "means", &["images"], []);
        graph.node(
            "Flatten",
            "colours",
            &["means"],
            [attribute::int("axis", 1)],
        );
        graph.node("Neg", "negative", &["colours"], []);
        for output in ["colours", "negative"] {
            graph.output(output, DataType::Float, &[first, Dim::Fixed(3)], "");
        }
        let file = model(graph.finish(), "", []).encode_to_vec();
        let runtime = Runtime::load().unwrap();
        let session = Session::builder(runtime.environment())
            .and_then(|mut builder| builder.commit_from_memory(&file))
            .unwrap();
        Lane::new(session, Provider::Cpu, "images", "colours", batch).unwrap()
    }

    /// Images of one colour each, and the colours.
    fn images(count: usize) -> (InputTensor, Vec<f32>) {
        let colours: Vec<f32> = (0..3 * count).map(|i| i as f32).collect();
        let images = colours.iter().flat_map(|&value| [value; 4]).collect();
        (InputTensor::f32(images, [2, 2]), colours)
    }

    #[test]
    fn a_row_an_image_in_their_order() {
        for batch in [None, Some(1), Some(2), Some(5), Some(7)] {
            let (images, colours) = images(5);
            assert_eq!(lane(batch).scores(&images), Ok(colours), "{batch:?}");
        }
    }

    /// What is done for a GPU, on the CPU.
    #[test]
    fn bound_memory_gives_the_same() {
        let mut bound = lane(None);
        bound.binding = Some(bound.session.create_binding().unwrap());
        for count in [3, 3, 2, 5] {
            let (images, colours) = images(count);
            assert_eq!(bound.scores(&images), Ok(colours));
        }
    }
}
