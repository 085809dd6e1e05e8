use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::DynValue;

use crate::binding::{Binding, host_memory, lock};
use crate::input::{InputTensor, InputView};

/// Shape and values of an output.
pub(crate) type Output = (Vec<i64>, Vec<f32>);

/// Runs batches of images in a session, one at a time. Several workers run concurrently. Workers of the same session
/// wait for each other's runs, but not for each other's copies to and from the device.
///
/// In the order in which it is released: memory of a session goes before the session.
pub(crate) struct SessionWorker {
    /// Memory for images of a batch that are run at once, if they are fewer.
    part: Option<InputTensor>,
    /// Memory that is bound to the session, if it runs in such memory.
    binding: Option<Binding>,
    session: Arc<Mutex<Session>>,
    input: String,
    output: String,
    /// Number of images of each run, if the model fixes it or images must be run one by one.
    batch: Option<usize>,
    /// Number of scores of an image, once known.
    classes: Option<usize>,
    /// Options that compute only this output.
    options: RunOptions<HasSelectedOutputs>,
    /// With bound memory, the number of images of each run, unless `batch` is set.
    run_size: usize,
    /// Time for which runs kept the session busy.
    busy: Duration,
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
    /// A worker of a session whose memory is copied to no device.
    pub(crate) fn new(
        session: Arc<Mutex<Session>>,
        [input, output]: [&str; 2],
        batch: Option<usize>,
    ) -> ort::Result<Self> {
        let outputs = OutputSelector::no_default().with(output);
        let options = RunOptions::new()?.with_outputs(outputs);
        Ok(Self {
            part: None,
            binding: None,
            session,
            input: input.to_owned(),
            output: output.to_owned(),
            batch,
            classes: None,
            options,
            run_size: 0,
            busy: Duration::ZERO,
        })
    }

    /// The same with memory that is bound to the session, which runs on the GPU with this index, or on the CPU.
    pub(crate) fn with_binding(mut self, gpu: Option<i32>) -> ort::Result<Self> {
        let binding = Binding::new(&lock(&self.session), gpu)?;
        self.binding = Some(binding);
        Ok(self)
    }

    /// Allocator for input tensors: for a GPU, pinned memory, from which it copies directly.
    pub(crate) fn allocator(&self, gpu: Option<i32>) -> ort::Result<Allocator> {
        host_memory(&lock(&self.session), gpu)
    }

    /// Ends the profile of its session, and returns the file.
    pub(crate) fn end_profiling(&self) -> ort::Result<String> {
        lock(&self.session).end_profiling()
    }

    /// Number of images of each run, if it is not that of the images.
    pub(crate) fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Whether it runs in bound memory. All of its runs then have the same number of images.
    pub(crate) fn is_bound(&self) -> bool {
        self.binding.is_some()
    }

    /// Sets the number of images of each run in bound memory, where it is free. Each number has a price on a GPU:
    /// CUDA searches for algorithms, and TensorRT builds an engine, which takes minutes.
    pub(crate) fn set_run_size(&mut self, images: usize) {
        self.run_size = images;
    }

    /// That number, if it is set.
    #[cfg(feature = "ndarray")]
    pub(crate) fn run_size(&self) -> Option<usize> {
        (self.is_bound() && self.run_size > 0).then_some(self.run_size)
    }

    /// Runs images one by one from now on, if `one_by_one`, and expects this number of scores of each.
    pub(crate) fn set(&mut self, classes: usize, one_by_one: bool) {
        self.classes = Some(classes);
        self.busy = Duration::ZERO;
        if one_by_one {
            self.run_one_by_one();
        }
    }

    /// Runs images one by one from now on.
    pub(crate) fn run_one_by_one(&mut self) {
        self.batch = Some(1);
    }

    /// Number of images to run at once, if there are `images`.
    pub(crate) fn images_per_run(&mut self, images: usize) -> usize {
        match self.batch {
            Some(batch) => batch,
            None if self.is_bound() => {
                self.run_size = self.run_size.max(images);
                self.run_size
            }
            None => images,
        }
    }

    /// Time for which runs have kept the session busy since the last call.
    pub(crate) fn take_busy(&mut self) -> Duration {
        std::mem::take(&mut self.busy)
    }

