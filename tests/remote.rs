//! Training on images of a server that fails now and then gives the weights of training on files.
#![cfg(feature = "remote")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_testing::{Fault, ObjectServer, archive};

const KEY: &str = "AKIDTESTTESTTEST";
const SECRET: &str = "verysecretsecretkey";

/// The third shard in the order of the first epoch, which follows from the seed.
const THIRD_SHARD: usize = 1;

struct Case {
    folder: TempDir,
    server: ObjectServer,
    /// Flags of all runs.
    flags: &'static [&'static str],
}

impl Case {
    fn new() -> Self {
        Self::with_damage(|_| false)
    }

    /// Six shards of 20 images, sorted by class; some images, by number, cannot be read.
    fn with_damage(is_damaged: impl Fn(usize) -> bool) -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
            server: ObjectServer::signed(KEY, SECRET),
            flags: &["--val-size=30", "--batch-size=16", "--device=cpu"],
        };
        for shard in 0..6 {
            let files: Vec<(String, Vec<u8>)> = (0..20)
                .flat_map(|number| {
                    let number = shard * 20 + number;
                    let label = (shard / 2).to_string().into_bytes();
                    let contents = match is_damaged(number) {
                        true => b"BM".to_vec(),
                        false => image(number, shard / 2),
                    };
                    [
                        (format!("{number:03}.bmp"), contents),
                        (format!("{number:03}.cls"), label),
                    ]
                })
                .collect();
            let files = files
                .iter()
                .map(|(name, contents)| (name.as_str(), &contents[..]));
            fs::write(case.path(&format!("train-{shard}.tar")), archive(files)).unwrap();
        }
        case.server.put_folder("bucket", case.folder.path());
        let mut large = 0;
        case.server.fail(move |request| {
            request.range.filter(|(start, end)| end - start > 1000)?;
            large += 1;
            match large % 8 {
                1 => Some(Fault::Status(500)),
                2 => Some(Fault::Break(1000)),
                _ => None,
            }
        });
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, data: &Path, out: &str, flags: &[&str]) -> Output {
        let fixed = "--model=basic-4 --input-size=32 --augment=flip --epochs=2 --topk=2 --workers=1 --seed=3";
        Command::new(env!("CARGO_BIN_EXE_topk-train"))
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("XDG_CACHE_HOME", self.path("home"))
            .args(fixed.split_whitespace())
            .args(self.flags)
            .args(flags)
            .arg("--data")
            .arg(data)
            .arg("--out")
            .arg(self.path(out))
            .output()
            .unwrap()
    }

    fn trained(&self, data: &Path, out: &str, flags: &[&str]) -> String {
        let output = self.run(data, out, flags);
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert!(output.status.success(), "{printed}");
        printed
    }

    fn log(&self, out: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Validation images in files.
    fn validation(&self) -> String {
        for class in 0..3 {
            let folder = self.path(&format!("val/{class}"));
            fs::create_dir_all(&folder).unwrap();
            for number in 0..4 {
                let name = folder.join(format!("{number}.bmp"));
                fs::write(name, image(200 + number, class)).unwrap();
            }
        }
        format!("--val-data={}", self.path("val").display())
    }

    /// How many requests were made for the contents of each shard since this was last called, without those of one byte
    /// that find out a version.
    fn requested(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.server.take_requests() {
            if request.range.is_some_and(|(start, end)| end - start > 1) {
                *counts.entry(request.path).or_default() += 1;
            }
        }
        counts
    }

    fn checkpoint(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("bestk.safetensors")).unwrap()
    }
}

