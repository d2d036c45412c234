#include "sgd.h"

#include "chunks.h"
#include "results.h"

namespace metaphys {
namespace {

// b' = momentum b + keep g,  u = scale b'  (nesterov: u = scale (g + momentum b')),
// keep = 1 at a leaf's first step and 1 - dampening later. Without momentum u = scale g.
struct Forward {
  double momentum, keep, scale;
  bool nesterov, traced;
  const void *g, *b;
  void *u, *b1;
};

template <class T, class S>
METAPHYS_INLINE void forward(const Forward& a, int64_t begin, int64_t end) {
  const T* __restrict g = static_cast<const T*>(a.g);
  T* __restrict u = static_cast<T*>(a.u);
  const S scale = a.scale;
  if (!a.traced) {
    METAPHYS_NO_ALIAS
    for (int64_t i = begin; i < end; ++i) u[i] = static_cast<T>(scale * static_cast<S>(g[i]));
    return;
  }
  const S* __restrict b = static_cast<const S*>(a.b);
  S* __restrict b1 = static_cast<S*>(a.b1);
  const S momentum = a.momentum, keep = a.keep;
  const bool nesterov = a.nesterov;  // not a factor of 0: that would make a NaN of an infinity
  const S on_g = a.scale, on_b = nesterov ? a.scale * a.momentum : a.scale;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S gi = static_cast<S>(g[i]);
    const S bi = momentum * b[i] + keep * gi;
    b1[i] = bi;
    u[i] = static_cast<T>((nesterov ? on_g * gi : S(0)) + on_b * bi);
  }
}
METAPHYS_INSTANTIATE(forward, Forward)

struct Backward {
  double momentum, keep, scale;
  bool nesterov, traced;
  const void *cu, *cb;
  void *dg, *db;
};

template <class T, class S>
METAPHYS_INLINE void backward(const Backward& a, int64_t begin, int64_t end) {
  const T* __restrict cu = static_cast<const T*>(a.cu);
  T* __restrict dg = static_cast<T*>(a.dg);
  const S scale = a.scale;
  if (!a.traced) {
    METAPHYS_NO_ALIAS
    for (int64_t i = begin; i < end; ++i) dg[i] = static_cast<T>(scale * static_cast<S>(cu[i]));
    return;
  }
  const S* __restrict cb = static_cast<const S*>(a.cb);
  S* __restrict db = static_cast<S*>(a.db);
  const S momentum = a.momentum, keep = a.keep;
  const bool nesterov = a.nesterov;
  const S on_g = a.scale, on_b = nesterov ? a.scale * a.momentum : a.scale;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S c = static_cast<S>(cu[i]);
    const S total = cb[i] + on_b * c;
    dg[i] = static_cast<T>((nesterov ? on_g * c : S(0)) + keep * total);
    db[i] = momentum * total;
  }
}
METAPHYS_INSTANTIATE(backward, Backward)

struct InPlace {
  double momentum, keep, scale, weight_decay;
  bool nesterov, traced, maximize;
  void *p, *b;
  const void* g;
};

template <class T, class S>
METAPHYS_INLINE void in_place(const InPlace& a, int64_t begin, int64_t end) {
  T* __restrict p = static_cast<T*>(a.p);
  const T* __restrict g = static_cast<const T*>(a.g);
  const S sign = a.maximize ? -1.0 : 1.0;
  const S decay = a.weight_decay, scale = a.scale;
  if (!a.traced) {
    METAPHYS_NO_ALIAS
    for (int64_t i = begin; i < end; ++i) {
      const S pi = static_cast<S>(p[i]);
      p[i] = static_cast<T>(pi + scale * (sign * static_cast<S>(g[i]) + decay * pi));
    }
    return;
  }
  S* __restrict b = static_cast<S*>(a.b);
  const S momentum = a.momentum, keep = a.keep;
  const bool nesterov = a.nesterov;
  const S on_g = a.scale, on_b = nesterov ? a.scale * a.momentum : a.scale;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S pi = static_cast<S>(p[i]);
    const S gi = sign * static_cast<S>(g[i]) + decay * pi;
    const S bi = momentum * b[i] + keep * gi;
    b[i] = bi;
    p[i] = static_cast<T>(pi + (nesterov ? on_g * gi : S(0)) + on_b * bi);
  }
}
METAPHYS_INSTANTIATE(in_place, InPlace)

