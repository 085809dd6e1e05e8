//! Test sets for ImageNet's classes, by name.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_labels::{ImagenetVariant, imagenet};
use topk_onnx::{CardResize, ModelCard};
use topk_preprocessing::Interpolation;

use super::case::{Case, card, correct, linear};

/// Width and height of the images.
const SIDE: usize = 12;

/// A model that ranks ImageNet's classes by index, highest first, and folders of images.
struct Shifted {
    case: Case,
    data: TempDir,
}

impl Shifted {
    fn new() -> Self {
        let case = Case::new();
        let scores = (0..imagenet::CLASSES).map(|class| class as f32 / 100.0);
        case.write_model(
            &linear(32, scores.collect()),
            Some(&ModelCard {
                class_names: None,
                resize: Some(CardResize {
                    shorter_side: 40,
                    cover: None,
                    interpolation: Interpolation::Bilinear,
                }),
                ..card()
            }),
        );
        Self {
            case,
            data: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes grey images to class folders, under these names.
    fn write(&self, images: &[(&str, &str)]) {
        for (folder, name) in images {
            let folder = self.data.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let mut image = format!("P6 {SIDE} {SIDE} 255\n").into_bytes();
            image.resize(image.len() + 3 * SIDE * SIDE, 128);
            fs::write(folder.join(name), image).unwrap();
        }
    }

    fn run(&self, data: &str, flags: &[&str]) -> (Output, PathBuf) {
        let json = self.case.path("shifted.json");
        let _ = fs::remove_file(&json);
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command
            .env_clear()
            .arg("--model")
            .arg(self.case.path("model.onnx"));
        command
            .arg("--data")
            .arg(self.data.path().join(data))
            .arg("--json")
            .arg(&json);
        (command.args(flags).output().unwrap(), json)
    }

    fn results(&self, data: &str, flags: &[&str]) -> Value {
        let (output, json) = self.run(data, flags);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
    }

    fn error(&self, data: &str, flags: &[&str]) -> String {
        let (output, json) = self.run(data, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!json.exists());
        String::from_utf8(output.stderr)
            .unwrap()
            .replace("\n  ", " ")
    }
}

fn decisions(results: &Value) -> String {
    let lines = results["data"]["decisions"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    lines.join("\n")
}

#[test]
fn predictions_are_among_the_classes_of_the_set() {
    let shifted = Shifted::new();
    let valid = ImagenetVariant::A.valid_classes().unwrap();
    let wnid = |class: u32| imagenet::synsets()[class as usize].wnid;
    let last = wnid(valid[199]);
    let second = wnid(valid[198]);
    shifted.write(&[
        (last, "a.ppm"),
        (second, "b.ppm"),
        (wnid(valid[0]), "c.ppm"),
    ]);
    let flags = ["--preset-data", "imagenet-a", "--topk", "2"];
    let results = shifted.results("", &flags);
    // Class 999 has the highest score, but is not in ImageNet-A.
    assert_eq!(correct(&results, 0), [(1, 1), (2, 2)]);
    assert_eq!(results["data"]["preset"], "imagenet-a");
    assert_eq!(
        results["settings"]["valid_classes"]
            .as_array()
            .unwrap()
            .len(),
        200
    );
    let decisions = decisions(&results);
    assert!(
        decisions.contains("imagenet-a: predictions are restricted to its 200 classes"),
        "{decisions}"
    );
    assert!(
        decisions.contains("imagenet-a has 7,500 images, but this data has 3"),
        "{decisions}"
    );

    // The validation images of these classes, and of no others.
    shifted.write(&[(wnid(999), "d.ppm")]);
    let error = shifted.error("", &flags);
    assert!(error.contains("n15075141 (toilet tissue"), "{error}");
    assert!(error.contains("--preset-data imagenet-a-clean"), "{error}");
    let clean = shifted.results("", &["--preset-data", "imagenet-a-clean", "--topk", "2"]);
    assert_eq!(correct(&clean, 0), [(1, 1), (2, 2)]);
    assert_eq!(clean["data"]["images"], 3);
    // Without a name, all classes may be predicted, and all images count.
    assert_eq!(
        correct(&shifted.results("", &["--topk", "2"]), 0),
        [(1, 1), (2, 1)]
    );
}

#[test]
fn numbered_folders_are_the_classes_of_imagenet() {
    let shifted = Shifted::new();
    let folders: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
    let images: Vec<(&str, &str)> = folders.iter().map(|folder| (&**folder, "0.ppm")).collect();
    shifted.write(&images);
    let results = shifted.results("", &["--preset-data", "imagenet-v2"]);
    assert_eq!(correct(&results, 0), [(1, 1), (5, 5)]);
    assert_eq!(results["class_names"][0], "tench, Tinca tinca");
    assert_eq!(results["wnids"][999], "n15075141");
    // So that the hierarchy of classes is known.
    assert!(results["models"][0]["metrics"]["severity"].is_object());

    let error = Shifted::new();
    error.write(&[("cat", "a.ppm"), ("dog", "b.ppm")]);
    let error = error.error("", &["--preset-data", "imagenet-v2"]);
    assert!(
        error.contains("needs class folders named by WordNet ID, or 0 to 999"),
        "{error}"
    );
}

#[test]
fn objects_have_several_classes_and_a_frame() {
    let shifted = Shifted::new();
    // Analog and digital clock, 409 and 530; ballpoint, fountain pen and quill, 418, 563 and 749.
    shifted.write(&[
        ("alarm_clock", "a.ppm"),
        ("pen", "b.ppm"),
        ("coaster", "c.ppm"),
        ("pen", "d.ppm"),
    ]);
    let results = shifted.results("", &["--preset-data", "objectnet", "--topk", "251,470,471"]);
    assert_eq!(
        results["images"]["labels"],
        serde_json::json!([[409, 530], [418, 563, 749], [418, 563, 749]])
    );
    assert_eq!(correct(&results, 0), [(1, 0), (251, 2), (470, 3), (471, 3)]);
    let decisions_of = decisions(&results);
    assert!(
        decisions_of.contains("any of which is correct; 1 image of other objects is left out"),
        "{decisions_of}"
    );
    let preprocessing =
        |results: &Value| results["models"][0]["model"]["preprocessing_settings"].clone();
    assert_eq!(preprocessing(&results)["trim"], 2);
    let whole = shifted.results("", &["--preset-data", "objectnet", "--trim", "0"]);
    assert_eq!(preprocessing(&whole)["trim"], Value::Null);

    let restricted = shifted.results("", &["--preset-data", "objectnet-113", "--topk", "125"]);
    assert_eq!(
        restricted["settings"]["valid_classes"]
            .as_array()
            .unwrap()
            .len(),
        125
    );
    assert_eq!(correct(&restricted, 0), [(1, 0), (125, 3)]);
    let other = Shifted::new();
    other.write(&[("cat", "a.ppm")]);
    let error = other.error("", &["--preset-data", "objectnet"]);
    assert!(
        error.contains("needs the class folders of ObjectNet, such as alarm_clock"),
        "{error}"
    );
}

#[test]
fn corrupted_images_are_not_cropped() {
    let shifted = Shifted::new();
    shifted.write(&[
        ("fog/3/n01440764", "a.ppm"),
        ("rain/3/n01440764", "a.ppm"),
        ("fog/4/n01440764", "a.ppm"),
    ]);
    let results = shifted.results("fog/3", &["--preset-data", "imagenet-c"]);
    assert_eq!(results["data"]["preset"], "imagenet-c/fog/3");
    let settings = &results["models"][0]["model"]["preprocessing_settings"];
    assert_eq!(settings["resize"], serde_json::json!({"shorter_side": 32}));
    for data in ["rain/3", "fog"] {
        let error = shifted.error(data, &["--preset-data", "imagenet-c"]);
        assert!(
            error.contains("such as ImageNet-C/gaussian_noise/3"),
            "{error}"
        );
    }
}

#[test]
fn the_report_has_a_table_over_test_sets() {
    let shifted = Shifted::new();
    shifted.write(&[("fog/3/n01440764", "a.ppm"), ("val/n15075141", "a.ppm")]);
    let out = tempfile::tempdir().unwrap();
    for (data, preset, name) in [
        ("fog/3", "imagenet-c", "c.json"),
        ("val", "imagenet", "val.json"),
    ] {
        let (output, json) = shifted.run(data, &["--preset-data", preset]);
        assert!(output.status.success(), "{output:?}");
        fs::copy(json, out.path().join(name)).unwrap();
    }
    let report = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command
            .arg("report")
            .arg(out.path())
            .args(flags)
            .output()
            .unwrap()
    };
    let json = out.path().join("shifts.txt");
    let output = report(&["--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let shifts: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(shifts["sets"][0]["name"], "imagenet");
    assert_eq!(shifts["models"][0]["accuracies"][0][0]["accuracy"], 1.0);
    let fog = &shifts["models"][0]["corruptions"]["corruptions"][0];
    assert_eq!(
        (&fog["name"], &fog["errors"][2]),
        (&"fog".into(), &1.0.into())
    );
    fs::remove_file(out.path().join("val.json")).unwrap();
    let output = report(&["--json", json.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn groups_of_images_are_reported() {
    let shifted = Shifted::new();
    shifted.write(&[
        ("n15075141", "a.ppm"),
        ("n15075141", "b.ppm"),
        ("n01440764", "c.ppm"),
        ("n01440764", "d.ppm"),
    ]);
    let groups = shifted.case.path("groups.csv");
    fs::write(
        &groups,
        "file_name,dark,large,note\na.ppm,1,0,x\nb.ppm,1,1,y\nc.ppm,0,1,z\n",
    )
    .unwrap();
    let flags = ["--groups", groups.to_str().unwrap()];
    let results = shifted.results("", &flags);
    assert_eq!(
        results["data"]["group_names"],
        serde_json::json!(["dark", "large"])
    );
    // By folder: c, d, a, b.
    assert_eq!(
        results["images"]["groups"],
        serde_json::json!([[1], null, [0], [0, 1]])
    );
    let found = &results["models"][0]["metrics"]["groups"];
    assert_eq!(found[0]["accuracy"], 1.0);
    assert_eq!(
        (&found[1]["images"], &found[1]["accuracy"]),
        (&2.into(), &0.5.into())
    );
    // 1 of 2 is wrong, of 1 of 3 in the file.
    assert_eq!(found[1]["error_ratio"], 1.5);
    let decisions = decisions(&results);
    assert!(
        decisions.contains("1 of 4 images are not in the file of --groups"),
        "{decisions}"
    );

    fs::write(&groups, "file_name,dark\nz.ppm,1\n").unwrap();
    let error = shifted.error("", &flags);
    assert!(
        error.contains("groups.csv has none of the images"),
        "{error}"
    );
}
