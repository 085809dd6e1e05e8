//! Images with several true classes: the ReaL labels of ImageNet.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use topk_calibration::{AveragePrecision, Logits, RankedBy};
use topk_labels::imagenet;
use topk_onnx::ModelCard;

use super::calibration::random;
use super::case::{Case, card, noise};

const IMAGES: usize = 24;
const SIDE: usize = 32;

/// The true classes of an image; none for some.
fn labels(image: usize) -> Vec<u32> {
    match image % 6 {
        5 => vec![],
        0 | 1 => vec![image as u32 % 10, 10 + image as u32 % 7],
        _ => vec![image as u32 % 10],
    }
}

/// Random images, their ReaL labels, and a random model of ImageNet's classes.
struct Real {
    case: Case,
}

impl Real {
    fn new() -> Self {
        let case = Case::new();
        let folder = case.path("val").join(imagenet::synsets()[0].wnid);
        fs::create_dir_all(&folder).unwrap();
        let pixels = noise(IMAGES * 3 * SIDE * SIDE, 1);
        for (number, pixels) in (1..).zip(pixels.chunks(3 * SIDE * SIDE)) {
            let mut image = format!("P6 {SIDE} {SIDE} 255\n").into_bytes();
            image.extend(pixels.iter().map(|pixel| (127.0 * pixel + 128.0) as u8));
            let name = format!("ILSVRC2012_val_{number:08}.ppm");
            fs::write(folder.join(name), image).unwrap();
        }
        let all = (0..50_000).map(|image| match image < IMAGES {
            true => labels(image),
            false => vec![],
        });
        let all: Vec<Vec<u32>> = all.collect();
        fs::write(case.path("real.json"), serde_json::to_vec(&all).unwrap()).unwrap();
        let card = ModelCard {
            class_names: None,
            ..card()
        };
        case.write_model(&|| random(imagenet::CLASSES), Some(&card));
        Self { case }
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command.env_clear();
        for (flag, file) in [
            ("--model", "model.onnx"),
            ("--data", "val"),
            ("--real-labels", "real.json"),
            ("--json", "out.json"),
        ] {
            command.arg(flag).arg(self.case.path(file));
        }
        command.args(flags);
        command
    }

    /// The results, and what is printed.
    fn run(&self, flags: &[&str]) -> (Value, String) {
        let output = self.command(flags).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        (read(&self.case.path("out.json")), printed)
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn mean_average_precision_follows_from_the_logits() {
    let real = Real::new();
    let path = |name: &str| real.case.path(name).to_str().unwrap().to_owned();
    let (plain, _) = real.run(&[]);
    assert!(plain["models"][0].get("average_precision").is_none());
    let [logits, csv] = ["logits.parquet", "out.csv"].map(path);
    let (whole, printed) = real.run(&["--logits", &logits, "--csv", &csv, "--metrics"]);
    assert!(printed.contains("mAP %"), "{printed}");
    let found = &whole["models"][0]["average_precision"];

    // Images without a class have no outcome.
    let all: Vec<Vec<u32>> = (0..IMAGES)
        .map(labels)
        .filter(|labels| !labels.is_empty())
        .collect();
    let kept = Logits::open(Path::new(&logits)).unwrap();
    let expected = AveragePrecision::measure(&kept, &all, RankedBy::Softmax).unwrap();
    assert_eq!(*found, serde_json::to_value(expected).unwrap());
    assert_eq!(found["images"], 20);
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let titles = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let at = titles
        .iter()
        .position(|title| title == "mean_average_precision");
    assert_eq!(found["mean"].as_f64(), row[at.unwrap()].parse().ok());

    // The same of other batches, of shards, and of ranks.
    let (calibrated, _) = real.run(&["--calibrate", "--batch-size", "7"]);
    assert_eq!(calibrated["models"][0]["average_precision"], *found);
    assert!(calibrated["models"][0]["calibration"].is_object());

    let shards = ["1/2", "2/2"].map(|shard| {
        let [json, logits] =
            ["json", "npz"].map(|extension| path(&format!("{}.{extension}", &shard[..1])));
        real.run(&["--shard", shard, "--logits", &logits]);
        fs::rename(real.case.path("out.json"), &json).unwrap();
        [json, logits]
    });
    let merged = path("merged.json");
    let merge = |flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_topk-eval"))
            .args(["merge", &shards[0][0], &shards[1][0], "--json", &merged])
            .args(flags)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        read(Path::new(&merged))
    };
    let left_out = merge(&[]);
    assert!(left_out["models"][0].get("average_precision").is_none());
    assert!(left_out["warnings"][0].as_str().unwrap().contains("mAP"));
    let with_logits = merge(&["--logits", &shards[1][1], &shards[0][1]]);
    assert_eq!(with_logits["models"][0]["average_precision"], *found);

    let ranks = (0..2).map(|rank| {
        let mut command = real.command(&["--calibrate"]);
        for (variable, value) in [
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", "2".to_owned()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", "29500".to_owned()),
        ] {
            command.env(variable, value);
        }
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    });
    for mut rank in ranks.collect::<Vec<_>>() {
        assert!(rank.wait().unwrap().success());
    }
    let found_by_ranks = read(&real.case.path("out.json"));
    assert_eq!(found_by_ranks["models"][0]["average_precision"], *found);
}
