//! Several batches in flight in bound memory: the code path for GPUs, on the CPU.

use std::fs;

use serde_json::Value;
use topk_onnx::proto::{DataType, GraphProto};
use topk_onnx::{Dim, GraphBuilder, attribute};

use super::case::{CLASSES, Case, RECORD, card, correct};

const IMAGES: usize = 45;
const SIDE: usize = 32;

/// Numbers from 0 to 255 without a pattern.
fn noise(seed: u32) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
}

/// Images without a pattern, with pixels below 255, and labels in turn.
fn images() -> Vec<u8> {
    let mut pixels = noise(1).map(|pixel| pixel.min(254));
    let mut records = Vec::new();
    for image in 0..IMAGES {
        records.extend([0, (image % CLASSES) as u8]);
        records.extend(pixels.by_ref().take(RECORD - 2));
    }
    records
}

/// A linear classifier for images of this type, in batches of this size.
fn linear(batch: Dim<'static>, element: DataType) -> GraphProto {
    let (side, features) = (Dim::Fixed(SIDE), 3 * SIDE * SIDE);
    let mut graph = GraphBuilder::new("linear");
    let shape = match element {
        DataType::Uint8 => [batch, side, side, Dim::Fixed(3)],
        _ => [batch, Dim::Fixed(3), side, side],
    };
    graph.input("input", element, &shape, "");
    let weights = noise(2).map(|value| (f32::from(value) - 128.0) / 256.0);
    let weights: Vec<f32> = weights.take(CLASSES * features).collect();
    graph.initializer("weight", &[features, CLASSES], &weights);
    let float = DataType::Float as i64;
    graph.node("Cast", "float", &["input"], [attribute::int("to", float)]);
    graph.node("Flatten", "flat", &["float"], [attribute::int("axis", 1)]);
    graph.node("MatMul", "logits", &["flat", "weight"], []);
    graph.output("logits", DataType::Float, &[batch, Dim::Fixed(CLASSES)], "");
    graph.finish()
}

fn case(batch: Dim<'static>, element: DataType) -> Case {
    let case = Case::new();
    fs::write(case.path("test.bin"), images()).unwrap();
    case.write_model(&move || linear(batch, element), Some(&card()));
    case
}

const DYNAMIC: Dim = Dim::Dynamic("batch");

fn results(case: &Case, flags: &str) -> Value {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    case.results(&[&["--device", "cpu", "--topk", "2"], &flags[..]].concat())
}

fn ranks(results: &Value) -> &Value {
    &results["models"][0]["outcomes"]["rank"]
}

#[test]
fn results_do_not_depend_on_the_batches_in_flight() {
    for (batch, element) in [
        (DYNAMIC, DataType::Float),
        (DYNAMIC, DataType::Float16),
        (DYNAMIC, DataType::Bfloat16),
        (DYNAMIC, DataType::Double),
        (DYNAMIC, DataType::Uint8),
        (Dim::Fixed(4), DataType::Float),
        (Dim::Fixed(1), DataType::Uint8),
    ] {
        let case = case(batch, element);
        let usual = results(&case, "--batch-size 7");
        let different = (0..CLASSES as u64).all(|rank| {
            let ranks = ranks(&usual).as_array().unwrap();
            ranks.contains(&rank.into())
        });
        assert!(different, "equal ranks would prove little: {usual}");
        for flags in [
            "--in-flight 2 --batch-size 7",
            "--in-flight 2 --batch-size 7 --sessions 1",
            "--in-flight 3 --batch-size 7 --sessions 2",
            "--in-flight 2 --batch-size 1",
            "--in-flight 2 --batch-size 64",
            "--in-flight 1 --batch-size 45",
        ] {
            let found = results(&case, flags);
            assert_eq!(
                ranks(&found),
                ranks(&usual),
                "{element:?} {batch:?} {flags}"
            );
            assert_eq!(found["images"], usual["images"]);
            assert_eq!(correct(&found, 0), correct(&usual, 0));
            assert_eq!(found["complete"], true);
            let [a, b] = [&found, &usual].map(|results| &results["models"][0]["model"]);
            assert_eq!(a["run_size"], b["run_size"], "{flags}");
            assert_eq!(a["notes"], b["notes"], "{flags}");
            assert!(a.get("provider_options").is_none());
        }
    }
}

#[test]
fn crops_and_several_models_share_batches_in_flight() {
    let case = case(DYNAMIC, DataType::Float);
    fs::copy(case.path("model.onnx"), case.path("again.onnx")).unwrap();
    case.write_model(&|| linear(Dim::Fixed(4), DataType::Float), Some(&card()));
    let again = case.path("again.onnx");
    // Padded to 36 pixels, so that the crops differ.
    let flags = format!("--model {} --resize 36 --crops ten", again.display());
    let usual = results(&case, &flags);
    let found = results(&case, &format!("{flags} --in-flight 2 --batch-size 30"));
    for model in 0..2 {
        let outcomes = |results: &Value| results["models"][model]["outcomes"]["rank"].clone();
        assert_eq!(outcomes(&found), outcomes(&usual));
    }
}

