// Steps of optimizers, and what happens to gradients before them. The Rust declarations, with their safety contracts, are
// in optimizer.rs and gradients.rs.

#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "catch_exceptions.h"

// What all optimizers need for a step of one group of parameters. `Group` of optimizer.rs.
struct TopkGroup {
  at::Tensor *const *parameters;
  // For each parameter, its first and second state tensor and its number of steps; null where the optimizer has none.
  at::Tensor *const *first;
  at::Tensor *const *second;
  at::Tensor *const *steps;
  size_t count;
  double lr;
  // If not null, `lr` is multiplied by its value at the time when the device makes the step.
  const at::Tensor *lr_tensor;
  double weight_decay;
  // If 1, the step changes nothing.
  const at::Tensor *skip;
};

namespace {

using topk::catch_exceptions;

std::vector<at::Tensor> gradients(at::Tensor *const *parameters, size_t count) {
  std::vector<at::Tensor> result;
  for (size_t i = 0; i < count; i++) {
    if (parameters[i]->grad().defined()) {
      result.push_back(parameters[i]->grad());
    }
  }
  return result;
}

// The tensors of the parameters that have a gradient.
struct Tensors {
  std::vector<at::Tensor> values, grads, first, second, steps;

  explicit Tensors(const TopkGroup &group) {
    for (size_t i = 0; i < group.count; i++) {
      const at::Tensor &value = *group.parameters[i];
      const at::Tensor &grad = value.grad();
      if (!grad.defined()) {
        continue;
      }
      values.push_back(value);
      // The fused kernels need the same memory layout for all.
      grads.push_back(grad.strides() == value.strides() ? grad : at::empty_like(value).copy_(grad));
      add(first, group.first, i);
      add(second, group.second, i);
      add(steps, group.steps, i);
    }
  }

private:
  static void add(std::vector<at::Tensor> &list, at::Tensor *const *tensors, size_t i) {
    if (tensors != nullptr) {
      list.push_back(*tensors[i]);
    }
  }
};

// The learning rate of a group as a tensor.
at::Tensor lr_tensor(const TopkGroup &group) {
  return group.lr == 1.0 ? *group.lr_tensor : *group.lr_tensor * group.lr;
}

// values -= lr * updates
void move(std::vector<at::Tensor> &values, std::vector<at::Tensor> &updates, const TopkGroup &group) {
  if (group.lr_tensor == nullptr) {
    at::_foreach_add_(values, updates, -group.lr);
  } else {
    at::_foreach_mul_(updates, -lr_tensor(group));
    at::_foreach_add_(values, updates);
  }
}

// Calls `step` with the tensors, which are as before afterwards if `skip` is 1. On the CPU, nothing is computed then; on a
// GPU, whose value must not be waited for, the tensors are restored.
template <typename Step> void unless_skipped(const TopkGroup &group, Tensors &tensors, const Step &step) {
  if (tensors.values.empty()) {
    return;
  }
  if (group.skip->is_cpu()) {
    if (group.skip->item<float>() != 1.0f) {
      step();
    }
    return;
  }
  std::vector<at::Tensor> changed, before;
  for (const auto *list : {&tensors.values, &tensors.first, &tensors.second, &tensors.steps}) {
    for (const at::Tensor &tensor : *list) {
      changed.push_back(tensor);
      before.push_back(tensor.clone());
    }
  }
  step();
  const at::Tensor skipped = group.skip->eq(1.0);
  for (size_t i = 0; i < changed.size(); i++) {
    changed[i].copy_(at::where(skipped, before[i], changed[i]));
  }
}

// The Euclidean norm of each unit of a tensor: of its whole if it has one dimension or none, and otherwise of what belongs
// to an index of the first.
at::Tensor unit_norm(const at::Tensor &tensor) {
  if (tensor.dim() <= 1) {
    return at::linalg_vector_norm(tensor, 2);
  }
  std::vector<int64_t> dims(tensor.dim() - 1);
  std::iota(dims.begin(), dims.end(), 1);
  return at::linalg_vector_norm(tensor, 2, at::OptionalIntArrayRef(dims), /*keepdim=*/true);
}

} // namespace

extern "C" {

char *topk_zero_grad(at::Tensor *const *parameters, size_t count) {
  return catch_exceptions([=] {
    for (size_t i = 0; i < count; i++) {
      parameters[i]->mutable_grad() = at::Tensor();
    }
  });
}

// The Euclidean norm of all gradients as one vector, a scalar on their device.
char *topk_gradient_norm(at::Tensor *const *parameters, size_t count, at::Tensor **result) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    const std::vector<at::Tensor> grads = gradients(parameters, count);
    const at::TensorOptions options = count > 0 ? parameters[0]->options() : at::TensorOptions();
    const at::Tensor norm =
        grads.empty() ? at::zeros({}, options.requires_grad(false))
                      : at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2)), 2);
    *result = new at::Tensor(norm);
  });
}

// Multiplies all gradients by a scalar tensor.
char *topk_scale_gradients(at::Tensor *const *parameters, size_t count, const at::Tensor *factor) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    const std::vector<at::Tensor> grads = gradients(parameters, count);
    if (!grads.empty()) {
      at::_foreach_mul_(grads, *factor);
    }
  });
}

// Limits each element of all gradients to [-limit, limit].
char *topk_clamp_gradients(at::Tensor *const *parameters, size_t count, double limit) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    const std::vector<at::Tensor> grads = gradients(parameters, count);
    if (!grads.empty()) {
      at::_foreach_clamp_min_(grads, -limit);
      at::_foreach_clamp_max_(grads, limit);
    }
  });
}

