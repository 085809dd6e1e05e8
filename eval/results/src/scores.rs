//! What is computed from rows of finite scores.

use std::cmp::Ordering;

use crate::outcome::CropAveraging;

/// One row of several, of which there is at least one.
pub(crate) fn average(mut rows: Vec<Vec<f64>>, averaging: CropAveraging) -> Vec<f64> {
    let crops = rows.len() as f64;
    let mut row = vec![0.0; rows[0].len()];
    match averaging {
        CropAveraging::None => return rows.swap_remove(0),
        CropAveraging::Scores => {
            for (class, mean) in row.iter_mut().enumerate() {
                *mean = rows.iter().map(|row| row[class]).sum::<f64>() / crops;
            }
        }
        CropAveraging::Softmax => {
            for row in &mut rows {
                let top = top(row);
                let shift = row[top] + log_sum_exp(row, top);
                row.iter_mut().for_each(|score| *score -= shift);
            }
            // Of the sums: neither ranks nor probabilities nor losses change with a constant.
            let mut column = vec![0.0; rows.len()];
            for (class, sum) in row.iter_mut().enumerate() {
                for (entry, row) in column.iter_mut().zip(&rows) {
                    *entry = row[class];
                }
                let top = top(&column);
                *sum = column[top] + log_sum_exp(&column, top);
            }
        }
    }
    row
}

/// The first of the highest scores.
pub(crate) fn top(scores: &[f64]) -> usize {
    let mut top = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[top] {
            top = class;
        }
    }
    top
}

/// ln Σ exp(score − highest score). At least 0, and exact where it is near 0, as the highest itself is
/// left out of the sum.
pub(crate) fn log_sum_exp(scores: &[f64], top: usize) -> f64 {
    let others = scores.iter().enumerate().filter(|&(class, _)| class != top);
    others
        .map(|(_, score)| (score - scores[top]).exp())
        .sum::<f64>()
        .ln_1p()
}

/// The `count` best classes, from the highest score down; of equal scores the lower class first.
pub(crate) fn best(scores: &[f64], count: usize) -> Vec<usize> {
    let count = count.min(scores.len());
    let order = |&a: &usize, &b: &usize| {
        let scores = scores[b].partial_cmp(&scores[a]);
        scores.unwrap_or(Ordering::Equal).then(a.cmp(&b))
    };
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    if count == 0 {
        return Vec::new();
    }
    classes.select_nth_unstable_by(count - 1, order);
    classes.truncate(count);
    classes.sort_unstable_by(order);
    classes
}
