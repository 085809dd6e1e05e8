//! ONNX files as PyTorch, Keras, TensorFlow and others write them.

use std::fs;

use prost::Message;
use serde_json::Value;
use topk_files::Hasher;
use topk_native::onnxruntime;
use topk_onnx::proto::{
    DataLocation, DataType, GraphProto, NodeProto, StringStringEntryProto, TensorProto,
};
use topk_onnx::{Dim, GraphBuilder, attribute, model};

use crate::case::{CLASSES, Case, card, correct, linear};

const BATCH: Dim = Dim::Dynamic("batch");
const NORMALIZATION: [&str; 4] = ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"];

/// Images of different colours and contrasts, with labels in turn.
fn write_images(case: &Case, count: usize) {
    let mut records = Vec::new();
    let mut state = 1u32;
    for image in 0..count {
        records.extend([0, (image % CLASSES) as u8]);
        for channel in 0..3 {
            let level = 20 + (37 * image + 70 * channel) % 200;
            for _ in 0..32 * 32 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as usize * (image % 5) / 20;
                records.push((level + noise).min(255) as u8);
            }
        }
    }
    fs::write(case.path("test.bin"), records).unwrap();
}

fn save(case: &Case, graph: GraphProto) {
    let file = model(graph, "", []).encode_to_vec();
    fs::write(case.path("model.onnx"), file).unwrap();
}

fn write(case: &Case, build: impl Fn(&mut GraphBuilder)) {
    let mut graph = GraphBuilder::new("foreign");
    build(&mut graph);
    save(case, graph.finish());
}

fn image_input(graph: &mut GraphBuilder, batch: Dim) {
    let dims = [batch, Dim::Fixed(3), Dim::Fixed(32), Dim::Fixed(32)];
    graph.input("input", DataType::Float, &dims, "");
}

/// Logits `logits` of `classes` classes from the mean colour of the images `images`, `[batch, 3, 32, 32]`.
fn classify(graph: &mut GraphBuilder, images: &str, classes: usize) {
    let weights: Vec<f32> = (0..3 * classes)
        .map(|at| ((at * 7) % 11) as f32 / 4.0 - 1.2)
        .collect();
    let bias: Vec<f32> = (0..classes).map(|class| class as f32 / 10.0).collect();
    graph.initializer("weights", &[3, classes], &weights);
    graph.initializer("bias", &[classes], &bias);
    graph.node("GlobalAveragePool", "means", &[images], []);
    graph.node(
        "Flatten",
        "features",
        &["means"],
        [attribute::int("axis", 1)],
    );
    graph.node("Gemm", "logits", &["features", "weights", "bias"], []);
}

fn output(graph: &mut GraphBuilder, name: &str, dims: &[Dim]) {
    graph.output(name, DataType::Float, dims, "");
}

fn colours(case: &Case) {
    write(case, |graph| {
        image_input(graph, BATCH);
        classify(graph, "input", CLASSES);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
}

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&NORMALIZATION, flags].concat()
}

/// The results of a run, and what it printed to the standard error stream.
fn run(case: &Case, flags: &[&str]) -> (Value, String) {
    let json = case.path("out.json");
    let json = json.to_str().unwrap();
    let output = case.run(&[&with(flags)[..], &["--json", json]].concat());
    assert!(output.status.success(), "{output:?}");
    let results = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    fs::remove_file(json).unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    // Lines are wrapped.
    let words: Vec<&str> = printed.split_whitespace().collect();
    (results, words.join(" "))
}

fn error(case: &Case, flags: &[&str]) -> String {
    case.error(&with(flags))
}

fn outcomes(results: &Value) -> &Value {
    &results["models"][0]["outcomes"]
}

fn info(results: &Value) -> &Value {
    &results["models"][0]["model"]
}

fn cross_entropy(results: &Value) -> f64 {
    results["models"][0]["metrics"]["cross_entropy"]
        .as_f64()
        .unwrap()
}

fn ranks(results: &Value) -> Vec<u64> {
    let ranks = outcomes(results)["rank"].as_array().unwrap();
    ranks.iter().map(|rank| rank.as_u64().unwrap()).collect()
}

