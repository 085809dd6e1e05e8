// Kernels with one fault each, which the emulation must notice, and others without. Usage: faults KERNEL [ORDER]
//
// Prints what the emulation says, or the numbers that the kernel wrote.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "device.h"

namespace {

constexpr int LANES = 32;
constexpr int THREADS = 64;

std::vector<float> output;

void write_before_barrier(bool barrier) {
    TOPK_SHARED(float, numbers, THREADS);
    numbers[thread()] = static_cast<float>(thread());
    if (barrier) {
        sync_block();
    }
    output[static_cast<std::size_t>(thread())] = numbers[(thread() + 1) % THREADS];
}

void barrier_of_warps(bool across) {
    TOPK_SHARED(float, numbers, THREADS);
    numbers[thread()] = static_cast<float>(thread());
    sync_warp();
    const int other = across ? (thread() + LANES) % THREADS : thread() ^ 1;
    output[static_cast<std::size_t>(thread())] = numbers[other];
}

void shuffles_order_nothing() {
    TOPK_SHARED(float, numbers, THREADS);
    numbers[thread()] = 1;
    shuffle_xor(0, 1);
    output[static_cast<std::size_t>(thread())] = numbers[thread() ^ 1];
}

void write_after_read(bool barrier) {
    TOPK_SHARED(float, number, 1);
    if (thread() == 0) {
        number[0] = 1;
    }
    sync_block();
    output[static_cast<std::size_t>(thread())] = number[0];
    if (barrier) {
        sync_block();
    }
    if (thread() == THREADS - 1) {
        number[0] = 2;
    }
}

void two_writers() {
    TOPK_SHARED(float, number, 1);
    number[0] = 1;
}

void count(bool atomic) {
    TOPK_SHARED(int, counter, 1);
    if (thread() == 0) {
        counter[0] = 0;
    }
    sync_block();
    if (atomic) {
        atomic_add(counter, 0, 1);
    } else {
        counter[0] += 1;
    }
    sync_block();
    output[static_cast<std::size_t>(thread())] = static_cast<float>(counter[0]);
}

void unwritten() {
    TOPK_SHARED(float, numbers, THREADS);
    output[static_cast<std::size_t>(thread())] = numbers[thread()];
}

void beyond_shared() {
    TOPK_SHARED(float, numbers, THREADS);
    numbers[thread() + 1] = 0;
}

void beyond_slice() {
    TOPK_SHARED(float, numbers, THREADS);
    Shared<float> half = numbers.slice(0, THREADS / 2);
    half[thread()] = 0;
}

void beyond_dynamic() {
    dynamic_shared(THREADS + 1);
}

void dynamic() {
    Shared<float> numbers = dynamic_shared(THREADS);
    numbers[thread()] = 1;
    sync_block();
    output[static_cast<std::size_t>(thread())] = numbers[THREADS - 1 - thread()];
}

// The sanitizer's part.
void beyond_global() {
    const float* numbers = output.data();
    output[static_cast<std::size_t>(thread())] = numbers[thread() + 1];
}

void overflow() {
    volatile int most = 0x7fffffff;
    output[static_cast<std::size_t>(thread())] = static_cast<float>(most + thread());
}

void diverging() {
    if (thread() % LANES < 16) {
        shuffle_xor(thread(), 1);
    } else {
        ballot(true);
    }
}

void different_masks() {
    shuffle_xor(thread(), thread() % 2 + 1);
}

void different_lines() {
    if (thread() % 2 == 0) {
        sync_warp();
    } else {
        sync_warp();
    }
}

void left_early() {
    if (thread() == 3) {
        return;
    }
    sync_warp();
}

void barrier_without_a_warp() {
    if (thread() / LANES == 1) {
        return;
    }
    sync_block();
}

void wrong_lane() {
    shuffle(1.0f, thread());
}

void collectives() {
    const double half = shuffle(0.5 + thread(), 3);
    const int neighbour = shuffle_xor(thread(), 1);
    const unsigned even = ballot(thread() % 2 == 0);
    output[static_cast<std::size_t>(thread())] =
        static_cast<float>(half) + static_cast<float>(neighbour) + static_cast<float>(count_ones(even));
}

// The order of the fibres, which real kernels must not depend on.
void order() {
    static int turn = 0;
    output[static_cast<std::size_t>(thread())] = static_cast<float>(turn++);
}

struct Named {
    const char* name;
    void (*kernel)();
};

const Named KERNELS[] = {
    {"missing_barrier", [] { write_before_barrier(false); }},
    {"barrier", [] { write_before_barrier(true); }},
    {"barrier_of_one_warp", [] { barrier_of_warps(true); }},
    {"barrier_in_a_warp", [] { barrier_of_warps(false); }},
    {"shuffles_order_nothing", shuffles_order_nothing},
    {"write_after_read", [] { write_after_read(false); }},
    {"write_after_barrier", [] { write_after_read(true); }},
    {"two_writers", two_writers},
    {"count", [] { count(false); }},
    {"atomic_count", [] { count(true); }},
    {"unwritten", unwritten},
    {"beyond_shared", beyond_shared},
    {"beyond_slice", beyond_slice},
    {"beyond_dynamic", beyond_dynamic},
    {"dynamic", dynamic},
    {"beyond_global", beyond_global},
    {"overflow", overflow},
    {"diverging", diverging},
    {"different_masks", different_masks},
    {"different_lines", different_lines},
    {"left_early", left_early},
    {"barrier_without_a_warp", barrier_without_a_warp},
    {"wrong_lane", wrong_lane},
    {"collectives", collectives},
    {"order", order},
};

}  // namespace

int main(int count, char** arguments) {
    const std::string name = count > 1 ? arguments[1] : "";
    const std::string order_name = count > 2 ? arguments[2] : "ascending";
    emulation::Order order;
    if (order_name == "descending") {
        order.kind = emulation::Order::Descending;
    } else if (order_name == "random") {
        order = {emulation::Order::Random, 7};
    }
    output.assign(THREADS, 0);
    output.shrink_to_fit();
    for (const Named& named : KERNELS) {
        if (name == named.name) {
            try {
                emulation::launch(name, {1, THREADS, THREADS * sizeof(float)}, order, named.kernel);
            } catch (const emulation::Failure& failure) {
                std::printf("%s\n", failure.what());
                return 1;
            }
            for (const float number : output) {
                std::printf("%g ", static_cast<double>(number));
            }
            std::printf("\n");
            return 0;
        }
    }
    std::fprintf(stderr, "unknown kernel `%s`\n", name.c_str());
    return 2;
}
