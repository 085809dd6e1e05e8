//! The page in `examples/web` in headless Chromium.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use topk_eval::{Execution, InputTensor, Model};
use topk_models::{Checkpoint, OnnxOptions, Outputs, architecture, onnx_model};
use topk_native::Runtime;
use topk_onnx::proto::ModelProto;
use topk_onnx::{CardResize, ImageInput};
use topk_ops::{Reduction, SmoothTopkSvm};
use topk_ops_onnx::{Form, OnnxLoss};
use topk_preprocessing::Interpolation;
use topk_testing::{ONNXRUNTIME_WEB, Site, browse, shared};

#[path = "../../tests/card/mod.rs"]
mod card;
#[path = "../../tests/from_names/mod.rs"]
mod from_names;
use card::card;
use from_names::weights;

const CLASSES: usize = 10;

/// A network, and its size of images.
const SMALL: (&str, [usize; 2]) = ("basic-6", [32, 32]);
const LARGE: (&str, [usize; 2]) = ("squeezenet1_1", [224, 224]);
const OBLONG: (&str, [usize; 2]) = ("squeezenet1_1", [97, 64]);

fn checkpoint((name, [height, width]): (&str, [usize; 2]), filter: Interpolation) -> Checkpoint {
    let architecture = architecture(name, [3, height, width], CLASSES).unwrap();
    let shapes = architecture.parameter_shapes().into_iter().collect();
    let mut card = card(&architecture);
    (card.mean, card.std) = ([0.4, 0.5, 0.55].into(), [0.2, 0.25, 0.3].into());
    let shorter_side = match ([height, width], filter) {
        ([224, 224], _) => Some(256),
        ([97, 64], _) => Some(111),
        // The page's default.
        (_, Interpolation::Bilinear) => None,
        _ => Some(40),
    };
    card.resize = shorter_side.map(|shorter_side| CardResize {
        shorter_side,
        cover: None,
        interpolation: filter,
    });
    Checkpoint::new(card, weights(&shapes, 1.4)).unwrap()
}

fn k(checkpoint: &Checkpoint) -> usize {
    checkpoint.card().training.as_ref().unwrap().k
}

/// The page with models beside it.
struct Page {
    models: TempDir,
    visits: Vec<Value>,
}

impl Page {
    fn new() -> Self {
        Self {
            models: tempfile::tempdir().unwrap(),
            visits: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.models.path().join(name)
    }

    fn write(&self, name: &str, model: &ModelProto) {
        fs::write(self.path(name), prost::Message::encode_to_vec(model)).unwrap();
    }

    /// What is seen on each visit.
    fn visit(&self) -> Option<Vec<Value>> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web");
        let modules = ONNXRUNTIME_WEB.folder().join("node_modules");
        let site = Site::new()
            .file("/web.html", include_str!("web.html"))
            .file("/visits.json", serde_json::to_vec(&self.visits).unwrap())
            .folder("/web/node_modules/", modules)
            .folder("/web/models/", self.models.path())
            .folder("/web/", &page)
            .folder("/bare/", page);
        let seen: Vec<Value> = serde_json::from_str(&browse(&site, "/web.html")?).unwrap();
        Some(seen)
    }
}

/// Names and probabilities of the k best classes of an image in ONNX Runtime.
fn expected(model: &mut Model, pixels: &[u8], k: usize) -> Vec<(String, f64)> {
    let card = model.card().unwrap().clone();
    let plane = pixels.len() / 3;
    let images: Vec<f32> = (0..pixels.len())
        .map(|i| {
            let channel = i / plane;
            let fraction = f32::from(pixels[i % plane * 3 + channel]) / 255.0;
            (fraction - card.mean.rgb()[channel]) / card.std.rgb()[channel]
        })
        .collect();
    let [_, height, width] = card.input_size;
    let scores = model
        .scores(&InputTensor::f32(images, [height, width]))
        .unwrap();
    let sum: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
    let mut classes: Vec<_> = card
        .class_names
        .unwrap()
        .into_iter()
        .zip(scores.iter().map(|&score| f64::from(score).exp() / sum))
        .collect();
    classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    classes.truncate(k);
    classes
}

