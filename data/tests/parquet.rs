//! Images in parquet files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use topk_data::{Format, Image, ImageSet, Options};
use topk_labels::Classes;

const SCHEMA: &str = "message rows {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// The image of a row: different bytes of different lengths.
fn image(row: usize) -> Vec<u8> {
    let bytes = (0..300 + 7 * (row % 50)).map(|i| (i * 31 + row * 17 + row / 256) as u8);
    bytes.collect()
}

/// Writes rows `first..first + rows` in groups, with small pages.
fn write(path: &Path, first: usize, rows: usize, compression: Compression, names: Option<&str>) {
    const GROUP: usize = 90;
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let info = names.map(|names| {
        let info = format!(
            r#"{{"info": {{"features": {{"label": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}"#
        );
        vec![KeyValue::new("huggingface".to_owned(), info)]
    });
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_size_limit(4000)
        .set_write_batch_size(4)
        .set_dictionary_page_size_limit(3000)
        .set_key_value_metadata(info)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let all: Vec<usize> = (first..first + rows).collect();
    for rows in all.chunks(GROUP) {
        let mut group = writer.next_row_group().unwrap();
        let present = vec![2; rows.len()];
        let images: Vec<ByteArray> = rows.iter().map(|&row| image(row).into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&images, Some(&present), None)
            .unwrap();
        column.close().unwrap();
        let paths: Vec<ByteArray> = rows
            .iter()
            .map(|row| format!("{row:04}.jpg").into_bytes().into())
            .collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&paths, Some(&present), None)
            .unwrap();
        column.close().unwrap();
        // Rows that are multiples of 10 have no label.
        let labels: Vec<i64> = rows
            .iter()
            .filter(|&row| row % 10 > 0)
            .map(|&row| row as i64 % 3)
            .collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row % 10 > 0)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&labels, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn open(path: &Path) -> ImageSet {
    ImageSet::open(path, &Options::default()).unwrap()
}

fn error(path: &Path) -> String {
    let error = ImageSet::open(path, &Options::default()).expect_err("it should fail");
    error.to_string()
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    (dir, path)
}

#[test]
fn files_of_hugging_face_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/digits.parquet");
    let set = open(&path);
    assert_eq!((set.format(), set.len()), (Format::Parquet, 20));
    let names = ["zero", "one", "two"].map(str::to_owned);
    assert_eq!(set.classes(), &Classes::Named(names.to_vec()));
    for (index, sample) in set.samples().iter().enumerate() {
        assert_eq!(sample.name, format!("digit_{index:02}.png"));
        let label = (index < 19).then_some(index as u32 % 3);
        assert_eq!(sample.label, label);
    }
    // What pyarrow reads from it.
    let Image::Encoded(bytes) = set.read(2).unwrap() else {
        panic!("it is encoded")
    };
    let hash = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    assert_eq!(
        hash,
        "9a99efae5ee4f2c011db8b796d27ffedb1a3d3a33dbe1fb98fc723c7d2132d3e"
    );
}

#[test]
fn rows_are_read_in_any_order_from_every_compression() {
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for compression in compressions {
        let (dir, _) = folder();
        let names = Some(r#"["a", "b", "c"]"#);
        write(
            &dir.path().join("validation-00000-of-00002.parquet"),
            0,
            200,
            compression,
            names,
        );
        write(
            &dir.path().join("validation-00001-of-00002.parquet"),
            200,
            33,
            compression,
            names,
        );
        write(
            &dir.path().join("train-00000-of-00001.parquet"),
            0,
            5,
            compression,
            names,
        );
        let set = open(dir.path());
        assert_eq!(set.len(), 233);
        for (row, sample) in set.samples().iter().enumerate() {
            assert_eq!(sample.name, format!("{row:04}.jpg"));
            let label = (row % 10 > 0).then_some(row as u32 % 3);
            assert_eq!(sample.label, label);
        }
        let forwards = (0..233).collect::<Vec<_>>();
        let mixed = (0..466).map(|i| i * 97 % 233).collect::<Vec<_>>();
        let pairs = (0..232).map(|i| i ^ 1).collect::<Vec<_>>();
        for row in [forwards, pairs, mixed].concat() {
            assert_eq!(set.read(row).unwrap(), Image::Encoded(image(row)), "{row}");
        }
    }
}

#[test]
fn threads_read_concurrently() {
    const THREADS: usize = 4;
    let (_dir, path) = folder();
    write(&path, 0, 400, Compression::SNAPPY, None);
    let set = open(&path);
    assert_eq!(set.classes(), &Classes::Numbered(3));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let set = &set;
            scope.spawn(move || {
                for row in (thread..400)
                    .step_by(THREADS)
                    .chain(thread * 100..thread * 100 + 100)
                {
                    assert_eq!(set.read(row).unwrap(), Image::Encoded(image(row)), "{row}");
                }
            });
        }
    });
}

