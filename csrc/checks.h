// What every kernel of this folder asks of its arguments, and how it reads them.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <string>
#include <vector>

namespace metaphys {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;

// Moments of a half-precision parameter are float32: in bfloat16 the second moment stalls
// (0.999 rounds to 1) and in float16 epsilon vanishes.
inline ScalarType state_type(ScalarType type) {
  return type == ScalarType::BFloat16 || type == ScalarType::Half ? ScalarType::Float : type;
}

// The dtypes that METAPHYS_DISPATCH has a kernel for.
inline bool is_computed(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double ||
         type == ScalarType::BFloat16 || type == ScalarType::Half;
}

inline void check_length(const Tensors& list, size_t expected, const char* name) {
  STD_TORCH_CHECK(list.size() == expected, "`", name, "` must hold ", expected,
                  " tensors, one for each gradient, but got ", list.size(), ".");
}

// `like` is what `tensor` belongs to; `type` is the dtype that it has to have.
inline void check_leaf(const Tensor& tensor, const Tensor& like, ScalarType type,
                       const char* name, size_t index) {
  STD_TORCH_CHECK(tensor.is_cpu(), "`", name, "[", index, "]` must be a CPU tensor.");
  STD_TORCH_CHECK(tensor.scalar_type() == type, "`", name, "[", index,
                  "]` has the wrong dtype: state of bfloat16 and float16 parameters is float32, "
                  "every other tensor has its gradient's dtype.");
  bool same = tensor.dim() == like.dim();
  for (int64_t d = 0; same && d < tensor.dim(); ++d) same = tensor.size(d) == like.size(d);
  STD_TORCH_CHECK(same, "`", name, "[", index, "]` must have the shape of its gradient.");
}

inline void check_list(const Tensors& list, const Tensors& grads, bool is_state, const char* name) {
  check_length(list, grads.size(), name);
  for (size_t i = 0; i < list.size(); ++i) {
    const ScalarType type = grads[i].scalar_type();
    // Before the loop over chunks: an error in the middle of it would leave half a step.
    STD_TORCH_CHECK(is_computed(type), "`", name, "[", i,
                    "]` must be float32, float64, bfloat16 or float16.");
    check_leaf(list[i], grads[i], is_state ? state_type(type) : type, name, i);
  }
}

// Gradients may be expanded (stride 0) or transposed; the kernels read memory in order.
inline Tensors contiguous(const Tensors& list) {
  Tensors result;
  result.reserve(list.size());
  for (const Tensor& t : list)
    result.push_back(t.is_contiguous() ? t : torch::stable::contiguous(t));
  return result;
}

// Tensors that a mutating kernel writes: contiguous copies where needed, written back at the end.
class InOut {
 public:
  explicit InOut(Tensors list) : original_(std::move(list)), work_(contiguous(original_)) {}
  const Tensors& work() const { return work_; }
  void write_back() {
    for (size_t i = 0; i < work_.size(); ++i)
      if (!original_[i].is_contiguous()) torch::stable::copy_(original_[i], work_[i]);
  }

 private:
  Tensors original_;
  Tensors work_;
};

// The steps that each leaf has taken, this one included: int64, one a gradient, on the CPU.
// `count` is made contiguous in place, so that what is returned lives as long as it does.
inline const int64_t* step_counts(Tensor& count, size_t expected) {
  STD_TORCH_CHECK(count.is_cpu() && count.scalar_type() == ScalarType::Long && count.dim() == 1 &&
                      count.size(0) == static_cast<int64_t>(expected),
                  "`count` must be an int64 CPU tensor of ", expected, " elements.");
  if (!count.is_contiguous()) count = torch::stable::contiguous(count);
  return static_cast<const int64_t*>(count.const_data_ptr());
}

}  // namespace metaphys
