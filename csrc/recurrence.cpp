#include "recurrence.h"

#include "chunks.h"
#include "results.h"

// A step waits for the one before, so that the time of one wave is that of its longest chain of
// operations: kLanes waves go through the steps together, in vector registers.
namespace metaphys {
namespace {

constexpr int64_t kLanes = 16;

struct Waves {
  int64_t batch, length, lines;
  const void *in, *more;  // u; or b and d
  const void *matrix, *kick, *offset, *slope;
  void* out;
};

// What a block of waves has of its own: one entry a lane, of the unit that the wave belongs to.
template <class S>
struct Lanes {
  S m00[kLanes], m01[kLanes], m10[kLanes], m11[kLanes], k0[kLanes], k1[kLanes];
  S a[kLanes] = {}, f[kLanes] = {}, x[kLanes];
  int32_t line[kLanes];
  int64_t at[kLanes];  // where the wave begins
};

// Lanes beyond the last wave repeat it; their results are not stored.
template <class S>
METAPHYS_INLINE void begin_block(const Waves& w, int64_t first, int64_t last, Lanes<S>& l) {
  const S* m = static_cast<const S*>(w.matrix);
  const S* k = static_cast<const S*>(w.kick);
  for (int64_t r = 0; r < kLanes; ++r) {
    const int64_t wave = std::min(first + r, last - 1), unit = wave / w.batch;
    l.m00[r] = m[4 * unit];
    l.m01[r] = m[4 * unit + 1];
    l.m10[r] = m[4 * unit + 2];
    l.m11[r] = m[4 * unit + 3];
    l.k0[r] = k[2 * unit];
    l.k1[r] = k[2 * unit + 1];
    l.line[r] = static_cast<int32_t>(unit * w.lines);
    l.at[r] = wave * w.length;
  }
}

template <class S>
METAPHYS_INLINE void advance(Lanes<S>& l) {
  METAPHYS_NO_ALIAS
  for (int64_t r = 0; r < kLanes; ++r) {
    const S a = l.a[r], f = l.f[r];
    l.a[r] = l.k0[r] * l.x[r] + l.m00[r] * a + l.m01[r] * f;
    l.f[r] = l.k1[r] * l.x[r] + l.m10[r] * a + l.m11[r] * f;
  }
}

template <class S>
METAPHYS_INLINE void solve(const Waves& w, int64_t begin, int64_t end) {
  const S* __restrict b = static_cast<const S*>(w.in);
  const S* __restrict d = static_cast<const S*>(w.more);
  S* __restrict out = static_cast<S*>(w.out);
  for (int64_t first = begin; first < end; first += kLanes) {
    const int64_t count = std::min(kLanes, end - first);
    Lanes<S> l;
    begin_block(w, first, end, l);
    for (int64_t n = 0; n < w.length; ++n) {
      METAPHYS_NO_ALIAS
      for (int64_t r = 0; r < kLanes; ++r) l.x[r] = b[l.at[r] + n] - d[l.at[r] + n] * l.f[r];
      for (int64_t r = 0; r < count; ++r) out[l.at[r] + n] = l.x[r];
      advance(l);
    }
  }
}

template <class S>
METAPHYS_INLINE void loaded(const Waves& w, int64_t begin, int64_t end) {
  const S* __restrict u = static_cast<const S*>(w.in);
  const S* __restrict offset = static_cast<const S*>(w.offset);
  const S* __restrict slope = static_cast<const S*>(w.slope);
  S* __restrict out = static_cast<S*>(w.out);
  const S points = static_cast<S>(w.lines + 1), last = static_cast<S>(w.lines - 1);
  for (int64_t first = begin; first < end; first += kLanes) {
    const int64_t count = std::min(kLanes, end - first);
    Lanes<S> l;
    begin_block(w, first, end, l);
    for (int64_t n = 0; n < w.length; ++n) {
      S s[kLanes];
      METAPHYS_NO_ALIAS
      for (int64_t r = 0; r < kLanes; ++r) {
        s[r] = u[l.at[r] + n] - l.f[r];
        // Written so that NaN takes some line: it stays NaN, and nothing is read elsewhere.
        const S up = s[r] > S(0) ? s[r] : S(0);
        const S place = up / (up + S(1)) * points;
        const int32_t line = l.line[r] + static_cast<int32_t>(place < last ? place : last);
        l.x[r] = offset[line] + slope[line] * s[r];
      }
      for (int64_t r = 0; r < count; ++r) out[l.at[r] + n] = s[r];
      advance(l);
    }
  }
}

#define METAPHYS_RECURRENCE(FUNCTION)                                              \
  METAPHYS_CLONES void FUNCTION##_f32(const Waves& w, int64_t b, int64_t e) {      \
    FUNCTION<float>(w, b, e);                                                      \
  }                                                                                \
  METAPHYS_CLONES void FUNCTION##_f64(const Waves& w, int64_t b, int64_t e) {      \
    FUNCTION<double>(w, b, e);                                                     \
  }                                                                                \
  void FUNCTION##_all(const Waves& w, int64_t waves, bool wide) {                  \
    const int64_t grain = std::max(kLanes, kChunk / std::max<int64_t>(w.length, 1)); \
    torch::stable::parallel_for(0, waves, grain, [&](int64_t b, int64_t e) {       \
      wide ? FUNCTION##_f64(w, b, e) : FUNCTION##_f32(w, b, e);                    \
    });                                                                            \
  }
