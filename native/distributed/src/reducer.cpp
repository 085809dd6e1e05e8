// C shims around the reducer of PyTorch's DDP.

#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "c10d.h"

using topk::catch_c10d;

struct TopkReducer {
  std::vector<at::Tensor> parameters;
  // The logger has a reference to the reducer, so it goes first.
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
  bool find_unused;
};

struct TopkReducerOptions {
  int64_t bucket_bytes;
  int64_t first_bucket_bytes;
  bool find_unused;
  bool bucket_view;
};

struct TopkReducerStats {
  bool rebuilt;
  int64_t steps;
  int64_t forward_ns;
  int64_t backward_ns;
  int64_t communication_ns;
  int64_t overlap_ns;
};

extern "C" {

// Adds hooks to the parameters, which must have the same shapes on all ranks.
char *topk_reducer_new(TopkGroup *group, at::Tensor *const *parameters, const char *const *names, size_t count,
                       TopkReducerOptions options, TopkReducer **result) {
  return catch_c10d([=] {
    auto made = std::make_unique<TopkReducer>();
    made->find_unused = options.find_unused;
    std::unordered_map<size_t, std::string> name_of;
    for (size_t i = 0; i < count; i++) {
      made->parameters.push_back(*parameters[i]);
      name_of[i] = names[i];
    }
    const std::vector<bool> sparse(count, false);
    auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(
        made->parameters,
        {static_cast<size_t>(options.first_bucket_bytes), static_cast<size_t>(options.bucket_bytes)}, sparse);
    // The backward pass computes gradients of the last parameters first.
    std::reverse(buckets.begin(), buckets.end());
    made->reducer = std::make_shared<c10d::Reducer>(
        made->parameters, buckets, group->group, sparse, options.bucket_bytes, options.find_unused,
        options.bucket_view, name_of, options.first_bucket_bytes, /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false, /*bucket_bytes_cap_list=*/std::vector<int64_t>{});
    made->logger = std::make_shared<c10d::Logger>(made->reducer);
    made->logger->set_construction_data_and_log("topk", {}, -1, /*broadcast_buffers=*/false,
                                                /*has_sync_bn=*/false, /*static_graph=*/false);
    made->reducer->set_logger(made->logger);
    *result = made.release();
  });
}

// Removes the hooks.
void topk_reducer_free(TopkReducer *reducer) noexcept {
  // Errors are those of a group that failed before, which were reported then.
  std::free(catch_c10d([=] {
    reducer->reducer->remove_autograd_hooks();
    reducer->logger.reset();
    reducer->reducer.reset();
  }));
  delete reducer;
}

// Before the forward pass of a step whose gradients are reduced. The first call after the first backward pass puts
// parameters into buckets in the order in which their gradients arrived.
char *topk_reducer_prepare(TopkReducer *reducer) {
  return catch_c10d([=] {
    reducer->logger->set_runtime_stats_and_log();
    reducer->reducer->prepare_for_forward();
    reducer->reducer->rebuild_buckets();
  });
}

// After the first backward pass: removes the gradients, and puts parameters into buckets in the order in which their
// gradients arrived.
char *topk_reducer_rebuild(TopkReducer *reducer) {
  return catch_c10d([=] {
    for (const at::Tensor &parameter : reducer->parameters) {
      parameter.mutable_grad() = at::Tensor();
    }
    reducer->reducer->rebuild_buckets();
  });
}

// The backward pass; the gradients are averaged over ranks if `reduce`, which needs `topk_reducer_prepare` before.
char *topk_reducer_backward(TopkReducer *reducer, const at::Tensor *loss, bool reduce) {
  return catch_c10d([=] {
    if (reduce) {
      reducer->reducer->prepare_for_backward(reducer->find_unused ? std::vector<at::Tensor>{*loss}
                                                                  : std::vector<at::Tensor>{});
    }
    loss->backward();
  });
}

// Sum of all elements of the parameters, times a factor.
char *topk_weighted_sum(TopkReducer *reducer, double factor, at::Tensor **result) {
  return catch_c10d([=] {
    std::vector<at::Tensor> sums;
    for (const at::Tensor &parameter : reducer->parameters) {
      sums.push_back(parameter.sum().to(at::kDouble));
    }
    *result = new at::Tensor(at::stack(sums).sum() * factor);
  });
}

// The number of buckets.
char *topk_reducer_buckets(TopkReducer *reducer, size_t *result) {
  return catch_c10d([=] { *result = reducer->reducer->get_grad_buckets().size(); });
}

// The bytes of each bucket in the order in which they are reduced, and after them the number of parameters in each.
char *topk_reducer_bucket_sizes(TopkReducer *reducer, int64_t *bytes, int64_t *parameters, size_t count) {
  return catch_c10d([=] {
    const std::vector<c10d::GradBucket> buckets = reducer->reducer->get_grad_buckets();
    TORCH_CHECK(buckets.size() == count);
    for (size_t i = 0; i < count; i++) {
      bytes[i] = static_cast<int64_t>(buckets[i].getBuffer().nbytes());
      parameters[i] = static_cast<int64_t>(buckets[i].getParameters().size());
    }
  });
}

// Averages of the sampled steps so far.
char *topk_reducer_stats(TopkReducer *reducer, TopkReducerStats *result) {
  return catch_c10d([=] {
    reducer->logger->set_runtime_stats_and_log();
    const auto numbers = reducer->logger->get_ddp_logging_data().ints_map;
    const auto number = [&](const char *name) {
      const auto found = numbers.find(name);
      return found == numbers.end() ? int64_t{0} : found->second;
    };
    *result = {number("has_rebuilt_buckets") != 0,
               number("num_iterations_stats_recorded"),
               number("avg_forward_compute_time"),
               number("avg_backward_compute_time"),
               number("avg_backward_comm_time"),
               number("avg_backward_compute_comm_overlap_time")};
  });
}

}
