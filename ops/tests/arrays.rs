//! Losses, polynomials and accuracy on arrays give the same as on slices, to the bit, for arrays of any strides.

#![cfg(feature = "ndarray")]

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, ShapeBuilder, array, s};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult};
use topk_ops::{
    ArrayLoss, BalancedNoisedTopk, BinaryCrossEntropy, Criterion, CrossEntropy, DfTopk,
    DifferentiableTopkCrossEntropy, LapSum, LdrKl, Lml, Loss, LossError, MaxTopkSvm, Psi5,
    Reduction, Score, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy, accuracy,
    array as arrays, bf16, elementary_symmetric, f16,
};

fn family(k: usize) -> Vec<Box<dyn Loss>> {
    vec![
        Box::new(CrossEntropy),
        Box::new(SmoothTopkSvm::new(k, 0.5, 1.0).unwrap()),
        Box::new(MaxTopkSvm::new(k, 1.0).unwrap()),
        Box::new(TopkHingeAlpha::new(k, 1.0).unwrap()),
        Box::new(TopkHingeBeta::new(k, 1.0).unwrap()),
        Box::new(TruncatedTopkEntropy::new(k).unwrap()),
        Box::new(Psi5::new(k, 1.0).unwrap()),
        Box::new(BalancedNoisedTopk::new(k, 0.2, 3, 1.0, 1).unwrap()),
        Box::new(Lml::new(k).unwrap()),
        Box::new(LapSum::new(k, 0.5).unwrap()),
        Box::new(DfTopk::new(k, 0.5).unwrap()),
        Box::new(LdrKl::new(0.5, 1.0).unwrap()),
        Box::new(BinaryCrossEntropy::mean()),
        Box::new(DifferentiableTopkCrossEntropy::new(vec![1.0 / k as f64; k], 1.0).unwrap()),
    ]
}

/// How the values of an array lie in memory.
#[derive(Clone, Copy, Debug)]
enum Strides {
    RowMajor,
    ColumnMajor,
    Reversed,
    ReversedRows,
    /// Every second row and third column of a larger array.
    Sliced,
    /// All columns of a wider array but the first.
    Columns,
}

const STRIDES: [Strides; 6] = [
    Strides::RowMajor,
    Strides::ColumnMajor,
    Strides::Reversed,
    Strides::ReversedRows,
    Strides::Sliced,
    Strides::Columns,
];

/// An array, and the part of it that has a certain shape.
struct Strided<T> {
    memory: Array2<T>,
    strides: Strides,
}

impl<T: Score> Strided<T> {
    /// An array with these strides, filled with NaN around the part.
    fn new(strides: Strides, shape: (usize, usize)) -> Self {
        let (rows, columns) = shape;
        let nan = T::from_f64(f64::NAN);
        let memory = match strides {
            Strides::ColumnMajor => Array2::from_elem(shape.f(), nan),
            Strides::RowMajor | Strides::Reversed | Strides::ReversedRows => {
                Array2::from_elem(shape, nan)
            }
            Strides::Sliced => Array2::from_elem((2 * rows + 1, 3 * columns + 2), nan),
            Strides::Columns => Array2::from_elem((rows, columns + 1), nan),
        };
        Self { memory, strides }
    }

    /// As `new`, with the values of a row-major slice.
    fn of(strides: Strides, shape: (usize, usize), values: &[T]) -> Self {
        let mut strided = Self::new(strides, shape);
        let values = ArrayView2::from_shape(shape, values).unwrap();
        strided.part_mut().assign(&values);
        strided
    }

