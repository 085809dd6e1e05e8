#include "launch.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "fibre.h"

namespace emulation {
namespace {

const char* name_of(Collective kind) {
    switch (kind) {
        case Collective::Shuffle:
            return "shuffle";
        case Collective::ShuffleXor:
            return "shuffle_xor";
        case Collective::Ballot:
            return "ballot";
        case Collective::SyncWarp:
            return "sync_warp";
        case Collective::SyncBlock:
            return "sync_block";
        case Collective::None:
            break;
    }
    return "nothing";
}

// Numbers 0, 1, …, as an order says.
class Turns {
public:
    explicit Turns(const Order& order) : order_(order), state_(order.seed * 2 + 1) {}

    bool random() const { return order_.kind == Order::Random; }

    std::size_t below(std::size_t bound) {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::size_t>((state_ >> 33) % bound);
    }

    // Changes a random order into another one.
    void shuffle(std::vector<int>& numbers) {
        if (random()) {
            for (std::size_t i = numbers.size(); i > 1; --i) {
                std::swap(numbers[i - 1], numbers[below(i)]);
            }
        }
    }

    std::vector<int> of(int count) {
        std::vector<int> numbers(static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) {
            numbers[static_cast<std::size_t>(i)] = order_.kind == Order::Descending ? count - 1 - i : i;
        }
        shuffle(numbers);
        return numbers;
    }

private:
    Order order_;
    std::uint64_t state_;
};

struct Call {
    Collective kind = Collective::None;
    int parameter = 0;
    const char* file = "";
    int line = 0;

    bool operator==(const Call& other) const {
        return kind == other.kind && parameter == other.parameter && line == other.line &&
               (file == other.file || std::strcmp(file, other.file) == 0);
    }
    std::string text() const {
        std::string path = file;
        return std::string(name_of(kind)) + " (" + path.substr(path.rfind('/') + 1) + ":" + std::to_string(line) +
               (kind == Collective::ShuffleXor ? ", mask " + std::to_string(parameter) : "") + ")";
    }
};

struct Thread {
    enum State { Ready, Waiting, Returned } state = Ready;
    Call call;
    std::uint64_t value = 0;
    int lane = 0;
    std::uint64_t result = 0;
};

struct Declared {
    const char* file;
    int line;
    SharedMemory memory;
};

enum class WarpState { Runnable, AtBarrier, Returned };

class Block {
public:
    Block(const std::string& name, const Grid& grid, int index, Turns& turns, Fibres& fibres,
          const std::function<void()>& kernel)
        : name(name),
          grid(grid),
          index(index),
          dynamic_shared("dynamic_shared", grid.dynamic_shared_bytes),
          threads_(static_cast<std::size_t>(grid.threads)),
          warp_barriers_(threads_.size() / WARP, 1),
          lanes_(turns.of(WARP)),
          turns_(turns),
          fibres_(fibres),
          kernel_(kernel) {}

    void run();

    [[noreturn]] void fail(const std::string& message) {
        failure_ = where() + ", thread " + std::to_string(running) + ": " + message;
        fibres_.pause();
        __builtin_unreachable();
    }

    std::uint64_t collective(const Call& call, std::uint64_t value, int lane);

    Moment moment() const {
        const auto thread = static_cast<std::size_t>(running);
        return {running, block_barriers_, warp_barriers_[thread / WARP]};
    }

    std::string name;
    Grid grid;
    int index;
    int running = 0;
    SharedMemory dynamic_shared;
    std::list<Declared> static_shared;
    std::size_t static_shared_bytes = 0;

private:
    static void run_thread(void* block) { static_cast<Block*>(block)->kernel_(); }
    std::string where() const { return "kernel " + name + ", block " + std::to_string(index); }
    [[noreturn]] void diverged(int first, int count) const;
    // Runs all lanes to their next collective and completes it.
    WarpState step(int warp);
    void complete(int warp);

