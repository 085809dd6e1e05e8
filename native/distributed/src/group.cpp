// C shims around process groups and their collectives.

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include "c10d.h"

using c10d::ProcessGroup;
using c10d::ProcessGroupGloo;
using topk::catch_c10d;
using topk::finish;

struct TopkWork {
  c10::intrusive_ptr<c10d::Work> work;
};

namespace {

// The memory of a tensor without its history, since collectives write to leaves that require gradients too.
at::Tensor values(const at::Tensor *tensor) { return tensor->detach(); }

c10d::AllreduceOptions all_reduce_options(bool max) {
  c10d::AllreduceOptions options;
  options.reduceOp = max ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
  return options;
}

c10::intrusive_ptr<c10d::Work> start_all_reduce(const TopkGroup *group, const at::Tensor *tensor, bool max) {
  std::vector<at::Tensor> tensors{values(tensor)};
  return group->group->allreduce(tensors, all_reduce_options(max));
}

} // namespace

extern "C" {

// Connects to all ranks with Gloo, over a network interface, or the one with this address; the one that the name of this
// host resolves to if both are null.
char *topk_group_connect(TopkStore *store, int rank, int size, const char *interface, const char *address,
                         int64_t timeout_ms, TopkGroup **result) {
  return catch_c10d([=] {
    auto options = ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    options->devices.push_back(interface != nullptr ? ProcessGroupGloo::createDeviceForInterface(interface)
                               : address != nullptr ? ProcessGroupGloo::createDeviceForHostname(address)
                                                    : ProcessGroupGloo::createDefaultDevice());
    auto gloo = c10::make_intrusive<ProcessGroupGloo>(store->store, rank, size, options);
    gloo->setSequenceNumberForGroup();
    auto group = c10::make_intrusive<ProcessGroup>(store->store, rank, size);
    group->setBackend(c10::kCPU, ProcessGroup::BackendType::GLOO, gloo);
    group->setDefaultBackend(ProcessGroup::BackendType::GLOO);
    group->setGroupName("topk");
    *result = new TopkGroup{group};
  });
}

void topk_group_free(TopkGroup *group) noexcept { delete group; }

// Replaces each tensor by its sum or maximum over all ranks.
char *topk_all_reduce(TopkGroup *group, at::Tensor *const *tensors, size_t count, bool max) {
  return catch_c10d([=] {
    std::vector<c10::intrusive_ptr<c10d::Work>> works;
    for (size_t i = 0; i < count; i++) {
      works.push_back(start_all_reduce(group, tensors[i], max));
    }
    for (const auto &work : works) {
      finish(work);
    }
  });
}

// As `topk_all_reduce`, without waiting for the result.
char *topk_all_reduce_start(TopkGroup *group, const at::Tensor *tensor, bool max, TopkWork **result) {
  return catch_c10d([=] { *result = new TopkWork{start_all_reduce(group, tensor, max)}; });
}

char *topk_work_finish(TopkWork *work) {
  return catch_c10d([=] { finish(work->work); });
}

void topk_work_free(TopkWork *work) noexcept { delete work; }

// Replaces the tensors by those of one rank, many in one message.
char *topk_broadcast(TopkGroup *group, at::Tensor *const *tensors, size_t count, int root) {
  return catch_c10d([=] {
    // The size of messages that PyTorch's DDP uses.
    constexpr size_t message_bytes = 250 * 1024 * 1024;
    std::vector<at::Tensor> all;
    for (size_t i = 0; i < count; i++) {
      all.push_back(values(tensors[i]));
    }
    c10d::broadcast_coalesced(group->group, all, message_bytes, root);
  });
}

// Copies the tensor of rank i to `results[i]`; all have the same shape.
char *topk_all_gather(TopkGroup *group, const at::Tensor *tensor, at::Tensor *const *results, size_t count) {
  return catch_c10d([=] {
    std::vector<at::Tensor> inputs{values(tensor)};
    std::vector<std::vector<at::Tensor>> outputs(1);
    for (size_t i = 0; i < count; i++) {
      outputs[0].push_back(values(results[i]));
    }
    finish(group->group->allgather(outputs, inputs));
  });
}

// Waits until all ranks have called this.
char *topk_barrier(TopkGroup *group) {
  return catch_c10d([=] { finish(group->group->barrier()); });
}

}
