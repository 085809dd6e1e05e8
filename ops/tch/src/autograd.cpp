// The parts of libtorch that only C++ can call: custom autograd functions, and the thread pool.
// The Rust side, with the safety contracts, is autograd.rs and kernel.rs.

#include <optional>
#include <stdexcept>

#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "catch_exceptions.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A gradient, as a backward function returns it.
at::Tensor differentiable_once(at::Tensor gradient) {
  if (!at::GradMode::is_enabled()) {
    return gradient;
  }
  // With create_graph. Others may need second derivatives of other terms; an error where ones of this are needed.
  auto error = std::make_shared<torch::autograd::DelayedError>(
      "the top-k losses have no second derivatives: call backward without create_graph", 1);
  return (*error)({gradient.requires_grad_()})[0];
}

// Whether a number on the CPU is 1. That of `backward()` is read without the time of an operation.
bool is_one(const at::Tensor &number) {
  if (!number.is_cpu()) {
    return false;
  }
  if (number.scalar_type() == at::kFloat && !number.is_neg() && !number._is_zerotensor()) {
    return *number.const_data_ptr<float>() == 1;
  }
  return number.item<double>() == 1;
}

// A loss whose derivatives with respect to the scores are known. A node of the graph itself: a `Function` takes a
// microsecond more, as long as a loss of few samples.
class LossWithGradient final : public torch::autograd::Node {
public:
  // `grad` may have a wider type than the scores, and is used by nothing else.
  LossWithGradient(const at::Tensor &scores, at::Tensor grad)
      : Node(torch::autograd::collect_next_edges(scores)), grad_(std::move(grad)), kind_(scores.scalar_type()) {}

  std::string name() const override { return "LossWithGradient"; }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    grad_.reset();
  }

private:
  variable_list apply(variable_list &&upstream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(grad_.defined(), torch::autograd::ERR_BACKWARD_TWICE);
    if (!upstream[0].defined()) {
      return {at::Tensor()};
    }
    return {differentiable_once(gradient(upstream[0]))};
  }

  at::Tensor gradient(const at::Tensor &factor) {
    at::NoGradGuard no_grad;
    at::Tensor result;
    if (factor.dim() > 0) {
      result = grad_.mul(factor.unsqueeze(1));
    } else if (!is_one(factor)) {
      result = grad_.mul(factor);
    } else if (torch::autograd::get_current_graph_task_keep_graph()) {
      // The caller may change a gradient and run the graph again.
      result = grad_.clone();
    } else {
      result = std::move(grad_);
    }
    // Rounded to half precision last, after the factor of a scaled loss.
    return result.scalar_type() == kind_ ? result : result.to(kind_);
  }

  at::Tensor grad_;
  const at::ScalarType kind_;
};

// The memory of a launch; `Launch` in kernel.rs has the same layout.
struct Launch {
  const void *scores = nullptr;
  int64_t scores_stride = 0;
  const int64_t *labels = nullptr;
  const float *class_weights = nullptr;
  int64_t samples = 0;
  int64_t classes = 0;
  // The loss, or null to compute the gradient alone.
  float *result = nullptr;
  void *gradient = nullptr;
  const float *upstream = nullptr;
  void *workspace = nullptr;
  void *stream = nullptr;
  int32_t type = 0;
  int32_t upstream_per_sample = 0;
  int32_t skip_if_one = 0;
};

// A loss that Rust computes by a kernel; `Description` in kernel.rs has the same layout.
struct Description {
  // Rust's object, with the settings.
  const void *loss;
  // Puts the kernels of `launch` on its stream. Returns 0, or writes an error message of up to `capacity` bytes.
  int (*run)(const void *loss, const Launch *launch, char *message, size_t capacity);
  void (*drop)(const void *loss);
  int64_t workspace_bytes;
  int64_t gradient_workspace_bytes;
  bool reduced;
};

// Owns the description's loss.
struct KernelLoss : torch::CustomClassHolder {
  explicit KernelLoss(const Description &description) : description(description) {}
  ~KernelLoss() override { description.drop(description.loss); }

  void run(const Launch &launch) const {
    char message[512] = "";
    if (description.run(description.loss, &launch, message, sizeof message) != 0) {
      throw std::runtime_error(message);
    }
  }

  const Description description;
};

