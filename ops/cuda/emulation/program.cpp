// Runs jobs that it reads from standard input and writes their results to standard output, until the input ends.
//
// Numbers are in the machine's byte order. A job:
//   u32 number of launches; each: u32 length and bytes of the kernel's name, i32 blocks, i32 threads, u64 bytes of
//     dynamic shared memory
//   u32 number of orders of the threads, of which the third and later ones are random
//   u64 bytes before the first score, and u64 before the first derivative
//   the bytes of `Arguments`, whose pointers are ignored
//   eight arrays, in the order of the pointers in `Arguments`: i64 bytes, -1 for null, and the bytes
// Its result:
//   u32 1 and the last four arrays as above, or u32 0, u32 length and bytes of a message
//
// All launches of a job run with each order, from the same arrays, and must give the same bits.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "launch.h"

namespace {

using emulation::Failure;

constexpr std::size_t ARRAYS = 8;
constexpr std::size_t OUTPUTS = 4;
const char* const NAMES[ARRAYS] = {"scores",   "labels", "class_weights", "upstream",
                                   "gradient", "values", "weights",       "result"};

// False at the end of the input.
bool read(void* to, std::size_t bytes) {
    return bytes == 0 || std::fread(to, 1, bytes, stdin) == bytes;
}

template <class T>
T read_number() {
    T number;
    if (!read(&number, sizeof(T))) {
        std::fprintf(stderr, "the job is incomplete\n");
        std::exit(2);
    }
    return number;
}

void write(const void* from, std::size_t bytes) {
    if (bytes > 0 && std::fwrite(from, 1, bytes, stdout) != bytes) {
        std::exit(2);
    }
}

template <class T>
void write_number(T number) {
    write(&number, sizeof(T));
}

std::string read_text() {
    std::string text(read_number<std::uint32_t>(), '\0');
    if (!text.empty() && !read(&text[0], text.size())) {
        std::exit(2);
    }
    return text;
}

// Memory of exactly this size, so that the address sanitizer sees accesses beyond its end.
struct Array {
    bool null = true;
    std::size_t bytes = 0;
    std::unique_ptr<unsigned char[]> memory;

    static Array of(std::size_t bytes) {
        Array array;
        array.null = false;
        array.bytes = bytes;
        array.memory.reset(new unsigned char[bytes]);
        return array;
    }
    Array copy() const {
        if (null) {
            return {};
        }
        Array copy = of(bytes);
        if (bytes > 0) {
            std::memcpy(copy.memory.get(), memory.get(), bytes);
        }
        return copy;
    }
    static Array read_next() {
        const auto bytes = read_number<std::int64_t>();
        if (bytes < 0) {
            return {};
        }
        Array array = of(static_cast<std::size_t>(bytes));
        if (!read(array.memory.get(), array.bytes)) {
            std::exit(2);
        }
        return array;
    }
    bool operator==(const Array& other) const {
        return null == other.null && bytes == other.bytes &&
               (bytes == 0 || std::memcmp(memory.get(), other.memory.get(), bytes) == 0);
    }
};

struct Launch {
    std::string name;
    emulation::Grid grid;
};

struct Job {
    std::vector<Launch> launches;
    std::uint32_t orders = 0;
    std::uint64_t before_scores = 0;
    std::uint64_t before_gradient = 0;
    Arguments arguments{};
    std::vector<Array> arrays;
};

bool read_job(Job& job) {
    std::uint32_t launches;
    if (!read(&launches, sizeof(launches))) {
        return false;
    }
    for (std::uint32_t i = 0; i < launches; ++i) {
        Launch launch;
        launch.name = read_text();
        launch.grid.blocks = read_number<std::int32_t>();
        launch.grid.threads = read_number<std::int32_t>();
        launch.grid.dynamic_shared_bytes = read_number<std::uint64_t>();
        job.launches.push_back(launch);
    }
    job.orders = read_number<std::uint32_t>();
    job.before_scores = read_number<std::uint64_t>();
    job.before_gradient = read_number<std::uint64_t>();
    job.arguments = read_number<Arguments>();
    for (std::size_t i = 0; i < ARRAYS; ++i) {
        job.arrays.push_back(Array::read_next());
    }
    return true;
}

template <class T>
T* pointer(const Array& array, std::size_t before = 0) {
    return array.null ? nullptr : reinterpret_cast<T*>(array.memory.get() + before);
}

std::vector<Array> run(const Job& job, const emulation::Order& order) {
    std::vector<Array> arrays;
    for (const Array& array : job.arrays) {
        arrays.push_back(array.copy());
    }
    Arguments arguments = job.arguments;
    arguments.scores = pointer<void>(arrays[0], job.before_scores);
    arguments.labels = pointer<long long>(arrays[1]);
    arguments.class_weights = pointer<float>(arrays[2]);
    arguments.upstream = pointer<float>(arrays[3]);
    arguments.gradient = pointer<void>(arrays[4], job.before_gradient);
    arguments.values = pointer<float>(arrays[5]);
    arguments.weights = pointer<double>(arrays[6]);
    arguments.result = pointer<float>(arrays[7]);
    for (const Launch& launch : job.launches) {
        const emulation::Kernel kernel = emulation::find_kernel(launch.name);
        if (kernel == nullptr) {
            throw Failure("unknown kernel " + launch.name);
        }
        emulation::launch(launch.name, launch.grid, order, [&] { kernel(arguments); });
    }
    for (std::size_t i = 0; i < ARRAYS - OUTPUTS; ++i) {
        if (!(arrays[i] == job.arrays[i])) {
            throw Failure(std::string("the kernels changed their input ") + NAMES[i]);
        }
    }
    return arrays;
}

std::vector<Array> run_in_all_orders(const Job& job) {
    std::vector<Array> first;
    for (std::uint32_t i = 0; i < job.orders; ++i) {
        emulation::Order order;
        order.kind = i == 0   ? emulation::Order::Ascending
                     : i == 1 ? emulation::Order::Descending
                              : emulation::Order::Random;
        order.seed = i;
        std::vector<Array> arrays = run(job, order);
        if (i == 0) {
            first = std::move(arrays);
            continue;
        }
        for (std::size_t array = 0; array < ARRAYS; ++array) {
            if (!(arrays[array] == first[array])) {
                throw Failure("order " + std::to_string(i) + " of the threads of " + job.launches[0].name +
                              " gives another " + NAMES[array]);
            }
        }
    }
    return first;
}

}  // namespace

int main() {
    for (;;) {
        Job job;
        if (!read_job(job)) {
            return 0;
        }
        try {
            const std::vector<Array> arrays = run_in_all_orders(job);
            write_number<std::uint32_t>(1);
            for (std::size_t i = ARRAYS - OUTPUTS; i < ARRAYS; ++i) {
                write_number<std::int64_t>(arrays[i].null ? -1 : static_cast<std::int64_t>(arrays[i].bytes));
                write(arrays[i].memory.get(), arrays[i].bytes);
            }
        } catch (const Failure& failure) {
            const std::string message = failure.what();
            write_number<std::uint32_t>(0);
            write_number(static_cast<std::uint32_t>(message.size()));
            write(message.data(), message.size());
        }
        std::fflush(stdout);
    }
}
