//! The library of `topk-eval` in a Rust program: accuracy in a few lines, and images and logits as arrays.

#![cfg(feature = "ndarray")]

#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../cli/case.rs"]
mod case;
mod errors;
mod grey;
#[allow(dead_code, reason = "the example's main function")]
#[path = "../../examples/judge-logits.rs"]
mod judge_logits;

use std::fs;
use std::path::Path;

use ndarray::{Array1, Array4, Axis, concatenate, s};
use topk_eval::{
    Batches, DataOptions, EvalOptions, Execution, ImageBatch, ImageSet, InputElement, Model,
    ModelOptions, NamedPreset, PreprocessOverrides, Runtime, evaluate,
};
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, ModelCard, attribute};
use topk_ops::array::{label_ranks, topk_accuracy};
use topk_ops::{Criterion, Loss, SmoothTopkSvm};
use topk_testing::shared;

use case::{CLASSES, Case, RECORD, card, class_names};

const IMAGES: usize = 23;

/// The value of a channel of an image at an index from 0 to 1023.
fn pixel(image: usize, channel: usize, at: usize) -> u8 {
    ((37 * image + 70 * channel + at % 7) % 256) as u8
}

/// Images of different colours, with labels in turn.
fn write_colours(case: &Case) {
    let mut records = Vec::new();
    for image in 0..IMAGES {
        records.extend([0, (image % CLASSES) as u8]);
        let at = 0..RECORD - 2;
        records.extend(at.map(|at| pixel(image, at / 1024, at % 1024)));
    }
    fs::write(case.path("test.bin"), records).unwrap();
}

/// A classifier by the mean colour of images `[batch, 3, 32, 32]`.
fn classify(graph: &mut GraphBuilder, images: &str, logits: &str, classes: usize) {
    let weight = |at: usize| ((at * 7) % 11) as f32 / 4.0 - 1.2;
    let weights: Vec<f32> = (0..3 * classes).map(weight).collect();
    graph.initializer("weights", &[3, classes], &weights);
    graph.node("GlobalAveragePool", "means", &[images], []);
    graph.node(
        "Flatten",
        "features",
        &["means"],
        [attribute::int("axis", 1)],
    );
    graph.node("MatMul", logits, &["features", "weights"], []);
}

/// Writes a model with this batch size and number of outputs, which ends with `last`, if any.
fn write_model(
    case: &Case,
    batch: Dim<'static>,
    outputs: usize,
    last: Option<&str>,
    card: Option<&ModelCard>,
) {
    let last = last.map(str::to_owned);
    let build = move || {
        let mut graph = GraphBuilder::new("colours");
        let shape = [batch, Dim::Fixed(3), Dim::Fixed(32), Dim::Fixed(32)];
        graph.input("input", DataType::Float, &shape, "");
        match &last {
            None => classify(&mut graph, "input", "scores", outputs),
            Some(last) => {
                classify(&mut graph, "input", "logits", outputs);
                graph.node(last, "scores", &["logits"], []);
            }
        }
        graph.output("scores", DataType::Float, &[batch, Dim::Fixed(outputs)], "");
        graph.finish()
    };
    case.write_model(&build, card);
}

const BATCH: Dim = Dim::Dynamic("batch");

/// Images of different colours, and a model that has their classes in another order.
fn colours() -> Case {
    let case = Case::new();
    write_colours(&case);
    let names = class_names().into_iter().rev().collect();
    let card = ModelCard {
        class_names: Some(names),
        ..card()
    };
    write_model(&case, BATCH, CLASSES, None, Some(&card));
    case
}

fn open_set(folder: &Path) -> ImageSet {
    ImageSet::open(folder, &DataOptions::default()).unwrap()
}

fn open_model(case: &Case, options: impl Into<ModelOptions>) -> Model {
    let runtime = Runtime::load().unwrap();
    Model::open(&runtime, &case.path("model.onnx"), options).unwrap()
}

