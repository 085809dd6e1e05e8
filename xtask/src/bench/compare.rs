//! Whether something became slower relative to its peer.

use super::report::Ratio;

/// How many times slower than in the file something may be.
pub(super) const TOLERANCE: f64 = 1.5;

/// Ratios of a file beside new ones.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) compared: usize,
    /// A line for each that is larger than the tolerance times that in the file.
    pub(super) slower: Vec<String>,
    /// A line for each that only one side has.
    pub(super) not_compared: Vec<String>,
}

pub(super) fn compare(before: &[Ratio], now: &[Ratio]) -> Outcome {
    let mut outcome = Outcome::default();
    for ratio in now {
        let (what, peer) = (&ratio.what, ratio.peer);
        let old = of_same(before, ratio).and_then(|old| old.value);
        let (Some(old), Some(new)) = (old, ratio.value) else {
            let lacks = match ratio.value {
                None => "this run lacks the peer",
                Some(_) => "the file has no ratio",
            };
            let line = format!("not compared: {what} beside {peer} ({lacks})");
            outcome.not_compared.push(line);
            continue;
        };
        outcome.compared += 1;
        if new > TOLERANCE * old {
            outcome.slower.push(format!(
                "{what}: {new:.2} times the time of {peer}, was {old:.2}"
            ));
        }
    }
    for old in before {
        if of_same(now, old).is_none() {
            let line = format!(
                "not compared: {} beside {} (this run lacks it)",
                old.what, old.peer
            );
            outcome.not_compared.push(line);
        }
    }
    outcome
}

/// The lower of two measurements of each ratio.
pub(super) fn best(first: Vec<Ratio>, second: &[Ratio]) -> Vec<Ratio> {
    let lower = |ratio: Ratio| {
        let other = of_same(second, &ratio).and_then(|other| other.value);
        let value = match (ratio.value, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Ratio { value, ..ratio }
    };
    first.into_iter().map(lower).collect()
}

/// The ratio of the same work and peer.
fn of_same<'a>(ratios: &'a [Ratio], of: &Ratio) -> Option<&'a Ratio> {
    let same = |ratio: &&Ratio| (&ratio.what, ratio.peer) == (&of.what, of.peer);
    ratios.iter().find(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(what: &str, value: Option<f64>) -> Ratio {
        Ratio {
            what: what.to_owned(),
            peer: "PyTorch",
            value,
        }
    }

    #[test]
    fn what_became_slower_is_named() {
        let before = [ratio("resnet18", Some(0.5))];
        let within = compare(&before, &[ratio("resnet18", Some(0.74))]);
        assert!(within.slower.is_empty() && within.compared == 1);
        let slower = compare(&before, &[ratio("resnet18", Some(0.76))]).slower;
        assert_eq!(
            slower,
            ["resnet18: 0.76 times the time of PyTorch, was 0.50"]
        );
    }

    #[test]
    fn missing_peers_are_said() {
        let before = [
            ratio("resnet18", Some(0.5)),
            ratio("basic-16", None),
            ratio("alexnet", Some(0.5)),
        ];
        let now = [
            ratio("resnet18", None),
            ratio("basic-16", Some(0.5)),
            ratio("vit_b_16", Some(9.0)),
        ];
        let outcome = compare(&before, &now);
        assert!(outcome.slower.is_empty() && outcome.compared == 0);
        let expected = [
            "not compared: resnet18 beside PyTorch (this run lacks the peer)",
            "not compared: basic-16 beside PyTorch (the file has no ratio)",
            "not compared: vit_b_16 beside PyTorch (the file has no ratio)",
            "not compared: alexnet beside PyTorch (this run lacks it)",
        ];
        assert_eq!(outcome.not_compared, expected);
    }

    #[test]
    fn the_better_of_two_measurements_counts() {
        let first = vec![ratio("resnet18", Some(0.9)), ratio("basic-16", Some(0.4))];
        let second = [ratio("basic-16", Some(0.6)), ratio("resnet18", Some(0.5))];
        let values: Vec<_> = best(first, &second)
            .iter()
            .map(|ratio| ratio.value)
            .collect();
        assert_eq!(values, [Some(0.5), Some(0.4)]);
    }
}
