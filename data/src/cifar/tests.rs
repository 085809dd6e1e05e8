use std::fs;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::*;
use crate::numpy_cases::sha256;
use crate::{Format, Image, ImageSet, Options};

const BOTH: [(&Cifar, Format, &str); 2] = [
    (&CIFAR10, Format::Cifar10, "cifar10"),
    (&CIFAR100, Format::Cifar100, "cifar100"),
];

fn options(split: Split) -> Options {
    Options {
        split,
        ..Options::default()
    }
}

/// The files of a binary version with 3 classes. The file number is its number of images; all pixels of an
/// image have the value of its label.
fn files(version: &Version) -> Vec<(&'static str, Vec<u8>)> {
    let Encoding::Records { labels } = version.encoding else {
        panic!("it has no records");
    };
    let mut files = vec![(version.names, b"a\nb\nc\n\n".to_vec())];
    for (number, &file) in version.train.iter().chain(version.test).enumerate() {
        let record = |label| vec![label % 3; labels + PIXELS];
        files.push((file, (0..=number as u8).flat_map(record).collect()));
    }
    files
}

fn packed(folder: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        let name = format!("{folder}/{name}");
        builder
            .append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn folders_and_archives_have_the_same_images() {
    for (cifar, format, _) in BOTH {
        let version = &cifar.versions[0];
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(version.folder);
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in files(version) {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let archive = dir.path().join(version.archive);
        fs::write(&archive, packed(version.folder, &files(version))).unwrap();
        for split in [Split::Train, Split::Test] {
            let open = |path: &Path| ImageSet::open(path, &options(split)).unwrap();
            let sets = [open(&folder), open(dir.path()), open(&archive)];
            let expected: Vec<u32> = match (format, split) {
                (Format::Cifar10, Split::Train) => {
                    vec![0, 0, 1, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 0, 1]
                }
                (Format::Cifar10, _) => vec![0, 1, 2, 0, 1, 2],
                (_, Split::Train) => vec![0],
                (_, _) => vec![0, 1],
            };
            for set in sets {
                assert_eq!(set.format(), format);
                let labels: Vec<u32> = set.samples().iter().filter_map(|s| s.label).collect();
                assert_eq!(labels, expected);
                assert_eq!(set.classes().name(2), "c");
                for (index, &label) in expected.iter().enumerate() {
                    let pixels = vec![label as u8; PIXELS];
                    let shape = SHAPE;
                    assert_eq!(set.read(index).unwrap(), Image::Pixels { shape, pixels });
                }
                let last = set.samples().last().unwrap();
                let files = version.files(split);
                let in_file = expected.len() - (1..files.len()).sum::<usize>() - 1;
                let name = format!("{}/{in_file:05}", files[files.len() - 1]);
                assert_eq!(last.name, name);
            }
        }
    }
}

#[test]
fn truncated_and_other_archives_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let [binary, python] = &CIFAR100.versions;
    let path = dir.path().join(binary.archive);
    let whole = packed(binary.folder, &files(binary));
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = || {
        let error = ImageSet::open(&path, &Options::default()).unwrap_err();
        error.to_string()
    };
    assert!(error().contains("cifar-100-binary.tar.gz"), "{}", error());
    let other = &CIFAR10.versions[0];
    fs::write(&path, packed(other.folder, &files(other))).unwrap();
    for expected in [
        "does not contain CIFAR-100",
        "test.bin",
        "nor test)",
        python.archive,
    ] {
        assert!(error().contains(expected), "{}", error());
    }
}

/// What torchvision reads.
#[derive(Deserialize)]
struct Expected {
    labels: Vec<u32>,
    class_names: Vec<String>,
    pixels: String,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cifar-python")
}

fn fixture_files(version: &Version) -> Vec<(&'static str, Vec<u8>)> {
    let names = version.train.iter().chain(version.test).copied();
    let read = |name| fs::read(fixture().join(version.folder).join(name)).unwrap();
    let names = names.chain([version.names]);
    names.map(|name| (name, read(name))).collect()
}

#[test]
fn the_python_version_agrees_with_torchvision() {
    let expected = fs::read(fixture().join("expected.json")).unwrap();
    let expected: HashMap<String, Expected> = serde_json::from_slice(&expected).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (cifar, format, name) in BOTH {
        let version = &cifar.versions[1];
        let archive = dir.path().join(version.archive);
        fs::write(&archive, packed(version.folder, &fixture_files(version))).unwrap();
        for split in [Split::Train, Split::Test] {
            let expected = &expected[&format!("{name}/{split}")];
            for path in [&fixture().join(version.folder), &archive] {
                let set = ImageSet::open(path, &options(split)).unwrap();
                assert_eq!(set.format(), format);
                let labels = set.samples().iter().filter_map(|sample| sample.label);
                assert!(labels.eq(expected.labels.iter().copied()));
                assert_eq!(set.classes(), &Classes::Named(expected.class_names.clone()));
                let pixels = (0..set.len()).flat_map(|index| match set.read(index).unwrap() {
                    Image::Pixels { pixels, shape } if shape == SHAPE => pixels,
                    other => panic!("{other:?}"),
                });
                assert_eq!(sha256(pixels), expected.pixels);
                let first = format!("{}/00000", version.files(split)[0]);
                assert_eq!(set.samples()[0].name, first);
            }
        }
    }
    // The parent folder, if the format is given.
    let above = Options {
        format: Some(Format::Cifar100),
        ..Options::default()
    };
    assert_eq!(ImageSet::open(&fixture(), &above).unwrap().len(), 2);
}

#[test]
fn folders_called_train_and_test_are_not_cifar() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["train/a/1.jpg", "test/a/1.jpg", "meta"] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let format = Format::detect(dir.path(), &Options::default()).unwrap();
    assert_eq!(format, Format::Folder);
}

