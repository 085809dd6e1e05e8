//! How much of the decoders' speed an evaluation keeps: `cargo bench --package topk-eval`, with photographs in class
//! folders as `-- DATA`, and the number of threads in `RAYON_NUM_THREADS`.
//!
//! "Decoders" reads, decodes, resizes, crops and normalizes all images on all threads, and does nothing else.
//! "Evaluation" does the same for a model that computes next to nothing, on the code path for GPUs: two batches in
//! flight in bound memory. What is missing to 100 % is what batches, runs, scores, results and progress cost. It fails
//! below 90 %.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use prost::Message;
use rayon::prelude::*;
use topk_data::Image;
use topk_eval::{
    DataOptions, EvalOptions, Evaluation, Execution, ImageSet, Model, NamedPreset,
    PreprocessOverrides, Provider, Runtime, labels_of,
};
use topk_image::{Limits, NormalizationTable, Preprocessor};
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, attribute, model};
use topk_preprocessing::{Normalization, Preprocessing};

/// Images in each round for each thread, at least: memory for batches is allocated at the start, and nothing is decoded
/// during the last run.
const IMAGES: usize = 2400;
/// Rounds of each, alternating.
const ROUNDS: usize = 3;
const BATCH: usize = 64;
/// What an evaluation has to keep of the decoders' speed.
const BAR: f64 = 0.9;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let data = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let folder = tempfile::tempdir()?;
    let photographs = copies(data.map(PathBuf::from), &folder.path().join("images"))?;
    let set = ImageSet::open(&folder.path().join("images"), &DataOptions::default())?;
    let path = folder.path().join("nothing.onnx");
    write_model(&path, set.classes().len())?;

    let options = EvalOptions {
        overrides: PreprocessOverrides {
            preset: Some(NamedPreset::find("torchvision")?),
            ..PreprocessOverrides::default()
        },
        batch_size: BATCH,
        ..EvalOptions::new(&set)?
    };
    let execution = Execution {
        provider: Provider::Cpu,
        threads: Some(1),
        in_flight: Some(2),
        ..Execution::default()
    };
    let runtime = Runtime::load()?;
    let labels = labels_of(&set);
    let nothing = Model::open(&runtime, &path, execution)?;
    let mut evaluation = Evaluation::new(&runtime, &set, &labels, vec![nothing], &options)?;
    let indices = evaluation.indices();

    let (mut decoders, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        decode(&set)?;
        decoders.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let results = evaluation.run(&indices, &AtomicBool::new(false), |_| ())?;
        whole.push(start.elapsed().as_secs_f64());
        assert!(results.complete, "all images are evaluated");
    }
    let speed = |seconds: &mut Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        set.len() as f64 / seconds[seconds.len() / 2]
    };
    let (decoders, whole) = (speed(&mut decoders), speed(&mut whole));
    let threads = rayon::current_num_threads();
    println!(
        "{} images ({photographs}), {threads} threads, batches of {BATCH}, medians of {ROUNDS} rounds:\n\
         decoders   {decoders:8.1} images/s\n\
         evaluation {whole:8.1} images/s, {:.1} % of the decoders' speed",
        set.len(),
        100.0 * whole / decoders
    );
    Ok(match whole >= BAR * decoders {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("error: below {:.0} %", 100.0 * BAR);
            ExitCode::FAILURE
        }
    })
}

/// Links to the photographs of a data set in class folders: by default those of ImageNet beside the repository, else
/// one of the tests. So often that there are enough of them. Returns what they are.
fn copies(data: Option<PathBuf>, to: &Path) -> Result<String, Box<dyn Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = package.join("../../shared/data/imagenet-sample");
    let data = data.or_else(|| sample.is_dir().then_some(sample));
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    match &data {
        None => {
            let photograph = package.join("../data/image/tests/data/images/large.jpg");
            files.extend(["a", "b"].map(|class| (class.to_owned(), photograph.clone())));
        }
        Some(data) => {
            for class in fs::read_dir(data)? {
                let class = class?;
                if !class.file_type()?.is_dir() {
                    continue;
                }
                for file in fs::read_dir(class.path())? {
                    files.push((
                        class.file_name().to_string_lossy().into_owned(),
                        file?.path(),
                    ));
                }
            }
        }
    }
    if files.is_empty() {
        return Err("no class folders with images".into());
    }
    let images = IMAGES * rayon::current_num_threads();
    for copy in 0..images.div_ceil(files.len()) {
        for (number, (class, file)) in files.iter().enumerate() {
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            let name = format!("{copy}-{number}.{extension}");
            fs::create_dir_all(to.join(class))?;
            let copied = to.join(class).join(name);
            fs::hard_link(file, &copied).or_else(|_| fs::copy(file, &copied).map(|_| ()))?;
        }
    }
    Ok(data.map_or("a test's".to_owned(), |data| data.display().to_string()))
}

/// Scores from the upper left pixel.
fn write_model(path: &Path, classes: usize) -> Result<(), Box<dyn Error>> {
    let mut graph = GraphBuilder::new("nothing");
    let batch = Dim::Dynamic("batch");
    let side = Dim::Fixed(224);
    graph.input(
        "images",
        DataType::Float,
        &[batch, Dim::Fixed(3), side, side],
        "",
    );
    graph.node(
        "MaxPool",
        "pixel",
        &["images"],
        [
            attribute::ints("kernel_shape", [1, 1]),
            attribute::ints("strides", [224, 224]),
        ],
    );
    graph.node("Flatten", "colour", &["pixel"], [attribute::int("axis", 1)]);
    let weights: Vec<f32> = (0..3 * classes).map(|at| (at * 7 % 11) as f32).collect();
    graph.initializer("weights", &[3, classes], &weights);
    graph.node("MatMul", "scores", &["colour", "weights"], []);
    graph.output("scores", DataType::Float, &[batch, Dim::Fixed(classes)], "");
    fs::write(path, model(graph.finish(), "", []).encode_to_vec())?;
    Ok(())
}

/// Prepares all images, each thread in its own memory.
fn decode(set: &ImageSet) -> Result<(), Box<dyn Error>> {
    let preprocessing = Preprocessing::torchvision(256, 224);
    let table = NormalizationTable::new(&Normalization::IMAGENET);
    let prepared = (0..set.len()).into_par_iter().map_init(
        || {
            let preprocessor = Preprocessor::new(preprocessing, Limits::default());
            (preprocessor, vec![0.0; 3 * 224 * 224])
        },
        |(preprocessor, values), index| -> Result<(), String> {
            let preprocessor = preprocessor.as_mut().map_err(|error| error.to_string())?;
            let image = set.read(index).map_err(|error| error.to_string())?;
            let Image::Encoded(bytes) = image else {
                return Err("an image that is not encoded".to_owned());
            };
            let crops = preprocessor
                .crops(&bytes)
                .map_err(|error| error.to_string())?;
            crops.normalize(&table, values);
            Ok(())
        },
    );
    Ok(prepared.collect::<Result<(), String>>()?)
}
