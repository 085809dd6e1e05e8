// Arithmetic that the CPU does differently from the device, or not at all.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "device.h"

namespace emulation {
namespace {

std::uint32_t bits_of(float value) {
    return static_cast<std::uint32_t>(to_bits(value));
}

float float_of(std::uint32_t bits) {
    return from_bits<float>(bits);
}

// Moves the lowest `shift` bits out, rounding to nearest, ties to even.
std::uint32_t round_off(std::uint32_t bits, int shift) {
    const std::uint32_t half = std::uint32_t{1} << (shift - 1);
    const std::uint32_t odd = bits >> shift & 1;
    return (bits + (half - 1) + odd) >> shift;
}

}  // namespace

// PTX promises a relative error of at most 2^-22 for `ex2.approx.ftz.f32`, and no bits. So the error here is as large as
// that, and a hash of the argument: a kernel that needs a smaller one, or one particular rounding, fails.
float exp2_approx(float x) {
    constexpr double SMALLEST = std::numeric_limits<float>::min();
    const std::uint32_t argument = bits_of(x);
    const bool subnormal = (argument & 0x7f800000u) == 0;
    if (subnormal) {
        return 1.0f;
    }
    std::uint32_t hash = argument * 0x9e3779b1u;
    hash ^= hash >> 15;
    hash *= 0x85ebca77u;
    hash ^= hash >> 13;
    // Rounding adds up to 2^-24.
    const double error = (static_cast<double>(hash) * 0x1p-31 - 1.0) * (0x1p-22 - 0x1p-24);
    const double result = std::exp2(static_cast<double>(x)) * (1.0 + error);
    return result < SMALLEST ? 0.0f : static_cast<float>(result);
}

// The device's result has 20 bits of the fraction.
double reciprocal_approx(double x) {
    return from_bits<double>(to_bits(1 / x) >> 32 << 32);
}

float half_to_float(std::uint16_t bits) {
    const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31;
    const std::uint32_t exponent = bits >> 10 & 0x1f;
    const std::uint32_t fraction = bits & 0x3ff;
    if (exponent == 0) {
        // 2^-24 is the unit of subnormal numbers.
        const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
        return sign != 0 ? -magnitude : magnitude;
    }
    if (exponent == 0x1f) {
        return float_of(sign | 0x7f800000u | fraction << 13);
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

std::uint16_t float_to_half(float value) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t sign = bits >> 31 << 15;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7fff;
    } else if (magnitude >= 0x47800000u) {
        half = 0x7c00;
    } else if (magnitude >= 0x38800000u) {
        // A carry out of the fraction raises the exponent, up to infinity.
        half = round_off(magnitude - (std::uint32_t{112} << 23), 13);
    } else {
        // Adding 0.5 leaves multiples of 2^-24 in the lowest bits, rounded.
        half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    }
    return static_cast<std::uint16_t>(sign | half);
}

}  // namespace emulation
