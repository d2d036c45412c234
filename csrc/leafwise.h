// Rules that are one function of an element: what such a rule has to say, and all that follows.
//
// A rule keeps K moments. It is a struct of constants, made once a leaf from its numbers (the same
// for all leaves) and factors (a leaf's own: what depends on its steps), with two functions:
//
//   update(g, m, d, n)                 d: the update, n: the next moments
//   pullback(g, m, cd, cn, dg, dm)     from cotangents of (d, n) those of (g, m)
//
// METAPHYS_RULE turns it into loops for every dtype and instruction set; the rest of this file
// turns those into the operators `rule`, `rule_vjp` and `rule_`.
#pragma once

#include "chunks.h"
#include "results.h"

#include <array>
#include <tuple>
#include <utility>

namespace metaphys {

using Numbers = std::vector<double>;

// One leaf, as the loops see it: g and m, or for a pullback g, m, cd and cn; then what is written.
struct Leaf {
  const double *numbers, *factors;
  const void* const* in;
  void* const* out;
  double weight_decay, shrink, sign;  // of the step in place alone
};

template <template <class> class R, int K, class T, class S>
METAPHYS_INLINE void update_loop(const Leaf& a, int64_t begin, int64_t end) {
  const R<S> rule(a.numbers, a.factors);
  const T* g = static_cast<const T*>(a.in[0]);
  T* d = static_cast<T*>(a.out[0]);
  const S* m[K + 1];
  S* n[K + 1];
  for (int j = 0; j < K; ++j) {
    m[j] = static_cast<const S*>(a.in[1 + j]);
    n[j] = static_cast<S*>(a.out[1 + j]);
  }
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    S was[K + 1], now[K + 1], step;
    for (int j = 0; j < K; ++j) was[j] = m[j][i];
    rule.update(static_cast<S>(g[i]), was, step, now);
    for (int j = 0; j < K; ++j) n[j][i] = now[j];
    d[i] = static_cast<T>(step);
  }
}

template <template <class> class R, int K, class T, class S>
METAPHYS_INLINE void pullback_loop(const Leaf& a, int64_t begin, int64_t end) {
  const R<S> rule(a.numbers, a.factors);
  const T* g = static_cast<const T*>(a.in[0]);
  const T* cd = static_cast<const T*>(a.in[1 + K]);
  T* dg = static_cast<T*>(a.out[0]);
  const S *m[K + 1], *cn[K + 1];
  S* dm[K + 1];
  for (int j = 0; j < K; ++j) {
    m[j] = static_cast<const S*>(a.in[1 + j]);
    cn[j] = static_cast<const S*>(a.in[2 + K + j]);
    dm[j] = static_cast<S*>(a.out[1 + j]);
  }
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    S was[K + 1], on_now[K + 1], on_was[K + 1], on_g;
    for (int j = 0; j < K; ++j) {
      was[j] = m[j][i];
      on_now[j] = cn[j][i];
    }
    rule.pullback(static_cast<S>(g[i]), was, static_cast<S>(cd[i]), on_now, on_g, on_was);
    for (int j = 0; j < K; ++j) dm[j][i] = on_was[j];
    dg[i] = static_cast<T>(on_g);
  }
}

template <template <class> class R, int K, class T, class S>
METAPHYS_INLINE void in_place_loop(const Leaf& a, int64_t begin, int64_t end) {
  const R<S> rule(a.numbers, a.factors);
  const T* g = static_cast<const T*>(a.in[0]);
  T* p = static_cast<T*>(a.out[0]);
  S* m[K + 1];
  for (int j = 0; j < K; ++j) m[j] = static_cast<S*>(a.out[1 + j]);
  const S decay = a.weight_decay, shrink = a.shrink, sign = a.sign;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S pi = static_cast<S>(p[i]);
    S was[K + 1], now[K + 1], step;
    for (int j = 0; j < K; ++j) was[j] = m[j][i];
    rule.update(sign * static_cast<S>(g[i]) + decay * pi, was, step, now);
    for (int j = 0; j < K; ++j) m[j][i] = now[j];
    p[i] = static_cast<T>(pi + shrink * pi + step);
  }
}