double kept(double dampening, int64_t step) { return step <= 1 ? 1.0 : 1.0 - dampening; }

}  // namespace

std::tuple<Tensors, Tensors> sgd(Tensors grads, Tensors trace, Tensor count, double momentum,
                                 double dampening, bool nesterov, double scale) {
  const bool traced = !trace.empty();
  check_list(grads, grads, false, "grads");
  if (traced) check_list(trace, grads, true, "trace");
  const int64_t* steps = step_counts(count, grads.size());
  grads = contiguous(grads);
  trace = contiguous(trace);
  Tensors u = results_like(grads), b1 = results_like(trace);
  for_each_chunk(grads, [&](size_t t, int64_t begin, int64_t end) {
    const Forward a{momentum, kept(dampening, steps[t]), scale, nesterov, traced,
                    grads[t].const_data_ptr(), traced ? trace[t].const_data_ptr() : nullptr,
                    u[t].mutable_data_ptr(), traced ? b1[t].mutable_data_ptr() : nullptr};
    METAPHYS_DISPATCH(grads[t].scalar_type(), forward, a, begin, end)
  });
  return {std::move(u), std::move(b1)};
}

std::tuple<Tensors, Tensors> sgd_vjp(Tensors cot_updates, Tensors cot_trace, Tensor count,
                                     double momentum, double dampening, bool nesterov,
                                     double scale) {
  const bool traced = !cot_trace.empty();
  check_list(cot_updates, cot_updates, false, "cot_updates");
  if (traced) check_list(cot_trace, cot_updates, true, "cot_trace");
  const int64_t* steps = step_counts(count, cot_updates.size());
  cot_updates = contiguous(cot_updates);
  cot_trace = contiguous(cot_trace);
  Tensors dg = results_like(cot_updates), db = results_like(cot_trace);
  for_each_chunk(cot_updates, [&](size_t t, int64_t begin, int64_t end) {
    const Backward a{momentum, kept(dampening, steps[t]), scale, nesterov, traced,
                     cot_updates[t].const_data_ptr(),
                     traced ? cot_trace[t].const_data_ptr() : nullptr, dg[t].mutable_data_ptr(),
                     traced ? db[t].mutable_data_ptr() : nullptr};
    METAPHYS_DISPATCH(cot_updates[t].scalar_type(), backward, a, begin, end)
  });
  return {std::move(dg), std::move(db)};
}

void sgd_(Tensors params, Tensors grads, Tensors trace, Tensor count, double momentum,
          double dampening, bool nesterov, double scale, double weight_decay, bool maximize) {
  const bool traced = !trace.empty();
  check_list(grads, grads, false, "grads");
  check_list(params, grads, false, "params");
  if (traced) check_list(trace, grads, true, "trace");
  const int64_t* steps = step_counts(count, grads.size());
  grads = contiguous(grads);
  InOut p(params), b(trace);
  for_each_chunk(grads, [&](size_t t, int64_t begin, int64_t end) {
    const InPlace a{momentum, kept(dampening, steps[t]), scale, weight_decay, nesterov, traced,
                    maximize, p.work()[t].mutable_data_ptr(),
                    traced ? b.work()[t].mutable_data_ptr() : nullptr, grads[t].const_data_ptr()};
    METAPHYS_DISPATCH(grads[t].scalar_type(), in_place, a, begin, end)
  });
  p.write_back();
  b.write_back();
}

}  // namespace metaphys