// The stream that libtorch's own operations on this device use now. Works without libtorch's CUDA library at link time.
void *current_stream(c10::Device device) {
  if (!device.is_cuda()) {
    return nullptr;
  }
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

at::Tensor workspace(const at::Tensor &scores, int64_t bytes) {
  return at::empty({bytes}, scores.options().dtype(at::kByte));
}

// The inputs, which must be on the device of `scores`.
Launch inputs(const at::Tensor &scores, const at::Tensor &labels, const at::Tensor &class_weights) {
  Launch launch;
  launch.scores = scores.const_data_ptr();
  launch.scores_stride = scores.stride(0);
  launch.labels = labels.const_data_ptr<int64_t>();
  launch.class_weights = class_weights.defined() ? class_weights.const_data_ptr<float>() : nullptr;
  launch.samples = scores.size(0);
  launch.classes = scores.size(1);
  launch.stream = current_stream(scores.device());
  switch (scores.scalar_type()) {
  case at::kFloat:
    launch.type = 0;
    break;
  case at::kHalf:
    launch.type = 1;
    break;
  case at::kBFloat16:
    launch.type = 2;
    break;
  default:
    TORCH_CHECK(false, "the kernels do not support scores of type ", scores.scalar_type());
  }
  return launch;
}

// The scores with the classes of each sample side by side.
at::Tensor rows(const at::Tensor &scores) {
  at::Tensor resolved = scores.resolve_neg();
  return resolved.size(1) == 1 || resolved.stride(1) == 1 ? resolved : resolved.contiguous();
}

// The loss, and the gradient if there is memory for it.
at::Tensor kernel_loss(const KernelLoss &loss, const at::Tensor &scores, const at::Tensor &labels,
                       const at::Tensor &class_weights, const at::Tensor &gradient) {
  c10::OptionalDeviceGuard guard(scores.device());
  auto options = scores.options().dtype(at::kFloat);
  at::Tensor result =
      loss.description.reduced ? at::empty({}, options) : at::empty({scores.size(0)}, options);
  at::Tensor memory = workspace(scores, loss.description.workspace_bytes);
  Launch launch = inputs(scores, labels, class_weights);
  launch.result = result.mutable_data_ptr<float>();
  launch.gradient = gradient.defined() ? gradient.mutable_data_ptr() : nullptr;
  launch.workspace = memory.mutable_data_ptr();
  loss.run(launch);
  return result;
}

// The loss of scores on a GPU, by one kernel.
//
// The kernel computes the gradient with the loss, from scores that it has read anyway. In the backward pass it is
// launched again with the upstream gradient, which is only known on the device, and does nothing where that is 1. The
// gradient is thus multiplied before it is rounded. For float16, whose losses are usually scaled, the gradient is
// computed in the backward pass alone.
struct ByKernel : torch::autograd::Function<ByKernel> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &scores, const at::Tensor &labels,
                            const std::optional<at::Tensor> &class_weights, c10::intrusive_ptr<KernelLoss> loss) {
    at::Tensor read = rows(scores);
    const at::Tensor weights = class_weights.value_or(at::Tensor());
    at::Tensor gradient;
    if (scores.scalar_type() != at::kHalf) {
      gradient = at::empty(read.sizes(), read.options());
    }
    at::Tensor result = kernel_loss(*loss, read, labels, weights, gradient);
    context->save_for_backward({read, labels, weights, gradient});
    context->saved_data["loss"] = c10::IValue::make_capsule(std::move(loss));
    return result;
  }

  static variable_list backward(AutogradContext *context, variable_list upstream) {
    return {differentiable_once(gradient(context, upstream[0])), at::Tensor(), at::Tensor(), at::Tensor()};
  }

private:
  static at::Tensor gradient(AutogradContext *context, const at::Tensor &upstream) {
    at::NoGradGuard no_grad;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &scores = saved[0];
    c10::OptionalDeviceGuard guard(scores.device());
    const auto capsule = context->saved_data["loss"].toCapsule();
    const KernelLoss &loss = static_cast<const KernelLoss &>(*capsule);

    at::Tensor factor = upstream.to(at::kFloat).resolve_neg();
    // An expanded number, such as the gradient of a sum, is read as it is.
    const bool per_sample = factor.dim() > 0 && factor.stride(0) != 0;
    if (per_sample) {
      factor = factor.contiguous();
    }
    // Where the graph is kept, the caller may keep a gradient and run the graph again.
    const bool in_place = saved[3].defined() && !torch::autograd::get_current_graph_task_keep_graph();
    at::Tensor result = in_place ? saved[3] : at::empty(scores.sizes(), scores.options());
    at::Tensor memory = workspace(scores, loss.description.gradient_workspace_bytes);

    Launch launch = inputs(scores, saved[1], saved[2]);
    launch.gradient = result.mutable_data_ptr();
    launch.upstream = factor.const_data_ptr<float>();
    launch.upstream_per_sample = per_sample;
    launch.skip_if_one = in_place;
    launch.workspace = memory.mutable_data_ptr();
    loss.run(launch);
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

// Makes `values`, which are new, a function of `scores` with the derivatives `grad`, which nothing else uses. Sets `result`
// to a new tensor and returns null, or returns a message that the caller frees.
char *topk_with_gradient(const at::Tensor *scores, const at::Tensor *values, const at::Tensor *grad,
                         at::Tensor **result) {
  return topk::catch_exceptions([=] {
    std::shared_ptr<LossWithGradient> loss(new LossWithGradient(*scores, *grad), torch::autograd::deleteNode);
    torch::autograd::set_history(*values, loss);
    *result = new at::Tensor(*values);
  });
}

// Computes a loss by a kernel; `class_weights` may be null, and `description` keeps its promise. Takes the loss of the
// description, also if this fails. Otherwise as topk_with_gradient.
char *topk_by_kernel(const at::Tensor *scores, const at::Tensor *labels, const at::Tensor *class_weights,
                     const Description *description, at::Tensor **result) {
  auto loss = c10::make_intrusive<KernelLoss>(*description);
  return topk::catch_exceptions([&] {
    if (at::GradMode::is_enabled() && scores->requires_grad()) {
      std::optional<at::Tensor> weights;
      if (class_weights) {
        weights = *class_weights;
      }
      *result = new at::Tensor(ByKernel::apply(*scores, *labels, weights, loss));
    } else {
      const at::Tensor weights = class_weights ? *class_weights : at::Tensor();
      *result = new at::Tensor(kernel_loss(*loss, rows(*scores), *labels, weights, at::Tensor()));
    }
  });
}

}
