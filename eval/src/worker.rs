use std::fmt;

use half::f16;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{HasSelectedOutputs, IoBinding, OutputSelector, RunOptions, Session};
use ort::value::DynValue;

use crate::input::InputTensor;
use crate::provider::Provider;

/// A session of a model. It runs one batch at a time; several workers run concurrently.
pub(crate) struct SessionWorker {
    session: Session,
    input: String,
    output: String,
    /// Batch size, if the model fixes it.
    batch: Option<usize>,
    /// Options that compute only the first output.
    options: RunOptions<HasSelectedOutputs>,
    /// For a GPU: copies inputs from pinned memory to the GPU, and scores back.
    binding: Option<IoBinding>,
}

impl fmt::Debug for SessionWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `RunOptions` does not implement `Debug`.
        let mut worker = f.debug_struct("SessionWorker");
        worker.field("session", &self.session);
        worker
            .field("binding", &self.binding)
            .finish_non_exhaustive()
    }
}

impl SessionWorker {
    pub(crate) fn new(
        session: Session,
        provider: Provider,
        input: &str,
        output: &str,
        batch: Option<usize>,
    ) -> ort::Result<Self> {
        let outputs = OutputSelector::no_default().with(output);
        let options = RunOptions::new()?.with_outputs(outputs);
        let mut worker = Self {
            session,
            input: input.to_owned(),
            output: output.to_owned(),
            batch,
            options,
            binding: None,
        };
        if provider.gpu().is_some() {
            worker.binding = Some(worker.session.create_binding()?);
        }
        Ok(worker)
    }

    /// Allocator for input tensors: for a GPU, pinned memory, from which it copies directly.
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
    /// A message, if the run fails or does not return one row of scores per image.
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
                "expected scores of {} images, got shape {shape:?}",
                images.count()
            )),
        }
    }

    fn outputs(&mut self, images: &InputTensor) -> ort::Result<(Vec<i64>, Vec<f32>)> {
        let image = images.value();
        if let Some(binding) = &mut self.binding {
            binding.bind_input(&self.input, &image)?;
            binding.synchronize_inputs()?;
            // Bind again: the memory of the previous run has the size of its batch.
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

    /// A model that computes the mean colour of each image, and another output.
    fn worker(batch: Option<usize>) -> SessionWorker {
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
        SessionWorker::new(session, Provider::Cpu, "images", "colours", batch).unwrap()
    }

    /// Single-coloured images, and their colours.
    fn images(count: usize) -> (InputTensor, Vec<f32>) {
        let colours: Vec<f32> = (0..3 * count).map(|i| i as f32).collect();
        let images = colours.iter().flat_map(|&value| [value; 4]).collect();
        (InputTensor::f32(images, [2, 2]), colours)
    }

    #[test]
    fn scores_have_one_row_per_image_in_order() {
        for batch in [None, Some(1), Some(2), Some(5), Some(7)] {
            let (images, colours) = images(5);
            assert_eq!(worker(batch).scores(&images), Ok(colours), "{batch:?}");
        }
    }

    /// The code path for GPUs, on the CPU.
    #[test]
    fn bound_memory_gives_the_same_scores() {
        let mut bound = worker(None);
        bound.binding = Some(bound.session.create_binding().unwrap());
        for count in [3, 3, 2, 5] {
            let (images, colours) = images(count);
            assert_eq!(bound.scores(&images), Ok(colours));
        }
    }
}
