/// A long-tailed part of a balanced training set: of class `c` of `C`, the `most` · `factor`^(−c/(C−1)) first of `images`,
/// rounded down and at least one, where `most` is the number of images of the class that has the most. Classes with fewer
/// images keep all.
///
/// This is how CIFAR-100-LT is made (Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019):
/// `factor` is the number of images of the first class over that of the last, 1 or more. `labels` are those of the whole
/// set, which `images` are indices of, in an order that was drawn at random.
///
/// # Panics
/// If the label of an image is not below `classes`.
pub fn long_tail(images: &[usize], labels: &[u32], classes: usize, factor: f64) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &image in images {
        counts[labels[image] as usize] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or_default() as f64;
    let last = classes.saturating_sub(1).max(1) as f64;
    let kept = |class: usize| (most * factor.powf(-(class as f64) / last)).max(1.0) as usize;
    let mut left: Vec<usize> = (0..classes).map(kept).collect();
    let mut is_kept = |image: &usize| {
        let left = &mut left[labels[*image] as usize];
        let kept = *left > 0;
        *left = left.saturating_sub(1);
        kept
    };
    images
        .iter()
        .copied()
        .filter(|image| is_kept(image))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(per_class: &[usize], factor: f64) -> Vec<usize> {
        let labels: Vec<u32> = (0..)
            .zip(per_class)
            .flat_map(|(class, &count)| std::iter::repeat_n(class, count))
            .collect();
        let images: Vec<usize> = (0..labels.len()).rev().collect();
        let kept = long_tail(&images, &labels, per_class.len(), factor);
        assert!(kept.is_sorted_by(|one, next| one > next), "in their order");
        let mut counts = vec![0; per_class.len()];
        for image in kept {
            counts[labels[image] as usize] += 1;
        }
        counts
    }

    /// The numbers of CIFAR-100-LT with a factor of 100, which add up to 10,847 images.
    #[test]
    fn classes_shrink_as_those_of_the_long_tailed_cifar() {
        let counts = counts(&[500; 100], 100.0);
        assert_eq!(counts[..4], [500, 477, 455, 434]);
        assert_eq!(counts[97..], [5, 5, 5]);
        assert_eq!(counts.iter().sum::<usize>(), 10_847);
    }

    #[test]
    fn no_class_is_lost() {
        assert_eq!(counts(&[4; 3], 1.0), [4; 3]);
        assert_eq!(counts(&[4; 3], 1e9), [4, 1, 1]);
        // The second would have 50.
        assert_eq!(counts(&[100, 3, 100], 4.0), [100, 3, 25]);
        assert_eq!(counts(&[7], 10.0), [7]);
    }
}