/// An image of a class.
fn image(number: usize, class: usize) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(32, 32, |x, y| {
        let noise = ((x * 31 + y * 17 + number as u32 * 7) % 97) as u8;
        let mut colour = [noise; 3];
        colour[class % 3] += 100;
        image::Rgb(colour)
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels
        .write_to(&mut bytes, image::ImageFormat::Bmp)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn shards_of_a_server_give_the_weights_of_files() {
    let case = Case::new();
    let flags = ["--shuffle=shards", "--shuffle-buffer=12"];
    case.trained(&case.path("train-{0..5}.tar"), "files", &flags);
    let address = Path::new("s3://bucket/train-{0..5}.tar");
    // Shards are the default there.
    let printed = case.trained(address, "remote", &flags[1..]);
    assert!(
        printed.contains("training images: shuffled by shard, because they are read from a server"),
        "{printed}"
    );
    // Without the line breaks of the terminal.
    let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, line) = words.split_once("data from servers: ").expect(&printed);
    assert!(
        line.contains("× HTTP 500") && line.contains("× connection broken"),
        "{line}"
    );
    assert!(!printed.contains(SECRET) && !printed.contains(KEY));
    assert_eq!(case.checkpoint("remote"), case.checkpoint("files"));
    let first_epoch = |out: &str| -> Value {
        let times = fs::read_to_string(case.path(out).join("times.jsonl")).unwrap();
        serde_json::from_str(times.lines().next().unwrap()).unwrap()
    };
    assert!(first_epoch("remote")["retries"].as_u64() > Some(0));
    assert!(first_epoch("files")["retries"].is_null());
    let (files, remote) = (case.log("files"), case.log("remote"));
    assert_eq!(files.len(), remote.len());
    assert_eq!(files[1..], remote[1..], "the epochs");
    let config = &remote[0]["config"];
    assert_eq!(config["shuffle"], "shards");
    assert_eq!(config["shuffle-buffer"], 12);
    assert_eq!(config["data"], address.to_str().unwrap());
    let state = fs::read(case.path("remote/state.safetensors")).unwrap();
    let has = |text: &str| {
        state
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(has("s3://bucket") && !has(SECRET) && !has(KEY));
    // Another order gives other weights.
    case.trained(address, "full", &["--shuffle=full"]);
    assert_ne!(case.checkpoint("full"), case.checkpoint("remote"));
}

#[test]
fn a_run_moves_between_servers_and_files() {
    let case = Case::new();
    // The default milestones depend on the number of epochs.
    let flags = [
        "--shuffle=shards",
        "--recovery-interval=1",
        "--decay-milestones=none",
    ];
    let whole = case.path("train-{0..5}.tar");
    case.trained(&whole, "whole", &flags);
    let address = Path::new("s3://bucket/train-{0..5}.tar");
    // The list is known, so that what is read is images.
    case.trained(address, "first", &[&flags[..], &["--epochs=1"]].concat());
    let shard = fs::read(case.path("train-2.tar")).unwrap();
    case.server.fail(|_| None);
    case.server.put("bucket/train-2.tar", shard);
    let output = case.run(address, "first", &flags);
    // Another version is another list, but the images are the same, which is what counts.
    assert!(output.status.success(), "{output:?}");
    assert_eq!(case.checkpoint("first"), case.checkpoint("whole"));
    // A run on the server continues on files, in the same order.
    case.trained(address, "moved", &[&flags[1..], &["--epochs=1"]].concat());
    case.trained(&whole, "moved", &flags[1..]);
    assert_eq!(case.checkpoint("moved"), case.checkpoint("whole"));
}

/// The shards of an epoch are divided among the ranks, whose weights are those of ranks that read files.
#[test]
fn ranks_read_their_own_shards_of_a_server() {
    let mut case = Case::new();
    case.flags = &["--devices=cpu,cpu", "--global-batch-size=16", "--sync-bn"];
    let val = case.validation();
    let flags = ["--shuffle=shards", "--shuffle-buffer=4", "--epochs=1", &val];
    case.trained(&case.path("train-{0..5}.tar"), "files", &flags);
    let address = Path::new("s3://bucket/train-{0..5}.tar");
    case.server.fail(|_| None);
    // The first run reads the list of images too.
    case.trained(address, "first", &flags);
    case.requested();
    case.trained(address, "second", &flags);
    let requested = case.requested();
    for out in ["first", "second"] {
        assert_eq!(case.checkpoint(out), case.checkpoint("files"));
    }
    assert_eq!(requested.len(), 6, "{requested:?}");
    assert!(requested.values().all(|&count| count == 1), "{requested:?}");
}

/// Images are mixed within streams of the shards in their order: the third of six is only begun in the middle of a
/// stream, and the first is then done.
#[test]
fn a_run_that_resumes_requests_only_what_it_still_needs() {
    let damaged = 20 * THIRD_SHARD + 15;
    let mut case = Case::with_damage(|number| number == damaged);
    case.flags = &["--batch-size=16", "--device=cpu"];
    case.server.fail(|_| None);
    let val = case.validation();
    let address = Path::new("s3://bucket/train-{0..5}.tar");
    let flags = [
        "--shuffle-buffer=1",
        "--recovery-interval=1",
        "--epochs=1",
        &val,
    ];
    let output = case.run(address, "out", &flags);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("{damaged:03}.bmp")), "{error}");
    case.requested();
    let flags = [&flags[..], &["--on-bad-image=skip"]].concat();
    let printed = case.trained(address, "out", &flags);
    assert!(
        printed.contains("resuming at epoch 1, batch 6"),
        "{printed}"
    );
    let requested = case.requested();
    // Those of four streams of one and a half shards each, of which 24 of 30 images are done.
    assert_eq!(requested.len(), 4, "{requested:?}");
    assert!(requested.values().all(|&count| count == 1), "{requested:?}");
}