/// The crops of a size in `data/web_crops.json`, by filter and by the resize in the page's URL, which is empty if
/// it is the model's or the page's default.
fn crops(size: [usize; 2]) -> BTreeMap<(String, String), Vec<Value>> {
    let all: Vec<Value> = serde_json::from_str(include_str!("data/web_crops.json")).unwrap();
    let mut crops = BTreeMap::<_, Vec<Value>>::new();
    for crop in all.into_iter().filter(|crop| crop["crop"] == json!(size)) {
        let address = match crop["resize"].as_u64().unwrap() {
            32 | 40 | 111 | 256 => String::new(),
            resize => format!("&resize={resize}"),
        };
        let filter = crop["interpolation"].as_str().unwrap().to_owned();
        crops.entry((filter, address)).or_default().push(crop);
    }
    crops
}

#[test]
fn classes_agree_with_onnx_runtime_and_pixels_with_pillow() {
    let mut page = Page::new();
    let plain = OnnxOptions::default;
    let input = |input| OnnxOptions {
        image_input: Some(input),
        ..plain()
    };
    let options = [
        plain(),
        input(ImageInput::Float),
        input(ImageInput::Bytes),
        OnnxOptions {
            outputs: Outputs::TopK(4),
            ..plain()
        },
        OnnxOptions {
            outputs: Outputs::TopK(2),
            float16: true,
            opset: 21,
            ..input(ImageInput::Bytes)
        },
    ];
    let mut cases = Vec::new();
    for network in [SMALL, LARGE, OBLONG] {
        let (name, [height, width]) = network;
        for ((filter, resize), crops) in crops([height, width]) {
            let interpolation = serde_json::from_value(json!(filter)).unwrap();
            let checkpoint = checkpoint(network, interpolation);
            for (i, options) in options.iter().enumerate() {
                if (network != SMALL || filter != "bilinear") && i != 2 {
                    continue;
                }
                let file = format!("{name}-{height}-{filter}-{i}.onnx");
                page.write(&file, &onnx_model(checkpoint.clone(), options).unwrap());
                let (k, bar) = match options.outputs {
                    Outputs::TopK(k) => (k, if options.float16 { 1e-2 } else { 1e-4 }),
                    _ => (k(&checkpoint), 1e-4),
                };
                let images: Vec<&Value> = crops.iter().map(|crop| &crop["image"]).collect();
                page.visits.push(json!({
                    "address": format!("/web/index.html?model=models/{file}{resize}"),
                    "images": images,
                }));
                cases.extend(crops.iter().map(|crop| (network, crop.clone(), k, bar)));
            }
        }
    }
    let Some(seen) = page.visit() else {
        return;
    };
    let runtime = Runtime::load().unwrap();
    let mut spread = 0f64;
    for ((network, crop, k, bar), seen) in cases.iter().zip(&seen) {
        let what = format!("{network:?} {crop}: {}, {}", seen["error"], seen["model"]);
        assert_eq!(seen["error"], Value::Null, "{what}");
        assert_eq!(seen["sha256"], crop["sha256"], "{what}");
        let pixels: Vec<u8> = serde_json::from_value(seen["pixels"].clone()).unwrap();
        let path = page.path("expected.onnx");
        page.write(
            "expected.onnx",
            &onnx_model(checkpoint(*network, Interpolation::Bilinear), &plain()).unwrap(),
        );
        let mut model = Model::open(&runtime, &path, Execution::default()).unwrap();
        let expected = expected(&mut model, &pixels, *k);
        let classes: Vec<(String, f64)> = serde_json::from_value(seen["classes"].clone()).unwrap();
        assert_eq!(classes.len(), *k, "{what}");
        for ((name, probability), (expected_name, expected)) in classes.iter().zip(&expected) {
            assert_eq!(name, expected_name, "{what}");
            assert!(
                (probability - expected).abs() <= *bar,
                "{what}: {name} {probability} {expected}"
            );
        }
        spread = spread.max(expected[0].1 - expected[k - 1].1);
    }
    assert_eq!(seen.len(), cases.len());
    assert!(spread > 0.1, "equal probabilities prove nothing");
}

