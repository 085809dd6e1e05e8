// The parts of libtorch that only C++ can call: a custom autograd function, and the thread pool.
// The Rust side, with the safety contracts, is autograd.rs.

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/basic_ops.h>

#include "catch_exceptions.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Returns `values`; their derivatives with respect to `scores` are `grad`.
struct WithGradient : torch::autograd::Function<WithGradient> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &scores,
                            const at::Tensor &values, const at::Tensor &grad) {
    context->save_for_backward({grad});
    context->saved_data["kind"] = scores.scalar_type();
    return values;
  }

  static variable_list backward(AutogradContext *context, variable_list upstream) {
    at::Tensor result = gradient(context, upstream[0]);
    if (at::GradMode::is_enabled()) {
      // With create_graph. Others may need second derivatives of other terms; an error where ones of this are needed.
      auto error = std::make_shared<torch::autograd::DelayedError>(
          "the top-k losses have no second derivatives: call backward without create_graph", 1);
      result = (*error)({result.requires_grad_()})[0];
    }
    return {result, at::Tensor(), at::Tensor()};
  }

private:
  static at::Tensor gradient(AutogradContext *context, const at::Tensor &factor) {
    at::NoGradGuard no_grad;
    const at::Tensor grad = context->get_saved_variables()[0];
    at::Tensor result;
    if (factor.dim() > 0) {
      result = grad.mul(factor.unsqueeze(1));
    } else if (factor.is_cpu() && factor.item<double>() == 1.0) {
      result = grad;
    } else {
      result = grad.mul(factor);
    }
    // Rounded to half precision last, after the factor of a scaled loss.
    result = result.to(context->saved_data["kind"].toScalarType());
    return result.detach();
  }
};

} // namespace

extern "C" {

// Whether topk_parallel_for uses threads other than the caller's.
bool topk_has_threads() noexcept {
#ifdef INTRA_OP_PARALLEL
  return true;
#else
  return false;
#endif
}

// Calls task(context, i) for each i in 0..tasks on libtorch's threads. If libtorch fails, for example to start its
// threads, some may not have been called; none is still running.
char *topk_parallel_for(int64_t tasks, void (*task)(void *, int64_t), void *context) {
  return topk::catch_exceptions([=] {
    at::parallel_for(0, tasks, 1, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        task(context, i);
      }
    });
  });
}

bool topk_is_grad_enabled() noexcept { return at::GradMode::is_enabled(); }

// Sets `result` to a new tensor and returns null, or returns a message that the caller frees.
char *topk_with_gradient(const at::Tensor *scores, const at::Tensor *values,
                         const at::Tensor *grad, at::Tensor **result) {
  return topk::catch_exceptions(
      [=] { *result = new at::Tensor(WithGradient::apply(*scores, *values, *grad)); });
}

}