    std::vector<Thread> threads_;
    std::uint32_t block_barriers_ = 1;
    std::vector<std::uint32_t> warp_barriers_;
    // In the order in which they run.
    std::vector<int> lanes_;
    std::string failure_;
    Turns& turns_;
    Fibres& fibres_;
    const std::function<void()>& kernel_;
};

Block* current = nullptr;

void Block::run() {
    for (int thread = 0; thread < grid.threads; ++thread) {
        fibres_.prepare(static_cast<std::size_t>(thread), &Block::run_thread, this);
    }
    const int warps = grid.threads / WARP;
    for (;;) {
        std::vector<int> runnable = turns_.of(warps);
        bool at_barrier = false;
        while (!runnable.empty()) {
            const std::size_t next = turns_.random() ? turns_.below(runnable.size()) : 0;
            const WarpState state = step(runnable[next]);
            if (state != WarpState::Runnable) {
                at_barrier |= state == WarpState::AtBarrier;
                runnable.erase(runnable.begin() + static_cast<std::ptrdiff_t>(next));
            }
        }
        if (!at_barrier) {
            return;
        }
        const Call& call = threads_[0].call;
        for (const Thread& thread : threads_) {
            if (thread.state != Thread::Waiting || !(thread.call == call)) {
                diverged(0, grid.threads);
            }
        }
        for (Thread& thread : threads_) {
            thread.state = Thread::Ready;
        }
        ++block_barriers_;
    }
}

WarpState Block::step(int warp) {
    turns_.shuffle(lanes_);
    for (const int lane : lanes_) {
        running = warp * WARP + lane;
        Thread& thread = threads_[static_cast<std::size_t>(running)];
        if (thread.state != Thread::Ready) {
            continue;
        }
        // If the kernel returns, nothing changes this.
        thread.state = Thread::Returned;
        fibres_.resume(static_cast<std::size_t>(running));
        if (!failure_.empty()) {
            throw Failure(failure_);
        }
    }
    const auto first = static_cast<std::size_t>(warp * WARP);
    const Thread& one = threads_[first];
    for (std::size_t i = first; i < first + WARP; ++i) {
        const Thread& thread = threads_[i];
        if (thread.state != one.state || (one.state == Thread::Waiting && !(thread.call == one.call))) {
            diverged(warp * WARP, WARP);
        }
    }
    if (one.state == Thread::Returned) {
        return WarpState::Returned;
    }
    if (one.call.kind == Collective::SyncBlock) {
        return WarpState::AtBarrier;
    }
    complete(warp);
    return WarpState::Runnable;
}

void Block::complete(int warp) {
    Thread* lanes = &threads_[static_cast<std::size_t>(warp * WARP)];
    const Call& call = lanes[0].call;
    std::uint64_t votes = 0;
    for (int lane = 0; lane < WARP; ++lane) {
        votes |= static_cast<std::uint64_t>(lanes[lane].value != 0) << lane;
    }
    for (int lane = 0; lane < WARP; ++lane) {
        Thread& thread = lanes[lane];
        switch (call.kind) {
            case Collective::Shuffle:
                thread.result = lanes[thread.lane].value;
                break;
            case Collective::ShuffleXor:
                thread.result = lanes[lane ^ call.parameter].value;
                break;
            case Collective::Ballot:
                thread.result = votes;
                break;
            case Collective::SyncWarp:
            case Collective::SyncBlock:
            case Collective::None:
                break;
        }
        thread.state = Thread::Ready;
    }
    if (call.kind == Collective::SyncWarp) {
        ++warp_barriers_[static_cast<std::size_t>(warp)];
    }
}

std::uint64_t Block::collective(const Call& call, std::uint64_t value, int lane) {
    Thread& thread = threads_[static_cast<std::size_t>(running)];
    thread.call = call;
    thread.value = value;
    thread.lane = lane;
    thread.state = Thread::Waiting;
    fibres_.pause();
    return thread.result;
}

// Lists which threads are where.
void Block::diverged(int first, int count) const {
    std::string text = where() + ": threads wait for different collectives, or for threads that returned:";
    const auto description = [&](int thread) {
        const Thread& entry = threads_[static_cast<std::size_t>(thread)];
        return entry.state == Thread::Returned ? std::string("returned") : entry.call.text();
    };
    for (int start = first; start < first + count;) {
        int end = start;
        while (end + 1 < first + count && description(end + 1) == description(start)) {
            ++end;
        }
        text += (start == first ? " " : "; ") + (start == end ? "thread " + std::to_string(start) : "threads " +
                 std::to_string(start) + " to " + std::to_string(end)) + ": " + description(start);
        start = end + 1;
    }
    throw Failure(text);
}

// Kept from one launch to the next: stacks are expensive to make.
Fibres& stacks(std::size_t threads) {
    static std::unique_ptr<Fibres> fibres;
    if (!fibres || fibres->count() < threads) {
        fibres = std::make_unique<Fibres>(threads);
    }
    return *fibres;
}

}  // namespace

void launch(const std::string& name, const Grid& grid, const Order& order, const std::function<void()>& kernel) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto refuse = [&](const std::string& message) { throw Failure("kernel " + name + ": " + message); };
    if (grid.blocks < 1) {
        refuse("a grid of " + std::to_string(grid.blocks) + " blocks");
    }
    if (grid.threads < 1 || grid.threads > MOST_THREADS || grid.threads % WARP != 0) {
        refuse("blocks of " + std::to_string(grid.threads) + " threads: expected a multiple of 32 up to 1024");
    }
    if (grid.dynamic_shared_bytes > MOST_SHARED_BYTES) {
        refuse(std::to_string(grid.dynamic_shared_bytes) + " bytes of dynamic shared memory are more than " +
               std::to_string(MOST_SHARED_BYTES));
    }
    Turns turns(order);
    Fibres& fibres = stacks(static_cast<std::size_t>(grid.threads));
    for (const int index : turns.of(grid.blocks)) {
        Block block(name, grid, index, turns, fibres, kernel);
        current = &block;
        try {
            block.run();
        } catch (...) {
            fibres.abandon();
            current = nullptr;
            throw;
        }
        current = nullptr;
    }
}

