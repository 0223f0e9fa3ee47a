// The native module: what Python sees of the C++ side. No torch headers, so any torch version, and none, can use it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "team.hpp"

namespace nb = nanobind;
using namespace ostinato;
using namespace nb::literals;

namespace {

// The widest first.
const Isa* const ISAS[] = {
#if defined(OSTINATO_HAS_AVX512_BF16)
    &avx512_bf16_isa,
#endif
#if defined(__x86_64__)
    &avx512_isa, &avx2_isa,
#elif defined(__aarch64__)
    &neon_isa,
#endif
    &plain_isa};

std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
  for (const Isa* isa : ISAS)
    if (isa->here()) found.emplace_back(isa->name);
  return found;
}

const Isa& isa_named(const std::string& name) {
  for (const Isa* isa : ISAS)
    if (isa->here() && (name.empty() || name == isa->name)) return *isa;
  throw nb::value_error(("this machine has no " + name).c_str());
}

// Scratch memory, kept from call to call: fresh memory would cost a page fault every 4 KiB.
struct Scratch {
  std::unique_ptr<char, decltype(&std::free)> memory{nullptr, &std::free};
  int64_t size = 0;
  static constexpr int64_t PAGE = 1 << 21;  // a huge one: the weights are read anew at every step
  char* at_least(int64_t bytes) {
    if (bytes > size) {
      memory.reset();
      size = (bytes + PAGE - 1) / PAGE * PAGE;
      memory.reset(static_cast<char*>(std::aligned_alloc(PAGE, size)));
      if (!memory) {
        size = 0;
        throw std::bad_alloc();
      }
#if defined(__linux__)
      madvise(memory.get(), size, MADV_HUGEPAGE);
#endif
    }
    return memory.get();
  }
};
thread_local Scratch scratch;

// Python's signal handlers run ten times a second; whether one of them raised.
thread_local std::chrono::steady_clock::time_point last_asked;
bool interrupted() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_asked < std::chrono::milliseconds(100)) return false;
  last_asked = now;
  nb::gil_scoped_acquire hold;
  return PyErr_CheckSignals() != 0;
}

void run(const Layer& layer, uintptr_t cell_address, const std::string& isa_name, bool is_double, int threads,
         bool backward) {
  const Isa& isa = isa_named(isa_name);
  const Cell& cell = *reinterpret_cast<const Cell*>(cell_address);
  Team team;
  team.size = threads;
  team.interrupted = interrupted;
  {
    nb::gil_scoped_release release;
    last_asked = std::chrono::steady_clock::now();
    char* memory =
        scratch.at_least((backward ? isa.backward_bytes : isa.forward_bytes)(layer, cell, is_double, threads));
    const auto pass = backward ? isa.backward : isa.forward;
    parallel(threads, [&](int thread) { pass(layer, cell, is_double, team, thread, memory); });
  }
  if (team.stop) throw nb::python_error();
}

template <class Match>
uintptr_t find_cell(const std::string& isa, Match&& match) {
  const Isa& found = isa_named(isa);
  for (int i = 0; i < found.cell_count; ++i)
    if (match(found.cells[i])) return reinterpret_cast<uintptr_t>(&found.cells[i]);
  return 0;
}
uintptr_t built_in(const std::string& isa, const std::string& name) {
  return find_cell(isa, [&](const Cell& cell) { return name == cell.name; });
}
uintptr_t of_equations(const std::string& isa, const std::string& fingerprint) {
  return find_cell(isa, [&](const Cell& cell) { return fingerprint == cell.fingerprint; });
}
nb::tuple facts(uintptr_t address) {
  const Cell& cell = *reinterpret_cast<const Cell*>(address);
  return nb::make_tuple(cell.gates, cell.states, cell.saved, cell.vectors, cell.recurrent, cell.split);
}

template <class X>
auto address(X Layer::* member) {
  return [member](Layer& layer, uintptr_t value) { layer.*member = reinterpret_cast<X>(value); };
}
template <class X>
auto addresses(X (Layer::* member)[MAX_STATES]) {
  return [member](Layer& layer, const std::vector<uintptr_t>& values) {
    for (size_t i = 0; i < values.size() && i < size_t(MAX_STATES); ++i)
      (layer.*member)[i] = reinterpret_cast<X>(values[i]);
  };
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "Ostinato's native code.";
  module.def("instruction_sets", &instruction_sets, "Names of the instruction sets that can run here, the widest first.");
  module.def("has_bf16", [](const std::string& isa) { return isa_named(isa).has_bf16; });
  module.def("flags", [](const std::string& isa) { return std::string(isa_named(isa).flags); });
  module.def("vector_bytes", [](const std::string& isa) { return isa_named(isa).bytes; });
  module.def("built_in", &built_in, "isa"_a, "name"_a, "Address of a cell of ours by name, 0 if there is none.");
  module.def("of_equations", &of_equations, "isa"_a, "fingerprint"_a, "The same by the fingerprint of its equations.");
  module.def("facts", &facts, "cell"_a, "Gates, parts of state, saved values, vectors; whether there is a product.");
  module.attr("VERSION") = OSTINATO_VERSION;
  module.def("run", &run, "layer"_a, "cell"_a, "isa"_a, "is_double"_a, "threads"_a, "backward"_a);
  nb::class_<Layer> layer(module, "Layer", "One call of a layer: sizes, and arrays by address.");
  layer.def("__init__", [](Layer* self) { new (self) Layer{}; });
  layer.def_rw("steps", &Layer::steps).def_rw("batch", &Layer::batch);
  layer.def_rw("input_size", &Layer::input_size).def_rw("hidden_size", &Layer::hidden_size);
  layer.def_rw("reverse", &Layer::reverse).def_rw("bf16", &Layer::bf16).def_rw("accumulate", &Layer::accumulate);
#define ADDRESS(NAME) layer.def_prop_rw(#NAME, [](const Layer&) { return nb::none(); }, address(&Layer::NAME))
#define ADDRESSES(NAME) layer.def_prop_rw(#NAME, [](const Layer&) { return nb::none(); }, addresses(&Layer::NAME))
  ADDRESS(inputs), ADDRESS(weight_ih), ADDRESS(weight_hh), ADDRESS(bias_ih), ADDRESS(bias_hh), ADDRESS(vectors);
  ADDRESS(lengths), ADDRESS(resets), ADDRESS(saved);
  ADDRESS(d_inputs), ADDRESS(d_weight_ih), ADDRESS(d_weight_hh), ADDRESS(d_bias_ih), ADDRESS(d_bias_hh);
  ADDRESS(d_vectors);
  ADDRESSES(initial), ADDRESSES(zoneout), ADDRESSES(history), ADDRESSES(final);
  ADDRESSES(d_history), ADDRESSES(d_final), ADDRESSES(d_initial);
}