#[test]
fn damaged_and_other_pickles_are_errors() {
    let version = &CIFAR100.versions[1];
    let dir = tempfile::tempdir().unwrap();
    let files = fixture_files(version);
    for (name, bytes) in &files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let test = &files[1].1;
    let open = |bytes: &[u8]| {
        fs::write(dir.path().join("test"), bytes).unwrap();
        ImageSet::open(dir.path(), &Options::default())
    };
    let check_error = |bytes: &[u8], expected: &str| {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("/test"), "{error}");
    };
    let replaced = |from: &[u8], to: &[u8]| {
        let at = test.windows(from.len()).position(|part| part == from);
        let at = at.expect("the bytes occur");
        [&test[..at], to, &test[at + from.len()..]].concat()
    };
    assert_eq!(open(test).unwrap().len(), 2);

    let attack = b"\x80\x02cos\nsystem\nU\x02id\x85R.";
    check_error(
        attack,
        "refers to os.system, which is not allowed in a CIFAR file",
    );
    check_error(&test[..4000], "the pickle ends in the middle");
    check_error(b"", "is empty; download");
    check_error(b"\x80\x02N.", "it contains None, expected a dictionary");
    check_error(b"\x80\x02}.", "`data` is missing");
    check_error(
        &replaced(b"fine_labels", b"fine_table_"),
        "`fine_labels` is missing",
    );
    check_error(
        &replaced(b"U\x0dcoarse_labels", b"U\x0bfine_labels"),
        "`fine_labels` appears more than once",
    );
    check_error(
        &replaced(b"U\x02u1", b"U\x02f4"),
        "an array that is not of bytes",
    );
    let by_columns = replaced(b"\x89T\x00\x18", b"\x88T\x00\x18");
    check_error(&by_columns, "the state of an array of bytes, row by row");
    check_error(
        &replaced(b"K\x02M\x00\x0c\x86", b"K\x02M\x01\x0c\x86"),
        "2 rows and 3073 columns with 6144",
    );
    check_error(
        &replaced(b"K\x02M\x00\x0c\x86", b"J\xff\xff\xff\xffM\x00\x0c\x86"),
        "the rows of an array",
    );
    check_error(
        &replaced(b"K\x02M\x00\x0c\x86", b"K\x01M\x00\x18\x86"),
        "1 rows of 6144 bytes, expected 2 of 3072",
    );
    check_error(
        &replaced(b"K\x0dK\x0f", b"K\x0d"),
        "2 rows of 3072 bytes, expected 1",
    );
    check_error(
        &replaced(b"K\x0dK\x0f", b"K\x0dN"),
        "`fine_labels` contains None",
    );
    check_error(
        &replaced(b"K\x0dK\x0f", b"K\x0dK\x14"),
        "record 1 has label 20, but there are 20 classes",
    );
    check_error(
        &replaced(b"K\x0dK\x0f", b"K\x0dJ\xff\xff\xff\xff"),
        "record 1 has label -1",
    );

    // Bytes written by Python 3.
    let python3 = replaced(b"T\x00\x18\x00\x00", b"B\x00\x18\x00\x00");
    assert_eq!(
        open(&python3).unwrap().read(1).unwrap(),
        open(test).unwrap().read(1).unwrap()
    );

    fs::write(
        dir.path().join("meta"),
        b"\x80\x02}U\x10fine_label_names]K\x01as.",
    )
    .unwrap();
    let error = open(test).unwrap_err().to_string();
    assert!(
        error.contains("meta") && error.contains("contains the number 1"),
        "{error}"
    );
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let version = &CIFAR100.versions[1];
    let dir = tempfile::tempdir().unwrap();
    let files = fixture_files(version);
    for (name, bytes) in &files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (name, whole) = &files[1];
    // Except in the pixels, where every value is valid.
    let pixels = whole.len() - 2 * PIXELS;
    let mut errors = 0;
    for at in (0..pixels).chain(whole.len() - 2..whole.len()) {
        for change in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            fs::write(dir.path().join(name), damaged).unwrap();
            match ImageSet::open(dir.path(), &Options::default()) {
                Ok(set) => assert!((0..set.len()).all(|index| set.read(index).is_ok())),
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 2 * pixels, "{errors} of {}", 4 * pixels);
}
