//! Images and data that do not fit, and what the errors say.

use std::fs;

use ndarray::Array4;
use topk_eval::{Batches, EvaluationError, Execution, OnBadImage, UNLABELLED};
use topk_onnx::ModelCard;

use crate::case::{CLASSES, Case, card};
use crate::{BATCH, batches, colours, open_model, open_set, options, write_model};

#[test]
fn images_that_do_not_fit_are_named() {
    let case = colours();
    let mut model = open_model(&case, Execution::default());
    let text = |error: topk_eval::ModelError| {
        let text = error.to_string();
        text.split_once("model.onnx ").unwrap().1.to_owned()
    };
    let error = model.logits(&Array4::<f32>::zeros((2, 32, 32, 3)));
    assert_eq!(
        text(error.unwrap_err()),
        "takes images as float32 [batch, 3, 32, 32], got float32 [2, 32, 32, 3]"
    );
    let error = model.logits(&Array4::<f64>::zeros((2, 3, 32, 32)));
    assert_eq!(
        text(error.unwrap_err()),
        "takes images as float32 [batch, 3, 32, 32], got float64 [2, 3, 32, 32]"
    );
    let error = model.logits(&Array4::<f32>::zeros((2, 3, 0, 32)));
    assert_eq!(
        text(error.unwrap_err()),
        "takes images as float32 [batch, 3, 32, 32], got float32 [2, 3, 0, 32]"
    );
}

#[test]
fn scores_that_are_not_probabilities_are_named() {
    let case = colours();
    write_model(&case, BATCH, CLASSES, None, Some(&card()));
    let opening = topk_eval::ModelOptions {
        output_kind: Some(topk_results::OutputKind::Probs),
        ..topk_eval::ModelOptions::default()
    };
    let mut model = open_model(&case, opening);
    let error = model
        .logits(&Array4::<f32>::from_elem((2, 3, 32, 32), 2.0))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("model.onnx: the score of image 0, class 2 is -0.2"),
        "{text}"
    );
    assert!(
        text.ends_with("open the model with the output kind Logits if its scores are logits"),
        "{text}"
    );
}

/// A case with two images in class folders, of which the second is broken.
fn with_a_broken_image() -> (Case, tempfile::TempDir) {
    let case = Case::new();
    let names: Vec<String> = (0..CLASSES).map(|class| format!("c{class}")).collect();
    let card = ModelCard {
        class_names: Some(names.clone()),
        ..card()
    };
    write_model(&case, BATCH, CLASSES, None, Some(&card));
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in names.iter().enumerate() {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let image = image::RgbImage::from_pixel(32, 32, image::Rgb([40 * class as u8; 3]));
        image.save(path.join("a.png")).unwrap();
    }
    fs::write(folder.path().join("c2/a.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    (case, folder)
}

#[test]
fn images_that_cannot_be_read_end_the_batches() {
    let (case, folder) = with_a_broken_image();
    let set = open_set(folder.path());
    let mut model = open_model(&case, Execution::default());
    let mut found = Batches::<f32>::new(&set, &mut model, &options(&set, 2)).unwrap();
    assert!(found.next().unwrap().is_ok());
    let error = found.next().unwrap().unwrap_err();
    let EvaluationError::BadImages(bad) = error else {
        panic!("{error}");
    };
    assert_eq!(bad.images.len(), 1);
    assert_eq!(bad.images[0].0, "c2/a.png");
    assert!(found.next().is_none());
}

#[test]
fn images_that_cannot_be_read_are_left_out() {
    let (case, folder) = with_a_broken_image();
    let set = open_set(folder.path());
    let mut model = open_model(&case, Execution::default());
    let mut options = options(&set, CLASSES);
    options.on_bad_image = OnBadImage::Skip;
    let batch = batches::<f32>(&set, &mut model, &options).remove(0);
    assert_eq!(batch.labels.to_vec(), [0, 1, 3, 4, 5]);
    assert_eq!(batch.indices, [0, 1, 3, 4, 5]);
    assert_eq!(batch.images.dim(), (5, 3, 32, 32));
    for (row, class) in [0u8, 1, 3, 4, 5].into_iter().enumerate() {
        let expected = (f32::from(40 * class) / 255.0 - 0.5) / 0.25;
        assert!((batch.images[[row, 0, 7, 7]] - expected).abs() < 1e-6);
    }
    assert_eq!(batch.left_out.len(), 1);
    assert_eq!(batch.left_out[0].0, "c2/a.png");
    assert!(!batch.labels.iter().any(|&label| label == UNLABELLED));
}
