use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tch::nn::{Optimizer, OptimizerConfig, Sgd};
use tch::{Device, Kind, Tensor, no_grad};
use topk_data::{Dataset, cifar100};
use topk_image::{Normalization, NormalizationTable};
use topk_models::{Checkpoint, ExportOptions, Mode, Network, architecture, export};
use topk_native::Runtime;
use topk_onnx::{ModelCard, Training};
use topk_ops::accuracy::Accuracy;
use topk_ops_tch::{loss, select_device};
use topk_weights::StateDict;

use crate::TrainError;
use crate::batches::TrainingImages;
use crate::config::{Config, DataSet, LossKind};
use crate::evaluate::{image_tensor, label_ranks};
use crate::label_noise::add_label_noise;
use crate::log::{Best, Epoch, Log, Record};
use crate::progress::Progress;
use crate::split::split;
use crate::training_loss::{TrainingLoss, training_loss};

/// Trains a network and leaves in the folder `config.out`:
///
/// - `log.jsonl`: the configuration, then a line an epoch, then the test accuracy of the best;
/// - `best1.safetensors` and `bestk.safetensors`: the weights after the epochs with the best top-1
///   and top-k accuracy on the validation images;
/// - `best1.onnx` and `bestk.onnx`: these as ONNX models.
///
/// The test images are not looked at before the end.
///
/// # Errors
/// If the data, the network or the device cannot be had, the settings do not fit them, the training
/// diverges, or a file cannot be written. Files written before stay and are whole.
pub fn train(config: &Config) -> Result<(), TrainError> {
    let start = Instant::now();
    if let Some(threads) = config.threads {
        tch::set_num_threads(threads as i32);
        // Fails only if there is a pool already, which then stays.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
    let device = select_device(config.device)?;
    // Needed at the end: not to be missed only then.
    Runtime::load()?;
    let data = Data::load(config)?;
    let classes = data.training.dataset.class_names.len();
    let loss = training_loss(config.loss, config.topk)?;
    loss.check_classes(classes)?;
    if config.topk > classes {
        return Err(TrainError::TopK {
            k: config.topk,
            classes,
        });
    }

    tch::manual_seed(config.seed as i64);
    let architecture = architecture(&config.model, data.training.dataset.shape, classes)?;
    let parameters = architecture.trainable_len();
    let mut network = Network::new(architecture, device);
    if let Some(path) = &config.weights {
        let file = StateDict::read(path)?;
        let matched = network.architecture().matched(file, config.head);
        let matched = matched.map_err(|error| TrainError::Pretrained {
            path: path.clone(),
            error,
        })?;
        network.load(&matched.tensors)?;
    }
    let optimizer = Sgd {
        momentum: config.momentum,
        dampening: 0.0,
        wd: config.weight_decay,
        nesterov: true,
    };
    let optimizer = optimizer
        .build(network.variables(), config.lr)
        .expect("the settings have been checked");

    fs::create_dir_all(&config.out).map_err(|error| TrainError::Write {
        path: config.out.clone(),
        error,
    })?;
    let mut log = Log::create(&config.out)?;
    let (train_images, val_images) = (data.training.indices.len(), data.validation.len());
    log.write(&Record::Start {
        config,
        device: device_name(device),
        classes,
        train_images,
        val_images,
        parameters,
    })?;
    let progress = Progress::new(
        config.epochs,
        data.training.batches(config.batch_size),
        config.topk,
    );
    progress.line(&format!(
        "{}: {train_images} training and {val_images} validation images of {classes} classes",
        config.root.display()
    ));
    progress.line(&format!(
        "{}: {parameters} parameters, loss {}, on {}",
        config.model,
        config.loss.name(),
        device_name(device)
    ));

    let mut run = Run {
        config,
        data,
        loss,
        network,
        optimizer,
        progress,
        log,
    };
    let best = run.epochs()?;
    let Run {
        mut network,
        mut log,
        progress,
        data,
        ..
    } = run;
    progress.finish();

    let checkpoints = best
        .iter()
        .map(|best| conclude(config, &data, &mut network, best))
        .collect::<Result<Vec<_>, _>>()?;
    for best in &checkpoints {
        progress.line(&format!(
            "{:5} (epoch {}): test top-1 {:.2} top-{} {:.2} on {} images: {}",
            best.name,
            best.epoch,
            100.0 * best.test.top1(),
            best.k,
            100.0 * best.test.topk(),
            best.test.images,
            best.onnx.display(),
        ));
    }
    log.write(&Record::End {
        seconds: start.elapsed().as_secs_f64(),
        checkpoints,
    })
}

/// The images of a run.
struct Data {
    training: Arc<TrainingImages>,
    /// Indices of the images for validation, in the data set of the training images.
    validation: Vec<usize>,
    /// Read at the start, so that a run cannot fail for want of it; looked at only at the end.
    test: Dataset,
    normalization: Normalization,
}

impl Data {
    fn load(config: &Config) -> Result<Self, TrainError> {
        let (dataset, test, normalization) = match config.data {
            DataSet::Cifar100 => (
                cifar100::load(&config.root, cifar100::Split::Train)?,
                cifar100::load(&config.root, cifar100::Split::Test)?,
                cifar100::NORMALIZATION,
            ),
        };
        let split = split(dataset.len(), config.val_size.unwrap_or(dataset.len() / 10))?;
        // The validation images keep their clean labels, as in the seed code.
        let mut labels: Vec<i64> = split.train.iter().map(|&i| dataset.labels[i]).collect();
        add_label_noise(
            &mut labels,
            dataset.class_names.len(),
            config.noise,
            config.seed,
        )?;
        let training = TrainingImages {
            dataset: Arc::new(dataset),
            table: normalization.table(),
            indices: split.train,
            labels,
            augment: config.augment,
            seed: config.seed,
        };
        Ok(Self {
            training: Arc::new(training),
            validation: split.validation,
            test,
            normalization,
        })
    }

    fn dataset(&self) -> &Dataset {
        &self.training.dataset
    }

    fn table(&self) -> &NormalizationTable {
        &self.training.table
    }
}

/// A run in progress.
struct Run<'a> {
    config: &'a Config,
    data: Data,
    loss: TrainingLoss,
    network: Network,
    optimizer: Optimizer,
    progress: Progress,
    log: Log,
}

