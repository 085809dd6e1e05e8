// The device's interface of `kernels/device.cuh`, for the CPU.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#include "launch.h"

#define TOPK_KERNEL(threads, blocks) extern "C" void
#define TOPK_DEVICE inline

// An array in shared memory: `name` is a `Shared<type>`.
#define TOPK_SHARED(type, name, count)                                                      \
    Shared<type> name(                                                                      \
        emulation::static_shared(#name, __FILE__, __LINE__, sizeof(type) * (count)), 0, (count))

template <class T>
using Shared = emulation::Shared<T>;

// The launch's dynamic shared memory.
inline Shared<float> dynamic_shared(int count) {
    return Shared<float>(emulation::dynamic_shared_memory(static_cast<std::size_t>(count) * sizeof(float)), 0, count);
}

inline int thread() { return emulation::thread_index(); }
inline int threads() { return emulation::threads_per_block(); }
inline long long block() { return emulation::block_index(); }
inline long long blocks() { return emulation::blocks_in_grid(); }

namespace emulation {

template <class T>
std::uint64_t to_bits(T value) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <class T>
T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

float exp2_approx(float x);
double reciprocal_approx(double x);
float half_to_float(std::uint16_t bits);
std::uint16_t float_to_half(float value);

}  // namespace emulation

// The default arguments are the file and line of the caller.
template <class T>
T shuffle(T value, int lane, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return emulation::from_bits<T>(
        emulation::collective(emulation::Collective::Shuffle, 0, emulation::to_bits(value), lane, file, line));
}

template <class T>
T shuffle_xor(T value, int mask, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return emulation::from_bits<T>(
        emulation::collective(emulation::Collective::ShuffleXor, mask, emulation::to_bits(value), 0, file, line));
}

inline std::uint32_t ballot(bool predicate, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return static_cast<std::uint32_t>(
        emulation::collective(emulation::Collective::Ballot, 0, predicate, 0, file, line));
}

inline void sync_warp(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::collective(emulation::Collective::SyncWarp, 0, 0, 0, file, line);
}

inline void sync_block(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::collective(emulation::Collective::SyncBlock, 0, 0, 0, file, line);
}

inline int atomic_add(Shared<int> array, int index, int value) {
    return array.atomic(index, [=](int before) { return before + value; });
}

inline int count_ones(unsigned bits) { return __builtin_popcount(bits); }
// Of a number that is not 0.
inline int leading_zeros(unsigned bits) { return __builtin_clz(bits); }
inline unsigned bits_of(float value) { return static_cast<unsigned>(emulation::to_bits(value)); }
inline float float_of(unsigned bits) { return emulation::from_bits<float>(bits); }

inline float exp2_approx(float x) { return emulation::exp2_approx(x); }
inline double reciprocal_approx(double x) { return emulation::reciprocal_approx(x); }

inline unsigned high_bits(double value) { return static_cast<unsigned>(emulation::to_bits(value) >> 32); }
inline int low_bits(double value) { return static_cast<int>(static_cast<unsigned>(emulation::to_bits(value))); }
inline double times_power_of_2(double value, int n) {
    return emulation::from_bits<double>(emulation::to_bits(value) + (static_cast<std::uint64_t>(n) << 52));
}

inline float half_to_float(unsigned short bits) { return emulation::half_to_float(bits); }
inline unsigned short float_to_half(float value) { return emulation::float_to_half(value); }
