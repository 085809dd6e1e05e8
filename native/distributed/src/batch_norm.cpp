// Batch normalisation whose statistics are those of the images of all ranks.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "c10d.h"

using at::Tensor;
using c10d::ProcessGroup;
using topk::catch_c10d;
using topk::finish;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

namespace {

// The statistics of each channel over all ranks, and the number of values that they are of: a scalar on the device.
struct Moments {
  Tensor mean, var, count;
};

// A row of f64 with the number of values of a channel on this rank, their means, and their biased variances.
Tensor local_moments(const Tensor &x) {
  const auto channels = x.size(1);
  auto row = at::zeros({1 + 2 * channels}, x.options().dtype(at::kDouble));
  if (x.numel() == 0) {
    return row;
  }
  // Types of libtorch's statistics are those of the running ones, which are not to change yet.
  const auto unused = at::zeros({channels}, x.options().dtype(at::kFloat));
  const auto [mean, var] = at::batch_norm_update_stats(x, unused, unused.clone(), 0.0);
  row.narrow(0, 0, 1).fill_(static_cast<double>(x.numel() / channels));
  row.narrow(0, 1, channels).copy_(mean);
  row.narrow(0, 1 + channels, channels).copy_(var);
  return row;
}

// Combines the moments of all ranks, with one collective.
Moments all_moments(ProcessGroup &group, const Tensor &x) {
  const auto channels = x.size(1);
  auto row = local_moments(x);
  auto all = at::empty({group.getSize() * row.size(0)}, row.options());
  finish(group._allgather_base(all, row));
  const auto rows = all.view({group.getSize(), -1});
  const auto counts = rows.narrow(1, 0, 1);
  const auto means = rows.narrow(1, 1, channels);
  const auto vars = rows.narrow(1, 1 + channels, channels);
  const auto count = counts.sum();
  const auto mean = (counts * means).sum(0) / count;
  const auto var = (counts * (vars + (means - mean).square())).sum(0) / count;
  return {mean.to(at::kFloat), var.to(at::kFloat), count};
}

struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static Tensor forward(AutogradContext *context, const Tensor &x, const Tensor &weight, const Tensor &bias,
                        const Tensor &running_mean, const Tensor &running_var,
                        const c10::intrusive_ptr<ProcessGroup> &group, double momentum, double eps) {
    const auto [mean, var, count] = all_moments(*group, x);
    running_mean.detach().lerp_(mean, momentum);
    running_var.detach().lerp_((var * (count / (count - 1))).to(at::kFloat), momentum);
    context->save_for_backward({x, weight, mean, var, count});
    context->saved_data["group"] = c10::IValue::make_capsule(group);
    context->saved_data["eps"] = eps;
    if (x.numel() == 0) {
      return x.clone();
    }
    return at::batch_norm(x, weight, bias, mean, var, false, momentum, eps, true);
  }

  static tensor_list backward(AutogradContext *context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &count = saved[4];
    const auto eps = context->saved_data["eps"].toDouble();
    const auto group = c10::dynamic_intrusive_pointer_cast<ProcessGroup>(context->saved_data["group"].toCapsule());
    const auto channels = x.size(1);
    // In half precision, the sum of both parts of the gradient is to be rounded only once.
    const auto values = x.to(at::kFloat);
    const auto gradient = gradients[0].to(at::kFloat);
    Tensor of_x = at::zeros_like(values), of_weight = at::zeros_like(weight), of_bias = at::zeros_like(weight);
    if (x.numel() > 0) {
      std::tie(of_x, of_weight, of_bias) =
          at::native_batch_norm_backward(gradient, values, weight.detach(), mean, var, {}, {}, false, eps, {true, true, true});
    }
    auto sums = at::cat({of_bias, of_weight}).to(at::kDouble);
    std::vector<Tensor> reduced{sums};
    finish(group->allreduce(reduced));
    if (x.numel() > 0) {
      // What the gradient has beside that with constant statistics is linear in the values of a channel.
      const auto means = sums / count;
      const auto inverse = (var.to(at::kDouble) + eps).rsqrt();
      const auto scale = weight.detach().to(at::kDouble) * inverse;
      const auto slope = scale * inverse * means.narrow(0, channels, channels);
      const auto offset = scale * means.narrow(0, 0, channels) - slope * mean;
      const auto per_channel = [&](const Tensor &tensor) { return tensor.to(at::kFloat).view({1, channels, 1, 1}); };
      of_x.addcmul_(values, per_channel(slope), -1).sub_(per_channel(offset));
    }
    const Tensor none;
    return {of_x.to(x.scalar_type()), of_weight, of_bias, none, none, none, none, none};
  }
};

} // namespace

// The normalised images `[N, C, H, W]`, of which a rank may have none. Updates the running statistics.
extern "C" char *topk_sync_batch_norm(const TopkGroup *group, const Tensor *x, const Tensor *weight, const Tensor *bias,
                                      const Tensor *running_mean, const Tensor *running_var, double momentum, double eps,
                                      Tensor **result) {
  return catch_c10d([=] {
    *result = new Tensor(
        SyncBatchNorm::apply(*x, *weight, *bias, *running_mean, *running_var, group->group, momentum, eps));
  });
}
