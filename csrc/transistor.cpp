#include "transistor.h"

#include "chunks.h"
#include "results.h"

#include <cmath>
#include <cstring>
#include <limits>

// The same iterations as metaphys/physics/circuit/_junctions.py, in registers: as operations on
// whole tensors they are a hundred passes over memory.
namespace metaphys {
namespace {

// Exponential and logarithm that the compiler vectorises; libm's are calls.
template <class S>
struct Bits;

template <>
struct Bits<float> {
  using Int = int32_t;
  static constexpr int kMantissa = 23;
  static constexpr Int kBias = 127, kMagic = 0x4B400000;
  static constexpr float magic = 12582912.0f;  // 1.5 · 2^23: its last bit is worth 1
  static constexpr float least = -86.0f, most = 88.722839f;
  static constexpr float ln2 = 0.693359375f, rest = -2.12194440e-4f;
  // S. L. Moshier, Cephes Mathematical Library, expf.
  static METAPHYS_INLINE float series(float r) {
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * r * r + r + 1.0f;
  }
};

template <>
struct Bits<double> {
  using Int = int64_t;
  static constexpr int kMantissa = 52;
  static constexpr Int kBias = 1023, kMagic = 0x4338000000000000;
  static constexpr double magic = 6755399441055744.0;
  static constexpr double least = -700.0, most = 709.782712893384;
  static constexpr double ln2 = 6.93145751953125e-1, rest = 1.42860682030941723212e-6;
  // The same, exp.
  static METAPHYS_INLINE double series(double r) {
    const double q = r * r;
    const double p = r * ((1.26177193074810590878e-4 * q + 3.02994407707441961300e-2) * q + 1.0);
    const double d = ((3.00198505138664455042e-6 * q + 2.52448340349684104192e-3) * q +
                      2.27265548208155028766e-1) * q + 2.0;
    return 1.0 + 2.0 * p / (d - p);
  }
};

template <class To, class From>
METAPHYS_INLINE To bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof(y));
  return y;
}

// e^x, to two units in the last place; e^least where x is smaller, and NaN for NaN.
template <class S>
METAPHYS_INLINE S exp_(S x) {
  using B = Bits<S>;
  S c = x < B::least ? B::least : x;
  c = c > B::most ? B::most : c;
  const S turned = c * S(1.4426950408889634) + B::magic, n = turned - B::magic;
  const S r = (c - n * B::ln2) - n * B::rest;
  // One power of two is taken out, so that the largest one is still a number.
  const typename B::Int power = bits<typename B::Int>(turned) - B::kMagic + (B::kBias - 1);
  const S y = B::series(r) * S(2) * bits<S>(power << B::kMantissa);
  return x > B::most ? std::numeric_limits<S>::infinity() : y;
}

// log x for x >= 1 to 1e-5: where an iteration starts.
template <class S>
METAPHYS_INLINE S log_(S x) {
  using B = Bits<S>;
  const typename B::Int whole = bits<typename B::Int>(x);
  const typename B::Int exponent = (whole >> B::kMantissa) - B::kBias;
  const S m = bits<S>(whole - (exponent << B::kMantissa)), t = (m - S(1)) / (m + S(1)), q = t * t;
  const S series = S(2) * t * (S(1) + q * (S(1. / 3) + q * (S(1. / 5) + q * S(1. / 7))));
  return static_cast<S>(exponent) * S(0.6931471805599453) + series;
}

template <class S>
struct Device {
  S Rs, Is, lis, lise, leak0, Vt, NeVt, Ne, Bf, Br, Rc, Vcc, a;
};

constexpr int64_t kParameters = 16, kFirst = 7;  // those before are of the linear circuit

// In the order of Parameters of _parameters.py.
template <class S>
METAPHYS_INLINE Device<S> device_of(const S* row) {
  const S* p = row + kFirst;
  const S Is = std::exp(p[1]);
  return {p[0], Is, p[1], p[2], std::exp(p[2]), p[5], p[6] * p[5], p[6], p[3], p[4],
          p[7], p[8], p[7] * (Is + Is / p[4])};
}

template <class S>
METAPHYS_INLINE S floored(S x) {
  return exp_(x < S(-60) ? S(-60) : x);
}

