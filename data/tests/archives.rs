//! Images in tar files, which are not unpacked: one archive, or WebDataset's shards.

use std::fs;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use topk_data::{DataError, Format, Image, ImageSet, Options, Split, TarError};
use topk_labels::Classes;

/// Name and contents.
type File<'a> = (&'a str, &'a [u8]);

/// An archive of files, as the `tar` crate writes it.
fn archive<'a>(files: impl IntoIterator<Item = File<'a>>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, contents).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An archive whose files have their names as contents.
fn named(files: &[&str]) -> Vec<u8> {
    archive(files.iter().map(|&name| (name, name.as_bytes())))
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path) -> Result<ImageSet, DataError> {
    ImageSet::open(path, &Options::default())
}

fn listed(set: &ImageSet) -> Vec<(&str, Option<u32>)> {
    let samples = set.samples().iter();
    samples
        .map(|sample| (sample.name.as_str(), sample.label))
        .collect()
}

/// Why these bytes cannot be read as an archive.
fn tar_error(bytes: &[u8]) -> TarError {
    let dir = tempfile::tempdir().unwrap();
    match open(&write(&dir, "images.tar", bytes)) {
        Err(DataError::Tar { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// A header with a valid checksum.
fn header(name: &str, size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

#[test]
fn the_official_archive_requires_a_list() {
    let names = [
        "ILSVRC2012_val_00000003.JPEG",
        "ILSVRC2012_val_00000001.JPEG",
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "ILSVRC2012_img_val.tar", &named(&names));
    assert_eq!(listed(&open(&path).unwrap())[0], (names[0], None));
    write(
        &dir,
        "ILSVRC2012_validation_ground_truth.txt",
        b"490\n361\n171\n",
    );
    // The file, or the folder that it lies in.
    for path in [path.as_path(), dir.path()] {
        let set = open(path).unwrap();
        assert_eq!(set.format(), Format::Tar);
        assert_eq!(listed(&set), [(names[0], Some(230)), (names[1], Some(65))]);
        assert_eq!(
            set.warnings().labels_without_image,
            ["ILSVRC2012_val_00000002"]
        );
        assert_eq!(
            set.read(1).unwrap(),
            Image::Encoded(names[1].as_bytes().to_vec())
        );
    }
}

#[test]
fn class_folders_in_an_archive_are_labels() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        "./val/n01484850/a.jpg",
        "./val/n01440764/b.jpg",
        "./val/notes.txt",
    ];
    let set = open(&write(&dir, "a.tar", &named(&files))).unwrap();
    assert_eq!(
        listed(&set),
        [
            ("val/n01484850/a.jpg", Some(2)),
            ("val/n01440764/b.jpg", Some(0))
        ]
    );
    assert_eq!(set.warnings().ignored, ["val/notes.txt"]);
    let one = open(&write(
        &dir,
        "b.tar",
        &named(&["n01484850/a.jpg", "n01484850/b.jpg"]),
    ))
    .unwrap();
    assert_eq!(one.samples()[1].label, Some(2));
    let other = open(&write(&dir, "c.tar", &named(&["d/b/1.jpg", "d/a/x/1.jpg"]))).unwrap();
    assert_eq!(
        listed(&other),
        [("d/b/1.jpg", Some(1)), ("d/a/x/1.jpg", Some(0))]
    );
    // A single folder is not a class.
    let flat = open(&write(&dir, "d.tar", &named(&["d/1.jpg", "d/2.jpg"]))).unwrap();
    assert_eq!(listed(&flat), [("d/1.jpg", None), ("d/2.jpg", None)]);
    // The same images in folders and in an archive have the same hash.
    let folders = dir.path().join("folders");
    for file in ["d/b/1.jpg", "d/a/x/1.jpg"] {
        let path = folders.join(file.strip_prefix("d/").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    let sorted = open(&write(
        &dir,
        "e.tar",
        &archive([
            ("a/x/1.jpg", &b"d/a/x/1.jpg"[..]),
            ("b/1.jpg", b"d/b/1.jpg"),
        ]),
    ))
    .unwrap();
    let folders = open(&folders).unwrap();
    assert_eq!(sorted.sha256().unwrap(), folders.sha256().unwrap());
    assert_eq!(
        sorted.contents_sha256().unwrap(),
        folders.contents_sha256().unwrap()
    );
}

#[test]
fn the_official_training_archive_contains_archives() {
    let classes = [
        (
            "n01484850.tar",
            named(&["n01484850_9.JPEG", "n01484850_10.JPEG"]),
        ),
        ("n01440764.tar", named(&["n01440764_1.JPEG", "notes.txt"])),
    ];
    let whole = archive(
        classes
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice())),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "ILSVRC2012_img_train.tar", &whole);
    write(&dir, "ILSVRC2012_img_val.tar", &named(&["x.JPEG"]));
    let train = Options {
        split: Split::Train,
        ..Options::default()
    };
    // As the folders that one would unpack it to are listed.
    let expected = [
        ("n01440764/n01440764_1.JPEG", Some(0)),
        ("n01484850/n01484850_10.JPEG", Some(2)),
        ("n01484850/n01484850_9.JPEG", Some(2)),
    ];
    for path in [path.as_path(), dir.path()] {
        let set = ImageSet::open(path, &train).unwrap();
        assert_eq!(set.format(), Format::Tar);
        assert_eq!(listed(&set), expected);
        assert_eq!(set.warnings().ignored, ["n01440764/notes.txt"]);
        assert_eq!(set.class_counts().iter().sum::<usize>(), 3);
        for (index, (name, _)) in expected.iter().enumerate() {
            let file = name.split_once('/').unwrap().1;
            let contents = Image::Encoded(file.as_bytes().to_vec());
            assert_eq!(set.read(index).unwrap(), contents);
        }
    }
    assert_eq!(listed(&open(dir.path()).unwrap()), [("x.JPEG", None)]);

    // Unpacked once.
    let folder = dir.path().join("images/train");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in &classes {
        fs::write(folder.join(name), bytes).unwrap();
    }
    for path in [&folder, &dir.path().join("images")] {
        let set = ImageSet::open(path, &train).unwrap();
        assert_eq!(listed(&set), expected);
        let contents = Image::Encoded(b"n01484850_9.JPEG".to_vec());
        assert_eq!(set.read(2).unwrap(), contents);
    }
    fs::write(folder.join("others.tar"), &classes[0].1).unwrap();
    let error = ImageSet::open(&folder, &train).unwrap_err().to_string();
    assert!(error.contains("but there are several"), "{error}");
}

#[test]
fn damage_in_nested_archives_is_an_error() {
    let inner = named(&["n01440764_1.JPEG"]);
    let dir = tempfile::tempdir().unwrap();
    let error = |inner: &[u8]| {
        let next = named(&["n01484850_1.JPEG"]);
        let classes = [("n01440764.tar", inner), ("n01484850.tar", next.as_slice())];
        let path = write(&dir, "train.tar", &archive(classes));
        open(&path).unwrap_err().to_string()
    };
    // The inner archive must not continue into the outer one.
    let cut = error(&inner[..1024 - 512]);
    assert!(
        cut.contains("train.tar/n01440764.tar as a tar file"),
        "{cut}"
    );
    assert!(cut.contains("truncated in n01440764_1.JPEG"), "{cut}");
    let gzip = error(&[&b"\x1f\x8b"[..], &[0; 600]].concat());
    assert!(gzip.contains("compressed with gzip"), "{gzip}");
    let mut damaged = inner;
    damaged[0] ^= 1;
    assert!(error(&damaged).contains("the header at byte 512 has a wrong checksum"));
}

#[test]
fn long_names_of_pax_and_gnu_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("n01440764/{}.jpg", "x".repeat(300));
    let posix = format!("n01440764/{}é.jpg", "y".repeat(300));
    let mut builder = Builder::new(Vec::new());
    let mut file = |name: &str, pax: bool| {
        let mut header = Header::new_ustar();
        header.set_size(5);
        header.set_mode(0o644);
        if pax {
            builder
                .append_pax_extensions([("path", name.as_bytes()), ("mtime", b"1.5")])
                .unwrap();
            header.set_path("short.jpg").unwrap();
            header.set_cksum();
            builder.append(&header, &b"hello"[..]).unwrap();
        } else {
            let mut header = Header::new_gnu();
            header.set_size(5);
            builder
                .append_data(&mut header, name, &b"hello"[..])
                .unwrap();
        }
    };
    file(&long, false);
    file(&posix, true);
    // A name that POSIX keeps in two parts.
    let parts = format!("n01440764/{}/{}.jpg", "z".repeat(90), "z".repeat(90));
    let mut split = Header::new_ustar();
    split.set_path(&parts).unwrap();
    split.set_size(0);
    split.set_cksum();
    builder.append(&split, &b""[..]).unwrap();
    let set = open(&write(&dir, "a.tar", &builder.into_inner().unwrap())).unwrap();
    let names: Vec<_> = set.samples().iter().map(|sample| &sample.name).collect();
    assert_eq!(names, [&long, &posix, &parts]);
    assert_eq!(set.read(1).unwrap(), Image::Encoded(b"hello".to_vec()));
}

#[test]
fn incomplete_archives_are_errors() {
    let whole = named(&["n01440764/a.jpg", "n01440764/b.jpg"]);
    // Two members of 1024 bytes each, and the end.
    assert_eq!(
        tar_error(&whole[..1024 + 700]),
        TarError::Truncated("n01440764/b.jpg".to_owned())
    );
    assert_eq!(
        tar_error(&whole[..1024 + 300]),
        TarError::Truncated("a header".to_owned())
    );
    assert_eq!(
        tar_error(&[&b"\x1f\x8b"[..], &[0; 600]].concat()),
        TarError::Compressed("gzip")
    );
    // Without the end mark, as some programs write them.
    let dir = tempfile::tempdir().unwrap();
    let set = open(&write(&dir, "a.tar", &whole[..2048])).unwrap();
    assert_eq!(set.len(), 2);
    assert!(set.warnings().to_string().contains("a.tar has no end mark"));
    let empty = open(&write(&dir, "b.tar", b"")).unwrap_err().to_string();
    assert!(empty.contains("b.tar is empty"), "{empty}");
    let mut damaged = whole;
    damaged[1024] ^= 1;
    assert!(matches!(
        tar_error(&damaged),
        TarError::Header { offset: 1024, .. }
    ));
    assert!(matches!(
        tar_error(&[b'x'; 2000]),
        TarError::Header { offset: 0, .. }
    ));
}

#[test]
fn false_sizes_are_errors() {
    let end = [0; 1024];
    let bytes = |headers: &[Header]| {
        let headers = headers.iter().flat_map(|header| *header.as_bytes());
        headers.chain(end).collect::<Vec<u8>>()
    };
    let dir = tempfile::tempdir().unwrap();
    let image = header("n01440764/a.jpg", 1 << 33, EntryType::Regular);
    let large = write(&dir, "a.tar", image.as_bytes());
    // With a hole, and two blocks of zeros at the end.
    let file = fs::OpenOptions::new().write(true).open(&large).unwrap();
    file.set_len(512 + (1 << 33) + 1024).unwrap();
    let error = open(&large).unwrap_err().to_string();
    assert!(
        error.contains("n01440764/a.jpg") && error.contains("8589934592 bytes"),
        "{error}"
    );
    // Shorter than is allowed, longer than the file.
    let image = header("n01440764/a.jpg", 1 << 27, EntryType::Regular);
    assert_eq!(
        tar_error(&bytes(&[image])),
        TarError::Truncated("n01440764/a.jpg".to_owned())
    );
    let mut most = header("a.txt", 0, EntryType::Regular);
    most.as_old_mut().size = [0xff; 12];
    most.set_cksum();
    assert!(matches!(
        tar_error(&bytes(&[most])),
        TarError::Header { offset: 0, .. }
    ));
    let name = header("././@LongLink", 1 << 30, EntryType::GNULongName);
    let error = open(&write(&dir, "b.tar", &bytes(&[name])))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a long name") && error.contains("1073741824 bytes"),
        "{error}"
    );

    let link = header("n01440764/a.jpg", 0, EntryType::Link);
    assert!(
        matches!(tar_error(&bytes(&[link])), TarError::Header { reason, .. } if reason.contains("link"))
    );
    let sparse = header("n01440764/a.jpg", 0, EntryType::GNUSparse);
    assert!(
        matches!(tar_error(&bytes(&[sparse])), TarError::Header { reason, .. } if reason.contains("sparse"))
    );
}

#[test]
fn names_must_be_unique_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad = header("a.jpg", 0, EntryType::Regular);
    bad.as_old_mut().name[0] = 0xff;
    bad.set_cksum();
    let bytes: Vec<u8> = bad.as_bytes().iter().copied().chain([0; 1024]).collect();
    let error = open(&write(&dir, "a.tar", &bytes)).unwrap_err().to_string();
    assert!(
        error.contains("is not UTF-8") && error.contains("a.tar"),
        "{error}"
    );

    let error = open(&write(&dir, "b.tar", &named(&["a.jpg", "./a.jpg"]))).unwrap_err();
    assert!(
        matches!(&error, DataError::Duplicate { name, .. } if name == "a.jpg"),
        "{error}"
    );
    let error = open(&write(&dir, "c.tar", &named(&["a.txt"])))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("contains no images in tar format"),
        "{error}"
    );
}

