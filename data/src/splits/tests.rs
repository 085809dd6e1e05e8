use super::*;
use crate::Options;
use crate::numpy_cases::{Kept, cases};
use serde::Deserialize;
use std::fs;
use topk_labels::Classes;

#[derive(Deserialize)]
struct Case {
    images: usize,
    train_size: usize,
    validation_size: usize,
    seed: u32,
    train: Kept,
    validation: Kept,
}

#[derive(Deserialize)]
struct ClassCase {
    validation_per_class: usize,
    train_size: Option<usize>,
    run_seed: u32,
    train: Kept,
    validation: Kept,
}

impl ClassCase {
    /// The authors' code takes the same number of each class, rounded down.
    fn settings(&self, classes: usize) -> ClassHoldout {
        ClassHoldout {
            validation: ClassShare::Same(self.validation_per_class),
            train: self.train_size.map(|size| ClassShare::Same(size / classes)),
            split_seed: SPLIT_SEED,
            run_seed: self.run_seed,
        }
    }

    fn check(&self, drawn: &Holdout) {
        assert_eq!(Kept::indices(&drawn.validation), self.validation);
        assert_eq!(Kept::indices(&drawn.train), self.train);
    }
}

#[derive(Deserialize)]
struct Made {
    classes: u32,
    smallest: u32,
    step: u32,
    modulus: u32,
    splits: Vec<ClassCase>,
}

impl Made {
    fn samples(&self) -> Vec<Sample> {
        let of_class = |class| {
            let images = self.smallest + class * self.step % self.modulus;
            let mut names: Vec<String> = (0..images)
                .map(|image| format!("{class:04}/{image}.JPEG"))
                .collect();
            names.sort_unstable();
            names.into_iter().map(move |name| (name, Some(class)))
        };
        let samples = (0..self.classes).flat_map(of_class);
        samples.map(|(name, label)| sample(name, label)).collect()
    }
}

#[derive(Deserialize)]
struct Folders {
    first: Vec<String>,
    splits: Vec<ClassCase>,
}

fn sample(name: String, label: Option<u32>) -> Sample {
    Sample {
        name,
        label,
        slot: 0,
    }
}

fn split(settings: &ClassHoldout, samples: &[Sample]) -> Result<Holdout, SplitError> {
    settings.split_samples(samples, |class| format!("class {class}"))
}

#[test]
fn held_out_images_agree_with_numpy() {
    let cases: Vec<Case> = serde_json::from_value(cases("holdout")).unwrap();
    assert!(cases.len() > 3);
    for case in cases {
        let (images, seed) = (case.images, case.seed);
        let drawn = holdout(images, case.train_size, case.validation_size, seed).unwrap();
        assert_eq!(Kept::indices(&drawn.train), case.train);
        assert_eq!(Kept::indices(&drawn.validation), case.validation);
    }
}

#[test]
fn held_out_images_of_each_class_agree_with_numpy() {
    let made: Vec<Made> = serde_json::from_value(cases("made")).unwrap();
    for made in made {
        let samples = made.samples();
        assert!(made.splits.len() > 1);
        for case in &made.splits {
            let drawn = split(&case.settings(made.classes as usize), &samples).unwrap();
            case.check(&drawn);
        }
        // However the set lists its images, as an archive does in its own order.
        let reversed: Vec<Sample> = samples.iter().rev().cloned().collect();
        let mut drawn = split(&made.splits[0].settings(made.classes as usize), &reversed).unwrap();
        for indices in [&mut drawn.train, &mut drawn.validation] {
            for index in indices {
                *index = samples.len() - 1 - *index;
            }
        }
        made.splits[0].check(&drawn);
    }
}

#[test]
fn folders_within_classes_are_in_the_order_of_the_authors_code() {
    let folders: Folders = serde_json::from_value(cases("folders")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for class in ["a", "b", "c"] {
        for image in 0..40 {
            let folder = ["", "x/", "x-y/", "x/z/"][image % 4];
            let path = dir.path().join(format!("{class}/{folder}{image}.jpg"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    let set = ImageSet::open(dir.path(), &Options::default()).unwrap();
    assert!(matches!(set.classes(), Classes::Named(_)));
    let names = set.samples().iter().map(|sample| &sample.name);
    assert!(names.take(folders.first.len()).eq(&folders.first));
    for case in folders.splits {
        case.check(&case.settings(3).split(&set).unwrap());
    }
}

#[test]
fn errors_name_what_cannot_be_split() {
    let error = holdout(100, 90, 11, 0).unwrap_err().to_string();
    assert!(
        error.contains("90 training and 11 validation images"),
        "{error}"
    );
    assert!(error.contains("from a set of 100"), "{error}");
    assert!(holdout(usize::MAX, 1, 1, 0).is_err());
    assert!(holdout(9, usize::MAX, 1, 0).is_err());

    let samples = |sizes: [u32; 2]| -> Vec<Sample> {
        let of = |class: u32| (0..sizes[class as usize]).map(move |image| (class, image));
        let images = (0..2).flat_map(of);
        images
            .map(|(class, image)| sample(format!("{class}/{image}.jpg"), Some(class)))
            .collect()
    };
    let settings = ClassHoldout {
        validation: ClassShare::Same(3),
        train: None,
        split_seed: SPLIT_SEED,
        run_seed: 0,
    };
    let drawn = split(&settings, &samples([5, 4])).unwrap();
    assert_eq!((drawn.train.len(), drawn.validation.len()), (3, 6));
    let error = |settings, samples: &[Sample]| split(&settings, samples).unwrap_err();
    let class = error(settings, &samples([5, 3])).to_string();
    assert!(
        class.contains("class 1 has 3 images, so 3 cannot be held out"),
        "{class}"
    );
    let of = |train| ClassHoldout {
        train: Some(ClassShare::Total(train)),
        ..settings
    };
    let all = split(&of(3), &samples([5, 4])).unwrap();
    assert_eq!((all.train.len(), all.validation.len()), (3, 6));
    let many = error(of(4), &samples([5, 4])).to_string();
    assert!(
        many.contains("4 training and 6 validation images") && many.contains("a set of 9"),
        "{many}"
    );
    assert_eq!(
        error(of(1), &samples([5, 4])),
        SplitError::Subset {
            train: 1,
            classes: 2
        }
    );
    let late = ClassHoldout {
        split_seed: u32::MAX,
        ..settings
    };
    assert_eq!(error(late, &samples([5, 4])), SplitError::Seed(u32::MAX));
    let unlabelled = [sample("x.jpg".to_owned(), None)];
    assert!(
        error(settings, &unlabelled)
            .to_string()
            .contains("x.jpg has no label")
    );
}
