#include "rules.h"

namespace metaphys {
namespace {

// u = scale · sign(b1 m + (1 - b1) g),  m' = b2 m + (1 - b2) g.
// Numbers: b1, b2, scale.
template <class S>
struct Lion {
  S b1, a1, b2, a2, scale;

  Lion(const double* k, const double*)
      : b1(k[0]), a1(1.0 - k[0]), b2(k[1]), a2(1.0 - k[1]), scale(k[2]) {}

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    const S mean = b1 * m[0] + a1 * g;
    d = mean > S(0) ? scale : (mean < S(0) ? -scale : S(0) * mean);  // NaN stays NaN
    n[0] = b2 * m[0] + a2 * g;
  }

  METAPHYS_INLINE void pullback(S, const S*, S, const S* cn, S& dg, S* dm) const {
    dg = a2 * cn[0];
    dm[0] = b2 * cn[0];
  }
};

}  // namespace

METAPHYS_RULE(lion, Lion, 1, 3, 0)

}  // namespace metaphys
