use std::fmt;

use half::{bf16, f16};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{HasSelectedOutputs, IoBinding, OutputSelector, RunOptions, Session};
use ort::value::DynValue;

use crate::input::InputView;
use crate::provider::Provider;

/// A session of a model. It runs one batch at a time; several workers run concurrently.
pub(crate) struct SessionWorker {
    session: Session,
    input: String,
    output: String,
    /// Number of images of each run, if the model fixes it or images must be run one by one.
    batch: Option<usize>,
    /// Number of scores of an image, once known.
    classes: Option<usize>,
    /// The largest number of images so far.
    largest: usize,
    /// Options that compute only this output.
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
            classes: None,
            largest: 0,
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

    /// Number of images of each run, if it is not that of the images.
    pub(crate) fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Whether it runs on a GPU.
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.binding.is_some()
    }

    /// Runs images one by one from now on, if `one_by_one`, and expects this number of scores of each.
    pub(crate) fn set(&mut self, classes: usize, one_by_one: bool) {
        self.classes = Some(classes);
        if one_by_one {
            self.batch = Some(1);
        }
    }

    /// Number of images to run at once. On a GPU, each new number has a price: CUDA searches for algorithms,
    /// and TensorRT builds an engine, which takes minutes. So the last batch is filled up there.
    fn run_size(&mut self, images: usize) -> usize {
        self.largest = self.largest.max(images);
        match self.batch {
            Some(batch) => batch,
            None if self.is_on_gpu() => self.largest,
            None => images,
        }
    }

    /// Scores `[images, classes]`, row-major.
    ///
    /// # Errors
    /// A message, if the run fails or does not return one row of scores per image.
    pub(crate) fn scores(&mut self, images: InputView<'_>) -> Result<Vec<f32>, String> {
        let batch = self.run_size(images.count());
        if batch == images.count() {
            return self.run(images);
        }
        let mut scores = Vec::new();
        for start in (0..images.count()).step_by(batch) {
            let count = (images.count() - start).min(batch);
            let part = images.padded(start, count, batch);
            let part = part.map_err(|error| error.to_string())?;
            let found = self.run(part.view())?;
            scores.extend(&found[..found.len() / batch * count]);
        }
        Ok(scores)
    }

    /// Scores of images that are run together.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub(crate) fn run(&mut self, images: InputView<'_>) -> Result<Vec<f32>, String> {
        let (shape, scores) = self.outputs(images).map_err(|error| error.to_string())?;
        let classes = classes(&shape, images.count()).ok_or_else(|| {
            format!(
                "expected scores of {} images, got shape {shape:?}",
                images.count()
            )
        })?;
        match self.classes.filter(|&expected| expected != classes) {
            None => Ok(scores),
            Some(expected) => Err(format!(
                "expected {expected} scores of each image, as in the first run, got {classes}"
            )),
        }
    }

    fn outputs(&mut self, images: InputView<'_>) -> ort::Result<(Vec<i64>, Vec<f32>)> {
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

/// Number of scores of each of `images` images in an output of this shape: one dimension besides that of the
/// images has them. The output for a single image may lack the dimension of the images.
fn classes(shape: &[i64], images: usize) -> Option<usize> {
    let sizes: Vec<usize> = shape
        .iter()
        .map(|&dim| usize::try_from(dim).ok())
        .collect::<Option<_>>()?;
    let row = match sizes.split_first() {
        Some((&first, row)) if first == images && !(images == 1 && row.is_empty()) => row,
        Some(_) if images == 1 => &sizes,
        _ => return None,
    };
    let mut large = row.iter().filter(|&&size| size != 1);
    let classes = large.next().copied().unwrap_or(1);
    (classes > 0 && large.next().is_none()).then_some(classes)
}

/// Shape and values of an output of floating-point numbers.
fn floats(value: &DynValue) -> ort::Result<(Vec<i64>, Vec<f32>)> {
    if let Ok((shape, values)) = value.try_extract_tensor::<f16>() {
        let values = values.iter().map(|value| value.to_f32());
        return Ok((shape.to_vec(), values.collect()));
    }
    if let Ok((shape, values)) = value.try_extract_tensor::<bf16>() {
        let values = values.iter().map(|value| value.to_f32());
        return Ok((shape.to_vec(), values.collect()));
    }
    if let Ok((shape, values)) = value.try_extract_tensor::<f64>() {
        let values = values.iter().map(|&value| value as f32);
        return Ok((shape.to_vec(), values.collect()));
    }
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok((shape.to_vec(), values.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::InputTensor;
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
            assert_eq!(
                worker(batch).scores(images.view()),
                Ok(colours),
                "{batch:?}"
            );
        }
    }

    #[test]
    fn shapes_of_scores() {
        for (shape, images, expected) in [
            (&[4, 10][..], 4, Some(10)),
            (&[4, 10, 1, 1], 4, Some(10)),
            (&[4, 1, 1, 10], 4, Some(10)),
            (&[4, 1], 4, Some(1)),
            (&[4], 4, Some(1)),
            (&[1, 10], 1, Some(10)),
            (&[10], 1, Some(10)),
            (&[1], 1, Some(1)),
            (&[10], 4, None),
            (&[2, 10], 4, None),
            (&[40], 4, None),
            (&[4, 10, 7, 7], 4, None),
            (&[4, 0], 4, None),
            (&[], 4, None),
        ] {
            assert_eq!(classes(shape, images), expected, "{shape:?}");
        }
    }

    /// The code path for GPUs, on the CPU. The last batches are filled up.
    #[test]
    fn bound_memory_gives_the_same_scores() {
        let mut bound = worker(None);
        bound.binding = Some(bound.session.create_binding().unwrap());
        for count in [3, 3, 2, 5, 1] {
            let (images, colours) = images(count);
            assert_eq!(bound.scores(images.view()), Ok(colours));
        }
    }
}
