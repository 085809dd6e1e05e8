//! Data and models on a server that fails now and then: results are those of files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use prost::Message;
use serde_json::{Value, json};
use topk_onnx::model;
use topk_onnx::proto::{DataLocation, StringStringEntryProto};
use topk_testing::{Fault, ObjectRequest, ObjectServer, archive};

use crate::calibration::random;
use crate::case::{CLASSES, Case, in_order};

const KEY: &str = "AKIDTESTTESTTEST";
const SECRET: &str = "verysecretsecretkey";

/// A folder with data, also on a server.
struct Remote {
    case: Case,
    server: ObjectServer,
}

impl Remote {
    fn new() -> Self {
        let case = Case::new();
        case.write_model(&in_order(), None);
        for shard in 0..3 {
            let files: Vec<(String, Vec<u8>)> = (0..20)
                .flat_map(|number| {
                    let number = shard * 20 + number;
                    let label = (number % 6).to_string().into_bytes();
                    [
                        (format!("{number:03}.png"), image(number)),
                        (format!("{number:03}.cls"), label),
                    ]
                })
                .collect();
            let files = files
                .iter()
                .map(|(name, contents)| (name.as_str(), &contents[..]));
            fs::write(case.path(&format!("val-{shard}.tar")), archive(files)).unwrap();
        }
        let server = ObjectServer::signed(KEY, SECRET);
        server.put_folder("bucket/set", case.folder.path());
        server.fail(|request| match request.number % 4 {
            1 => Some(Fault::Status(503)),
            3 => Some(Fault::Break(50)),
            _ => None,
        });
        Self { case, server }
    }

    fn run(&self, model: &str, data: &str, json: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command
            .env_clear()
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .current_dir("/")
            .args([
                "--model",
                model,
                "--data",
                data,
                "--batch-size",
                "7",
                "--device",
                "cpu",
            ])
            .args(["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"])
            .arg("--cache")
            .arg(self.case.path("cache"))
            .args(["--json", json.to_str().unwrap()]);
        command.output().unwrap()
    }

    fn results(&self, model: &str, data: &str) -> (Value, String, String) {
        let json = self.case.path("out.json");
        let _ = fs::remove_file(&json);
        let output = self.run(model, data, &json);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{printed}");
        let text = fs::read_to_string(&json).unwrap();
        (serde_json::from_str(&text).unwrap(), printed, text)
    }
}