/// Settings with this batch size.
fn options(set: &ImageSet, batch_size: usize) -> EvalOptions {
    EvalOptions {
        batch_size,
        ..EvalOptions::new(set).unwrap()
    }
}

fn batches<'a, T: InputElement>(
    set: &'a ImageSet,
    model: &mut Model,
    options: &EvalOptions,
) -> Vec<ImageBatch<'a, T>> {
    let batches = Batches::new(set, model, options).unwrap();
    batches.collect::<Result<_, _>>().unwrap()
}

/// The ranks of the true classes according to [`evaluate`].
fn evaluated_ranks(case: &Case) -> Vec<usize> {
    let results = evaluate(case.path("model.onnx"), case.folder.path(), &[1]).unwrap();
    let outcomes = results.models[0].outcomes.iter().flatten();
    outcomes.map(|outcome| outcome.rank as usize).collect()
}

#[test]
fn the_accuracy_takes_one_call() {
    let case = Case::new();
    let results = evaluate(case.path("model.onnx"), case.folder.path(), &[5, 1]).unwrap();
    let topk = &results.models[0].metrics.topk;
    let found: Vec<_> = topk
        .iter()
        .map(|accuracy| (accuracy.k, accuracy.correct))
        .collect();
    assert_eq!(found, [(1, 3), (5, 8)]);
}

#[test]
fn the_example_judges_the_logits_of_a_session() {
    let case = Case::new();
    let mut out = Vec::new();
    judge_logits::judge(&case.path("model.onnx"), case.folder.path(), &mut out).unwrap();
    let scores: Vec<f32> = (0..CLASSES).map(|class| -(class as f32)).collect();
    let scores = scores.repeat(Case::LABELS.len());
    let mut losses = [0.0; Case::LABELS.len()];
    let loss = SmoothTopkSvm::new(5, 1.0, 1.0).unwrap();
    loss.forward(&scores, &Case::LABELS.map(i64::from), &mut losses)
        .unwrap();
    let mean = losses.iter().sum::<f32>() / losses.len() as f32;
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("10 images: top-1 30.00 %, top-5 80.00 %, smooth top-5 SVM {mean:.4}\n")
    );
}

#[test]
fn images_and_logits_agree_with_an_evaluation() {
    let case = colours();
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let expected = evaluated_ranks(&case);
    assert!(
        (0..CLASSES).all(|rank| expected.contains(&rank)),
        "{expected:?}"
    );

    let found: Vec<ImageBatch<f32>> = batches(&set, &mut model, &options(&set, 8));
    let sizes: Vec<usize> = found
        .iter()
        .map(|batch| batch.images.len_of(Axis(0)))
        .collect();
    assert_eq!(sizes, [8, 8, 7]);
    let (mut ranks, mut indices) = (Vec::new(), Vec::<usize>::new());
    for batch in &found {
        assert_eq!(batch.images.shape()[1..], [3, 32, 32]);
        let logits = model.logits(&batch.images).unwrap();
        assert_eq!(logits.dim(), (batch.labels.len(), CLASSES));
        ranks.extend(label_ranks(&logits, &batch.labels).unwrap());
        indices.extend(&batch.indices);
        for (&index, &name) in batch.indices.iter().zip(&batch.names) {
            let sample = &set.samples()[index];
            assert_eq!(name, sample.name);
        }
        // Labels are outputs of the model, whose classes are in the reverse order.
        let of_data = |index: &usize| set.samples()[*index].label.unwrap();
        let labels = batch
            .indices
            .iter()
            .map(|index| 5 - i64::from(of_data(index)));
        assert_eq!(batch.labels, labels.collect::<Array1<_>>());
    }
    assert_eq!(ranks, expected);
    assert_eq!(indices, (0..IMAGES).collect::<Vec<_>>());

    // The pixels: (value / 255 − mean) / std.
    let value = f32::from(pixel(1, 1, 3)) / 255.0;
    assert!((found[0].images[[1, 1, 0, 3]] - (value - 0.5) / 0.25).abs() < 1e-6);

    // Any strides, and any number of images.
    let views: Vec<_> = found.iter().map(|batch| batch.images.view()).collect();
    let all = concatenate(Axis(0), &views).unwrap();
    let logits = model.logits(&all).unwrap();
    let backwards = model.logits(all.slice(s![..;-1, .., .., ..])).unwrap();
    let same = (&backwards.slice(s![..;-1, ..]) - &logits).abs();
    assert!(same.iter().all(|&difference| difference < 1e-5));
    let one = model.logits(all.slice(s![4..5, .., .., ..])).unwrap();
    assert!((&one.row(0) - &logits.row(4)).abs().sum() < 1e-5);
    let none = model.logits(all.slice(s![..0, .., .., ..])).unwrap();
    assert_eq!(none.dim(), (0, CLASSES));
}

