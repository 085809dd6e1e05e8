// C shims around libtorch's streams, events and page-locked memory, and its settings of numerics. They use the
// interfaces of libtorch_cpu, which libtorch_cuda implements once it is loaded, so that this needs neither CUDA's headers
// nor its libraries. The Rust declarations, with their safety contracts, are in `stream.rs` and `numerics.rs`.

#include <cstring>
#include <vector>

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/env.h>

#include "catch_exceptions.h"

using topk::catch_exceptions;

struct TopkStream {
  c10::Stream stream;
};

struct TopkEvent {
  c10::Event event;
};

extern "C" {

// Another stream than the one that computes on the GPU with this index.
char *topk_new_stream(int index, TopkStream **result) {
  return catch_exceptions([=] {
    at::globalContext().lazyInitDevice(c10::kCUDA);
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    *result = new TopkStream{guard.getStreamFromGlobalPool(device)};
  });
}

void topk_free_stream(TopkStream *stream) noexcept { delete stream; }

void topk_free_event(TopkEvent *event) noexcept { delete event; }

// A tensor in host memory with a copy of `bytes` bytes; in page-locked memory, copies to a GPU do not wait.
char *topk_staged(const void *data, size_t bytes, const int64_t *sizes, size_t dims, int8_t type,
                  bool pinned, at::Tensor **result) {
  return catch_exceptions([=] {
    const at::TensorOptions options =
        at::TensorOptions().dtype(static_cast<at::ScalarType>(type)).pinned_memory(pinned);
    at::Tensor tensor = at::empty(at::IntArrayRef(sizes, dims), options);
    TORCH_CHECK(tensor.nbytes() == bytes, "a tensor of ", tensor.nbytes(), " bytes is made of ", bytes);
    if (bytes > 0) {
      std::memcpy(tensor.mutable_data_ptr(), data, bytes);
    }
    *result = new at::Tensor(tensor);
  });
}

// Starts copies of tensors to the stream's GPU, and records an event after them.
char *topk_upload(const TopkStream *stream, at::Tensor *const *tensors, size_t count,
                  at::Tensor **results, TopkEvent **event) {
  return catch_exceptions([=] {
    const c10::StreamGuard guard(stream->stream);
    std::vector<at::Tensor> copies;
    for (size_t i = 0; i < count; i++) {
      copies.push_back(tensors[i]->to(stream->stream.device(), tensors[i]->scalar_type(),
                                      /*non_blocking=*/true));
    }
    c10::Event after(c10::kCUDA);
    after.record(stream->stream);
    *event = new TopkEvent{std::move(after)};
    for (size_t i = 0; i < count; i++) {
      results[i] = new at::Tensor(copies[i]);
    }
  });
}

// Makes the stream that computes on the tensors' GPU wait for the event, and keeps the memory of the tensors for that
// stream until it has used them.
char *topk_await(const TopkEvent *event, at::Tensor *const *tensors, size_t count) {
  return catch_exceptions([=] {
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    for (size_t i = 0; i < count; i++) {
      const c10::Stream current = guard.getStream(tensors[i]->device());
      event->event.block(current);
      tensors[i]->record_stream(current);
    }
  });
}

// How libtorch computes in `f32` on a GPU.
struct TopkNumerics {
  bool tf32_convolutions;
  bool tf32_products;
  bool deterministic;
  bool cudnn_benchmark;
};

char *topk_set_numerics(TopkNumerics numerics) {
  return catch_exceptions([=] {
    at::Context &context = at::globalContext();
    context.setAllowTF32CuDNN(numerics.tf32_convolutions);
    context.setAllowTF32CuBLAS(numerics.tf32_products);
    context.setBenchmarkCuDNN(numerics.cudnn_benchmark);
    context.setDeterministicCuDNN(numerics.deterministic);
    context.setDeterministicAlgorithms(numerics.deterministic, /*warn_only=*/false);
    // Filling new memory with NaN finds programs that read it before they write it, and takes time.
    context.setDeterministicFillUninitializedMemory(false);
    if (numerics.deterministic) {
      // cuBLAS reads it when its first handle is made; without it, libtorch refuses matrix products.
      c10::utils::set_env("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/false);
    }
  });
}

char *topk_numerics(TopkNumerics *result) {
  return catch_exceptions([=] {
    const at::Context &context = at::globalContext();
    *result = {context.allowTF32CuDNN(), context.allowTF32CuBLAS(), context.deterministicAlgorithms(),
               context.benchmarkCuDNN()};
  });
}

}
