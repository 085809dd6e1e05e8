//! A sorting network.

/// Sorts 16 elements: calls `exchange` with pairs of indices, of which it puts the element that belongs first at the
/// first one. No network with fewer than these 60 pairs is known (Knuth, The Art of Computer Programming, volume 3, 5.3.4).
#[inline(always)]
pub(super) fn network(mut exchange: impl FnMut(usize, usize)) {
    macro_rules! exchange {
        ($($a:literal $b:literal),*) => { $(exchange($a, $b);)* };
    }
    exchange!(0 13, 1 12, 2 15, 3 14, 4 8, 5 6, 7 11, 9 10);
    exchange!(0 5, 1 7, 2 9, 3 4, 6 13, 8 14, 10 15, 11 12);
    exchange!(0 1, 2 3, 4 5, 6 8, 7 9, 10 11, 12 13, 14 15);
    exchange!(0 2, 1 3, 4 10, 5 11, 6 7, 8 9, 12 14, 13 15);
    exchange!(1 2, 3 12, 4 6, 5 7, 8 10, 9 11, 13 14);
    exchange!(1 4, 2 6, 5 8, 7 10, 9 13, 11 14);
    exchange!(2 4, 3 6, 9 12, 11 13);
    exchange!(3 5, 6 8, 7 9, 10 12);
    exchange!(3 4, 5 6, 7 8, 9 10, 11 12);
    exchange!(6 7, 8 9);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::LANES;

    #[test]
    fn network_sorts_all_zeros_and_ones() {
        // A network that sorts these sorts everything (Knuth, 5.3.4, theorem Z).
        for bits in 0..1u32 << LANES {
            let mut sorted: [u32; LANES] = std::array::from_fn(|i| bits >> i & 1);
            network(|first, second| {
                if sorted[first] < sorted[second] {
                    sorted.swap(first, second);
                }
            });
            assert!(sorted.is_sorted_by(|a, b| a >= b), "{bits:b}");
        }
    }
}
