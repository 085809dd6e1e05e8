// C shims around parts of libtorch that only C++ can use. The Rust declarations, with their safety contracts, are in
// the modules of lib.rs.

#include <vector>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "catch_exceptions.h"

namespace {

using topk::catch_exceptions;

std::vector<at::Tensor> tensor_vector(at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; i++) {
    result.push_back(*tensors[i]);
  }
  return result;
}

// Asks allocator.rs first, then libtorch's default allocator, which also reports exhausted memory.
class Allocator final : public c10::Allocator {
public:
  static void *(*cached_allocate)(size_t);
  static bool (*cached_free)(void *);

  c10::DataPtr allocate(size_t size) override {
    void *memory = cached_allocate(size);
    if (memory == nullptr) {
      memory = c10::GetDefaultCPUAllocator()->raw_allocate(size);
    }
    return {memory, memory, &release, c10::Device(c10::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void *to, const void *from, size_t size) const override {
    default_copy_data(to, from, size);
  }

private:
  static void release(void *memory) {
    if (!cached_free(memory)) {
      c10::GetDefaultCPUAllocator()->raw_deallocate(memory);
    }
  }
};

void *(*Allocator::cached_allocate)(size_t);
bool (*Allocator::cached_free)(void *);

} // namespace

extern "C" {

// `allocate` returns null to leave a request to the default allocator; `free` returns whether the memory came from
// `allocate`. Any thread may call them, for the rest of the process.
void topk_set_allocator(void *(*allocate)(size_t), bool (*free)(void *)) noexcept {
  static Allocator allocator;
  Allocator::cached_allocate = allocate;
  Allocator::cached_free = free;
  c10::SetCPUAllocator(&allocator);
}

// Does nothing if libtorch has no CUDA, or has not used it. The interface is that of libtorch_cpu, so that this needs neither CUDA's headers nor its libraries.
char *topk_empty_cuda_cache() {
  return catch_exceptions([] {
    if (at::hasCUDA()) {
      c10::DeviceAllocator *allocator = c10::getDeviceAllocator(c10::kCUDA);
      if (allocator->initialized()) {
        // Waits for the memory that was copied on other streams.
        allocator->emptyCache();
        // The page-locked memory of copies.
        at::getHostAllocator(c10::kCUDA)->empty_cache();
      }
    }
  });
}

// averages += weight * (values - averages)
char *topk_lerp_all(at::Tensor *const *averages, at::Tensor *const *values, size_t count,
                        double weight) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    at::_foreach_lerp_(tensor_vector(averages, count), tensor_vector(values, count), weight);
  });
}

// averages += weight * (values - averages), where the weight is a scalar tensor
char *topk_lerp_all_by(at::Tensor *const *averages, at::Tensor *const *values, size_t count,
                       const at::Tensor *weight) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    const std::vector<at::Tensor> targets = tensor_vector(averages, count);
    const std::vector<at::Tensor> changes = at::_foreach_sub(tensor_vector(values, count), targets);
    at::_foreach_mul_(changes, *weight);
    at::_foreach_add_(targets, changes);
  });
}

char *topk_copy_all(at::Tensor *const *to, at::Tensor *const *from, size_t count) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    at::_foreach_copy_(tensor_vector(to, count), tensor_vector(from, count));
  });
}

char *topk_channels_last(const at::Tensor *tensor, at::Tensor **result) {
  return catch_exceptions([=] {
    *result = new at::Tensor(tensor->contiguous(at::MemoryFormat::ChannelsLast));
  });
}

// Moves the scale of a loss after a step: down if `skip` is 1, and up after `interval` steps without that.
char *topk_update_scale(const at::Tensor *scale, const at::Tensor *growth_tracker, const at::Tensor *skip,
                        double growth, double backoff, int64_t interval) {
  return catch_exceptions([=] {
    at::NoGradGuard no_grad;
    at::Tensor scale_now = *scale, tracker_now = *growth_tracker;
    at::_amp_update_scale_(scale_now, tracker_now, *skip, growth, backoff, interval);
  });
}

// A thread's autocast on one kind of device.
struct TopkAutocast {
  bool enabled;
  at::ScalarType dtype;
};
static_assert(sizeof(at::ScalarType) == 1);

// Starts autocast to a type on this kind of device for this thread; sets `before` to what to restore.
char *topk_start_autocast(bool cuda, int8_t dtype, TopkAutocast *before) {
  return catch_exceptions([=] {
    const at::DeviceType device = cuda ? at::kCUDA : at::kCPU;
    *before = {at::autocast::is_autocast_enabled(device), at::autocast::get_autocast_dtype(device)};
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::increment_nesting();
  });
}

// Restores what was before, and clears the cache of rounded weights when the outermost autocast ends.
void topk_end_autocast(bool cuda, TopkAutocast before) noexcept {
  const at::DeviceType device = cuda ? at::kCUDA : at::kCPU;
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
  at::autocast::set_autocast_enabled(device, before.enabled);
  at::autocast::set_autocast_dtype(device, before.dtype);
}

}
