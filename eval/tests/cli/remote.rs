//! Data and models on a server that fails now and then: results are those of files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use topk_testing::{Fault, ObjectServer, archive};

use crate::case::{Case, in_order};

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