    fn part(&self) -> ArrayView2<'_, T> {
        let all = self.memory.view();
        match self.strides {
            Strides::RowMajor | Strides::ColumnMajor => all,
            Strides::Reversed => all.slice_move(s![..;-1, ..;-1]),
            Strides::ReversedRows => all.slice_move(s![..;-1, ..]),
            Strides::Sliced => all.slice_move(s![1..;2, 2..;3]),
            Strides::Columns => all.slice_move(s![.., 1..]),
        }
    }

    fn part_mut(&mut self) -> ndarray::ArrayViewMut2<'_, T> {
        let all = self.memory.view_mut();
        match self.strides {
            Strides::RowMajor | Strides::ColumnMajor => all,
            Strides::Reversed => all.slice_move(s![..;-1, ..;-1]),
            Strides::ReversedRows => all.slice_move(s![..;-1, ..]),
            Strides::Sliced => all.slice_move(s![1..;2, 2..;3]),
            Strides::Columns => all.slice_move(s![.., 1..]),
        }
    }

    /// The number of values around the part, all of which must still be NaN.
    fn untouched(&self) -> usize {
        self.memory
            .iter()
            .filter(|&&value| value.into().is_nan())
            .count()
    }
}

/// The bits of numbers; the conversion to `f64` keeps them apart.
fn bits<T: Score>(values: impl IntoIterator<Item = T>) -> Vec<u64> {
    let wide = values.into_iter().map(|value| value.into().to_bits());
    wide.collect()
}

#[derive(Clone, Debug)]
struct Batch {
    classes: usize,
    scores: Vec<f64>,
    labels: Vec<i64>,
    k: usize,
    strides: [Strides; 2],
    weighted: bool,
}

fn batches() -> impl Strategy<Value = Batch> {
    let strides = || prop::sample::select(&STRIDES[..]);
    (2usize..12, 0usize..6).prop_flat_map(move |(classes, samples)| {
        // Few distinct scores in one of two batches, for ties.
        let score = prop_oneof![-3..3, -3000..3000].prop_map(|i| f64::from(i) / 256.0);
        (
            prop::collection::vec(score, samples * classes),
            prop::collection::vec(0..classes as i64, samples),
            1..classes,
            [strides(), strides()],
            any::<bool>(),
        )
            .prop_map(move |(scores, labels, k, strides, weighted)| Batch {
                classes,
                scores,
                labels,
                k,
                strides,
                weighted,
            })
    })
}