fn image(number: usize) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(32, 32, |x, y| {
        let value = |channel: u32| (x * 7 + y * 5 + channel * 3 + number as u32 * 11) as u8;
        image::Rgb([value(0), value(1), value(2)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn data_and_models_on_a_server_give_the_results_of_files() {
    let remote = Remote::new();
    let local = |name: &str| remote.case.path(name).to_str().unwrap().to_owned();
    let outcomes = |results: &Value| results["models"][0]["outcomes"].clone();
    let (of_files, ..) = remote.results(&local("model.onnx"), &local("val-{0..2}.tar"));
    assert_eq!(of_files["data"]["images"], 60);
    let address = "s3://bucket/set/val-{0..2}.tar";
    let (first, printed, text) = remote.results("s3://bucket/set/model.onnx", address);
    assert_eq!(outcomes(&first), outcomes(&of_files));
    assert_eq!(first["data"]["sha256"], of_files["data"]["sha256"]);
    assert_eq!(first["data"]["path"], address);
    // Each failure is counted.
    let line = printed
        .lines()
        .find(|line| line.starts_with("data from servers: "))
        .unwrap();
    assert!(
        line.contains(" retries (") && line.contains("× HTTP 503"),
        "{line}"
    );
    for secret in [KEY, SECRET] {
        assert!(!printed.contains(secret) && !text.contains(secret));
    }
    // Again from the cache: only the versions are asked for.
    remote.server.take_requests();
    let (again, ..) = remote.results("s3://bucket/set/model.onnx", address);
    assert_eq!(outcomes(&again), outcomes(&of_files));
    let requests = remote.server.take_requests();
    assert!(
        requests.iter().all(|request| request.method == "HEAD"),
        "{requests:?}"
    );
}

/// Writes a model whose weights are in another file, and the configuration of its preprocessing in the folder above.
fn write_with_files(root: &Path) {
    let folder = root.join("onnx");
    fs::create_dir_all(folder.join("data")).unwrap();
    let mut file = model(random(CLASSES), "", []);
    let graph = file.graph.as_mut().unwrap();
    let weights = &mut graph.initializer[0];
    let values = [&weights.raw_data, &weights.float_data].map(|bytes| bytes.to_vec());
    fs::write(folder.join("data/model.weights"), values.concat()).unwrap();
    (weights.raw_data, weights.float_data) = Default::default();
    weights.data_location = DataLocation::External.into();
    weights.external_data = vec![StringStringEntryProto {
        key: "location".to_owned(),
        value: "data/model.weights".to_owned(),
    }];
    fs::write(folder.join("model.onnx"), file.encode_to_vec()).unwrap();
    let configuration = json!({
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.25, 0.5, 0.75],
        "image_std": [0.25, 0.25, 0.5],
    });
    fs::write(
        root.join("preprocessor_config.json"),
        configuration.to_string(),
    )
    .unwrap();
}

/// Evaluates a model without flags on its preprocessing.
fn run_plain(remote: &Remote, model: &str) -> (Output, Option<Value>) {
    let json = remote.case.path("plain.json");
    let _ = fs::remove_file(&json);
    let output = Command::new(env!("CARGO_BIN_EXE_topk-eval"))
        .env_clear()
        .env("AWS_ENDPOINT_URL", remote.server.endpoint())
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .args(["--model", model, "--device", "cpu", "--data"])
        .arg(remote.case.path("val-0.tar"))
        .arg("--cache")
        .arg(remote.case.path("cache"))
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let results = fs::read(&json).ok();
    (
        output,
        results.map(|results| serde_json::from_slice(&results).unwrap()),
    )
}

#[test]
fn weights_and_configurations_beside_a_model_are_found_on_servers() {
    let remote = Remote::new();
    let folder = remote.case.path("repository");
    write_with_files(&folder);
    remote.server.put_folder("bucket/repository", &folder);
    let local = folder.join("onnx/model.onnx");
    let (output, of_files) = run_plain(&remote, local.to_str().unwrap());
    assert!(output.status.success(), "{output:?}");
    let of_files = of_files.unwrap();
    let address = "s3://bucket/repository/onnx/model.onnx";
    // Again from the cache, the second time.
    for _ in 0..2 {
        let (output, found) = run_plain(&remote, address);
        assert!(output.status.success(), "{output:?}");
        let found = found.unwrap();
        let [found, expected] = [&found, &of_files].map(|results| &results["models"][0]);
        assert_eq!(found["outcomes"], expected["outcomes"]);
        let [model, expected] = [found, expected].map(|found| &found["model"]);
        for member in [
            "sha256",
            "bytes",
            "external_data",
            "normalization",
            "preprocessing_settings",
        ] {
            assert!(!model[member].is_null(), "{member}");
            assert_eq!(model[member], expected[member], "{member}");
        }
        let preset = model["preset"].as_str().unwrap();
        assert!(preset.ends_with("/preprocessor_config.json"), "{preset}");
    }
    // A new version of one of the files is another model.
    let weights = fs::read(folder.join("onnx/data/model.weights")).unwrap();
    let changed: Vec<u8> = weights.chunks(4).rev().flatten().copied().collect();
    let key = "bucket/repository/onnx/data/model.weights";
    remote.server.put(key, changed);
    let (_, found) = run_plain(&remote, address);
    let found = &found.unwrap()["models"][0];
    assert_ne!(
        found["model"]["sha256"],
        of_files["models"][0]["model"]["sha256"]
    );
    assert_ne!(found["outcomes"], of_files["models"][0]["outcomes"]);

    // Flags on the preprocessing need no configuration.
    remote.server.take_requests();
    let json = remote.case.path("flags.json");
    let output = remote.run(
        address,
        remote.case.path("val-0.tar").to_str().unwrap(),
        &json,
    );
    assert!(output.status.success(), "{output:?}");
    let requests = remote.server.take_requests();
    assert!(
        requests
            .iter()
            .all(|request| !request.path.ends_with(".json")),
        "{requests:?}"
    );

    remote
        .server
        .put_folder("bucket/alone/onnx", &folder.join("onnx"));
    let (output, _) = run_plain(&remote, "s3://bucket/alone/onnx/model.onnx");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--mean"), "{error}");
    // Stores answer so if the user may not list what there is.
    let denied = |request: &ObjectRequest| request.path.ends_with("config.json");
    remote
        .server
        .fail(move |request| denied(request).then_some(Fault::Status(403)));
    let (output, _) = run_plain(&remote, address);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--mean"), "{error}");
    let model = fs::read(&local).unwrap();
    remote.server.put("bucket/without/model.onnx", model);
    let (output, _) = run_plain(&remote, "s3://bucket/without/model.onnx");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has weights in data/model.weights, which must be beside it")
            && error.contains("s3://bucket/without/data/model.weights does not exist"),
        "{error}"
    );
}

#[test]
fn files_beside_a_model_are_read_with_the_query_of_its_address() {
    let remote = Remote::new();
    let folder = remote.case.path("repository");
    write_with_files(&folder);
    let server = ObjectServer::start();
    server.put_folder("files/repository", &folder);
    server.fail(|request| (request.query != "sig=hidden").then_some(Fault::Status(403)));
    let address = format!(
        "{}/files/repository/onnx/model.onnx?sig=hidden",
        server.endpoint()
    );
    let (output, found) = run_plain(&remote, &address);
    assert!(output.status.success(), "{output:?}");
    let found = found.unwrap();
    assert_eq!(
        found["models"][0]["model"]["external_data"],
        json!(["data/model.weights"])
    );
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(!printed.contains("hidden") && !found.to_string().contains("hidden"));
}

#[test]
fn a_server_without_the_credentials_is_an_error_without_them() {
    let remote = Remote::new();
    remote.server.fail(|_| Some(Fault::Status(403)));
    let json = remote.case.path("out.json");
    let model = remote.case.path("model.onnx");
    let address = format!(
        "{}/bucket/set/val-0.tar?X-Amz-Signature=hiddensignature",
        remote
            .server
            .endpoint()
            .replace("http://", "http://me:hiddenpass@")
    );
    for data in ["s3://bucket/set/val-0.tar", &address] {
        let output = remote.run(model.to_str().unwrap(), data, &json);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains("error: access to ") && printed.contains("is denied (HTTP 403)"),
            "{printed}"
        );
        for secret in [KEY, SECRET, "hidden"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
    assert!(!json.exists());
}
