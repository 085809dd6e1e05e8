//! The losses that are a log-likelihood of the label.

use topk_onnx::proto::DataType;

use crate::batch::{Batch, Values};

/// The LDR-KL loss: τ ln of the mean over all classes of exp((s_j − s_y + α)/τ), without α for the label.
pub(super) fn ldr_kl(batch: &mut Batch) -> Values {
    let scores = batch.scores.clone();
    let excess = batch.excess(&scores);
    let zero = batch.body.filled("zero", &batch.label, 0.0);
    let label = batch.label.clone();
    let excess = batch.scatter("excess", &excess, &label, &zero);
    let body = &mut batch.body;
    let tau = body.float_attribute("tau");
    // The label's is 0, so that the largest is not negative.
    let largest = body.max("largest", &excess, 1);
    let below = body.op("below", "Sub", &[&excess, &largest]);
    let below = body.op("below", "Div", &[&below, &tau]);
    let weights = body.op("weights", "Exp", &[&below]);
    let sum = body.sum("sum_of_weights", &weights, 1);
    let classes = body.float(batch.classes as f32);
    let mean = body.op("mean_of_weights", "Div", &[&sum, &classes]);
    let log = body.op("log_mean", "Log", &[&mean]);
    let log = body.op("log_mean", "Mul", &[&log, &tau]);
    let losses = body.op("losses", "Add", &[&largest, &log]);
    // The weights of the wrong classes, and minus their sum: no difference from the label's own weight cancels.
    let wrong = batch.scatter("wrong_weights", &weights, &label, &zero);
    let body = &mut batch.body;
    let others = body.sum("sum_of_wrong", &wrong, 1);
    let share = body.op("label_share", "Div", &[&others, &sum]);
    let factor = batch.weighted(&share);
    let one = batch.body.float(1.0);
    let each = batch.body.op("each", "Div", &[&one, &sum]);
    let each = batch.weighted(&each);
    let grad = batch.body.op("wrong_grad", "Mul", &[&wrong, &each]);
    let grad = batch.with_label(&grad, &factor);
    Values {
        losses,
        grad,
        prob: None,
    }
}

/// The log-likelihood under DFTopK: softplus of (t − s_y)/τ, with the threshold t half-way between the k-th and the next
/// score.
pub(super) fn df_topk(k: usize, batch: &mut Batch) -> Values {
    let scores = batch.scores.clone();
    let [highest, classes] = batch.top(&scores, k + 1);
    let body = &mut batch.body;
    let pair = body.slice("threshold", &highest, 1, k - 1, k + 1);
    let of_pair = body.slice("threshold_classes", &classes, 1, k - 1, k + 1);
    // Halved before they are added, so that the sum does not overflow.
    let half = body.float(0.5);
    let ahead = body.op("ahead", "Sub", &[&pair, &batch.label_score]);
    let ahead = body.op("ahead", "Mul", &[&ahead, &half]);
    let sum = body.sum("ahead_of_label", &ahead, 1);
    let tau = body.float_attribute("tau");
    let u = body.op("u", "Div", &[&sum, &tau]);
    let softplus = batch.softplus(&u);
    let body = &mut batch.body;
    let hinge = body.op("hinge", "Relu", &[&u]);
    let losses = body.op("losses", "Add", &[&hinge, &softplus.rest]);
    let derivative = body.op("derivative", "Div", &[&softplus.derivative, &tau]);
    let share = batch.weighted(&derivative);
    // The label may be a class of the threshold: then the derivatives add up.
    let body = &mut batch.body;
    let halves = body.op("half_share", "Mul", &[&share, &half]);
    let is_label = body.op("is_label", "Equal", &[&of_pair, &batch.label]);
    let both = body.cast("is_label", &is_label, DataType::Float);
    let own = body.sum("own", &both, 1);
    let own = body.op("own_share", "Mul", &[&own, &halves]);
    let label_share = body.op("label_share", "Sub", &[&share, &own]);
    let nothing = body.filled("nothing", &of_pair, 0.0);
    let halves = body.op("half_shares", "Add", &[&nothing, &halves]);
    let grad = batch.zeros();
    let grad = batch.scatter("wrong_grad", &grad, &of_pair, &halves);
    let grad = batch.with_label(&grad, &label_share);
    Values {
        losses,
        grad,
        prob: None,
    }
}
