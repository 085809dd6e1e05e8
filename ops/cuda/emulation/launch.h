// Runs a kernel on the CPU, one block after the other, with a fibre per thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "shared.h"

namespace emulation {

constexpr int WARP = 32;

// What CUDA allows to every device that this project compiles for, except the 227 KiB, which is Hopper's limit.
constexpr int MOST_THREADS = 1024;
constexpr std::size_t MOST_SHARED_BYTES = 227 * 1024;
constexpr std::size_t MOST_STATIC_SHARED_BYTES = 48 * 1024;

// The order in which threads that could all run take turns. Results may not depend on it.
struct Order {
    enum Kind { Ascending, Descending, Random } kind = Ascending;
    std::uint64_t seed = 0;
};

struct Grid {
    int blocks;
    int threads;
    std::size_t dynamic_shared_bytes;
};

// A kernel did something that is not allowed: the message names the kernel, the block and the thread.
class Failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Runs `kernel` once per thread. Throws `Failure`. One launch at a time: others wait.
void launch(const std::string& name, const Grid& grid, const Order& order, const std::function<void()>& kernel);

// The functions below are called by kernels.

// Ends the launch with a message about the running thread.
[[noreturn]] void fail(const std::string& message);

int thread_index();
int block_index();
int threads_per_block();
int blocks_in_grid();
Moment moment();

enum class Collective { None, Shuffle, ShuffleXor, Ballot, SyncWarp, SyncBlock };

// Waits until all lanes of the warp (or threads of the block) have called the same collective from the same line with
// the same `parameter`, and returns this thread's result. `value` is what the thread contributes, and `lane` the lane
// that it reads from.
std::uint64_t collective(Collective kind, int parameter, std::uint64_t value, int lane, const char* file, int line);

// The memory that is declared with this name in this line, the same for all threads of a block.
SharedMemory* static_shared(const char* name, const char* file, int line, std::size_t bytes);
// Fails if the launch has less than `bytes` of it.
SharedMemory* dynamic_shared_memory(std::size_t bytes);

}  // namespace emulation
