//! Comparisons of two models.

mod synthetic;

use serde_json::Value;
use synthetic::{SKILLS, Size, run, run_indices};
use topk_results::{Comparison, RankError, Results};

const SIZE: Size = Size {
    images: 400,
    classes: 12,
};

fn results() -> Results {
    run(SIZE, &SKILLS, None)
}

#[test]
fn two_models_of_a_run() {
    let results = results();
    let comparison = Comparison::new((&results, 0), (&results, 2)).unwrap();
    assert_eq!(comparison.images, 400);
    for (paired, k) in comparison.topk.iter().zip([1, 5]) {
        let [before, after] = [0, 2].map(|model| results.models[model].metrics.topk(k).unwrap());
        assert_eq!(paired.k, k);
        assert_eq!(Some(paired.before), before.accuracy);
        assert_eq!(Some(paired.after), after.accuracy);
        let gained = paired.only_after as i64 - paired.only_before as i64;
        assert_eq!(gained, after.correct as i64 - before.correct as i64);
        assert!(paired.low < paired.difference && paired.difference < paired.high);
        assert!(paired.only_before > 0 && paired.only_after > 0);
    }
    let predicted = |model: usize, index: usize| {
        let outcome = results.models[model].outcomes[index].as_ref();
        outcome.map(|outcome| outcome.predicted)
    };
    for image in &comparison.changed {
        let of = |prediction: &Option<topk_results::ImagePrediction>| {
            prediction.as_ref().map(|prediction| prediction.predicted)
        };
        assert_eq!(of(&image.before), predicted(0, image.index));
        assert_eq!(of(&image.after), predicted(2, image.index));
    }
    let other = (0..400).filter(|&index| predicted(0, index) != predicted(2, index));
    let listed = comparison.changed.iter().filter(|image| {
        let [a, b] = [&image.before, &image.after].map(|answer| answer.as_ref().unwrap());
        a.predicted != b.predicted
    });
    assert_eq!(listed.count(), other.count());
    let sizes = comparison
        .changed
        .iter()
        .map(|image| image.confidence_change().abs());
    assert!(sizes.collect::<Vec<_>>().is_sorted_by(|a, b| a >= b));
}

/// Newcombe's interval is close to the normal approximation for many images.
#[test]
fn the_interval_is_about_two_standard_errors_wide() {
    let size = Size {
        images: 5_000,
        classes: 12,
    };
    let results = run(size, &SKILLS, None);
    let comparison = Comparison::new((&results, 0), (&results, 1)).unwrap();
    // Near 100 %, as for top-5 accuracy here, the approximation is too narrow.
    let paired = &comparison.topk[0];
    let n = 5_000.0;
    let [b, c] = [paired.only_before as f64, paired.only_after as f64];
    let error = (b + c - (b - c).powi(2) / n).sqrt() / n;
    let width = (paired.high - paired.low) / (2.0 * 1.96 * error);
    assert!((0.98..1.03).contains(&width), "{width}");
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let results = results();
    let comparison = Comparison::new((&results, 1), (&results, 1)).unwrap();
    assert!(comparison.changed.is_empty());
    for paired in &comparison.topk {
        assert_eq!((paired.difference, paired.p_value), (0.0, 1.0));
        assert!(paired.low <= 0.0 && paired.high >= 0.0);
    }
}

#[test]
fn a_rank_that_crosses_k_is_a_change() {
    let before = results();
    let mut after = before.clone();
    // One image that drops out of the top 5, and one that was not in it before.
    let indices = [0, 1].map(|number| {
        let outcomes = before.models[0].outcomes.iter();
        let of = |outcome: &topk_results::Outcome| match number {
            0 => (1..5).contains(&outcome.rank),
            _ => outcome.rank == 5,
        };
        let index = outcomes
            .into_iter()
            .position(|outcome| outcome.as_ref().is_some_and(of));
        index.unwrap()
    });
    for index in indices {
        after.models[0].outcomes[index].as_mut().unwrap().rank = 6;
    }
    let after = after.recompute().unwrap();
    let comparison = Comparison::new((&before, 0), (&after, 0)).unwrap();
    let changed: Vec<usize> = comparison.changed.iter().map(|image| image.index).collect();
    assert_eq!(changed, [indices[0]]);
    let paired = &comparison.topk[1];
    assert_eq!((paired.k, paired.only_before, paired.only_after), (5, 1, 0));
    // Both ranks changed.
    let first = indices.into_iter().min().unwrap();
    let rank = before.models[0].outcomes[first].as_ref().unwrap().rank;
    let error = comparison.check_ranks().unwrap_err();
    let expected = RankError::Ranks {
        changed: 2,
        images: 400,
        image: before.images[first].name.clone(),
        before: rank.to_string(),
        after: "6".to_owned(),
    };
    assert_eq!(error, expected);
    let same = Comparison::new((&before, 0), (&before, 0)).unwrap();
    assert_eq!(same.check_ranks(), Ok(()));
}

