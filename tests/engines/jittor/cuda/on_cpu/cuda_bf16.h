// CUDA's bfloat16 on a CPU.
#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

namespace cuda_on_cpu {

// As the matrix units read a float32: with ten bits of its mantissa, or as a bfloat16.
inline float rounded_to_tf32(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0xFFF + (bits >> 13 & 1)) & ~uint32_t(0x1FFF);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline float rounded_to_bfloat16(float value) {
    return __bfloat162float(__float2bfloat16_rn(value));
}

}  // namespace cuda_on_cpu