/// The best checkpoint so far by one measure.
struct BestSoFar {
    name: &'static str,
    measure: fn(&Accuracy) -> usize,
    epoch: usize,
    val: Option<Accuracy>,
}

impl BestSoFar {
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.name).with_extension("safetensors")
    }
}

impl Run<'_> {
    /// Trains through all epochs; the best checkpoints are on disk then.
    fn epochs(&mut self) -> Result<[BestSoFar; 2], TrainError> {
        let best = |name, measure| BestSoFar {
            name,
            measure,
            epoch: 0,
            val: None,
        };
        let mut best = [
            best("best1", |accuracy| accuracy.top1_correct),
            best("bestk", |accuracy| accuracy.topk_correct),
        ];
        self.progress.titles();
        for number in 1..=self.config.epochs {
            let epoch = self.epoch(number)?;
            let mut marks = Vec::new();
            let mut checkpoint = None;
            for best in &mut best {
                if best
                    .val
                    .is_none_or(|val| (best.measure)(&epoch.val) > (best.measure)(&val))
                {
                    best.epoch = number;
                    best.val = Some(epoch.val);
                    checkpoint
                        .get_or_insert_with(|| self.checkpoint(&epoch))
                        .save(&best.path(&self.config.out))?;
                    marks.push(best.name);
                }
            }
            self.log.write(&Record::Epoch(&epoch))?;
            self.progress.epoch(&epoch, &marks.join(" "));
        }
        Ok(best)
    }

    fn epoch(&mut self, epoch: usize) -> Result<Epoch, TrainError> {
        let config = self.config;
        let start = Instant::now();
        let lr = config.schedule.learning_rate(config.lr, epoch);
        self.optimizer.set_lr(lr);

        // Sums stay on the device: reading them at every step would wait for it.
        let device = self.network.variables().device();
        let mut sums = Tensor::zeros([3], (Kind::Double, device));
        let mut images = 0;
        let shape = self.data.dataset().shape;
        let batches = self.data.training.epoch(epoch, config.batch_size);
        for (batch, host) in batches.enumerate() {
            let xs = image_tensor(&host, shape, device);
            let labels = Tensor::from_slice(&host.labels).to_device(device);
            let scores = self.network.forward(&xs, Mode::Train);
            let loss = loss(&self.loss, &scores, &labels).map_err(|error| TrainError::Step {
                epoch,
                batch: batch + 1,
                error,
            })?;
            self.optimizer.zero_grad();
            loss.backward();
            self.optimizer.step();

            no_grad(|| {
                let label_scores = scores.gather(1, &labels.unsqueeze(1), false);
                let ranks =
                    scores
                        .gt_tensor(&label_scores)
                        .sum_dim_intlist([1i64].as_slice(), false, None);
                let count = |k: usize| ranks.lt(k as i64).sum(Kind::Double);
                let loss = loss.to_kind(Kind::Double) * host.labels.len() as f64;
                sums += Tensor::stack(&[loss, count(1), count(config.topk)], 0);
            });
            images += host.labels.len();
            self.progress
                .step(epoch, images as f64 / start.elapsed().as_secs_f64());
        }
        let sums: Vec<f64> = Vec::try_from(&sums).expect("three numbers are a vector");
        let images_per_second = images as f64 / start.elapsed().as_secs_f64();

        let val = label_ranks(
            &self.network,
            self.data.dataset(),
            self.data.table(),
            &self.data.validation,
            config.test_batch_size,
        )
        .map_err(|image| TrainError::NanScores {
            epoch,
            part: "validation",
            image,
        })?;
        Ok(Epoch {
            epoch,
            lr,
            loss: sums[0] / images as f64,
            train: Accuracy {
                images,
                top1_correct: sums[1] as usize,
                topk_correct: sums[2] as usize,
            },
            val: Accuracy::of(&val, config.topk),
            images_per_second,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn checkpoint(&self, epoch: &Epoch) -> Checkpoint {
        let config = self.config;
        let (tau, alpha) = match config.loss {
            LossKind::Svm { tau, alpha } => (Some(tau), Some(alpha)),
            LossKind::CrossEntropy => (None, None),
        };
        let card = ModelCard {
            format: ModelCard::FORMAT,
            architecture: config.model.clone(),
            class_names: Some(self.data.dataset().class_names.clone()),
            input_size: self.data.dataset().shape,
            resize: None,
            mean: self.data.normalization.mean,
            std: self.data.normalization.std,
            training: Some(Training {
                dataset: config.data.name().to_owned(),
                noise: config.noise,
                loss: config.loss.name().to_owned(),
                k: config.topk,
                tau,
                alpha,
                seed: config.seed,
                epoch: epoch.epoch,
                val_top1: epoch.val.top1(),
                val_topk: epoch.val.topk(),
            }),
        };
        Checkpoint::of_network(card, &self.network)
    }
}

/// Measures a best checkpoint on the test images and exports it.
fn conclude(
    config: &Config,
    data: &Data,
    network: &mut Network,
    best: &BestSoFar,
) -> Result<Best, TrainError> {
    let path = best.path(&config.out);
    let checkpoint = Checkpoint::load(&path)?;
    network.load(checkpoint.weights())?;
    let test = &data.test;
    let indices: Vec<usize> = (0..test.len()).collect();
    let ranks = label_ranks(
        network,
        test,
        data.table(),
        &indices,
        config.test_batch_size,
    )
    .map_err(|image| TrainError::NanScores {
        epoch: best.epoch,
        part: "test",
        image,
    })?;
    let onnx = path.with_extension("onnx");
    export(checkpoint, &ExportOptions::default(), &onnx)?;
    Ok(Best {
        name: best.name,
        epoch: best.epoch,
        k: config.topk,
        val: best.val.expect("there is at least one epoch"),
        test: Accuracy::of(&ranks, config.topk),
        checkpoint: path,
        onnx,
    })
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        device => format!("{device:?}").to_lowercase(),
    }
}