#[test]
fn only_images_of_both_results_are_compared() {
    let before = run_indices(SIZE, &SKILLS[..1], None, &(0..300).collect::<Vec<_>>());
    let after = run_indices(SIZE, &SKILLS[..1], None, &(250..400).collect::<Vec<_>>());
    let comparison = Comparison::new((&before, 0), (&after, 0)).unwrap();
    assert_eq!(comparison.images, 50);
    assert_eq!(
        (comparison.only_in_before, comparison.only_in_after),
        (250, 100)
    );
    assert_eq!(comparison.check_ranks(), Err(RankError::Images(350)));
    let none = run_indices(SIZE, &SKILLS[..1], None, &[399]);
    let error = Comparison::new((&before, 0), (&none, 0)).unwrap_err();
    assert_eq!(error.to_string(), "the results have no images in common");
}

/// As with `--class-names` in one of the runs.
#[test]
fn names_may_differ_but_not_in_order() {
    let before = results();
    let mut after = before.clone();
    after.class_names[0] = "another name".to_owned();
    Comparison::new((&before, 0), (&after, 0)).unwrap();
    after.wnids = None;
    Comparison::new((&before, 0), (&after, 0)).unwrap();
    let mut swapped = before.clone();
    swapped.wnids = None;
    swapped.class_names.swap(3, 5);
    let error = Comparison::new((&before, 0), (&swapped, 0)).unwrap_err();
    assert!(error.to_string().contains("the name of a class"), "{error}");
}

#[test]
fn differences_of_the_data_are_named() {
    let before = results();
    type Change = fn(&mut Results);
    let changes: [(&str, Change); 5] = [
        ("the SHA-256 of the data set is 5f1d", |results| {
            results.data.sha256 = "0".to_owned();
        }),
        ("the name of a class is `n01440764`", |results| {
            results.wnids.as_mut().unwrap()[0].push('!');
        }),
        (
            "the set of valid classes is all in the first and a list of 11 in the second",
            |results| {
                results.settings.valid_classes = Some((0..11).collect());
            },
        ),
        (
            "image 7 is `ILSVRC2012_val_00000008.JPEG` with labels [5]",
            |results| {
                results.images[7].labels = vec![4];
            },
        ),
        ("the handling of unreadable images", |results| {
            results.settings.failures = topk_results::FailurePolicy::Skip;
        }),
    ];
    for (expected, change) in changes {
        let mut after = before.clone();
        change(&mut after);
        let error = Comparison::new((&before, 0), (&after, 0)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = Comparison::new((&before, 0), (&before, 3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model 4 does not exist: the results have 3 models"
    );
}

#[test]
fn unreadable_images_have_no_prediction() {
    let after = results();
    let mut before = after.clone();
    before.failures.remove(0);
    let image = before.images[11].clone();
    before.models[0].outcomes[11] = before.models[0].outcomes[12].clone();
    let before = before.recompute();
    // The other models have no outcome for it.
    assert!(before.is_err());
    let mut before = after.clone();
    before.models.truncate(1);
    before.failures.remove(0);
    before.models[0].outcomes[11] = before.models[0].outcomes[12].clone();
    let before = before.recompute().unwrap();
    let comparison = Comparison::new((&before, 0), (&after, 0)).unwrap();
    let [changed] = &comparison.changed[..] else {
        panic!("{:?}", comparison.changed);
    };
    assert_eq!((&changed.name, &changed.after), (&image.name, &None));
    assert!(changed.confidence_change() < 0.0);
    let json: Value = serde_json::from_str(&comparison.to_json()).unwrap();
    assert_eq!(json["changed"][0]["after"], Value::Null);
    assert_eq!(json["images"], 400);
}