#[test]
fn rows_without_paths_are_numbered() {
    let (dir, path) = folder();
    let schema =
        "message rows { required group img { required binary bytes; } required int32 fine_label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::new());
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let images = [ByteArray::from("one"), ByteArray::from("two")];
    column
        .typed::<ByteArrayType>()
        .write_batch(&images, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int32Type>()
        .write_batch(&[4, 0], None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let set = open(dir.path());
    assert_eq!(set.samples()[1].name, "a.parquet/00001");
    assert_eq!(set.samples()[0].label, Some(4));
    assert_eq!(set.read(1).unwrap(), Image::Encoded(b"two".to_vec()));
}

#[test]
fn other_and_damaged_files_are_errors() {
    let (dir, path) = folder();
    fs::write(&path, "no parquet at all").unwrap();
    assert!(error(&path).contains("a.parquet as images in parquet"));
    fs::write(&path, "").unwrap();
    assert!(error(&path).contains("a.parquet is empty"));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n";
    fs::write(&path, pointer).unwrap();
    assert!(error(&path).contains("a.parquet is a Git LFS pointer"));

    let schema = Arc::new(parse_message_type("message rows { required int64 x; }").unwrap());
    let writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default());
    writer.unwrap().close().unwrap();
    assert!(error(&path).contains("no column named image.bytes or image; the columns are: x"));

    write(&path, 0, 20, Compression::SNAPPY, Some(r#"["a", "b"]"#));
    assert!(error(&path).contains("record 2 has label 2, but there are 2 classes"));

    write(&path, 0, 50, Compression::SNAPPY, None);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    assert!(error(&path).contains("cannot read"));

    write(
        &dir.path().join("b.parquet"),
        50,
        5,
        Compression::SNAPPY,
        Some(r#"["a", "b", "c"]"#),
    );
    fs::write(&path, &whole).unwrap();
    assert!(error(dir.path()).contains("b.parquet"));
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let (_dir, path) = folder();
    write(&path, 0, 30, Compression::SNAPPY, None);
    let whole = fs::read(&path).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..400 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut damaged = whole.clone();
        damaged[random as usize % whole.len()] ^= (random >> 40) as u8 | 1;
        fs::write(&path, damaged).unwrap();
        if let Ok(set) = ImageSet::open(&path, &Options::default()) {
            for row in 0..set.len() {
                let _ = set.read(row);
            }
        }
    }
}

#[test]
fn negative_offsets_and_sizes_are_errors() {
    let (_dir, path) = folder();
    write(&path, 0, 30, Compression::SNAPPY, None);
    let whole = fs::read(&path).unwrap();
    // The lowest bit of a number in the metadata at the end is its sign.
    let length = whole[whole.len() - 8..][..4].try_into().unwrap();
    let footer = whole.len() - 8 - u32::from_le_bytes(length) as usize;
    let refused = (footer..whole.len() - 8).filter(|&byte| {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        fs::write(&path, damaged).unwrap();
        let opened = ImageSet::open(&path, &Options::default());
        // The column of images is not checked before an image is read.
        let error = opened.and_then(|set| set.read(0)).err();
        error.is_some_and(|error| error.to_string().contains("a negative offset or size"))
    });
    // Each column has a size, an offset and an offset of its dictionary.
    assert_eq!(refused.count(), 9);
}

/// Writes a file of one image per label, with a plain column of bytes and a column of labels that are text,
/// or numbers of this physical type.
fn write_columns(path: &Path, schema: &str, labels: &[&str]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<ByteArray> = (0..labels.len()).map(|row| image(row).into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&images, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    match column.untyped() {
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let texts: Vec<ByteArray> = labels.iter().map(|&label| label.into()).collect();
            writer.write_batch(&texts, None, None).unwrap();
        }
        ColumnWriter::DoubleColumnWriter(writer) => {
            let numbers: Vec<f64> = labels.iter().map(|label| label.parse().unwrap()).collect();
            writer.write_batch(&numbers, None, None).unwrap();
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let numbers: Vec<i32> = labels.iter().map(|label| label.parse().unwrap()).collect();
            writer.write_batch(&numbers, None, None).unwrap();
        }
        _ => panic!("not a column of labels"),
    }
    column.close().unwrap();
    // A column that pyarrow writes for values that are all null.
    if let Some(mut column) = group.next_column().unwrap() {
        column
            .typed::<Int32Type>()
            .write_batch(&[], Some(&vec![0; labels.len()]), None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn plain_columns_and_other_names_of_labels_are_read() {
    let (_dir, path) = folder();
    let named =
        |names: &[&str]| Classes::Named(names.iter().map(|&name| name.to_owned()).collect());
    for (columns, labels, classes, expected) in [
        (
            "required binary image; required binary class (UTF8);",
            ["dog", "cat", "dog"],
            named(&["cat", "dog"]),
            [1, 0, 1],
        ),
        (
            "required binary jpg; required binary target (UTF8);",
            ["2", "10", "2"],
            Classes::Numbered(11),
            [2, 10, 2],
        ),
        (
            "required binary picture; required double y;",
            ["2", "10", "2"],
            Classes::Numbered(11),
            [2, 10, 2],
        ),
        (
            "required binary anything; required int32 fine_label;",
            ["2", "1", "2"],
            Classes::Numbered(3),
            [2, 1, 2],
        ),
        (
            "required binary image; required binary wnid_label (UTF8); optional int32 label;",
            ["x", "y", "z"],
            Classes::Numbered(0),
            [9, 9, 9],
        ),
    ] {
        write_columns(&path, &format!("message rows {{ {columns} }}"), &labels);
        let set = open(&path);
        assert_eq!(set.classes(), &classes, "{columns}");
        let found: Vec<u32> = set.samples().iter().map(|s| s.label.unwrap_or(9)).collect();
        assert_eq!(found, expected, "{columns}");
        assert_eq!(set.read(1).unwrap(), Image::Encoded(image(1)), "{columns}");
        let decisions = set.warnings().decisions.join("; ");
        assert!(decisions.contains("images from column"), "{decisions}");
    }
    // Paths that are all null, as pyarrow writes them, are not names.
    let schema = "message rows { required group image { required binary bytes; \
                  optional int32 path; } required int32 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let bytes = [ByteArray::from(image(0))];
    column
        .typed::<ByteArrayType>()
        .write_batch(&bytes, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int32Type>()
        .write_batch(&[], Some(&[0]), None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int32Type>()
        .write_batch(&[4], None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let set = open(&path);
    assert_eq!(set.samples()[0].name, "a.parquet/00000");
    assert_eq!(set.samples()[0].label, Some(4));
}

#[test]
fn files_without_labels_take_those_of_a_list() {
    let (dir, path) = folder();
    write_columns(
        &path,
        "message rows { required binary image; required int32 id_of_row; }",
        &["5", "6"],
    );
    let list = dir.path().join("labels.csv");
    fs::write(&list, "image,label\na.parquet/00000,1\na.parquet/00001,0\n").unwrap();
    let options = Options {
        labels: Some(list),
        ..Options::default()
    };
    let set = ImageSet::open(&path, &options).unwrap();
    let labels: Vec<_> = set.samples().iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [Some(1), Some(0)]);
    // Labels of its own are not replaced.
    write(&path, 0, 20, Compression::SNAPPY, None);
    let error = ImageSet::open(&path, &options).unwrap_err().to_string();
    assert!(error.contains("has its own labels"), "{error}");
}
