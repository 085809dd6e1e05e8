//! Data sets on a server that fails now and then have the same images, labels and order as on disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tar::{Builder, Header};
use tempfile::TempDir;
use topk_data::{Format, ImageSet, Options, Split};
use topk_remote::Client;
use topk_testing::{Fault, ObjectServer};

const KEY: &str = "AKIDTESTTESTTEST";
const SECRET: &str = "verysecretsecretkey";
const BLOCK: usize = 8 << 10;
const MEMORY: usize = 64 * BLOCK;

/// A server for all tests of this process, as there is one client.
fn server() -> &'static ObjectServer {
    static SERVER: OnceLock<(ObjectServer, TempDir)> = OnceLock::new();
    let (server, _) = SERVER.get_or_init(|| {
        let server = ObjectServer::signed(KEY, SECRET);
        let home = tempfile::tempdir().unwrap();
        let variables = [
            ("AWS_ENDPOINT_URL", server.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ];
        Client::configure(topk_remote::Options {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            home: Some(home.path().to_owned()),
            memory: MEMORY,
            block: BLOCK,
            retries: topk_remote::Retries {
                first_wait: Duration::from_millis(1),
                ..topk_remote::Retries::default()
            },
            ..topk_remote::Options::default()
        })
        .unwrap();
        // Every seventh request fails in one of three ways.
        server.fail(|request| match request.number % 21 {
            6 => Some(Fault::Status(503)),
            13 => Some(Fault::Break(100)),
            20 => Some(Fault::Status(500)),
            _ => None,
        });
        (server, home)
    });
    server
}

fn contents(number: usize) -> Vec<u8> {
    (0..500 + number * 37 % 3000)
        .map(|i| (i * 31 + number * 17) as u8)
        .collect()
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, &contents[..])
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes four shards of 40 samples.
fn shards(folder: &Path) {
    for shard in 0..4 {
        let files: Vec<(String, Vec<u8>)> = (0..40)
            .flat_map(|sample| {
                let number = shard * 40 + sample;
                let class = format!("{}\n", number % 7).into_bytes();
                [
                    (format!("{number:04}.jpg"), contents(number)),
                    (format!("{number:04}.cls"), class),
                    (format!("{number:04}.txt"), b"a caption".to_vec()),
                ]
            })
            .collect();
        fs::write(folder.join(format!("train-{shard}.tar")), archive(&files)).unwrap();
    }
}

/// Opens a folder on disk and as `s3://bucket/NAME`, and compares everything.
fn compare(name: &str, folder: &Path, inner: &str, options: &Options) -> ImageSet {
    static PUT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let server = server();
    // Putting an object again would make it another version.
    if PUT.lock().unwrap().insert(name.to_owned()) {
        server.put_folder(&format!("bucket/{name}"), folder);
    }
    let local = ImageSet::open(&folder.join(inner), options).unwrap();
    let address = format!("s3://bucket/{name}/{inner}");
    let remote = ImageSet::open(Path::new(&address), options).unwrap();
    assert_eq!(remote.format(), local.format());
    assert_eq!(remote.samples().len(), local.samples().len());
    for (remote, local) in remote.samples().iter().zip(local.samples()) {
        assert_eq!((&remote.name, remote.label), (&local.name, local.label));
    }
    assert_eq!(remote.classes(), local.classes());
    assert_eq!(remote.warnings().lines(), local.warnings().lines());
    assert_eq!(remote.sha256().unwrap(), local.sha256().unwrap());
    remote.read_ahead(0..remote.len());
    assert_eq!(
        remote.contents_sha256().unwrap(),
        local.contents_sha256().unwrap()
    );
    assert_eq!(remote.runs(), local.runs());
    assert!(remote.is_remote() && !local.is_remote());
    let description = remote.description().to_string();
    assert!(
        description.starts_with(address.trim_end_matches('/')),
        "{description}"
    );
    let most = Client::shared().unwrap().counts().most_held;
    assert!(
        most <= MEMORY + MEMORY / 8 + 20 * BLOCK,
        "{most} bytes in memory"
    );
    remote
}

#[test]
fn shards_of_patterns_and_prefixes() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path());
    let options = Options::default();
    let set = compare("shards", folder.path(), "train-{0..3}.tar", &options);
    assert_eq!(set.format(), Format::Webdataset);
    let runs = set.runs().unwrap();
    assert_eq!((runs[0], runs[39], runs[40], runs[159]), (0, 0, 1, 3));
    compare("shards", folder.path(), "train-*.tar", &options);
    compare(
        "shards",
        folder.path(),
        "",
        &Options {
            split: Split::Train,
            ..options.clone()
        },
    );
    compare("shards", folder.path(), "train-2.tar", &options);
    assert!(Client::shared().unwrap().counts().retried() > 0);
}