#[test]
fn shards_have_labels_next_to_images() {
    let dir = tempfile::tempdir().unwrap();
    let first: [File<'_>; 9] = [
        ("__info__", b"?"),
        ("a.b/0001.jpg", b"one"),
        ("a.b/0001.cls", b"7\n"),
        ("a.b/0001.seg.png", b"not the image"),
        ("a.b/0002.JSON", br#"{"label": 3, "width": 500}"#),
        ("a.b/0002.png", b"two"),
        ("a.b/0003.jpeg", b"three"),
        ("a.b/0003.json", br#"{"label": 1}"#),
        ("a.b/0003.cls", b"2"),
    ];
    write(&dir, "val-00.tar", &archive(first));
    let second: [File<'_>; 3] = [
        ("a.b/0001.jpg", b"four"),
        ("text.cls", b"5"),
        ("a.b/0004.txt", b"?"),
    ];
    write(&dir, "val-01.tar", &archive(second));
    write(
        &dir,
        "train-00.tar",
        &archive([("x.jpg", &b"x"[..]), ("x.cls", b"0")]),
    );

    let expected = [
        ("val-00.tar/a.b/0001.jpg", Some(7)),
        ("val-00.tar/a.b/0002.png", Some(3)),
        ("val-00.tar/a.b/0003.jpeg", Some(2)),
        ("val-01.tar/a.b/0001.jpg", None),
    ];
    for path in [
        dir.path().to_owned(),
        dir.path().join("val-{00..01}.tar"),
        dir.path().join("val-*.tar"),
    ] {
        let set = open(&path).unwrap();
        assert_eq!(set.format(), Format::Webdataset);
        assert_eq!(listed(&set), expected);
        assert_eq!(set.classes(), &Classes::Numbered(8));
        assert_eq!(set.read(3).unwrap(), Image::Encoded(b"four".to_vec()));
        assert_eq!(set.warnings().ignored, ["val-00.tar/__info__"]);
    }
    let train = Options {
        split: Split::Train,
        ..Options::default()
    };
    assert_eq!(ImageSet::open(dir.path(), &train).unwrap().len(), 1);
    // In a folder for each split, whose files do not say it.
    let folder = dir.path().join("splits/train");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(dir.path().join("train-00.tar"), folder.join("00.tar")).unwrap();
    let set = ImageSet::open(&dir.path().join("splits"), &train).unwrap();
    assert_eq!(listed(&set), [("00.tar/x.jpg", Some(0))]);
    let missing = open(&dir.path().join("val-{00..02}.tar"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("cannot read") && missing.contains("val-02.tar"),
        "{missing}"
    );
    let none = open(&dir.path().join("test-*.tar"))
        .unwrap_err()
        .to_string();
    assert!(none.contains("files that match the pattern"), "{none}");
}

#[test]
fn errors_name_the_member_of_a_shard() {
    let error = |files: &[File<'_>]| {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, "a.tar", &archive(files.iter().copied()));
        open(&path).unwrap_err().to_string()
    };
    let cases: [(&[File<'_>], &str); 6] = [
        (&[("a.jpg", b""), ("a.cls", b"cat")], "a.cls in"),
        (
            &[("a.jpg", b""), ("a.cls", b"-1")],
            "found `-1`, expected a class index",
        ),
        (&[("a.jpg", b""), ("a.json", b"{")], "invalid JSON"),
        (
            &[("a.jpg", b""), ("a.json", br#"{"label": "cat"}"#)],
            "its label is",
        ),
        (
            &[("a.jpg", b""), ("a.cls", b"1"), ("a.png", b"")],
            "a.jpg is already the image of this sample",
        ),
        (
            &[("a.jpg", b""), ("a.cls", b"1"), ("a.JPG", b"")],
            "a.JPG more than once",
        ),
    ];
    for (files, expected) in cases {
        let error = error(files);
        assert!(
            error.contains(expected) && error.contains("a.tar"),
            "{error}"
        );
    }
    let long = [b'1'; 2000];
    assert!(
        error(&[("a.jpg", b""), ("a.cls", &long)]).contains("2000 bytes, over the limit of 1024")
    );
}