METAPHYS_RECURRENCE(solve)
METAPHYS_RECURRENCE(loaded)

void check_shape(const Tensor& t, const Tensor& like, std::vector<int64_t> sizes,
                 const char* name) {
  STD_TORCH_CHECK(t.is_cpu() && t.scalar_type() == like.scalar_type(), "`", name,
                  "` must be a CPU tensor of the waves' dtype.");
  bool same = t.dim() == static_cast<int64_t>(sizes.size());
  for (size_t d = 0; same && d < sizes.size(); ++d) same = t.size(d) == sizes[d];
  STD_TORCH_CHECK(same, "`", name, "` has a shape that does not fit the waves.");
}

Waves checked(const Tensor& in, Tensor& matrix, Tensor& kick) {
  STD_TORCH_CHECK(in.dim() == 3 && (in.scalar_type() == ScalarType::Float ||
                                    in.scalar_type() == ScalarType::Double),
                  "waves must be float32 or float64 and of shape (units, batch, samples).");
  check_shape(matrix, in, {in.size(0), 2, 2}, "matrix");
  check_shape(kick, in, {in.size(0), 2}, "kick");
  matrix = torch::stable::contiguous(matrix);
  kick = torch::stable::contiguous(kick);
  Waves w{};
  w.batch = in.size(1);
  w.length = in.size(2);
  w.in = in.const_data_ptr();
  w.matrix = matrix.const_data_ptr();
  w.kick = kick.const_data_ptr();
  return w;
}

}  // namespace

Tensor recurrence_solve(Tensor d, Tensor b, Tensor matrix, Tensor kick) {
  d = torch::stable::contiguous(d);
  b = torch::stable::contiguous(b);
  Waves w = checked(b, matrix, kick);
  check_shape(d, b, {b.size(0), b.size(1), b.size(2)}, "d");
  Tensor x = result_like(b);
  w.more = d.const_data_ptr();
  w.out = x.mutable_data_ptr();
  solve_all(w, b.size(0) * b.size(1), b.scalar_type() == ScalarType::Double);
  return x;
}

Tensor recurrence_loaded(Tensor u, Tensor matrix, Tensor kick, Tensor offset, Tensor slope) {
  u = torch::stable::contiguous(u);
  Waves w = checked(u, matrix, kick);
  STD_TORCH_CHECK(offset.dim() == 2 && offset.size(1) >= 1, "`offset` must have a line.");
  w.lines = offset.size(1);
  STD_TORCH_CHECK(u.size(0) * w.lines < (int64_t{1} << 31), "`offset` has too many lines.");
  check_shape(offset, u, {u.size(0), w.lines}, "offset");
  check_shape(slope, u, {u.size(0), w.lines}, "slope");
  offset = torch::stable::contiguous(offset);
  slope = torch::stable::contiguous(slope);
  Tensor s = result_like(u);
  w.offset = offset.const_data_ptr();
  w.slope = slope.const_data_ptr();
  w.out = s.mutable_data_ptr();
  loaded_all(w, u.size(0) * u.size(1), u.scalar_type() == ScalarType::Double);
  return s;
}

}  // namespace metaphys
