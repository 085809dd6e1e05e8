//! Distillation: a trained classifier whose scores a run imitates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::ArrayView4;
use tch::{Device, Kind, TchError, Tensor, no_grad};
use thiserror::Error;
use topk_eval::{Element, Execution, InputKind, Layout, Model, ModelError, Provider};
use topk_files::excerpt;
use topk_native::{Runtime, RuntimeError};
use topk_ops::accuracy::label_ranks;

use crate::TrainError;
use crate::batching::Part;
use crate::config::Config;
use crate::dataset::Dataset;

/// The teacher cannot be used.
#[derive(Debug, Error)]
pub enum TeacherError {
    /// ONNX Runtime is missing.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model cannot be opened or run.
    #[error("--teacher: {0}")]
    Model(#[from] ModelError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
    /// The model does not say what its classes and its preprocessing are.
    #[error(
        "--teacher {}: the file does not record its class names and its normalisation, so it is not known whether its \
         scores are those of the same classes and images: export it with topk-export, with --class-names",
        path.display()
    )]
    NoCard {
        /// The model.
        path: PathBuf,
    },
    /// It takes other images.
    #[error("--teacher {}: it takes {expected}, but this run has {found}", path.display())]
    Images {
        /// The model.
        path: PathBuf,
        /// What it takes.
        expected: String,
        /// What the run has.
        found: String,
    },
    /// It does not know a class.
    #[error(
        "--teacher {}: it has {teacher} classes, and the data {data}, such as `{class}`, which the other does not have; \
         both must have the same classes",
        path.display()
    )]
    Classes {
        /// The model.
        path: PathBuf,
        /// Number of its classes.
        teacher: usize,
        /// Number of classes of the data.
        data: usize,
        /// A class of one that the other does not have.
        class: String,
    },
}

/// A trained classifier in ONNX Runtime.
#[derive(Debug)]
pub(crate) struct Teacher {
    model: Model,
    /// The output of each class of the data, if they are in another order.
    order: Option<Vec<i64>>,
    /// Factor and summand of each channel of the student's images, if the teacher's are normalised otherwise.
    renormalization: Option<[Vec<f32>; 2]>,
    distillation: Distillation,
}

/// How a teacher's scores enter the loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distillation {
    /// Weight of the teacher's part.
    pub(crate) alpha: f64,
    /// Temperature of the scores of both.
    pub(crate) tau: f64,
}

impl Teacher {
    /// Opens the teacher of a run and checks that it fits the data; `None` if there is none. Also what was decided about
    /// it, as lines.
    ///
    /// # Errors
    /// If the model cannot be opened, or is of other classes or images.
    pub(crate) fn open(
        config: &Config,
        data: &Dataset,
        device: Device,
    ) -> Result<Option<(Self, Vec<String>)>, TeacherError> {
        let Some(path) = &config.loss.teacher else {
            return Ok(None);
        };
        let (provider, auto_gpu) = match (config.device, device) {
            // The GPU was found, not requested: without ONNX Runtime for GPUs, the teacher runs on the CPU.
            (topk_native::Device::Auto, Device::Cuda(index)) => (Provider::Auto, index),
            (_, Device::Cuda(index)) => (Provider::Cuda(index), index),
            _ => (Provider::Cpu, 0),
        };
        let execution = Execution {
            provider,
            auto_gpu,
            threads: config.workers,
            sessions: Some(1),
            ..Execution::default()
        };
        let model = Model::open(&Runtime::load()?, path, execution)?;
        let order = checked(&model, path, data)?;
        let card = model
            .card()
            .ok_or_else(|| TeacherError::NoCard { path: path.clone() })?;
        let [mean, std] = [data.normalization.mean, data.normalization.std];
        let [own_mean, own_std] = [card.mean, card.std].map(|values| values.rgb());
        let is_same = (own_mean, own_std) == (mean, std);
        let renormalization = (!is_same).then(|| {
            let channels = 0..data.mode.channels();
            let factor = channels.clone().map(|c| std[c] / own_std[c]).collect();
            let summand = channels.map(|c| (mean[c] - own_mean[c]) / own_std[c]);
            [factor, summand.collect()]
        });
        let Distillation { alpha, tau } = config.loss.distillation();
        let mut lines = vec![format!(
            "--teacher {}: {} in ONNX Runtime; the loss is {} times that of the labels, and {} times the divergence from \
             the teacher's scores at temperature {}",
            path.display(),
            card.architecture,
            1.0 - alpha,
            alpha,
            tau,
        )];
        if order.is_some() {
            lines.push(
                "the teacher's classes are in another order; they are matched by name".to_owned(),
            );
        }
        if renormalization.is_some() {
            lines.push("images are normalised anew for the teacher".to_owned());
        }
        lines.extend(model.notes().iter().cloned());
        let teacher = Self {
            model,
            order,
            renormalization,
            distillation: config.loss.distillation(),
        };
        Ok(Some((teacher, lines)))
    }

