// C shims around CUDA graphs. libtorch's class for them is in libtorch_cuda, which a program without a GPU must start
// without, so its functions are looked up once that library is loaded. The Rust declarations, with their safety
// contracts, are in graph.rs.

#include <utility>

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include "catch_exceptions.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

using topk::catch_exceptions;

namespace {

// `at::MempoolId_t`.
using PoolId = std::pair<unsigned long long, unsigned long long>;

// `cudaStreamCaptureModeThreadLocal`: other threads may load images meanwhile.
constexpr int thread_local_mode = 1;

// Member functions of `at::cuda::CUDAGraph` in libtorch 2.11, by the names of the Itanium C++ ABI, in which an object is
// the first argument of its member functions.
struct GraphFunctions {
  void (*construct)(void *, bool);
  void (*destroy)(void *);
  void (*capture_begin)(void *, PoolId, int);
  void (*capture_end)(void *);
  void (*replay)(void *);

  static GraphFunctions find() {
    GraphFunctions found{};
    look_up(found.construct, "_ZN2at4cuda9CUDAGraphC1Eb");
    look_up(found.destroy, "_ZN2at4cuda9CUDAGraphD1Ev");
    look_up(found.capture_begin,
            "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    look_up(found.capture_end, "_ZN2at4cuda9CUDAGraph11capture_endEv");
    look_up(found.replay, "_ZN2at4cuda9CUDAGraph6replayEv");
    return found;
  }

private:
  template <typename Function> static void look_up(Function &function, const char *name) {
#ifdef _WIN32
    TORCH_CHECK(false, "CUDA graphs are not supported on Windows");
#else
    void *address = dlsym(RTLD_DEFAULT, name);
    TORCH_CHECK(address != nullptr, "libtorch's CUDA library has no function ", name,
                ", or is not loaded");
    function = reinterpret_cast<Function>(address);
#endif
  }
};

} // namespace

// A graph in memory of its own. The class has 104 bytes, aligned to 8, in libtorch 2.11.
struct TopkGraph {
  GraphFunctions functions;
  alignas(64) unsigned char object[4096];

  TopkGraph() : functions(GraphFunctions::find()) { functions.construct(object, false); }
  ~TopkGraph() { functions.destroy(object); }
  TopkGraph(const TopkGraph &) = delete;
  TopkGraph &operator=(const TopkGraph &) = delete;
};

extern "C" {

// Makes this GPU, and a stream of its own, the current ones of this thread, since the default stream cannot be captured.
// Waits for what was started before.
char *topk_leave_default_stream(int index) {
  return catch_exceptions([=] {
    at::globalContext().lazyInitDevice(c10::kCUDA);
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    guard.setDevice(device);
    guard.synchronizeDevice(device.index());
    guard.exchangeStream(guard.getStreamFromGlobalPool(device));
  });
}

// Whether the functions that graphs need are there.
char *topk_find_graph_functions() {
  return catch_exceptions([] { GraphFunctions::find(); });
}

// Starts to record what this thread does on its current stream, instead of doing it.
char *topk_begin_graph(TopkGraph **result) {
  return catch_exceptions([=] {
    TopkGraph *graph = new TopkGraph();
    try {
      graph->functions.capture_begin(graph->object, PoolId(0, 0), thread_local_mode);
    } catch (...) {
      delete graph;
      throw;
    }
    *result = graph;
  });
}

// Ends the recording.
char *topk_end_graph(TopkGraph *graph) {
  return catch_exceptions([=] { graph->functions.capture_end(graph->object); });
}

// Starts everything that was recorded on this thread's current stream.
char *topk_replay_graph(TopkGraph *graph) {
  return catch_exceptions([=] { graph->functions.replay(graph->object); });
}

void topk_free_graph(TopkGraph *graph) noexcept { delete graph; }

}
