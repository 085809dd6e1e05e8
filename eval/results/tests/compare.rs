//! Comparisons of two models.

mod synthetic;

use serde_json::Value;
use synthetic::{SKILLS, Size, run, run_indices};
use topk_results::{Comparison, Metrics, RankError, Results};

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

#[test]
fn further_metrics_stand_side_by_side() {
    let results = results();
    let comparison = Comparison::new((&results, 0), (&results, 2)).unwrap();
    let [before, after] = [0, 2].map(|model| results.models[model].metrics.clone());
    let found = |name: &str| {
        let mut metrics = comparison.metrics.iter();
        let metric = metrics.find(|metric| metric.name == name)?;
        Some([metric.before, metric.after])
    };
    let both = |value: fn(&Metrics) -> Option<f64>| Some([value(&before)?, value(&after)?]);
    assert_eq!(found("aurc"), both(|metrics| metrics.aurc));
    assert_eq!(found("brier_score"), both(|metrics| metrics.brier_score));
    assert_eq!(
        found("macro_f1"),
        both(|metrics| Some(metrics.macro_avg.as_ref()?.f1))
    );
    let severity = |metrics: &Metrics| metrics.severity.as_ref()?.mistake_severity;
    assert_eq!(found("mistake_severity"), both(severity));
    // Every image has one class.
    assert_eq!(found("ranking_loss"), None);
    let json: Value = serde_json::from_str(&comparison.to_json()).unwrap();
    let names = json["metrics"].as_array().unwrap().iter();
    let aurc = names.clone().find(|metric| metric["name"] == "aurc");
    assert_eq!(aurc.unwrap()["before"].as_f64(), before.aurc);
    let table = comparison.table(0);
    let row = table.lines().find(|line| line.starts_with("AURC"));
    let values = [before.aurc, after.aurc].map(|value| format!("{:.4}", value.unwrap()));
    let cells: Vec<_> = row.unwrap().split_whitespace().skip(1).collect();
    assert_eq!(cells, values);
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

/// The results with three groups of images, of which the third has none.
fn in_groups() -> Results {
    let mut results = results();
    results.data.group_names = ["dark", "large & <b>old", "none"]
        .map(str::to_owned)
        .to_vec();
    for (at, image) in results.images.iter_mut().enumerate() {
        let groups = (0..2).filter(|&group| at % (group as usize + 2) == 0);
        // Some images are not in the file of groups.
        image.groups = (at % 7 > 0).then(|| groups.collect());
    }
    results.recompute().unwrap()
}

/// Each as a comparison of its images alone.
#[test]
fn groups_are_compared_as_their_images_alone() {
    let results = in_groups();
    let comparison = Comparison::new((&results, 0), (&results, 2)).unwrap();
    assert_eq!(comparison.groups_note, None);
    let mut p_values = Vec::new();
    for (group, found) in (0..2_u32).zip(&comparison.groups) {
        let is_in = |index: usize| {
            let groups = results.images[index].groups.as_ref();
            groups.is_some_and(|groups| groups.contains(&group))
        };
        let mut alone = results.clone();
        alone.images.retain(|image| is_in(image.index));
        alone.failures.retain(|failure| is_in(failure.index));
        for model in &mut alone.models {
            let mut index = 0..;
            model.outcomes.retain(|_| is_in(index.next().unwrap()));
        }
        let alone = alone.recompute().unwrap();
        let expected = Comparison::new((&alone, 0), (&alone, 2)).unwrap();
        assert_eq!(found.images, expected.images);
        assert_eq!(found.top1.as_ref(), Some(&expected.topk[0]));
        p_values.push(expected.topk[0].p_value);
        let recorded = &results.models[0].metrics.groups[group as usize];
        assert_eq!(Some(expected.topk[0].before), recorded.accuracy);
    }
    // Holm's correction of two tests: the smaller p counts twice, and the larger is not below it.
    let [smaller, larger] = [0, 1].map(|at| {
        let mut sorted = p_values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[at]
    });
    for (group, p) in comparison.groups.iter().zip(p_values) {
        let smallest = (2.0 * smaller).min(1.0);
        let expected = if p == smaller {
            smallest
        } else {
            larger.max(smallest)
        };
        assert_eq!(group.holm_p, Some(expected));
    }
    let none = &comparison.groups[2];
    assert_eq!((none.images, &none.top1, none.holm_p), (0, &None, None));

    let table = comparison.table(0);
    assert!(table.contains("p with Holm's correction"), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let page = comparison.to_html();
    assert!(page.contains("Groups of images") && !page.contains("& <b>old"));
    let json: Value = serde_json::from_str(&comparison.to_json()).unwrap();
    assert_eq!(json["groups"][1]["top1"]["k"], 1);
    assert!(json["groups"][2]["top1"].is_null());
}

#[test]
fn groups_of_one_of_the_results_suffice() {
    let (with, without) = (in_groups(), results());
    let both = Comparison::new((&with, 0), (&with, 2)).unwrap();
    for (before, after, which) in [(&with, &without, "first"), (&without, &with, "second")] {
        let found = Comparison::new((before, 0), (after, 2)).unwrap();
        assert_eq!(found.groups, both.groups);
        let note = found.groups_note.unwrap();
        assert!(
            note.contains(&format!("those of the {which} results")),
            "{note}"
        );
    }
    let plain = Comparison::new((&without, 0), (&without, 2)).unwrap();
    assert_eq!((plain.groups.len(), &plain.groups_note), (0, &None));
    assert!(!plain.table(0).contains("group"));

    let mut renamed = with.clone();
    renamed.data.group_names[0] = "bright".to_owned();
    let mut moved = with.clone();
    moved.images[9].groups = Some(vec![2]);
    for other in [renamed, moved] {
        let other = other.recompute().unwrap();
        let found = Comparison::new((&with, 0), (&other, 2)).unwrap();
        assert!(found.groups.is_empty());
        assert!(found.table(0).contains("differ between the results"));
        assert!(found.to_html().contains("differ between the results"));
    }
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
    // They are of all images of each.
    assert_eq!(comparison.metrics, []);
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
