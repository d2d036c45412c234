#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// m' = b1 m + (1 - b1) g,  n' = max(b2 n, |g| + eps),  u = scale · m' / (c1 n').
// Numbers: b1, b2, eps, scale. Factors: c1 = 1 - b1^t.
template <class S>
struct Adamax {
  S b1, a1, b2, eps, scale;

  Adamax(const double* k, const double* f)
      : b1(k[0]), a1(1.0 - k[0]), b2(k[1]), eps(k[2]), scale(k[3] / f[0]) {}

  // As torch.maximum: what is not a number stays none.
  static METAPHYS_INLINE S larger(S a, S b) { return a > b || a != a ? a : b; }

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    n[0] = b1 * m[0] + a1 * g;
    n[1] = larger(b2 * m[1], std::abs(g) + eps);
    d = scale * n[0] / n[1];
  }

  // |g| has the derivative 0 at 0; a maximum of equals passes half to each, as torch.maximum.
  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    const S mean = b1 * m[0] + a1 * g, old = b2 * m[1], fresh = std::abs(g) + eps;
    const S over = S(1) / larger(old, fresh), by = scale * cd * over;
    const S on_mean = cn[0] + by, on_norm = cn[1] - by * mean * over;
    const S share = old > fresh ? S(1) : (old == fresh ? S(0.5) : S(0));
    const S side = g > S(0) ? S(1) : (g < S(0) ? S(-1) : S(0));
    dm[0] = b1 * on_mean;
    dm[1] = b2 * share * on_norm;
    dg = a1 * on_mean + side * (S(1) - share) * on_norm;
  }
};

}  // namespace

METAPHYS_RULE(adamax, Adamax, 2, 4, 1)

}  // namespace metaphys
