#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g²,
// u = scale · (ahead m' + here g) / (√(v' / c2) + eps).
// Numbers: b1, b2, eps, scale. Factors: ahead, here, c2 = 1 - b2^t.
template <class S>
struct NAdam {
  S b1, a1, b2, a2, eps, ahead, here, over_c2;

  NAdam(const double* k, const double* f)
      : b1(k[0]), a1(1.0 - k[0]), b2(k[1]), a2(1.0 - k[1]), eps(k[2]), ahead(k[3] * f[0]),
        here(k[3] * f[1]), over_c2(1.0 / f[2]) {}

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    n[0] = b1 * m[0] + a1 * g;
    n[1] = b2 * m[1] + a2 * g * g;
    d = (ahead * n[0] + here * g) / (std::sqrt(n[1] * over_c2) + eps);
  }

  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    const S mean = b1 * m[0] + a1 * g;
    const S root = std::sqrt((b2 * m[1] + a2 * g * g) * over_c2), over = S(1) / (root + eps);
    const S by = cd * over;
    const S on_mean = cn[0] + ahead * by;
    const S on_nu = cn[1] - by * (ahead * mean + here * g) * over * half_over(root) * over_c2;
    dm[0] = b1 * on_mean;
    dm[1] = b2 * on_nu;
    dg = here * by + a1 * on_mean + S(2) * a2 * g * on_nu;
  }
};

}  // namespace

METAPHYS_RULE(nadam, NAdam, 2, 4, 3)

}  // namespace metaphys
