// The operations of a device that the kernels use. The emulation, which executes the kernels on the CPU, has
// the same ones.
#pragma once

#ifdef TOPK_EMULATION
#include "../emulation/device.h"
#else

#define TOPK_KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define TOPK_DEVICE __device__ __forceinline__

// An array in shared memory: `name` is a `Shared<type>`. Aligned, so that one instruction reads several elements.
#define TOPK_SHARED(type, name, count)                \
    alignas(16) __shared__ type name##_memory[count]; \
    Shared<type> name(name##_memory, count)

template <class T>
class Shared {
public:
    TOPK_DEVICE Shared(T *first, int count) : first(first) {}

    TOPK_DEVICE T &operator[](int index) const { return first[index]; }

    // `count` elements from `offset` on.
    TOPK_DEVICE Shared slice(int offset, int count) const { return Shared(first + offset, count); }

    TOPK_DEVICE T *address(int index) const { return first + index; }

private:
    T *first;
};

// The launch's dynamic shared memory.
TOPK_DEVICE Shared<float> dynamic_shared(int count) {
    extern __shared__ __align__(16) float dynamic_memory[];
    return Shared<float>(dynamic_memory, count);
}

TOPK_DEVICE int thread() { return threadIdx.x; }
TOPK_DEVICE int threads() { return blockDim.x; }
TOPK_DEVICE long long block() { return blockIdx.x; }
TOPK_DEVICE long long blocks() { return gridDim.x; }

TOPK_DEVICE void sync_block() { __syncthreads(); }
TOPK_DEVICE void sync_warp() { __syncwarp(); }

// Collectives of all 32 threads of a warp.
template <class T>
TOPK_DEVICE T shuffle(T value, int lane) { return __shfl_sync(0xffffffff, value, lane); }
template <class T>
TOPK_DEVICE T shuffle_xor(T value, int mask) { return __shfl_xor_sync(0xffffffff, value, mask); }
TOPK_DEVICE unsigned ballot(bool predicate) { return __ballot_sync(0xffffffff, predicate); }

TOPK_DEVICE int atomic_add(Shared<int> array, int index, int value) {
    return atomicAdd(array.address(index), value);
}

TOPK_DEVICE int count_ones(unsigned bits) { return __popc(bits); }
// Of a number that is not 0.
TOPK_DEVICE int leading_zeros(unsigned bits) { return __clz(bits); }
TOPK_DEVICE unsigned bits_of(float value) { return __float_as_uint(value); }
TOPK_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }

// 2ˣ with a relative error of up to 2⁻²².
TOPK_DEVICE float exp2_approx(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// 1/x of a positive number with a relative error of up to 2⁻¹⁹.
TOPK_DEVICE double reciprocal_approx(double x) {
    double result;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(result) : "d"(x));
    return result;
}

TOPK_DEVICE unsigned high_bits(double value) { return __double2hiint(value); }
TOPK_DEVICE int low_bits(double value) { return __double2loint(value); }

// `value` · 2ⁿ, where both are normal numbers.
TOPK_DEVICE double times_power_of_2(double value, int n) {
    return __hiloint2double(__double2hiint(value) + (n << 20), __double2loint(value));
}

TOPK_DEVICE float half_to_float(unsigned short bits) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
    return result;
}

// Rounds to nearest, ties to even.
TOPK_DEVICE unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#endif