/// Ranks the classes by index, but fails for an image with a pixel of 255: the index is then beyond the table.
fn fails_for_white() -> GraphProto {
    let mut graph = GraphBuilder::new("fails");
    let side = Dim::Fixed(SIDE);
    graph.input(
        "input",
        DataType::Float,
        &[DYNAMIC, Dim::Fixed(3), side, side],
        "",
    );
    let scores: Vec<f32> = (0..2 * CLASSES)
        .map(|at| -((at % CLASSES) as f32))
        .collect();
    graph.initializer("table", &[2, CLASSES], &scores);
    graph.initializer("red", &[3, 1], &[1.0, 0.0, 0.0]);
    graph.node("GlobalMaxPool", "brightest", &["input"], []);
    graph.node(
        "Flatten",
        "channels",
        &["brightest"],
        [attribute::int("axis", 1)],
    );
    graph.node("MatMul", "value", &["channels", "red"], []);
    let integer = DataType::Int64 as i64;
    graph.node("Cast", "index", &["value"], [attribute::int("to", integer)]);
    graph.node("Gather", "logits", &["table", "index"], []);
    let shape = [DYNAMIC, Dim::Fixed(1), Dim::Fixed(CLASSES)];
    graph.output("logits", DataType::Float, &shape, "");
    graph.finish()
}

#[test]
fn a_run_that_fails_with_batches_in_flight_ends_the_evaluation() {
    const BAD: usize = 37;
    let case = Case::new();
    let mut records = images();
    records[BAD * RECORD + 2] = 255;
    fs::write(case.path("test.bin"), &records).unwrap();
    case.write_model(&fails_for_white, Some(&card()));
    let json = case.path("out.json");
    for in_flight in ["1", "2", "4"] {
        let flags = [
            "--device",
            "cpu",
            "--batch-size",
            "2",
            "--sessions",
            "1",
            "--in-flight",
            in_flight,
            "--json",
            json.to_str().unwrap(),
        ];
        let output = case.run(&flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(
            printed.contains("model.onnx failed while running: "),
            "{printed}"
        );
        assert!(printed.contains("Gather"), "{printed}");
        // The batches before it are kept, as many as were done.
        let Ok(saved) = fs::read(&json) else {
            panic!("nothing was saved: {printed}");
        };
        let partial: Value = serde_json::from_slice(&saved).unwrap();
        assert_eq!(partial["complete"], false);
        let ranks = ranks(&partial).as_array().unwrap();
        assert!(!ranks.is_empty() && ranks.len() <= BAD, "{ranks:?}");
        assert_eq!(ranks.len() % 2, 0);
        for (image, rank) in ranks.iter().enumerate() {
            assert_eq!(*rank, image % CLASSES);
        }
        fs::remove_file(&json).unwrap();
    }
}

#[test]
fn a_model_whose_images_depend_on_each_other_is_run_one_by_one() {
    let case = Case::new();
    fs::write(case.path("test.bin"), images()).unwrap();
    // Multiplies scores by their distance from the mean score of the batch.
    let dependent = || {
        let mut graph = linear(DYNAMIC, DataType::Float);
        for node in &mut graph.node {
            if node.output[0] == "logits" {
                node.output[0] = "scores".to_owned();
                node.name = "scores".to_owned();
            }
        }
        let mut last = GraphBuilder::new("last");
        last.node(
            "ReduceMean",
            "mean",
            &["scores"],
            [attribute::int("keepdims", 1)],
        );
        last.node("Sub", "difference", &["scores", "mean"], []);
        last.node("Mul", "logits", &["scores", "difference"], []);
        graph.node.extend(last.finish().node);
        graph
    };
    case.write_model(&dependent, Some(&card()));
    let usual = results(&case, "--batch-size 8");
    let model = |results: &Value| results["models"][0]["model"].clone();
    assert_eq!(model(&usual)["run_size"], 1, "{}", model(&usual)["notes"]);
    let found = results(&case, "--batch-size 8 --in-flight 2");
    assert_eq!(model(&found)["run_size"], 1);
    assert_eq!(ranks(&found), ranks(&usual));
}

#[test]
fn settings_that_the_provider_does_not_have_are_errors() {
    let case = Case::new();
    for (flags, expected) in [
        (
            &["--device", "cpu", "--tensorrt-fp16"][..],
            "--tensorrt-fp16 has no effect with --provider cpu: pass --provider tensorrt",
        ),
        (
            &["--device", "cuda", "--tensorrt-cache", "engines"],
            "--tensorrt-cache has no effect with --provider cuda:0: pass --provider tensorrt",
        ),
        (
            &["--device", "openvino", "--cudnn-search", "heuristic"],
            "--cudnn-search has no effect with --provider openvino: pass --provider cuda",
        ),
        (
            &["--device", "cpu", "--channels-last"],
            "--channels-last has no effect with --provider cpu: pass --provider cuda",
        ),
    ] {
        assert_eq!(case.error(flags), expected);
    }
    // What is not installed is named, and no engine is built.
    let engines = case.path("engines");
    let flags = ["--tensorrt-cache", engines.to_str().unwrap()];
    let error = case.error(&[&["--device", "tensorrt:99"], &flags[..]].concat());
    assert!(
        error.starts_with("cannot use provider tensorrt:99: "),
        "{error}"
    );
    assert!(!engines.exists());
}
