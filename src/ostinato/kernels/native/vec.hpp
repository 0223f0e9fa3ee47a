// One vector of the widest kind that the instruction set has. The compiler's vector extension gives the operators on
// every one of them; only what it lacks (rounding to a scale, reciprocals, bfloat16) is written by instruction set.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define OSTINATO_BYTES 64
#define OSTINATO_REGISTERS 32
#elif defined(__AVX2__)
#define OSTINATO_BYTES 32
#define OSTINATO_REGISTERS 16
#elif defined(__aarch64__)
#define OSTINATO_BYTES 16
#define OSTINATO_REGISTERS 32
#else
#define OSTINATO_BYTES 16
#define OSTINATO_REGISTERS 16
#endif

namespace {  // each instruction set is a translation unit of its own, and none of this may be shared between them

#define INLINE inline __attribute__((always_inline))

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using Int = int32_t;
  typedef float Lanes __attribute__((vector_size(OSTINATO_BYTES)));
  typedef int32_t Ints __attribute__((vector_size(OSTINATO_BYTES)));
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float lowest_log = -87.0f, highest_log = 88.0f;
};
template <>
struct Bits<double> {
  using Int = int64_t;
  typedef double Lanes __attribute__((vector_size(OSTINATO_BYTES)));
  typedef int64_t Ints __attribute__((vector_size(OSTINATO_BYTES)));
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double lowest_log = -708.0, highest_log = 709.0;
};

template <class T>
struct Vec {
  static constexpr int lanes = OSTINATO_BYTES / sizeof(T);
  using Lanes = typename Bits<T>::Lanes;
  using Ints = typename Bits<T>::Ints;
  Lanes v;

  INLINE Vec() = default;
  INLINE Vec(Lanes lanes_) : v(lanes_) {}
  INLINE Vec(T value) : v(value - Lanes{}) {}
  static INLINE Vec load(const T* from) {
    Vec out;
    std::memcpy(&out.v, from, sizeof out.v);
    return out;
  }
  INLINE void store(T* to) const { std::memcpy(to, &v, sizeof v); }
  // the first `count` lanes; the others are zero, or left as they are
  static INLINE Vec load(const T* from, int count) {
    if (__builtin_expect(count >= lanes, 1)) return load(from);
    return load_some(from, count);
  }
  INLINE void store(T* to, int count) const {
    if (__builtin_expect(count >= lanes, 1)) return store(to);
    store_some(to, count);
  }
  INLINE Vec first(int count) const {  // zero from lane `count` on, whatever stands there
    if (__builtin_expect(count >= lanes, 1)) return *this;
    return first_some(count);
  }
  // without a call of memcpy, around which a loop would have to save all its registers
  static INLINE Vec load_some(const T* from, int count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return (Lanes)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
    else return (Lanes)_mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), from);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) return (Lanes)_mm256_maskload_ps(from, (__m256i)below(count));
    else return (Lanes)_mm256_maskload_pd(from, (__m256i)below(count));
#else
    Vec out(T(0));
    for (int i = 0; i < lanes; ++i)
      if (i < count) out.v[i] = from[i];
    return out;
#endif
  }
  INLINE void store_some(T* to, int count) const {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)v);
    else _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), (__m512d)v);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) _mm256_maskstore_ps(to, (__m256i)below(count), (__m256)v);
    else _mm256_maskstore_pd(to, (__m256i)below(count), (__m256d)v);
#else
    for (int i = 0; i < lanes; ++i)
      if (i < count) to[i] = v[i];
#endif
  }
  INLINE Vec first_some(int count) const {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return (Lanes)_mm512_maskz_mov_ps(__mmask16((1u << count) - 1), (__m512)v);
    else return (Lanes)_mm512_maskz_mov_pd(__mmask8((1u << count) - 1), (__m512d)v);
#else
    return (Lanes)((Ints)v & below(count));
#endif
  }
  static INLINE Ints below(int count) {  // all bits of the lanes before lane `count`
    Ints lane{};
    for (int i = 0; i < lanes; ++i) lane[i] = i;
    return (Ints)(lane < (lane - lane + count));
  }
  INLINE T sum() const {
    T total = 0;
    for (int i = 0; i < lanes; ++i) total += v[i];
    return total;
  }
};