fn check<T: Score>(batch: &Batch) -> TestCaseResult {
    let Batch {
        classes,
        labels,
        k,
        strides: [of_scores, of_gradient],
        ..
    } = batch;
    let shape = (labels.len(), *classes);
    let scores: Vec<T> = batch.scores.iter().copied().map(T::from_f64).collect();
    let strided = Strided::of(*of_scores, shape, &scores);
    let view = strided.part();
    // Labels from last to first, and back.
    let backwards: Array1<i64> = labels.iter().rev().copied().collect();
    let labels_view = backwards.slice(s![..;-1]);
    for loss in family(*k) {
        let mut values = vec![T::default(); labels.len()];
        let mut grad = vec![T::default(); scores.len()];
        loss.forward_backward(&scores, labels, &mut values, &mut grad)
            .unwrap();

        prop_assert_eq!(
            bits(loss.values(view, labels_view).unwrap()),
            bits(values.clone())
        );
        let (found, found_grad) = loss.values_and_gradient(view, labels_view).unwrap();
        prop_assert_eq!(bits(found), bits(values.clone()));
        prop_assert_eq!(found_grad.dim(), shape);
        prop_assert_eq!(bits(found_grad), bits(grad.clone()));

        let mut outer = Strided::<T>::new(*of_gradient, shape);
        let around = outer.untouched() - scores.len();
        let mut doubled = Array1::from_elem(2 * labels.len(), T::default());
        let found = doubled.slice_mut(s![..;-2]);
        loss.values_and_gradient_into(view, labels_view, found, outer.part_mut())
            .unwrap();
        prop_assert_eq!(bits(outer.part().iter().copied()), bits(grad));
        prop_assert_eq!(outer.untouched(), around);
        prop_assert_eq!(
            bits(doubled.slice(s![..;-2]).iter().copied()),
            bits(values.clone())
        );
        loss.values_into(view, labels_view, doubled.slice_mut(s![..;-2]))
            .unwrap();
        prop_assert_eq!(bits(doubled.slice(s![..;-2]).iter().copied()), bits(values));

        for reduction in Reduction::ALL {
            let mut criterion = Criterion::new(&*loss)
                .with_reduction(reduction)
                .with_ignore_index(labels.first().copied());
            if batch.weighted {
                let weight = (0..*classes).map(|class| 0.5 + class as f64).collect();
                criterion = criterion.with_weight(weight).unwrap();
            }
            check_criterion(&criterion, &scores, labels, view, labels_view, *of_gradient)?;
        }
    }

    let esf = arrays::log_esf(view, *k).unwrap();
    let marginals = arrays::log_marginals(view, *k).unwrap();
    for (row, scores) in scores.chunks(*classes).enumerate() {
        let wide: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
        let round = |values: Vec<f64>| bits(values.into_iter().map(T::from_f64));
        let expected = elementary_symmetric::log_esf(&wide, *k).unwrap();
        prop_assert_eq!(bits(esf.row(row).iter().copied()), round(expected));
        let expected = elementary_symmetric::log_marginals(&wide, *k).unwrap();
        prop_assert_eq!(bits(marginals.row(row).iter().copied()), round(expected));
    }
    let mut outer = Strided::<T>::new(*of_gradient, shape);
    arrays::log_marginals_into(view, *k, outer.part_mut()).unwrap();
    prop_assert_eq!(bits(outer.part().iter().copied()), bits(marginals));

    let ranks = arrays::label_ranks(view, labels_view).unwrap();
    prop_assert_eq!(
        ranks.to_vec(),
        accuracy::label_ranks(&scores, labels).unwrap()
    );
    let topk = [1, *k, *classes];
    let found = arrays::topk_accuracy(view, labels_view, topk).unwrap();
    let expected = accuracy::topk_accuracy(&scores, labels, topk).unwrap();
    prop_assert_eq!(bits(found), bits(expected));
    prop_assert_eq!(labels.is_empty(), found[0].is_nan());
    prop_assert_eq!(
        arrays::topk_correct(view, labels_view, topk),
        accuracy::topk_correct(&scores, labels, topk)
    );
    Ok(())
}

fn check_criterion<T: Score>(
    criterion: &Criterion<&dyn Loss>,
    scores: &[T],
    labels: &[i64],
    view: ArrayView2<T>,
    labels_view: ArrayView1<i64>,
    of_gradient: Strides,
) -> TestCaseResult {
    let mut values = vec![T::default(); criterion.output_len(labels.len())];
    let mut grad = vec![T::default(); scores.len()];
    criterion
        .forward_backward(scores, labels, &mut values, &mut grad)
        .unwrap();

    prop_assert_eq!(
        bits(criterion.values(view, labels_view).unwrap()),
        bits(values.clone())
    );
    let (found, found_grad) = criterion.values_and_gradient(view, labels_view).unwrap();
    prop_assert_eq!(bits(found), bits(values.clone()));
    prop_assert_eq!(bits(found_grad), bits(grad.clone()));
    let mut outer = Strided::<T>::new(of_gradient, view.dim());
    if criterion.reduction() == Reduction::None {
        let none = Err(LossError::NotReduced);
        prop_assert_eq!(criterion.value(view, labels_view), none.clone());
        let found = criterion
            .value_and_gradient(view, labels_view)
            .map(|(value, _)| value);
        prop_assert_eq!(found, none.clone());
        let found = criterion.value_and_gradient_into(view, labels_view, outer.part_mut());
        prop_assert_eq!(found, none);
        return Ok(());
    }
    prop_assert_eq!(
        bits([criterion.value(view, labels_view).unwrap()]),
        bits(values.clone())
    );
    let (found, found_grad) = criterion.value_and_gradient(view, labels_view).unwrap();
    prop_assert_eq!(bits([found]), bits(values.clone()));
    prop_assert_eq!(bits(found_grad), bits(grad.clone()));
    let found = criterion
        .value_and_gradient_into(view, labels_view, outer.part_mut())
        .unwrap();
    prop_assert_eq!(bits([found]), bits(values));
    prop_assert_eq!(bits(outer.part().iter().copied()), bits(grad));
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 200,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arrays_of_any_strides_give_the_results_of_slices(batch in batches()) {
        check::<f64>(&batch)?;
        check::<f32>(&batch)?;
        check::<f16>(&batch)?;
        check::<bf16>(&batch)?;
    }
}