template <class S>
METAPHYS_INLINE S collector_side(S w, const Device<S>& d) {
  const S c = w - d.Vcc + d.Rc * (floored(w / d.Vt + d.lis) + d.Is / d.Br);
  const S ratio = c / d.a, bound = d.Vt * log_(ratio > S(1) ? ratio : S(1));
  S p = c < bound ? c : bound;
  for (int i = 0; i < 3; ++i) {
    const S ax = d.a * exp_(p / d.Vt);
    p = p - (p + ax - c) / (S(1) + ax / d.Vt);
  }
  return p;
}

template <class S>
METAPHYS_INLINE void newton(S s, S& w, S& p, const Device<S>& u) {
  const S forward = floored(w / u.Vt + u.lis), reverse = floored(p / u.Vt + u.lis);
  const S leak = floored(w / u.NeVt + u.lise);
  const S back = reverse / u.Br, excess = back - u.Is / u.Br;
  const S base = (forward - u.Is) / u.Bf + (leak - u.leak0) + excess;
  const S gw = (forward / u.Bf + leak / u.Ne) / u.Vt, gp = back / u.Vt;
  const S a = S(1) + u.Rs * gw, b = S(1) + u.Rc * forward / u.Vt;
  const S c = u.Rs * gp, d = S(-1) - u.Rc * (reverse + back) / u.Vt;
  const S det = a * d - c * b;
  const S F1 = w + u.Rs * base - s, F2 = w - p - u.Vcc + u.Rc * (forward - reverse - excess);
  w -= (d * F1 - c * F2) / det;
  p -= (a * F2 - b * F1) / det;
}

struct Elements {
  int64_t unit;  // elements of one unit
  int64_t all;
  const void *s, *w, *parameters;
  void* out;
};

template <class S>
METAPHYS_INLINE void voltages(const Elements& e, int64_t begin, int64_t end) {
  const S* __restrict s = static_cast<const S*>(e.s);
  const S* __restrict start = static_cast<const S*>(e.w);
  S* __restrict w = static_cast<S*>(e.out);
  S* __restrict p = w + e.all;
  while (begin < end) {
    const int64_t unit = begin / e.unit, last = std::min(end, (unit + 1) * e.unit);
    const Device<S> d = device_of(static_cast<const S*>(e.parameters) + kParameters * unit);
    METAPHYS_NO_ALIAS
    for (int64_t i = begin; i < last; ++i) {
      S wi = start[i], pi = collector_side(wi, d);
      newton(s[i], wi, pi, d);
      newton(s[i], wi, pi, d);
      w[i] = wi;
      p[i] = pi;
    }
    begin = last;
  }
}

METAPHYS_CLONES void voltages_f32(const Elements& e, int64_t begin, int64_t end) {
  voltages<float>(e, begin, end);
}
METAPHYS_CLONES void voltages_f64(const Elements& e, int64_t begin, int64_t end) {
  voltages<double>(e, begin, end);
}

}  // namespace

Tensor transistor_voltages(Tensor s, Tensor w, Tensor parameters) {
  const ScalarType type = s.scalar_type();
  STD_TORCH_CHECK(s.is_cpu() && s.dim() == 3 &&
                      (type == ScalarType::Float || type == ScalarType::Double),
                  "`s` must be float32 or float64, of shape (units, batch, samples), on the CPU.");
  check_leaf(w, s, type, "w", 0);
  STD_TORCH_CHECK(parameters.is_cpu() && parameters.scalar_type() == type &&
                      parameters.dim() == 2 && parameters.size(0) == s.size(0) &&
                      parameters.size(1) == kParameters,
                  "`parameters` must be of shape (units, 16) and of the dtype of `s`.");
  s = torch::stable::contiguous(s);
  w = torch::stable::contiguous(w);
  parameters = torch::stable::contiguous(parameters);
  Tensor out = torch::stable::new_empty(s, {2, s.size(0), s.size(1), s.size(2)});
  const Elements e{std::max<int64_t>(1, s.size(1) * s.size(2)), s.numel(), s.const_data_ptr(),
                   w.const_data_ptr(), parameters.const_data_ptr(), out.mutable_data_ptr()};
  torch::stable::parallel_for(0, e.all, kChunk / 8, [&](int64_t begin, int64_t end) {
    type == ScalarType::Double ? voltages_f64(e, begin, end) : voltages_f32(e, begin, end);
  });
  return out;
}

}  // namespace metaphys
