#include "rules.h"

#include <cmath>

namespace metaphys {
namespace {

// v' = ρ v + (1 - ρ) g²,  x = √(s + eps) / √(v' + eps) · g,  s' = ρ s + (1 - ρ) x²,  u = scale x.
// Numbers: rho, eps, scale.
template <class S>
struct Adadelta {
  S rho, rest, eps, scale;

  Adadelta(const double* k, const double*) : rho(k[0]), rest(1.0 - k[0]), eps(k[1]), scale(k[2]) {}

  METAPHYS_INLINE void update(S g, const S* m, S& d, S* n) const {
    n[0] = rho * m[0] + rest * g * g;
    const S x = std::sqrt(m[1] + eps) * reciprocal(std::sqrt(n[0] + eps)) * g;
    n[1] = rho * m[1] + rest * x * x;
    d = scale * x;
  }

  METAPHYS_INLINE void pullback(S g, const S* m, S cd, const S* cn, S& dg, S* dm) const {
    const S top = std::sqrt(m[1] + eps), root = std::sqrt(rho * m[0] + rest * g * g + eps);
    const S over = reciprocal(root), share = over * g;
    const S on_x = scale * cd + S(2) * rest * top * share * cn[1];
    const S on_nu = cn[0] - on_x * top * share * over * half_over(root);
    dm[0] = rho * on_nu;
    dm[1] = rho * cn[1] + on_x * share * half_over(top);
    dg = on_x * top * over + S(2) * rest * g * on_nu;
  }
};

}  // namespace

METAPHYS_RULE(adadelta, Adadelta, 2, 3, 0)

}  // namespace metaphys