#[test]
fn arrays_views_vectors_and_slices_are_accepted() {
    let criterion = Criterion::new(CrossEntropy);
    let scores = array![[0.5f32, 1.0], [0.0, 2.0]];
    let labels = array![1, 0];
    let expected = criterion.value(&scores, &labels).unwrap();
    assert_eq!(criterion.value(scores.view(), labels.view()), Ok(expected));
    assert_eq!(criterion.value(&scores, &[1, 0]), Ok(expected));
    assert_eq!(criterion.value(&scores, &vec![1, 0]), Ok(expected));
    assert_eq!(criterion.value(&scores.to_shared(), &[1, 0]), Ok(expected));
    let transposed = array![[0.5f32, 0.0], [1.0, 2.0]].reversed_axes();
    assert_eq!(criterion.value(&transposed, &labels), Ok(expected));
}

#[test]
fn dense_arrays_are_not_copied() {
    // The memory of a row without strides is that of the array, also where an axis of length 1 has others.
    let scores = Array2::<f32>::zeros((4, 3));
    for view in [
        scores.view(),
        scores.slice(s![1..3, ..]),
        scores.slice(s![2..3;-1, ..]),
        scores.slice(s![..0, ..]),
    ] {
        assert!(view.as_standard_layout().is_view());
    }
    // The gradient is written in place.
    let labels = Array1::zeros(4);
    let mut gradient = Array2::<f32>::zeros((6, 3));
    let memory = gradient.as_ptr();
    let criterion = Criterion::new(CrossEntropy);
    let inside = gradient.slice_mut(s![1..5, ..]);
    criterion
        .value_and_gradient_into(&scores, &labels, inside)
        .unwrap();
    assert_eq!(gradient.as_ptr(), memory);
    let sums: Vec<bool> = gradient
        .axis_iter(Axis(0))
        .map(|row| row[0] != 0.0)
        .collect();
    assert_eq!(sums, [false, true, true, true, true, false]);
}

#[test]
fn an_empty_batch_has_empty_outputs_and_the_mean_nan() {
    let (scores, labels) = (Array2::<f32>::zeros((0, 4)), Array1::<i64>::zeros(0));
    let svm = SmoothTopkSvm::new(2, 1.0, 1.0).unwrap();
    let (values, gradient) = svm.values_and_gradient(&scores, &labels).unwrap();
    assert_eq!((values.len(), gradient.dim()), (0, (0, 4)));
    let (mean, gradient) = Criterion::new(svm)
        .value_and_gradient(&scores, &labels)
        .unwrap();
    assert!(mean.is_nan() && gradient.dim() == (0, 4));
    let sum = Criterion::new(svm).with_reduction(Reduction::Sum);
    assert_eq!(sum.value(&scores, &labels), Ok(0.0));
    assert_eq!(arrays::log_esf(&scores, 2).unwrap().dim(), (0, 3));
    assert_eq!(arrays::log_marginals(&scores, 2).unwrap().dim(), (0, 4));
    assert_eq!(arrays::label_ranks(&scores, &labels).unwrap().len(), 0);
    assert_eq!(arrays::topk_correct(&scores, &labels, [4]), Ok([0]));
    // The number of classes counts nevertheless.
    let large = SmoothTopkSvm::new(4, 1.0, 1.0).unwrap();
    let few = LossError::TooFewClasses {
        needed: 5,
        classes: 4,
    };
    assert_eq!(large.values(&scores, &labels), Err(few));
}

