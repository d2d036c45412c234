#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// v' = α v + (1 - α) g²,  x = g / (√(v' - m'²) + eps),  m' = α m + (1 - α) g where centered;
// u = scale x, or with momentum b' = μ b + x and u = scale b' (nesterov: scale (x + μ b')).
// Numbers: alpha, eps, momentum, nesterov, scale.
template <class S, bool centered, bool traced>
struct RMSpropOf {
  static constexpr int kMean = 1, kTrace = centered ? 2 : 1;
  S alpha, rest, eps, momentum, on_x, on_trace;

  RMSpropOf(const double* k, const double*)
      : alpha(k[0]), rest(1.0 - k[0]), eps(k[1]), momentum(k[2]),
        on_x(traced ? k[3] * k[4] : k[4]), on_trace((k[3] ? k[2] : 1.0) * k[4]) {}

  METAPHYS_INLINE S variance(S g, const S* m, S* n) const {
    n[0] = alpha * m[0] + rest * g * g;
    if (!centered) return n[0];
    n[kMean] = alpha * m[kMean] + rest * g;
    return n[0] - n[kMean] * n[kMean];
  }

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    const S x = g / (std::sqrt(std::max(variance(g, m, n), S(0))) + eps);
    d = on_x * x;
    if (!traced) return;
    n[kTrace] = momentum * m[kTrace] + x;
    d += on_trace * n[kTrace];
  }

  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    S n[3];
    const S root = std::sqrt(std::max(variance(g, m, n), S(0))), over = S(1) / (root + eps);
    S on = on_x * cd;
    if (traced) {
      const S total = cn[kTrace] + on_trace * cd;
      dm[kTrace] = momentum * total;
      on += total;
    }
    dg = on * over;
    const S on_variance = -dg * g * over * half_over(root), on_nu = cn[0] + on_variance;
    if (centered) {
      const S on_mean = cn[kMean] - S(2) * n[kMean] * on_variance;
      dm[kMean] = alpha * on_mean;
      dg += rest * on_mean;
    }
    dg += S(2) * rest * g * on_nu;
    dm[0] = alpha * on_nu;
  }
};

template <class S> using Plain = RMSpropOf<S, false, false>;
template <class S> using Traced = RMSpropOf<S, false, true>;
template <class S> using Centered = RMSpropOf<S, true, false>;
template <class S> using CenteredTraced = RMSpropOf<S, true, true>;

}  // namespace

METAPHYS_RULE(rmsprop, Plain, 1, 5, 0)
METAPHYS_RULE(rmsprop_momentum, Traced, 2, 5, 0)
METAPHYS_RULE(rmsprop_centered, Centered, 2, 5, 0)
METAPHYS_RULE(rmsprop_centered_momentum, CenteredTraced, 3, 5, 0)

}  // namespace metaphys