template <class T>
struct Mask {
  typename Vec<T>::Ints v;
  INLINE Mask operator!() const { return {~v}; }
  INLINE Mask operator&(Mask b) const { return {v & b.v}; }
  INLINE Mask operator|(Mask b) const { return {v | b.v}; }
};

#define ARITHMETIC(OP)                                                                        \
  template <class T> INLINE Vec<T> operator OP(Vec<T> a, Vec<T> b) { return a.v OP b.v; }      \
  template <class T> INLINE Vec<T> operator OP(Vec<T> a, typename Vec<T>::Lanes b) { return a.v OP b; }
ARITHMETIC(+)
ARITHMETIC(-)
ARITHMETIC(*)
ARITHMETIC(/)
#undef ARITHMETIC
template <class T> INLINE Vec<T> operator-(Vec<T> a) { return -a.v; }

#define COMPARISON(NAME, OP) \
  template <class T> INLINE Mask<T> NAME(Vec<T> a, Vec<T> b) { return {(typename Vec<T>::Ints)(a.v OP b.v)}; }
COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(gt, >)
COMPARISON(ge, >=)
COMPARISON(eq, ==)
COMPARISON(ne, !=)
#undef COMPARISON

template <class T> INLINE Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) { return m.v ? a.v : b.v; }
// a NaN in either goes through, as in torch
template <class T> INLINE Vec<T> maximum(Vec<T> a, Vec<T> b) { return select(ge(a, b), a, select(ne(a, a), a, b)); }
template <class T> INLINE Vec<T> minimum(Vec<T> a, Vec<T> b) { return select(le(a, b), a, select(ne(a, a), a, b)); }
template <class T> INLINE Vec<T> clamp(Vec<T> x, T low, T high) {  // NaN stays
  const Vec<T> l(low), h(high);
#if defined(__AVX512F__)
  // of max(a, b) where one is NaN the processor gives b
  if constexpr (sizeof(T) == 4) return (typename Vec<T>::Lanes)_mm512_min_ps(h.v, _mm512_max_ps(l.v, x.v));
  else return (typename Vec<T>::Lanes)_mm512_min_pd((__m512d)h.v, _mm512_max_pd((__m512d)l.v, (__m512d)x.v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return (typename Vec<T>::Lanes)_mm256_min_ps(h.v, _mm256_max_ps(l.v, x.v));
  else return (typename Vec<T>::Lanes)_mm256_min_pd((__m256d)h.v, _mm256_max_pd((__m256d)l.v, (__m256d)x.v));
#else
  x = select(lt(x, l), l, x);
  return select(gt(x, h), h, x);
#endif
}
template <class T> INLINE Vec<T> abs(Vec<T> x) { return select(lt(x, Vec<T>(T(0))), -x, x); }
template <class T> INLINE Vec<T> sign(Vec<T> x) {
  const Vec<T> zero(T(0)), one(T(1));
  return select(gt(x, zero), one, select(lt(x, zero), -one, x * zero));
}
template <class T> INLINE Vec<T> relu(Vec<T> x) { return select(lt(x, Vec<T>(T(0))), Vec<T>(T(0)), x); }
template <class T> INLINE Vec<T> sqrt(Vec<T> x) {
  for (int i = 0; i < Vec<T>::lanes; ++i) x.v[i] = __builtin_sqrt(x.v[i]);
  return x;
}

template <class T> INLINE Vec<T> reciprocal(Vec<T> x) { return Vec<T>(T(1)) / x; }
#if defined(__AVX512F__)
template <> INLINE Vec<float> sqrt(Vec<float> x) { return (Vec<float>::Lanes)_mm512_sqrt_ps((__m512)x.v); }
template <> INLINE Vec<double> sqrt(Vec<double> x) { return (Vec<double>::Lanes)_mm512_sqrt_pd((__m512d)x.v); }
#elif defined(__AVX2__)
template <> INLINE Vec<float> sqrt(Vec<float> x) { return (Vec<float>::Lanes)_mm256_sqrt_ps((__m256)x.v); }
template <> INLINE Vec<double> sqrt(Vec<double> x) { return (Vec<double>::Lanes)_mm256_sqrt_pd((__m256d)x.v); }
#endif

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool FUSED = true;  // a · b + c is rounded once
#else
constexpr bool FUSED = false;
#endif

// x = n·ln 2 + r with |r| ≤ ln 2 / 2, for |x| within the range of exp. `Exact`: also where n is large. A float's ln 2 is
// wrong by 2e-9, n times that is eˣ, and nothing in tanh, which is flat where n is more than a few.
template <bool Exact = true, class T>
INLINE Vec<T> reduce(Vec<T> x, Vec<T>& n) {
  const T magic = T(1.5) * T(int64_t(1) << Bits<T>::mantissa);  // adding it rounds to an integer
  n = (x * Vec<T>(T(1.4426950408889634)) + Vec<T>(magic)) - Vec<T>(magic);
  if constexpr (!Exact && FUSED && sizeof(T) == 4) return x - n * Vec<T>(T(0.69314718055994531));
  // ln 2 in two parts, the first short enough for an exact product with n
  const T high = sizeof(T) == 4 ? T(0.693145751953125) : T(6.93147180369123816490e-01);
  const T low = sizeof(T) == 4 ? T(1.4286068203094172e-6) : T(1.90821492927058770002e-10);
  return (x - n * Vec<T>(high)) - n * Vec<T>(low);
}
template <class T>
INLINE Vec<T> power_of_two(Vec<T> n) {  // n an integer within the exponents of normal numbers
  auto bits = (__builtin_convertvector(n.v, typename Vec<T>::Ints) + Bits<T>::bias) << Bits<T>::mantissa;
  return (typename Vec<T>::Lanes)bits;
}
// (eʳ − 1) / r for |r| ≤ ln 2 / 2. In float a Chebyshev fit of degree 5 (error 1.1e-8), in double the series 1/(k + 1)!
constexpr float EXPM1_FLOAT[] = {1.00000001f, 0.500000005f, 0.166665052f, 0.0416663527f, 0.00836915816f, 0.00139411214f};
constexpr int EXPM1_TERMS_DOUBLE = 13;  // 0.35¹⁴/14! < 2⁻⁵⁷
template <class T>
constexpr T expm1_coefficient(int k) {
  if (sizeof(T) == 4) return T(EXPM1_FLOAT[k]);
  double product = 1;
  for (int i = 2; i <= k + 1; ++i) product *= i;
  return T(1 / product);
}
template <class T, int K>
INLINE Vec<T> horner(Vec<T> r, Vec<T> sum) {
  constexpr T c = expm1_coefficient<T>(K);
  if constexpr (K == 0) return sum * r + Vec<T>(c);
  else return horner<T, K - 1>(r, sum * r + Vec<T>(c));
}
template <class T>
INLINE Vec<T> expm1_reduced(Vec<T> r) {
  constexpr int last = sizeof(T) == 4 ? 5 : EXPM1_TERMS_DOUBLE - 1;
  constexpr T c = expm1_coefficient<T>(last);
  return r * horner<T, last - 1>(r, Vec<T>(c));
}
// eˣ where |x| < 87 (708) is known
template <class T>
INLINE Vec<T> exp_inside(Vec<T> x) {
  Vec<T> n, q = expm1_reduced(reduce(x, n));
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (typename Vec<T>::Lanes)_mm512_scalef_ps((__m512)(Vec<T>(T(1)) + q).v, (__m512)n.v);
#endif
  const Vec<T> s = power_of_two(n);
  return s + s * q;
}
template <class T>
INLINE Vec<T> exp(Vec<T> x) {  // in two factors, so that what is too large or too small ends in ∞ or 0
  const Vec<T> near = clamp(x, T(2) * Bits<T>::lowest_log, T(2) * Bits<T>::highest_log);
  Vec<T> n, q = expm1_reduced(reduce(near, n));
  Vec<T> m = __builtin_convertvector(__builtin_convertvector((n * Vec<T>(T(0.5))).v, typename Vec<T>::Ints),
                                     typename Vec<T>::Lanes);
  return (Vec<T>(T(1)) + q) * power_of_two(m) * power_of_two(n - m);
}
template <class T>
INLINE Vec<T> sigmoid(Vec<T> x) {
  return reciprocal(Vec<T>(T(1)) + exp_inside(clamp(-x, Bits<T>::lowest_log, Bits<T>::highest_log)));
}
// tanh x = E / (E + 2) with E = e²ˣ − 1, exact to rounding near zero too
template <class T>
INLINE Vec<T> tanh(Vec<T> x) {
  const T edge = sizeof(T) == 4 ? T(20) : T(44);  // beyond half of it tanh is 1
  Vec<T> n, q = expm1_reduced(reduce<false>(clamp(x + x, -edge, edge), n)), s = power_of_two(n);
  const Vec<T> e = s * q + (s - Vec<T>(T(1)));
  return e / (e + Vec<T>(T(2)));
}
// ln x = n·ln 2 + 2·artanh((m − 1)/(m + 1)), m in [√½, √2)
template <class T>
INLINE Vec<T> log(Vec<T> x) {
  using V = Vec<T>;
  using Ints = typename V::Ints;
  const T tiny = sizeof(T) == 4 ? T(1.17549435e-38) : T(2.2250738585072014e-308);
  const T shift = T(int64_t(1) << Bits<T>::mantissa);
  const Mask<T> small = lt(x, V(tiny));  // not normal: shift it up
  const V scaled = select(small, x * V(shift), x);
  const Ints bits = (Ints)scaled.v;
  const Ints root = (Ints)V(T(0.70710678118654752)).v;
  const Ints exponent = (bits - root) >> Bits<T>::mantissa;
  const V m = (typename V::Lanes)(bits - (exponent << Bits<T>::mantissa));
  V n = __builtin_convertvector(exponent, typename V::Lanes);
  n = select(small, n - V(T(Bits<T>::mantissa)), n);
  const V s = (m - V(T(1))) / (m + V(T(1))), s2 = s * s;
  constexpr int terms = sizeof(T) == 4 ? 5 : 11;
  V sum(T(1) / T(2 * terms + 1));
  for (int k = terms - 1; k >= 0; --k) sum = sum * s2 + V(T(1) / T(2 * k + 1));
  V out = n * V(T(0.69314718055994531)) + V(T(2)) * s * sum;
  out = select(eq(x, V(T(0))), V(-T(__builtin_inf())), out);
  out = select(eq(x, V(T(__builtin_inf()))), x, out);
  return select(lt(x, V(T(0))) | ne(x, x), V(T(__builtin_nan(""))), out);
}
template <class T>
INLINE Vec<T> log1p(Vec<T> x) {  // ln u, corrected for what u = 1 + x has rounded away
  const Vec<T> one(T(1)), u = one + x;
  const Vec<T> corrected = log(u) - ((u - one) - x) / u;
  return select(eq(u, Vec<T>(T(0))) | eq(u, Vec<T>(T(__builtin_inf()))), log(u), corrected);
}
template <class T>
INLINE Vec<T> expm1(Vec<T> x) {
  Vec<T> n, q = expm1_reduced(reduce(clamp(x, Bits<T>::lowest_log, Bits<T>::highest_log), n)), s = power_of_two(n);
  return select(gt(x, Vec<T>(Bits<T>::highest_log)), exp(x), s * q + (s - Vec<T>(T(1))));
}

}  // namespace
