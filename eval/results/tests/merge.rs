//! Merging parts of a run.

mod synthetic;

use std::sync::LazyLock;

use proptest::prelude::*;
use synthetic::{SKILLS, Size, run, run_indices};
use topk_results::{Environment, Results, Shard, Subset};

const SIZE: Size = Size {
    images: 300,
    classes: 12,
};

static WHOLE: LazyLock<Results> = LazyLock::new(|| run(SIZE, &SKILLS[..2], None));

type Change = fn(&mut Results);

fn part(indices: &[usize]) -> Results {
    run_indices(SIZE, &SKILLS[..2], None, indices)
}

/// The result file without times.
fn without_times(results: &Results) -> String {
    let mut results = results.clone();
    for model in &mut results.models {
        model.timing = Default::default();
    }
    results.to_json()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_split_gives_the_whole(parts in prop::collection::vec(0..5usize, SIZE.images)) {
        let parts = (0..5).map(|number| {
            let indices: Vec<usize> = (0..SIZE.images).filter(|&i| parts[i] == number).collect();
            part(&indices)
        });
        let merged = Results::merge(parts.collect(), false).unwrap();
        prop_assert_eq!(without_times(&merged), without_times(&WHOLE));
    }
}

#[test]
fn shards_give_the_whole() {
    for count in [1, 2, 7] {
        let shards = (1..=count).rev().map(|index| {
            let shard = run(SIZE, &SKILLS[..2], Some(Shard { index, count }));
            assert!(shard.complete);
            shard
        });
        let mut merged = Results::merge(shards.collect(), false).unwrap();
        if count == 1 {
            assert_eq!(merged.shard.take(), Some(Shard { index: 1, count }));
        }
        assert_eq!(without_times(&merged), without_times(&WHOLE));
        let seconds = |results: &Results| results.models[1].timing.seconds;
        assert!((seconds(&merged) / seconds(&WHOLE) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn an_interrupted_run_is_resumed() {
    let begun = part(&(0..120).collect::<Vec<_>>());
    assert!(!begun.complete);
    let remaining: Vec<usize> = begun.remaining().collect();
    assert_eq!(remaining, (120..300).collect::<Vec<_>>());
    begun.check_same_run(&WHOLE).unwrap();
    let resumed = Results::merge(vec![begun, part(&remaining)], false).unwrap();
    assert!(resumed.complete);
    assert_eq!(resumed.remaining().count(), 0);
    assert_eq!(without_times(&resumed), without_times(&WHOLE));
}

#[test]
fn an_interrupted_shard_is_resumed() {
    let shard = Some(Shard { index: 2, count: 3 });
    let of = |indices: &[usize]| run_indices(SIZE, &SKILLS[..2], shard, indices);
    let begun = of(&[100, 101, 150]);
    let remaining: Vec<usize> = begun.remaining().collect();
    assert_eq!(remaining.len(), 97);
    let resumed = Results::merge(vec![of(&remaining), begun], false).unwrap();
    assert_eq!(resumed, {
        let mut whole = run(SIZE, &SKILLS[..2], shard);
        for (whole, resumed) in whole.models.iter_mut().zip(&resumed.models) {
            whole.timing = resumed.timing;
        }
        whole
    });
}

#[test]
fn a_subset_is_resumed_and_sharded() {
    let classes = (0..SIZE.images).map(|index| WHOLE.images[index].labels.first().copied());
    let subset = Subset::draw(classes, 70, 3).unwrap();
    let of = |indices: &[usize], shard| {
        let mut part = part(indices);
        part.shard = shard;
        part.subset = Some(subset.clone());
        part.recompute().unwrap()
    };
    let whole = of(&subset.indices, None);
    assert!(whole.complete);
    let begun = of(&subset.indices[..20], None);
    assert!(!begun.complete);
    let remaining: Vec<usize> = begun.remaining().collect();
    assert_eq!(remaining, subset.indices[20..]);
    let resumed = Results::merge(vec![begun, of(&remaining, None)], false).unwrap();
    assert_eq!(without_times(&resumed), without_times(&whole));
    let shards = [1, 2, 3].map(|index| {
        let shard = Shard { index, count: 3 };
        let part = of(&subset.indices[shard.indices(70)], Some(shard));
        assert!(part.complete);
        part
    });
    let merged = Results::merge(shards.into(), false).unwrap();
    assert_eq!(without_times(&merged), without_times(&whole));
    let error = whole.check_same_run(&WHOLE).unwrap_err().to_string();
    assert!(
        error.contains("`subset` is null, expected {\"limit\":70,\"seed\":3}"),
        "{error}"
    );
}

#[test]
fn machines_may_differ() {
    let mut second = part(&(150..300).collect::<Vec<_>>());
    second.environments[0].cpu = "Another Processor".to_owned();
    second.models[0].timing.threads = Some(2);
    second.started = "2026-11-23T23:59:59Z".to_owned();
    let first = part(&(0..150).collect::<Vec<_>>());
    let merged = Results::merge(vec![second, first], false).unwrap();
    let cpus: Vec<&str> = merged
        .environments
        .iter()
        .map(|machine| &*machine.cpu)
        .collect();
    assert_eq!(cpus, ["Imaginary Processor 9000", "Another Processor"]);
    assert_eq!(merged.models[0].timing.threads, None);
    assert_eq!(merged.models[1].timing.threads, Some(16));
    assert_eq!(merged.started, "2026-11-23T23:59:59Z");
}

#[test]
fn errors_name_differences_between_runs() {
    let refused = |change: fn(&mut Results)| {
        let first = part(&(0..150).collect::<Vec<_>>());
        let mut second = part(&(150..300).collect::<Vec<_>>());
        change(&mut second);
        let error = Results::merge(vec![first, second], false).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused(|part| part.data.sha256 = "0".to_owned()),
        "results 2 are not of the same run as the first: `data.sha256` is \"0\", expected \
         \"5f1d0c6f2b6a43a6d1c7c2a2ba5b4c38f5b8e3f5a6d7f0e9c8b7a6958473625f\""
    );
    let changes: [(&str, Change); 8] = [
        ("`models[1].sha256`", |part| {
            part.models[1].model.sha256.push('1')
        }),
        ("`models[0].preprocessing_settings.resize`", |part| {
            part.models[0].model.preprocessing_settings["resize"] = 224.into();
        }),
        ("`models[0].tf32`", |part| part.models[0].model.tf32 = true),
        ("`models[0].fp16`", |part| part.models[0].model.fp16 = true),
        ("`models` is a list of 1", |part| drop(part.models.pop())),
        ("`settings.loss.tau`", |part| {
            part.settings.loss.as_mut().unwrap().tau = 1.0
        }),
        ("`data.labels_sha256`", |part| {
            part.data.labels_sha256 = Some("0".to_owned())
        }),
        ("`wnids[3]`", |part| {
            part.wnids.as_mut().unwrap()[3].push('!')
        }),
    ];
    for (what, change) in changes {
        let message = refused(change);
        assert!(message.contains(what), "{message}");
    }
}

/// The hashes say that the data and the models are the same.
#[test]
fn other_differences_are_recorded() {
    let merged = |change: Change| {
        let first = part(&(0..150).collect::<Vec<_>>());
        let mut second = part(&(150..300).collect::<Vec<_>>());
        change(&mut second);
        let merged = Results::merge(vec![first, second], false).unwrap();
        assert_eq!(merged.images.len(), 300);
        merged.warnings
    };
    let changes: [(&str, Change); 7] = [
        (
            "`data.path` differs between the merged results: \"/data/imagenet/val\" and \"val/\"",
            |part| part.data.path = "val/".to_owned(),
        ),
        ("`models[1].path`", |part| {
            part.models[1].model.path.push('1')
        }),
        ("`models[0].batch_size`", |part| {
            part.models[0].model.batch_size = 7
        }),
        ("`models[0].device`", |part| {
            part.models[0].model.device = "cpu".to_owned()
        }),
        ("`topk_eval`", |part| part.topk_eval.push('1')),
        ("`class_names[3]`", |part| part.class_names[3].push('!')),
        ("`onnxruntime[0]`", |part| {
            let Environment { onnxruntime, .. } = &mut part.environments[0];
            *onnxruntime = "1.30.0".to_owned();
        }),
    ];
    for (what, change) in changes {
        let warnings = merged(change);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(what), "{warnings:?}");
    }
    assert!(merged(|_| ()).is_empty());
}

#[test]
fn errors_name_overlaps_and_gaps() {
    let indices = |range: std::ops::Range<usize>| part(&range.collect::<Vec<_>>());
    let merge = |parts| Results::merge(parts, false).unwrap_err().to_string();
    assert_eq!(
        merge(vec![indices(0..200), indices(199..300)]),
        "two of the results contain image `ILSVRC2012_val_00000200.JPEG` (index 199)"
    );
    assert_eq!(
        merge(vec![indices(0..100), indices(150..300)]),
        "50 of 300 images are missing, the first at index 100: evaluate them too, or pass \
         --allow-missing"
    );
    assert_eq!(merge(vec![]), "no result files to merge");
    let partial = Results::merge(vec![indices(0..100), indices(150..300)], true).unwrap();
    assert!(!partial.complete);
    assert_eq!(
        partial.remaining().collect::<Vec<_>>(),
        (100..150).collect::<Vec<_>>()
    );
}
