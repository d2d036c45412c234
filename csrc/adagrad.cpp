#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// s' = s + g²,  u = scale · f · g / (√s' + eps),  f = 1 / (1 + (t - 1) lr_decay).
// Numbers: eps, scale. Factors: f.
template <class S>
struct Adagrad {
  S eps, scale;

  Adagrad(const double* k, const double* f) : eps(k[0]), scale(k[1] * f[0]) {}

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    n[0] = m[0] + g * g;
    d = scale * g / (std::sqrt(n[0]) + eps);
  }

  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    const S root = std::sqrt(m[0] + g * g), over = S(1) / (root + eps);
    dg = scale * cd * over;
    dm[0] = cn[0] - dg * g * over * half_over(root);
    dg += S(2) * g * dm[0];
  }
};

}  // namespace

METAPHYS_RULE(adagrad, Adagrad, 1, 2, 1)

}  // namespace metaphys