#[test]
fn fixed_batch_sizes_are_filled_up() {
    let case = colours();
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let expected = batches::<f32>(&set, &mut model, &options(&set, IMAGES)).remove(0);
    let logits = model.logits(&expected.images).unwrap();
    write_model(&case, Dim::Fixed(4), CLASSES, None, Some(&card()));
    let mut fixed = open_model(&case, Execution::default());
    let found = batches::<f32>(&set, &mut fixed, &options(&set, 10));
    let sizes: Vec<usize> = found.iter().map(|batch| batch.labels.len()).collect();
    assert_eq!(sizes, [8, 8, 7]);
    let found = fixed.logits(&expected.images).unwrap();
    assert!((found - logits).abs().sum() < 1e-4);
}

#[test]
fn probabilities_become_logits() {
    let case = colours();
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let batch = batches::<f32>(&set, &mut model, &options(&set, IMAGES)).remove(0);
    let logits = model.logits(&batch.images).unwrap();
    let criterion = Criterion::new(SmoothTopkSvm::new(2, 1.0, 1.0).unwrap());
    let expected = criterion.value(&logits, &batch.labels).unwrap();

    for last in ["Softmax", "LogSoftmax", "Sigmoid"] {
        write_model(&case, BATCH, CLASSES, Some(last), Some(&card()));
        let mut model = open_model(&case, Execution::default());
        // No data set is needed.
        let found = model.logits(&batch.images).unwrap();
        let loss = criterion.value(&found, &batch.labels).unwrap();
        assert!((loss - expected).abs() < 1e-4, "{last}: {loss} {expected}");
        assert_eq!(
            label_ranks(&found, &batch.labels),
            label_ranks(&logits, &batch.labels)
        );
        let note = &model.notes()[0];
        assert!(
            note.contains("softmax") || note.contains("sigmoid"),
            "{note}"
        );
    }
}

#[test]
fn raw_pixels_are_bytes() {
    let case = colours();
    let build = || {
        let mut graph = GraphBuilder::new("bytes");
        let shape = [BATCH, Dim::Fixed(32), Dim::Fixed(32), Dim::Fixed(3)];
        graph.input("pixels", DataType::Uint8, &shape, "");
        let float = attribute::int("to", DataType::Float as i64);
        graph.node("Cast", "floats", &["pixels"], [float]);
        let planes = attribute::ints("perm", [0, 3, 1, 2]);
        graph.node("Transpose", "images", &["floats"], [planes]);
        classify(&mut graph, "images", "scores", CLASSES);
        graph.output("scores", DataType::Float, &[BATCH, Dim::Fixed(CLASSES)], "");
        graph.finish()
    };
    case.write_model(&build, None);
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let found: Vec<ImageBatch<u8>> = batches(&set, &mut model, &options(&set, IMAGES));
    let images: &Array4<u8> = &found[0].images;
    assert_eq!(images.dim(), (IMAGES, 32, 32, 3));
    assert_eq!(images[[5, 1, 1, 2]], pixel(5, 2, 33));
    let ranks = label_ranks(&model.logits(images).unwrap(), &found[0].labels).unwrap();
    assert_eq!(ranks.to_vec(), evaluated_ranks(&case));

    let error = Batches::<f32>::new(&set, &mut model, &options(&set, 8))
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.ends_with("model.onnx takes images of uint8, but float32 is requested"),
        "{text}"
    );
}