    /// SHA-256 of the model.
    pub(crate) fn sha256(&self) -> &str {
        self.model.sha256()
    }

    /// The teacher's logits `[N, C]` of images `[N, channels, height, width]`, with the classes of the data, on their
    /// device. Waits for the device, since ONNX Runtime takes images from the host.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub(crate) fn logits(&mut self, images: &Tensor) -> Result<Tensor, TeacherError> {
        let device = images.device();
        let images = no_grad(|| self.normalized(images))?;
        let shape = images.size();
        let shape: [usize; 4] = std::array::from_fn(|axis| shape[axis] as usize);
        let values: Vec<f32> = Vec::try_from(images.f_reshape(-1)?)?;
        let view = ArrayView4::from_shape(shape, &values).expect("the shape is that of the tensor");
        let logits = self.model.logits(view)?;
        let (samples, outputs) = logits.dim();
        let logits = logits.as_standard_layout();
        let values = logits.as_slice().expect("the standard layout is dense");
        let logits = Tensor::f_from_slice(values)?.f_view([samples as i64, outputs as i64])?;
        let logits = match &self.order {
            Some(order) => logits.f_index_select(1, &Tensor::f_from_slice(order)?)?,
            None => logits,
        };
        Ok(logits.f_to_device(device)?)
    }

    /// The images as the teacher takes them, on the host.
    fn normalized(&self, images: &Tensor) -> Result<Tensor, TchError> {
        let images = images.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        let Some([factor, summand]) = &self.renormalization else {
            return images.f_contiguous();
        };
        let channel = |values: &[f32]| Tensor::f_from_slice(values)?.f_view([1, -1, 1, 1]);
        let images = images.f_mul(&channel(factor)?)?.f_add(&channel(summand)?)?;
        images.f_contiguous()
    }

    /// A line about its accuracy on some validation images.
    ///
    /// # Errors
    /// If the images cannot be read, or the model cannot be run.
    pub(crate) fn accuracy(
        &mut self,
        config: &Config,
        data: &Dataset,
        device: Device,
    ) -> Result<Option<String>, TrainError> {
        const IMAGES: usize = 500;
        let (mut ranks, classes) = (Vec::new(), data.class_names.len());
        for batch in data
            .validation
            .in_order(config.validation_batch_size, Part::WHOLE)
        {
            let batch = batch?;
            if batch.labels.is_empty() {
                continue;
            }
            let inputs = batch.inputs(data.shape, device)?;
            let logits = self.logits(&inputs.images)?;
            let logits = logits.to_device(Device::Cpu).reshape(-1);
            let logits: Vec<f32> = Vec::try_from(logits)?;
            // A score that is not a number is not among the highest.
            ranks.extend(
                label_ranks(&logits, &batch.labels).unwrap_or(vec![classes; batch.labels.len()]),
            );
            if ranks.len() >= IMAGES {
                break;
            }
        }
        if ranks.is_empty() {
            return Ok(None);
        }
        let share =
            |k: usize| ranks.iter().filter(|&&rank| rank < k).count() as f64 / ranks.len() as f64;
        let warning = match share(1) * classes as f64 <= 1.0 {
            true => "; that is no better than chance: check that its classes are those of the data",
            false => "",
        };
        let (k, images) = (config.topk(), ranks.len());
        Ok(Some(format!(
            "the teacher's accuracy on {images} validation images: top-1 {:.2} %, top-{k} {:.2} %{warning}",
            100.0 * share(1),
            100.0 * share(k)
        )))
    }

    pub(crate) fn distillation(&self) -> Distillation {
        self.distillation
    }
}

