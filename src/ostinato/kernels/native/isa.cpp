// Everything that is compiled once for each instruction set; the build says which (OSTINATO_ISA) and how.
#include <type_traits>

#include "backward.hpp"
#include "forward.hpp"
#include "pointwise.hpp"
#include "trees.hpp"

namespace {
using ostinato::Isa;
#include "cells.inc"

template <template <class> class Pass, class F>
INLINE auto with_numbers(const Layer& layer, bool is_double, F&& function) {
  if (is_double) return function(static_cast<Pass<Plain<double>>*>(nullptr));
#if defined(OSTINATO_BF16)
  if (layer.bf16) return function(static_cast<Pass<BFloat16>*>(nullptr));
#endif
  return function(static_cast<Pass<Plain<float>>*>(nullptr));
}
template <class P>
using Of = std::remove_pointer_t<P>;

template <template <class> class Pass>
int64_t bytes(const Layer& layer, const Cell& cell, bool is_double, int threads) {
  return with_numbers<Pass>(layer, is_double, [&](auto* pass) {
    return Of<decltype(pass)>(layer, cell, threads, nullptr).arena.used + 64;
  });
}
template <template <class> class Pass>
void run(const Layer& layer, const Cell& cell, bool is_double, Team& team, int thread, char* scratch) {
  with_numbers<Pass>(layer, is_double, [&](auto* pass) {
    Of<decltype(pass)>(layer, cell, team.size, scratch).run(team, thread);
  });
}

#if defined(OSTINATO_BF16)
constexpr bool HAS_BF16 = true;
#else
constexpr bool HAS_BF16 = false;
#endif

bool here() {
#if defined(OSTINATO_BF16)
  if (!__builtin_cpu_supports("avx512bf16")) return false;
#endif
#if defined(__x86_64__) && defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(__x86_64__) && defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}
}  // namespace

namespace ostinato {
extern const Isa OSTINATO_ISA;
const Isa OSTINATO_ISA = {OSTINATO_NAME, here, OSTINATO_BYTES, CELLS, int(sizeof CELLS / sizeof *CELLS),
                          HAS_BF16, OSTINATO_FLAGS, bytes<Forward>, bytes<Backward>, run<Forward>, run<Backward>,
                          trees_bytes, trees};
}  // namespace ostinato
