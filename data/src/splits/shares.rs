//! How many images are taken of each class.

use std::cmp::Ordering;

/// How many images are taken of each class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClassShare {
    /// The same number of each class: the authors' rule.
    Same(usize),
    /// This many in all: the same number of each class if that is possible, as in the authors' code, otherwise
    /// in proportion to the images of the classes.
    Total(usize),
    /// A tenth of each class, rounded; at least one image of a class that has several.
    Tenth,
}

/// A tenth, rounded, of a class of this many images; one image is always left, and one held out if there are two.
pub(super) fn tenth(images: usize) -> usize {
    let rounded = images / 10 + usize::from(images % 10 >= 5);
    rounded.max(1).min(images.saturating_sub(1))
}

/// The number that each class contributes to `total`, if it is the same for all and none has less.
pub(super) fn same(total: usize, largest: &[usize]) -> Option<usize> {
    let count = total.checked_div(largest.len())?;
    let possible =
        count * largest.len() == total && largest.iter().all(|&largest| count <= largest);
    possible.then_some(count)
}

/// Divides `total` in proportion to the sizes, by largest remainders, with at least `least` and at most
/// `most` of each class. Classes with equal remainders come in the given order.
///
/// `None` if the bounds leave no solution.
pub(super) fn proportional(
    total: usize,
    sizes: &[usize],
    least: usize,
    most: &[usize],
    order: &[usize],
) -> Option<Vec<usize>> {
    let bounds = |class: usize| least.min(most[class])..=most[class];
    let all: u128 = sizes.iter().map(|&size| size as u128).sum();
    let classes = 0..sizes.len();
    let (fewest, largest) = classes.clone().fold((0, 0), |(fewest, largest), class| {
        (
            fewest + bounds(class).start(),
            largest + bounds(class).end(),
        )
    });
    if !(fewest..=largest).contains(&total) {
        return None;
    }
    // `total · size / all`, without rounding: remainders are compared as multiples of 1 / all.
    let quota = |class: usize| total as u128 * sizes[class] as u128;
    let mut counts: Vec<usize> = classes
        .map(|class| {
            let whole = quota(class).checked_div(all).unwrap_or(0) as usize;
            whole.clamp(*bounds(class).start(), *bounds(class).end())
        })
        .collect();
    loop {
        let taken: usize = counts.iter().sum();
        let missing = |class: usize| quota(class) as i128 - counts[class] as i128 * all as i128;
        let mut classes = order.to_vec();
        match taken.cmp(&total) {
            Ordering::Equal => return Some(counts),
            Ordering::Less => {
                classes.retain(|&class| counts[class] < most[class]);
                classes.sort_by_key(|&class| -missing(class));
                classes.truncate(total - taken);
                classes.into_iter().for_each(|class| counts[class] += 1);
            }
            Ordering::Greater => {
                classes.retain(|&class| counts[class] > *bounds(class).start());
                classes.sort_by_key(|&class| missing(class));
                classes.truncate(taken - total);
                classes.into_iter().for_each(|class| counts[class] -= 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(total: usize, sizes: &[usize], least: usize) -> Option<Vec<usize>> {
        let most: Vec<usize> = sizes.iter().map(|size| size - 1).collect();
        let order: Vec<usize> = (0..sizes.len()).collect();
        proportional(total, sizes, least, &most, &order)
    }

    #[test]
    fn a_tenth_leaves_images_on_both_sides() {
        let counts = [1, 2, 9, 14, 15, 18, 50, 51, 10_000].map(tenth);
        assert_eq!(counts, [0, 1, 1, 1, 2, 2, 5, 5, 1000]);
    }

    #[test]
    fn shares_are_proportional_and_add_up() {
        assert_eq!(shares(100, &[10_000, 50], 0).unwrap(), [100, 0]);
        assert_eq!(shares(100, &[10_000, 50], 1).unwrap(), [99, 1]);
        assert_eq!(shares(10, &[30, 20, 10], 0).unwrap(), [5, 3, 2]);
        assert_eq!(shares(7, &[3, 3, 3], 0), None);
        assert_eq!(shares(6, &[3, 3, 3], 0).unwrap(), [2, 2, 2]);
        assert_eq!(shares(4, &[3, 3, 3], 0).unwrap(), [2, 1, 1]);
        // The only image of a class stays.
        assert_eq!(shares(18, &[19, 1], 0).unwrap(), [18, 0]);
        assert_eq!(shares(19, &[19, 1], 0), None);
        let sizes: Vec<usize> = (1..200).map(|class| 1 + class * class % 97).collect();
        let images: usize = sizes.iter().sum();
        for total in [0, 1, 10, 500, images - sizes.len()] {
            let counts = shares(total, &sizes, 0).unwrap();
            assert_eq!(counts.iter().sum::<usize>(), total);
            for (count, size) in counts.iter().zip(&sizes) {
                assert!(count < size);
            }
        }
    }

    #[test]
    fn the_same_number_is_taken_where_every_class_has_it() {
        assert_eq!(same(50_000, &[682; 1000]), Some(50));
        assert_eq!(same(1000, &[10; 300]), None);
        assert_eq!(same(20, &[10, 9]), None);
        assert_eq!(same(18, &[10, 9]), Some(9));
    }
}
