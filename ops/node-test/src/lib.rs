//! Test cases in the layout of ONNX's own node tests: one folder per case, with `model.onnx` and
//! `test_data_set_0/input_N.pb` and `output_N.pb`, each a `TensorProto`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use topk_onnx::proto::{DataType, ModelProto, TensorProto};
use topk_onnx::{OPSET, check};
use topk_ops::{Loss, Reduction, SmoothTopkSvm};
use topk_ops_onnx::{Form, OnnxLoss};
use topk_reference::{ReadError, read_cases};
use topk_testing::run;

/// A batch and the expected outputs of a loss.
#[derive(Clone, Debug)]
pub struct Case {
    /// The loss.
    pub loss: OnnxLoss,
    /// Number of classes.
    pub classes: usize,
    /// Scores, row-major.
    pub scores: Vec<f32>,
    /// The label of each sample.
    pub labels: Vec<i64>,
    /// The weight of each class.
    pub weights: Option<Vec<f32>>,
    /// The operator's outputs.
    pub outputs: Vec<Vec<f32>>,
}

impl Case {
    /// A case whose outputs are those of [`OnnxLoss::criterion`].
    pub fn new(
        loss: OnnxLoss,
        classes: usize,
        scores: Vec<f32>,
        labels: Vec<i64>,
        weights: Option<Vec<f32>>,
    ) -> Self {
        let mut criterion = loss.criterion();
        if let Some(weights) = &weights {
            let weights = weights.iter().map(|&weight| weight.into()).collect();
            criterion = criterion.with_weight(weights).unwrap();
        }
        let mut values = vec![0.0; criterion.output_len(labels.len())];
        let mut grad = vec![0.0; scores.len()];
        criterion
            .forward_backward(&scores, &labels, &mut values, &mut grad)
            .unwrap();
        let mut outputs = vec![values, grad];
        let unweighted = loss.loss.as_loss();
        if let (true, Some(k)) = (loss.loss.operator().has_prob(), loss.loss.k()) {
            let rows = scores.chunks(classes).zip(&labels);
            let prob = rows.map(|(row, label)| {
                if Some(*label) == loss.ignore_index {
                    return 0.0;
                }
                let row: Vec<f64> = row.iter().map(|&score| score.into()).collect();
                let (mut value, mut grad) = ([0.0], vec![0.0; classes]);
                Loss::forward_backward(&unweighted, &row, &[*label], &mut value, &mut grad)
                    .unwrap();
                (-grad[*label as usize] * k as f64) as f32
            });
            outputs.push(prob.collect());
        }
        Self {
            loss,
            classes,
            scores,
            labels,
            weights,
            outputs,
        }
    }

    /// The exact values of a file such as [`golden`](topk_testing::golden), rounded to `f32`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn golden(path: &Path) -> Result<Vec<Self>, ReadError> {
        let cases = read_cases(path)?.into_iter().map(|exact| {
            let loss = SmoothTopkSvm::new(exact.k, exact.tau, exact.alpha);
            let loss = OnnxLoss {
                loss: loss.expect("the parameters are in range").into(),
                reduction: Reduction::None,
                ignore_index: None,
            };
            let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            let scores = single(&exact.scores);
            let mut case = Self::new(loss, exact.scores.len(), scores, vec![exact.y], None);
            case.outputs[0] = vec![exact.loss as f32];
            case.outputs[1] = single(&exact.grad);
            case
        });
        Ok(cases.collect())
    }

    /// The model of the loss, checked, for this version of ONNX's operators.
    pub fn model(&self, form: Form, opset: i64) -> ModelProto {
        let model = self
            .loss
            .model(form, opset, self.classes, self.weights.is_some(), false)
            .unwrap();
        check(&model).unwrap();
        model
    }

    /// Writes the case into a new folder.
    pub fn write(&self, folder: &Path, form: Form) {
        self.write_with(folder, form, OPSET);
    }

    /// As [`write`](Self::write), for this version of ONNX's operators.
    pub fn write_with(&self, folder: &Path, form: Form, opset: i64) {
        let data = folder.join("test_data_set_0");
        fs::create_dir_all(&data).unwrap();
        fs::write(
            folder.join("model.onnx"),
            self.model(form, opset).encode_to_vec(),
        )
        .unwrap();

        let samples = self.labels.len();
        let scores = [samples, self.classes];
        let bytes = self.labels.iter().flat_map(|label| label.to_le_bytes());
        let bytes = bytes.collect();
        let mut inputs = vec![
            float("scores", &scores, &self.scores),
            TensorProto::new("labels", DataType::Int64, &[samples], bytes),
        ];
        if let Some(weights) = &self.weights {
            inputs.push(float("weights", &[self.classes], weights));
        }
        let losses = match self.loss.reduction {
            Reduction::None => samples,
            Reduction::Sum | Reduction::Mean => 1,
        };
        let shapes: [&[usize]; 3] = [&[losses], &scores, &[samples]];
        let names = self.loss.loss.operator().output_names();
        let outputs = names.iter().zip(shapes).zip(&self.outputs);
        let outputs = outputs.map(|((name, shape), values)| float(name, shape, values));
        for (i, input) in inputs.iter().enumerate() {
            fs::write(data.join(format!("input_{i}.pb")), input.encode_to_vec()).unwrap();
        }
        for (i, output) in outputs.enumerate() {
            fs::write(data.join(format!("output_{i}.pb")), output.encode_to_vec()).unwrap();
        }
    }
}

fn float(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    TensorProto::of_floats(name, shape, values)
}

/// The runtime that computes the cases of [`run_cases`].
#[derive(Clone, Copy, Debug)]
pub enum Engine<'a> {
    /// ONNX's reference evaluator; it also checks the models.
    Reference,
    /// ONNX Runtime.
    OnnxRuntime,
    /// ONNX Runtime with this library of operators.
    OnnxRuntimeWith(&'a Path),
    /// OpenVINO.
    OpenVino,
}

/// Runs cases in a Python environment. Returns, for each folder, the largest error of each output,
/// relative to max(1, value) for the first output and absolute for the others.
///
/// # Panics
/// If a case fails, or its outputs have wrong shapes or types.
pub fn run_cases(python: &mut Command, engine: Engine<'_>, folders: &[PathBuf]) -> Vec<Vec<f64>> {
    let (name, library) = match engine {
        Engine::Reference => ("reference", Path::new("")),
        Engine::OnnxRuntime => ("onnxruntime", Path::new("")),
        Engine::OnnxRuntimeWith(library) => ("onnxruntime", library),
        Engine::OpenVino => ("openvino", Path::new("")),
    };
    python
        .args(["-c", include_str!("run.py"), name])
        .arg(library);
    let printed = run(python.args(folders));
    let errors: Vec<Vec<f64>> = printed
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|error| error.parse().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(errors.len(), folders.len());
    errors
}