void fail(const std::string& message) {
    current->fail(message);
}

int thread_index() {
    return current->running;
}

int block_index() {
    return current->index;
}

int threads_per_block() {
    return current->grid.threads;
}

int blocks_in_grid() {
    return current->grid.blocks;
}

Moment moment() {
    return current->moment();
}

std::uint64_t collective(Collective kind, int parameter, std::uint64_t value, int lane, const char* file, int line) {
    if (lane < 0 || lane >= WARP) {
        fail("shuffles from lane " + std::to_string(lane));
    }
    if (kind == Collective::ShuffleXor && (parameter < 1 || parameter >= WARP)) {
        fail("shuffles with the mask " + std::to_string(parameter));
    }
    return current->collective({kind, parameter, file, line}, value, lane);
}

SharedMemory* static_shared(const char* name, const char* file, int line, std::size_t bytes) {
    // Within a template, a line declares memory of several sizes, but only one of them in a kernel.
    for (Declared& declared : current->static_shared) {
        const bool same_file = declared.file == file || std::strcmp(declared.file, file) == 0;
        if (declared.line == line && same_file && declared.memory.name() == name) {
            if (declared.memory.bytes() != bytes) {
                fail(std::string("declares the shared memory `") + name + "` with two sizes");
            }
            return &declared.memory;
        }
    }
    current->static_shared_bytes += bytes;
    if (current->static_shared_bytes > MOST_STATIC_SHARED_BYTES) {
        fail("declares " + std::to_string(current->static_shared_bytes) + " bytes of shared memory, more than " +
             std::to_string(MOST_STATIC_SHARED_BYTES));
    }
    current->static_shared.push_back({file, line, SharedMemory(name, bytes)});
    return &current->static_shared.back().memory;
}

SharedMemory* dynamic_shared_memory(std::size_t bytes) {
    if (bytes > current->dynamic_shared.bytes()) {
        fail("uses " + std::to_string(bytes) + " bytes of dynamic shared memory, but the launch has " +
             std::to_string(current->dynamic_shared.bytes()));
    }
    return &current->dynamic_shared;
}

}  // namespace emulation
