// One parallel loop over a whole list of tensors.
//
// A list of 200 tensors of 256 elements would be 200 parallel regions if each tensor had its own;
// here the list is cut into (tensor, begin, end) chunks first and the chunks are shared out.
#pragma once

#include "checks.h"

#include <algorithm>

// One compiled body for each instruction set, chosen when the library is loaded: a wheel built on
// one machine is fast on another. Only GCC on x86-64 Linux has it.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define METAPHYS_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define METAPHYS_CLONES
#endif
// The arrays of a kernel never overlap. GCC forgets __restrict where it inlines, gives up on more than
// ten run-time checks for aliasing and would leave the loop scalar: 7 times slower.
#if defined(__clang__)
#define METAPHYS_NO_ALIAS _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define METAPHYS_NO_ALIAS _Pragma("GCC ivdep")
#else
#define METAPHYS_NO_ALIAS
#endif
#define METAPHYS_INLINE inline __attribute__((always_inline))

namespace metaphys {

struct Chunk {
  size_t tensor;
  int64_t begin;
  int64_t end;
};

// 16 Ki elements: six float32 streams of it fit a 512 KiB second-level cache.
constexpr int64_t kChunk = 1 << 14;

inline std::vector<Chunk> chunks_of(const Tensors& list) {
  std::vector<Chunk> chunks;
  chunks.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const int64_t n = list[i].numel();
    for (int64_t begin = 0; begin < n; begin += kChunk)
      chunks.push_back({i, begin, std::min(begin + kChunk, n)});
  }
  return chunks;
}

// Calls body(tensor, begin, end) for every chunk; small chunks are grouped so that a thread has
// at least kChunk elements to do.
template <class Body>
void for_each_chunk(const Tensors& list, const Body& body) {
  const std::vector<Chunk> chunks = chunks_of(list);
  if (chunks.empty()) return;
  int64_t total = 0;
  for (const Chunk& c : chunks) total += c.end - c.begin;
  const int64_t count = static_cast<int64_t>(chunks.size());
  const int64_t mean = std::max<int64_t>(1, total / count);
  const int64_t grain = std::max<int64_t>(1, kChunk / mean);
  torch::stable::parallel_for(0, count, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) body(chunks[i].tensor, chunks[i].begin, chunks[i].end);
  });
}

// The element types: run `FUNCTION<parameter type, state type>` for the dtype of a gradient.
#define METAPHYS_DISPATCH(TYPE, FUNCTION, ...)                                              \
  switch (TYPE) {                                                                           \
    case ScalarType::Float: FUNCTION##_f32(__VA_ARGS__); break;                             \
    case ScalarType::Double: FUNCTION##_f64(__VA_ARGS__); break;                            \
    case ScalarType::BFloat16: FUNCTION##_bf16(__VA_ARGS__); break;                         \
    case ScalarType::Half: FUNCTION##_f16(__VA_ARGS__); break;                              \
    default: break; /* refused by check_list */                                             \
  }

// Defines those four functions, each cloned for the instruction sets, from one template.
#define METAPHYS_INSTANTIATE(FUNCTION, ARGS)                                                   \
  METAPHYS_CLONES void FUNCTION##_f32(const ARGS& a, int64_t b, int64_t e) {                   \
    FUNCTION<float, float>(a, b, e);                                                           \
  }                                                                                            \
  METAPHYS_CLONES void FUNCTION##_f64(const ARGS& a, int64_t b, int64_t e) {                   \
    FUNCTION<double, double>(a, b, e);                                                         \
  }                                                                                            \
  METAPHYS_CLONES void FUNCTION##_bf16(const ARGS& a, int64_t b, int64_t e) {                  \
    FUNCTION<BFloat16, float>(a, b, e);                                                        \
  }                                                                                            \
  METAPHYS_CLONES void FUNCTION##_f16(const ARGS& a, int64_t b, int64_t e) {                   \
    FUNCTION<Half, float>(a, b, e);                                                            \
  }

}  // namespace metaphys