#[test]
fn errors_name_shapes_samples_and_values() {
    let svm = SmoothTopkSvm::new(2, 1.0, 1.0).unwrap();
    let criterion = Criterion::new(svm);
    let scores = Array2::<f32>::zeros((3, 4));
    let labels = array![0, 1, 2];
    let error = |scores: &Array2<f32>, labels: &Array1<i64>| {
        let error = criterion.value_and_gradient(scores, labels).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error(&scores, &array![0, 1]),
        "the scores have the shape [3, 4], but there are 2 labels: expected one label per row"
    );
    // As many scores per label as there are classes, but not one label per row.
    assert_eq!(
        error(&scores, &array![0, 1, 2, 0, 1, 2]),
        "the scores have the shape [3, 4], but there are 6 labels: expected one label per row"
    );
    assert_eq!(
        error(&scores, &array![0, 4, 1]),
        "label 4 of sample 1 is not in 0..4"
    );
    assert_eq!(
        error(&Array2::zeros((3, 2)), &labels),
        "this loss needs at least 3 classes, got 2"
    );
    let mut nan = Array2::<f32>::zeros((4, 3)).reversed_axes();
    nan[[2, 1]] = f32::NAN;
    assert_eq!(
        error(&nan, &labels),
        "score NaN of sample 2, class 1 is not finite"
    );

    let into = criterion.value_and_gradient_into(&scores, &labels, &mut Array2::zeros((4, 3)));
    assert_eq!(
        into.unwrap_err().to_string(),
        "the gradient array has the shape [4, 3], expected [3, 4]"
    );
    let into = svm.values_into(&scores, &labels, &mut array![0.0]);
    assert_eq!(
        into.unwrap_err().to_string(),
        "the values array has the shape [1], expected [3]"
    );
    let none = criterion.with_reduction(Reduction::None);
    assert_eq!(
        none.value(&scores, &labels).unwrap_err().to_string(),
        "the reduction is `none`, which gives one value per sample: request `values`, or set the reduction to \
         sum or mean"
    );

    let infinite = array![[0.0, 1.0], [f64::INFINITY, 0.0]];
    let row = "row 1: log-weight inf of element 0 is not below infinity";
    assert_eq!(arrays::log_esf(&infinite, 1).unwrap_err().to_string(), row);
    assert_eq!(
        arrays::log_marginals(&infinite, 1).unwrap_err().to_string(),
        row
    );
    let into = arrays::log_esf_into(&infinite, 1, &mut Array2::zeros((2, 3)));
    assert_eq!(
        into.unwrap_err().to_string(),
        "the log_esf array has the shape [2, 3], expected [2, 2]"
    );
    let into = arrays::log_marginals_into(&infinite, 1, &mut Array2::zeros((2, 3)));
    assert_eq!(
        into.unwrap_err().to_string(),
        "the log_marginals array has the shape [2, 3], expected [2, 2]"
    );

    let error = |scores: &Array2<f32>, labels: &Array1<i64>, k| {
        let error = arrays::topk_accuracy(scores, labels, [1, k]).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error(&scores, &array![0, 1], 2),
        "the scores have the shape [3, 4], but there are 2 labels: expected one label per row"
    );
    assert_eq!(
        error(&scores, &array![0, 1, -1], 2),
        "label -1 of sample 2 is not in 0..4"
    );
    assert_eq!(
        error(&nan, &labels, 2),
        "the score of sample 2, class 1 is NaN"
    );
    assert_eq!(
        error(&scores, &labels, 5),
        "k must not exceed the number of classes, 4, got 5"
    );
    assert_eq!(error(&scores, &labels, 0), "k must be at least 1, got 0");
}
