//! Runs that are killed, resumed, merged, or meet images and scores that cannot be evaluated.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use topk_onnx::proto::{DataType, GraphProto};
use topk_onnx::{Dim, GraphBuilder, attribute};

use crate::case::{
    CLASSES, Case, RECORD, SLOW_IMAGES, card, class_names, correct, in_order, slow, slow_case,
};
use crate::{subcommand, text};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Ranks all classes by index, but gives NaN for black images: the square root of a negative number.
fn nan_for_black() -> GraphProto {
    let mut graph = GraphBuilder::new("nan");
    let (side, batch) = (Dim::Fixed(32), Dim::Dynamic("batch"));
    let features = 3 * 32 * 32;
    graph.input(
        "input",
        DataType::Float,
        &[batch, Dim::Fixed(3), side, side],
        "",
    );
    graph.initializer("one", &[1], &[1.0]);
    graph.initializer(
        "weight",
        &[CLASSES, features],
        &vec![0.0; CLASSES * features],
    );
    let bias: Vec<f32> = (0..CLASSES).map(|class| -(class as f32)).collect();
    graph.initializer("bias", &[CLASSES], &bias);
    graph.node("Add", "sum", &["input", "one"], []);
    graph.node("Sqrt", "root", &["sum"], []);
    graph.node("Flatten", "flat", &["root"], [attribute::int("axis", 1)]);
    let inputs = ["flat", "weight", "bias"];
    graph.node("Gemm", "logits", &inputs, [attribute::int("transB", 1)]);
    graph.output("logits", DataType::Float, &[batch, Dim::Fixed(CLASSES)], "");
    graph.finish()
}

/// The case of [`nan_for_black`] with a black image at index 6.
fn nan_case() -> Case {
    let case = Case::new();
    let mut records = fs::read(case.path("test.bin")).unwrap();
    records[6 * RECORD + 2..7 * RECORD].fill(0);
    fs::write(case.path("test.bin"), records).unwrap();
    case.write_model(&nan_for_black, Some(&card()));
    case
}

