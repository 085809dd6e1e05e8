//! Groups of layers, compared with timm's.

use std::collections::BTreeMap;

use topk_models::{architecture, architectures};

/// Groups, and the number of parameters in a row that are in each.
fn runs(name: &str) -> Vec<(usize, usize)> {
    let size = match name {
        "inception_v3" => [3, 299, 299],
        _ => [3, 224, 224],
    };
    let groups = architecture(name, size, 1000).unwrap().layer_groups();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (_, group) in groups {
        match runs.last_mut() {
            Some((last, count)) if *last == group => *count += 1,
            _ => runs.push((group, 1)),
        }
    }
    runs
}

#[test]
fn groups_of_layers_are_timms() {
    let text = include_str!("data/layer_groups.json");
    let timm: BTreeMap<String, Vec<(usize, usize)>> = serde_json::from_str(text).unwrap();
    assert!(timm.len() > 10);
    for (name, expected) in timm {
        assert_eq!(runs(&name), expected, "{name}");
    }
}

/// The networks that timm does not have are divided in the same way.
#[test]
fn every_network_has_a_stem_blocks_and_a_head() {
    for network in architectures() {
        let groups = network.layer_groups();
        let name = network.name();
        let last = groups.iter().map(|(_, group)| *group).max().unwrap();
        assert!(last >= 3, "{name}: {last}");
        for group in 0..=last {
            let has = groups.iter().any(|(_, found)| *found == group);
            assert!(has, "{name}: {group}");
        }
        for parameter in network.classifier() {
            assert!(
                groups.contains(&(parameter.clone(), last)),
                "{name}: {parameter}"
            );
        }
    }
}