/// Item 5.
/// A linear classifier with weights 0 and this tensor as its bias.
fn write_with_bias(case: &Case, bias: &TensorProto) {
    write(case, |graph| {
        image_input(graph, BATCH);
        graph.initializer("weights", &[3, CLASSES], &[0.0; 3 * CLASSES]);
        graph.constant(bias.clone());
        graph.node("GlobalAveragePool", "means", &["input"], []);
        graph.node("Flatten", "flat", &["means"], []);
        graph.node("Gemm", "logits", &["flat", "weights", "bias"], []);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
}

#[test]
fn weights_in_other_files_belong_to_the_model() {
    let case = Case::new();
    let write_with = |location: &str, length: usize| {
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: key.to_owned(),
            value,
        };
        let bias = TensorProto {
            external_data: vec![
                entry("location", location.to_owned()),
                entry("offset", "0".to_owned()),
                entry("length", length.to_string()),
            ],
            data_location: DataLocation::External.into(),
            ..TensorProto::new("bias", DataType::Float, &[CLASSES], vec![])
        };
        write_with_bias(&case, &bias);
    };
    let weights = case.path("model.onnx.data");
    let write_weights = |best: usize| {
        let values = (0..CLASSES).map(|class| if class == best { 1f32 } else { 0.0 });
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        fs::write(&weights, &bytes).unwrap();
        bytes
    };
    write_with("model.onnx.data", 4 * CLASSES);
    write_weights(1);
    let (first, _) = run(&case, &[]);
    let bytes = write_weights(5);
    let (second, printed) = run(&case, &[]);
    assert_eq!(correct(&first, 0)[0], (1, 2));
    assert_eq!(correct(&second, 0)[0], (1, 2));
    assert!(printed.contains("weights in model.onnx.data"), "{printed}");
    assert_eq!(info(&second)["external_data"][0], "model.onnx.data");
    let hash = |bytes: &[u8]| {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    };
    let model = fs::read(case.path("model.onnx")).unwrap();
    let both = format!("{}\n{}\n", hash(&model), hash(&bytes));
    assert_eq!(info(&second)["sha256"], hash(both.as_bytes()));
    assert_ne!(info(&first)["sha256"], info(&second)["sha256"]);

    // The same graph with other weights is another model.
    fs::write(case.path("out.json"), first.to_string()).unwrap();
    let resumed = case.run(
        &[
            &with(&["--resume", "--json"])[..],
            &[case.path("out.json").to_str().unwrap()],
        ]
        .concat(),
    );
    let printed = String::from_utf8(resumed.stderr).unwrap();
    assert!(printed.contains("sha256"), "{printed}");
    fs::remove_file(case.path("out.json")).unwrap();

    fs::write(&weights, &bytes[..8]).unwrap();
    let message = error(&case, &[]);
    assert!(
        message.contains("`model.onnx.data`, has 8 bytes, but the model reads 24"),
        "{message}"
    );
    fs::write(
        &weights,
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    )
    .unwrap();
    let message = error(&case, &[]);
    assert!(
        message.contains("`model.onnx.data`, is a Git LFS pointer"),
        "{message}"
    );
    fs::remove_file(&weights).unwrap();
    let message = error(&case, &[]);
    assert!(
        message.contains("`model.onnx.data`, is missing"),
        "{message}"
    );
    for outside in ["../model.onnx.data", "/etc/passwd"] {
        write_with(outside, 4 * CLASSES);
        let message = error(&case, &[]);
        let expected = format!("`{outside}`, is outside the model's folder");
        assert!(message.contains(&expected), "{message}");
    }
}

/// Item 5. The cache of the Hugging Face hub has links to files with other names.
#[test]
#[cfg(unix)]
fn weights_are_found_beside_a_link() {
    use std::os::unix::fs::symlink;

    let case = Case::new();
    let location = StringStringEntryProto {
        key: "location".to_owned(),
        value: "./model.onnx_data".to_owned(),
    };
    let bias = TensorProto {
        external_data: vec![location],
        data_location: DataLocation::External.into(),
        ..TensorProto::new("bias", DataType::Float, &[CLASSES], vec![])
    };
    write_with_bias(&case, &bias);
    let blobs = case.path("blobs");
    fs::create_dir(&blobs).unwrap();
    fs::rename(case.path("model.onnx"), blobs.join("1f")).unwrap();
    let bytes: Vec<u8> = (0..CLASSES)
        .flat_map(|class| (class as f32).to_le_bytes())
        .collect();
    fs::write(blobs.join("2e"), bytes).unwrap();
    symlink("blobs/1f", case.path("model.onnx")).unwrap();
    symlink("blobs/2e", case.path("model.onnx_data")).unwrap();
    let (results, _) = run(&case, &[]);
    assert_eq!(info(&results)["external_data"][0], "model.onnx_data");
    assert_eq!(correct(&results, 0)[0], (1, 2));
}

/// Item 5. Files in ONNX Runtime's own format cannot be examined, but evaluated.
#[test]
fn the_format_of_onnx_runtime_is_evaluated() {
    use ort::session::Session;

    let case = Case::new();
    write_images(&case, 12);
    colours(&case);
    let (expected, _) = run(&case, &[]);
    let runtime = topk_native::Runtime::load().unwrap();
    let converted = case.path("model.ort");
    Session::builder(runtime.environment())
        .unwrap()
        .with_optimized_model_path(&converted)
        .unwrap()
        .with_config_entry("session.save_model_format", "ORT")
        .unwrap()
        .commit_from_file(case.path("model.onnx"))
        .unwrap();
    fs::rename(converted, case.path("model.onnx")).unwrap();
    let (found, printed) = run(&case, &[]);
    assert_eq!(outcomes(&found), outcomes(&expected));
    assert_eq!(info(&found)["precision"], "unknown");
    assert!(
        printed.contains("in ONNX Runtime's own format"),
        "{printed}"
    );
}

/// Item 6.
#[test]
fn probabilities_are_not_normalised_again() {
    let case = Case::new();
    write_images(&case, 30);
    colours(&case);
    let (logits, _) = run(&case, &[]);
    assert_eq!(info(&logits)["output_kind"], "logits");
    let (logits_of_crops, _) = run(&case, &["--resize", "40", "--crops", "ten"]);
    let calibration = |results: &Value| {
        results["models"][0]["metrics"]["calibration_error"]
            .as_f64()
            .unwrap()
    };
    type Ending = fn(&mut GraphBuilder);
    let endings: [(&str, &str, Ending); 6] = [
        ("softmax", "probs", |graph| {
            graph.node("Softmax", "scores", &["logits"], [])
        }),
        ("reshaped", "probs", |graph| {
            graph.node("Softmax", "softmax", &["logits"], []);
            graph.integers("shape", &[2], &[-1, CLASSES as i64]);
            graph.node("Reshape", "scores", &["softmax", "shape"], []);
        }),
        ("in parts", "probs", |graph| {
            graph.node("Exp", "exp", &["logits"], []);
            graph.integers("axes", &[1], &[1]);
            graph.node("ReduceSum", "sum", &["exp", "axes"], []);
            graph.node("Div", "scores", &["exp", "sum"], []);
        }),
        // Recognised by its values.
        ("twice", "probs", |graph| {
            graph.node("Softmax", "softmax", &["logits"], []);
            graph.node("Mean", "scores", &["softmax", "softmax"], []);
        }),
        ("logarithm", "logits", |graph| {
            graph.node("LogSoftmax", "scores", &["logits"], []);
        }),
        ("sigmoid", "sigmoid", |graph| {
            graph.node("Sigmoid", "scores", &["logits"], [])
        }),
    ];
    for (name, kind, ending) in endings {
        write(&case, |graph| {
            image_input(graph, BATCH);
            classify(graph, "input", CLASSES);
            ending(graph);
            output(graph, "scores", &[BATCH, Dim::Fixed(CLASSES)]);
        });
        let (found, printed) = run(&case, &[]);
        assert_eq!(info(&found)["output_kind"], kind, "{name}");
        assert!(printed.contains("(--output-kind)"), "{name}: {printed}");
        assert!(
            (cross_entropy(&found) - cross_entropy(&logits)).abs() < 1e-5,
            "{name}"
        );
        assert!(
            (calibration(&found) - calibration(&logits)).abs() < 1e-5,
            "{name}"
        );
        assert_eq!(ranks(&found), ranks(&logits), "{name}");
        let (found, _) = run(&case, &["--resize", "40", "--crops", "ten"]);
        let difference = cross_entropy(&found) - cross_entropy(&logits_of_crops);
        assert!(difference.abs() < 1e-5, "{name}: {difference}");
        if name == "softmax" {
            let (other, printed) = run(&case, &["--output-kind", "logits"]);
            assert!((cross_entropy(&other) - cross_entropy(&logits)).abs() > 0.01);
            assert!(
                printed.contains("used as logits, as requested"),
                "{printed}"
            );
        }
    }
    colours(&case);
    let message = error(&case, &["--output-kind", "probs"]);
    assert!(message.contains("which is not a probability"), "{message}");
}

/// Scores without a fixed number of classes: the first `classes` logits, with a limit that depends on the
/// images as far as shape inference can know.
fn free_classes(case: &Case, all: usize, classes: f32) {
    write(case, |graph| {
        image_input(graph, BATCH);
        classify(graph, "input", all);
        graph.initializer("zero", &[], &[0.0]);
        graph.initializer("classes", &[1], &[classes]);
        graph.node(
            "ReduceMax",
            "max",
            &["input"],
            [attribute::int("keepdims", 0)],
        );
        graph.node("Mul", "nothing", &["max", "zero"], []);
        graph.node("Add", "limit", &["classes", "nothing"], []);
        let to = attribute::int("to", DataType::Int64 as i64);
        graph.node("Cast", "end", &["limit"], [to]);
        graph.integers("start", &[1], &[0]);
        graph.integers("axis", &[1], &[1]);
        graph.node("Slice", "scores", &["logits", "start", "end", "axis"], []);
        output(graph, "scores", &[BATCH, Dim::Dynamic("classes")]);
    });
}

/// Item 7.
#[test]
fn a_run_decides_the_number_of_classes_and_crops_are_counted() {
    let case = Case::new();
    write_images(&case, 12);
    colours(&case);
    let (expected, _) = run(&case, &["--resize", "40", "--crops", "ten"]);
    free_classes(&case, CLASSES, CLASSES as f32);
    let (found, _) = run(&case, &["--resize", "40", "--crops", "ten"]);
    assert_eq!(outcomes(&found), outcomes(&expected));
    // 12 scores are not 2 crops of 6 classes.
    free_classes(&case, 2 * CLASSES, 2.0 * CLASSES as f32);
    for flags in [&[][..], &["--resize", "40", "--crops", "ten"]] {
        let message = error(&case, flags);
        assert!(
            message.contains("has 12 classes but the data has 6"),
            "{message}"
        );
    }
}

/// Item 8.
#[test]
fn the_output_that_fits_the_data_is_taken() {
    let case = Case::new();
    write_images(&case, 12);
    colours(&case);
    let (expected, printed) = run(&case, &[]);
    assert!(!printed.contains("--output"), "{printed}");
    let write_outputs = |names: &[&str]| {
        write(&case, |graph| {
            image_input(graph, BATCH);
            classify(graph, "input", CLASSES);
            graph.initializer("negative", &[1], &[-1.0]);
            graph.node("Mul", "aux_logits", &["logits", "negative"], []);
            graph.node("ArgMax", "label", &["logits"], [attribute::int("axis", 1)]);
            for &name in names {
                match name {
                    "features" => output(graph, name, &[BATCH, Dim::Fixed(3)]),
                    "label" => graph.output(name, DataType::Int64, &[BATCH, Dim::Fixed(1)], ""),
                    _ => output(graph, name, &[BATCH, Dim::Fixed(CLASSES)]),
                }
            }
        });
    };
    for names in [
        &["features", "logits"][..],
        &["logits", "features"],
        &["label", "logits"],
        &["aux_logits", "logits", "features"],
    ] {
        write_outputs(names);
        let (found, printed) = run(&case, &[]);
        assert_eq!(outcomes(&found), outcomes(&expected), "{names:?}");
        assert_eq!(info(&found)["output"], "logits");
        let says = printed.contains("scores from the output `logits`");
        assert!(says && printed.contains("--output NAME"), "{printed}");
    }
    let (found, _) = run(&case, &["--output", "aux_logits"]);
    assert_ne!(outcomes(&found), outcomes(&expected));
    let message = error(&case, &["--output", "features"]);
    assert!(
        message.contains("has 3 classes but the data has 6"),
        "{message}"
    );
    let message = error(&case, &["--output", "scores"]);
    assert!(
        message.contains("`aux_logits`, `logits`, `features`"),
        "{message}"
    );
    write_outputs(&["label"]);
    let message = error(&case, &[]);
    assert!(
        message.contains("expected `label` to be [batch, classes]"),
        "{message}"
    );
    let message = error(&case, &["--output", "label"]);
    assert!(
        message.starts_with("--output label: expected [batch, classes]"),
        "{message}"
    );
}

/// Images in one folder with a file of numeric labels.
fn labelled(case: &Case, labels: &[u32]) -> [String; 4] {
    let folder = case.path("images");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let mut lines = String::new();
    for (at, label) in labels.iter().enumerate() {
        let name = format!("{at}.png");
        image::RgbImage::new(32, 32)
            .save(folder.join(&name))
            .unwrap();
        lines += &format!("{name} {label}\n");
    }
    fs::write(case.path("labels.txt"), lines).unwrap();
    let text = |name: &str| case.path(name).to_str().unwrap().to_owned();
    [
        "--data".to_owned(),
        text("images"),
        "--labels".to_owned(),
        text("labels.txt"),
    ]
}

/// Item 9.
#[test]
fn a_background_class_is_left_out() {
    let case = Case::new();
    // The background first, then class 0, then class 1 and so on.
    let bias = (0..1001).map(|output| -(output as f32)).collect();
    case.write_model(&linear(32, bias), None);
    let of = |labels: &[u32], flags: &[&str]| {
        let data = labelled(&case, labels);
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        let (results, printed) = run(&case, &[&data[..], flags].concat());
        (
            ranks(&results),
            info(&results)["label_offset"].clone(),
            printed,
        )
    };
    let (found, offset, printed) = of(&[0, 999, 4], &[]);
    assert_eq!((found, offset), (vec![0, 999, 4], 1.into()));
    assert!(
        printed.contains("output 0 is left out (--label-offset 1)"),
        "{printed}"
    );
    // Class 1000 exists only with the background.
    let (found, offset, _) = of(&[1, 1000], &[]);
    assert_eq!((found, offset), (vec![1, 1000], 0.into()));
    let data = labelled(&case, &[3, 4]);
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let message = error(&case, &data);
    assert!(message.contains("pass --label-offset 1 if"), "{message}");
    assert_eq!(of(&[3, 4], &["--label-offset", "0"]).0, [3, 4]);
    assert_eq!(of(&[3, 4], &["--label-offset", "1"]).0, [3, 4]);
    let message = error(&case, &[&data[..], &["--label-offset", "1001"]].concat());
    assert!(
        message.contains("--label-offset 1001 leaves no classes"),
        "{message}"
    );

    // Not only for ImageNet.
    let bias = (0..=CLASSES).map(|output| -(output as f32)).collect();
    case.write_model(&linear(32, bias), None);
    let (results, _) = run(&case, &["--label-offset", "1"]);
    assert_eq!(ranks(&results), Case::LABELS.map(u64::from));
}

/// Item 9.
#[test]
fn accuracies_of_chance_are_pointed_out() {
    let case = Case::new();
    let labels: Vec<u8> = (0..120).map(|image| image % CLASSES as u8).collect();
    let table = |labels: &[u8]| {
        case.write_records(labels);
        let output = case.run(&[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let found = table(&labels);
    assert!(found.contains("top-1 is not above chance"), "{found}");
    assert!(!table(&labels[..90]).contains("chance"), "too few images");
    assert!(!table(&[0; 120]).contains("chance"), "all are correct");
}

/// Item 13.
#[test]
fn training_mode_and_random_operators_are_reported() {
    let case = Case::new();
    write_images(&case, 8);
    let write_noise = |node: NodeProto| {
        write(&case, |graph| {
            image_input(graph, BATCH);
            classify(graph, "input", CLASSES);
            graph.initializer("ratio", &[], &[0.9]);
            graph.constant(TensorProto::new("training", DataType::Bool, &[], vec![1]));
            graph.nodes([node.clone()]);
            graph.node("Add", "scores", &["logits", "noise"], []);
            output(graph, "scores", &[BATCH, Dim::Fixed(CLASSES)]);
        });
        let (results, printed) = run(&case, &[]);
        (info(&results)["notes"].to_string(), printed)
    };
    let dropout = ["logits", "ratio", "training"];
    let (notes, printed) = write_noise(NodeProto::new("Dropout", &dropout, &["noise"], []));
    for text in [&notes, &printed] {
        assert!(
            text.contains("warning: it was exported in training mode (1 Dropout)"),
            "{text}"
        );
    }
    let normal = NodeProto::new("RandomNormalLike", &["logits"], &["noise"], []);
    let (notes, printed) = write_noise(normal);
    for text in [&notes, &printed] {
        assert!(
            text.contains("warning: it draws random numbers (1 RandomNormalLike)"),
            "{text}"
        );
    }
}

/// Item 13.
#[test]
fn batch_normalisation_in_training_mode_is_reported() {
    let case = Case::new();
    write_images(&case, 20);
    write(&case, |graph| {
        image_input(graph, BATCH);
        for (name, value) in [("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("var", 1.0)] {
            graph.initializer(name, &[3], &[value; 3]);
        }
        let inputs = ["input", "scale", "shift", "mean", "var"];
        let outputs = ["normal", "mean_after", "var_after"];
        let mode = [attribute::int("training_mode", 1)];
        graph.nodes([NodeProto::new(
            "BatchNormalization",
            &inputs,
            &outputs,
            mode,
        )]);
        graph.node("Relu", "positive", &["normal"], []);
        classify(graph, "positive", CLASSES);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
    let json = case.path("out.json");
    let flags = with(&["--json", json.to_str().unwrap()]);
    let output = case.run(&flags);
    let printed = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> = printed.split_whitespace().collect();
    let printed = words.join(" ");
    assert!(
        printed.contains("exported in training mode (1 BatchNormalization)"),
        "{printed}"
    );
}

/// Item 13.
#[test]
fn batches_do_not_change_the_scores_of_dynamically_quantised_models() {
    let case = Case::new();
    write_images(&case, 30);
    write(&case, |graph| {
        image_input(graph, BATCH);
        let (features, zero) = (3 * 32 * 32, vec![128]);
        let weights = (0..features * CLASSES).map(|at| (at * 31 % 251) as u8);
        let dims = [features, CLASSES];
        graph.constant(TensorProto::new(
            "weights",
            DataType::Uint8,
            &dims,
            weights.collect(),
        ));
        graph.constant(TensorProto::new("zero", DataType::Uint8, &[], zero));
        graph.initializer("step", &[], &[0.001]);
        graph.node("Flatten", "flat", &["input"], []);
        let quantised = ["q", "scale", "point"];
        graph.nodes([NodeProto::new(
            "DynamicQuantizeLinear",
            &["flat"],
            &quantised,
            [],
        )]);
        graph.node(
            "MatMulInteger",
            "sum",
            &["q", "weights", "point", "zero"],
            [],
        );
        let to = attribute::int("to", DataType::Float as i64);
        graph.node("Cast", "number", &["sum"], [to]);
        graph.node("Mul", "scaled", &["number", "scale"], []);
        graph.node("Mul", "logits", &["scaled", "step"], []);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
    let (alone, printed) = run(&case, &["--batch-size", "1"]);
    assert!(
        printed.contains("images are run one by one: it is quantised dynamically"),
        "{printed}"
    );
    assert_eq!(info(&alone)["run_size"], 1);
    for flags in [&[][..], &["--batch-size", "8"], &["--batch-size", "30"]] {
        assert_eq!(
            outcomes(&run(&case, flags).0),
            outcomes(&alone),
            "{flags:?}"
        );
    }
    let ten = |batch_size: &str| {
        let flags = [
            "--resize",
            "40",
            "--crops",
            "ten",
            "--batch-size",
            batch_size,
        ];
        run(&case, &flags).0
    };
    assert_eq!(outcomes(&ten("1")), outcomes(&ten("60")));
    let (shard, _) = run(&case, &["--shard", "2/4"]);
    let range = 7..15;
    let all = outcomes(&alone)["cross_entropy"].as_array().unwrap();
    assert_eq!(outcomes(&shard)["cross_entropy"], Value::from(&all[range]));
}

/// Item 16.
#[test]
fn the_reason_for_the_cpu_is_printed_and_recorded() {
    let case = Case::new();
    colours(&case);
    let (results, printed) = run(&case, &[]);
    let environment = &results["environments"][0];
    if info(&results)["provider"] == "cpu" {
        let reason = environment["no_gpu"].as_str().unwrap();
        let expected = format!("running on the CPU: {reason}");
        assert!(printed.contains(&expected), "{printed}");
    } else {
        assert!(environment["gpu"]["name"].is_string(), "{environment}");
    }
    let (results, printed) = run(&case, &["--provider", "cpu"]);
    assert!(results["environments"][0]["no_gpu"].is_null());
    assert!(!printed.contains("running on the CPU"), "{printed}");
}

/// Item 18.
#[test]
fn shapes_of_other_frameworks() {
    let case = Case::new();
    write_images(&case, 20);
    colours(&case);
    let (expected, _) = run(&case, &[]);
    let classes = Dim::Fixed(CLASSES);
    let one = Dim::Fixed(1);
    type Ending = fn(&mut GraphBuilder);
    let unsqueeze: Ending = |graph| {
        graph.integers("axes", &[2], &[2, 3]);
        graph.node("Unsqueeze", "scores", &["logits", "axes"], []);
    };
    let same: Ending = |graph| graph.node("Identity", "scores", &["logits"], []);
    for (ending, dims) in [
        (unsqueeze, &[BATCH, classes, one, one][..]),
        (same, &[BATCH, Dim::Dynamic("n")]),
        (same, &[]),
    ] {
        let mut graph = GraphBuilder::new("shapes");
        image_input(&mut graph, BATCH);
        classify(&mut graph, "input", CLASSES);
        ending(&mut graph);
        output(&mut graph, "scores", dims);
        let mut graph = graph.finish();
        if dims.is_empty() {
            let value = graph.output[0].r#type.as_mut().unwrap();
            value.tensor_type.as_mut().unwrap().shape = None;
        }
        save(&case, graph);
        let (found, _) = run(&case, &[]);
        assert_eq!(outcomes(&found), outcomes(&expected), "{dims:?}");
    }
}

/// Item 18.
#[test]
fn layouts_and_types_of_other_frameworks() {
    let case = Case::new();
    write_images(&case, 20);
    let (three, side) = (Dim::Fixed(3), Dim::Fixed(32));
    let write_input = |data_type: DataType, dims: &[Dim], channels_last: bool| {
        write(&case, |graph| {
            graph.input("input", data_type, dims, "");
            let to = attribute::int("to", DataType::Float as i64);
            graph.node("Cast", "floats", &["input"], [to]);
            let order = if channels_last {
                [0, 3, 1, 2]
            } else {
                [0, 1, 2, 3]
            };
            let order = attribute::ints("perm", order);
            graph.node("Transpose", "images", &["floats"], [order]);
            classify(graph, "images", CLASSES);
            let to = attribute::int("to", data_type as i64);
            let scores = if data_type == DataType::Uint8 {
                "logits"
            } else {
                "scores"
            };
            if scores == "scores" {
                graph.node("Cast", "scores", &["logits"], [to]);
                graph.output("scores", data_type, &[BATCH, Dim::Fixed(CLASSES)], "");
            } else {
                output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
            }
        });
        let (results, _) = run(&case, &[]);
        (ranks(&results), info(&results)["input"].clone())
    };
    let first = [BATCH, three, side, side];
    let last = [BATCH, side, side, three];
    let free = [BATCH, Dim::Dynamic("height"), Dim::Dynamic("width"), three];
    let (expected, input) = write_input(DataType::Float, &first, false);
    assert_eq!(input, "float32");
    for (data_type, name) in [
        (DataType::Float, "float32"),
        (DataType::Float16, "float16"),
        (DataType::Double, "float64"),
        (DataType::Bfloat16, "bfloat16"),
    ] {
        for (dims, channels_last) in [(&first, false), (&last, true)] {
            let (found, input) = write_input(data_type, dims, channels_last);
            let layout = if channels_last { " NHWC" } else { "" };
            assert_eq!(input, format!("{name}{layout}"));
            // Scores of 8 bits of precision may be equal.
            if data_type != DataType::Bfloat16 {
                assert_eq!(found, expected, "{input}");
            }
        }
    }
    let (pixels, input) = write_input(DataType::Uint8, &last, true);
    assert_eq!(input, "uint8");
    let (planes, input) = write_input(DataType::Uint8, &first, false);
    assert_eq!((planes, input), (pixels, "uint8 NCHW".into()));

    // Dynamic sizes with the channels last were taken for a width of 3.
    write(&case, |graph| {
        graph.input("input", DataType::Float, &free, "");
        let order = attribute::ints("perm", [0, 3, 1, 2]);
        graph.node("Transpose", "images", &["input"], [order]);
        classify(graph, "images", CLASSES);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
    let message = error(&case, &[]);
    assert!(
        message.contains("has a dynamic input size: pass --input-size"),
        "{message}"
    );
    let (found, _) = run(&case, &["--input-size", "32"]);
    assert_eq!(ranks(&found), expected);
    // A known height is kept.
    write(&case, |graph| {
        let dims = [BATCH, three, Dim::Fixed(48), Dim::Dynamic("width")];
        graph.input("input", DataType::Float, &dims, "");
        classify(graph, "input", CLASSES);
        output(graph, "logits", &[BATCH, Dim::Fixed(CLASSES)]);
    });
    let (found, _) = run(&case, &["--preset", "torchvision"]);
    let crop = &info(&found)["preprocessing"];
    assert!(crop.as_str().unwrap().contains("48"), "{crop}");
}

/// Item 18.
#[test]
fn fixed_batches_are_used_and_batches_of_one_recognised() {
    let case = Case::new();
    write_images(&case, 20);
    colours(&case);
    let (expected, _) = run(&case, &[]);
    write(&case, |graph| {
        image_input(graph, Dim::Fixed(16));
        classify(graph, "input", CLASSES);
        output(graph, "logits", &[Dim::Fixed(16), Dim::Fixed(CLASSES)]);
    });
    let (found, printed) = run(&case, &[]);
    assert_eq!(outcomes(&found), outcomes(&expected));
    assert_eq!(info(&found)["run_size"], 16);
    assert!(
        printed.contains("it takes 16 images at a time"),
        "{printed}"
    );

    // The exporter saw one image.
    let shapes: [(&str, [i64; 2]); 2] = [("features", [1, 3]), ("logits", [1, CLASSES as i64])];
    for (reshaped, shape) in shapes {
        write(&case, |graph| {
            image_input(graph, BATCH);
            classify(graph, "input", CLASSES);
            graph.integers("shape", &[2], &shape);
            graph.node("Reshape", "flat", &[reshaped, "shape"], []);
            let scores = if reshaped == "logits" {
                "flat"
            } else {
                graph.node("Gemm", "scores", &["flat", "weights", "bias"], []);
                "scores"
            };
            output(graph, scores, &[BATCH, Dim::Fixed(CLASSES)]);
        });
        let (found, printed) = run(&case, &[]);
        assert_eq!(ranks(&found), ranks(&expected), "{reshaped}");
        assert_eq!(info(&found)["run_size"], 1);
        let says = printed.contains("images are run one by one: a batch of 2 fails");
        assert!(says, "{printed}");
    }

    // Scores that depend on the other images of a batch.
    write(&case, |graph| {
        image_input(graph, BATCH);
        classify(graph, "input", CLASSES);
        let mean = attribute::ints("axes", [0]);
        graph.node("ReduceMean", "mean", &["logits"], [mean]);
        graph.node("Add", "scores", &["logits", "mean"], []);
        output(graph, "scores", &[BATCH, Dim::Fixed(CLASSES)]);
    });
    let (found, printed) = run(&case, &[]);
    assert_eq!(ranks(&found), ranks(&expected));
    assert!(
        printed.contains("their scores depend on the other images"),
        "{printed}"
    );

    write(&case, |graph| {
        image_input(graph, BATCH);
        classify(graph, "input", 1);
        output(graph, "logits", &[BATCH, Dim::Fixed(1)]);
    });
    let message = error(&case, &[]);
    assert!(
        message.contains("a single score per image, as for two classes"),
        "{message}"
    );
}

/// Item 24.
#[test]
fn files_that_were_not_downloaded_are_named() {
    let case = Case::new();
    for (contents, expected) in [
        ("", "the file is empty"),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer",
        ),
        (
            "<!DOCTYPE html>\n<html><body>Sign in</body></html>",
            "an HTML page",
        ),
    ] {
        fs::write(case.path("model.onnx"), contents).unwrap();
        let message = error(&case, &[]);
        assert!(
            message.starts_with("cannot load the ONNX model /"),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }
}

/// Item 24.
#[test]
#[cfg(target_os = "linux")]
fn a_truncated_onnx_runtime_is_refused() {
    use std::io::Read;

    let case = Case::new();
    case.write_model(&linear(32, vec![0.0; CLASSES]), Some(&card()));
    let whole = onnxruntime::locate().unwrap();
    let mut part = Vec::new();
    let file = fs::File::open(whole).unwrap();
    file.take(3 << 20).read_to_end(&mut part).unwrap();
    let library = case.path("libonnxruntime.so");
    let fails = |contents: &[u8], expected: &str| {
        fs::write(&library, contents).unwrap();
        let mut command = case.command(&[]);
        let output = command
            .env(onnxruntime::PATH_VARIABLE, &library)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.contains(expected), "{printed}");
    };
    fails(
        &part,
        "libonnxruntime.so is truncated: it has 3145728 bytes",
    );
    fails(
        b"version https://git-lfs.github.com/spec/v1\n",
        "is not a shared library",
    );
}