#[test]
fn a_killed_run_has_saved_its_results_and_resumes() {
    let case = slow_case();
    let json = case.path("out.json");
    let flags = [
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "--save-interval",
        "0.05",
        "--json",
        text(&json),
    ];
    let mut child = case
        .command(&flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !json.exists() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = read(&json);
    assert_eq!(partial["complete"], false);
    let images = partial["images"]["names"].as_array().unwrap().len();
    assert!(images > 0 && images < SLOW_IMAGES, "{images}");

    let output = case.run(&[&flags[..], &["--resume"]].concat());
    assert!(output.status.success(), "{output:?}");
    let resumed = read(&json);
    assert_eq!(resumed["complete"], true);
    let whole = case.results(&["--batch-size", "4", "--device", "cpu"]);
    for part in ["metrics", "outcomes"] {
        assert_eq!(resumed["models"][0][part], whole["models"][0][part]);
    }
}

#[test]
fn an_error_late_in_a_run_keeps_the_results_before_it() {
    let case = nan_case();
    let json = case.path("out.json");
    let flags = [
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--json",
        text(&json),
    ];
    let output = case.run(&flags);
    assert_eq!(output.status.code(), Some(1));
    let printed = stderr(&output).replace('\n', " ");
    for expected in [
        "1 image cannot be evaluated (use --on-bad-image",
        "the score of class 0 is NaN",
        "the results so far are in",
        "run the same command with --resume to continue",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
    let partial = read(&json);
    assert_eq!(partial["images"]["indices"], json!([0, 1, 2, 3, 4, 5]));

    let skip = [&flags[..], &["--resume", "--on-bad-image", "skip"]].concat();
    let output = case.run(&skip);
    assert!(output.status.success(), "{output:?}");
    let resumed = read(&json);
    assert_eq!(resumed["complete"], true);
    assert_eq!(resumed["models"][0]["metrics"]["images"], 9);
    assert_eq!(resumed["failures"][0]["index"], 6);
    let message = resumed["failures"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("model.onnx: the score of class 0 is NaN"),
        "{message}"
    );

    let wrong = case.results(&["--on-bad-image", "count-wrong"]);
    assert_eq!(wrong["models"][0]["metrics"]["images"], 10);
    assert_eq!(correct(&wrong, 0)[0], (1, 2));
}

#[test]
fn an_image_counts_for_all_models_or_none() {
    let case = nan_case();
    let nan = case.path("nan.onnx");
    fs::rename(case.path("model.onnx"), &nan).unwrap();
    case.write_model(&*in_order(), Some(&card()));
    let results = case.results(&["--model", text(&nan), "--on-bad-image", "skip"]);
    for model in 0..2 {
        assert_eq!(results["models"][model]["metrics"]["images"], 9);
    }
}

#[test]
fn classes_masked_with_minus_infinity_are_scores() {
    let case = Case::new();
    let bias = [0.0, -1.0, -2.0, f32::NEG_INFINITY, -4.0, -5.0];
    let masked = move || {
        let mut graph = GraphBuilder::new("masked");
        let (side, batch) = (Dim::Fixed(32), Dim::Dynamic("batch"));
        graph.input(
            "input",
            DataType::Float,
            &[batch, Dim::Fixed(3), side, side],
            "",
        );
        graph.node("GlobalAveragePool", "mean", &["input"], []);
        graph.node("Flatten", "flat", &["mean"], [attribute::int("axis", 1)]);
        graph.initializer("zeros", &[3, CLASSES], &[0.0; 3 * CLASSES]);
        graph.initializer("bias", &[CLASSES], &bias);
        graph.node("MatMul", "zero", &["flat", "zeros"], []);
        graph.node("Add", "logits", &["zero", "bias"], []);
        graph.output("logits", DataType::Float, &[batch, Dim::Fixed(CLASSES)], "");
        graph.finish()
    };
    case.write_model(&masked, Some(&card()));
    case.write_records(&[0, 1, 4]);
    let results = case.results(&["--topk", "3"]);
    assert_eq!(results["models"][0]["outcomes"]["rank"], json!([0, 1, 3]));
}

#[test]
fn after_a_bad_image_the_models_do_not_run_to_the_end() {
    let case = Case::new();
    case.write_model(&slow, Some(&card()));
    let data = case.path("data");
    for class in class_names() {
        fs::create_dir_all(data.join(&class)).unwrap();
        for image in 0..80 {
            fs::write(
                data.join(&class).join(format!("{image:03}.bmp")),
                bmp(image),
            )
            .unwrap();
        }
    }
    fs::write(data.join("class 0/000.bmp"), "BM and nothing else").unwrap();
    fs::write(data.join("class 5/079.bmp"), "BM and nothing else").unwrap();
    let run = |policy: &str| {
        // `times` prints the processor time of the shell and of its children.
        let script = "\"$@\"; status=$?; times; exit $status";
        let mut command = Command::new("sh");
        let output = command
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_topk-eval")])
            .args(["--model", text(&case.path("model.onnx"))])
            .args(["--data", text(&data), "--on-bad-image", policy])
            .output()
            .unwrap();
        let printed = str::from_utf8(&output.stdout).unwrap();
        let seconds = cpu_seconds(printed.lines().last().unwrap());
        (output, seconds)
    };
    let (skipped, whole) = run("skip");
    assert!(skipped.status.success(), "{skipped:?}");
    let (failed, short) = run("fail");
    assert_eq!(failed.status.code(), Some(1));
    // All images are still read, to name the bad ones.
    let printed = stderr(&failed).replace('\n', " ");
    for expected in [
        "2 images cannot be evaluated",
        "class 0/000.bmp",
        "class 5/079.bmp",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
    assert!(short < whole / 2.0, "{short} of {whole} s");
}

/// The sum of times such as `0m1.250000s 0m0.020000s`.
fn cpu_seconds(line: &str) -> f64 {
    let times = line.split_whitespace().map(|time| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
    });
    times.sum()
}

/// A grey image of 32 × 32 pixels.
fn bmp(value: usize) -> Vec<u8> {
    let pixels = vec![value as u8; 3 * 32 * 32];
    let mut file = b"BM".to_vec();
    file.extend((54 + pixels.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend(54u32.to_le_bytes());
    file.extend(40u32.to_le_bytes());
    file.extend(32u32.to_le_bytes());
    file.extend(32u32.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    file.extend(pixels);
    file
}

#[test]
fn each_model_has_its_own_speed() {
    let case = slow_case();
    let slow = case.path("slow.onnx");
    fs::rename(case.path("model.onnx"), &slow).unwrap();
    case.write_model(&*in_order(), Some(&card()));
    let results = case.results(&["--model", text(&slow), "--device", "cpu"]);
    let [fast, slow] = [0, 1].map(|model| {
        let timing = &results["models"][model]["timing"];
        let number = |name: &str| timing[name].as_f64().unwrap();
        let expected = SLOW_IMAGES as f64 * number("sessions") / number("inference_seconds");
        assert!((number("images_per_second") / expected - 1.0).abs() < 1e-9);
        number("images_per_second")
    });
    assert!(fast > 3.0 * slow, "{fast} and {slow}");
}

/// Shards that were evaluated on machines with other folders, and with other batch sizes.
#[test]
fn shards_of_the_same_data_under_other_paths_are_merged() {
    let case = Case::new();
    let whole = case.results(&["--batch-size", "3"]);
    let moved = case.path("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["test.bin", "fine_label_names.txt", "model.onnx"] {
        fs::copy(case.path(name), moved.join(name)).unwrap();
    }
    let [first, second, merged] = ["1.json", "2.json", "all.json"].map(|name| case.path(name));
    let output = case.run(&["--shard", "1/2", "--json", text(&first)]);
    assert!(output.status.success(), "{output:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    let output = command
        .env_clear()
        .args(["--model", text(&moved.join("model.onnx"))])
        .args(["--data", &format!("{}/", text(&moved))])
        .args([
            "--shard",
            "2/2",
            "--batch-size",
            "1",
            "--json",
            text(&second),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = subcommand(&[
        "merge",
        text(&first),
        text(&second),
        "--json",
        text(&merged),
    ])
    .output()
    .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        stderr(&output).contains("warning: `data.path` differs"),
        "{output:?}"
    );
    let merged = read(&merged);
    assert_eq!(
        merged["models"][0]["outcomes"],
        whole["models"][0]["outcomes"]
    );
    let warnings = merged["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.as_str().unwrap().contains("batch_size"))
    );

    // Other contents are still refused.
    case.write_records(&Case::LABELS[1..]);
    let output = case.run(&["--shard", "2/2", "--json", text(&second)]);
    assert!(output.status.success(), "{output:?}");
    let output = subcommand(&["merge", text(&first), text(&second)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`data."), "{output:?}");
}

#[test]
fn a_finished_run_appends_no_rows_again() {
    let case = Case::new();
    let [json, table] = ["out.json", "table.txt"].map(|name| case.path(name));
    let flags = [
        "--json",
        text(&json),
        "--paper-table",
        text(&table),
        "--resume",
    ];
    for _ in 0..2 {
        let output = case.run(&flags);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 2);
}