impl Distillation {
    /// The loss with the teacher's part: (1 − α) `loss` + α τ² KL(teacher ‖ student), where both are the softmax of the
    /// scores over τ, and the divergence is the mean over the batch, as in timm's `LogitDistillationTask`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn mean(
        self,
        loss: &Tensor,
        scores: &Tensor,
        teacher: &Tensor,
    ) -> Result<Tensor, TchError> {
        let softened = |scores: &Tensor| {
            let scores = scores.f_to_kind(Kind::Float)?.f_div_scalar(self.tau)?;
            scores.f_log_softmax(1, None)
        };
        let divergence =
            softened(scores)?.f_kl_div(&softened(teacher)?, tch::Reduction::Sum, true)?;
        let images = scores.size()[0] as f64;
        let divergence = divergence.f_mul_scalar(self.alpha * self.tau * self.tau / images)?;
        loss.f_mul_scalar(1.0 - self.alpha)?.f_add(&divergence)
    }
}

/// Checks that a model takes the images of a run, and has its classes; returns their outputs if the order is another.
fn checked(model: &Model, path: &Path, data: &Dataset) -> Result<Option<Vec<i64>>, TeacherError> {
    let no_card = || TeacherError::NoCard {
        path: path.to_owned(),
    };
    let card = model.card().ok_or_else(no_card)?;
    let names = card.class_names.as_ref().ok_or_else(no_card)?;
    let expected = InputKind {
        element: Element::F32,
        layout: Layout::Nchw,
        mode: data.mode,
    };
    let kind = model.kind();
    let [_, height, width] = data.shape;
    if kind != expected || card.input_size != data.shape {
        let [channels, own_height, own_width] = card.input_size;
        let layout = match kind.layout {
            Layout::Nchw => "[batch, channels, height, width]",
            Layout::Nhwc => "[batch, height, width, channels]",
        };
        return Err(TeacherError::Images {
            path: path.to_owned(),
            expected: format!(
                "{channels}x{own_height}x{own_width} images of {} in {layout}",
                kind.element
            ),
            found: format!(
                "{}x{height}x{width} images of {} in [batch, channels, height, width]",
                data.shape[0], expected.element
            ),
        });
    }
    if let Some(batch) = model.batch() {
        return Err(TeacherError::Images {
            path: path.to_owned(),
            expected: format!("batches of {batch} images"),
            found: "batches of any size: export it with a free batch size".to_owned(),
        });
    }
    let indices =
        |names: &[String]| -> HashMap<String, i64> { names.iter().cloned().zip(0..).collect() };
    let (of_teacher, of_data) = (indices(names), indices(&data.class_names));
    let missing = |of: &[String], in_other: &HashMap<String, i64>| {
        let mut missing = of.iter().filter(|name| !in_other.contains_key(*name));
        missing.next().map(|name| excerpt(name))
    };
    let other = missing(&data.class_names, &of_teacher).or_else(|| missing(names, &of_data));
    if let Some(class) = other {
        return Err(TeacherError::Classes {
            path: path.to_owned(),
            teacher: names.len(),
            data: data.class_names.len(),
            class,
        });
    }
    if *names == data.class_names {
        return Ok(None);
    }
    let output = |name: &String| of_teacher.get(name).copied();
    Ok(Some(data.class_names.iter().filter_map(output).collect()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use topk_export::{ExportOptions, export};
    use topk_models::Checkpoint;
    use topk_models_tch::Mode;
    use topk_onnx::ModelCard;

    use super::*;
    use crate::args::Args;
    use crate::random::with_torch_seed;
    use crate::sample;
    use crate::step::Learner;
    use crate::train::{learner, load_data};

    /// A run on the sample whose teacher is an untrained network, and that network.
    struct Case {
        folder: tempfile::TempDir,
        config: Config,
        data: Dataset,
        network: Learner,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            sample::write(folder.path(), 200, 1);
            let flags = [
                format!("--data={}", folder.path().display()),
                "--val-size=50".to_owned(),
                "--model=basic-4".to_owned(),
                "--device=cpu".to_owned(),
                "--workers=1".to_owned(),
            ];
            let mut config = Args::config_of(flags.into_iter().map(OsString::from)).unwrap();
            let data = load_data(&config, None, Device::Cpu).unwrap();
            let (network, _) = learner(&config, &data, Device::Cpu, None).unwrap();
            let card = ModelCard {
                format: ModelCard::FORMAT,
                architecture: "basic-4".to_owned(),
                class_names: Some(data.class_names.clone()),
                input_size: data.shape,
                resize: None,
                mean: data.normalization.mean.into(),
                std: data.normalization.std.into(),
                training: None,
            };
            let (weights, onnx) = (
                folder.path().join("t.safetensors"),
                folder.path().join("t.onnx"),
            );
            network.network().checkpoint(card).save(&weights).unwrap();
            let checkpoint = Checkpoint::load(&weights).unwrap();
            export(checkpoint, &ExportOptions::default(), &onnx).unwrap();
            config.loss.teacher = Some(onnx);
            Self {
                folder,
                config,
                data,
                network,
            }
        }

        fn teacher(&self) -> Result<(Teacher, Vec<String>), String> {
            let opened = Teacher::open(&self.config, &self.data, Device::Cpu);
            let opened = opened.map_err(|error| error.to_string())?;
            Ok(opened.expect("there is a teacher"))
        }
    }

    fn images() -> Tensor {
        with_torch_seed(1, || Tensor::randn([5, 3, 32, 32], tch::kind::FLOAT_CPU))
    }

    fn distance(one: &Tensor, other: &Tensor) -> f64 {
        (one - other).abs().max().double_value(&[])
    }

    #[test]
    fn scores_are_those_of_the_network() {
        let case = Case::new();
        let (mut teacher, lines) = case.teacher().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let images = images();
        let expected = no_grad(|| case.network.network().forward(&images, Mode::Eval));
        let found = teacher.logits(&images).unwrap();
        assert!(distance(&found, &expected) < 1e-4);
        // A loss that is the divergence alone is 0 for the same scores, and no longer if they are scaled.
        let distillation = Distillation {
            alpha: 1.0,
            tau: 3.0,
        };
        let zero = Tensor::from(7f32);
        let same = distillation.mean(&zero, &found, &found).unwrap();
        let scaled = distillation.mean(&zero, &(&found * 2), &found).unwrap();
        assert!(same.double_value(&[]).abs() < 1e-6 && scaled.double_value(&[]) > 1e-6);
    }

    #[test]
    fn classes_are_matched_by_name_and_images_normalised_as_the_teacher_expects() {
        let mut case = Case::new();
        let images = images();
        let expected = no_grad(|| case.network.network().forward(&images, Mode::Eval));
        case.data.class_names.reverse();
        let of_teacher = case.data.normalization;
        case.data.normalization.mean = [0.1, 0.2, 0.3];
        case.data.normalization.std = [0.5, 0.25, 2.0];
        let (mut teacher, lines) = case.teacher().unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        let channel = |values: &[f32]| Tensor::from_slice(values).view([1, 3, 1, 1]);
        let own = &case.data.normalization;
        let pixels = images * channel(&of_teacher.std) + channel(&of_teacher.mean);
        let renormalized = (pixels - channel(&own.mean)) / channel(&own.std);
        let found = teacher.logits(&renormalized).unwrap();
        assert!(distance(&found, &expected.flip([1])) < 1e-4);
    }

    #[test]
    fn a_teacher_of_other_classes_or_images_is_refused() {
        let mut case = Case::new();
        let onnx = case.folder.path().join("t.onnx").display().to_string();
        let first = std::mem::replace(&mut case.data.class_names[0], "unknown".to_owned());
        let error = case.teacher().unwrap_err();
        let expected = format!(
            "--teacher {onnx}: it has 20 classes, and the data 20, such as `unknown`, which the other does not have; both \
             must have the same classes"
        );
        assert_eq!(error, expected);
        case.data.class_names[0] = first;
        case.data.shape = [3, 64, 64];
        let error = case.teacher().unwrap_err();
        assert!(error.contains("it takes 3x32x32 images of"), "{error}");
    }
}