using Loop = void (*)(const Leaf&, int64_t, int64_t);

// The loops of a rule by dtype: float32, float64, bfloat16, float16.
struct Loops {
  int64_t moments;
  size_t numbers, factors;
  std::array<Loop, 4> update, pullback, in_place;
};

inline Loop loop_of(const std::array<Loop, 4>& loops, ScalarType type) {
  switch (type) {
    case ScalarType::Double: return loops[1];
    case ScalarType::BFloat16: return loops[2];
    case ScalarType::Half: return loops[3];
    default: return loops[0];  // float32: check_list has refused every other
  }
}

#define METAPHYS_LOOP(NAME, LOOP, RULE, K, T, S)                                           \
  METAPHYS_CLONES void NAME(const Leaf& a, int64_t b, int64_t e) { LOOP<RULE, K, T, S>(a, b, e); }
#define METAPHYS_LOOPS(NAME, LOOP, RULE, K)                       \
  METAPHYS_LOOP(NAME##_##LOOP##_f32, LOOP, RULE, K, float, float)    \
  METAPHYS_LOOP(NAME##_##LOOP##_f64, LOOP, RULE, K, double, double)  \
  METAPHYS_LOOP(NAME##_##LOOP##_bf16, LOOP, RULE, K, BFloat16, float) \
  METAPHYS_LOOP(NAME##_##LOOP##_f16, LOOP, RULE, K, Half, float)
#define METAPHYS_BY_DTYPE(NAME) {NAME##_f32, NAME##_f64, NAME##_bf16, NAME##_f16}

// Defines `NAME`, the Loops of the template `RULE` with K moments.
#define METAPHYS_RULE(NAME, RULE, K, NUMBERS, FACTORS)                                      \
  METAPHYS_LOOPS(NAME, update_loop, RULE, K)                                                \
  METAPHYS_LOOPS(NAME, pullback_loop, RULE, K)                                              \
  METAPHYS_LOOPS(NAME, in_place_loop, RULE, K)                                              \
  const Loops NAME{K, NUMBERS, FACTORS, {METAPHYS_BY_DTYPE(NAME##_update_loop)},            \
                   {METAPHYS_BY_DTYPE(NAME##_pullback_loop)},                               \
                   {METAPHYS_BY_DTYPE(NAME##_in_place_loop)}};

// The moments of all leaves come in one list: the first moment of each leaf, then the second.
inline Tensors slice(const Tensors& list, size_t n, size_t part) {
  return Tensors(list.begin() + part * n, list.begin() + (part + 1) * n);
}

class Arguments {
 public:
  Arguments(const Loops& loops, Tensors grads, const Tensors& moments, Tensor factors,
            const Numbers& numbers)
      : loops_(loops), factors_(std::move(factors)), numbers_(numbers) {
    check_list(grads, grads, false, "grads");
    const size_t n = grads.size();
    check_length(moments, n * loops.moments, "moments");
    STD_TORCH_CHECK(numbers.size() == loops.numbers, "`numbers` must hold ", loops.numbers,
                    " numbers, but got ", numbers.size(), ".");
    STD_TORCH_CHECK(factors_.is_cpu() && factors_.scalar_type() == ScalarType::Double &&
                        factors_.dim() == 2 && factors_.size(0) == static_cast<int64_t>(n) &&
                        factors_.size(1) == static_cast<int64_t>(loops.factors),
                    "`factors` must be a float64 CPU tensor of shape (", n, ", ", loops.factors,
                    ").");
    if (!factors_.is_contiguous()) factors_ = torch::stable::contiguous(factors_);
    lists.push_back(contiguous(grads));
    for (int64_t j = 0; j < loops.moments; ++j) add(slice(moments, n, j), true, "moments");
  }

  void add(const Tensors& list, bool is_state, const char* name) {
    check_list(list, lists[0], is_state, name);
    lists.push_back(contiguous(list));
  }

  // Runs `loop` over all leaves, reading `lists` and writing `results`.
  void run(const std::array<Loop, 4>& loops, const std::vector<Tensors>& results,
           Leaf leaf = {}) const {
    const double* factors = static_cast<const double*>(factors_.const_data_ptr());
    for_each_chunk(lists[0], [&](size_t t, int64_t begin, int64_t end) {
      std::array<const void*, 8> in;
      std::array<void*, 4> out;
      for (size_t j = 0; j < lists.size(); ++j) in[j] = lists[j][t].const_data_ptr();
      for (size_t j = 0; j < results.size(); ++j) out[j] = results[j][t].mutable_data_ptr();
      Leaf a = leaf;
      a.numbers = numbers_.data();
      a.factors = factors + t * loops_.factors;
      a.in = in.data();
      a.out = out.data();
      loop_of(loops, lists[0][t].scalar_type())(a, begin, end);
    });
  }

  std::vector<Tensors> lists;  // grads, each moment, and what is added

 private:
  const Loops& loops_;
  Tensor factors_;
  const Numbers& numbers_;
};

using Pair = std::tuple<Tensors, Tensors>;

inline Pair joined(std::vector<Tensors> results) {
  Tensors moments;
  for (size_t j = 1; j < results.size(); ++j)
    moments.insert(moments.end(), results[j].begin(), results[j].end());
  return {std::move(results[0]), std::move(moments)};
}

inline std::vector<Tensors> results_of(const Arguments& arguments, int64_t moments) {
  std::vector<Tensors> results;
  for (int64_t j = 0; j <= moments; ++j) results.push_back(results_like(arguments.lists[j]));
  return results;
}

template <const Loops& L>
Pair update(Tensors grads, Tensors moments, Tensor factors, Numbers numbers) {
  Arguments arguments(L, grads, moments, factors, numbers);
  std::vector<Tensors> results = results_of(arguments, L.moments);
  arguments.run(L.update, results);
  return joined(std::move(results));
}

template <const Loops& L>
Pair update_vjp(Tensors cot_updates, Tensors cot_moments, Tensors grads, Tensors moments,
                Tensor factors, Numbers numbers) {
  Arguments arguments(L, grads, moments, factors, numbers);
  std::vector<Tensors> results = results_of(arguments, L.moments);
  const size_t n = grads.size();
  arguments.add(cot_updates, false, "cot_updates");
  check_length(cot_moments, n * L.moments, "cot_moments");
  for (int64_t j = 0; j < L.moments; ++j)
    arguments.add(slice(cot_moments, n, j), true, "cot_moments");
  arguments.run(L.pullback, results);
  return joined(std::move(results));
}

template <const Loops& L>
void update_(Tensors params, Tensors grads, Tensors moments, Tensor factors, Numbers numbers,
             double weight_decay, double shrink, bool maximize) {
  Arguments arguments(L, grads, moments, factors, numbers);
  check_list(params, grads, false, "params");
  std::vector<InOut> written;
  written.emplace_back(params);
  for (int64_t j = 0; j < L.moments; ++j) written.emplace_back(slice(moments, grads.size(), j));
  std::vector<Tensors> results;
  for (const InOut& each : written) results.push_back(each.work());
  Leaf leaf{};
  leaf.weight_decay = weight_decay;
  leaf.shrink = shrink;
  leaf.sign = maximize ? -1.0 : 1.0;
  arguments.run(L.in_place, results, leaf);
  for (InOut& each : written) each.write_back();
}

// 1/x for x > 0, and 0 at 0 with a derivative of 0. A NaN stays one, as in the reference.
template <class S>
METAPHYS_INLINE S reciprocal(S x) {
  return x <= S(0) ? S(0) : S(1) / x;
}

// √ has no derivative at 0; it is taken as 0 there.
template <class S>
METAPHYS_INLINE S half_over(S root) {
  return root <= S(0) ? S(0) : S(0.5) / root;
}

}  // namespace metaphys