    /// Scores `[images, classes]`, row-major.
    ///
    /// # Errors
    /// A message, if the run fails or does not return one row of scores per image.
    pub(crate) fn scores(&mut self, images: InputView<'_>) -> Result<Vec<f32>, String> {
        let batch = self.images_per_run(images.rows());
        if batch == images.rows() {
            return self.run(images);
        }
        let mut scores = Vec::new();
        for start in (0..images.count()).step_by(batch) {
            let count = (images.count() - start).min(batch);
            let part = self.part(images, start, count, batch);
            let part = part.map_err(|error| error.to_string())?;
            let found = self.run(part.view());
            self.part = Some(part);
            scores.extend(found?);
        }
        Ok(scores)
    }

    /// `count` images from index `start`, filled up to `batch` images.
    fn part(
        &mut self,
        images: InputView<'_>,
        start: usize,
        count: usize,
        batch: usize,
    ) -> ort::Result<InputTensor> {
        let (kind, size) = (images.kind(), images.size());
        let fits =
            |part: &InputTensor| (part.rows(), part.kind(), part.size()) == (batch, kind, size);
        let mut part = match self.part.take().filter(fits) {
            Some(part) => part,
            None => {
                let default = Allocator::default();
                let memory = self.binding.as_ref().map_or(&default, Binding::host);
                InputTensor::zeros(memory, kind, batch, size)?
            }
        };
        part.copy(images, start, count);
        Ok(part)
    }

    /// Scores of images that are run together.
    fn run(&mut self, images: InputView<'_>) -> Result<Vec<f32>, String> {
        let (shape, mut scores) = self.outputs(images).map_err(|error| error.to_string())?;
        let rows = images.rows();
        let classes = classes(&shape, rows)
            .ok_or_else(|| format!("expected scores of {rows} images, got shape {shape:?}"))?;
        scores.truncate(images.count() * classes);
        match self.classes.filter(|&expected| expected != classes) {
            None => Ok(scores),
            Some(expected) => Err(format!(
                "expected {expected} scores of each image, as in the first run, got {classes}"
            )),
        }
    }

    fn outputs(&mut self, images: InputView<'_>) -> ort::Result<Output> {
        if let Some(binding) = &mut self.binding {
            let names = [self.input.as_str(), self.output.as_str()];
            let (output, busy) = binding.run(&self.session, names, images)?;
            self.busy += busy;
            return Ok(output);
        }
        let mut session = lock(&self.session);
        let start = Instant::now();
        let inputs = ort::inputs![self.input.as_str() => images.value()];
        let outputs = session.run_with_options(inputs, &self.options)?;
        let output = floats(&outputs[0]);
        self.busy += start.elapsed();
        output
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
pub(crate) fn floats(value: &DynValue) -> ort::Result<Output> {
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
        let session = Arc::new(Mutex::new(session));
        SessionWorker::new(session, ["images", "colours"], batch).unwrap()
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

    /// The code path for GPUs, on the CPU. Runs are filled up, to the size that is set or to the largest so far.
    #[test]
    fn bound_memory_gives_the_same_scores() {
        for (size, runs) in [(0, [3, 3, 3, 5, 5]), (4, [4, 4, 4, 5, 5]), (5, [5; 5])] {
            let mut bound = worker(None).with_binding(None).unwrap();
            bound.set_run_size(size);
            for (count, run) in [3, 3, 2, 5, 1].into_iter().zip(runs) {
                let (images, colours) = images(count);
                assert_eq!(bound.scores(images.view()), Ok(colours));
                assert_eq!(bound.images_per_run(1), run);
            }
        }
        let mut fixed = worker(Some(2)).with_binding(None).unwrap();
        let (images, colours) = images(5);
        assert_eq!(fixed.scores(images.view()), Ok(colours));
    }

    #[test]
    fn workers_of_a_session_run_concurrently() {
        let first = worker(None);
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let session = Arc::clone(&first.session);
                let worker = SessionWorker::new(session, ["images", "colours"], None);
                worker.unwrap().with_binding(None).unwrap()
            })
            .collect();
        std::thread::scope(|scope| {
            for (number, mut worker) in workers.into_iter().enumerate() {
                scope.spawn(move || {
                    for run in 0..50 {
                        let (images, colours) = images(1 + (number + run) % 5);
                        assert_eq!(worker.scores(images.view()), Ok(colours));
                    }
                    assert!(worker.take_busy() > Duration::ZERO);
                });
            }
        });
    }

    #[test]
    fn images_to_be_ignored_have_no_scores() {
        for bound in [false, true] {
            let mut worker = worker(None);
            if bound {
                worker = worker.with_binding(None).unwrap();
            }
            let (mut images, colours) = images(5);
            images.set_count(2);
            assert_eq!(worker.scores(images.view()), Ok(colours[..6].to_vec()));
        }
    }
}
