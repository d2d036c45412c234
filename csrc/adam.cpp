#include "adam.h"

#include "chunks.h"
#include "results.h"

#include <cmath>

namespace metaphys {
namespace {

// m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g²,
// u  = scale · (m'/c1) / (√(v'/c2 + eps_root) + eps),  c1 = 1 - b1^t,  c2 = 1 - b2^t.
struct Constants {
  double b1, b2, eps, eps_root, scale;
};

// The bias corrections of one leaf; float64, because b2^t in float32 is 2e-5 off.
struct Corrections {
  double over_c1, over_c2;
  Corrections(const Constants& k, int64_t step)
      : over_c1(1.0 / (1.0 - std::pow(k.b1, static_cast<double>(step)))),
        over_c2(1.0 / (1.0 - std::pow(k.b2, static_cast<double>(step)))) {}
};

struct Forward {
  Constants k;
  Corrections c;
  const void *g, *m, *v;
  void *u, *m1, *v1;
};

template <class T, class S>
METAPHYS_INLINE void forward(const Forward& a, int64_t begin, int64_t end) {
  const T* __restrict g = static_cast<const T*>(a.g);
  const S* __restrict m = static_cast<const S*>(a.m);
  const S* __restrict v = static_cast<const S*>(a.v);
  T* __restrict u = static_cast<T*>(a.u);
  S* __restrict m1 = static_cast<S*>(a.m1);
  S* __restrict v1 = static_cast<S*>(a.v1);
  const S b1 = a.k.b1, b2 = a.k.b2, a1 = 1.0 - a.k.b1, a2 = 1.0 - a.k.b2;
  const S eps = a.k.eps, eps_root = a.k.eps_root;
  const S over_c2 = a.c.over_c2, top = a.k.scale * a.c.over_c1;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S gi = static_cast<S>(g[i]);
    const S mi = b1 * m[i] + a1 * gi;
    const S vi = b2 * v[i] + a2 * gi * gi;
    m1[i] = mi;
    v1[i] = vi;
    u[i] = static_cast<T>(top * mi / (std::sqrt(vi * over_c2 + eps_root) + eps));
  }
}
METAPHYS_INSTANTIATE(forward, Forward)

struct Backward {
  Constants k;
  Corrections c;
  const void *cu, *cm, *cv, *g, *m1, *v1;
  void *dg, *dm, *dv;
};

// √ has no derivative at 0; it is taken as 0 there, so that a gradient that is exactly zero
// passes ∂u/∂g = scale (1 - b1) / (c1 eps) on instead of NaN.
template <class T, class S>
METAPHYS_INLINE void backward(const Backward& a, int64_t begin, int64_t end) {
  const T* __restrict cu = static_cast<const T*>(a.cu);
  const S* __restrict cm = static_cast<const S*>(a.cm);
  const S* __restrict cv = static_cast<const S*>(a.cv);
  const T* __restrict g = static_cast<const T*>(a.g);
  const S* __restrict m1 = static_cast<const S*>(a.m1);
  const S* __restrict v1 = static_cast<const S*>(a.v1);
  T* __restrict dg = static_cast<T*>(a.dg);
  S* __restrict dm = static_cast<S*>(a.dm);
  S* __restrict dv = static_cast<S*>(a.dv);
  const S b1 = a.k.b1, b2 = a.k.b2, a1 = 1.0 - a.k.b1, a2 = 1.0 - a.k.b2;
  const S eps = a.k.eps, eps_root = a.k.eps_root;
  const S over_c2 = a.c.over_c2, half_over_c2 = 0.5 * a.c.over_c2;
  const S top = a.k.scale * a.c.over_c1;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S root = std::sqrt(v1[i] * over_c2 + eps_root);
    const S over = S(1) / (root + eps);
    const S by_m = static_cast<S>(cu[i]) * top * over;
    const S slope = root > S(0) ? half_over_c2 / root : S(0);
    const S on_m = cm[i] + by_m;
    const S on_v = cv[i] - by_m * m1[i] * over * slope;
    dg[i] = static_cast<T>(a1 * on_m + S(2) * a2 * static_cast<S>(g[i]) * on_v);
    dm[i] = b1 * on_m;
    dv[i] = b2 * on_v;
  }
}
METAPHYS_INSTANTIATE(backward, Backward)

struct InPlace {
  Constants k;
  Corrections c;
  double weight_decay;
  bool decoupled, maximize;
  void *p, *m, *v;
  const void* g;
};

