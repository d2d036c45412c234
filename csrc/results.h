// Where the results of a kernel are put.
//
// Each has a storage of its own: results that shared one would alias each other, which an operator
// must not do, and for 600 results of 1 KB that saved no more than a twentieth of the time.
#pragma once

#include "checks.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace metaphys {

constexpr uint64_t kHugePage = 1 << 21;  // bytes

// Memory fresh from the system comes in pages of 4 KiB, and touching each for the first time takes
// longer than the arithmetic: 23,000 faults and 40 ms for a step on 4 million elements. So ask for
// huge pages, as NumPy does for its arrays. It is advice: a system without them ignores it.
inline void prefer_huge_pages(const Tensor& t) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uint64_t size = t.numel() * t.element_size(), page = 4096;
  if (size < kHugePage) return;
  const uint64_t begin = reinterpret_cast<uint64_t>(t.mutable_data_ptr());
  const uint64_t first = (begin + page - 1) / page * page, last = (begin + size) / page * page;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

// A dense tensor of the shape and dtype of `like`, not filled. Straight from the allocator: by way
// of the dispatcher, a result of 1 KB costs three times as much.
inline Tensor result_like(const Tensor& like) {
  std::vector<int64_t> strides(like.dim());
  int64_t step = 1;
  for (int64_t d = like.dim() - 1; d >= 0; --d) {
    strides[d] = step;
    step *= std::max<int64_t>(like.size(d), 1);
  }
  int32_t dtype;
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(like.dim(), like.sizes().data(),
                                                         strides.data(), dtype,
                                                         aoti_torch_device_type_cpu(), 0, &handle));
  Tensor result(handle);
  prefer_huge_pages(result);
  return result;
}

inline Tensors results_like(const Tensors& list) {
  Tensors results;
  results.reserve(list.size());
  for (const Tensor& like : list) results.push_back(result_like(like));
  return results;
}

}  // namespace metaphys