#[test]
fn labels_count_outputs_before_class_0() {
    let case = colours();
    write_model(&case, BATCH, CLASSES + 1, None, None);
    let set = open_set(case.folder.path());
    let opening = ModelOptions {
        label_offset: Some(1),
        ..ModelOptions::default()
    };
    let mut model = open_model(&case, opening);
    let mut options = options(&set, IMAGES);
    options.overrides = PreprocessOverrides {
        normalization: Some(topk_preprocessing::Normalization::IMAGENET),
        ..PreprocessOverrides::default()
    };
    let all = Batches::<f32>::new(&set, &mut model, &options).unwrap();
    let decisions = all.decisions().join("\n");
    assert!(
        decisions.contains("class 0 of the data is output 1, as requested"),
        "{decisions}"
    );
    // A second time, nothing is decided again.
    let again = Batches::<f32>::new(&set, &mut model, &options).unwrap();
    assert_eq!(again.decisions().join("\n"), decisions);
    let batch = all.map(Result::unwrap).next().unwrap();
    assert_eq!(batch.labels.slice(s![..7]).to_vec(), [1, 2, 3, 4, 5, 6, 1]);
    assert_eq!(
        model.logits(&batch.images).unwrap().dim(),
        (IMAGES, CLASSES + 1)
    );
}

#[test]
fn each_crop_is_a_row() {
    let case = colours();
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let mut options = options(&set, 20);
    options.overrides.resize = Some(40);
    options.overrides.crops = topk_preprocessing::Crops::Five;
    options.shard = Some(topk_results::Shard { index: 1, count: 2 });
    let found = batches::<f32>(&set, &mut model, &options);
    assert_eq!(found[0].images.dim(), (20, 3, 32, 32));
    assert_eq!(found[0].indices[..6], [0, 0, 0, 0, 0, 1]);
    assert_eq!(found[0].labels.slice(s![..6]).to_vec(), [5, 5, 5, 5, 5, 4]);
    let images: usize = found.iter().map(|batch| batch.labels.len() / 5).sum();
    assert_eq!(images, options.shard.unwrap().indices(IMAGES).len());
}

#[test]
fn real_models_have_the_accuracy_of_an_evaluation() {
    let Some(shared) = shared("") else {
        return;
    };
    let set = open_set(&shared.join("data/imagenet-sample"));
    let runtime = Runtime::load().unwrap();
    let path = shared.join("models/squeezenet1_1.onnx");
    let mut model = Model::open(&runtime, &path, Execution::default()).unwrap();
    let mut options = options(&set, 50);
    options.overrides.preset = Some(NamedPreset::find("torchvision").unwrap());
    let golden = fs::read_to_string(shared.join("golden/imagenet-sample.pillow13.jsonl")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(golden.lines().next().unwrap()).unwrap();
    let mut correct = [0.0; 2];
    for batch in batches::<f32>(&set, &mut model, &options) {
        let logits = model.logits(&batch.images).unwrap();
        let accuracy = topk_accuracy(&logits, &batch.labels, [1, 5]).unwrap();
        let images = batch.labels.len() as f64;
        correct = [0, 1].map(|k| correct[k] + images * accuracy[k]);
    }
    let expected = &golden["correct"]["squeezenet1_1"];
    let found = correct.map(|correct| correct.round() as u64);
    assert_eq!(
        [&expected["top1"], &expected["top5"]].map(|k| k.as_u64().unwrap()),
        found
    );
}
