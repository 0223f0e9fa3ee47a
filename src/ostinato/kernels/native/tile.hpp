// The product that all else is made of: a few rows times a panel of packed columns, accumulated in registers.
#pragma once
#include "vec.hpp"

namespace {

// How numbers are held where they are multiplied: as they are, or two bfloat16 side by side.
template <class T>
struct Plain {
  using Real = T;
  using Operand = T;
  static constexpr int depth = 1;  // elements of the summed axis in one lane
  static INLINE Operand narrow(Real x) { return x; }
};
struct BFloat16 {
  using Real = float;
  using Operand = uint16_t;
  static constexpr int depth = 2;
  static INLINE Operand narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) return uint16_t(bits >> 16) | 0x40;
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
  }
};

constexpr int MAX_COLUMNS = 4;  // vectors of a panel
constexpr int TILE_ROWS = 8;    // at most
constexpr int max_rows(int columns) {
  if (OSTINATO_REGISTERS == 32) return columns == 4 ? 6 : 8;
  return columns == 4 ? 3 : columns == 3 ? 4 : 6;
}

template <class Num>
struct Product {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  const Operand* const* a;  // rows, the summed axis contiguous
  int64_t depth;            // length of the summed axis, in lanes (elements, or pairs)
  const Operand* b;         // packed: [depth][columns][W]
  const T* start;           // what the sums start from, [columns][W], the same in every row; or null for zero
  T* const* c;              // rows
  int tail;                 // lanes of the last column that exist
  bool add;                 // to what stands in c
};

template <class Num, int M, int N>
void product(const Product<Num>& p) {
  using T = typename Num::Real;
  using V = Vec<T>;
  constexpr int W = V::lanes;
  V acc[M][N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    const V from = p.start ? V::load(p.start + n * W) : V(T(0));
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) acc[m][n] = from;
  }
  const typename Num::Operand* a[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) a[m] = p.a[m];
  const typename Num::Operand* b = p.b;
  for (int64_t k = 0; k < p.depth; ++k, b += N * W * Num::depth) {
    if constexpr (Num::depth == 1) {
      V w[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) w[n] = V::load(b + n * W);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const V s(a[m][k]);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) acc[m][n].v += s.v * w[n].v;
      }
    } else {
#if defined(OSTINATO_BF16)
      __m512bh w[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) w[n] = (__m512bh)_mm512_loadu_si512(b + n * W * 2);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        int pair;
        std::memcpy(&pair, a[m] + 2 * k, 4);
        const __m512bh s = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n)
          acc[m][n].v = (typename V::Lanes)_mm512_dpbf16_ps((__m512)acc[m][n].v, s, w[n]);
      }
#endif
    }
  }
  T* c[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) c[m] = p.c[m];
  if (p.add) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[m][n] = acc[m][n] + V::load(c[m] + n * W, n == N - 1 ? p.tail : W);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[m][n].store(c[m] + n * W, n == N - 1 ? p.tail : W);
}

template <class Num>
using ProductOf = void (*)(const Product<Num>&);

template <class Num, int N, int... M>
struct Rows {
  static constexpr ProductOf<Num> table[] = {nullptr, product<Num, M, N>...};
};

// Any number of rows (the tiles as even as can be) times one panel.
template <class Num>
INLINE void multiply(Product<Num> p, int rows, int columns) {
  static constexpr const ProductOf<Num>* tables[] = {
      nullptr, Rows<Num, 1, 1, 2, 3, 4, 5, 6, 7, 8>::table, Rows<Num, 2, 1, 2, 3, 4, 5, 6, 7, 8>::table,
      Rows<Num, 3, 1, 2, 3, 4, 5, 6, 7, 8>::table, Rows<Num, 4, 1, 2, 3, 4, 5, 6>::table};
  const int most = max_rows(columns);
  for (int tiles = (rows + most - 1) / most; tiles > 0; --tiles) {
    const int m = (rows + tiles - 1) / tiles;
    tables[columns][m](p);
    p.a += m, p.c += m, rows -= m;
  }
}

}  // namespace
