#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g²,  u = scale · m' / c1 · (r / (√v' + eps) + plain).
// Numbers: b1, b2, eps, scale. Factors: c1 = 1 - b1^t, r and plain, one of which is 0.
template <class S>
struct RAdam {
  S b1, a1, b2, a2, eps, adaptive, plain;

  RAdam(const double* k, const double* f)
      : b1(k[0]), a1(1.0 - k[0]), b2(k[1]), a2(1.0 - k[1]), eps(k[2]),
        adaptive(k[3] / f[0] * f[1]), plain(k[3] / f[0] * f[2]) {}

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    n[0] = b1 * m[0] + a1 * g;
    n[1] = b2 * m[1] + a2 * g * g;
    d = n[0] * (adaptive * reciprocal(std::sqrt(n[1]) + eps) + plain);
  }

  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    const S mean = b1 * m[0] + a1 * g, root = std::sqrt(b2 * m[1] + a2 * g * g);
    const S over = reciprocal(root + eps);
    const S on_mean = cn[0] + cd * (adaptive * over + plain);
    const S on_nu = cn[1] - cd * mean * adaptive * over * over * half_over(root);
    dm[0] = b1 * on_mean;
    dm[1] = b2 * on_nu;
    dg = a1 * on_mean + S(2) * a2 * g * on_nu;
  }
};

}  // namespace

METAPHYS_RULE(radam, RAdam, 2, 4, 3)

}  // namespace metaphys
