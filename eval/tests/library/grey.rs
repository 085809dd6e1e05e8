//! Models of grey images: their pixels are those of Pillow's mode L, and one mean and standard deviation belong to them.

use super::*;
use topk_image::{RgbImage, decode};
use topk_preprocessing::{ChannelOrder, ImageMode, Normalization};

/// Writes a model that classifies by the mean of grey images `[batch, 1, 32, 32]`, and as bytes `[batch, 32, 32, 1]`.
fn write_grey_model(case: &Case, bytes: bool, card: Option<&ModelCard>) {
    let build = move || {
        let mut graph = GraphBuilder::new("grey");
        let side = Dim::Fixed(32);
        let images = match bytes {
            false => {
                let shape = [BATCH, Dim::Fixed(1), side, side];
                graph.input("input", DataType::Float, &shape, "");
                "input"
            }
            true => {
                let shape = [BATCH, side, side, Dim::Fixed(1)];
                graph.input("input", DataType::Uint8, &shape, "");
                let float = attribute::int("to", DataType::Float as i64);
                graph.node("Cast", "floats", &["input"], [float]);
                let planes = attribute::ints("perm", [0, 3, 1, 2]);
                graph.node("Transpose", "images", &["floats"], [planes]);
                "images"
            }
        };
        let weights: Vec<f32> = (0..CLASSES).map(|class| class as f32 - 2.5).collect();
        graph.initializer("weights", &[1, CLASSES], &weights);
        graph.node("GlobalAveragePool", "means", &[images], []);
        let axis = attribute::int("axis", 1);
        graph.node("Flatten", "features", &["means"], [axis]);
        graph.node("MatMul", "scores", &["features", "weights"], []);
        graph.output("scores", DataType::Float, &[BATCH, Dim::Fixed(CLASSES)], "");
        graph.finish()
    };
    case.write_model(&build, card);
}

/// The grey pixels of the images of different colours.
fn grey_pixels(image: usize) -> Vec<u8> {
    let planes: Vec<u8> = (0..3 * 1024)
        .map(|at| pixel(image, at / 1024, at % 1024))
        .collect();
    let mut image = RgbImage::of_planes([3, 32, 32], &planes);
    image.convert(ImageMode::L);
    image.pixels.into_iter().step_by(3).collect()
}

#[test]
fn colours_are_converted_to_grey() {
    let case = colours();
    let card = ModelCard {
        input_size: [1, 32, 32],
        mean: topk_onnx::ChannelValues::L([0.25]),
        std: topk_onnx::ChannelValues::L([0.5]),
        ..card()
    };
    write_grey_model(&case, false, Some(&card));
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let found: Vec<ImageBatch<f32>> = batches(&set, &mut model, &options(&set, 8));
    assert_eq!(found[0].images.dim(), (8, 1, 32, 32));
    let mut ranks = Vec::new();
    for batch in &found {
        for (images, &index) in batch.images.outer_iter().zip(&batch.indices) {
            let pixels = grey_pixels(index).into_iter();
            let expected = pixels.map(|value| (f32::from(value) / 255.0 - 0.25) / 0.5);
            assert!(images.iter().copied().eq(expected), "{index}");
        }
        let logits = model.logits(&batch.images).unwrap();
        ranks.extend(label_ranks(&logits, &batch.labels).unwrap());
    }
    assert_eq!(ranks, evaluated_ranks(&case));
    let error = model.logits(&Array4::<f32>::zeros((2, 3, 32, 32)));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("[batch, 1, 32, 32]"), "{error}");
}

#[test]
fn grey_bytes_are_passed_as_they_are() {
    let case = colours();
    write_grey_model(&case, true, None);
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let found: Vec<ImageBatch<u8>> = batches(&set, &mut model, &options(&set, IMAGES));
    assert_eq!(found[0].images.dim(), (IMAGES, 32, 32, 1));
    for (image, &index) in found[0].images.outer_iter().zip(&found[0].indices) {
        assert!(image.iter().copied().eq(grey_pixels(index)), "{index}");
    }
}

/// A grey PNG has the same pixels before and after.
#[test]
fn files_are_read_in_mode_l() {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/image/tests/data/images");
    let encoded = fs::read(image.join("grey_8.png")).unwrap();
    let mut decoded = decode(&encoded, &Default::default()).unwrap();
    let before = decoded.clone();
    decoded.convert(ImageMode::L);
    assert_eq!(decoded, before);
}

#[test]
fn means_and_orders_of_colours_are_errors() {
    let case = colours();
    write_grey_model(&case, false, None);
    let set = open_set(case.folder.path());
    let mut model = open_model(&case, Execution::default());
    let mut error = |overrides| {
        let options = EvalOptions {
            overrides,
            ..options(&set, 8)
        };
        let error = Batches::<f32>::new(&set, &mut model, &options).err();
        error.unwrap().to_string()
    };
    let imagenet = PreprocessOverrides {
        normalization: Some(Normalization::IMAGENET),
        ..PreprocessOverrides::default()
    };
    let text = error(imagenet);
    assert!(
        text.ends_with(
            "model.onnx takes grey images, but the normalisation has three channels: pass one number each for --mean and \
             --std, such as the averages that timm uses, 0.449 and 0.226"
        ),
        "{text}"
    );
    let text = error(PreprocessOverrides {
        normalization: Some(Normalization::IMAGENET.grey()),
        channel_order: Some(ChannelOrder::Bgr),
        ..PreprocessOverrides::default()
    });
    assert!(
        text.ends_with(
            "model.onnx takes grey images: omit --bgr, and use a --preset for red, green and blue"
        ),
        "{text}"
    );
}