/// Posts size and hash of each image of `/images.json` when resized to 256 and cropped to 224.
const HASHES: &str = r#"<!doctype html>
<script type="module">
import { decode, resizedCenter } from "/web/pixels.js";
const post = (path, body) => fetch(path, { method: "POST", body });
try {
  const hashes = [];
  for (const file of await (await fetch("/images.json")).json()) {
    const image = await decode(await (await fetch(`/images/${file}`)).blob());
    const pixels = resizedCenter(image, { height: 224, width: 224 }, { side: 256, filter: "bilinear" });
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", pixels));
    const hex = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    hashes.push([image.width, image.height, hex]);
    image.close();
  }
  await post("/result", JSON.stringify(hashes));
} catch (error) {
  await post("/error", String(error.stack ?? error));
}
</script>
"#;

#[test]
fn photographs_have_the_pixels_of_pillow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (Some(golden), Some(images)) = (
        shared("golden/imagenet-sample.pillow13.jsonl"),
        shared("data/imagenet-sample"),
    ) else {
        return;
    };
    let golden = fs::read_to_string(golden).unwrap();
    // The first line describes the file.
    let golden: Vec<Value> = golden
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let files: Vec<&Value> = golden.iter().map(|image| &image["file"]).collect();
    let site = Site::new()
        .file("/hashes.html", HASHES)
        .file("/images.json", serde_json::to_vec(&files).unwrap())
        .folder("/images/", images)
        .folder("/web/", root.join("examples/web"));
    let Some(printed) = browse(&site, "/hashes.html") else {
        return;
    };
    let found: Vec<(u64, u64, String)> = serde_json::from_str(&printed).unwrap();
    assert_eq!(found.len(), golden.len());
    let mut rotated = 0;
    for ((width, height, hash), golden) in found.iter().zip(&golden) {
        // Browsers rotate an image according to its EXIF data.
        if (golden["width"] == *height && golden["height"] == *width) && width != height {
            rotated += 1;
        } else {
            assert_eq!(golden["crop_bilinear"], *hash, "{}", golden["file"]);
        }
    }
    assert_eq!(rotated, 1);
}