template <class T, class S>
METAPHYS_INLINE void in_place(const InPlace& a, int64_t begin, int64_t end) {
  T* __restrict p = static_cast<T*>(a.p);
  const T* __restrict g = static_cast<const T*>(a.g);
  S* __restrict m = static_cast<S*>(a.m);
  S* __restrict v = static_cast<S*>(a.v);
  const S b1 = a.k.b1, b2 = a.k.b2, a1 = 1.0 - a.k.b1, a2 = 1.0 - a.k.b2;
  const S eps = a.k.eps, eps_root = a.k.eps_root;
  const S over_c2 = a.c.over_c2, top = a.k.scale * a.c.over_c1;
  const S sign = a.maximize ? -1.0 : 1.0;
  const S coupled = a.decoupled ? 0.0 : a.weight_decay;
  const S shrink = a.decoupled ? a.k.scale * a.weight_decay : 0.0;
  METAPHYS_NO_ALIAS
  for (int64_t i = begin; i < end; ++i) {
    const S pi = static_cast<S>(p[i]);
    const S gi = sign * static_cast<S>(g[i]) + coupled * pi;
    const S mi = b1 * m[i] + a1 * gi;
    const S vi = b2 * v[i] + a2 * gi * gi;
    m[i] = mi;
    v[i] = vi;
    p[i] = static_cast<T>(pi + shrink * pi +
                          top * mi / (std::sqrt(vi * over_c2 + eps_root) + eps));
  }
}
METAPHYS_INSTANTIATE(in_place, InPlace)

}  // namespace

std::tuple<Tensors, Tensors, Tensors> adam(Tensors grads, Tensors mu, Tensors nu, Tensor count,
                                           double b1, double b2, double eps, double eps_root,
                                           double scale) {
  check_list(grads, grads, false, "grads");
  check_list(mu, grads, true, "mu");
  check_list(nu, grads, true, "nu");
  const int64_t* steps = step_counts(count, grads.size());
  const Constants k{b1, b2, eps, eps_root, scale};
  grads = contiguous(grads);
  mu = contiguous(mu);
  nu = contiguous(nu);
  Tensors u = results_like(grads), m1 = results_like(mu), v1 = results_like(nu);
  for_each_chunk(grads, [&](size_t t, int64_t begin, int64_t end) {
    const Forward a{k, Corrections(k, steps[t]), grads[t].const_data_ptr(), mu[t].const_data_ptr(),
                    nu[t].const_data_ptr(), u[t].mutable_data_ptr(), m1[t].mutable_data_ptr(),
                    v1[t].mutable_data_ptr()};
    METAPHYS_DISPATCH(grads[t].scalar_type(), forward, a, begin, end)
  });
  return {std::move(u), std::move(m1), std::move(v1)};
}

std::tuple<Tensors, Tensors, Tensors> adam_vjp(Tensors cot_updates, Tensors cot_mu, Tensors cot_nu,
                                               Tensors grads, Tensors mu, Tensors nu, Tensor count,
                                               double b1, double b2, double eps, double eps_root,
                                               double scale) {
  check_list(grads, grads, false, "grads");
  check_list(cot_updates, grads, false, "cot_updates");
  check_list(cot_mu, grads, true, "cot_mu");
  check_list(cot_nu, grads, true, "cot_nu");
  check_list(mu, grads, true, "mu");
  check_list(nu, grads, true, "nu");
  const int64_t* steps = step_counts(count, grads.size());
  const Constants k{b1, b2, eps, eps_root, scale};
  cot_updates = contiguous(cot_updates);
  cot_mu = contiguous(cot_mu);
  cot_nu = contiguous(cot_nu);
  grads = contiguous(grads);
  mu = contiguous(mu);
  nu = contiguous(nu);
  Tensors dg = results_like(grads), dm = results_like(mu), dv = results_like(nu);
  for_each_chunk(grads, [&](size_t t, int64_t begin, int64_t end) {
    const Backward a{k, Corrections(k, steps[t]), cot_updates[t].const_data_ptr(),
                     cot_mu[t].const_data_ptr(), cot_nu[t].const_data_ptr(),
                     grads[t].const_data_ptr(), mu[t].const_data_ptr(), nu[t].const_data_ptr(),
                     dg[t].mutable_data_ptr(), dm[t].mutable_data_ptr(), dv[t].mutable_data_ptr()};
    METAPHYS_DISPATCH(grads[t].scalar_type(), backward, a, begin, end)
  });
  return {std::move(dg), std::move(dm), std::move(dv)};
}

void adam_(Tensors params, Tensors grads, Tensors mu, Tensors nu, Tensor count, double b1,
           double b2, double eps, double eps_root, double scale, double weight_decay,
           bool decoupled, bool maximize) {
  check_list(grads, grads, false, "grads");
  check_list(params, grads, false, "params");
  check_list(mu, grads, true, "mu");
  check_list(nu, grads, true, "nu");
  const int64_t* steps = step_counts(count, grads.size());
  const Constants k{b1, b2, eps, eps_root, scale};
  grads = contiguous(grads);
  InOut p(params), m(mu), v(nu);
  for_each_chunk(grads, [&](size_t t, int64_t begin, int64_t end) {
    const InPlace a{k, Corrections(k, steps[t]), weight_decay, decoupled, maximize,
                    p.work()[t].mutable_data_ptr(), m.work()[t].mutable_data_ptr(),
                    v.work()[t].mutable_data_ptr(), grads[t].const_data_ptr()};
    METAPHYS_DISPATCH(grads[t].scalar_type(), in_place, a, begin, end)
  });
  p.write_back();
  m.write_back();
  v.write_back();
}

}  // namespace metaphys
