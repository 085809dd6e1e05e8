// NCCL's part, a shared object of its own: only it needs libtorch_cuda, so programs start without. It is loaded by nccl.rs.

#include <c10/util/env.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "c10d.h"

using c10d::ProcessGroup;
using c10d::ProcessGroupNCCL;

extern "C" {

// Makes NCCL the backend of a group for tensors on this GPU.
__attribute__((visibility("default"))) char *topk_nccl_add(TopkGroup *group, TopkStore *store, int rank,
                                                           int size, int device, int64_t timeout_ms) {
  return topk::catch_c10d([=] {
    // When a GPU's operation fails, libtorch then ends the operation rather than the process, so that the next operation
    // on the CPU finds out which rank is at fault. torchrun sets another value, for programs that do not look.
    c10::utils::set_env("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", /*overwrite=*/true);
    auto options = ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    auto nccl = c10::make_intrusive<ProcessGroupNCCL>(store->store, rank, size, options);
    nccl->setSequenceNumberForGroup();
    nccl->setBoundDeviceId(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
    // `setBackend` gives the backend the device of the group.
    group->group->setBoundDeviceId(nccl->getBoundDeviceId());
    group->group->setBackend(c10::kCUDA, ProcessGroup::BackendType::NCCL, nccl);
  });
}

}