/// A change that breaks a model, and the page's error.
type Breakage = (fn(&mut ModelProto), &'static str);

fn set(model: &mut ModelProto, key: &str, value: &str) {
    let entry = model
        .metadata_props
        .iter_mut()
        .find(|entry| entry.key == key);
    value.clone_into(&mut entry.unwrap().value);
}

const BREAKAGES: [Breakage; 7] = [
    (
        |model| model.metadata_props.clear(),
        "The model has no metadata with class names: write it with topk-export model.",
    ),
    (
        |model| {
            model
                .metadata_props
                .retain(|entry| entry.key != "topk.class_names")
        },
        "The model's metadata has no topk.class_names.",
    ),
    (
        |model| set(model, "topk.mean", "[0.5,0.5"),
        "The model's metadata topk.mean should be three numbers, but is: [0.5,0.5",
    ),
    (
        |model| set(model, "topk.std", "[1,0,1]"),
        "The model's metadata topk.std should be three numbers above 0, but is: [1,0,1]",
    ),
    (
        |model| set(model, "topk.input_size", "[3,64,32]"),
        "The model's input has the shape batch × 3 × 32 × 32, but its metadata says 3 × 64 × 32.",
    ),
    (
        |model| set(model, "topk.class_names", "[\"cat\",\"dog\"]"),
        "The model has 10 scores, but 2 class names.",
    ),
    (
        |model| model.graph.as_mut().unwrap().node[0].op_type = "Cnov".to_owned(),
        "onnxruntime-web cannot load the model: ",
    ),
];

#[test]
fn the_page_explains_errors() {
    let mut page = Page::new();
    let checkpoint = checkpoint(SMALL, Interpolation::Bilinear);
    let good = onnx_model(checkpoint.clone(), &OnnxOptions::default()).unwrap();
    page.write("good.onnx", &good);
    let loss = OnnxLoss {
        loss: SmoothTopkSvm::new(3, 1.0, 1.0).unwrap().into(),
        reduction: Reduction::None,
        ignore_index: None,
    };
    let form = Form::Function;
    let options = OnnxOptions {
        outputs: Outputs::Loss {
            loss,
            form,
            gradient: false,
        },
        ..OnnxOptions::default()
    };
    page.write(
        "loss.onnx",
        &onnx_model(checkpoint.clone(), &options).unwrap(),
    );
    let bytes = fs::read(page.path("good.onnx")).unwrap();
    fs::write(page.path("short.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(page.path("text.onnx"), "<!doctype html>").unwrap();

    let mut messages = Vec::new();
    let mut visit = |visit: Value, message: &'static str| {
        page.visits.push(visit);
        messages.push(message);
    };
    let address = |model: &str| format!("/web/index.html?model=models/{model}.onnx");
    visit(
        json!({"address": "/web/index.html"}),
        "Cannot load a model from model.onnx (status 404): put one there, set ?model=… in the URL, or choose \
         a file below.",
    );
    visit(
        json!({"address": "/bare/index.html?model=/web/models/good.onnx"}),
        "onnxruntime-web is not at the path in index.html: run npm install onnxruntime-web in the page's folder.",
    );
    visit(
        json!({"address": address("loss")}),
        "The model has the inputs input, labels, but this page only has images: write it with --outputs topk or \
         --outputs logits.",
    );
    visit(
        json!({"address": address("short")}),
        "This is not an ONNX file: it ends in the middle of a field.",
    );
    visit(
        json!({"address": address("text")}),
        "This is not an ONNX file: a field has no valid number and type.",
    );
    visit(
        json!({"address": address("good"), "text": "not an image"}),
        "notes.txt is not an image that this browser can read",
    );
    visit(
        json!({"address": address("good") + "&resize=31", "images": [[32, 32]]}),
        "resize=31 in the URL should be a number of pixels from 32 to 4096.",
    );
    for (i, (change, message)) in BREAKAGES.into_iter().enumerate() {
        let name = format!("broken{i}");
        let mut model = good.clone();
        change(&mut model);
        fs::write(
            page.models.path().join(format!("{name}.onnx")),
            prost::Message::encode_to_vec(&model),
        )
        .unwrap();
        visit(json!({"address": address(&name)}), message);
    }
    // The page works after an error.
    let recovers = [
        json!({"address": address("good"), "text": "not an image", "images": [[32, 32]]}),
        json!({"address": "/web/index.html", "file": "/web/models/good.onnx", "images": [[32, 32]]}),
    ];
    page.visits.extend(recovers);

    let Some(seen) = page.visit() else {
        return;
    };
    for (seen, message) in seen.iter().zip(&messages) {
        let error = seen["error"].as_str().unwrap_or_default();
        let exact = error == *message;
        let begins =
            message.ends_with(": ") && error.starts_with(message) && error.len() > message.len();
        assert!(exact || begins, "{error}\nis not\n{message}");
        assert_eq!(seen["classes"], json!([]), "{message}");
        let loaded = seen["model"]
            .as_str()
            .unwrap()
            .contains(": basic-6, trained on random");
        assert_eq!(seen["canChoose"], json!(loaded), "{message}");
    }
    assert_eq!(seen.len(), messages.len() + 2);
    for seen in &seen[messages.len()..] {
        assert_eq!(seen["error"], Value::Null);
        assert_eq!(seen["classes"].as_array().unwrap().len(), k(&checkpoint));
    }
}