// Adaptive gradient clipping: scales each unit of a gradient so that its norm is at most `factor` times that of the
// parameter's unit, which counts as `least` if it is smaller.
char *topk_clip_gradients_adaptively(at::Tensor *const *parameters, size_t count, double factor, double least) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < count; i++) {
      const at::Tensor &grad = parameters[i]->grad();
      if (!grad.defined()) {
        continue;
      }
      const at::Tensor limit = unit_norm(*parameters[i]).clamp_min(least).mul_(factor);
      const at::Tensor norm = unit_norm(grad);
      const at::Tensor clipped = grad * (limit / norm.clamp_min(1e-6));
      grad.copy_(at::where(norm.lt(limit), grad, clipped));
    }
  });
}

// The first state is the momentum buffer, which the kernel takes only if there is momentum.
char *topk_sgd_step(const TopkGroup *group, double momentum, bool nesterov) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    Tensors tensors(*group);
    if (tensors.values.empty()) {
      return;
    }
    if (momentum == 0.0) {
      tensors.first.clear();
    }
    if (group->lr_tensor == nullptr) {
      at::_fused_sgd_(tensors.values, tensors.grads, tensors.first, group->weight_decay, momentum, group->lr,
                      0.0, nesterov, false, false, {}, *group->skip);
    } else {
      at::_fused_sgd_(tensors.values, tensors.grads, tensors.first, group->weight_decay, momentum,
                      lr_tensor(*group), 0.0, nesterov, false, false, {}, *group->skip);
    }
  });
}

// The states are the averages of the gradient and of its square.
char *topk_adam_step(const TopkGroup *group, double beta1, double beta2, double eps, bool decoupled) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    Tensors tensors(*group);
    if (tensors.values.empty()) {
      return;
    }
    at::_foreach_add_(tensors.steps, 1);
    const auto step = [&](const auto &lr) {
      const auto kernel = [&](auto fused) {
        fused(tensors.values, tensors.grads, tensors.first, tensors.second, at::TensorList(), tensors.steps, lr,
              beta1, beta2, group->weight_decay, eps, false, false, std::nullopt, *group->skip);
      };
      if (decoupled) {
        kernel([](auto &&...arguments) { at::_fused_adamw_(arguments...); });
      } else {
        kernel([](auto &&...arguments) { at::_fused_adam_(arguments...); });
      }
    };
    if (group->lr_tensor == nullptr) {
      step(group->lr);
    } else {
      step(lr_tensor(*group));
    }
    at::_foreach_sub_(tensors.steps, std::vector<at::Tensor>(tensors.steps.size(), *group->skip));
  });
}

// The states are the average of the gradient's square and the momentum buffer, which is used only if there is momentum.
char *topk_rmsprop_step(const TopkGroup *group, double alpha, double eps, double momentum) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    Tensors tensors(*group);
    unless_skipped(*group, tensors, [&] {
      std::vector<at::Tensor> grads = tensors.grads;
      if (group->weight_decay != 0.0) {
        grads = at::_foreach_add(grads, tensors.values, group->weight_decay);
      }
      at::_foreach_mul_(tensors.first, alpha);
      at::_foreach_addcmul_(tensors.first, grads, grads, 1.0 - alpha);
      std::vector<at::Tensor> denominators = at::_foreach_sqrt(tensors.first);
      at::_foreach_add_(denominators, eps);
      std::vector<at::Tensor> updates;
      if (momentum > 0.0) {
        at::_foreach_mul_(tensors.second, momentum);
        at::_foreach_addcdiv_(tensors.second, grads, denominators);
        updates = group->lr_tensor == nullptr ? tensors.second : at::_foreach_mul(tensors.second, 1.0);
      } else {
        updates = at::_foreach_div(grads, denominators);
      }
      move(tensors.values, updates, *group);
    });
  });
}

// The states are those of Adam. `norm` is the norm of all gradients, of which those above `max_norm` are divided.
char *topk_lamb_step(const TopkGroup *group, double beta1, double beta2, double eps, const at::Tensor *norm,
                     double max_norm) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    Tensors tensors(*group);
    unless_skipped(*group, tensors, [&] {
      const std::vector<at::Tensor> grads =
          at::_foreach_div(tensors.grads, (*norm / max_norm).clamp_min(1.0));
      at::_foreach_lerp_(tensors.first, grads, 1.0 - beta1);
      at::_foreach_mul_(tensors.second, beta2);
      at::_foreach_addcmul_(tensors.second, grads, grads, 1.0 - beta2);
      at::_foreach_add_(tensors.steps, 1);
      std::vector<at::Tensor> updates;
      for (size_t i = 0; i < tensors.values.size(); i++) {
        const at::Tensor steps = tensors.steps[i].to(at::kDouble);
        const at::Tensor correction1 = 1.0 - at::pow(beta1, steps);
        const at::Tensor correction2 = (1.0 - at::pow(beta2, steps)).sqrt();
        const at::Tensor denominator = tensors.second[i].sqrt().div_(correction2).add_(eps);
        at::Tensor update = (tensors.first[i] / correction1).div_(denominator);
        // Parameters without weight decay are not adapted.
        if (group->weight_decay != 0.0) {
          update.add_(tensors.values[i], group->weight_decay);
          const at::Tensor of_value = at::linalg_vector_norm(tensors.values[i], 2);
          const at::Tensor of_update = at::linalg_vector_norm(update, 2);
          const at::Tensor positive = of_value.gt(0.0).logical_and(of_update.gt(0.0));
          update.mul_(at::where(positive, of_value / of_update, at::ones_like(of_value)));
        }
        updates.push_back(update);
      }
      move(tensors.values, updates, *group);
    });
  });
}

}