#[test]
fn the_list_of_a_shard_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path());
    let server = server();
    server.put_folder("bucket/once", folder.path());
    // As much as fills the memory, so that nothing of the shards stays in it.
    server.put("bucket/filler", vec![0; 2 * MEMORY]);
    let open = || {
        let path = Path::new("s3://bucket/once/train-{0..3}.tar");
        ImageSet::open(path, &Options::default())
            .unwrap()
            .sha256()
            .unwrap()
    };
    let first = open();
    let filler = Client::shared()
        .unwrap()
        .open(Path::new("s3://bucket/filler"))
        .unwrap();
    filler.read_exact_at(&mut vec![0; 2 * MEMORY], 0).unwrap();
    server.take_requests();
    assert_eq!(open(), first);
    let requests = server.take_requests();
    let again: Vec<_> = requests
        .iter()
        .filter(|request| request.path.contains("once/"))
        .collect();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn tar_files_parquet_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let classes = ["ant", "bee", "cow"];
    let images: Vec<(String, Vec<u8>)> = (0..60)
        .map(|number| {
            (
                format!("set/{}/{number:03}.jpg", classes[number % 3]),
                contents(number),
            )
        })
        .collect();
    fs::write(folder.path().join("images.tar"), archive(&images)).unwrap();
    for (name, bytes) in &images {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let flat = folder.path().join("flat");
    fs::create_dir_all(&flat).unwrap();
    let mut list = String::new();
    for number in 0..9 {
        fs::write(flat.join(format!("{number}.png")), contents(number)).unwrap();
        list += &format!("{number}.png {}\n", number % 4);
    }
    fs::write(folder.path().join("labels.txt"), list).unwrap();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/digits.parquet");
    fs::copy(digits, folder.path().join("digits.parquet")).unwrap();
    let options = Options::default();
    let tar = compare("mixed", folder.path(), "images.tar", &options);
    assert_eq!(tar.format(), Format::Tar);
    let set = compare("mixed", folder.path(), "set", &options);
    assert_eq!((set.format(), set.runs()), (Format::Folder, None));
    let parquet = compare("mixed", folder.path(), "digits.parquet", &options);
    assert_eq!(parquet.format(), Format::Parquet);
    // Lists and class maps may be elsewhere, too.
    let list = |path: PathBuf| Options {
        labels: Some(path),
        ..Options::default()
    };
    let local = ImageSet::open(&flat, &list(folder.path().join("labels.txt"))).unwrap();
    let remote = "s3://bucket/mixed/labels.txt";
    let set = ImageSet::open(Path::new("s3://bucket/mixed/flat"), &list(remote.into())).unwrap();
    assert_eq!(set.samples(), local.samples());
    assert_eq!(set.description().labels.as_deref(), Some(Path::new(remote)));
    let map = folder.path().join("map.txt");
    fs::write(&map, "cow\nant\n").unwrap();
    server().put("bucket/mixed/map.txt", fs::read(&map).unwrap());
    let mapped = |path: PathBuf| Options {
        class_map: Some(path),
        ..Options::default()
    };
    let local = ImageSet::open(&folder.path().join("set"), &mapped(map)).unwrap();
    let address = "s3://bucket/mixed/map.txt".into();
    let set = ImageSet::open(Path::new("s3://bucket/mixed/set"), &mapped(address)).unwrap();
    assert_eq!(set.samples(), local.samples());
}

#[test]
fn cifar_in_files_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    let records = |seed: usize| -> Vec<u8> {
        (0..20)
            .flat_map(|record| {
                (0..3073).map(move |i| {
                    if i == 0 {
                        (record % 10) as u8
                    } else {
                        (i * seed + record) as u8
                    }
                })
            })
            .collect()
    };
    let mut files = Vec::new();
    for (number, name) in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ]
    .iter()
    .enumerate()
    {
        files.push((
            format!("cifar-10-batches-bin/{name}.bin"),
            records(number + 1),
        ));
    }
    let names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n".as_bytes().to_vec();
    files.push(("cifar-10-batches-bin/batches.meta.txt".to_owned(), names));
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &archive(&files)).unwrap();
    fs::write(
        folder.path().join("cifar-10-binary.tar.gz"),
        packed.finish().unwrap(),
    )
    .unwrap();
    let options = Options {
        split: Split::Train,
        ..Options::default()
    };
    for path in ["cifar-10-batches-bin", "", "cifar-10-binary.tar.gz"] {
        let set = compare("cifar", folder.path(), path, &options);
        assert_eq!(
            (set.format(), set.len(), set.runs()),
            (Format::Cifar10, 100, None)
        );
    }
}

#[test]
fn errors_name_the_object() {
    let server = server();
    let error = |path: &str| {
        let error = ImageSet::open(Path::new(path), &Options::default()).unwrap_err();
        error.to_string()
    };
    assert!(error("s3://bucket/absent.tar").starts_with("s3://bucket/absent.tar does not exist"));
    let text = error("s3://bucket/absent-{0..3}.tar");
    assert!(
        text.starts_with("s3://bucket/absent-0.tar does not exist"),
        "{text}"
    );
    assert!(error("s3://other/absent-*.tar").contains("contains no images in webdataset format"));
    let text = error("s3://user:hidden@bucket/x.tar");
    assert!(!text.contains("hidden"), "{text}");
    server.put("bucket/broken/x.tar", vec![1; 600]);
    let text = error("s3://bucket/broken/x.tar");
    assert!(
        text.starts_with("cannot read s3://bucket/broken/x.tar as a tar file: "),
        "{text}"
    );
    let pages = archive(&[
        ("0.jpg".to_owned(), contents(0)),
        ("0.cls".to_owned(), b"0".to_vec()),
    ]);
    server.put("bucket/replaced/a.tar", pages.clone());
    let set = ImageSet::open(Path::new("s3://bucket/replaced/a.tar"), &Options::default()).unwrap();
    server.put("bucket/replaced/a.tar", pages);
    // What is in memory stays usable; everything that is read again is checked.
    let filler = Client::shared().unwrap();
    server.put("bucket/filler2", vec![0; 2 * MEMORY]);
    let filler = filler.open(Path::new("s3://bucket/filler2")).unwrap();
    filler.read_exact_at(&mut vec![0; 2 * MEMORY], 0).unwrap();
    let text = set.read(0).unwrap_err().to_string();
    assert!(
        text.starts_with("s3://bucket/replaced/a.tar changed while it was in use"),
        "{text}"
    );
}
