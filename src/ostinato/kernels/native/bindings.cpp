// The native module: what Python sees of the C++ side. No torch headers, so any torch version, and none, can use it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

namespace {

// Instruction sets that both the CPU and its operating system allow, the widest first.
std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) found.emplace_back("avx512_bf16");
  if (__builtin_cpu_supports("avx512vnni")) found.emplace_back("avx512_vnni");
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) found.emplace_back("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.emplace_back("avx2");
#elif defined(__aarch64__)
  found.emplace_back("neon");
#endif
  found.emplace_back("plain");
  return found;
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "Ostinato's native code.";
  module.def("instruction_sets", &instruction_sets, "Names of the instruction sets that can run here, the widest first.");
}
